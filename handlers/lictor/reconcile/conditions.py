"""lictor/condition/NODE: what a node's last sweep found amiss, so that every node can tell it.

The node's check says the same. But Consul passes on new words of a check that keeps its status only minutes later.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lictor.adapters.text import one_line
from lictor.planner.summary.decided import Decided
from lictor.planner.summary.service import Severity
from lictor.reconcile.context import Context
from lictor.routing.condition import Condition

PREFIX = "lictor/condition/"  # and then NODE
_MOST = 100  # of services, and of lines
_LONGEST_TEXT = 300


class Told(NamedTuple):
    """A node's condition: that of its nginx, and lines on what else is amiss, as its check has them."""

    nginx: Condition = Condition()
    lines: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()  # of services: to be done, waiting, on hold
    decided: Mapping[str, Decided] = {}  # by service: what its summary alone does not say


def tell(context: Context, told: Told) -> None:
    """Write this node's condition, if Consul does not hold that already."""
    key = f"{PREFIX}{context.node}"
    entry = context.client.get(key)
    refused, unconfirmed = ({name: why[:_LONGEST_TEXT] for name, why in sorted(texts.items())[:_MOST]}
                            for texts in (told.nginx.refused, told.nginx.unconfirmed))
    decided = {name: each._replace(says=each.says[:_LONGEST_TEXT])
               for name, each in sorted(told.decided.items())[:_MOST]}
    text = json.dumps({"silence": told.nginx.silence[:_LONGEST_TEXT], "refused": refused, "unconfirmed": unconfirmed,
                       "lines": _cut(told.lines), "pending": _cut(told.pending), "decided": decided}).encode()
    if entry is None or entry.value != text:
        context.client.put(key, text)


def read(context: Context, nodes: frozenset[str]) -> dict[str, Told]:
    """Read what these nodes have told; one that has told nothing that can be read is missing."""
    tree = context.client.tree(PREFIX, lambda key: key.removeprefix(PREFIX) in nodes)
    found = {key.removeprefix(PREFIX): _decode(entry.value) for key, entry in sorted(tree.items())}
    return {node: told for node, told in found.items() if node in nodes and told}


def describe(conditions: Mapping[str, Told], name: str, serving: frozenset[str]) -> list[str]:
    """Say where a service is not served as it should be: of the nodes that serve it, or were to."""
    texts = []
    for node, (nginx, *_) in conditions.items():
        text = nginx.refused.get(name) or (nginx.silence if node in serving else "")
        texts += [f"{node}: {text}"] if text else []
    return texts


def describe_unconfirmed(conditions: Mapping[str, Told], name: str) -> list[str]:
    """Say which nodes' nginx have not confirmed a service, though their last sweeps have told them of it."""
    return [f"{node}: {told.nginx.unconfirmed[name]}" for node, told in conditions.items()
            if name in told.nginx.unconfirmed]


def list_decided(conditions: Mapping[str, Told], name: str) -> list[Decided]:
    """List what nodes have decided about a service beyond its summary."""
    return [told.decided[name] for told in conditions.values() if name in told.decided]


def _cut(lines: Sequence[str]) -> list[str]:
    return [line[:_LONGEST_TEXT] for line in lines[:_MOST]]


def _decode(value: bytes) -> Told | None:
    try:
        table = json.loads(value)
        refused, unconfirmed = ({str(name): one_line(str(text)) for name, text in table[key].items()}
                                for key in ("refused", "unconfirmed"))
        lines, pending = (tuple(one_line(str(line)) for line in table[key]) for key in ("lines", "pending"))
        decided = {str(name): Decided(str(view), Severity(severity), one_line(str(says)))
                   for name, (view, severity, says) in table["decided"].items()}
        return Told(Condition(one_line(str(table["silence"])), refused, unconfirmed), lines, pending, decided)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
