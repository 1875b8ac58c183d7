"""The smoke path, asked of real sockets."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from lictor import model
from lictor.planner.members import Member
from lictor.reconcile import smoke_test
from lictor.spec import service_spec

from support.backend import Backend
from support.certificates import Authority
from support.scene import scene

TABLE = {"name": "books", "image": "books:1", "node": "n", "port": 8080, "route": {"path": "/b"},
         "release": {"smoke": "/books"}}
SPEC = service_spec.parse_spec(TABLE, "books.yml")


@contextlib.contextmanager
def answering(*pieces: bytes, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that answers each connection with these pieces, the last of them over and over until it is closed."""
    def accept() -> socket.socket:
        connection, _ = listener.accept()
        return tls.wrap_socket(connection, server_side=True) if tls else connection

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                with accept() as connection, contextlib.suppress(OSError):
                    connection.recv(4096)
                    for each in pieces[:-1]:
                        connection.sendall(each)
                    while pieces[-1] and not over.wait(0.05):
                        connection.sendall(pieces[-1])
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """A port that is taken, and on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def ask(port: int, *others: int, spec: service_spec.Spec = SPEC, trusted_ca: str = "") -> str:
    container = model.Container("c1", "books-1", "books", 1, "", "books:1", "r", "running", 0.0, 0.0, None)
    instance = model.Instance("n", "s1", "books", "127.0.0.1", port, "passing", True, None, "c1")
    twin = instance._replace(service_id="s1:udp", is_udp=True, port=1)  # which nobody asks
    seen = scene(1)._replace(instances=(twin, instance, *(instance._replace(port=other) for other in others)))
    return smoke_test.run(spec, [Member(container, instance, "healthy")], seen, trusted_ca)["c1"]


@pytest.mark.parametrize(("pieces", "said"), [
    ((b"HTTP/1.1 204 No Content\r\n\r\n", b""), ""),
    ((b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b""), "answers 404"),
    ((b"HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", b""), "answers 301"),
    ((b"what?\r\n\r\n", b""), "does not answer: no HTTP answer"),
    ((b"HTTP/1.1 200 OK\r\nX: ", b"x"), "does not answer: no answer within 0.5 s"),
])
def test_only_a_2xx_within_the_time_is_well(pieces: tuple[bytes, ...], said: str,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke_test, "_TIMEOUT_S", 0.5 if "within 0.5 s" in said else 60.0)
    with answering(*pieces) as port:
        found = ask(port)
    assert found.startswith(said) and bool(found) == bool(said)


def test_an_instance_is_asked_by_https_as_nginx_asks_it(tmp_path: Path) -> None:
    ours, other = (Authority(str(tmp_path / name)) for name in ("ours", "other"))
    certificate, key = ours.sign("books.internal")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def asked(route: dict[str, object], trusted_ca: str) -> str:
        spec = service_spec.parse_spec({**TABLE, "route": {"path": "/b", "scheme": "https", **route}}, "books.yml")
        with answering(b"HTTP/1.1 204 No Content\r\n\r\n", b"", tls=context) as port:
            return ask(port, spec=spec, trusted_ca=trusted_ca)

    named: dict[str, object] = {"server_name": "books.internal"}
    assert asked(named, ours.root) == ""
    assert asked({"host": "books.internal"}, ours.root) == ""
    assert asked({"insecure": True}, "/nowhere") == asked({**named, "insecure": True}, "/nowhere") == ""
    assert "certificate verify failed" in asked(named, other.root)
    assert "not valid for 'other.internal'" in asked({"server_name": "other.internal"}, ours.root)
    assert asked(named, "/nowhere") == ("does not answer: /nowhere, by which its certificate is verified: No such file "
                                        "or directory")


def test_of_several_registrations_all_have_to_answer() -> None:
    with answering(b"HTTP/1.1 204 No Content\r\n\r\n", b"") as port, refusing() as refused:
        assert "Connection refused" in ask(port, refused)


@pytest.mark.parametrize(("route", "host"), [
    ("/b", ""), ({"path": "/", "host": "a.example.com"}, "a.example.com"), ({"path": "/", "host": "_"}, ""),
    (["/b", {"path": "/", "host": "_"}, {"path": "/", "host": "a.example.com"}, {"path": "/", "host": "b"}],
     "a.example.com")])
def test_the_first_named_host_of_the_routes_is_asked_for(route: object, host: str) -> None:
    class Witness(Backend):
        def make_body(self, headers: Message) -> bytes:
            asked.append(headers["Host"])
            return b""

    asked = list[str]()
    table = {"name": "books", "engine": "none", "route": route, "release": {"smoke": "/books"}}
    with Witness("a") as backend:
        assert ask(backend.port, spec=service_spec.parse_spec(table, "")) == ""
        assert asked == [host or f"127.0.0.1:{backend.port}"]


def test_nobody_there_is_no_answer() -> None:
    with refusing() as port:
        assert "Connection refused" in ask(port)
