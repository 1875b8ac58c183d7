"""A set of etcd that lictor runs on a node's Docker: what people do to such a service, and what its members say."""

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lictor import errors
from lictor.clusters import etcd
from lictor.planner.cluster.observation import PRIMARY, Report
from lictor.reconcile.status.status_report import AMISS

from lab import netns
from lab.daemon import wait_for
from lab.docker import Docker
from lab.node import Node

_NAMES = itertools.count(1)
_PORT = 2379
_MOST = 20  # numbers that are looked at


class EtcdService:
    """Without a `name` the service has one of its own, as its volumes stay."""

    def __init__(self, node: Node, docker: Docker, name: str = "") -> None:
        self.node, self.docker, self.name = node, docker, name or f"db{next(_NAMES)}"
        self.spec: dict[str, Any] = {
            "name": self.name, "image": "etcd:1", "port": f"{docker.gateway}::{_PORT}", "volumes": ["data:/data"],
            "replicas": {"initial": 1, "min": 1, "max": 5}, "cluster": {"kind": "etcd", "name": self.name},
            "check": {"http": "/health", "interval": "1s", "timeout": "3s"}, "drain": "2s", "stop_grace_period": "5s"}

    def apply(self, **changes: Any) -> None:
        self.node.write_and_apply({**self.spec, **changes})

    def scale(self, size: int) -> None:
        self._do("scale", self.name, str(size))

    def deploy(self, image: str) -> None:
        subprocess.run(["consul", "kv", "put", f"services/{self.name}/image", image], check=True, capture_output=True,
                       env={**os.environ, **self.node.environ})

    def hold(self, why: str) -> None:
        self._do("hold", self.name, why)

    def resume(self) -> None:
        self._do("resume", self.name)

    def settle(self, size: int, *, timeout_s: float = 180) -> None:
        """Wait until the set has its size, all members vote and run, and nothing is to be done."""
        wait_for(lambda: self.is_settled(size), f"{self.name} has {size} members", timeout_s, every_s=0.5)

    def is_settled(self, size: int) -> bool:
        members = self.members()
        if sum(members.values()) != size or len(members) != size:
            raise AssertionError(f"{members}; {self.plan()}")
        if self.containers() != {f"{self.name}-{number}" for number in members}:
            raise AssertionError(f"{self.containers()}; {self.plan()}")
        # Of what nobody registers, plan says that it is amiss: nothing is to be done.
        if planned := [each for each in self.plan() if self.node.registrar or each["kind"] != AMISS]:
            raise AssertionError(planned)
        return True

    def plan(self) -> list[dict[str, str]]:
        done = self.node.run("plan", self.name, "--json")
        assert done.returncode in (0, 3), done.stderr
        planned: list[dict[str, str]] = json.loads(done.stdout)
        return planned

    def examined(self) -> str:
        """Read what doctor says."""
        return self.node.run("doctor").stdout

    def reconcile(self) -> int:
        return self.node.handler("lictor-reconcile", self.name).returncode

    def reports(self) -> dict[int, Report]:
        """Ask each member that runs for its own word."""
        found = {}
        for number in self._running():
            try:
                found[number] = etcd.ask(self.address(number), self.address(number, peer=True))
            except errors.LictorError:
                continue
        return found

    def leader(self) -> int:
        """Find the number of the leader; 0: there is none."""
        leading = [(report.term, number) for number, report in self.reports().items() if report.role == PRIMARY]
        return max(leading, default=(0, 0))[1]

    def wait_leader(self) -> int:
        """Find the number of the leader, once there is one: on a starved machine a set may just hold an election."""
        return wait_for(self.leader, f"{self.name} has a leader")

    def follower(self) -> int:
        leader = self.wait_leader()
        return next(number for number in self._running() if number != leader)

    def members(self) -> dict[int, bool]:
        """List the members with whether they vote, as the leader knows them."""
        reports, numbers = self.reports(), {self.address(each, peer=True): each for each in range(1, _MOST)}
        leader = self.leader()
        seats = reports[leader].configuration.seats if leader in reports else ()
        return {numbers[seat.address]: seat.votes for seat in seats}

    def set_ids(self) -> set[str]:
        return {report.set_id for report in self.reports().values()}

    def addresses(self) -> list[str]:
        return [self.address(number) for number in self._running()]

    def address(self, number: int, *, peer: bool = False) -> str:
        return f"{self.docker.gateway}:{_PORT + 2 * (number - 1) + peer}"

    def seeds(self) -> str:
        """Read where clients are told to find the set; "": nowhere."""
        return self.node.consul.get(f"lictor/seeds/{self.name}") or ""

    def containers(self) -> set[str]:
        return set(self.docker.containers(f"label=lictor.service={self.name}"))

    def volumes(self) -> set[str]:
        listed = self.docker.docker("volume", "ls", "-q", "--filter", f"name={self.name}-").split()
        return set(listed)

    def kill(self, number: int) -> None:
        self.docker.docker("kill", f"{self.name}-{number}")

    def wipe(self, number: int) -> None:
        """Lose a member's disk, and kill it, in this order: lictor may start it again as soon as it has ended. Without
        its disk it may end by itself, and write a file while others are deleted."""
        folder = self.docker.docker("volume", "inspect", "-f", "{{.Mountpoint}}", f"{self.name}-{number}-data")
        wait_for(lambda: subprocess.run(["find", folder, "-mindepth", "1", "-delete"], check=True), "the disk is empty")
        try:
            self.kill(number)
        except OSError as error:
            if "is not running" not in str(error):
                raise

    @contextmanager
    def firewall(self, one: int, other: int) -> Iterator[None]:
        """Drop what one member sends to the address at which the other one is a member."""
        pid = self.docker.docker("inspect", "-f", "{{.State.Pid}}", f"{self.name}-{one}").strip()
        port = self.address(other, peer=True).rpartition(":")[2]
        rule = ["OUTPUT", "-p", "tcp", "--dport", port, "-j", "DROP"]
        netns.run(f"/proc/{pid}/ns/net", "iptables", "-A", *rule)
        try:
            yield
        finally:
            netns.run(f"/proc/{pid}/ns/net", "iptables", "-D", *rule)

    def history(self) -> list[dict[str, Any]]:
        """Read what was done, oldest first."""
        done = self.node.run("why", self.name, "--json")
        assert done.returncode == 0, done.stderr
        records: list[dict[str, Any]] = json.loads(done.stdout)["history"]
        return records

    def all_done(self) -> list[str]:
        """List the acts, as `done` does, once none is under way: its outcome is recorded after it shows."""
        wait_for(lambda: "started" not in [each["outcome"] for each in self.history()], "the last act is recorded")
        return self.done()

    def done(self) -> list[str]:
        """List the acts, each as `kind number`."""
        return [f"{each['kind']} {each['container'].rpartition('-')[2]}" for each in self.history()
                if each["outcome"] == "done"]

    def tagged(self, tag: str) -> list[str]:
        """Name the instances that Consul lists under a tag, as its DNS does."""
        entries = self.node.consul.request("GET", f"/v1/health/service/{self.name}?tag={tag}")
        return sorted(each["Service"]["ID"].split(":")[1] for each in entries)

    def _do(self, *words: str) -> None:
        done = self.node.run(*words)
        assert done.returncode == 0, done.stderr

    def _running(self) -> list[int]:
        names = self.docker.containers(f"label=lictor.service={self.name}", "status=running")
        return sorted(int(name.rpartition("-")[2]) for name in names)
