"""A real set of etcd on loopback: its members are processes, their volumes folders, and lictor's planner manages it."""

import itertools
import os
import shutil
import signal
import time
from collections.abc import Callable

from lictor import errors
from lictor.clusters import etcd
from lictor.model import Clock
from lictor.planner.cluster import actions
from lictor.planner.cluster.actions import Act
from lictor.planner.cluster.decide import Decision, decide
from lictor.planner.cluster.kept import Kept
from lictor.planner.cluster.observation import Configuration, Report, Seen, Slot
from lictor.spec.cluster import KINDS

from lab.daemon import Daemon, free_ports

MOST = 9


class EtcdSet:
    """Up to nine members. `size` and `release` are what is desired of the set; `kept` is lictor's memory of it."""

    def __init__(self, folder: str) -> None:
        self.folder, self.size, self.release, self.kept = folder, 1, "1", Kept()
        ports = free_ports(2 * MOST)
        self.clients = {number: f"127.0.0.1:{ports[number]}" for number in range(MOST)}
        self.peers = {number: f"127.0.0.1:{ports[MOST + number]}" for number in range(MOST)}
        self.daemons: dict[int, Daemon] = {}
        self.started: dict[int, tuple[str, str, float]] = {}  # number -> container id, release, when it was started
        self.numbers = itertools.count(1)
        self.done: list[str] = []

    def manage(self, *, crashes: Callable[[], bool] = lambda: False) -> Decision:
        """Look, decide, and carry out; if it `crashes` lictor is killed once it has written down what it will do."""
        made = decide(self.look(), self.kept)
        self.kept = made.kept
        if isinstance(made.action, Act) and not crashes():
            try:
                self._carry_out(made.action)
                self.done.append(f"{made.action.kind} {made.action.number}")
            except errors.Unavailable as error:
                self.done.append(f"({made.action.kind} {made.action.number}: {error})")
        return made

    def settle(self, *, timeout_s: float = 90.0, crashes: Callable[[], bool] = lambda: False) -> None:
        """Manage it until there is nothing to do."""
        deadline = time.monotonic() + timeout_s
        while (made := self.manage(crashes=crashes)).action is not None:
            assert time.monotonic() < deadline, (made.reason, self.done)
            time.sleep(0.2)

    def look(self) -> Seen:
        slots = tuple(self._slot(number) for number in range(1, MOST))
        reports = {slot.name: report for slot in slots if slot.status == "running" and (
            report := self._ask(slot.number))}
        return Seen(Clock(time.time()), "db", self.size, self.release, KINDS["etcd"], slots, reports, certain=True)

    def leader(self) -> int:
        """Find the number of the leader; 0: there is none."""
        found = [number for number in self.daemons if (report := self._ask(number)) and report.role == "primary"]
        return found[0] if found else 0

    def members(self) -> dict[int, bool]:
        """List the members with whether they vote, as the leader knows them."""
        report = self._ask(self.leader())
        numbers = {address: number for number, address in self.peers.items()}
        return {numbers[seat.address]: seat.votes for seat in report.configuration.seats} if report else {}

    def addresses(self) -> list[str]:
        return [self.clients[number] for number in list(self.daemons)]

    def kill(self, number: int) -> None:
        self.daemons[number].stop(signal.SIGKILL)

    def wipe(self, number: int) -> None:
        """Kill a member, and lose its disk."""
        self.kill(number)
        shutil.rmtree(self.volume(number))
        os.mkdir(self.volume(number))

    def stop(self) -> None:
        for daemon in self.daemons.values():
            daemon.stop(signal.SIGKILL)

    def volume(self, number: int) -> str:
        return os.path.join(self.folder, f"db-{number}-data")

    def _slot(self, number: int) -> Slot:
        daemon, path = self.daemons.get(number), self.volume(number)
        container_id, release, started_at = self.started[number] if daemon else ("", "", 0.0)
        volume = "none" if not os.path.isdir(path) else "used" if os.listdir(path) else "empty"
        status = "" if daemon is None else "running" if daemon.running else "exited"
        return Slot(number, f"db-{number}", self.peers[number], container_id, status, release, started_at, volume)

    def _ask(self, number: int) -> Report | None:
        try:
            return etcd.ask(self.clients[number], self.peers[number])
        except errors.LictorError:
            return None

    def _carry_out(self, act: Act) -> None:
        number, primary = act.number, self.clients[self.leader()]
        match act:
            case actions.Start():
                assert act.is_blank == self._slot(number).is_blank, "the volume is not as decided"
                report = self._ask(self.leader())
                self._run(number, act.release, report.configuration if report else Configuration())
            case actions.Initiate():
                assert self._slot(number).is_blank
                self._run(number, act.release, None)
            case actions.Restart():
                self.daemons[number].stop()
                self._run(number, act.release, Configuration())
            case actions.Stop():
                self.daemons.pop(number).stop()
            case actions.StepDown():
                report = self._ask(number)
                etcd.step_down(primary, report.configuration if report else Configuration())
            case actions.Add():
                etcd.add(primary, act.address, act.basis)
            case actions.GiveVote():
                etcd.give_vote(primary, act.address, act.basis)
            case actions.Leave():
                etcd.remove(primary, act.address, act.basis)
            case _:
                raise AssertionError(act)

    def _run(self, number: int, release: str, configuration: Configuration | None) -> None:
        os.makedirs(self.volume(number), exist_ok=True)
        env = etcd.environment(f"db-{number}", self.clients[number], self.peers[number], configuration)
        env = {key: value.replace("0.0.0.0", "127.0.0.1") for key, value in env.items()}
        argv = ["etcd", "--data-dir", self.volume(number)]
        self.daemons[number] = Daemon(argv, f"{self.folder}/db-{number}.log", env)
        self.started[number] = (f"c{next(self.numbers)}", release, time.time())
