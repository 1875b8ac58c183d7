"""Ways to a real Consul, and answers that are none. Runs with python-consul and with py-consul."""

import http.server
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.adapters.consul import library, transactions, transport
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.environment import Source

from lab.consul import Consul
from lab.daemon import free_ports, wait_for
from lab.serving import ignore_leaving

SECRET = "0f2d1c9e-7a54-4a0e-9d7e-3b1c5a6e8f00"


@contextmanager
def running(folder: Path, *, wait: bool = True, **settings: Any) -> Iterator[Consul]:
    folder.mkdir()
    agent = Consul(str(folder), **settings)
    try:
        yield agent.start(wait=wait)
    finally:
        agent.stop()


def test_plain_addresses_and_the_environment_of_the_process(consul: Consul, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"CONSUL_HTTP_ADDR": "http://[::1]:9/", "CONSUL_HTTP_TOKEN": SECRET, "CONSUL_HTTP_SSL": "x",
                            "http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(variable, value)
    for address in (consul.address, f"http://{consul.address}", f"http://localhost:{consul.http_port}/"):
        client = Client.connect(environ={"CONSUL_HTTP_ADDR": address})
        client.put("key", address)
        assert consul.get("key") == address
        assert client.agent().name == "node-1"
    assert os.environ["CONSUL_HTTP_ADDR"] == "http://[::1]:9/"
    seen = []

    class Looking(library.Consul):
        """The library makes its connection while it is initialised: other threads have the variable even then."""

        def http_connect(self, *_: object) -> transport.Client:
            seen.append(os.environ["CONSUL_HTTP_ADDR"])
            return self._hooks

        connect = http_connect

    Looking(transport.Client(Source(consul.environ, None), timeout_s=1))
    assert seen == ["http://[::1]:9/"]
    with pytest.raises(errors.Refused, match="CONSUL_HTTP_SSL"):
        Client.connect()


@pytest.mark.daemons
def test_a_unix_socket(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as short:  # a socket's path may have 107 bytes
        path = f"{short}/consul.sock"
        with running(tmp_path / "consul", config={"addresses": {"http": f"127.0.0.1 unix://{path}"}}):
            client = Client.connect(environ={"CONSUL_HTTP_ADDR": f"unix://{path}"})
            client.put("key", "by socket")
            entry = client.get("key")
            assert entry is not None and entry.value == b"by socket"
        with pytest.raises(errors.Unavailable, match=f"unix://{path}"):
            client.get("key")


@pytest.mark.daemons
@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6") or not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6(tmp_path: Path) -> None:
    with running(tmp_path / "consul", config={"client_addr": "127.0.0.1 ::1"}) as agent:
        for address in (f"[::1]:{agent.http_port}", f"http://[::1]:{agent.http_port}"):
            Client.connect(environ={"CONSUL_HTTP_ADDR": address}).put("key", "six")
        assert agent.get("key") == "six"


@pytest.mark.daemons
def test_tls_with_client_certificates(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    for argv in (["ca", "create"], ["cert", "create", "-server"], ["cert", "create", "-client"]):
        subprocess.run(["consul", "tls", *argv], cwd=tmp_path, check=True, capture_output=True, timeout=30)
    authority = tmp_path / "consul-agent-ca.pem"
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "any-name").write_bytes(authority.read_bytes())
    with running(tmp_path / "consul", config={
        "ports": {"https": port}, "verify_incoming": True, "ca_file": str(authority),
        "cert_file": str(tmp_path / "dc1-server-consul-0.pem"),
        "key_file": str(tmp_path / "dc1-server-consul-0-key.pem"),
    }) as agent:
        mine = {"CONSUL_CLIENT_CERT": str(tmp_path / "dc1-client-consul-0.pem"),
                "CONSUL_CLIENT_KEY": str(tmp_path / "dc1-client-consul-0-key.pem")}
        right = {"CONSUL_HTTP_ADDR": f"https://127.0.0.1:{port}", "CONSUL_CACERT": str(authority), **mine}
        for number, environ in enumerate((
            right, {**right, "CONSUL_HTTP_ADDR": f"localhost:{port}", "CONSUL_HTTP_SSL": "true"},
            {**right, "CONSUL_TLS_SERVER_NAME": "server.dc1.consul"},
            {**right, "CONSUL_CACERT": "", "CONSUL_CAPATH": str(folder)},
            {**right, "CONSUL_CACERT": "", "CONSUL_HTTP_SSL_VERIFY": "false"},
        )):
            Client.connect(environ=environ).put("key", str(number))
            assert agent.get("key") == str(number)
        for environ in ({**right, "CONSUL_CACERT": ""}, {**right, "CONSUL_TLS_SERVER_NAME": "wrong.example.com"},
                        {key: value for key, value in right.items() if key not in mine},
                        {**right, "CONSUL_HTTP_ADDR": f"http://127.0.0.1:{port}"}):
            with pytest.raises(errors.LictorError, match=f"GET /v1/kv/key of https?://127.0.0.1:{port}: "):
                Client.connect(environ=environ).get("key")
        with pytest.raises(errors.Refused, match="CONSUL_CLIENT_CERT"):
            Client.connect(environ={**right, "CONSUL_CLIENT_KEY": str(authority)})


def test_a_frozen_agent_and_one_that_is_gone(consul: Consul) -> None:
    client = Client.connect(environ=consul.environ, timeout_s=0.5)
    freeze(consul)
    for call in every_reading_call(client):
        with pytest.raises(errors.Unavailable, match="no answer within 0.5 s"):
            call()
    with pytest.raises(errors.Unavailable, match="no answer within 1.5625 s"):
        client.wait_health("web", index=1, wait_s=1)
    consul.stop(signal.SIGKILL)
    with pytest.raises(errors.Unavailable, match=f"GET /v1/kv/a%20key of http://{consul.address}: .*refused"):
        client.get("a key")


@pytest.mark.daemons
def test_without_a_leader_nothing_is_known(tmp_path: Path) -> None:
    alone = {"server": True, "bootstrap_expect": 3, "performance": {"rpc_hold_timeout": "50ms"}}
    with running(tmp_path / "consul", wait=False, config=alone, join=free_ports(1)[0]) as agent:
        wait_for(lambda: agent.request("GET", "/v1/agent/self"), "the agent answers")
        client = Client.connect(environ=agent.environ, timeout_s=30)
        calls: list[Callable[[], object]] = [
            *every_reading_call(client), lambda: client.put("key", "x"), lambda: client.create_session("x"),
            lambda: client.commit([transactions.set_key("key", "x")])]
        for call in calls:
            with pytest.raises(errors.Unavailable, match="leader") as caught:
                call()
            assert not isinstance(caught.value, errors.Conflict)


def test_error_texts_never_hold_the_token_or_the_query(tmp_path: Path) -> None:
    paths = []

    def echo(handler: Any) -> None:
        paths.append(handler.path)
        answer(handler, 500, f"you sent\n\x1b[31m{handler.headers['X-Consul-Token']}" + "x" * 500)

    with double(echo) as environ:
        client = Client.connect(environ={**environ, "CONSUL_HTTP_TOKEN": SECRET})
        with pytest.raises(errors.Unavailable) as caught:
            client.set_maintenance("web", "a private reason")
    assert paths == ["/v1/agent/service/maintenance/web?enable=true&reason=a+private+reason"]
    text, asked = str(caught.value), "PUT /v1/agent/service/maintenance/web of http://"
    assert text.startswith(f"{asked}{environ['CONSUL_HTTP_ADDR']}: 500 you sent ")
    assert SECRET not in text and "private" not in text and text.isprintable() and len(text) < 400


DOUBLED: dict[str, Callable[[Any], None]] = {
    "an error's text with a 200": lambda handler: answer(handler, 200, "No cluster leader"),
    "another kind of JSON": lambda handler: answer(handler, 200, '{"error": "No cluster leader"}'),
    "the wrong rows": lambda handler: answer(handler, 200, '["a", {"b": 1}]'),
    "a number": lambda handler: answer(handler, 200, "1"),
    "nothing": lambda handler: answer(handler, 200, ""),
    "no UTF-8": lambda handler: answer(handler, 200, b'["\xff"]'),
    "deep nesting": lambda handler: answer(handler, 200, "[" * 100_000),
    "a web server's 404": lambda handler: answer(handler, 404, "<h1>Not found</h1>"),
    "a 404 with JSON": lambda handler: answer(handler, 404, "[]"),
    "too many requests": lambda handler: answer(handler, 429, "slow down"),
    "a gateway's error": lambda handler: answer(handler, 503, "<h1>Bad gateway</h1>"),
    "a redirect": lambda handler: answer(handler, 307, "", Location="/v1/elsewhere"),
    "a body cut off": lambda handler: answer(handler, 200, "[]", **{"Content-Length": "10"}),
    "no HTTP": lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n"),
    "a body without an end": lambda handler: endless(handler, b" " * 1_000_000, 0),
    "a body that drips": lambda handler: endless(handler, b" ", 0.1),
}


@pytest.mark.parametrize("what", DOUBLED)
def test_what_consul_never_says_is_not_taken_for_data(what: str) -> None:
    """A double speaks here, and only here: a real Consul can't be made to say any of this."""
    asked = []

    def respond(handler: Any) -> None:
        asked.append(handler.path)
        DOUBLED[what](handler)

    with double(respond) as environ:
        client = Client.connect(environ=environ, timeout_s=1)
        calls: list[Callable[[], object]] = [
            *every_reading_call(client), lambda: client.put("key", "x"), lambda: client.delete("key"),
            lambda: client.acquire("key", "s", "x"), lambda: client.create_session("x")]
        for call in calls[:1] if what.startswith("a body") else calls:
            with pytest.raises(errors.Unavailable) as caught:
                call()
            assert not isinstance(caught.value, errors.Conflict)
    assert "/v1/elsewhere" not in asked


def test_an_empty_list_is_no_absent_key() -> None:
    with double(lambda handler: answer(handler, 200, "[]")) as environ:
        client = Client.connect(environ=environ)
        for call in (lambda: client.get("key"), lambda: client.tree("services/")):
            with pytest.raises(errors.Unavailable, match=r"200, but not Consul's answer: \[\]"):
                call()


def every_reading_call(client: Client) -> list[Callable[[], object]]:
    """All that must never be answered by an empty result when Consul is not there."""
    return [lambda: client.health("web"), lambda: client.health("web", consistent=True), lambda: client.everything([]),
            client.alive_nodes, lambda: client.get("key"), lambda: client.tree("services/"), client.leader]


def freeze(agent: Consul) -> None:
    """Stop the process; the signal takes hold of one thread after the other."""
    assert agent.daemon is not None
    agent.daemon.send(signal.SIGSTOP)
    threads = Path(f"/proc/{agent.daemon.pid}/task")
    wait_for(lambda: all(") T " in (each / "stat").read_text() for each in threads.iterdir()), "all stand still")


@contextmanager
def double(respond: Callable[[Any], None]) -> Iterator[dict[str, str]]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            respond(self)

        do_PUT = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ignore_leaving(server)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    try:
        yield {"CONSUL_HTTP_ADDR": f"127.0.0.1:{server.server_port}"}
    finally:
        server.shutdown()
        server.server_close()


def answer(handler: Any, status: int, body: str | bytes, **headers: str) -> None:
    data = body.encode() if isinstance(body, str) else body
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(data)), "X-Consul-Index": "7", **headers}.items():
        if status != 404 or name != "X-Consul-Index":
            handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def endless(handler: Any, chunk: bytes, pause_s: float) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(chunk)
            time.sleep(pause_s)
    except OSError:
        pass  # the client has had enough
