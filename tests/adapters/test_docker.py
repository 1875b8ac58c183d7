"""What the engine adapter promises beyond what the engines' own tests show."""

import socket
import time

import pytest

from lictor import errors
from lictor.adapters.docker import connect

from lab.daemon import wait_for
from lab.docker import Docker


def test_execute_returns_code_and_output_and_has_a_time_limit(docker: Docker) -> None:
    docker.docker("run", "-d", "--name", "one", "books-service:1.0")
    client = connect(docker.environ)
    script = "echo out; echo err >&2; exit 3"
    code, output = client.execute("one", ["/bin/busybox", "sh", "-c", script], timeout_s=20)
    assert (code, sorted(output.split())) == (3, ["err", "out"])
    code, output = client.execute("one", ["/bin/busybox", "seq", "100000"], timeout_s=20)
    assert (code, len(output.split())) == (0, 100_000)
    with pytest.raises(errors.Unavailable, match="timed out"):
        client.execute("one", ["/bin/busybox", "sleep", "60"], timeout_s=0.5)
    trickle = ["/bin/busybox", "sh", "-c", "while :; do echo x; busybox sleep 0.1; done"]
    began = time.monotonic()
    with pytest.raises(errors.Unavailable, match="timed out"):
        client.execute("one", trickle, timeout_s=1)
    assert time.monotonic() - began < 30  # each line came in time, but not the end
    code, output = client.execute("one", ["/not-there"], timeout_s=20)
    assert code == 126 and "/not-there" in output
    with pytest.raises(errors.Refused, match="nobody"):
        client.execute("nobody", ["/bin/busybox"], timeout_s=20)


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
    ({"DOCKER_HOST": "unix:///nowhere.sock"}, "No such file"),
    ({"DOCKER_HOST": "tcp://127.0.0.1:9"}, "refused"),
    ({"DOCKER_HOST": "gopher://x"}, "gopher"),
    ({"DOCKER_HOST": "tcp://127.0.0.1:9", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nowhere"},
     "DOCKER_CERT_PATH"),
])
def test_what_is_wrong_with_the_connection_is_said(environ: dict[str, str], reason: str) -> None:
    with pytest.raises(errors.LictorError, match=reason):
        connect(environ, timeout_s=5)
