"""The move from the articles' own system: its compose file, registrator's entries, its nginx files, under requests."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import files, process

from lab.client import Client
from lab.daemon import Daemon, wait_for
from lab.docker import Docker
from lab.node import Node
from support import registrator

COMPOSE = """
blue:
  image: books-service:1.0
  ports:
    - 8080
  environment:
    - SERVICE_NAME=books-service-blue
    - SERVICE_CHECK_HTTP=/health
    - SERVICE_CHECK_INTERVAL=300ms
green:
  image: books-service:1.0
  ports:
    - 8080
  environment:
    - SERVICE_NAME=books-service-green
    - SERVICE_CHECK_HTTP=/health
    - SERVICE_CHECK_INTERVAL=300ms
"""
INCLUDE = "location /api/v1/books { proxy_pass http://books-service; proxy_set_header Host $host; }\n"
ROUTED: dict[str, Any] = {"name": "books-service", "engine": "none", "release": {"strategy": "blue-green"},
                          "traffic": "any", "route": {"path": "/api/v1/books"}}


class Theirs:
    """The articles' system on one node: what a person, Ansible and registrator did."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node, self.folder = node, folder
        self.include, self.upstream = folder / "includes.conf", folder / "upstreams.conf"
        (folder / "docker-compose.yml").write_text(COMPOSE)

    def compose(self, *words: str) -> None:
        subprocess.run(["docker-compose", "--project-directory", str(self.folder), "-f",
                        str(self.folder / "docker-compose.yml"), *words], check=True, capture_output=True, timeout=600,
                       env={**os.environ, **self.node.environ, "COMPOSE_API_VERSION": "auto"})

    def containers(self, color: str) -> list[str]:
        return self.node.docker.docker("ps", "-q", "--filter", f"label=com.docker.compose.service={color}").split()

    def register(self, color: str) -> None:
        """registrator -ip 127.0.0.1 consul://..., by its own code."""
        for container in self.containers(color):
            [shown] = json.loads(self.node.docker.docker("inspect", container))
            for body in registrator.registered(shown, ip="127.0.0.1"):
                body["ID"] = body["ID"].replace(registrator.HOST, os.uname().nodename, 1)
                self.node.consul.register(body)

    def render(self, color: str) -> None:
        """consul-template -once, and nginx-include.conf.ctmpl; then a HUP."""
        entries = self.node.consul.request("GET", f"/v1/health/service/books-service-{color}")
        servers = [f"server 127.0.0.1:{entry['Service']['Port']};" for entry in entries]
        self.upstream.write_text("upstream books-service { " + " ".join(servers) + " }\n")
        self.include.write_text(INCLUDE)
        subprocess.run(self.node.nginx.reload_argv, check=True, capture_output=True, timeout=120)


@pytest.fixture
def theirs(docker: Docker, tmp_path: Path) -> Iterator[Theirs]:
    """Two instances of blue behind their nginx. lictor is there, and does nothing yet."""
    for name in ("node", "books"):
        (tmp_path / name).mkdir()
    node = Node(str(tmp_path / "node"), docker, keep_data=True, registers=False)
    theirs = Theirs(node, tmp_path / "books")
    main_conf = Path(node.nginx.main_conf).read_text()
    for path in (theirs.include, theirs.upstream):
        path.write_text("")
    text = main_conf.replace("location = /nginx-is-up", f"include {theirs.include};\n        location = /nginx-is-up")
    text = text.replace("    server {", f"    include {theirs.upstream};\n    server {{", 1)
    files.write_atomic(node.nginx.main_conf, text)
    try:
        node.start()
        theirs.compose("up", "-d", "blue")
        theirs.compose("scale", "blue=2")
        theirs.register("blue")
        node.consul.put("services/books-service/color", "blue")
        node.consul.put("services/books-service/instances", "2")
        wait_for(lambda: len(node.consul.passing("books-service-blue")) == 2, "registrator's entries pass")
        theirs.render("blue")
        wait_for(lambda: len(node.served()) == 2, "both instances answer")
        yield theirs
    finally:
        node.stop()
        docker.clear()
        docker.docker("network", "prune", "-f")


def start_registrar(node: Node, *options: str) -> None:
    node.registrar = Daemon([*process.handler_argv("lictor-registrar"), *options],
                            os.path.join(node.folder, "registrar.log"), node.environ)


def registered_by(node: Node) -> list[bool]:
    return ["lictor-engine" in service["Meta"] for service in node.consul.request("GET", "/v1/agent/services").values()
            if service["Service"].startswith("books-")]


def hand_over(theirs: Theirs, old: set[str]) -> None:
    """From then on lictor runs the project; the containers that Compose was told to make by hand go one by one."""
    node = theirs.node
    with open(node.settings_path, "a", encoding="utf-8") as file:
        file.write(f'\n[allow]\nprojects = ["{theirs.folder}"]\n')
    node.write_and_apply({**ROUTED, "engine": "compose", "project": {"folder": str(theirs.folder)}, "port": 8080,
                          "image": "books-service:1.0", "replicas": {"initial": 2},
                          "check": {"http": "/health", "interval": "300ms"}})
    wait_for(lambda: len(node.served() - old) == 2, "lictor's own serve too", timeout_s=60)
    for service_id, service in node.consul.request("GET", "/v1/agent/services").items():
        if service["Meta"].get("lictor-container", "")[:12] in old:
            node.consul.request("PUT", f"/v1/agent/service/maintenance/{service_id}?enable=true&reason=moving+over")
    wait_for(lambda: not node.served() & old, "nginx has let go of the old ones")
    node.docker.docker("rm", "-f", *old)
    wait_for(lambda: "as desired" in node.run("status").stdout, "all is as desired", timeout_s=60)


def test_the_move_costs_no_request(theirs: Theirs) -> None:
    node = theirs.node
    with Client(node.nginx.port, "/api/v1/books") as client:
        node.consul.register({"ID": f"{os.uname().nodename}:books_blue_9:8080", "Name": "books-service-blue", "Port": 9,
                              "Address": "127.0.0.1"})  # of a container that is long gone
        start_registrar(node, "-ip", "127.0.0.1", "-take-over", "-cleanup", f"consul://{node.consul.address}")
        wait_for(lambda: registered_by(node) == [True, True], "the entries are lictor's, and the dead one is gone")

        node.write_and_apply(ROUTED)
        theirs.include.write_text("")
        wait_for(lambda: len(node.confirmed("books-service")) == 2 and "lictor" in Path(
            node.nginx.conf_dir, "locations", "books-service.conf").read_text(), "lictor routes", timeout_s=60)
        theirs.upstream.write_text("")

        theirs.compose("up", "-d", "green")  # the playbook goes on, and lictor follows it
        wait_for(lambda: len(node.consul.passing("books-service-green")) == 1, "green passes")
        green = {container[:12] for container in theirs.containers("green")}
        node.consul.put("services/books-service/color", "green")
        wait_for(lambda: node.served() == green, "nginx follows the colour")
        theirs.compose("stop", "blue")

        hand_over(theirs, green)
    assert client.failures == [] and client.requests > 50
    registrar = Path(node.folder, "state", "registrar.json")
    wait_for(lambda: json.loads(registrar.read_text())["refusals"] == [], "the registrar has refused nothing")
