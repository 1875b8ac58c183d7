"""Calls of gRPC through nginx, with real clients and servers of it, in both modes."""

import queue
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import grpc
import pytest

from lictor.adapters import files
from lictor.routing import publish
from lictor.spec.route import Route
from lictor.spec.settings import Settings

from lab.daemon import free_ports, wait_for
from lab.nginx import Nginx
from support.modes import in_both_modes
from support.routed import HOST_TEMPLATE, decide, published, put_route, set_up, with_nginx

NAME, SERVICE = "books", "books.v1.Shelf"
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
PATIENCE_S = 60


class Instance:
    """A server of gRPC, whose messages are bytes. `heard` holds what came with each call beside them."""

    def __init__(self, name: str = "a") -> None:
        self.name, self.heard = name, list[dict[str, str]]()
        self.free = threading.Event()
        self.pool = ThreadPoolExecutor(16)
        self.server = grpc.server(self.pool)
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {
            "Get": grpc.unary_unary_rpc_method_handler(self.get),
            "List": grpc.unary_stream_rpc_method_handler(lambda sent, _: iter([sent, b"1", b"2"])),
            "Put": grpc.stream_unary_rpc_method_handler(lambda sent, _: b"%d" % sum(map(len, sent))),
            "Talk": grpc.stream_stream_rpc_method_handler(lambda sent, _: (each.upper() for each in sent)),
            "Fail": grpc.unary_unary_rpc_method_handler(
                lambda _, call: call.abort(grpc.StatusCode.NOT_FOUND, "no such book")),
            "Wait": grpc.unary_unary_rpc_method_handler(lambda *_: self.free.wait(PATIENCE_S) and b"")})])
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def get(self, sent: bytes, call: grpc.ServicerContext) -> bytes:
        self.heard.append({**dict(call.invocation_metadata())})
        return self.name.encode() + sent

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.free.set()
        self.server.stop(None).wait()
        self.pool.shutdown()


class Shelf:
    """A client of it, through nginx."""

    def __init__(self, port: int, authority: str = "books.example.com") -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", [
            ("grpc.default_authority", authority), ("grpc.use_local_subchannel_pool", 1)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def get(self, sent: bytes = b"", **headers: str) -> bytes:
        answer: bytes = self.channel.unary_unary(f"/{SERVICE}/Get")(
            sent, timeout=PATIENCE_S, metadata=[*headers.items()])
        return answer

    def put(self, sent: Iterable[bytes]) -> bytes:
        answer: bytes = self.channel.stream_unary(f"/{SERVICE}/Put")(iter(sent), timeout=PATIENCE_S)
        return answer

    def talk(self, sent: Iterator[bytes]) -> Iterator[bytes]:
        answers: Iterator[bytes] = self.channel.stream_stream(f"/{SERVICE}/Talk")(sent, timeout=PATIENCE_S)
        return answers

    def status(self, method: str = "Get", sent: bytes = b"") -> grpc.StatusCode:
        try:
            self.channel.unary_unary(f"/{SERVICE}/{method}")(sent, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            return error.code()
        return OK


@pytest.fixture
def http2_port(nginx: Nginx) -> int:
    """Where a server of the user's own takes HTTP/2, beside the other one."""
    port, = free_ports(1)
    text = files.read(nginx.main_conf) or ""
    own = f"server {{ listen 127.0.0.1:{port} http2; include {nginx.conf_dir}/locations/*.conf; }}\n    server {{"
    files.write_atomic(nginx.main_conf, text.replace("server {", own, 1))
    return port


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str, http2_port: int) -> Settings:
    return with_nginx(set_up(str(tmp_path), nginx), mode=mode)


@pytest.fixture
def shelf(settings: Settings, http2_port: int) -> Iterator[Shelf]:
    with Shelf(http2_port) as client:
        yield client


def publish_with(node: Settings, *ports: int, host: str = "", **options: Any) -> list[str]:
    path = f"/{SERVICE}"
    put_route(node, NAME, path=path, host=host, options=Route(path, host, scheme="grpc", **options).options)
    decide(node, NAME, *ports)
    return publish.publish(node, [NAME])


@in_both_modes
def test_calls_and_streams_pass_with_their_headers_and_outcomes(settings: Settings, shelf: Shelf) -> None:
    with Instance() as instance:
        assert publish_with(settings, instance.port) == [NAME]
        wait_for(lambda: shelf.status() == OK, "nginx asks by gRPC")
        assert shelf.get(b"x", cookie="c=1") == b"ax"
        heard = instance.heard[-1]
        assert heard["cookie"] == "c=1" and heard["x-forwarded-for"] == heard["x-real-ip"] == "127.0.0.1"
        assert heard["lictor-hops"] == "+" and not {"upgrade", "connection", "forwarded"} & heard.keys()
        assert [*shelf.channel.unary_stream(f"/{SERVICE}/List")(b"x")] == [b"x", b"1", b"2"]
        assert [*shelf.talk(iter([b"a", b"b"]))] == [b"A", b"B"]
        assert shelf.put([b"x" * 1_000_000] * 3) == b"3000000"  # nginx's own limit of a body is one
        with pytest.raises(grpc.RpcError) as failed:
            shelf.channel.unary_unary(f"/{SERVICE}/Fail")(b"")
        assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such book")
        assert shelf.status("Nothing") == grpc.StatusCode.UNIMPLEMENTED


@in_both_modes
def test_what_nginx_itself_answers_is_a_status_that_clients_know(settings: Settings, shelf: Shelf) -> None:
    dead, = free_ports(1)

    def serve(expected: grpc.StatusCode, *ports: int, method: str = "Get", sent: bytes = b"", **options: Any) -> None:
        assert publish_with(settings, *ports, **options) == [NAME]
        wait_for(lambda: shelf.status(method, sent) == expected, f"{expected} with {options} at {ports}")

    with Instance() as instance:
        serve(UNAVAILABLE)
        serve(OK, instance.port)
        serve(UNAVAILABLE, dead)
        serve(UNAVAILABLE, instance.port, method="Wait", timeout=1.0)
        serve(grpc.StatusCode.PERMISSION_DENIED, instance.port, allow=["203.0.113.7"])
        serve(grpc.StatusCode.UNKNOWN, instance.port, sent=b"x" * 2000, max_body=1000)
        serve(OK, dead, instance.port)
        assert {shelf.status() for _ in range(20)} == {OK}
        serve(OK, instance.port, request_headers={"X-Env": "prod"})
        wait_for(lambda: shelf.get() and instance.heard[-1].get("x-env") == "prod", "the header is sent")


@in_both_modes
def test_an_open_stream_outlives_a_change_of_peers_and_a_reload(settings: Settings, shelf: Shelf) -> None:
    with Instance("a") as a, Instance("b") as b:
        publish_with(settings, a.port)
        wait_for(lambda: shelf.status() == OK, "nginx asks by gRPC")
        sent: queue.Queue[bytes] = queue.Queue()
        answers = shelf.talk(iter(sent.get, b""))
        sent.put(b"one")
        assert next(answers) == b"ONE"
        assert publish_with(settings, b.port, request_headers={"X-Env": "prod"}) == [NAME]
        wait_for(lambda: shelf.get() == b"b", "new calls go to the new one")
        sent.put(b"two")
        assert next(answers) == b"TWO"
        sent.put(b"")
        assert [*answers] == []


@in_both_modes
def test_a_host_whose_server_takes_no_http2_is_refused(settings: Settings) -> None:
    port, = free_ports(1)
    with Instance() as instance:
        publish_with(settings, instance.port, host="books.example.com")
        refusal = published(settings, NAME).refusal
        assert refusal and refusal.reason.startswith("route.scheme is grpc, and the server of books.example.com takes ")
        files.write_atomic(f"{settings.templates_dir}/server.conf.j2",
                           HOST_TEMPLATE.format(port=port).replace(f"{port};", f"{port} http2;"))
        assert publish_with(settings, instance.port, host="books.example.com") == [NAME]
        with Shelf(port) as client:
            wait_for(lambda: client.status() == OK, "the host's server takes calls")
            assert instance.heard[-1]["lictor-hops"] == "+"
