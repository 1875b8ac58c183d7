"""The lab's demo: one service on a Swarm of three hosts is scaled and released, while hosts lose power and network."""

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
from lab.hosts.host import Host
from lab.hosts.lab import IMAGE, Lab, ready_nodes

NAME = "books-service"
PATH = "/api/v1/books"
# An instance that Swarm ends gets SIGTERM while it may be answering: only its own code can see that answer through.
SPEC: dict[str, Any] = {
    "name": NAME, "engine": "swarm", "image": IMAGE, "port": 8080, "route": {"path": PATH},
    "replicas": {"initial": 3, "min": 1, "max": 12}, "check": {"http": "/health", "interval": "1s", "timeout": "1s"},
    "heal": {"grace": "3s"}, "drain": "3s", "stop_grace_period": "3s",
    "environment": {"GRACEFUL": "yes"},
    "release": {"strategy": "blue-green", "healthy_for": "1s", "deadline": "60s", "smoke": PATH, "keep": "10m"},
}
_NEXT_IMAGE = f"{NAME}:2.0"
_LIMIT_S = 120.0


class Outage(NamedTuple):
    """Requests to this host's nginx, or to any while `host` is "", may fail for it (times of time.monotonic)."""

    host: str
    began: float
    ended: float


class Show:
    """What the steps work on. `figures` are seconds, by what they measure."""

    def __init__(self, lab: Lab, timeline: Timeline) -> None:
        self.lab, self.timeline = lab, timeline
        self.clients = {host.name: lab.client(host, PATH) for host in lab.hosts}
        self.outages: list[Outage] = []
        self.figures: dict[str, float] = {}

    def apply(self) -> None:
        with self.timeline.step("lictor apply on host-1: Swarm runs 3, and all three nginx serve them"):
            self.lab["host-1"].write_and_apply(SPEC)
            self.wait_served(3)

    def scale(self, count: int) -> None:
        key = f"services/{NAME}/replicas"
        with self.timeline.step(f"consul kv put {key} {count}, on host-2: all three nginx serve {count}"):
            host = self.lab["host-2"]
            subprocess.run(host.command(["consul", "kv", "put", key, str(count)]), check=True, capture_output=True,
                           env={**os.environ, **host.environ})
            self.wait_served(count)
        homes = {each["Node"]["Node"] for color in ("blue", "green") for each in host.consul.passing(f"{NAME}-{color}")}
        assert len(homes) == 3, f"the instances are on {homes} only"

    def release(self) -> None:
        for host in self.lab.hosts:
            host.docker.build_books(_NEXT_IMAGE, "2.0")
        with self.timeline.step(f"lictor deploy {NAME} {_NEXT_IMAGE} --wait, on host-3: all three nginx serve it"):
            done = self.lab["host-3"].run("deploy", NAME, _NEXT_IMAGE, "--wait", timeout_s=2 * _LIMIT_S)
            assert done.returncode == 0, done.stderr
            self.wait_served(3)

    def lose_power(self) -> None:
        victim = next(each for each in reversed(self.lab.hosts) if each is not self.lab.leader())
        with self.away(victim) as others:
            with self.timeline.step(f"{victim.name} loses its power: its instances leave the others' nginx"):
                self.lose(victim, self.lab.kill, others)
            with self.timeline.step("three others serve on both"):
                self.wait_served(3, but=victim)
            self.take_back(victim)

    def cut_leader(self) -> None:
        leader = self.lab.leader()
        assert leader, "Consul has no leader"
        with self.away(leader) as others:
            with self.timeline.step(f"Consul's leader, {leader.name}, is cut off: the others elect a new one, and its "
                                    "instances leave their nginx"):
                self.lose(leader, self.lab.cut, others)
            with self.timeline.step("three others serve on both"):
                self.wait_served(3, but=leader)
            healed_at = time.monotonic()
            self.take_back(leader)
        self.figures["from the end of the partition until all agreed"] = round(time.monotonic() - healed_at, 2)

    def lose(self, host: Host, fault: Callable[[Host], None], others: list[Host]) -> None:
        """Until then requests to any nginx may have been with an instance there."""
        began = time.monotonic()
        fault(host)
        wait_for(lambda: self.lab.leader() in others, "another host leads", _LIMIT_S)
        wait_for(lambda: _is_dead(host, others[0]), "Consul takes it for dead", _LIMIT_S, every_s=0.02)
        noticed_at = time.monotonic()
        wait_for(lambda: not any(_serves_from(host, each) for each in others), "they leave", _LIMIT_S, every_s=0.02)
        left_at = time.monotonic()
        self.outages.append(Outage("", began, left_at))
        self.figures[f"until Consul noticed that {host.name} was away"] = round(noticed_at - began, 2)
        self.figures[f"from then until no nginx served from {host.name}"] = round(left_at - noticed_at, 2)

    def take_back(self, host: Host) -> None:
        with self.timeline.step(f"{host.name} comes back: all nginx serve, and no stale registration is left"):
            self.lab.heal(host)
            wait_for(lambda: len(ready_nodes(host)) == 3, "the Swarm has three nodes ready", _LIMIT_S)
            wait_for(lambda: not self.stale(), "all that is registered passes", _LIMIT_S)
            self.wait_served(3)

    def wait_served(self, count: int, *, but: Host | None = None) -> None:
        """Until just so many pass, and are what every nginx says it serves, that of one host left out."""
        hosts = [each for each in self.lab.hosts if each is not but]

        def agree() -> bool:
            passing = sorted((each["Node"]["Node"], each["Service"]["ID"]) for color in ("blue", "green")
                             for each in hosts[0].consul.passing(f"{NAME}-{color}"))
            return len(passing) == count and all(each.confirmed(NAME) == passing for each in hosts)
        wait_for(agree, f"{', '.join(each.name for each in hosts)} serve {count}", _LIMIT_S)

    def stale(self) -> list[str]:
        """Registrations that do not pass, as any host sees them."""
        return [each["ServiceID"] for color in ("blue", "green") for host in self.lab.hosts
                for each in host.consul.request("GET", f"/v1/health/checks/{NAME}-{color}")
                if each["Status"] != "passing"]

    @contextmanager
    def away(self, host: Host) -> Iterator[list[Host]]:
        """Note that a host is away during the block, which gets the other hosts."""
        began = time.monotonic()
        yield [each for each in self.lab.hosts if each is not host]
        self.outages.append(Outage(host.name, began, time.monotonic()))

    def explains(self, host: str, failure: Failure) -> bool:
        return any(each.host in (host, "") and failure.at >= each.began and failure.began <= each.ended
                   for each in self.outages)


STEPS: tuple[Callable[[Show], None], ...] = (
    lambda show: show.scale(9),
    lambda show: show.scale(3),
    Show.release,
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
    print(f"\n{summary['requests']} requests to three nginx; {summary['while_away']} failed while a host was away, "
          f"{len(summary['unexplained'])} for no such reason", *summary["unexplained"][:10], sep="\n")
    for what, seconds in summary["figures_s"].items():
        print(f"{seconds:6.2f} s {what}")
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
    unexplained = [f"{name}, {each.at - show.timeline.began:.1f} s: {each.seen}" for name, each in failures
                   if not show.explains(name, each)]
    return {
        "requests": sum(each.requests for each in show.clients.values()),
        "while_away": len(failures) - len(unexplained), "unexplained": unexplained,
        "resets_of_reused_connections": sum(each.resets_of_reused for each in show.clients.values()),
        "figures_s": show.figures, "steps": show.timeline.steps,
    }


def _is_dead(host: Host, witness: Host) -> bool:
    checks = witness.consul.request("GET", f"/v1/health/node/{host.name}") or []
    return not any(each["CheckID"] == "serfHealth" and each["Status"] == "passing" for each in checks)


def _serves_from(home: Host, router: Host) -> bool:
    """Whether a host's nginx may still send requests to instances on another."""
    return any(node == home.name for node, _ in router.confirmed(NAME)) or not router.confirmed(NAME)
