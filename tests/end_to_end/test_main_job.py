"""The main job on the real programs: keys and faults go in, what nginx serves comes out."""

import contextlib
import glob
import http.client
import json
import os
import random
import signal
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from lab.client import Client
from lab.daemon import wait_for
from lab.docker import Docker
from lab.node import Node
from support.modes import in_both_modes

NAME = "books-service"
REPLICAS = f"services/{NAME}/replicas"


def names(*numbers: int) -> list[str]:
    return [f"{NAME}-{number}" for number in numbers]


def containers(node: Node) -> list[str]:
    return node.docker.containers(f"label=lictor.service={NAME}", "status=running")


def ids(node: Node) -> list[str]:
    return sorted(node.docker.docker("ps", "-aq", "--no-trunc").split())


def status(node: Node) -> dict[str, Any]:
    done = node.run("status", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = [each for each in json.loads(done.stdout) if each["name"] == NAME]
    return dict(row)


@in_both_modes
def test_a_key_scales_up_and_down_and_a_request_in_flight_is_waited_for(node: Node) -> None:
    node.apply(route={"path": "/"})
    node.wait_served(*names(1))
    node.consul.put(REPLICAS, "3")
    node.wait_served(*names(1, 2, 3))
    asked = [http.client.HTTPConnection("127.0.0.1", node.nginx.port, timeout=120) for _ in range(9)]
    for each in asked:  # two seconds each; evenly by each of nginx's two workers, so that each instance has one
        each.request("GET", "/cgi-bin/slow")
    with Client(node.nginx.port, "/api/v1/books") as client:
        node.consul.put(REPLICAS, "1")
        wait_for(lambda: containers(node) == names(1), "one container is left")
    answers = [each.getresponse().read().decode().strip() for each in asked]
    assert set(answers) == set(names(1, 2, 3))
    assert client.failures == []
    told = node.run("why", NAME).stdout
    assert f"start {NAME}-3: replicas key is 3" in told and f"remove {NAME}-3: drained: replicas key is 1" in told


@in_both_modes
def test_what_dies_is_recreated_and_what_stays_critical_is_replaced(node: Node) -> None:
    node.apply(replicas={"initial": 2})
    node.wait_served(*names(1, 2))
    node.docker.docker("kill", names(1)[0])
    with Client(node.nginx.port, "/api/v1/books", fresh=1) as client:
        node.wait_served(*names(1, 2))
        node.docker.docker("exec", names(1)[0], "busybox", "rm", "/www/health")
        wait_for(lambda: containers(node) == names(2, 3), "the third stands in for the first")
        node.wait_served(*names(2, 3))
    assert client.failures == []


def test_a_single_critical_instance_serves_until_replaced_and_bad_counts_are_refused(node: Node) -> None:
    node.apply()
    node.wait_served(*names(1))
    with Client(node.nginx.port, "/api/v1/books") as client:
        node.docker.docker("exec", names(1)[0], "busybox", "rm", "/www/health")
        wait_for(lambda: containers(node) == names(2), "the second stands in for the first")
    assert client.failures == []
    node.consul.put(REPLICAS, "2")
    node.wait_served(*names(1, 2))
    before = ids(node)
    for value in (b"three", b"-1", b"1e3", b"999", b"", b"\xff\x00\xfe"):
        node.consul.put(REPLICAS, value)
        row = status(node)
        assert row["desired"] == 2
        assert [each for each in row["problems"] if f"{REPLICAS}: is " in each and "within 1..10" in each]
        wait_for(lambda: node.run("plan").returncode == 0, "nothing to do")
    wait_for(lambda: "within 1..10" in node.run("why", NAME).stdout, "the refusal is on record")
    assert ids(node) == before
    node.consul.request("DELETE", f"/v1/kv/{REPLICAS}")
    wait_for(lambda: status(node)["problems"] == [], "the refusal is over")
    assert status(node)["desired"] == 2


def test_the_death_of_the_only_instance_is_made_good_by_events_alone(docker: Docker, tmp_path: Path) -> None:
    node = Node(str(tmp_path / "node"), docker, timer="")
    try:
        node.start()
        node.apply()
        node.wait_served(*names(1))
        wait_for(lambda: not node.handler_pids(), "every handler has ended, and no other will come by itself")
        before = ids(node)
        docker.docker("kill", names(1)[0])
        wait_for(lambda: ids(node) != before and node.answers(), "another container serves")
    finally:
        node.stop()


@in_both_modes
def test_hold_keeps_hands_off_removal_leaves_nothing_and_zero_replicas_answer_503_with_retry_after(node: Node) -> None:
    node.apply(replicas={"initial": 2, "min": 0})
    node.wait_served(*names(1, 2))
    assert node.run("hold", NAME).returncode == 0
    node.docker.docker("kill", names(1)[0])
    node.wait_served(*names(2))
    assert "on hold: the hold key is set (by hand). Would start" in node.run("plan").stdout
    assert containers(node) == names(2)
    assert node.run("resume", NAME).returncode == 0
    node.wait_served(*names(1, 2))
    assert node.run("remove", NAME).returncode == 0
    wait_for(lambda: ids(node) == [] and node.nginx.get("/api/v1/books")[0] == 404, "containers and route are gone")
    wait_for(lambda: glob.glob(f"{node.nginx.conf_dir}/*/*{NAME}*") == [], "its files are gone")
    node.apply(replicas={"initial": 1, "min": 0})
    node.wait_served(*names(1))
    node.consul.put(REPLICAS, "0")
    wait_for(lambda: ids(node) == [] and node.nginx.get("/api/v1/books")[0] == 503, "no container is left")
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(f"{node.nginx.url}/api/v1/books")
    assert raised.value.code == 503 and raised.value.headers["Retry-After"]


def test_while_consul_is_away_nginx_serves_on_and_no_container_is_touched(node: Node) -> None:
    node.apply(replicas={"initial": 2}, heal={"grace": "30s"})  # their checks begin anew with the agent
    node.wait_served(*names(1, 2))
    before = ids(node)
    node.consul.stop(signal.SIGKILL)
    with Client(node.nginx.port, "/api/v1/books") as client:
        done = node.run("status")
        assert done.returncode == 75 and node.consul.address in done.stderr
        node.consul.start(env=node.environ)
        wait_for(lambda: len(node.consul.passing(NAME)) == 2, "both pass again")
        node.consul.put(REPLICAS, "3")
        node.wait_served(*names(1, 2, 3))
    assert client.failures == []
    assert set(before) < set(ids(node))


def test_after_a_kill_minus_nine_of_handlers_at_random_it_still_converges(node: Node) -> None:
    node.apply()
    node.wait_served(*names(1))
    chance = random.Random(7)
    for count in (3, 1, 4, 2):
        node.consul.put(REPLICAS, str(count))
        ends = time.monotonic() + 4
        while time.monotonic() < ends:
            for pid in node.handler_pids():
                if chance.random() < 0.3:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            threading.Event().wait(chance.uniform(0.02, 0.4))
    wait_for(lambda: len(containers(node)) == 2 and node.served() == set(containers(node)), "two are served", 60)
    wait_for(lambda: node.run("plan").returncode == 0 and not [
        each for each in glob.glob(f"{node.folder}/**/.*.tmp", recursive=True) if node.folder], "no leftovers", 90)
    wait_for(lambda: status(node)["says"] == "as desired", "it is as desired")
