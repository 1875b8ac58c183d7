"""What lictor does not believe: Consul without a leader or without rights, and hostile data. Traffic goes on."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lictor.adapters import clock
from lictor.events import timer

from lab.client import Client
from lab.consul import Consul
from lab.daemon import wait_for
from lab.docker import Docker
from lab.node import Node
from support.paths import text_of

NAME = "books-service"
MASTER = "5e6c0f0e-0000-4000-8000-000000000001"
ACL = {"acl": {"enabled": True, "default_policy": "deny", "tokens": {"master": MASTER, "default": MASTER,
                                                                     "agent": MASTER}}}


class Member(NamedTuple):
    node: Node
    server: Consul


@pytest.fixture
def member(docker: Docker, tmp_path: Path) -> Iterator[Member]:
    """A node whose agent is a client of a server that stands alone."""
    (tmp_path / "server").mkdir()
    server = Consul(str(tmp_path / "server"), node="server")
    node = Node(str(tmp_path / "node"), docker, join=server.serf_port)
    try:
        server.start()
        yield Member(node.start(), server)
    finally:
        node.stop()
        server.stop()


def set_default_token(node: Node, token: str) -> None:
    """What the agent takes for requests that bring no token."""
    node.consul.request("PUT", "/v1/agent/token/default", {"Token": token}, token=MASTER)


def swept(node: Node) -> str:
    """Sweep once, as the timer does, and return what the check then says."""
    node.handler("lictor-reconcile", "--sweep")
    return timer.judge(timer.read(node.settings), clock.read(node.settings.state_dir))[0]


def test_without_a_leader_nothing_is_touched_and_it_recovers_by_itself(member: Member) -> None:
    node, server = member
    node.apply(replicas={"initial": 2})
    node.wait_served(f"{NAME}-1", f"{NAME}-2")
    before = node.docker.containers()
    with Client(node.nginx.port, "/api/v1/books") as client:
        server.send(signal.SIGSTOP)
        try:
            wait_for(lambda: f"http://{node.consul.address}" in swept(node), "the check names what does not answer", 60)
            done = node.run("plan")
            assert done.returncode == 75 and len(done.stderr.splitlines()) == 1
        finally:
            server.send(signal.SIGCONT)
        assert node.docker.containers() == before
        wait_for(lambda: node.run("scale", NAME, "3").returncode == 0, "the count can be written again", 60)
        # The agent tries a watch that failed again after 5 to 20 s; the timer is there before.
        node.wait_served(*[f"{NAME}-{number}" for number in (1, 2, 3)], timeout_s=60)
    assert client.failures == []


def test_a_token_without_rights_looks_empty_and_is_not_believed(docker: Docker, tmp_path: Path) -> None:
    node = Node(str(tmp_path / "node"), docker, config=ACL, token=MASTER)
    try:
        node.start()
        node.apply(replicas={"initial": 2})
        node.wait_served(f"{NAME}-1", f"{NAME}-2")
        before = node.docker.containers()
        with Client(node.nginx.port, "/api/v1/books") as client:
            set_default_token(node, "")
            node.consul.token = ""
            for _ in range(2):
                wait_for(lambda: "cannot be seen" in swept(node) or "permission denied" in swept(node), "it says so")
                node.handler("lictor-route", NAME, "--state-dir", node.settings.state_dir, stdin="[]")
                node.handler("lictor-scale", stdin="null")
                node.handler("lictor-reconcile", NAME)
            assert node.docker.containers() == before
            assert node.served() == {f"{NAME}-1", f"{NAME}-2"}
            node.consul.token = MASTER
            set_default_token(node, MASTER)
            wait_for(lambda: swept(node) == "1 services as desired", "it is well again")
        assert client.failures == []
    finally:
        node.stop()


HOSTILE: list[dict[str, Any]] = [
    {"Address": "127.0.0.1; } server { root /etc", "Port": 80},
    {"Address": "${evil}", "Port": 80},
    {"Address": "../../etc/passwd", "Port": 80},
    {"Address": "127.0.0.1\nserver 6.6.6.6", "Port": 80},
    {"Address": "１２７.0.0.1", "Port": 80},
    {"Address": "a" * 10_000, "Port": 80},
    {"Address": "10.0.0.1", "Port": 70_000},
    {"Address": "10.0.0.1", "Port": -1},
]


def test_hostile_instances_are_skipped_and_named_and_the_others_stay_served(node: Node) -> None:
    node.apply()
    node.wait_served(f"{NAME}-1")
    upstream = Path(node.nginx.conf_dir) / "peers" / f"{NAME}.conf"
    clean = upstream.read_text()
    with Client(node.nginx.port, "/api/v1/books") as client:
        for number, fields in enumerate(HOSTILE):
            node.consul.request("PUT", "/v1/catalog/register", {"Node": "evil", "Address": "10.0.0.9", "Service": {
                "Service": NAME, "ID": f"evil-{number};}}\n", **fields, "Tags": ["../../x", "$y"],
                "Meta": {"weight": "1; } evil {"}}})
        wait_for(lambda: all(f"evil-{number}" in text_of(f"{node.consul.folder}/consul.log") + node.log()
                             for number in range(len(HOSTILE))), "each one is named in a log")
        node.handler("lictor-reconcile", "--sweep")
        assert upstream.read_text() == clean
    assert client.failures == []
    assert node.served() == {f"{NAME}-1"}


def test_hostile_keys_reach_no_path_and_no_container(node: Node) -> None:
    for name in ("../../etc/x", "a;b", "$HOME", "UPPER", "x" * 100, "ａ", "a\nb", "."):
        node.consul.put(f"services/{name}/replicas", "3")
        node.consul.put(f"services/{name}/spec", '{"name": "x"}')
    node.apply()
    node.wait_served(f"{NAME}-1")
    assert node.docker.containers() == [f"{NAME}-1"]
    routes = f"{node.settings.state_dir}/routes"
    wait_for(lambda: os.listdir(routes) == [f"{NAME}.json"], "no other route is left")


def test_containers_of_others_are_routed_to_and_never_touched(node: Node) -> None:
    node.docker.docker("run", "-d", "--name", "legacy", "-p", "127.0.0.1::8080", "-l", "SERVICE_NAME=legacy",
                       "-l", "SERVICE_CHECK_HTTP=/health", "-l", "SERVICE_CHECK_INTERVAL=1s", "books-service:1.0")
    spec = {"name": "legacy", "engine": "none", "route": {"path": "/api/v1/books"}}
    node.write_and_apply(spec)
    wait_for(lambda: node.nginx.get("/api/v1/books")[0] == 200, "nginx routes to it")
    assert node.run("remove", "legacy").returncode == 0
    wait_for(lambda: node.nginx.get("/api/v1/books")[0] == 404, "the route is gone")
    assert node.docker.containers("status=running") == ["legacy"]
