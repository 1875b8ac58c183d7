"""Healing on the real programs: what lictor replaces, and above all what it leaves alone, and tells people of."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lictor.events import agent_config, timer
from lictor.planner.actions import KINDS_OF_ACTS

from lab.client import Client
from lab.consul import Consul
from lab.daemon import wait_for
from lab.docker import Docker
from lab.node import QUICK, Node

NAME = "books-service"
PATH = "/api/v1/books"
WELL = "1 services as desired"
TIMER = "2s"
LONG_S = 90


class Paged(NamedTuple):
    """A node that tells people by a command, which keeps what it is told."""

    node: Node
    told_path: Path

    @property
    def told(self) -> list[dict[str, Any]]:
        """The records that people got: JSON texts, one behind the other."""
        text, records = self.told_path.read_text() if self.told_path.exists() else "", []
        while text:
            record, length = json.JSONDecoder().raw_decode(text)
            records.append(record)
            text = text[length:]
        return records


@pytest.fixture
def paged(docker: Docker, tmp_path: Path) -> Iterator[Paged]:
    told_path = tmp_path / "told"
    more = f'[notify]\ncommand = ["tee", "-a", "{told_path}"]\n'
    node = Node(str(tmp_path / "node"), docker, timer=TIMER, settings=QUICK + more, keep_data=True)
    try:
        yield Paged(node.start(), told_path)
    finally:
        node.stop()


def names(*numbers: int) -> list[str]:
    return [f"{NAME}-{number}" for number in numbers]


def ids(node: Node) -> list[str]:
    """The ids of all containers, running or not, with the time of their last start."""
    found = node.docker.docker("ps", "-aq", "--no-trunc").split()
    return sorted(node.docker.docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Status}}",
                                     *found).splitlines()) if found else []


def at_once(node: Node, name_list: list[str], *words: str) -> None:
    """Run a busybox command in all these containers at the same time."""
    threads = [threading.Thread(target=node.docker.docker, args=("exec", name, "busybox", *words))
               for name in name_list]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def break_health(node: Node, *name_list: str) -> None:
    at_once(node, list(name_list), "rm", "/www/health")


def check(node: Node) -> tuple[str, str]:
    """What the agent says of lictor's own check: its status and its output, which the catalogue gets minutes later."""
    found = node.consul.request("GET", "/v1/agent/checks")[agent_config.CHECK_ID]
    return found["Status"], found["Output"].strip()


def wait_well(node: Node, *served: str) -> None:
    node.wait_served(*served, timeout_s=LONG_S)
    wait_for(lambda: check(node) == ("passing", WELL), "the check says that all is well", LONG_S)


def wait_sweeps(node: Node, count: int) -> None:
    """Wait until so many further sweeps have ended."""
    seen: set[float] = set()

    def ended() -> bool:
        summary = timer.read(node.settings)
        seen.update([summary.at] if summary else [])
        return len(seen) > count
    wait_for(ended, f"{count} sweeps have ended", LONG_S)


def why(node: Node) -> str:
    done = node.run("why", NAME)
    assert done.returncode == 0, done.stderr
    return done.stdout


def history(node: Node) -> list[dict[str, Any]]:
    done = node.run("why", NAME, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["history"]
    return found


def reasons(node: Node, kind: str) -> list[str]:
    return [each["reason"] for each in history(node) if each["kind"] == kind]


def assert_replayed_alike(node: Node) -> None:
    """Upon what was seen then, the same is decided and told again; a record that is damaged cannot be told."""
    path = Path(node.folder) / "story.json"
    path.write_text(node.run("why", NAME, "--json").stdout)
    done = node.run("replay", str(path), "--json")
    replayed = json.loads(done.stdout)
    assert [each for each in replayed if each["verdict"] != "same"] == [] and done.returncode == 0
    assert len([each for each in replayed if each["then"].split()[0] in KINDS_OF_ACTS]) >= 6
    story = json.loads(path.read_text())
    story["history"][1]["observation"]["containers"] = [{"id": 7}]
    path.write_text(json.dumps(story))
    done = node.run("replay", str(path))
    assert done.returncode == 1 and done.stdout.endswith(
        f"{len(replayed)} decisions: {len(replayed) - 1} same, 0 different, 1 cannot be told\n")
    path.write_text(json.dumps(story)[:-20])
    done = node.run("replay", str(path))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1) and str(path) in done.stderr


def test_when_all_fail_at_once_the_observer_is_suspected_and_nothing_is_touched(paged: Paged) -> None:
    node = paged.node
    node.apply(replicas={"initial": 3}, heal={"grace": "20s"})
    wait_well(node, *names(1, 2, 3))
    before = ids(node)
    held = "on hold: 3 of 3 instances are critical at once. Would replace"
    with Client(node.nginx.port, PATH, fresh=1) as client:
        break_health(node, *names(1, 2, 3))
        wait_for(lambda: held in why(node), "the grace is over, and it is held", LONG_S)
        wait_sweeps(node, 3)
        wait_for(lambda: check(node)[0] == "warning" and held in check(node)[1], "the check says so", LONG_S)
        assert ids(node) == before and node.served() == set(names(1, 2, 3))
        at_once(node, names(1, 2, 3), "touch", "/www/health")
        wait_well(node, *names(1, 2, 3))
        wait_sweeps(node, 1)
    assert client.failures == []
    assert ids(node) == before
    wait_for(lambda: "now: nothing to do" in why(node), "why says that all is well")
    assert [(each["service"], each["kind"]) for each in paged.told] == [(NAME, "held")]
    assert paged.told[0]["reason"].endswith("of 3 instances are critical at once. No running instance is replaced.")
    wait_for(lambda: reasons(node, "held") == [paged.told[0]["reason"], "this is over"], "the end is recorded")
    assert {each["kind"] for each in history(node)} == {"start", "held"}


def test_over_budget_the_breaker_opens_and_resume_closes_it(paged: Paged) -> None:
    node = paged.node
    node.apply(replicas={"initial": 2}, heal={"grace": "5s", "budget": 1})
    node.wait_served(*names(1, 2), timeout_s=LONG_S)
    with Client(node.nginx.port, PATH, fresh=1) as client:
        break_health(node, names(1)[0])
        wait_for(lambda: node.docker.containers() == names(2, 3), "the third stands in for the first", LONG_S)
        before = ids(node)
        at_once(node, names(2), "sh", "-c", "echo the shelf is on fire > /proc/1/fd/1")
        break_health(node, names(2)[0])
        spent = "its budget is spent: 1 of 1 replaced within 10 min"
        says = f"{NAME}: the breaker is open: {spent}"
        wait_for(lambda: (now := check(node))[0] == "critical" and says in now[1], "the check is critical", LONG_S)
        wait_sweeps(node, 2)
        assert ids(node) == before
        wait_for(lambda: "    | the shelf is on fire\n" in (told := why(node)) and (
            f"on hold: the breaker is open, as {spent}" in told), "why says it, with the last words")
        wait_for(lambda: paged.told, "people are told")
        (record,) = paged.told
        assert (record["service"], record["kind"], record["detail"].strip()) == (
            NAME, "breaker", "the shelf is on fire")
        assert "the breaker is closed" in node.run("resume", NAME).stdout
        wait_for(lambda: node.docker.containers() == names(1, 3), "the first stands in for the second", LONG_S)
        wait_well(node, *names(1, 3))
    assert client.failures == []
    assert len(paged.told) == 1
    wait_for(lambda: reasons(node, "breaker") == [record["reason"], "this is over"], "the end is recorded")
    assert_replayed_alike(node)


class Pair(NamedTuple):
    """Two nodes whose agents are clients of one server; the engine's containers are those of the second."""

    first: Node
    second: Node


@pytest.fixture
def pair(docker: Docker, tmp_path: Path) -> Iterator[Pair]:
    os.makedirs(tmp_path / "server")
    server = Consul(str(tmp_path / "server"), node="server")
    options: dict[str, Any] = {"timer": TIMER, "join": server.serf_port}
    first = Node(str(tmp_path / "first"), docker, registers=False, node="node-1", **options)
    second = Node(str(tmp_path / "second"), docker, node="node-2", **options)
    try:
        server.start()
        yield Pair(first.start(), second.start())
    finally:
        first.stop()
        second.stop()
        server.stop()


def registered(node: Node) -> list[str]:
    """The ids of the containers that the catalogue has as instances of the service."""
    found = node.consul.request("GET", f"/v1/catalog/service/{NAME}?consistent")
    return sorted(each["ServiceMeta"]["lictor-container"] for each in found)


def test_the_containers_of_a_node_that_is_lost_are_held_and_it_is_taken_back_cleanly(pair: Pair) -> None:
    first, second = pair
    assert second.consul.daemon
    address = second.docker.docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    second.apply(replicas={"initial": 2}, port=f"{address}::8080", heal={"grace": "20s"})
    wait_well(second, *names(1, 2))
    first.wait_served(*names(1, 2), timeout_s=LONG_S)
    before = ids(second)
    with Client(first.nginx.port, PATH, fresh=1) as client:
        second.consul.stop(signal.SIGKILL)
        lost = "node node-2 does not answer"
        wait_for(lambda: (now := check(first))[0] == "warning" and lost in now[1], "the other's check says so", LONG_S)
        wait_for(lambda: f"on hold: {lost}" in first.run("status").stdout, "status says it, too")
        wait_sweeps(first, 3)
        assert ids(second) == before and first.served() == set(names(1, 2))
    assert client.failures == []
    second.docker.docker("kill", names(1)[0])
    second.consul.start(env=second.environ)
    wait_well(second, *names(1, 2))
    first.wait_served(*names(1, 2), timeout_s=LONG_S)
    wait_for(lambda: check(first)[0] == "passing", "the other node's check is well again", LONG_S)
    running = second.docker.docker("ps", "-q", "--no-trunc").split()
    wait_for(lambda: registered(first) == sorted(running), "the catalogue has those that run")
    assert len({*before} & {*ids(second)}) == 1
