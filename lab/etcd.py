"""A real set of etcd on loopback: its members are processes, their volumes folders, and lictor's planner manages it."""

import os
import signal
import time

from lictor import errors
from lictor.clusters import etcd
from lictor.model import Clock
from lictor.planner.cluster import actions
from lictor.planner.cluster.actions import Act
from lictor.planner.cluster.decide import Decision, decide, note_failure
from lictor.planner.cluster.kept import Kept
from lictor.planner.cluster.observation import Configuration, Report, Seen, Slot
from lictor.spec.cluster import KINDS

from lab.daemon import Daemon, free_ports

MOST = 9
_RELEASE = "1"


class EtcdSet:
    """Up to nine members, which are made and added. `size` is what is desired; `kept` is lictor's memory of the set."""

    def __init__(self, folder: str) -> None:
        self.folder, self.size, self.kept = folder, 1, Kept()
        ports = free_ports(2 * MOST)
        self.clients = {number: f"127.0.0.1:{ports[number]}" for number in range(MOST)}
        self.peers = {number: f"127.0.0.1:{ports[MOST + number]}" for number in range(MOST)}
        self.daemons: dict[int, Daemon] = {}
        self.started_at: dict[int, float] = {}
        self.done: list[str] = []

    def manage(self) -> Decision:
        """Look, decide, and carry out."""
        made = decide(self.look(), self.kept)
        self.kept = made.kept
        if isinstance(made.action, Act):
            try:
                self._carry_out(made.action)
                self.done.append(f"{made.action.kind} {made.action.number}")
            except errors.Unavailable as error:
                self.kept = note_failure(self.kept, made.action, error)
                self.done.append(f"({made.action.kind} {made.action.number}: {error})")
        return made

    def settle(self, *, timeout_s: float = 180.0) -> None:
        """Manage it until there is nothing to do."""
        deadline = time.monotonic() + timeout_s
        while (made := self.manage()).action is not None:
            assert time.monotonic() < deadline, (made.reason, self.done)
            time.sleep(0.2)

    def look(self) -> Seen:
        slots = tuple(self._slot(number) for number in range(1, MOST))
        reports = {slot.name: report for slot in slots if slot.status == "running" and (
            report := self._ask(slot.number))}
        return Seen(Clock(time.time()), "db", self.size, _RELEASE, KINDS["etcd"], slots, reports, certain=True)

    def leader(self) -> int:
        """Find the number of the leader; 0: there is none."""
        found = [number for number in self.daemons if (report := self._ask(number)) and report.role == "primary"]
        return found[0] if found else 0

    def stop(self) -> None:
        for daemon in self.daemons.values():
            daemon.stop(signal.SIGKILL)

    def volume(self, number: int) -> str:
        return os.path.join(self.folder, f"db-{number}-data")

    def _slot(self, number: int) -> Slot:
        daemon, path = self.daemons.get(number), self.volume(number)
        volume = "none" if not os.path.isdir(path) else "used" if os.listdir(path) else "empty"
        status = "" if daemon is None else "running" if daemon.running else "exited"
        container_id, release = (f"c{number}", _RELEASE) if daemon else ("", "")
        return Slot(number, f"db-{number}", self.peers[number], container_id, status, release,
                    self.started_at.get(number, 0.0), volume)

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
                self._run(number, report.configuration if report else Configuration())
            case actions.Initiate():
                assert self._slot(number).is_blank
                self._run(number, None)
            case actions.Add():
                etcd.add(primary, act.address, act.basis)
            case actions.GiveVote():
                etcd.give_vote(primary, act.address, act.basis)
            case _:
                raise AssertionError(act)

    def _run(self, number: int, configuration: Configuration | None) -> None:
        os.makedirs(self.volume(number), exist_ok=True)
        env = etcd.environment(f"db-{number}", self.clients[number], self.peers[number], configuration)
        env = {key: value.replace("0.0.0.0", "127.0.0.1") for key, value in env.items()}
        # On a starved machine, members with etcd's usual second hold elections of their own accord.
        argv = ["etcd", "--data-dir", self.volume(number), "--heartbeat-interval=300", "--election-timeout=3000"]
        self.daemons[number] = Daemon(argv, f"{self.folder}/db-{number}.log", env)
        self.started_at[number] = time.time()
