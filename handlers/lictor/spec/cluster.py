"""The key `cluster` of a spec: the kind of set that the instances form, and what such a set can bear. Pure."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lictor.spec.plain_tables import require_one_of

if TYPE_CHECKING:
    from lictor.spec.service_spec import Spec

DATA = "data"  # the volume in a spec that stands for a member's own
_DATA = re.compile(rf"{DATA}:/[^:]+(?::(?:rw|z|Z|nocopy)(?:,(?:rw|z|Z|nocopy))*)?")
_VOLUME = re.compile(rf"(?P<service>.+)-(?P<number>[1-9][0-9]{{0,4}})-{DATA}", re.ASCII)
LOWEST_PORT, _HIGHEST_PORT = 1024, 65535  # those below are the system's own services'
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", re.ASCII)


class Traits(NamedTuple):
    """What the planner has to know of a kind. `recovery` is what its manual says to do when the majority is lost."""

    voters: int  # at most; odd
    members: int  # at most
    has_spares: bool  # a member without a vote is of use, and a vote can be taken back
    is_added_first: bool  # a newcomer has to be a member before it starts; the first one makes the set by starting
    grows_first: bool  # a newcomer is taken while a voter is gone; else the one that is gone has to leave before
    most_behind: float  # that a healthy member may be
    lag_unit: str
    has_peer_port: bool  # members reach each other at the next port, and listen on the ports that they have outside
    recovery: str  # {survivors}: each of them as `survivor`, which may have {index}, {address} and {name}
    survivor: str


KINDS = {
    "mongodb": Traits(7, 50, True, False, True, 10.0, "s", False, (
        "back up one of them, connect to it with mongosh, and enter: cfg = rs.conf(); printjson(cfg); "
        "cfg.members = [{survivors}]; rs.reconfig(cfg, {{force : true}})"), "cfg.members[{index}]"),
    "etcd": Traits(7, 7, False, True, False, 1000.0, "entries", True, (
        "copy the volume of {survivors} first; then start the one with the most entries once with "
        "`etcd --force-new-cluster`, and give the others empty volumes"), "{name}"),
}


class Cluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The kind of the set, and the name that its members and clients know it by."""

    kind: str
    name: str

    def __post_init__(self) -> None:
        require_one_of("kind", self.kind, tuple(KINDS))
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name is {self.name[:100]!r}; it must be 1 to 63 of A-Z a-z 0-9 _ . -, with a letter or "
                             "digit at both ends, such as rs0")

    @property
    def traits(self) -> Traits:
        return KINDS[self.kind]


def check_cluster(spec: "Spec") -> None:
    """Raise ValueError for what a set cannot be made of."""
    if spec.cluster is None:
        return
    traits, least, most = spec.cluster.traits, spec.replicas.min, spec.replicas.max
    problems = {
        f"cluster is for engine docker, as a member comes back to its own volume and address; with {spec.engine} an "
        "instance has neither": spec.engine != "docker",
        f"release.strategy is {spec.release.strategy!r}; with cluster it must be rolling, as two sets beside each "
        "other are two databases": spec.release.strategy != "rolling",
        "cluster needs a port: which one do members and clients reach a member by?": spec.port is None,
        f"port is {spec.port!r}; with cluster it must be one of TCP":
            spec.container_port is not None and spec.container_port.protocol != "tcp",
        f"port is {spec.port!r}; with cluster it must be {LOWEST_PORT} or more, as the node itself has it then":
            spec.container_port is not None and spec.container_port.number < LOWEST_PORT,
        f"replicas.min is {least}; with cluster it must be at least 1, as no set can be left by its last member":
            least < 1,
        f"replicas.max is {most}; a set of {spec.cluster.kind} has at most {traits.members} members":
            most > traits.members,
        "check.port is for services without cluster, whose members have one port for their clients":
            spec.check is not None and spec.check.port is not None,
        "autoscale is for services without cluster, as more members answer no more writes": spec.autoscale is not None}
    for problem, is_so in problems.items():
        if is_so:
            raise ValueError(problem)
    _check_volumes(spec.volumes)


class Place(NamedTuple):
    """The place of one member: it comes back to the same volume, address and ports."""

    kind: str
    volume: str
    member: str  # where it answers clients, as HOST:PORT
    address: str  # what a configuration names it by
    published: dict[int, int]  # port in the container -> port of the node


def volume_of(service: str, number: int) -> str:
    """Name the volume of one member, which lictor makes and never removes."""
    return f"{service}-{number}-{DATA}"


def numbers_of(service: str, volumes: Iterable[str]) -> list[int]:
    """List the numbers that these volumes are of; other volumes are of none."""
    matches = (_VOLUME.fullmatch(volume) for volume in volumes)
    return sorted(int(match["number"]) for match in matches if match and match["service"] == service)


def place_of(spec: "Spec", number: int, node_address: str) -> Place | None:
    """Find the place of a member; None: so high a number has no port. The first member has the port of the spec."""
    assert spec.cluster and spec.container_port
    port, traits = spec.container_port, spec.cluster.traits
    ports = 2 if traits.has_peer_port else 1
    own = port.number + (number - 1) * ports
    if own + ports - 1 > _HIGHEST_PORT:
        return None
    host = port.publish_address or node_address
    outside = range(own, own + ports)
    published = {each: each for each in outside} if traits.has_peer_port else {port.number: own}
    return Place(spec.cluster.kind, volume_of(spec.name, number), f"{host}:{own}", f"{host}:{outside[-1]}", published)


def spec_of(spec: "Spec", place: Place) -> "Spec":
    """Make the spec of one member: its own volume in place of the common name, and the port that it listens on. That is
    a spec of one instance, without `cluster`."""
    assert spec.container_port
    volumes = [f"{place.volume}{volume.removeprefix(DATA)}" if _DATA.fullmatch(volume) else volume
               for volume in spec.volumes]
    inside, address = next(iter(place.published)), spec.container_port.publish_address
    return msgspec.structs.replace(
        spec, cluster=None, volumes=volumes, port=f"{address}::{inside}" if address else inside)


def _check_volumes(volumes: list[str]) -> None:
    """Raise ValueError unless each member has a disk of its own, and writes to no other one."""
    own = [volume for volume in volumes if _DATA.fullmatch(volume)]
    if len(own) != 1:
        raise ValueError(f"volumes holds {', '.join(own)[:100] or 'no volume of the member'}; with cluster it must "
                         f"hold {DATA}:/PATH once, which stands for each member's own volume")
    for volume in volumes:
        if volume not in own and "ro" not in volume.split(":")[-1].split(","):
            raise ValueError(f"volumes holds {volume[:100]!r}; with cluster only {DATA}:/PATH may be written, as all "
                             "members have the others in common: add :ro")
