"""One mongod: what is on its disk, and what it knows while it runs.

Rules: its state is STARTUP until it has loaded its configuration, and answers as if it had none; STARTUP2 while it
copies the data; REMOVED if its configuration does not name it [Replica Set Member States]. A member loads its
configuration some time after it has opened its port.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lab.mongodb import rules
from lab.mongodb.rules import Config

STARTUP, PRIMARY, SECONDARY, RECOVERING, STARTUP2, UNKNOWN, DOWN, ROLLBACK, REMOVED = 0, 1, 2, 3, 5, 6, 8, 9, 10
NAMES = {STARTUP: "STARTUP", PRIMARY: "PRIMARY", SECONDARY: "SECONDARY", RECOVERING: "RECOVERING",
         STARTUP2: "STARTUP2", UNKNOWN: "UNKNOWN", DOWN: "(not reachable/healthy)", ROLLBACK: "ROLLBACK",
         REMOVED: "REMOVED"}
LOAD_S = 8.0


class Entry(NamedTuple):
    """An entry of the oplog; entries are ordered by term and place."""

    term: int
    at: float
    collection: str  # "": an entry without effect
    document: Mapping[str, Any] = {}


@dataclass
class Disk:
    """What survives a restart."""

    config: Config | None = None  # local.system.replset
    term: int = 0  # the latest election that it has voted in, or heard of
    log: list[Entry] = field(default_factory=list)
    is_synced: bool = False  # it has the data, from its own set's making or by an initial sync
    rolled_back: list[Entry] = field(default_factory=list)
    was_used: bool = False  # a mongod has run on it

    @property
    def last(self) -> tuple[int, int]:
        """The term and the place of the last entry."""
        return (self.log[-1].term, len(self.log)) if self.log else (-1, 0)

    def copy(self) -> "Disk":
        return Disk(self.config, self.term, [*self.log], self.is_synced, [*self.rolled_back], self.was_used)


@dataclass
class Known:
    """What a member knows of another one, by heartbeats."""

    state: int = UNKNOWN
    health: float = 0.0
    heard_at: float = 0.0  # 0.0: never
    last_at: float = 0.0  # when its last entry was written
    age: tuple[int, int] = (-1, -1)  # of its configuration
    message: str = ""


class Server:
    """A process. `set_name` and `key` are --replSet and the content of --keyFile; "" is none."""

    def __init__(self, address: str, set_name: str, disk: Disk, now: float, *, key: str = "") -> None:
        self.address, self.set_name, self.disk, self.key = address, set_name, disk, key
        self.started_at, self.state = now, STARTUP
        self.known: dict[str, Known] = {}
        self.is_running, self.is_hung = True, False
        self.is_reached_as_local = True  # as a bridge in between would change
        self.leader_seen_at = now
        self.passive_until = self.writable_at = 0.0
        self.config_at = 0  # the length of the log when the configuration was made
        self.commit = 0  # entries that a majority has
        self.is_configuring = False
        self.speed = 1000  # entries copied in a second
        self.copied = 0

    @property
    def config(self) -> Config | None:
        return self.disk.config if self.state != STARTUP else None

    @property
    def seat(self) -> Mapping[str, Any] | None:
        return rules.member(self.config, self.address)

    @property
    def is_electable(self) -> bool:
        return bool(self.seat and rules.votes(self.seat) and self.seat.get("priority", 1))

    @property
    def users(self) -> dict[str, str]:
        """The users, which are data like any other."""
        return {each.document["user"]: each.document["pwd"] for each in self.disk.log if each.collection == "users"}

    def is_writable(self, now: float) -> bool:
        return self.state == PRIMARY and now >= self.writable_at

    def write(self, now: float, collection: str = "", document: Mapping[str, Any] = {}) -> int:
        self.disk.log.append(Entry(self.disk.term, now, collection, document))
        return len(self.disk.log)

    def load(self, now: float) -> None:
        """Load the configuration, some time after the start."""
        if self.state == STARTUP and self.disk.config and now >= self.started_at + LOAD_S:
            self.install(self.disk.config, now)

    def install(self, config: Config, now: float) -> None:
        """Take a configuration over."""
        self.disk.config, self.config_at = config, len(self.disk.log)
        seat = rules.member(config, self.address)
        if seat is None:
            self.state, self.known = REMOVED, {}
            return
        hosts = [each["host"] for each in config["members"] if each["host"] != self.address]
        self.known = {host: self.known.get(host, Known(heard_at=0.0)) for host in hosts}
        if self.state in (STARTUP, REMOVED):
            self.state, self.leader_seen_at = SECONDARY if self.disk.is_synced else STARTUP2, now
        if self.state == PRIMARY and not self.is_electable:
            self.step_down(now)

    def step_down(self, now: float, passive_s: float = 0.0) -> None:
        self.state, self.leader_seen_at = SECONDARY, now
        self.passive_until = max(self.passive_until, now + passive_s)

    def learn_term(self, term: int, now: float) -> None:
        if term > self.disk.term:
            self.disk.term = term
            if self.state == PRIMARY:
                self.step_down(now)
