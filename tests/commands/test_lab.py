"""Three hosts on one machine: faults do what they say and no more, and nothing of the lab stays behind."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lab import netns
from lab.daemon import wait_for
from lab.hosts import status
from lab.hosts.host import Host
from lab.hosts.lab import Lab, ready_nodes
from support.paths import REPOSITORY

ALL = {"host-1", "host-2", "host-3"}
LIMIT_S = 90
pytestmark = pytest.mark.daemons


class Traces(NamedTuple):
    """What a lab could leave on the machine."""

    links: list[str]
    namespaces: str
    mounts: list[str]
    cgroups: list[str]
    processes: list[str]


def traces(lab: Lab) -> Traces:
    """Links and namespaces are ours as a whole; of mounts, cgroups and processes, those with the lab's name on them."""
    marks = (lab.folder, lab.cgroup)
    links = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True).stdout)
    named = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    groups = [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if lab.cgroup in folder]
    processes = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if any(m in said_of(pid) for m in marks)]
    return Traces(sorted(each["ifname"] for each in links), named, [each for each in mounts if lab.folder in each],
                  groups, processes)


def wait_left(lab: Lab, expected: Traces) -> None:
    """Wait until no more than this is left; what has been killed is there for another moment."""
    def is_left() -> bool:
        found = traces(lab)
        assert found == expected, found
        return True
    wait_for(is_left, "nothing of the lab is left")


def said_of(pid: str) -> str:
    """Everything of a process that would name the lab, but its environment, where pytest names the running test."""
    text = ""
    for name in ("cmdline", "cgroup", "mountinfo"):
        try:
            text += Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
        except OSError:
            return ""
    return text


def command(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab.hosts", "--folder", lab.folder, *words],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def alive(lab: Lab, name: str) -> set[str]:
    return {each["Name"] for each in lab[name].consul.request("GET", "/v1/agent/members") if each["Status"] == 1}


def fetched(url: str, namespace: str) -> str:
    """What it answers when it is asked from this network namespace."""
    with netns.inside(namespace), urllib.request.urlopen(url, timeout=3) as answer:
        return str(answer.read().decode())


def start_up(folder: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-m", "lab.hosts", "--folder", folder, "up"], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
                            env={**os.environ, "PYTHONPATH": str(REPOSITORY)})


@pytest.fixture
def folder() -> Iterator[str]:
    """Not there yet; and short: a socket's path may have 107 bytes."""
    parent = tempfile.mkdtemp(prefix="lictor-lab-test-", dir="/tmp")
    yield os.path.join(parent, "lab")
    os.rmdir(parent)  # which fails if anything of the lab is left


@pytest.fixture(scope="module")
def lab_of_all() -> Iterator[Lab]:
    parent = tempfile.mkdtemp(prefix="lictor-lab-test-", dir="/tmp")
    with Lab(os.path.join(parent, "lab")) as whole:
        yield whole
    os.rmdir(parent)


@pytest.fixture
def well(lab_of_all: Lab) -> Lab:
    """All three up, joined and of one mind, whatever the test before has done."""
    for host in lab_of_all.hosts:
        if not host.is_running or lab_of_all.network.is_cut(host.name):
            lab_of_all.heal(host)
    wait_for(lambda: all(each.is_well(3) for each in status.read(lab_of_all)), "all is well", LIMIT_S)
    wait_for(lambda: ready_nodes(lab_of_all.hosts[0]) == ALL, "all Swarm nodes are ready", LIMIT_S)
    return lab_of_all


def is_one_consul(lab: Lab) -> bool:
    rows = {each.host: each for each in status.read(lab)}
    assert {each.address for each in rows.values()} == {"10.213.7.11", "10.213.7.12", "10.213.7.13"}
    leader = [each.host for each in rows.values() if each.consul == "leader"]
    assert len(leader) == 1
    assert {each.consul for each in rows.values()} == {"leader", f"follower of {leader[0]}"}
    return all(alive(lab, name) == ALL for name in ALL)


def test_three_hosts_are_one_consul_and_one_swarm(well: Lab) -> None:
    wait_for(lambda: is_one_consul(well), "one leads, and each knows all", LIMIT_S)
    assert len({each.docker.docker("info", "--format", "{{.ID}}") for each in well.hosts}) == 3
    assert {each.docker.docker("image", "ls", "-q", "books-service:1.0") != "" for each in well.hosts} == {True}

    def is_shown() -> bool:
        shown = command(well, "status", "--json")
        return shown.returncode == 0 and {each["host"] for each in json.loads(shown.stdout)} == ALL
    wait_for(is_shown, "the command shows them", LIMIT_S)


def test_no_host_can_be_reached_from_the_machine_s_own_network(well: Lab) -> None:
    host = well.hosts[0]
    wait_for(lambda: fetched(f"{host.nginx.url}/nginx-is-up", well.network.outside) == "up", "it is reached from there")
    with pytest.raises((urllib.error.URLError, TimeoutError)):
        fetched(f"{host.nginx.url}/nginx-is-up", "")


def test_a_container_on_one_host_is_served_by_the_nginx_of_all(well: Lab) -> None:
    home = well["host-1"]
    home.apply(port="8080")
    for host in well.hosts:
        host.wait_served("books-service-1", timeout_s=LIMIT_S)
    with well.client(well["host-3"], "/api/v1/books", service="books-service") as client:
        wait_for(lambda: client.requests > 50, "the client gets on")
    assert client.last_answer and client.failures == []


def wait_spread(host: Host) -> None:
    wait_for(lambda: host.docker.containers("name=^spread", "status=running"), f"a task runs on {host.name}", LIMIT_S)


def wait_reached(url: str, host: Host) -> None:
    wait_for(lambda: "instance" in fetched(url, host.netns), f"{host.name} reaches {url}", LIMIT_S)


def test_a_swarm_runs_on_all_hosts_and_each_port_is_open_to_the_others(well: Lab) -> None:
    manager = well.hosts[0].docker
    manager.docker("service", "create", "--detach", "--name", "spread", "--no-resolve-image", "--replicas", "3",
                   "--publish", "mode=host,target=8080", "books-service:1.0")
    try:
        for host in well.hosts:
            wait_spread(host)
            port = host.docker.docker("ps", "--filter", "name=^spread", "--format", "{{.Ports}}")
            number = port.partition("->")[0].rpartition(":")[2]
            for other in well.hosts:
                wait_reached(f"http://{host.address}:{number}/api/v1/books", other)
    finally:
        manager.docker("service", "rm", "spread")
        wait_for(lambda: not any(each.docker.containers("name=^spread") for each in well.hosts), "its tasks are gone",
                 LIMIT_S)


def test_a_leader_that_is_cut_off_is_replaced_and_comes_back(well: Lab) -> None:
    leader = well.leader()
    assert leader
    others = ALL - {leader.name}
    before = set(netns.members(leader.netns))
    said = command(well, "cut", "leader")
    assert (said.returncode, said.stdout) == (0, f"{leader.name} is cut off\n")
    wait_for(lambda: (new := well.leader()) and new.name in others, "another host leads", LIMIT_S)
    wait_for(lambda: all(alive(well, name) == others for name in others), "the others miss it", LIMIT_S)
    wait_for(lambda: alive(well, leader.name) == {leader.name}, "it misses the others", LIMIT_S)
    assert leader.nginx.is_up(), "what runs there runs on"
    daemons = {pid for word in ("dockerd", "consul", "/lictor-registrar") for pid in leader.processes(word)}
    assert daemons and daemons <= before

    def runs_on() -> bool:
        row = next(each for each in status.read(well) if each.host == leader.name)
        return row.state == "cut" and bool(row.nginx and row.registrar)
    wait_for(runs_on, "it is shown as cut, and that it runs on", LIMIT_S)
    well.heal(leader, at_once=True)
    wait_for(lambda: all(alive(well, name) == ALL for name in ALL), "all are together again", LIMIT_S)
    wait_for(lambda: len(well[min(others)].consul.request("GET", "/v1/status/peers")) == 3, "all are peers", LIMIT_S)


def test_a_follower_that_loses_its_power_is_dead_and_comes_back_without_its_containers(well: Lab) -> None:
    leader = well.leader()
    assert leader
    victim = next(each for each in reversed(well.hosts) if each is not leader)
    witness = next(each for each in well.hosts if each not in (leader, victim))
    container = victim.docker.docker("run", "--detach", "--network", "none", "books-service:1.0")
    outer = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if container in said_of(pid)]
    assert outer, "the container's processes are seen from outside"
    assert command(well, "kill", victim.name).returncode == 0
    wait_for(lambda: not [pid for pid in outer if container in said_of(pid)], "its processes are dead")
    assert netns.members(victim.netns) == []
    with pytest.raises(ProcessLookupError):
        victim.command(["true"])
    assert command(well, "status").returncode == 1
    wait_for(lambda: victim.name not in alive(well, leader.name), "Consul takes it for dead", LIMIT_S)
    wait_for(lambda: ready_nodes(witness) == ALL - {victim.name}, "so does the Swarm", LIMIT_S)
    well.heal(victim)
    wait_for(lambda: all(alive(well, name) == ALL for name in ALL), "all are together again", LIMIT_S)
    wait_for(lambda: ready_nodes(witness) == ALL, "the Swarm has it back", LIMIT_S)
    assert victim.docker.docker("inspect", "--format", "{{.State.Running}}", container) == "false"
    victim.docker.docker("rm", container)


def test_one_server_is_enough_hosts_are_as_big_as_the_lab_says_and_nothing_is_left_after_down(folder: str) -> None:
    lab = Lab(folder, servers=1, managers=1, memory_mib=(512, 512, 2048))
    before = traces(lab)
    lab.up()
    try:
        shown = [int(each.docker.docker("info", "--format", "{{.MemTotal}}")) >> 20 for each in lab.hosts]
        assert shown == [512, 512, 2048]
        wait_for(lambda: [(each.consul, each.swarm) for each in status.read(lab)] == [
            ("leader", "leader"), ("client of host-1", "worker"), ("client of host-1", "worker"),
        ], "one server and two clients, one manager and two workers", LIMIT_S)
        lab.hosts[0].docker.docker("run", "--detach", "--publish", "8080", "books-service:1.0")
        lab.kill(lab.hosts[2])
        during = traces(lab)
        assert during.links == before.links and during.namespaces == before.namespaces
        assert during.mounts and during.cgroups and len(during.processes) > 6
    finally:
        for _ in range(2):
            assert command(lab, "down").returncode == 0
    for host in lab.hosts:
        host.reap()
    assert before == Traces(before.links, before.namespaces, [], [], [])
    wait_left(lab, before)
    assert not os.path.exists(folder)


def engines_answer(lab: Lab) -> bool:
    return all(os.path.exists(os.path.join(lab.folder, name, "docker.sock")) for name in ALL)


@pytest.mark.parametrize("reached", [
    lambda lab: os.path.exists(os.path.join(lab.folder, "lab.json")),
    lambda lab: os.path.exists(lab.network.path("host-2")),
    engines_answer,
    lambda lab: os.path.exists(os.path.join(lab.folder, "host-2/engine/swarm/docker-state.json")),
], ids=["it has begun", "a namespace is there", "the engines answer", "the Swarm is half joined"])
def test_nothing_is_left_of_an_up_that_was_killed(folder: str, reached: Callable[[Lab], bool]) -> None:
    lab = Lab(folder)
    before = traces(lab)
    up = start_up(folder)
    try:
        wait_for(lambda: reached(lab), "it is so far", LIMIT_S, every_s=0.005)
        up.send_signal(signal.SIGKILL)
        assert up.wait(30) == -signal.SIGKILL
    finally:
        up.kill()
        done = command(lab, "down")
    assert done.returncode == 0, done.stderr
    wait_left(lab, before)


def test_an_up_that_is_asked_to_end_takes_all_of_it_down_itself(folder: str) -> None:
    lab = Lab(folder)
    before = traces(lab)
    up = start_up(folder)
    try:
        wait_for(lambda: engines_answer(lab), "the engines answer", LIMIT_S)
        up.terminate()
        assert up.wait(200) == 143
        assert not os.path.exists(folder)
        wait_left(lab, before)
    finally:
        up.kill()
        command(lab, "down")


def test_a_folder_of_somebody_else_is_left_alone(folder: str) -> None:
    lab = Lab(folder)
    os.mkdir(folder)
    kept = Path(folder, "kept")
    kept.write_text("")
    try:
        said = command(lab, "up")
        assert said.returncode == 1 and "is not empty" in said.stderr
        assert command(lab, "down").returncode == 0 and kept.exists()
        assert command(lab, "status").returncode == 1
        assert command(lab, "explode").returncode == 2
    finally:
        kept.unlink()
        os.rmdir(folder)


@pytest.mark.timeout(600)
def test_the_demo_explains_every_failed_request(folder: str, tmp_path: Path) -> None:
    summary_path = tmp_path / "summary.json"
    said = subprocess.run([REPOSITORY / "scripts/lab", "--folder", folder, "demo", "--json", summary_path],
                          capture_output=True, text=True, timeout=580)
    assert said.returncode == 0, said.stdout + said.stderr
    summary = json.loads(summary_path.read_text())
    assert len(summary["steps"]) == 12 and summary["requests"] > 100 and summary["unexplained"] == []
