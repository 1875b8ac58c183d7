"""CONSUL_HTTP_ADDR names another machine's agent: what Docker here shows is not that node's, and no verb says it is."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lictor.planner import service_state

from lab.consul import Consul
from support.command import Command
from support.scene import state_of

FAR = {"advertise_addr": "192.0.2.1"}  # an address that no machine has
BOOKS = {"name": "books", "image": "books:1", "port": 8080, "replicas": {"initial": 2, "max": 5}}
SET = {"name": "db", "image": "etcd:1", "port": 2379, "volumes": ["data:/data"],
       "cluster": {"kind": "etcd", "name": "e"}, "replicas": {"initial": 3, "min": 1, "max": 5}}
UNKNOWN = "alone can say what stands ahead: this machine is not node-1"
ELSEWHERE = f"node node-1 {UNKNOWN}"


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Consul]:
    """The agent of another machine, as far as its own address tells."""
    agent = Consul(str(tmp_path / "consul"), config=FAR)
    try:
        yield agent.start()
    finally:
        agent.stop(signal.SIGKILL)


def command(consul: Consul, tmp_path: Path) -> Command:
    """A machine whose Docker has no container of lictor's; that it cannot be asked shows who asks it."""
    found = Command(consul, tmp_path)
    found.environ["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    return found


def test_no_verb_takes_this_machine_for_the_node(far: Consul, tmp_path: Path) -> None:
    lictor = command(far, tmp_path)
    lictor("apply", lictor.file("books.json", BOOKS), lictor.file("db.json", SET))
    lictor("apply", lictor.file("jobs.json", {**BOOKS, "name": "jobs", "engine": "command"}),
           lictor.file("mail.json", {"name": "mail", "engine": "none", "route": {"path": "/m"}}))
    assert "nobody acts: node node-1 is in Consul without a service `lictor`" not in lictor("plan", "books").stdout
    far.register({"ID": "lictor", "Name": "lictor"})
    done = lictor("plan", "books")
    assert (done.returncode, done.stdout, done.stderr) == (75, f"books: unknown: {ELSEWHERE}\n", "")
    [action] = json.loads(lictor("plan", "books", "--json").stdout)
    assert (action["kind"], action["reason"]) == ("unknown", ELSEWHERE)
    done = lictor("plan")
    assert done.returncode == 75 and done.stdout.splitlines() == [
        f"books: unknown: {ELSEWHERE}", f"db: unknown: {ELSEWHERE}",
        f"jobs: unknown: a node with [command] in its settings {UNKNOWN}",
        "mail: amiss: only routed: no instance passes", "mail: none: its engine is none: lictor only routes it"]
    assert lictor("plan", "mail").returncode == 0
    for name in ("books", "db"):
        assert lictor("why", name).stdout.splitlines()[-1] == f"now: unknown: {ELSEWHERE}"
    page = lictor("status", "db")
    assert page.returncode == 0 and "by Consul's word alone: node node-1 acts for it." in page.stdout
    page = lictor("status", "books")
    assert page.returncode == 0 and "converging" in page.stdout
    far.put("lictor/state/books", service_state.encode(state_of(spec=BOOKS, replicas=2)))
    done = lictor("deploy", "books", "books:2")
    assert done.returncode == 0 and far.get("services/books/image") == "books:2"
    done = lictor("remove", "db")
    assert done.returncode == 0 and "db-N-data on node-1" in done.stdout


def test_the_node_s_own_machine_asks_its_docker(consul: Consul, tmp_path: Path) -> None:
    lictor = command(consul, tmp_path)
    lictor("apply", lictor.file("books.json", BOOKS))
    done = lictor("plan", "books")
    assert done.returncode == 75 and "docker: connect" in done.stderr
