"""What a chaos run writes down, for the verdict to judge. Times are seconds since the epoch."""

from typing import NamedTuple


class Event(NamedTuple):
    """One event of Docker's about a container of lictor's."""

    at: float
    container: str  # id
    action: str  # create, start, kill, die, destroy, ...
    name: str = ""
    service: str = ""


class Deed(NamedTuple):
    """What we did to a container: killed (by force), stopped, paused (until `ended`) or broken (its health)."""

    kind: str
    container: str  # id
    service: str
    began: float
    ended: float  # by then it had happened; a pause was over


class Address(NamedTuple):
    """Where a container listens, from its start on, until another one is given the same address."""

    address: str  # ADDRESS:PORT
    container: str
    service: str
    since: float


class Outage(NamedTuple):
    """By our hand nginx was dead or refused changes, or Docker was dead: from just before until it was undone."""

    began: float
    ended: float


class Failed(NamedTuple):
    """A request that failed, as the client saw it; `status` 0: there was no HTTP answer."""

    service: str
    target: str
    began: float
    ended: float
    seen: str
    status: int


class Access(NamedTuple):
    """A line of nginx's access log; `upstreams` are the addresses that it tried, in order."""

    began: float
    ended: float
    status: int
    upstreams: tuple[str, ...]
    target: str


class Sample(NamedTuple):
    """How it was at one moment: why not everything was well ("": it was), and the ids of what ran."""

    at: float
    trouble: str
    running: frozenset[str]


class Done(NamedTuple):
    """A fault. `done` is false when it could not be done, and `detail` then says why not."""

    kind: str
    target: str
    began: float
    ended: float  # when it was undone, or had happened
    done: bool
    detail: str
    victim: str = ""  # id of the container that has to be replaced before it is repaired


class Standing(NamedTuple):
    """How everything stands at the end."""

    wanted: dict[str, int]
    running: list[tuple[str, str, str]]  # service, number, container's name
    passing: dict[str, list[str]]  # service -> names of its containers that pass in the catalogue
    served: dict[str, list[str]]  # service -> names of the instances that answer through nginx
    maintenance: list[str]
    sessions: list[str]
    locks: list[str]
    ended: list[str]  # containers of nobody's that no longer run
    temporaries: list[str]
    garbage: list[str]  # files of nginx's that name what only our garbage does
    plan: str
    says: dict[str, str]  # service -> what `lictor status` says of it
