"""The nodes on which Swarm may put the instances of a service. Pure."""

import re

import msgspec

_LABEL = r"(?:node|engine)\.labels\.[\w.-]+"
CONSTRAINT = re.compile(rf"(?:node\.(?:id|hostname|role|ip|platform\.(?:os|arch))|{_LABEL}) ?[=!]= ?[\w.:/-]+",
                         re.ASCII)
SPREAD = re.compile(_LABEL, re.ASCII)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,55}[a-z0-9])?", re.ASCII)  # 6 more for the colour: 63 in all


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Constraints on nodes, and the labels over whose values the instances are spread, the first one first.

    Swarm itself takes a constraint on an unknown attribute, and then finds no node for it.
    """

    constraints: list[str] = []
    spread: list[str] = []

    def __post_init__(self) -> None:
        for key, values, pattern, example in (
                ("constraints", self.constraints, CONSTRAINT, "node.labels.disk==ssd or node.hostname!=host-1"),
                ("spread", self.spread, SPREAD, "node.labels.zone")):
            for value in values:
                if not pattern.fullmatch(value):
                    raise ValueError(f"{key} holds {value[:100]!r}; Swarm takes such as {example}")


def require_possible(name: str, publish_address: str | None) -> None:
    """Raise ValueError for a name or an address that other engines take, and Swarm does not."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"name is {name!r}; Swarm takes at most 57 of a-z 0-9 _ -, and no dot")
    if publish_address:
        raise ValueError(f"port names the address {publish_address}; Swarm publishes on all addresses of a node, so it "
                         "must be a number alone")
