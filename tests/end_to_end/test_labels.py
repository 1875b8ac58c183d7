"""Containers that people start by hand are routed by their labels, without a spec; hostile labels get no route."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lictor.adapters import files
from lictor.routing.peers import EMPTY_FOR_S

from lab.daemon import wait_for
from lab.docker import Docker
from lab.node import Node

SOON_S = 90  # two sweeps, and what a busy machine adds
HOSTILE = {"h1": "/x; return 200", "h2": "{", "h3": "/a\nlocation /b", "h4": "/" + "a" * 300}


@pytest.fixture
def node(docker: Docker, tmp_path: Path) -> Iterator[Node]:
    whole = Node(str(tmp_path), docker, timer="2s", keep_data=True)
    try:
        yield whole.start()
    finally:
        whole.stop()


def run(node: Node, name: str, route: str, service: str = "shop") -> None:
    node.docker.docker("run", "-d", "--name", name, "--hostname", name, "-p", "127.0.0.1::8080",
                       "-l", f"SERVICE_NAME={service}", "-l", f"lictor.route={route}", "books-service:1.0")


def make_old(node: Node) -> None:
    """Date what nobody asks for back by a minute."""
    state = node.settings.state_dir
    for path, field in ((f"{state}/routes/shop.json", "gone_since"), (f"{state}/clock.json", "set_at")):
        table = files.read_json(path)
        files.write_json(path, {**table, field: table[field] - EMPTY_FOR_S})


def test_containers_are_routed_by_their_labels(node: Node) -> None:
    run(node, "shop-1", "/api")
    wait_for(lambda: node.served() == {"shop-1"}, "it is served", SOON_S)
    run(node, "shop-2", "/api")
    wait_for(lambda: node.served() == {"shop-1", "shop-2"}, "the second one joins", SOON_S)
    for name, route in HOSTILE.items():
        run(node, name, route, service=name)
    wait_for(lambda: all(node.consul.passing(name) for name in HOSTILE), "they are registered", SOON_S)
    says = f"{len(HOSTILE)} not as labels ask, such as h1: lictor.route: path is '/x; return 200'; it must begin with a"
    wait_for(lambda: f"registrar: {says}" in node.run("status").stdout, "status says why they are not routed", SOON_S)
    wait_for(lambda: says in node.run("doctor").stdout, "doctor says it, too", SOON_S)

    def is_told() -> bool:
        [row] = json.loads(node.run("status", "--json").stdout)
        return (row["name"], row["routes"], row["passing"], row["served_by"], row["says"]) == (
            "shop", ["/api"], 2, ["node-1"], "only routed, as its labels ask")

    wait_for(is_told, "status tells of it, and of nothing else", SOON_S)
    unrouted = "not routed: 4 registered services have neither a spec nor the label lictor.route: h1, h2, h3, h4"
    wait_for(lambda: unrouted in node.run("status").stdout, "it names what is not routed", SOON_S)
    assert sorted(os.listdir(f"{node.nginx.conf_dir}/locations")) == ["shop.conf"]
    node.docker.docker("rm", "-f", "shop-1", "shop-2", *HOSTILE)
    routes = Path(node.settings.state_dir) / "routes"
    wait_for(lambda: "gone_since" in (routes / "shop.json").read_text(), "nobody asks for it any more", SOON_S)
    make_old(node)
    wait_for(lambda: node.nginx.get("/api/v1/books")[0] == 404, "its path is gone", SOON_S)
    wait_for(lambda: not os.listdir(routes), "nothing is left of it", SOON_S)
    nothing = "no services yet; `lictor apply FILE` makes one\n"
    wait_for(lambda: node.run("status").stdout == nothing, "nothing is registered any more", SOON_S)
