"""The observation that a decision about a set with state rests on: each source's own word, as it came. Pure.

Members may contradict each other, the engine and Consul. `view` judges that; nothing here is made consistent.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from lictor.model import Clock
from lictor.spec.cluster import Traits

NEW, PRIMARY, SECONDARY, REMOVED = "new", "primary", "secondary", "removed"  # any other role is a state on the way


class Seat(msgspec.Struct, frozen=True):
    """A member as a configuration names it."""

    address: str
    votes: bool = True
    id: str = ""  # the kind's own, if it has one


class Configuration(msgspec.Struct, frozen=True):
    """The configuration of a set, as one member knows it: who belongs to it."""

    seats: tuple[Seat, ...] = ()
    version: int = 0
    term: int = 0  # that of the primary that made it; -1: a person forced it, and the version alone counts
    is_committed: bool = True  # a majority has it

    def is_newer(self, other: "Configuration") -> bool:
        if self.term < 0 or other.term < 0:
            return self.version > other.version
        return (self.term, self.version) > (other.term, other.version)

    def is_same(self, other: "Configuration") -> bool:
        return (self.term, self.version, self.seats) == (other.term, other.version, other.seats)


class Report(msgspec.Struct, frozen=True):
    """One member's own word of itself and of the set. One that belongs to no set says the role "new"."""

    role: str
    set_id: str = ""
    term: int = 0  # the latest election that it knows of
    configuration: Configuration = Configuration()
    behind: float = 0.0  # the primary, in the kind's unit
    peers: dict[str, bool] = {}  # address -> whether it sees that member alive; none: its kind does not tell


class Link(NamedTuple):
    """One member's own word of its connection to another one, at the address in its configuration."""

    is_up: bool | None  # None: its kind, or this member, does not tell
    words: str = ""  # its own, or what its word rests on


class Slot(msgspec.Struct, frozen=True):
    """The place SERVICE-N: its container and volume by the engine's word, its registration by Consul's."""

    number: int
    name: str
    address: str  # stable, as a configuration has to name it
    container_id: str = ""  # "": there is no container, or it is not known
    status: str = ""  # Docker's; "unknown": its node cannot be seen
    release: str = ""
    started_at: float = 0.0
    volume: str = "none"  # none, empty, used, or unknown
    is_registered: bool = False
    draining_since: float = 0.0  # 0.0: it does not drain
    in_flight: int | None = None  # connections to it, if it drains

    @property
    def is_stopped(self) -> bool:
        return self.status in ("created", "exited", "dead")

    @property
    def has_ended(self) -> bool:
        """Whether no container of it runs, for sure."""
        return self.is_stopped or not self.container_id and not self.status

    @property
    def is_blank(self) -> bool:
        """Whether nothing was ever written to its volume."""
        return self.volume in ("none", "empty")

    @property
    def is_free(self) -> bool:
        return not self.container_id and not self.status and self.is_blank

    @property
    def has_never_run(self) -> bool:
        return self.is_free or self.status == "created" and self.is_blank

    @property
    def incarnation(self) -> str:
        """What changes if its container is made anew or started again."""
        return f"{self.container_id}@{self.started_at:.3f}"


class Seen(NamedTuple):
    """Everything that the decision about one set rests on, beside what is kept."""

    clock: Clock
    service: str
    size: int  # the desired number of members
    release: str  # the desired one's fingerprint
    traits: Traits
    slots: tuple[Slot, ...]  # by number: all that have anything, and some free ones
    reports: Mapping[str, Report]  # by slot's name; who gives no answer is not there
    silences: Mapping[str, str] = {}  # by slot's name: why a member that runs gave none
    certain: bool = False  # read under the lock, from Consul's leader with its quorum
    held: str = ""  # why a person wants hands off
    doubt: str = ""  # why the observation itself is not to be trusted
    traces: tuple[str, ...] = ()  # what else says that the set exists: a record, a registration of another node
    start_up_s: float = 60.0
    drain_s: float = 30.0

    def slot(self, address: str) -> Slot | None:
        return next((each for each in self.slots if each.address == address), None)
