"""Releases on the real programs, under load: the new one serves entirely, or the old one does, and no request fails."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor.planner import service_state

from lab.client import Client
from lab.docker import Docker
from lab.node import BOOKS, Node

NAME = "books-service"
PATH = "/api/v1/books"
BLUE_GREEN: dict[str, Any] = {"strategy": "blue-green", "healthy_for": "1s", "deadline": "60s", "smoke": PATH,
                              "keep": "10m"}
ROLLING = {**BLUE_GREEN, "strategy": "rolling"}


@pytest.fixture(scope="module")
def images(docker_engine: Docker) -> None:
    for version in ("2.0", "3.0"):
        docker_engine.build_books(f"{NAME}:{version}", version)
    for breaks in ("start", "health", "books"):
        docker_engine.build_books(f"{NAME}:no-{breaks}", "bad", breaks)


@pytest.fixture
def node(docker: Docker, images: None, tmp_path: Path) -> Iterator[Node]:
    whole = Node(str(tmp_path / "node"), docker, timer="5s", keep_data=True)
    try:
        yield whole.start()
    finally:
        whole.stop()


def remembered(node: Node) -> service_state.State:
    return service_state.decode((node.consul.get(f"{service_state.KEY_PREFIX}{NAME}") or "{}").encode())


def live_image(node: Node) -> str:
    return str((remembered(node).release.live or {}).get("image"))


def color(node: Node) -> str:
    return node.consul.get(f"services/{NAME}/color") or ""


def versions(node: Node) -> set[str]:
    """Of those that answer a dozen requests."""
    return {json.loads(body)["version"] if status == 200 else f"status {status}"
            for status, body in (node.nginx.get(PATH) for _ in range(12))}


def allow(node: Node, text: str) -> None:
    with open(node.settings_path, "a", encoding="utf-8") as file:
        file.write(f"\n[allow]\n{text}\n")


def release(node: Node, version: str) -> None:
    node.consul.put(f"services/{NAME}/image", f"{NAME}:{version}")


def wait_released(node: Node, version: str, *running: str) -> None:
    """It is live, nginx serves nothing else, and these containers run."""
    node.wait_for(lambda: (remembered(node).release.live or {}).get("image") == f"{NAME}:{version}" and not
                  remembered(node).release.rollout, f"{version} is live", 60)
    node.wait_for(lambda: versions(node) == {version}, f"nginx serves {version}")
    node.wait_for(lambda: node.docker.containers("status=running") == sorted(running), f"{running} run", 60)


def blue_green(*numbers: int, of: str) -> list[str]:
    return [f"{NAME}-{of}-{number}" for number in numbers]


def test_blue_green_changes_the_colour_and_goes_back_in_seconds(node: Node) -> None:
    node.apply(release=BLUE_GREEN, replicas={"initial": 2, "min": 1, "max": 4})
    node.wait_served(*blue_green(1, 2, of="blue"))
    kept = node.docker.docker("ps", "-q", "--no-trunc").split()
    with Client(node.nginx.port, PATH) as client:
        done = node.run("deploy", NAME, f"{NAME}:2.0", "--wait", timeout_s=200)
        assert done.returncode == 0, done.stdout + done.stderr
        wait_released(node, "2.0", *blue_green(1, 2, of="green"))
        assert color(node) == "green"
        assert node.docker.containers() == blue_green(1, 2, of="blue") + blue_green(1, 2, of="green")
        done = node.run("rollback", NAME, "--wait", timeout_s=200)
        assert done.returncode == 0, done.stdout + done.stderr
        wait_released(node, "1.0", *blue_green(1, 2, of="blue"))
        assert color(node) == "blue"
    assert client.failures == [] and client.requests > 100
    assert sorted(node.docker.docker("ps", "-q", "--no-trunc").split()) == sorted(kept)
    failed = node.run("deploy", NAME, f"{NAME}:no-start", "--wait", timeout_s=200)
    assert failed.returncode == 1 and "no database to be found" in failed.stdout + failed.stderr, failed


def test_rolling_replaces_one_at_a_time(node: Node) -> None:
    node.apply(release=ROLLING, replicas={"initial": 3, "min": 1, "max": 4})
    node.wait_served(f"{NAME}-1", f"{NAME}-2", f"{NAME}-3")
    began = int(time.time())
    with Client(node.nginx.port, PATH) as client:
        release(node, "2.0")
        node.wait_for(lambda: versions(node) == {"1.0", "2.0"}, "both serve together", 60)
        node.wait_for(lambda: (remembered(node).release.live or {}).get("image") == f"{NAME}:2.0", "2.0 is live", 90)
        node.wait_for(lambda: versions(node) == {"2.0"} and len(node.docker.containers()) == 3, "only 2.0 serves")
    assert client.failures == [] and client.requests > 100
    starts = node.docker.docker("events", "--since", str(began), "--until", "0s", "--filter", "event=start",
                                "--filter", f"image={NAME}:2.0", "--format", "{{.Actor.ID}}")
    assert len(starts.splitlines()) == 3


@pytest.mark.parametrize(("strategy", "breaks", "reason", "printed"), [
    ("blue-green", "start", "exit code 3", "no database to be found"),
    ("rolling", "health", "not all passed within 20 s", "health is not what it was"),
    ("blue-green", "books", f"smoke path {PATH}", "answers 404"),
    ("rolling", "books", f"smoke path {PATH}", "answers 404"),
])
def test_a_bad_release_changes_nothing_and_says_why(node: Node, strategy: str, breaks: str, reason: str,
                                                    printed: str) -> None:
    given: dict[str, Any] = {"replicas": {"initial": 2, "min": 1, "max": 4}}
    node.apply(**given, release={**BLUE_GREEN, "strategy": strategy, "deadline": "20s"})
    old = blue_green(1, 2, of="blue") if strategy == "blue-green" else [f"{NAME}-1", f"{NAME}-2"]
    node.wait_served(*old)
    before = node.docker.docker("ps", "-q", "--no-trunc")
    with Client(node.nginx.port, PATH) as client:
        release(node, f"no-{breaks}")
        node.wait_for(lambda: remembered(node).release.failed, "the release has failed", 60)
        node.wait_for(lambda: node.docker.containers() == old, "only the old ones are left", 60)
        node.wait_for(lambda: node.run("plan", NAME).stdout.count("the release of") == 1, "the plan says so")
        assert versions(node) == {"1.0"}
    assert client.failures == [] and node.docker.docker("ps", "-q", "--no-trunc") == before
    assert color(node) == ("blue" if strategy == "blue-green" else "")
    says = f"release failed: the release of {NAME}:no-{breaks} failed: "
    node.wait_for(lambda: all(each in node.run("why", NAME).stdout for each in (says, reason, printed)), "why tells it")
    node.apply(**given, release={**BLUE_GREEN, "strategy": strategy})
    release(node, "2.0")
    node.wait_for(lambda: live_image(node) == f"{NAME}:2.0", "the next one is live", 90)
    assert not remembered(node).release.failed


def test_what_still_starts_outlives_its_failed_release(node: Node) -> None:
    """Of three that migrate a database at their start, two lose the race."""
    given: dict[str, Any] = {"release": {**BLUE_GREEN, "smoke": "", "deadline": "10m"},
                             "replicas": {"initial": 3, "min": 1, "max": 6},
                             "check": {**BOOKS["check"], "start": "10m"}}
    old = blue_green(1, 2, 3, of="blue")
    node.apply(**given)
    node.wait_served(*old)
    migrate = (f"busybox hostname | busybox grep -q {NAME}-green-3 && exec busybox sleep 300; "
               "until busybox test -e /lost; do busybox sleep 0.1; done; exit 1")
    new = blue_green(1, 2, 3, of="green")
    node.apply(**given, command=["/bin/busybox", "sh", "-c", migrate])
    node.wait_for(lambda: set(new) <= set(node.docker.containers("status=running")), "all three migrate", 60)
    for loser in new[:2]:
        node.docker.docker("exec", loser, "/bin/busybox", "touch", "/lost")
    node.wait_for(lambda: remembered(node).release.failed, "the release has failed", 60)
    node.wait_for(lambda: node.docker.containers() == [*old, f"{NAME}-green-3"], "what has ended goes", 60)
    assert "it may be at work" in node.run("plan", NAME).stdout
    node.docker.docker("kill", f"{NAME}-green-3")
    node.wait_for(lambda: node.docker.containers() == old, "it has ended, and goes", 60)
    assert versions(node) == {"1.0"}


def test_the_newer_image_wins_and_the_count_is_followed_meanwhile(node: Node) -> None:
    node.apply(release={**BLUE_GREEN, "healthy_for": "5s"}, replicas={"initial": 2, "min": 1, "max": 4})
    node.wait_served(*blue_green(1, 2, of="blue"))
    with Client(node.nginx.port, PATH) as client:
        release(node, "2.0")
        node.wait_for(lambda: f"{NAME}-green-1" in node.docker.containers(), "2.0 is under way")
        release(node, "3.0")
        node.consul.put(f"services/{NAME}/replicas", "3")
        wait_released(node, "3.0", *blue_green(1, 2, 3, of="green"))
    assert client.failures == []
    assert node.consul.get(f"services/{NAME}/replicas") == "3"


def test_a_routing_node_that_is_down_is_named_and_the_old_colour_runs_on(node: Node) -> None:
    node.apply(release=BLUE_GREEN)
    node.wait_served(f"{NAME}-blue-1")
    (listed,) = node.consul.passing(f"{NAME}-blue")
    record = f"lictor/nodes/{NAME}/node-9"
    node.consul.put(record, json.dumps({"instances": [["node-1", listed["Service"]["ID"]]]}))
    release(node, "2.0")
    both = [f"{NAME}-blue-1", f"{NAME}-green-1"]
    wait_released(node, "2.0", *both)
    node.apply(release={**BLUE_GREEN, "deadline": "5s"})  # so long such a node is waited for
    reason = "the nginx of node-9 (does not answer) may still send requests to it, so it runs on beside green"
    node.wait_for(lambda: reason in node.run("plan", NAME).stdout, "node-9 is named")
    assert node.docker.containers("status=running") == both
    node.consul.request("DELETE", f"/v1/kv/{record}")
    node.wait_for(lambda: node.docker.containers("status=running") == [f"{NAME}-green-1"], "blue is stopped, and kept")
    assert node.docker.containers() == both


def test_a_compose_project_is_scaled_and_released_from_its_unchanged_file(node: Node, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    allow(node, f'projects = ["{folder}"]')
    file = folder / "docker-compose.yml"
    text = "".join(f"  {each}: {{image: '{NAME}:1.0', ports: ['8080', '8080/udp']}}\n" for each in ("blue", "green"))
    file.write_text(f"version: '3.4'\nservices:\n{text}")
    before = file.read_text()
    spec = {key: value for key, value in BOOKS.items() if key not in ("port", "stop_grace_period")} | {
        "engine": "compose", "project": {"folder": str(folder)}, "port": 8080, "release": BLUE_GREEN,
        "heal": {"grace": "1m"}}
    node.write_and_apply(spec)
    node.wait_for(lambda: versions(node) == {"1.0"}, "1.0 is served", 60)
    _pause_and_go_on(node)
    with Client(node.nginx.port, PATH) as client:
        node.consul.put(f"services/{NAME}/replicas", "2")
        # The twins that are published for UDP have no check, so that they always pass; they count for nothing.
        node.wait_for(lambda: len(node.consul.passing(f"{NAME}-blue")) == 4, "there are two, and their twins", 60)
        node.wait_for(lambda: "as desired" in node.run("status").stdout, "they count as two")
        done = node.run("deploy", NAME, f"{NAME}:2.0", "--wait", timeout_s=200)
        assert done.returncode == 0, done.stdout + done.stderr
        node.wait_for(lambda: versions(node) == {"2.0"} and len(node.consul.passing(f"{NAME}-green")) == 4, "2.0", 60)
        node.write_and_apply({**spec, "release": {**BLUE_GREEN, "deadline": "20s"}})
        done = node.run("deploy", NAME, f"{NAME}:no-health", "--wait", timeout_s=200)
        assert done.returncode == 1 and f"release of {NAME}:no-health failed: not all passed" in done.stderr
        assert done.stderr.count("404 Not Found") >= 2  # the words of the check, of each instance
        assert versions(node) == {"2.0"}
        assert file.read_text() == before
        file.write_text(before.replace("ports:", "environment: ['DB_URL=${DB_URL}'], ports:"))
        before_it = node.docker.containers("status=running")
        done = node.run("deploy", NAME, f"{NAME}:3.0", "--wait", timeout_s=200)
        assert done.returncode == 1 and f"the variable DB_URL of {file} is not set" in done.stdout + done.stderr
        assert node.docker.containers("status=running") == before_it and versions(node) == {"2.0"}
    assert client.failures == [] and client.requests > 100
    file.write_text(before)
    node.docker.docker("run", "-d", "--name", "by-hand", "-e", f"SERVICE_NAME={NAME}-green", "-p", "8080",
                       f"{NAME}:1.0")
    node.wait_for(lambda: "warn" in node.run("plan", NAME).stdout, "what was started by hand is named")
    said = " ".join(node.run("plan", NAME).stdout.split())
    assert "by-hand" in said and f"({NAME}:1.0), and lictor did not start it there" in said
    done = node.run("deploy", NAME, f"{NAME}:2.0", "--wait", timeout_s=200)
    assert done.returncode == 0 and f"warning: these serve as {NAME} too" in done.stderr


def _pause_and_go_on(node: Node) -> None:
    """As for a backup: no traffic at once, and whatever its check says, it is the same container afterwards."""
    before = node.docker.docker("ps", "-q", "--no-trunc").split()
    node.docker.docker("pause", before[0])
    node.wait_for(lambda: "paused" in node.run("plan", NAME).stdout, "it is named")
    node.wait_for(lambda: any(check["Status"] == "critical" and check["CheckID"].startswith("service:")
                              for check in node.consul.request("GET", "/v1/agent/checks").values()),
                  "its check is critical")
    node.run("resume", NAME)  # which has lictor look at once
    assert "paused" in node.run("plan", NAME).stdout
    node.docker.docker("unpause", before[0])
    node.wait_for(lambda: "paused" not in node.run("plan", NAME).stdout, "it is back")
    node.wait_for(lambda: "as desired" in node.run("status").stdout, "all is well")
    assert node.docker.docker("ps", "-q", "--no-trunc").split() == before


@pytest.mark.parametrize("strategy", ["blue-green", "rolling"])
def test_releases_in_a_row_under_load(node: Node, strategy: str) -> None:
    """LICTOR_RELEASES=20 has twenty; three are enough to see that a colour is used again."""
    node.apply(release={**BLUE_GREEN, "strategy": strategy}, replicas={"initial": 2, "min": 1, "max": 4})
    node.wait_for(lambda: versions(node) == {"1.0"}, "the first one serves")
    with Client(node.nginx.port, PATH) as client:
        for number in range(int(os.environ.get("LICTOR_RELEASES", "3"))):
            _one_of_many(node, "23"[number % 2] + ".0")
    print(f"{client.requests} requests, {client.resets_of_reused} resets of reused connections")
    assert client.failures == []


def _one_of_many(node: Node, version: str) -> None:
    release(node, version)
    node.wait_for(lambda: live_image(node) == f"{NAME}:{version}", f"{version} is live", 90)
    node.wait_for(lambda: versions(node) == {version}, f"nginx serves {version}")
    assert node.docker.docker("ps", "--format", "{{.Image}}").split().count(f"{NAME}:{version}") == 2
