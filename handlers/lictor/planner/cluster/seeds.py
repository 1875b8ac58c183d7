"""The seed list of a set: where its clients find members, as ADDRESS:PORT with commas between. Pure.

A driver needs one member that answers, and learns of the others from it. So the list goes by who is a member, and never
by who is healthy: it changes seldom, and is not empty while members are ill.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lictor.planner.desired import read_text
from lictor.spec.cluster import KINDS, Traits

if TYPE_CHECKING:
    from lictor.planner.cluster.view import View

KEY_PREFIX = "lictor/seeds/"
_MOST = max(traits.members for traits in KINDS.values())
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]"
_SEED = re.compile(rf"(?:{_HOST}):(?P<port>[1-9][0-9]{{0,4}})", re.ASCII)
_SHOWN = 100


def list_seeds(view: "View", traits: Traits, addresses: Mapping[int, str]) -> str:
    """List the members of the committed configuration, by number; `addresses` are where they answer clients.

    "": nobody's word counts, and what was listed stays. A member without a vote is listed if its kind has use for it:
    a learner of etcd refuses its clients.
    """
    if not view.primary or not view.configuration.is_committed:
        return ""
    return ",".join(addresses[member.slot.number] for member in view.members if member.votes or traits.has_spares)


def parse(value: bytes) -> str:
    """Read a list as it stands in its key; raises ValueError for anything else."""
    text = read_text(value)
    seeds = text.split(",", _MOST)
    matches = [_SEED.fullmatch(each) for each in seeds]
    if len(seeds) > _MOST or not all(match and int(match["port"]) <= 65535 for match in matches):
        raise ValueError(f"holds {text[:_SHOWN]!r}; it must be 1 to {_MOST} ADDRESS:PORT with commas between")
    return text


def explain_missing(names: Iterable[str], values: Mapping[str, bytes]) -> str:
    """Say why the lists of these sets cannot be filled in; "": all can."""
    return "; ".join(why for name in sorted(set(names)) if (why := _explain(name, values.get(name, b""))))


def _explain(name: str, value: bytes) -> str:
    if not read_text(value):
        return f"{name} has no member yet"
    try:
        parse(value)
    except ValueError as error:
        return f"the key {KEY_PREFIX}{name} {error}"
    return ""
