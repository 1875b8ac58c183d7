"""The key `cluster` of a spec: the kind of set that the instances form, and what such a set can bear. Pure."""

import re
from typing import NamedTuple

import msgspec

from lictor.spec.plain_tables import require_one_of

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", re.ASCII)


class Traits(NamedTuple):
    """What the planner has to know of a kind. `recovery` is what its manual says to do when the majority is lost."""

    voters: int  # at most; odd
    members: int  # at most
    has_spares: bool  # a member without a vote is of use, and a vote can be taken back
    is_added_first: bool  # a newcomer has to be a member before it starts; the first one makes the set by starting
    most_behind: float  # that a healthy member may be
    lag_unit: str
    recovery: str  # {survivors}: each of them as `survivor`, which may have {index}, {address} and {name}
    survivor: str


KINDS = {
    "mongodb": Traits(7, 50, True, False, 10.0, "s", (
        "back up one of them, connect to it with mongosh, and enter: cfg = rs.conf(); printjson(cfg); "
        "cfg.members = [{survivors}]; rs.reconfig(cfg, {{force : true}})"), "cfg.members[{index}]"),
    "etcd": Traits(7, 7, False, True, 1000.0, "entries", (
        "copy the volume of {survivors} first; then start the one with the most entries once with "
        "`etcd --force-new-cluster`, and give the others empty volumes"), "{name}"),
}


class Cluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The kind of the set, and the name that its members and clients know it by."""

    kind: str
    name: str

    def __post_init__(self) -> None:
        require_one_of("kind", self.kind, tuple(KINDS))
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name is {self.name[:100]!r}; it must be 1 to 63 of A-Z a-z 0-9 _ . -, with a letter or "
                             "digit at both ends, such as rs0")

    @property
    def traits(self) -> Traits:
        return KINDS[self.kind]
