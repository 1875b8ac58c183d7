"""A node's clock is set under the real programs: nothing is emptied, cut, failed, or held for hours.

A set clock is one of which CLOCK_REALTIME has moved, and the time since the start of the machine has not. The handlers
see that by a module that Python loads before theirs, as the clock of this machine is not the tests' to set.
"""

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lictor.events import timer

from lab.docker import Docker
from lab.node import QUICK, Node

NAME = "books-service"
SITE = """
import os, time
_now, _now_ns = time.time, time.time_ns
def _shift():
    try:
        with open({path!r}) as file:
            return int(file.read() or 0)
    except (OSError, ValueError):
        return 0
time.time = lambda: _now() + _shift()
time.time_ns = lambda: _now_ns() + _shift() * 10**9
"""


@pytest.fixture
def shift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says by how many seconds the node's clock was set."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE.format(path=str(tmp_path / "shift")))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    return tmp_path / "shift"


@pytest.fixture
def node(shift: Path, docker: Docker, tmp_path: Path) -> Iterator[Node]:
    whole = Node(str(tmp_path / "node"), docker, timer="2s", settings=QUICK, keep_data=True)
    try:
        yield whole.start()
    finally:
        whole.stop()


def set_clock(node: Node, shift: Path, by_s: int) -> None:
    """Set it, and wait until two sweeps have ended since that was noted."""
    moved_s = by_s - int(shift.read_text() if shift.exists() else 0)
    shift.write_text(str(by_s))
    node.wait_for(lambda: moved_s in noted_s(node), "the timer notes it")
    path, ends = os.path.join(node.settings.state_dir, "summary.json"), list[int]()

    def has_swept_twice() -> bool:
        ended_ns = os.stat(path).st_mtime_ns
        ends.extend([] if ended_ns in ends else [ended_ns])
        return len(ends) > 2

    node.wait_for(has_swept_twice, "two sweeps end")
    summary = timer.read(node.settings)
    assert summary and not summary.error


def noted_s(node: Node) -> set[int]:
    """By how many seconds the clock was set, as the timer noted: it reads two clocks, one a moment after the other."""
    found = map(int, re.findall(r"action=clock outcome=set by_s=(-?\d+)", node.log()))
    return {each + late for each in found for late in range(-3, 4)}


class SlowClient(threading.Thread):
    """A client that takes its time, for as long as it is used. The instance gives up a connection after a minute, so
    that another one is opened before."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port, self._is_over = port, threading.Event()
        self._connection = self._connect()

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port))

    def run(self) -> None:
        while not self._is_over.wait(20):
            before, self._connection = self._connection, self._connect()
            before.close()
        self._connection.close()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()


@pytest.mark.parametrize("by_s", [7200, -10800])
def test_a_drain_and_a_held_upstream_last_as_long_as_ever(node: Node, shift: Path, by_s: int) -> None:
    node.apply(replicas={"initial": 2, "min": 1, "max": 5}, drain="10m")
    node.wait_served(f"{NAME}-1", f"{NAME}-2")
    started = len(node.log())  # a sweep that finds the new agent's catalogue empty fails, and says so
    port = node.docker.docker("port", f"{NAME}-2", "8080").strip().rpartition(":")[2]
    with SlowClient(int(port)):
        assert node.run("scale", NAME, "1").returncode == 0
        node.wait_served(f"{NAME}-1")
        set_clock(node, shift, by_s)
        assert f"{NAME}-2" in node.docker.containers() and node.answers() == f"{NAME}-1"
        assert "action=remove" not in node.log()
    node.wait_for(lambda: f"{NAME}-2" not in node.docker.containers(), "the drain ends once nothing is in flight", 60)
    assert node.registrar
    node.registrar.stop()
    held_from = len(node.log())
    for service_id in [each["ID"] for each in node.consul.request("GET", "/v1/agent/services").values()
                       if each["Service"] == NAME]:
        node.consul.request("PUT", f"/v1/agent/service/deregister/{service_id}")
    node.wait_for(lambda: "outcome=hold" in node.log()[held_from:], "the upstream is held")
    set_clock(node, shift, 0)
    assert node.answers() == f"{NAME}-1"
    node.start_registrar()
    node.wait_served(f"{NAME}-1")
    assert [each for each in node.docker.containers() if each.startswith(NAME)] == [f"{NAME}-1"]
    assert "breaker" not in node.log() and "outcome=failed" not in node.log()[started:]
