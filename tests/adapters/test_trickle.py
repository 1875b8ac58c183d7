"""Servers that answer a byte now and then: each call has a deadline for the whole of it."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lictor import errors
from lictor.adapters import http
from lictor.adapters.consul.client import Client
from lictor.routing import nginx_socket

HEAD = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 1\r\nContent-Length: 100000\r\n\r\n"


class Trickle:
    """Sends the head of an answer, or none, and then a byte each hundredth of a second for ever."""

    def __init__(self, server: socket.socket, head: bytes) -> None:
        self.server, self.head, self.ended = server, head, threading.Event()
        server.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        try:
            while True:
                threading.Thread(target=self.answer, args=(self.server.accept()[0],), daemon=True).start()
        except OSError:
            pass  # the test is over

    def answer(self, connection: socket.socket) -> None:
        try:
            connection.sendall(self.head)
            while not self.ended.wait(0.01):
                connection.sendall(b"a")
        except OSError:
            pass  # the client has left


@pytest.fixture(params=[b"", HEAD], ids=["no head", "head"])
def trickle(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Trickle, Trickle]]:
    """One on TCP, and one where nginx has its socket."""
    unix = socket.socket(socket.AF_UNIX)
    (tmp_path / "run").mkdir()
    unix.bind(nginx_socket.path(str(tmp_path)))
    servers = Trickle(socket.create_server(("127.0.0.1", 0)), request.param), Trickle(unix, request.param)
    yield servers
    for server in servers:
        server.ended.set()
        server.server.close()


def test_no_call_lasts_longer_than_its_limit(trickle: tuple[Trickle, Trickle], tmp_path: Path) -> None:
    address = f"127.0.0.1:{trickle[0].server.getsockname()[1]}"
    consul = Client.connect(environ={"CONSUL_HTTP_ADDR": address}, timeout_s=0.3)
    calls: dict[str, Callable[[], object]] = {
        "Consul": lambda: consul.get("services/books/spec"),
        "a webhook": lambda: http.exchange("POST", f"http://{address}/", headers={}, body=b"", timeout_s=0.3),
        "nginx": lambda: nginx_socket.ask(str(tmp_path), "GET", "/generation", timeout_s=0.3)}
    for name, call in calls.items():
        began = time.monotonic()
        with pytest.raises((errors.Unavailable, OSError)):
            call()
        assert time.monotonic() - began < 100, name  # else it would last for ever
