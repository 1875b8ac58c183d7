"""The lab's demo: one service behind the nginx of three hosts, while hosts lose their power and their network."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from lab.client import Failure
from lab.daemon import wait_for
from lab.demo import Timeline
from lab.host import Host
from lab.hosts import Lab, ready_nodes

_SERVICE = "books-service"
_PATH = "/api/v1/books"
_LIMIT_S = 90.0


class Outage(NamedTuple):
    """From a fault to when all was well again (time.monotonic); requests to this host may fail then."""

    host: str
    began: float
    ended: float


class Show:
    """What the steps work on. `home` runs the containers: while it is away, no nginx can answer."""

    def __init__(self, lab: Lab, timeline: Timeline) -> None:
        self.lab, self.timeline, self.home = lab, timeline, lab.hosts[0]
        self.clients = {host.name: lab.client(host, _PATH, pause_s=0.02) for host in lab.hosts}
        self.outages: list[Outage] = []

    def apply(self) -> None:
        with self.timeline.step("lictor apply on host-1: all three nginx serve its instance"):
            self.home.apply(port="8080")
            self.wait_served(1)

    def scale(self, count: int) -> None:
        key = f"services/{_SERVICE}/replicas"
        with self.timeline.step(f"consul kv put {key} {count}, on host-2: all three nginx serve {count}"):
            host = self.lab["host-2"]
            subprocess.run(host.command(["consul", "kv", "put", key, str(count)]), check=True, capture_output=True,
                           env={**os.environ, **host.environ})
            self.wait_served(count)

    def lose_power(self) -> None:
        victim = self.lab["host-3"]
        with self.away(victim):
            with self.timeline.step("host-3 loses its power: Consul and the Swarm take it for dead, the others serve"):
                self.lab.kill(victim)
                wait_for(lambda: self.alive(self.home) == 2, "Consul sees two members alive", _LIMIT_S)
                wait_for(lambda: len(ready_nodes(self.home)) == 2, "the Swarm has two nodes ready", _LIMIT_S)
            self.take_back(victim)

    def cut_leader(self) -> None:
        leader = self.lab.leader()
        assert leader, "Consul has no leader"
        with self.away(leader):
            with self.timeline.step(f"Consul's leader, {leader.name}, is cut off: the others elect a new one"):
                self.lab.cut(leader)
                wait_for(lambda: self.lab.leader() not in (None, leader), "another host leads", _LIMIT_S)
            self.take_back(leader)

    def take_back(self, host: Host) -> None:
        with self.timeline.step(f"{host.name} comes back: three members, three Swarm nodes, and all nginx serve"):
            self.lab.heal(host)
            wait_for(lambda: all(self.alive(each) == 3 for each in self.lab.hosts), "all see three members", _LIMIT_S)
            wait_for(lambda: len(ready_nodes(self.home)) == 3, "the Swarm has three nodes ready", _LIMIT_S)
            self.wait_served(3)

    def wait_served(self, count: int) -> None:
        wait_for(lambda: all(len(each.served() - {""}) == count for each in self.lab.hosts),
                 f"all nginx serve {count} instances", _LIMIT_S)

    def alive(self, host: Host) -> int:
        """How many Consul members this host sees alive."""
        return sum(each["Status"] == 1 for each in host.consul.request("GET", "/v1/agent/members"))

    @contextmanager
    def away(self, host: Host) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.outages.append(Outage(host.name, began, time.monotonic()))

    def explains(self, host: str, failure: Failure) -> bool:
        return any(each.host in (host, self.home.name) and failure.at >= each.began and failure.began <= each.ended
                   for each in self.outages)


STEPS: tuple[Callable[[Show], None], ...] = (
    lambda show: show.scale(3),
    Show.lose_power,
    Show.cut_leader,
)


def run(folder: str, json_path: str | None) -> int:
    """In a lab of its own below `folder`'s parent; 0 when each step was reached and each failed request explained."""
    timeline = Timeline()
    own = tempfile.mkdtemp(prefix="lictor-lab-demo-", dir=os.path.dirname(os.path.abspath(folder)))
    lab = Lab(own)
    try:
        with timeline.step("three hosts come up"):
            lab.up(lambda text: timeline.say(f"  {text}"))
        summary = _act(Show(lab, timeline))
    finally:
        with timeline.step("the lab goes down"):
            lab.down()
    print(f"\n{summary['requests']} requests to three nginx; {summary['while_away']} failed while their host was away, "
          f"{len(summary['unexplained'])} for no such reason", *summary["unexplained"][:10], sep="\n")
    if json_path:
        with open(json_path, "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2)
    return 1 if summary["unexplained"] else 0


def _act(show: Show) -> dict[str, Any]:
    show.apply()
    with ExitStack() as stack:
        for client in show.clients.values():
            stack.enter_context(client)
        for step in STEPS:
            step(show)
    failures = [(name, each) for name, client in show.clients.items() for each in client.failures]
    unexplained = [f"{name}: {each.seen}" for name, each in failures if not show.explains(name, each)]
    return {
        "requests": sum(each.requests for each in show.clients.values()),
        "while_away": len(failures) - len(unexplained), "unexplained": unexplained,
        "resets_of_reused_connections": sum(each.resets_of_reused for each in show.clients.values()),
        "steps": show.timeline.steps,
    }
