"""Faults of a node that serves, and two places to look from: the node itself, and another agent of the same Consul."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lictor.routing import nginx_socket

from lab import forked
from lab.bench import processes
from lab.consul import Consul
from lab.daemon import wait_for
from lab.docker import Docker
from lab.node import Node
from support.paths import REPOSITORY

MASTER, WEAK, AGENTS = (f"{digit * 8}-0000-4000-8000-000000000001" for digit in "123")
_POLICIES = {WEAK: ["lictor"], AGENTS: ["agent", "lictor-registrar"]}


class World(NamedTuple):
    """A node whose handlers have the token of its agent, and a server to which that agent is a client."""

    node: Node
    server: Consul

    def status(self) -> str:
        """What `lictor status` prints on the node, to a person whose token holds."""
        return self._ask(self.node.environ, "status")

    def status_elsewhere(self) -> str:
        own = {**self.server.environ, "LICTOR_CONFIG": os.path.join(self.server.folder, "lictor.toml")}
        return self._ask(own, "status")

    def check(self) -> tuple[str, str]:
        """The check of the node, as its agent has it: what it says is in the catalogue unless that agent's token is
        gone."""
        found = self.node.consul.request("GET", "/v1/agent/checks").get("lictor-reconcile") or {}
        return found.get("Status", ""), found.get("Output", "")

    def is_as_desired(self) -> bool:
        entries = self.server.request("GET", "/v1/health/service/lictor") or []
        statuses = {each["Status"] for entry in entries for each in entry["Checks"]
                    if each["CheckID"] == "lictor-reconcile"}
        rows = json.loads(self._ask(self.node.environ, "status", "--json") or "[]")
        return statuses == {"passing"} == {self.check()[0]} and bool(rows) and all(
            row["says"] == "as desired" for row in rows)

    def end_sessions(self) -> None:
        """Do at once what Consul does a minute after the last sweep that got through."""
        for entry in self.server.request("GET", "/v1/kv/lictor/condition/?recurse") or ():
            if "Session" in entry:
                self.server.request("PUT", f"/v1/session/destroy/{entry['Session']}")

    def _ask(self, environ: dict[str, str], *words: str) -> str:
        return forked.lictor(words, environ={**os.environ, **environ, "CONSUL_HTTP_TOKEN": MASTER}).stdout


class Fault(NamedTuple):
    """A fault of a node that serves: what breaks it, what mends it, and what is said of it here and elsewhere."""

    breaks: Callable[[World], object]
    mends: Callable[[World], object]
    says: str
    says_elsewhere: str = ""  # where it is not the same
    status: str = "critical"  # of the check
    hurries: Callable[[World], object] = lambda world: None  # does at once what takes a while, or what was undone


@contextmanager
def made(folder: Path, docker: Docker) -> Iterator[World]:
    """Make the world, with a small disk for the state folder of the node, and have it serve two instances."""
    for name in ("server", "node/state"):
        (folder / name).mkdir(parents=True)
    acl = {"enabled": True, "default_policy": "deny", "enable_key_list_policy": True, "token_ttl": "1s",
           "policy_ttl": "1s"}
    server = Consul(str(folder / "server"), node="server", token=MASTER,
                    config={"acl": {**acl, "tokens": {"master": MASTER, "agent": MASTER}}})
    (folder / "server" / "lictor.toml").write_text(f'state_dir = "{folder}/server/state"\n')
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder / "node/state"], check=True)
    node = Node(str(folder / "node"), docker, timer="2s", join=server.serf_port, token=MASTER,
                environ={"CONSUL_HTTP_TOKEN": ""}, config={"acl": {
                    **acl, "tokens": {"agent": MASTER, "default": AGENTS}}})
    world = World(node, server)
    try:
        server.start()
        wait_for(lambda: server.request("GET", "/v1/acl/policies"), "ACLs are up")
        for name in {name for names in _POLICIES.values() for name in names}:
            rules = (REPOSITORY / f"consul.d/acl/{name}.hcl").read_text()
            server.request("PUT", "/v1/acl/policy", {"Name": name, "Rules": rules})
        for secret in _POLICIES:
            give_rights(world, secret)
        node.start()
        node.apply(replicas={"initial": 2})
        node.wait_served("books-service-1", "books-service-2", timeout_s=60)
        yield world
    finally:
        node.stop()
        server.stop(signal.SIGKILL)
        subprocess.run(["umount", "--lazy", folder / "node/state"], check=True)  # whoever is still at work there ends
        docker.clear()


def give_rights(world: World, secret: str) -> None:
    world.server.request("PUT", "/v1/acl/token", {
        "SecretID": secret, "AccessorID": secret, "Policies": [{"Name": name} for name in _POLICIES[secret]]})


def take_rights(world: World, secret: str) -> None:
    world.server.request("DELETE", f"/v1/acl/token/{secret}")


def hide_docker(world: World) -> None:
    os.rename(socket_of(world), f"{socket_of(world)}.hidden")


def show_docker(world: World) -> None:
    os.rename(f"{socket_of(world)}.hidden", socket_of(world))


def socket_of(world: World) -> str:
    return world.node.docker.environ["DOCKER_HOST"].removeprefix("unix://")


def kill_master(world: World) -> None:
    """Its workers outlive it, and serve on. Once it is stopped it starts no further one."""
    pid = world.node.nginx.pid
    os.kill(pid, signal.SIGSTOP)
    (Path(world.node.folder) / "workers").write_text(" ".join(map(str, processes.children(pid))))
    os.kill(pid, signal.SIGKILL)


def replace_nginx(world: World) -> None:
    """End what is left, and start it as its unit does, which removes the socket first."""
    for pid in (Path(world.node.folder) / "workers").read_text().split():
        with contextlib.suppress(ProcessLookupError):  # one of before a reload may have ended
            os.kill(int(pid), signal.SIGKILL)
    wait_for(lambda: not listens(world.node.nginx.port), "nobody listens on its port")
    Path(nginx_socket.path(world.node.nginx.conf_dir)).unlink(missing_ok=True)
    world.node.nginx.start()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def fill_disk(world: World) -> None:
    """Fill it to the last page; what a handler frees that was at work is filled again."""
    state_dir = world.node.settings.state_dir
    assert os.path.ismount(state_dir)
    with contextlib.suppress(OSError), open(f"{state_dir}/filler", "ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def empty_disk(world: World) -> None:
    os.unlink(f"{world.node.settings.state_dir}/filler")


def edit_nginx(world: World, old: str, new: str) -> None:
    path = Path(world.node.nginx.main_conf)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def break_nginx(world: World) -> None:
    """Let nginx refuse whatever comes next, as after an edit that nobody tested."""
    edit_nginx(world, "events {", "nonsense;\nevents {")
    world.node.apply(replicas={"initial": 2}, route={"path": "/elsewhere"})


def mend_nginx(world: World) -> None:
    edit_nginx(world, "nonsense;\n", "")
    world.node.apply(replicas={"initial": 2})


def forget_include(world: World) -> None:
    include = f"include {world.node.nginx.conf_dir}/locations/"
    edit_nginx(world, include, f"#{include}")
    subprocess.run(world.node.nginx.reload_argv, check=True, capture_output=True)


def remember_include(world: World) -> None:
    edit_nginx(world, "#include", "include")
    subprocess.run(world.node.nginx.reload_argv, check=True, capture_output=True)


def kill_registrar(world: World) -> None:
    assert world.node.registrar
    world.node.registrar.stop(signal.SIGKILL)


def weaken_registrar(world: World) -> None:
    """Give it a token that may see everything, and have it register an instance that is made anew."""
    kill_registrar(world)
    token_file = Path(world.node.folder) / "token"
    token_file.write_text(WEAK)
    world.node.token_options = ["--token-file", str(token_file)]
    world.node.start_registrar()
    world.node.token_options = []
    world.node.docker.docker("rm", "-f", "books-service-2")


def mend_registrar(world: World) -> None:
    kill_registrar(world)
    world.node.start_registrar()


FAULTS = {
    "nginx stopped": Fault(
        lambda world: world.node.nginx.stop(), lambda world: world.node.nginx.start(), "nginx does not answer"),
    "nginx's master killed": Fault(kill_master, replace_nginx, "nginx takes no change"),
    "nginx refuses": Fault(break_nginx, mend_nginx, "nginx takes no change: nginx refuses it"),
    "an include forgotten": Fault(forget_include, remember_include, "so nobody is asked for books-service"),
    "registrar killed": Fault(kill_registrar, lambda world: world.node.start_registrar(),
                              "lictor-registrar: it is not running", status="warning"),
    "registrar without rights": Fault(weaken_registrar, mend_registrar, "Permission denied", status="warning"),
    "Docker away": Fault(hide_docker, show_docker, "last one failed: docker", "last sweep failed: docker", "warning"),
    "disk full": Fault(fill_disk, empty_disk, "takes no file: No space left on device", hurries=fill_disk),
    "the agent's token revoked": Fault(
        lambda world: take_rights(world, AGENTS), lambda world: give_rights(world, AGENTS), "ACL not found",
        "node-1: silent: no sweep of it has told anything", "warning", World.end_sessions),
}
