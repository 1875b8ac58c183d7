"""A node gets another name: everything says that nobody acts for its services, and `lictor apply` moves them."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.client import Client
from lab.consul import Consul
from lab.daemon import wait_for
from lab.docker import Docker
from lab.node import Node

NAME = "books-service"
NOBODY = "nobody acts: node-1 is not in Consul; its containers run on vm2"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Consul]:
    (tmp_path / "server").mkdir()
    found = Consul(str(tmp_path / "server"), node="server")
    try:
        yield found.start()
    finally:
        found.stop()


@pytest.fixture
def node(docker: Docker, server: Consul, tmp_path: Path) -> Iterator[Node]:
    """A node whose agent is a client, as most are: it may get another name and keep its data."""
    node = Node(str(tmp_path / "node"), docker, join=server.serf_port, timer="1s")
    try:
        yield node.start()
    finally:
        node.stop()


def rename(node: Node, server: Consul, name: str) -> None:
    """Give the agent another name, as a new hostname does: it leaves, and joins anew with the same data."""
    old = node.consul.node
    with contextlib.suppress(OSError):  # it may end before its answer is sent
        node.consul.request("PUT", "/v1/agent/leave", timeout_s=60)
    node.consul.stop()
    wait_for(lambda: old not in [each["Node"] for each in server.request("GET", "/v1/catalog/nodes")], f"{old} is gone")
    path = Path(node.consul.folder, "agent.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "node_name": name}))
    node.consul.node = name
    node.consul.start(env=node.environ)


def says(node: Node) -> str:
    [row] = json.loads(node.run("status", "--json").stdout)
    return str(row["says"])


def check(node: Node) -> tuple[str, str]:
    """What lictor's check on the node says."""
    check = node.consul.request("GET", "/v1/agent/checks").get("lictor-reconcile") or {"Status": "", "Output": ""}
    return check["Status"], check["Output"]


def test_a_node_with_another_name_heals_nothing_says_so_everywhere_and_its_services_move(node: Node,
                                                                                         server: Consul) -> None:
    node.apply(replicas={"initial": 2}, heal={"grace": "30s"})  # their checks begin anew with the agent
    node.wait_served(f"{NAME}-1", f"{NAME}-2")
    with Client(node.nginx.port, "/api/v1/books") as client:
        rename(node, server, "vm2")
        wait_for(lambda: says(node).startswith(NOBODY), "status says that nobody acts")
        wait_for(lambda: check(node)[0] == "critical" and NOBODY in check(node)[1], "the check says it")
        planned = node.run("plan")
        assert planned.returncode == 3 and NOBODY in planned.stdout
        for words in (("scale", NAME, "3"), ("deploy", NAME, "books-service:1.0"), ("remove", NAME)):
            done = node.run(*words)
            assert done.returncode == 1 and NOBODY in done.stderr, words
        assert NOBODY in node.run("doctor").stdout
        before = node.docker.containers()
        node.apply(replicas={"initial": 2}, heal={"grace": "30s"}, node="vm2")
        wait_for(lambda: says(node) == "as desired", "it is taken over")
        assert node.docker.containers() == before == [f"{NAME}-1", f"{NAME}-2"]  # nothing was started twice
        assert node.run("scale", NAME, "3").returncode == 0
        node.wait_served(*[f"{NAME}-{number}" for number in (1, 2, 3)])
    assert client.failures == []
