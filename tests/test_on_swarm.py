"""A service on Swarm, on the lab's three hosts: it scales, loses a host, releases, and survives a cut-off leader."""

import json
import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.daemon import wait_for
from lab.docker import Engine
from lab.hosts import IMAGE, Lab
from lictor import state

NAME = "books-service"
PATH = "/api/v1/books"
LIMIT_S = 120
SPEC: dict[str, Any] = {
    "name": NAME, "engine": "swarm", "image": IMAGE, "port": 8080, "route": {"path": PATH},
    "replicas": {"initial": 3, "min": 1, "max": 12}, "check": {"http": "/health", "interval": "1s", "timeout": "1s"},
    "heal": {"grace": "3s"}, "drain": "3s", "stop_grace_period": "3s",
    "release": {"strategy": "blue-green", "healthy_for": "1s", "deadline": "60s", "smoke": PATH, "keep": "10m"},
}


@pytest.fixture
def lab() -> Iterator[Lab]:
    parent = tempfile.mkdtemp(prefix="lictor-swarm-", dir="/tmp")
    with Lab(os.path.join(parent, "lab"), memory_mib=(512, 512, 4096)) as whole:
        for host in whole.hosts:
            host.docker.build_books(f"{NAME}:2.0", "2.0")
            host.docker.build_books(f"{NAME}:no-start", "bad", "start")
        yield whole
    os.rmdir(parent)


def remembered(lab: Lab) -> state.State:
    return state.decode((lab.hosts[0].consul.get(f"{state.KEY_PREFIX}{NAME}") or "{}").encode())


def passing(lab: Lab, color: str, host: int = 0) -> list[dict[str, Any]]:
    return lab.hosts[host].consul.passing(f"{NAME}-{color}")


def served(lab: Lab, host: int = 0) -> list[str]:
    """The instances that this host's nginx said it serves."""
    found = lab.hosts[host].consul.get(f"lictor/nodes/{lab.hosts[host].name}/{NAME}")
    return sorted(each[1] for each in json.loads(found)["instances"]) if found else []


def wait_all_serve(lab: Lab, count: int, color: str) -> None:
    wait_for(lambda: len(passing(lab, color)) == count, f"{count} of {color} pass", LIMIT_S)
    for number in range(len(lab.hosts)):
        wait_for(lambda host=number: len(served(lab, host)) == count, f"host {number + 1} serves {count}", LIMIT_S)


def it_scales_across_hosts_and_back_without_a_failed_request(lab: Lab) -> None:
    host = lab.hosts[0]
    host.write_and_apply(SPEC)
    wait_all_serve(lab, 3, "blue")
    with lab.client(lab.hosts[1], PATH) as client:
        lab.hosts[2].consul.put(f"services/{NAME}/replicas", "9")
        wait_all_serve(lab, 9, "blue")
        assert {each["Node"]["Node"] for each in passing(lab, "blue")} == {"host-1", "host-2", "host-3"}
        host.consul.put(f"services/{NAME}/replicas", "3")
        wait_all_serve(lab, 3, "blue")
    assert client.failures == [] and client.requests > 100
    assert host.docker.docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}") == f"{NAME}-blue 3/3"


def a_release_switches_and_a_bad_one_does_not(lab: Lab) -> None:
    host = lab.hosts[0]
    with lab.client(lab.hosts[2], PATH) as client:
        host.consul.put(f"services/{NAME}/image", f"{NAME}:2.0")
        wait_for(lambda: host.consul.get(f"services/{NAME}/color") == "green", "green is live", LIMIT_S)
        wait_all_serve(lab, 3, "green")
        wait_for(lambda: not passing(lab, "blue"), "blue is scaled to nothing", LIMIT_S)
        host.consul.put(f"services/{NAME}/image", f"{NAME}:no-start")
        wait_for(lambda: remembered(lab).failed, "the bad one has failed", LIMIT_S)
        assert "exit" in str(remembered(lab).failed)
        wait_for(lambda: host.docker.docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}") ==
                 f"{NAME}-green 3/3", "only green is left", LIMIT_S)
    assert client.failures == []
    assert host.consul.get(f"services/{NAME}/color") == "green" and len(passing(lab, "green")) == 3


def an_ill_task_is_ended_by_its_node_and_swarm_starts_another(lab: Lab) -> None:
    ill = passing(lab, "green")[0]
    node, container = ill["Node"]["Node"], ill["Service"]["Meta"]["lictor-container"]
    lab[node].docker.docker("exec", container, "/bin/busybox", "rm", "/www/health")
    wait_for(lambda: container not in lab[node].docker.docker("ps", "-q", "--no-trunc"), "it is ended", LIMIT_S)
    wait_all_serve(lab, 3, "green")


def a_dead_host_s_instances_leave_nginx_and_come_back_elsewhere(lab: Lab) -> None:
    victim = next(each for each in lab.hosts[1:] if any(
        entry["Node"]["Node"] == each.name for entry in passing(lab, "green")))
    lab.kill(victim)
    left = [number for number, each in enumerate(lab.hosts) if each is not victim]

    def without_it() -> bool:
        return all(len(served(lab, number)) == 3 and not any(each["Node"]["Node"] == victim.name for each in passing(
            lab, "green")) for number in left)
    wait_for(without_it, "three others serve everywhere", LIMIT_S)
    lab.heal(victim)
    wait_all_serve(lab, 3, "green")
    wait_for(lambda: not [each for each in lab.hosts[0].consul.request("GET", f"/v1/health/service/{NAME}-green")
                          if each["Checks"][1]["Status"] != "passing"], "no stale registration is left", LIMIT_S)


def while_the_leader_is_cut_off_it_goes_on_and_afterwards_all_agree(lab: Lab) -> None:
    leader = lab.leader()
    assert leader
    other = next(each for each in lab.hosts if each is not leader)
    lab.cut(leader)
    wait_for(lambda: lab.leader() not in (None, leader), "the others have a leader", LIMIT_S)
    other.consul.put(f"services/{NAME}/replicas", "5")
    lab.heal(leader)
    wait_all_serve(lab, 5, "green")


def memory_decides_where_they_run_and_what_fits_nowhere_is_no_release(lab: Lab) -> None:
    host = lab.hosts[0]
    heavy = {**SPEC, "name": "heavy", "route": {"path": "/heavy"}, "resources": {"memory": "1GiB"},
             "replicas": {"initial": 2, "max": 3}, "release": {**SPEC["release"], "deadline": "10s"}}
    host.write_and_apply(heavy)

    def nodes() -> list[str]:
        return [each["Node"]["Node"] for each in host.consul.passing("heavy-blue")]
    wait_for(lambda: nodes() == ["host-3", "host-3"], "both are where the memory is", LIMIT_S)
    host.write_and_apply({**heavy, "resources": {"memory": "8GiB"}})
    wait_for(lambda: "insufficient resources" in host.run("plan", "heavy").stdout, "the release is refused", LIMIT_S)
    wait_for(lambda: "the release of" in host.run("plan", "heavy").stdout, "and said to have failed", LIMIT_S)
    assert nodes() == ["host-3", "host-3"] and host.consul.get("services/heavy/color") == "blue"
    host.run("remove", "heavy")
    wait_for(lambda: "heavy" not in host.docker.docker("service", "ls"), "it is gone", LIMIT_S)


@contextmanager
def creations(lab: Lab, folder: Path) -> Iterator[list[str]]:
    """Whatever the engines themselves say they create of our service meanwhile."""
    found: list[str] = []
    paths = [folder / host.name for host in lab.hosts]
    listeners = []
    for host, path in zip(lab.hosts, paths, strict=True):
        with open(path, "wb") as file:
            listeners.append(subprocess.Popen(
                ["docker", "events", "--filter", "event=create", "--filter", f"label=lictor.service={NAME}",
                 "--format", "{{.Actor.ID}}"], stdout=file, env={**os.environ, **host.docker.environ}))
    try:
        yield found
    finally:
        for each in listeners:
            each.terminate()
            each.wait(10)
        found += [line for path in paths for line in path.read_text().split()]


def nothing_is_started_twice_for_one_intent(lab: Lab, tmp_path: Path) -> None:
    """All three hosts are managers and run all handlers. LICTOR_INTENTS=200 has a hundred writes and a hundred kills;
    each write that raises the count, and each kill, may lead to so many new containers and no more."""
    r, allowed, kills = random.Random(7), 0, 0
    count = int(lab.hosts[0].consul.get(f"services/{NAME}/replicas") or "3")
    wait_all_serve(lab, count, "green")
    with creations(lab, tmp_path) as created:
        for _ in range(int(os.environ.get("LICTOR_INTENTS", "12"))):
            if r.random() < 0.5:
                new = r.randint(2, 6)
                lab.hosts[r.randrange(3)].consul.put(f"services/{NAME}/replicas", str(new))
                allowed, count = allowed + max(new - count, 0), new
            else:
                victim = lab.hosts[r.randrange(3)].docker
                running = victim.docker("ps", "-q", "--filter", f"label=lictor.service={NAME}").split()
                if running:
                    kills += _kill(victim, r.choice(running))
            wait_for(lambda: r.random() < 0.2, "some while passes", LIMIT_S)
        wait_all_serve(lab, count, "green")
    assert len(set(created)) == len(created) and 0 < len(created) <= allowed + kills


def _kill(engine: Engine, container: str) -> bool:
    """Whether it was our kill that ended it: Swarm may just have done so."""
    try:
        engine.docker("kill", container)
    except OSError as error:
        if "is not running" in str(error) or "No such container" in str(error):
            return False
        raise
    return True


@pytest.mark.timeout(900)
def test_a_service_on_three_hosts(lab: Lab, tmp_path: Path) -> None:
    """One story, as every part goes on where the one before has ended."""
    it_scales_across_hosts_and_back_without_a_failed_request(lab)
    a_release_switches_and_a_bad_one_does_not(lab)
    an_ill_task_is_ended_by_its_node_and_swarm_starts_another(lab)
    a_dead_host_s_instances_leave_nginx_and_come_back_elsewhere(lab)
    while_the_leader_is_cut_off_it_goes_on_and_afterwards_all_agree(lab)
    memory_decides_where_they_run_and_what_fits_nowhere_is_no_release(lab)
    nothing_is_started_twice_for_one_intent(lab, tmp_path)
