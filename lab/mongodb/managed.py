"""A set of the double that lictor's planner manages by the kind `mongodb`: containers and volumes are simulated."""

import contextlib
import itertools
from collections.abc import Mapping

from lictor import errors
from lictor.adapters import mongo
from lictor.adapters.mongo import Login
from lictor.clusters import registry
from lictor.clusters.mongodb import PASSWORD, USER
from lictor.model import Clock
from lictor.planner.cluster import actions
from lictor.planner.cluster.actions import Act
from lictor.planner.cluster.decide import Decision, decide, note_failure
from lictor.planner.cluster.kept import Kept
from lictor.planner.cluster.observation import Report, Seen, Slot
from lictor.spec.cluster import KINDS

from lab.daemon import free_ports
from lab.mongodb import rules
from lab.mongodb.commands import Session
from lab.mongodb.network import Network
from lab.mongodb.server import Disk, Entry, Server
from lab.mongodb.wire import Listener

MOST, TICK_S, NAME = 40, 5, "rs0"


class MongoSet:
    """A set of members. `size` and `release` are what is desired of the set; `kept` is lictor's memory of it.

    With `key` the members need a login. With `user` lictor has one; `has_image_user` says that the image makes that
    user on each empty volume, as the official one does. At each so many acts lictor is killed once it has written down
    what it will do.
    """

    def __init__(self, size: int = 1, *, key: str = "", user: tuple[str, str] | None = None,
                 has_image_user: bool = False, crashes_at_each: int = 0) -> None:
        self.size, self.release, self.kept, self.network = size, "1", Kept(), Network()
        self.key, self.user, self.has_image_user, self.is_reached_as_local = key, user, has_image_user, True
        self.ports = dict(enumerate(free_ports(MOST), start=1))
        self.disks: dict[int, Disk] = {}
        self.servers: dict[int, Server] = {}
        self.listeners: dict[int, Listener] = {}
        self.containers: dict[int, tuple[str, str, float]] = {}  # number -> id, release, when it was started
        self.hidden: set[int] = set()  # numbers that lictor cannot reach
        self.broken_releases: set[str] = set()
        self.draining: dict[int, float] = {}
        self.numbers, self.writes = itertools.count(1), itertools.count(1)
        self.acknowledged: set[int] = set()
        self.is_writing = True
        self.crashes_at_each, self.decided = crashes_at_each, 0
        self.done: list[str] = []
        self.acts: list[Act] = []
        self.reasons: list[str] = []
        made = registry.kind("mongodb", self.environment)
        assert made
        self.kind = made

    @property
    def environment(self) -> Mapping[str, str]:
        return {USER: self.user[0], PASSWORD: self.user[1]} if self.user else {}

    def address(self, number: int) -> str:
        return f"127.0.0.1:{self.ports[number]}"

    def number(self, address: str) -> int:
        return next(number for number in self.ports if self.address(number) == address)

    # What lictor does

    def manage(self) -> Decision:
        """Look, decide, and carry out."""
        made = decide(self.look(), self.kept)
        self.kept = made.kept
        self.reasons.append(made.reason)
        self.decided += isinstance(made.action, Act)
        crashes = self.crashes_at_each and self.decided % self.crashes_at_each == 0
        if isinstance(made.action, Act) and not crashes:
            try:
                self.carry_out(made.action)
                self.done.append(f"{made.action.kind} {made.action.number}")
                self.acts.append(made.action)
            except errors.Unavailable as error:
                self.kept = note_failure(self.kept, made.action, error)
                self.done.append(f"({made.action.kind} {made.action.number}: {error})")
        return made

    def settle(self, *, ticks: int = 200) -> list[str]:
        """Manage it until there is nothing to do; return what was done, as far as it was."""
        before = len(self.done)
        for _ in range(ticks):
            if self.manage().action is None:
                return [each for each in self.done[before:] if each[0] != "("]
            self.tick()
        raise AssertionError((self.reasons[-1], self.done))

    def watch(self, ticks: int) -> list[str]:
        """Manage it for a while, whatever there is to do."""
        before = len(self.done)
        for _ in range(ticks):
            self.manage()
            self.tick()
        return self.done[before:]

    def look(self) -> Seen:
        slots = tuple(self._slot(number) for number in range(1, max([0, *self.disks]) + 3))
        reports = {slot.name: report for slot in slots if slot.status == "running" and slot.number not in self.hidden
                   and (report := self.report(slot.number))}
        return Seen(Clock(self.network.now), "db", self.size, self.release, KINDS["mongodb"], slots, reports,
                    certain=True)

    def report(self, number: int) -> Report | None:
        try:
            return self.kind.ask(self.address(number), self.address(number))
        except errors.LictorError as error:
            self.reasons.append(str(error))
            return None

    def primary(self) -> int:
        """Find the number of the writable primary; 0: there is none."""
        found = [each for each in self.network.primaries() if each.is_writable(self.network.now)]
        return self.number(max(found, key=lambda each: each.disk.term).address) if found else 0

    def seats(self) -> dict[int, bool]:
        """List the members with whether they vote, as the primary knows them."""
        config = self.servers[self.primary()].config
        return {self.number(each["host"]): rules.votes(each) > 0 for each in config["members"]} if config else {}

    def carry_out(self, act: Act) -> None:
        number, address, primary = act.number, self.address(act.number), self.address(self.primary() or 1)
        match act:
            case actions.Start():
                assert act.is_blank == self._slot(number).is_blank, "the volume is not as decided"
                self.run(number, act.release)
            case actions.Initiate():
                self.kind.initiate(address, NAME, address)
            case actions.Restart():
                self.kill(number)
                self.run(number, act.release)
            case actions.Drain():
                self.draining[number] = self.network.now
            case actions.Stop():
                self._end(number)
            case actions.StepDown():
                report = self.report(number)
                assert report
                self.kind.step_down(primary, report.configuration)
            case actions.Add():
                self.kind.add(primary, act.address, act.basis)
            case actions.GiveVote():
                self.kind.give_vote(primary, act.address, act.basis)
            case actions.TakeVote():
                self.kind.take_vote(primary, act.address, act.basis)
            case actions.Leave():
                self.kind.remove(primary, act.address, act.basis)

    # What its clients do

    def tick(self) -> None:
        """Let time pass, and have a client write."""
        self.network.advance(TICK_S)
        if self.is_writing and (primary := self.primary()):
            with contextlib.suppress(errors.LictorError):
                self.write(primary)

    def write(self, number: int) -> bool:
        """Write to one member; remember what was acknowledged by a majority."""
        value = next(self.writes)
        with self.session(number) as run:
            answer = run({"insert": "sold", "documents": [{"value": value}],
                          "writeConcern": {"w": "majority", "wtimeout": 4000}}, "books")
        if is_acknowledged := "writeConcernError" not in answer:
            self.acknowledged.add(value)
        return is_acknowledged

    def missing(self) -> set[int]:
        """List the acknowledged writes that the primary does not have any more."""
        with self.session(self.primary()) as run:
            found = run({"find": "sold"}, "books")["cursor"]["firstBatch"]
        return self.acknowledged - {each["value"] for each in found}

    def session(self, number: int, login: Login | None = None) -> contextlib.AbstractContextManager[mongo.Run]:
        """Connect to a member, as the first user if there is one."""
        return mongo.session(self.address(number), login or (Login(*self.user) if self.user else None), 30)

    # What befalls it

    def run(self, number: int, release: str = "1") -> Server:
        """Start a member's container on its volume."""
        assert number not in self.servers or not self.servers[number].is_running
        network, address = self.network, self.address(number)
        with network.lock:
            disk = self.disks.setdefault(number, Disk())
            if self.user and self.has_image_user and not disk.was_used:
                disk.log.append(Entry(0, network.now, "users", {"user": self.user[0], "pwd": self.user[1]}))
            disk.was_used = True
            server = Server(address, NAME, disk, network.now, key=self.key)
            server.is_reached_as_local, server.is_hung = self.is_reached_as_local, release in self.broken_releases
            self.servers[number] = network.servers[address] = server
            self.containers[number] = (f"c{next(self.numbers)}", release, network.now)
            self.draining.pop(number, None)
            if not server.is_hung:
                self.listeners[number] = Listener(self.ports[number], lambda: Session(network, server).handle)
        return server

    def kill(self, number: int) -> None:
        with self.network.lock:
            self.servers[number].is_running = False
        if number in self.listeners:
            self.listeners.pop(number).close()

    def wipe(self, number: int) -> None:
        """Kill a member, and lose its disk."""
        self.kill(number)
        self.disks[number] = Disk()

    def cut(self, *numbers: int) -> None:
        """Put these members on one side of a partition, and the others on the other."""
        self.network.sides = {self.address(number): 1 for number in numbers}

    def stop(self) -> None:
        for number in list(self.listeners):
            self.kill(number)

    def _end(self, number: int) -> None:
        primary = self.servers[self.primary()]
        assert not rules.member(primary.config, self.address(number)), "it is a member"
        self.kill(number)
        del self.servers[number], self.containers[number], self.network.servers[self.address(number)]

    def _slot(self, number: int) -> Slot:
        server, disk = self.servers.get(number), self.disks.get(number)
        volume = "none" if disk is None else "used" if disk.was_used else "empty"
        container_id, release, started_at = self.containers.get(number, ("", "", 0.0))
        status = "" if server is None else "running" if server.is_running else "exited"
        draining = self.draining.get(number, 0.0)
        return Slot(number, f"db-{number}", self.address(number), container_id, status, release, started_at, volume,
                    status == "running", draining, 0 if draining else None)
