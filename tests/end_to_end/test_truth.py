"""What fails on a node is named where one looks first: in `lictor status`, and by the node's check in Consul."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.bench import processes
from lab.daemon import wait_for
from lab.docker import Docker
from lab.node import Node

NAME = "books-service"
SOON_S = 60  # a busy machine may take as long; a quiet one takes 1 to 6 s


class Fault(NamedTuple):
    """A fault of a node that serves: what breaks it, what mends it, and what is said of it."""

    breaks: Callable[[Node], object]
    mends: Callable[[Node], object]
    says: str
    status: str = "critical"  # of the check


def hide_docker(node: Node) -> None:
    os.rename(socket_of(node), f"{socket_of(node)}.hidden")


def show_docker(node: Node) -> None:
    os.rename(f"{socket_of(node)}.hidden", socket_of(node))


def socket_of(node: Node) -> str:
    return node.docker.environ["DOCKER_HOST"].removeprefix("unix://")


def kill_master(node: Node) -> None:
    """Its workers outlive it, and serve on. Once it is stopped it starts no further one."""
    os.kill(node.nginx.pid, signal.SIGSTOP)
    (Path(node.folder) / "workers").write_text(" ".join(map(str, processes.children(node.nginx.pid))))
    os.kill(node.nginx.pid, signal.SIGKILL)


def replace_nginx(node: Node) -> None:
    for pid in (Path(node.folder) / "workers").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    node.nginx.start(30)


def fill_disk(node: Node) -> None:
    assert os.path.ismount(node.settings.state_dir)
    with contextlib.suppress(OSError), open(f"{node.settings.state_dir}/filler", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def empty_disk(node: Node) -> None:
    os.unlink(f"{node.settings.state_dir}/filler")


def break_nginx(node: Node) -> None:
    """Let nginx refuse whatever comes next, as after an edit that nobody tested."""
    with open(node.nginx.main_conf, "a", encoding="utf-8") as file:
        file.write("nonsense;\n")
    node.apply(replicas={"initial": 2}, route={"path": "/elsewhere"})


def mend_nginx(node: Node) -> None:
    path = Path(node.nginx.main_conf)
    path.write_text(path.read_text().replace("nonsense;\n", ""))
    node.apply(replicas={"initial": 2})


def kill_registrar(node: Node) -> None:
    assert node.registrar
    node.registrar.stop(signal.SIGKILL)


FAULTS = {
    "nginx stopped": Fault(lambda node: node.nginx.stop(), lambda node: node.nginx.start(30), "nginx does not answer"),
    "nginx's master killed": Fault(kill_master, replace_nginx, "nginx takes no change"),
    "nginx refuses": Fault(break_nginx, mend_nginx, "nginx takes no change: nginx refuses it"),
    "registrar killed": Fault(kill_registrar, lambda node: node.start_registrar(),
                              "lictor-registrar: it is not running", "warning"),
    "Docker away": Fault(hide_docker, show_docker, "as the last one failed: docker", "warning"),
    "disk full": Fault(fill_disk, empty_disk, "takes no file: No space left on device"),
}


@pytest.fixture(scope="module")
def serving(docker_engine: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("truth")
    (folder / "state").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder / "state"], check=True)
    node = Node(str(folder), docker_engine, timer="2s")
    try:
        node.start()
        node.apply(replicas={"initial": 2})
        node.wait_served(f"{NAME}-1", f"{NAME}-2")
        yield node
    finally:
        node.stop()
        subprocess.run(["umount", folder / "state"], check=True)
        docker_engine.clear()


def check(node: Node) -> tuple[str, str]:
    """The check of the node, as everybody sees it in the catalogue."""
    entry, = node.consul.request("GET", "/v1/health/service/lictor")
    found, = (each for each in entry["Checks"] if each["CheckID"] == "lictor-reconcile")
    return found["Status"], found["Output"]


def is_as_desired(node: Node) -> bool:
    shown = node.run("status", "--json")
    return check(node)[0] == "passing" and all(row["says"] == "as desired" for row in json.loads(shown.stdout))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_where_one_looks_first(serving: Node, name: str) -> None:
    fault = FAULTS[name]
    wait_for(lambda: is_as_desired(serving), "all is well before", 60)
    fault.breaks(serving)
    try:
        wait_for(lambda: fault.says in serving.run("status").stdout, f"status says {fault.says!r}", SOON_S)
        wait_for(lambda: check(serving)[0] == fault.status, f"the check is {fault.status}", SOON_S)
        assert fault.says in check(serving)[1]
    finally:
        fault.mends(serving)
    wait_for(lambda: is_as_desired(serving), "all is well again", 60)
