"""What the engine adapter promises beyond what the engines' own tests show."""

import http.server
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.adapters import docker_engine as engine_module
from lictor.adapters.docker import Client, connect

from lab.daemon import wait_for
from lab.docker import Docker
from lab.serving import ignore_leaving


def test_execute_returns_code_and_output_and_has_a_time_limit(docker: Docker) -> None:
    docker.docker("run", "-d", "--name", "one", "books-service:1.0")
    client = connect(docker.environ)
    script = "echo out; echo err >&2; exit 3"
    code, output = client.execute("one", ["/bin/busybox", "sh", "-c", script], timeout_s=100)
    assert (code, sorted(output.split())) == (3, ["err", "out"])
    code, output = client.execute("one", ["/bin/busybox", "seq", "100000"], timeout_s=100)
    assert (code, len(output.split())) == (0, 100_000)
    with pytest.raises(errors.Unavailable, match="timed out"):
        client.execute("one", ["/bin/busybox", "sleep", "60"], timeout_s=0.5)
    trickle = ["/bin/busybox", "sh", "-c", "while :; do echo x; busybox sleep 0.1; done"]
    began = time.monotonic()
    with pytest.raises(errors.Unavailable, match="timed out"):
        client.execute("one", trickle, timeout_s=1)
    assert time.monotonic() - began < 150  # each line came in time, but not the end
    code, output = client.execute("one", ["/not-there"], timeout_s=100)
    assert code == 126 and "/not-there" in output
    with pytest.raises(errors.Refused, match="nobody"):
        client.execute("nobody", ["/bin/busybox"], timeout_s=100)


def test_what_docker_warns_of_beside_its_success_is_told(docker: Docker, capfd: pytest.CaptureFixture[str]) -> None:
    ports = {"8080/tcp": [{"HostIp": "", "HostPort": ""}]}
    assert connect(docker.environ).create("one", {
        "Image": "books-service:1.0", "HostConfig": {"NetworkMode": "host", "PortBindings": ports}})
    warned = capfd.readouterr().err
    assert 'container=one warning="Published ports are discarded when using host network mode"' in warned


def test_a_pull_has_a_time_limit(docker: Docker) -> None:
    client = connect(docker.environ)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        image = f"127.0.0.1:{silent.getsockname()[1]}/books:1"
        with pytest.raises(errors.Unavailable, match=f"pull {image}: not done within 0.5 s"):
            client.ensure_image(image, timeout_s=0.5)


def test_a_signal_reaches_the_first_process_and_absence_is_none(docker: Docker) -> None:
    docker.docker("run", "-d", "--name", "one", "--entrypoint", "/bin/busybox", "books-service:1.0", "sh", "-c",
                  "trap 'echo reloaded' HUP; echo ready; while :; do busybox sleep 0.1; done")
    client = connect(docker.environ)
    wait_for(lambda: "ready" in client.logs("one", lines=9), "it runs")
    client.kill("one", "HUP")
    wait_for(lambda: "reloaded" in client.logs("one", lines=9), "it was told")
    client.remove("one")
    client.remove("one")
    client.stop("one", grace_s=1)
    assert client.inspect("one") is None
    with pytest.raises(errors.Refused, match="one"):
        client.kill("one", "HUP")


@pytest.mark.parametrize(("environ", "reason"), [
    ({"DOCKER_HOST": "unix:///nowhere.sock"}, "docker: connect: .*No such file or directory. Is Docker running?"),
    ({"DOCKER_HOST": "unix:///nowhere.sock", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nowhere"},
     "DOCKER_CERT_PATH"),
    ({"DOCKER_HOST": "unix://nowhere.sock"}, "docker: connect: "),
    ({"DOCKER_HOST": "tcp://127.0.0.1:9"}, "refused"),
    ({"DOCKER_HOST": "gopher://x"}, "gopher"),
    ({"DOCKER_HOST": "tcp://127.0.0.1:9", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nowhere"},
     "DOCKER_CERT_PATH"),
])
def test_what_is_wrong_with_the_connection_is_said(environ: dict[str, str], reason: str) -> None:
    with pytest.raises(errors.LictorError, match=reason):
        connect(environ, timeout_s=5)


class Trickle(http.server.BaseHTTPRequestHandler):
    """An engine that answers a byte every 50 ms, for ever; `/version` at once, unless it is that which is slow."""

    slow_version = False
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answer = b'{"ApiVersion": "1.41"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer) if self.is_quick else 10**6))
        self.end_headers()
        while not self.is_quick:
            self.wfile.write(b" ")
            time.sleep(0.05)
        self.wfile.write(answer)

    do_POST = do_DELETE = do_GET

    @property
    def is_quick(self) -> bool:
        return self.path.endswith("/version") and not self.slow_version

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(params=["unix", "tcp"])
def trickling(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """On a unix socket the engine is read directly, on another by the SDK."""
    server: socketserver.ThreadingUnixStreamServer | http.server.ThreadingHTTPServer
    if request.param == "unix":
        url = f"unix://{tmp_path}/docker.sock"
        server = socketserver.ThreadingUnixStreamServer(f"{tmp_path}/docker.sock", Trickle)
    else:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trickle)
        url = f"tcp://127.0.0.1:{server.server_port}"
    server.daemon_threads, server.block_on_close = True, False
    ignore_leaving(server)
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"DOCKER_HOST": url}
        server.shutdown()


def connected(environ: dict[str, str]) -> Client:
    """Connect, to calls of a second; a starved machine may take longer for the connection."""
    made: list[Client] = []

    def is_connected() -> bool:
        made.append(connect(environ, timeout_s=1))
        return True
    wait_for(is_connected, "it is connected")
    return made[0]


@pytest.mark.daemons  # no daemon, but a network
@pytest.mark.parametrize("call", [
    lambda client: client.engine_id(), lambda client: client.running(), lambda client: client.labelled("x"),
    lambda client: client.inspect("x"), lambda client: client.create("x", {}), lambda client: client.start("x"),
    lambda client: client.remove("x"), lambda client: client.logs("x", lines=1),
    lambda client: client.ensure_image("x:1", timeout_s=0.5), lambda client: client.image_config("x:1"),
    lambda client: client.volume_device("x"), lambda client: client.require_networks(["x"]),
], ids=["info", "running", "labelled", "inspect", "create", "start", "remove", "logs", "image", "config", "volume",
        "network"])
def test_a_call_has_a_deadline_even_if_the_engine_goes_on_answering(
        trickling: dict[str, str], call: Callable[[Client], object]) -> None:
    client = connected(trickling)
    with pytest.raises(errors.Unavailable, match="^docker: .*: (?:not done|no answer) within 1 s") as raised:
        call(client)
    assert not isinstance(raised.value, errors.Overlong)  # which would ask for fewer objects


@pytest.mark.daemons
def test_a_connection_has_one_too(trickling: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trickle, "slow_version", True)
    with pytest.raises(errors.Unavailable, match="connect: (?:not done|no answer) within 1 s"):
        connect(trickling, timeout_s=1)


_READ = """
import sys
from lictor.adapters import docker, docker_swarm
client = docker.connect()
client.engine_id(), client.running(), client.labelled("a=b"), client.inspect("one"), client.inspect("no such one?")
client.image_config("books-service:1.0"), client.ensure_image("books-service:1.0", timeout_s=9)
client.require_networks(["bridge"])
assert not client.volume_device("none") and not client.volume_device("../networks")
swarm = docker_swarm.connect()
swarm.is_manager(), swarm.is_member()
assert not {"docker", "requests", "urllib3"} & sys.modules.keys(), "the SDK was loaded"
"""


def test_an_engine_on_a_unix_socket_is_read_without_the_sdk(docker: Docker) -> None:
    docker.docker("run", "-d", "--name", "one", "books-service:1.0")
    subprocess.run([sys.executable, "-c", _READ], env={**os.environ, **docker.environ}, check=True)


@pytest.mark.parametrize("call", [
    lambda client: client.engine_id(), lambda client: names(client.running()),
    lambda client: names(client.labelled("a")), lambda client: names(client.labelled("a=b")),
    lambda client: names(client.labelled("")),
    lambda client: client.inspect("one"), lambda client: client.inspect("nobody"),
    lambda client: client.image_config("books-service:1.0"), lambda client: client.image_config("nothing:1"),
    lambda client: client.volume_device("data"), lambda client: client.volume_device("nothing"),
    lambda client: client.require_networks(["bridge", "host"]), lambda client: client.require_networks(["brid"]),
], ids=["info", "running", "labelled", "with a value", "no label", "inspect", "nobody", "image", "no image", "volume",
        "no volume", "network", "no network"])
def test_the_sdk_tells_the_same(scene: Docker, call: Callable[[Client], object],
                                monkeypatch: pytest.MonkeyPatch) -> None:
    direct = outcome(call, scene)
    monkeypatch.setattr(engine_module, "_socket_path", lambda _: "")
    assert outcome(call, scene) == direct


@pytest.fixture(scope="module")
def scene(docker_engine: Docker) -> Iterator[Docker]:
    docker_engine.docker("run", "-d", "--name", "one", "-l", "a=b", "-v", "data:/data", "books-service:1.0")
    docker_engine.docker("create", "--name", "two", "-l", "a=c", "books-service:1.0")
    yield docker_engine
    docker_engine.clear()
    docker_engine.docker("volume", "rm", "data")


def names(listed: list[dict[str, Any]]) -> list[str]:
    return [name for each in listed for name in each["Names"]]


def outcome(call: Callable[[Client], object], docker: Docker) -> object:
    try:
        return call(connect(docker.environ))
    except errors.LictorError as error:
        return type(error), str(error)
