"""The answers of MongoDB's replication commands: validated, and made a member's report. Pure."""

import datetime
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from lictor import errors
from lictor.adapters.text import one_line
from lictor.planner.cluster.observation import PRIMARY, REMOVED, SECONDARY, Configuration, Link, Report, Seat

IS_PRIMARY = 1
_STATES = {0: "starting", IS_PRIMARY: "not writable yet", 2: SECONDARY, 3: "recovering", 5: "copying data",
           6: "unknown", 7: "an arbiter", 8: "down", 9: "rolling back", 10: REMOVED}
_LONGEST_MESSAGE = 200
_MISSED = 2.5  # heartbeats
T = TypeVar("T")


class Hello(msgspec.Struct):
    """The answer to hello."""

    maxWireVersion: int
    isWritablePrimary: bool = False


class Peer(msgspec.Struct):
    """A member, as another one sees it, or itself."""

    name: str
    health: float
    state: int
    optimeDate: datetime.datetime | None = None
    lastHeartbeat: datetime.datetime | None = None  # that it answered
    lastHeartbeatMessage: str = ""
    is_self: bool = msgspec.field(name="self", default=False)


class Status(msgspec.Struct):
    """The answer to replSetGetStatus."""

    set: str
    myState: int
    term: int
    members: list[Peer]
    date: datetime.datetime | None = None
    heartbeatIntervalMillis: int = 2000

    def is_alone(self, set_name: str, address: str) -> bool:
        """Tell whether the set is of that one member."""
        return self.set == set_name and [(each.name, each.is_self) for each in self.members] == [(address, True)]


class _Seat(msgspec.Struct):
    id: int = msgspec.field(name="_id")
    host: str
    votes: int = 1


class _Settings(msgspec.Struct):
    replicaSetId: Any


class Config(msgspec.Struct):
    """A configuration. It has no term if a person has forced it."""

    name: str = msgspec.field(name="_id")
    version: int
    members: list[_Seat]
    settings: _Settings
    term: int = -1

    def to_configuration(self, *, is_committed: bool) -> Configuration:
        """Make what all kinds call a configuration."""
        seats = tuple(Seat(each.host, each.votes > 0, str(each.id)) for each in self.members)
        return Configuration(seats, self.version, self.term, is_committed)


class ConfigAnswer(msgspec.Struct):
    """The answer to replSetGetConfig. Only a writable primary tells whether it is committed."""

    config: Config
    commitmentStatus: bool = False


class _Batch(msgspec.Struct):
    firstBatch: list[Any]


class Found(msgspec.Struct):
    """The answer to find."""

    cursor: _Batch


def decode(answer: Mapping[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(answer, kind)
    except (ValueError, RecursionError) as error:
        raise errors.Unavailable(f"mongodb: an answer that cannot be read: {error!s:.200}") from error


def report(status: Status, answer: ConfigAnswer, *, is_writable: bool) -> Report:
    """Make the report of a member that has a seat."""
    config, own = answer.config, [each for each in status.members if each.is_self]
    if status.set != config.name or len(own) != 1 or own[0].state != status.myState:
        raise errors.Unavailable("mongodb: a status and a configuration that do not fit each other")
    role = PRIMARY if is_writable else _STATES.get(status.myState, f"in state {status.myState}")
    return Report(role, str(config.settings.replicaSetId), status.term,
                  config.to_configuration(is_committed=answer.commitmentStatus),
                  0.0 if is_writable else _behind(own[0], status.members),
                  {each.name: each.health > 0 for each in status.members if not each.is_self})


def links(status: Status) -> dict[str, Link]:
    """Tell of each other member whether this one gets answers to its heartbeats, which it sends to the address in the
    configuration. One that has just stopped answering counts as up for 10 s; its last answer is older by then."""
    return {each.name: _link(each, status) for each in status.members if not each.is_self}


def _link(peer: Peer, status: Status) -> Link:
    said = one_line(peer.lastHeartbeatMessage)[:_LONGEST_MESSAGE].rstrip(" .")
    if not peer.health > 0:
        return Link(False, said or "it counts as down")
    if peer.lastHeartbeat is None or status.date is None:
        return Link(None, "it does not say when it was last answered")
    age_s = status.date.timestamp() - peer.lastHeartbeat.timestamp()
    if age_s > _MISSED * status.heartbeatIntervalMillis / 1000:
        return Link(None, f"its last heartbeat was answered {age_s:.0f} s ago")
    return Link(True)


def report_removed(config: Config) -> Report:
    """Make the report of a member that does not find itself in its configuration."""
    return Report(REMOVED, str(config.settings.replicaSetId), max(config.term, 0),
                  config.to_configuration(is_committed=False))


def _behind(own: Peer, members: Iterable[Peer]) -> float:
    """Compare the last write with that of the primary, as this member knows it; infinite: it knows of none."""
    latest = [each.optimeDate for each in members if each.state == IS_PRIMARY and each.health > 0]
    if len(latest) != 1 or latest[0] is None or own.optimeDate is None:
        return float("inf")
    return max(0.0, (latest[0] - own.optimeDate).total_seconds())
