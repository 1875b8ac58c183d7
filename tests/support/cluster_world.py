"""A set with state in simulated time: members with disks, elections, replication by majority, faults, and a manager.

It keeps the rules of MongoDB's replication that the planner relies on (pages of its manual in brackets):
a primary needs the votes of a majority, and steps down without one [Replica Set Elections]; a candidate has the newest
log and configuration among its voters, and each election has a later term; a change of the configuration is made on the
primary, one vote at a time, upon a committed configuration [replSetReconfig]; a newcomer gets the configuration by the
primary's heartbeat, and copies the data [Replica Set Data Synchronization]; what only a minority had is rolled back.
"""

import contextlib
from dataclasses import dataclass, field

from msgspec.structs import replace

from lictor.model import Clock
from lictor.planner.cluster import actions
from lictor.planner.cluster.actions import Act, Change
from lictor.planner.cluster.decide import Decision, decide
from lictor.planner.cluster.kept import Kept
from lictor.planner.cluster.observation import Configuration, Report, Seat, Seen, Slot
from lictor.spec.cluster import KINDS

TICK_S = 5.0
ELECTION_TICKS = 2
Log = list[tuple[int, int]]  # the term and the number of each write


class Refused(Exception):
    """The set does not take a change: it is stale, or not the primary's to make."""


@dataclass
class Disk:
    """What survives a restart."""

    set_id: str = ""
    configuration: Configuration = Configuration()
    term: int = 0
    log: Log = field(default_factory=list)
    is_there: bool = False  # its volume was made
    was_used: bool = False


@dataclass
class Server:
    """An instance SERVICE-N."""

    number: int
    release: str
    disk: Disk = field(default_factory=Disk)
    container: int = 0  # changes with each start; 0: there is none
    started_at: float = 0.0
    is_running: bool = False
    is_broken: bool = False  # it runs, and does nothing
    is_primary: bool = False
    draining_since: float = 0.0
    speed: int = 1000  # writes that it copies in a tick
    passive_until: float = 0.0  # after it has stepped down

    @property
    def address(self) -> str:
        return f"10.0.0.{self.number}:27017"


class World:
    """The set, its faults, its clients, and lictor's own memory of it."""

    def __init__(self, size: int, *, kind: str = "mongodb", release: str = "1") -> None:
        self.size, self.release, self.traits = size, release, KINDS[kind]
        self.now, self.kept = 1_000_000.0, Kept()
        self.servers: dict[int, Server] = {}
        self.groups: dict[int, int] = {}  # number -> side of a partition
        self.hidden: set[int] = set()  # numbers that lictor cannot reach
        self.broken_releases: set[str] = set()
        self.headless_ticks = self.written = self.containers = self.sets_made = self.elections = 0
        self.acknowledged: set[int] = set()
        self.done: list[Act] = []
        self.reasons: list[str] = []

    # What the world does

    def tick(self) -> None:
        self.now += TICK_S
        for server in self.servers.values():
            if server.is_primary and not self._leads(server):
                server.is_primary = False
        self._gossip()
        self._elect()
        for primary in self.primaries():
            self.written += 1
            primary.disk.log.append((primary.disk.term, self.written))
            self._replicate(primary)
            self._acknowledge(primary)

    def _acknowledge(self, primary: Server) -> None:
        """Acknowledge what a majority of the voters has: all up to the newest such write of the primary's own term."""
        logs = [each.disk.log for each in self._voters_with(primary)]
        for at in range(len(primary.disk.log) - 1, -1, -1):
            entry = primary.disk.log[at]
            if entry[1] in self.acknowledged or entry[0] != primary.disk.term:
                break
            if sum(log[at:at + 1] == [entry] for log in logs) > self.voters(primary) // 2:
                self.acknowledged |= {number for _, number in primary.disk.log[:at + 1]}
                break

    def alive(self) -> list[Server]:
        return [each for each in self.servers.values() if each.is_running and not each.is_broken]

    def primaries(self) -> list[Server]:
        return [each for each in self.alive() if each.is_primary]

    def primary(self) -> Server | None:
        """The one that leads a majority; there may be a stale one beside it until its next heartbeat."""
        leading = [each for each in self.primaries() if self._leads(each)]
        return max(leading, key=lambda each: each.disk.term, default=None)

    def is_connected(self, one: Server, other: Server) -> bool:
        return self.groups.get(one.number, 0) == self.groups.get(other.number, 0)

    def voters(self, by: Server) -> int:
        return sum(seat.votes for seat in by.disk.configuration.seats)

    def has_majority(self) -> bool:
        return self.primary() is not None

    def _voters_with(self, server: Server, *, configuration: Configuration | None = None) -> list[Server]:
        """List the voters of its configuration that it reaches, and which are of its set."""
        voting = {seat.address for seat in (configuration or server.disk.configuration).seats if seat.votes}
        return [each for each in self.alive() if each.address in voting and each.disk.set_id == server.disk.set_id
                and self.is_connected(server, each)]

    def _leads(self, server: Server) -> bool:
        reached = self._voters_with(server)
        return (server.is_running and not server.is_broken and server in reached
                and len(reached) > self.voters(server) // 2
                and all(each.disk.term <= server.disk.term for each in reached))

    def _gossip(self) -> None:
        for source in self.alive():
            for target in self.alive():
                if source is target or not self.is_connected(source, target) or not source.disk.set_id:
                    continue
                names_it = any(seat.address == target.address for seat in source.disk.configuration.seats)
                if not target.disk.set_id and names_it and source.is_primary:
                    target.disk.set_id = source.disk.set_id
                if target.disk.set_id != source.disk.set_id:
                    continue
                if source.disk.configuration.is_newer(target.disk.configuration):
                    target.disk.configuration = source.disk.configuration
                if names_it:
                    target.disk.term = max(target.disk.term, source.disk.term)

    def _elect(self) -> None:
        self.headless_ticks = 0 if self.primary() else self.headless_ticks + 1
        if self.headless_ticks < ELECTION_TICKS:
            return
        for candidate in sorted(self.alive(), key=lambda each: (each.disk.log[-1:], len(each.disk.log)), reverse=True):
            disk = candidate.disk
            votes = [each for each in self._voters_with(candidate) if not each.disk.configuration.is_newer(
                disk.configuration) and (each.disk.log[-1:], len(each.disk.log)) <= (disk.log[-1:], len(disk.log))]
            if candidate in votes and len(votes) > self.voters(candidate) // 2 and (
                    self.now >= candidate.passive_until or self.voters(candidate) == 1):
                disk.term = max(each.disk.term for each in votes) + 1
                for each in votes:
                    each.disk.term, each.is_primary = disk.term, False
                disk.configuration = replace(disk.configuration, term=disk.term)
                candidate.is_primary = True
                self.headless_ticks, self.elections = 0, self.elections + 1
                return

    def _replicate(self, primary: Server) -> None:
        named = {seat.address for seat in primary.disk.configuration.seats}
        for server in self.alive():
            if server is primary or server.address not in named or server.disk.set_id != primary.disk.set_id or (
                    not self.is_connected(primary, server)):
                continue
            log, source = server.disk.log, primary.disk.log
            common = len(log) if log == source[:len(log)] else next(
                at for at, (one, other) in enumerate(zip(log, [*source, (0, 0)], strict=False)) if one != other)
            server.disk.log = [*log[:common], *source[common:common + server.speed]]

    def is_committed(self, server: Server) -> bool:
        configuration = server.disk.configuration
        holders = [each for each in self._voters_with(server) if each.disk.configuration.is_same(configuration)]
        return len(holders) > self.voters(server) // 2

    # What lictor sees

    def look(self) -> Seen:
        slots = [self._slot(number) for number in range(1, max(self.servers, default=0) + 3)]
        reports = {f"db-{each.number}": self._report(each) for each in self.alive() if each.number not in self.hidden}
        return Seen(Clock(self.now), "db", self.size, self.release, self.traits, tuple(slots), reports, certain=True)

    def _slot(self, number: int) -> Slot:
        server = self.servers.get(number) or Server(number, "")
        status = "" if not server.container else "running" if server.is_running else "exited"
        volume = "none" if not server.disk.is_there else "used" if server.disk.was_used else "empty"
        return Slot(number, f"db-{number}", server.address, f"c{server.container}" if server.container else "", status,
                    server.release if server.container else "", server.started_at, volume, server.is_running,
                    server.draining_since, 0 if server.draining_since else None)

    def _report(self, server: Server) -> Report:
        disk = server.disk
        if not disk.set_id:
            return Report("new")
        configuration = replace(disk.configuration, is_committed=self.is_committed(server))
        behind = max((len(each.disk.log) for each in self.primaries() if self.is_connected(each, server)),
                     default=len(disk.log)) - len(disk.log)
        is_seated = any(seat.address == server.address for seat in configuration.seats)
        role = ("primary" if server.is_primary else "removed" if not is_seated else
                "starting" if behind > 50 else "secondary")
        return Report(role, disk.set_id, disk.term, configuration, float(behind), {
            each.address: each in self.alive() and self.is_connected(each, server) for each in self.servers.values()})

    # What lictor does

    def manage(self, *, crashes: bool = False) -> Decision:
        """Decide, write what is kept, and carry out; with `crashes` lictor is killed before it has carried out."""
        made = decide(self.look(), self.kept)
        self.kept = made.kept
        self.reasons.append(made.reason)
        if isinstance(made.action, Act) and not crashes:
            with contextlib.suppress(Refused):  # it is decided anew
                self.carry_out(made.action)
        return made

    def carry_out(self, act: Act) -> None:
        """Carry out as an engine and a kind do; raises AssertionError for what must never happen."""
        had_majority, is_single = self.has_majority(), (primary := self.primary()) and self.voters(primary) == 1
        server = self.servers.get(act.number)
        match act:
            case actions.Start():
                self._start(act.number, act.release, act.is_blank)
            case actions.Initiate():
                self._initiate(act)
            case actions.Restart():
                assert server
                server.release, server.is_primary, server.container = act.release, False, 0
                self._run(server)
            case actions.Drain():
                assert server
                server.draining_since = self.now
            case actions.Stop():
                self._stop(act.number)
            case actions.StepDown():
                assert server and server.is_primary
                server.is_primary, server.passive_until, self.headless_ticks = False, self.now + 60, 1
            case _:
                self._change(act)
        self.done.append(act)
        if had_majority and not isinstance(act, actions.StepDown) and not (
                is_single and isinstance(act, actions.Restart)):
            self.assert_can_elect(act)

    def assert_can_elect(self, act: Act) -> None:
        """A majority of the voters of the newest configuration is there, and connected."""
        holder = max(self.alive(), key=lambda each: (each.disk.configuration.term, each.disk.configuration.version))
        assert any(len(self._voters_with(each, configuration=holder.disk.configuration)) > self.voters(holder) // 2
                   for each in self.alive()), f"no majority after {act}"

    def _run(self, server: Server) -> None:
        self.containers += 1
        server.container, server.started_at, server.is_running = self.containers, self.now, True
        server.is_broken, server.draining_since = server.release in self.broken_releases, 0.0
        server.disk.is_there = server.disk.was_used = True

    def _start(self, number: int, release: str, is_blank: bool) -> None:
        server = self.servers.setdefault(number, Server(number, release))
        assert not server.is_running, "Docker refuses a second container of a name"
        assert is_blank == (not server.disk.was_used), "the volume is not as decided"
        server.release = release
        self._run(server)

    def _initiate(self, act: actions.Initiate) -> None:
        assert not any(each.disk.set_id for each in self.servers.values()), "a set exists"
        self.sets_made += 1
        if self.traits.is_added_first:
            self._start(act.number, act.release, True)
        server = self.servers[act.number]
        assert server.is_running
        seat = Seat(server.address)
        server.disk = Disk(f"set-{self.sets_made}", Configuration((seat,), 1, 1), 1, is_there=True, was_used=True)
        server.is_primary = True

    def _stop(self, number: int) -> None:
        server, primary = self.servers[number], self.primary()
        assert primary, "nobody's word counts"
        assert server.address not in {seat.address for seat in primary.disk.configuration.seats}, "it is a member"
        server.is_running, server.container, server.draining_since = False, 0, 0.0

    def _change(self, act: Change) -> None:
        primary = self.primary()
        if not primary or not self.is_committed(primary) or (
                not act.basis.is_same(primary.disk.configuration)):
            raise Refused("the configuration is another one by now, or not committed")
        seats = {seat.address: seat for seat in act.basis.seats}
        match act:
            case actions.Add() if not self.traits.grows_first and (
                    len(self._voters_with(primary)) < self.voters(primary)):
                raise Refused("unhealthy cluster")  # as etcd says while a voter is away
            case actions.Add():
                assert act.address not in seats
                seats[act.address] = Seat(act.address, votes=False)
            case actions.Leave():
                del seats[act.address]
            case actions.GiveVote() | actions.TakeVote():
                seats[act.address] = replace(seats[act.address], votes=isinstance(act, actions.GiveVote))
        primary.disk.configuration = Configuration(tuple(seats.values()), act.basis.version + 1, primary.disk.term)

    # What befalls it

    def kill(self, number: int) -> None:
        self.servers[number].is_running = self.servers[number].is_primary = False

    def wipe(self, number: int) -> None:
        self.kill(number)
        self.servers[number].disk = Disk(is_there=True)

    def run(self, ticks: int = 100, *, until_done: bool = True) -> list[Act]:
        """Let time pass, with lictor looking once a tick, until there is nothing to do; returns the acts of that."""
        before = len(self.done)
        for _ in range(ticks):
            made = self.manage()
            self.tick()
            if until_done and made.action is None:
                break
        return self.done[before:]

    def seats(self) -> dict[int, bool]:
        """The members by number, and whether they vote, by the leading primary's word."""
        primary = self.primary()
        assert primary, self.reasons[-1]
        seats = primary.disk.configuration.seats
        return {int(seat.address.split(":")[0].split(".")[3]): seat.votes for seat in seats}

    def assert_well(self, size: int) -> None:
        """It has its size, runs nothing else, and has lost no acknowledged write."""
        seats, primary = self.seats(), self.primary()
        assert primary
        assert len(seats) == size, (seats, self.reasons[-3:])
        assert {each.number for each in self.servers.values() if each.container} == {*seats}
        assert self.acknowledged <= {number for _, number in primary.disk.log}
        assert self.sets_made == 1


def founded(size: int, **options: str) -> World:
    """A world that has grown to its size."""
    world = World(size, **options)
    world.run()
    return world

