"""A task of Swarm's is registered by its node's registrar, and out of traffic as soon as Swarm begins to end it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lictor.registrar import swarm_stop

from lab.consul import Consul
from lab.daemon import wait_for
from lab.swarm import Swarm
from support.registrar import Start, heartbeat, instance

# Asked to end it only says so; it ends when that file is there.
_SLOW = "trap 'echo asked' TERM; trap : HUP; busybox mkdir -p /tmp; until [ -e /tmp/go ]; do busybox sleep 0.1; done"


@pytest.fixture
def docker(swarm: Swarm) -> Swarm:
    """What the registrar of these tests looks at."""
    return swarm


def create(swarm: Swarm, *words: str) -> str:
    """A service of one slow task; returns the id of its container."""
    swarm.docker("service", "create", "-d", "--no-resolve-image", "--name", "books", "--stop-grace-period", "600s",
                 "--publish", "mode=host,target=8080", "--container-label", "lictor.service=books",
                 "--container-label", "SERVICE_NAME=books-green", "--container-label", "lictor.color=green", *words,
                 "--entrypoint", "/bin/busybox", "books-service:1.0", "sh", "-c", _SLOW)
    wait_for(lambda: running(swarm), "its container runs")
    return running(swarm)[0]


def running(swarm: Swarm) -> list[str]:
    return swarm.docker("ps", "-q", "--no-trunc", "-f", "label=lictor.service=books").split()


def maintenance(consul: Consul) -> dict[str, str]:
    """By service id: the reason."""
    return {each["ServiceID"]: each["Notes"] for each in consul.request("GET", "/v1/agent/checks").values()
            if each["CheckID"].startswith("_service_maintenance:")}


def ask_to_end(swarm: Swarm, container_id: str) -> None:
    """Have Swarm do it; what is started behind that comes later in Docker's events, too."""
    swarm.docker("service", "rm", "books")
    wait_for(lambda: "asked" in swarm.docker("logs", container_id), "it is asked to end")
    swarm.docker("run", "-d", "--name", "after", "-p", "8080", "books-service:1.0")


def let_go(swarm: Swarm, container_id: str) -> None:
    swarm.docker("exec", container_id, "/bin/busybox", "touch", "/tmp/go")


def test_a_task_is_registered_and_drained_once_swarm_ends_it(consul: Consul, swarm: Swarm, start: Start,
                                                             tmp_path: Path) -> None:
    registrar = start("--resync", "10")
    container_id = create(swarm)
    wait_for(lambda: consul.request("GET", "/v1/health/service/books-green"), "it is registered")
    there = instance(consul, "books-green")
    found = json.loads(swarm.docker("inspect", container_id))[0]
    assert there["Port"] == int(found["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]) and there["Address"] == ""
    assert there["Meta"] == {"lictor-container": container_id, "lictor-image": "books-service:1.0",
                             "lictor-image-id": found["Image"],
                             "lictor-color": "green", "lictor-engine": swarm.docker("info", "--format", "{{.ID}}")}
    swarm.docker("kill", "-s", "HUP", container_id)
    swarm.docker("run", "-d", "--name", "after", "-p", "8080", "books-service:1.0")
    wait_for(lambda: heartbeat(tmp_path)["registered"] == 2, "it has heard of what came after the signal")
    assert maintenance(consul) == {}
    swarm.docker("stop", "after")
    wait_for(lambda: heartbeat(tmp_path)["registered"] == 1, "what is no task just goes")
    assert maintenance(consul) == {}

    swarm.docker("service", "scale", "-d", "books=0")
    wait_for(lambda: maintenance(consul), "it is out of traffic")
    assert running(swarm) == [container_id]
    [(service_id, reason)] = maintenance(consul).items()
    assert service_id == there["ID"] and re.fullmatch(r"lictor: draining since \d+: Swarm ends it", reason)
    swarm.docker("kill", "-s", "TERM", container_id)
    let_go(swarm, container_id)
    wait_for(lambda: not consul.request("GET", "/v1/agent/services"), "it is gone")
    assert maintenance(consul) == {} and registrar.log().count("action=drain") == 1


def test_who_is_out_of_traffic_already_stays_so_for_the_same_reason(consul: Consul, swarm: Swarm,
                                                                    start: Start) -> None:
    registrar = start()
    container_id = create(swarm)
    wait_for(lambda: consul.request("GET", "/v1/health/service/books-green"), "it is registered")
    service_id = instance(consul, "books-green")["ID"]
    consul.request("PUT", f"/v1/agent/service/maintenance/{service_id}?enable=true&reason=by+hand")
    ask_to_end(swarm, container_id)
    wait_for(lambda: len(consul.request("GET", "/v1/agent/services")) == 2, "it has heard of what came after")
    assert maintenance(consul) == {service_id: "by hand"}
    let_go(swarm, container_id)
    wait_for(lambda: len(consul.request("GET", "/v1/agent/services")) == 1, "it is gone")
    assert "action=drain" not in registrar.log()


def test_a_registration_of_somebody_else_is_left_alone(consul: Consul, swarm: Swarm,
                                                       start: Start) -> None:
    consul.register({"Name": "db", "ID": "taken"})
    registrar = start()
    container_id = create(swarm, "--container-label", "SERVICE_ID=taken")
    wait_for(lambda: "SERVICE_ID" in registrar.log(), "it is refused")
    ask_to_end(swarm, container_id)
    wait_for(lambda: len(consul.request("GET", "/v1/agent/services")) == 2, "it has heard of what came after")
    assert maintenance(consul) == {}
    let_go(swarm, container_id)


@pytest.mark.parametrize(("stop_signal", "numbers"), [
    (None, {9, 15}), ("", {9, 15}), ("SIGQUIT", {3, 9, 15}), ("quit", {3, 9, 15}), ("3", {3, 9, 15}),
    ("SIGRTMIN+3", {9, 15, 37}), ("SIGSOON", {0, 9, 15}), ("TERM+x", {9, 15}),
])
def test_which_signals_end_a_task(stop_signal: str | None, numbers: set[int]) -> None:
    config: dict[str, Any] = {"Labels": {"com.docker.swarm.task.name": "books.1.x"}, "StopSignal": stop_signal}
    assert swarm_stop.stop_signals({"Name": "/books.1.x", "Config": config}) == numbers
    assert swarm_stop.stop_signals({"Name": "/debug", "Config": config}) == frozenset()  # made from a task's image
    assert swarm_stop.stop_signals({"Name": "/one", "Config": {**config, "Labels": None}}) == frozenset()
