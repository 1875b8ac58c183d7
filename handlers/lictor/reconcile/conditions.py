"""lictor/condition/NODE: what a node's last sweep found, so that every node can tell it.

The node's check says the same. But Consul passes on new words of a check that keeps its status only minutes later. A
session, which each sweep renews, holds the key: Consul itself ends it when no sweep of the node gets through any more.
"""

import contextlib
import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from lictor import errors, model
from lictor.adapters import heartbeat
from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.adapters.text import one_line
from lictor.planner.summary.decided import Decided
from lictor.reconcile.context import Context
from lictor.routing import nginx_mode
from lictor.routing.condition import Condition
from lictor.spec.settings import Settings

PREFIX = "lictor/condition/"  # and then NODE
_MOST = 100  # of services, of instances, and of lines
_LONGEST_TEXT = 300
_TTL_S = 30  # Consul ends a session after twice that: as the check does, which calls a sweep stale after four intervals
_SILENT = ("silent: no sweep of it has told anything for a minute or more, so that what is shown of it is older. "
           "`lictor status` on it, or lictor.log in its state folder, says why: a token that may no more, most often")
_NO_ANSWER = "does not answer (serfHealth): nothing is healed there, and its instances get no traffic"

InstanceKey = tuple[str, str, str]  # its identity: node, ID of the service, and container


class Told(NamedTuple):
    """A node's condition: that of its nginx, and lines on what else is amiss, as its check has them."""

    nginx: Condition = Condition()
    lines: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()  # of services: to be done, waiting, on hold
    failure: str = ""  # why the last sweep failed; "": it did not
    outputs: Mapping[str, str] = {}  # of failing checks on the node, by the ID of their instance
    foreign: frozenset[InstanceKey] = frozenset()  # under the names of services that it starts, and not of its making
    decided: Mapping[str, Decided] = {}  # by service: what its summary alone does not say
    about: Mapping[str, str] = {}  # the node: its nginx, its engine, what its registrar has registered
    is_silent: bool = False  # no sweep of the node gets through any more
    at_index: int = 0  # the ModifyIndex of the key


class CheckWords:
    """Reads the words of failing checks as they are now: the catalogue learns of new ones minutes later, if the status
    stays the same. The agent that is asked is read, and what other nodes' sweeps told: once, and if need be."""

    def __init__(self, client: Client, node: str = "") -> None:
        """`node` is that of the agent; "": it is asked for its name."""
        self._client, self._node = client, node

    def put_into(self, instances: Iterable[model.Instance]) -> list[model.Instance]:
        """Replace the words of the instances that fail; where newer ones cannot be had, the catalogue's stay."""
        return [each if each.status == "passing" else each._replace(output=self._find(each) or each.output)
                for each in instances]

    def _find(self, instance: model.Instance) -> str:
        if instance.node == self._own_node:
            return model.evidence(self._local_checks.get(instance.service_id, ()), instance.status)
        told = self._told.get(instance.node)
        return told.outputs.get(instance.service_id, "") if told and not told.is_silent else ""

    @functools.cached_property
    def _own_node(self) -> str:
        with contextlib.suppress(errors.LictorError):  # words are no reason to leave the service alone
            return self._node or self._client.agent().name
        return ""

    @functools.cached_property
    def _local_checks(self) -> dict[str, list[dict[str, Any]]]:
        checks: dict[str, list[dict[str, Any]]] = {}
        with contextlib.suppress(errors.LictorError):
            for check in self._client.local_checks().values():
                checks.setdefault(str(check.get("ServiceID")), []).append(check)
        return checks

    @functools.cached_property
    def _told(self) -> Mapping[str, Told]:
        with contextlib.suppress(errors.LictorError):
            return read(self._client, None)
        return {}


class _Stored(msgspec.Struct, frozen=True):
    silence: str
    refused: dict[str, str]
    unconfirmed: dict[str, str]
    lines: list[str]
    pending: list[str]
    failure: str = ""
    outputs: dict[str, str] = {}
    foreign: list[InstanceKey] = []
    decided: dict[str, Decided] = {}
    about: dict[str, str] = {}


def tell(context: Context, told: Told) -> dict[str, Told]:
    """Write this node's condition, if Consul does not hold that already, and only then renew the session that holds
    the key: what could not be written has to become silent. Returns what all nodes had told."""
    key, client = f"{PREFIX}{context.node}", context.client
    tree, text = client.tree(PREFIX), msgspec.json.encode(_stored(told))
    entry = tree.get(key)
    if not (entry and _keeps(client, key, entry, text)):
        session = client.create_session(PREFIX.rstrip("/"), ttl_s=_TTL_S, lock_delay_s=0, behavior="release")
        client.acquire(key, session, text)
    return _decode_all(tree)


def read(client: Client, nodes: frozenset[str] | None) -> dict[str, Told]:
    """Read what these nodes have told, None: all; one that has told nothing that can be read is missing."""
    found = _decode_all(client.tree(PREFIX, lambda key: nodes is None or key.removeprefix(PREFIX) in nodes))
    return {node: told for node, told in found.items() if nodes is None or node in nodes}


def describe(conditions: Mapping[str, Told], name: str, serving: frozenset[str]) -> list[str]:
    """Say where a service is not served as it should be: of the nodes that serve it, or were to."""
    return _by_nodes((told.nginx.refused.get(name) or (told.nginx.silence if node in serving else ""), node)
                     for node, told in conditions.items())


def describe_unconfirmed(conditions: Mapping[str, Told], name: str) -> list[str]:
    """Say which nodes' nginx have not confirmed a service, though their last sweeps have told them of it."""
    return _by_nodes((told.nginx.unconfirmed.get(name, ""), node) for node, told in conditions.items())


def list_decided(conditions: Mapping[str, Told], name: str) -> list[Decided]:
    """List what nodes have decided about a service beyond its summary."""
    return [told.decided[name] for told in conditions.values() if name in told.decided and not told.is_silent]


def describe_silent(conditions: Mapping[str, Told], entries: Iterable[dict[str, Any]], own_node: str) -> dict[str, str]:
    """Say of which other nodes, by the instances of the service `lictor`, nothing is heard any more."""
    alive = {entry["Node"]["Node"]: model.instance(entry).node_alive for entry in entries}
    return {node: _SILENT if is_alive else _NO_ANSWER for node, is_alive in sorted(alive.items())
            if node != own_node and (not is_alive or node in conditions and conditions[node].is_silent)}


def describe_node(settings: Settings) -> dict[str, str]:
    """Describe what runs on this node, in words that change seldom."""
    beat = heartbeat.read(settings.state_dir)
    registrar = {"engine": beat.engine, "registered": str(beat.registered)} if beat else {}
    return {"nginx": nginx_mode.read(settings).name if settings.nginx else "", **registrar}


def list_foreign(conditions: Mapping[str, Told]) -> frozenset[InstanceKey]:
    """List the instances of which a node that acts says that lictor did not start them."""
    return frozenset(key for told in conditions.values() for key in told.foreign)


def _keeps(client: Client, key: str, entry: Entry, text: bytes) -> bool:
    """Write what is new by the session that holds the key, and renew it; False if there is none any more."""
    if not entry.session:
        return False
    try:
        if entry.value != text and not client.acquire(key, entry.session, text):
            return False
        client.renew_session(entry.session)
    except errors.Conflict:
        return False
    return True


def _by_nodes(texts: Iterable[tuple[str, str]]) -> list[str]:
    """Put the nodes before what they say, each text once."""
    nodes: dict[str, list[str]] = {}
    for text, node in texts:
        if text:
            nodes.setdefault(text, []).append(node)
    return [f"{', '.join(named)}: {text}" for text, named in nodes.items()]


def _stored(told: Told) -> _Stored:
    refused, unconfirmed, outputs = ({name: why[:_LONGEST_TEXT] for name, why in sorted(texts.items())[:_MOST]}
                                     for texts in (told.nginx.refused, told.nginx.unconfirmed, told.outputs))
    outputs = {each: text for each, text in outputs.items() if len(each) <= _LONGEST_TEXT}
    foreign = [each for each in sorted(told.foreign) if len("".join(each)) <= _LONGEST_TEXT]
    lines, pending = ([line[:_LONGEST_TEXT] for line in lines[:_MOST]] for lines in (told.lines, told.pending))
    decided = {name: each._replace(says=each.says[:_LONGEST_TEXT])
               for name, each in sorted(told.decided.items())[:_MOST]}
    return _Stored(told.nginx.silence[:_LONGEST_TEXT], refused, unconfirmed, lines, pending,
                   told.failure[:_LONGEST_TEXT], outputs, foreign[:_MOST], decided, dict(told.about))


def _decode_all(tree: Mapping[str, Entry]) -> dict[str, Told]:
    found = {key.removeprefix(PREFIX): _decode(entry) for key, entry in sorted(tree.items())}
    return {node: told for node, told in found.items() if told}


def _decode(entry: Entry) -> Told | None:
    try:
        found = msgspec.json.decode(entry.value, type=_Stored)
    except (msgspec.DecodeError, RecursionError):
        return None
    refused, unconfirmed, outputs = ({name: one_line(text) for name, text in texts.items()}
                                     for texts in (found.refused, found.unconfirmed, found.outputs))
    decided = {name: each._replace(says=one_line(each.says)) for name, each in found.decided.items()}
    return Told(Condition(one_line(found.silence), refused, unconfirmed), tuple(map(one_line, found.lines)),
                tuple(map(one_line, found.pending)), one_line(found.failure), outputs, frozenset(found.foreign),
                decided, {key: one_line(text) for key, text in found.about.items()}, not entry.session,
                entry.modify_index)
