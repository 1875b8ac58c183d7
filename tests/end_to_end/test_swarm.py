"""A service on Swarm, on the lab's three hosts, where it goes wrong: bad releases, ill tasks, a leader without its
peers, memory that is nowhere, and everybody acting at once. How it scales and loses a host is the lab's demo."""

import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lictor.events import timer
from lictor.planner import service_state
from lictor.planner.actions import KINDS_OF_ACTS

from lab.daemon import wait_for
from lab.docker import Engine
from lab.hosts import demo
from lab.hosts.demo import NAME
from lab.hosts.host import Host
from lab.hosts.lab import Lab

LIMIT_S = 120
# A starved machine answers no check within a second each time.
SPEC = {**demo.SPEC, "check": {**demo.SPEC["check"], "timeout": "5s"}, "heal": {"grace": "8s"}}


@pytest.fixture
def lab() -> Iterator[Lab]:
    parent = tempfile.mkdtemp(prefix="lictor-swarm-", dir="/tmp")
    with Lab(os.path.join(parent, "lab"), memory_mib=(512, 512, 4096), patience=3) as whole:
        with ThreadPoolExecutor(len(whole.hosts)) as pool:
            list(pool.map(build_images, whole.hosts))
        yield whole
    os.rmdir(parent)


def build_images(host: Host) -> None:
    host.docker.build_books(f"{NAME}:2.0", "2.0")
    host.docker.build_books(f"{NAME}:no-start", "bad", "start")


def remembered(lab: Lab) -> service_state.State:
    return service_state.decode((lab.hosts[0].consul.get(f"{service_state.KEY_PREFIX}{NAME}") or "{}").encode())


def passing(lab: Lab, color: str, host: int = 0) -> list[dict[str, Any]]:
    return lab.hosts[host].consul.passing(f"{NAME}-{color}")


def put(host: Host, key: str, value: str) -> None:
    """Write a key, once Consul has a leader that takes it."""
    def is_written() -> bool:
        host.consul.put(key, value)
        return True
    wait_for(is_written, f"{key} is written", LIMIT_S)


def wait_all_serve(lab: Lab, count: int, color: str) -> None:
    wait_for(lambda: len(passing(lab, color)) == count, f"{count} of {color} pass", LIMIT_S)
    for host in lab.hosts:
        wait_confirmed(host, count)


def wait_confirmed(host: Host, count: int) -> None:
    wait_for(lambda: len(host.confirmed(NAME)) == count, f"{host.name} serves {count}", LIMIT_S)


def a_bad_release_changes_nothing(lab: Lab) -> None:
    """The deadline counts from the last task that was seen to run, and each of the three may be seen later than the one
    before: it is short here, and as in the other parts afterwards."""
    host = lab.hosts[0]
    host.write_and_apply({**SPEC, "release": {**SPEC["release"], "deadline": "20s"}})
    wait_all_serve(lab, 3, "blue")
    with lab.client(lab.hosts[2], SPEC["route"]["path"]) as client:
        put(host, f"services/{NAME}/image", f"{NAME}:no-start")
        wait_for(lambda: has_failed_by_its_exit(lab), "the bad one has failed", LIMIT_S)
        wait_for(lambda: host.docker.docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}") ==
                 f"{NAME}-blue 3/3", "only blue is left", LIMIT_S)
    assert client.failures == [] and client.requests > 100
    wait_for(lambda: len(passing(lab, "blue")) == 3, "three pass")
    assert host.consul.get(f"services/{NAME}/color") == "blue"
    host.write_and_apply(SPEC)


def has_failed_by_its_exit(lab: Lab) -> bool:
    """Tell whether the release has failed, as its tasks ended; a busy Swarm may not come to start one in time."""
    failed = remembered(lab).release.failed
    if failed and "exit" not in str(failed):
        lab.hosts[0].run("deploy", NAME, f"{NAME}:no-start")
    assert failed and "exit" in str(failed), failed
    return True


def an_ill_task_is_ended_by_its_node_and_swarm_starts_another(lab: Lab) -> None:
    ill = passing(lab, "blue")[0]
    node, container = ill["Node"]["Node"], ill["Service"]["Meta"]["lictor-container"]
    lab[node].docker.docker("exec", container, "/bin/busybox", "rm", "/www/health")
    wait_for(lambda: container not in lab[node].docker.docker("ps", "-q", "--no-trunc"), "it is ended", LIMIT_S)
    wait_all_serve(lab, 3, "blue")


def who_has_no_leader_changes_nothing_and_afterwards_all_agree(lab: Lab) -> None:
    leader = wait_for(lab.leader, "Consul has a leader", LIMIT_S)
    assert leader
    other = next(each for each in lab.hosts if each is not leader)
    wait_for(lambda: any(each["Node"]["Node"] == leader.name for each in passing(lab, "blue")), "it runs one", LIMIT_S)
    own = leader.docker.docker("ps", "-q", "--no-trunc", "--filter", f"label=lictor.service={NAME}").split()
    lab.cut(leader)
    said = len(leader.log())
    leader.docker.docker("exec", own[0], "/bin/busybox", "rm", "/www/health")
    wait_for(lambda: lab.leader() not in (None, leader), "the others have a leader", LIMIT_S)
    put(other, f"services/{NAME}/replicas", "5")
    wait_for(lambda: len(passing(lab, "blue", lab.hosts.index(other))) == 5 and not any(
        each["Node"]["Node"] == leader.name for each in passing(lab, "blue", lab.hosts.index(other))),
        "five run on the others", LIMIT_S)
    ill_long_since = len(leader.log())
    wait_for(lambda: "action=reconcile outcome=failed" in leader.log()[ill_long_since:], "it has judged", LIMIT_S)
    wait_for(lambda: (last := timer.read(leader.settings)) and last.error, "it relied on nothing", LIMIT_S)
    still = leader.docker.docker("ps", "-q", "--no-trunc", "--filter", f"label=lictor.service={NAME}").split()
    acts = [line for line in leader.log()[said:].splitlines() if "outcome=done" in line and any(
        f"action={kind} " in line for kind in KINDS_OF_ACTS)]
    assert (still, acts) == (own, [])
    lab.heal(leader, at_once=True)
    wait_all_serve(lab, 5, "blue")


def memory_decides_where_they_run_and_what_fits_nowhere_is_no_release(lab: Lab) -> None:
    host = lab.hosts[0]
    heavy = {**SPEC, "name": "heavy", "route": {"path": "/heavy"}, "resources": {"memory": "1GiB"},
             "replicas": {"initial": 2, "max": 3}, "release": {**SPEC["release"], "deadline": "20s"}}
    host.write_and_apply(heavy)

    def nodes() -> list[str]:
        return [each["Node"]["Node"] for each in host.consul.passing("heavy-blue")]
    wait_for(lambda: nodes() == ["host-3", "host-3"], "both are where the memory is", LIMIT_S)
    host.write_and_apply({**heavy, "resources": {"memory": "8GiB"}})

    def has_failed_for_lack_of_room() -> bool:
        """It has not, with what `plan` says: that stands in the failure of the test."""
        said = host.run("plan", "heavy").stdout
        if "the release of" in said and "insufficient resources" not in said:  # a busy Swarm loses its leader
            host.run("deploy", "heavy", SPEC["image"])
        assert "the release of" in said and "insufficient resources" in said, said
        return True
    wait_for(has_failed_for_lack_of_room, "the release has failed, and is said why", LIMIT_S)
    wait_for(lambda: nodes() == ["host-3", "host-3"], "both are there as before", LIMIT_S)
    assert host.consul.get("services/heavy/color") == "blue"
    host.run("remove", "heavy")
    wait_for(lambda: "heavy" not in host.docker.docker("service", "ls"), "it is gone", LIMIT_S)


def a_rolling_release_ends_and_one_that_swarm_stops_is_taken_back(lab: Lab) -> None:
    host, spec = lab.hosts[1], {**SPEC, "name": "rolled", "route": {"path": "/rolled"}, "replicas": {"initial": 2},
                                "release": {**SPEC["release"], "strategy": "rolling", "smoke": "/health"}}
    host.write_and_apply(spec)

    def images() -> list[str]:
        return [each["Service"]["Meta"]["lictor-image"] for each in host.consul.passing("rolled")]
    wait_for(lambda: images() == [spec["image"]] * 2, "two are there", LIMIT_S)
    done = host.run("deploy", "--wait", "rolled", f"{NAME}:2.0", timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_for(lambda: images() == [f"{NAME}:2.0"] * 2, "two of the release are there", LIMIT_S)
    host.write_and_apply({**spec, "release": {**spec["release"], "deadline": "20s"}})

    def fails_by_its_exit() -> bool:
        """As above: a busy Swarm may not come to start one in time."""
        failed = host.run("deploy", "--wait", "rolled", f"{NAME}:no-start", timeout_s=300)
        assert failed.returncode == 1 and "exit" in failed.stdout + failed.stderr, failed
        return True
    wait_for(fails_by_its_exit, "the release has failed, and is said why", LIMIT_S)
    wait_for(lambda: images() == [f"{NAME}:2.0"] * 2, "two are there as before", LIMIT_S)
    host.run("remove", "rolled")
    wait_for(lambda: "rolled" not in host.docker.docker("service", "ls"), "it is gone", LIMIT_S)


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
            each.wait(60)
        found += [line for path in paths for line in path.read_text().split()]


def nothing_is_started_twice_for_one_intent(lab: Lab, tmp_path: Path) -> None:
    """All three hosts are managers and run all handlers. LICTOR_INTENTS=200 has a hundred writes and a hundred kills;
    each write that raises the count, and each kill, may lead to so many new containers and no more."""
    r, allowed, kills = random.Random(7), 0, 0
    count = int(lab.hosts[0].consul.get(f"services/{NAME}/replicas") or "3")
    wait_all_serve(lab, count, "blue")
    with creations(lab, tmp_path) as created:
        for _ in range(int(os.environ.get("LICTOR_INTENTS", "12"))):
            if r.random() < 0.5:
                new = r.randint(2, 6)
                put(lab.hosts[r.randrange(3)], f"services/{NAME}/replicas", str(new))
                allowed, count = allowed + max(new - count, 0), new
            else:
                victim = lab.hosts[r.randrange(3)].docker
                running = victim.docker("ps", "-q", "--filter", f"label=lictor.service={NAME}").split()
                if running:
                    kills += _kill(victim, r.choice(running))
            wait_for(lambda: r.random() < 0.2, "some while passes", LIMIT_S)
        wait_all_serve(lab, count, "blue")
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


@pytest.mark.daemons
@pytest.mark.timeout(1800)
def test_a_service_on_three_hosts(lab: Lab, tmp_path: Path) -> None:
    """One story, as every part goes on where the one before has ended."""
    a_bad_release_changes_nothing(lab)
    an_ill_task_is_ended_by_its_node_and_swarm_starts_another(lab)
    who_has_no_leader_changes_nothing_and_afterwards_all_agree(lab)
    memory_decides_where_they_run_and_what_fits_nowhere_is_no_release(lab)
    a_rolling_release_ends_and_one_that_swarm_stops_is_taken_back(lab)
    nothing_is_started_twice_for_one_intent(lab, tmp_path)
