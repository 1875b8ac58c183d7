"""Who is told, by real commands and a real server on loopback."""

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lictor.reconcile import notify
from lictor.spec.settings import Notify, Settings

from lab.daemon import wait_for
from lab.serving import Serving

RECORD = {"service": "books", "reason": "the breaker is open: ü \"5\" in 10m"}
TOKEN = "s3cr3t-0f-the-webhook"


class Webhook(Serving):
    """Answers each POST by the status that its path names, a redirect to one of 200, and keeps what it got."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                hook.requests.append((self.path, dict(self.headers), json.loads(body or b"null")))
                self.send_response(int(self.path.split("/")[1]))
                self.send_header("Location", "/200/elsewhere")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        yield server


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "notify.token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return str(path)


def told(capfd: pytest.CaptureFixture[str], **settings: Any) -> str:
    """What is logged while the record is sent: always one line, and never the token."""
    notify.send(Settings(notify=Notify(**settings)), RECORD)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("action=notify outcome=") and TOKEN not in lines[0]
    return lines[0].removeprefix("action=notify outcome=")


def test_without_settings_nobody_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    notify.send(Settings(), RECORD)
    assert capfd.readouterr().err == ""


def test_a_command_gets_the_record_on_stdin(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert told(capfd, command=("tee", str(tmp_path / "told"))) == "done"
    assert json.loads((tmp_path / "told").read_text()) == RECORD


def test_a_command_that_does_not_read_is_told_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    notify.send(Settings(notify=Notify(command=("true",))), {"reason": "x" * 1_000_000})
    assert capfd.readouterr().err == "action=notify outcome=done\n"


@pytest.mark.parametrize(("command", "reason"), [
    (("sh", "-c", "echo the pager is out >&2; exit 1"), 'failed reason="sh: exit code 1: the pager is out"'),
    (("/nowhere/page",), 'failed reason="/nowhere/page: exit code 127: '),
    (("page\0me",), 'failed reason="embedded null byte"'),
])
def test_a_command_that_fails_is_logged(capfd: pytest.CaptureFixture[str], command: tuple[str, ...],
                                        reason: str) -> None:
    assert told(capfd, command=command).startswith(reason)


def test_a_command_that_hangs_is_ended(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_LIMIT_S", 0.3)
    assert told(capfd, command=("sleep", "600")) == 'failed reason="sleep: ran out of time: no output"'


def test_what_is_no_json_is_logged_too(capfd: pytest.CaptureFixture[str]) -> None:
    notify.send(Settings(notify=Notify(command=("true",))), {"at": object()})
    assert "outcome=failed" in capfd.readouterr().err


def test_the_record_is_posted_with_the_token(capfd: pytest.CaptureFixture[str], webhook: Webhook,
                                             token_file: str) -> None:
    assert told(capfd, url=f"{webhook.url}/200/hook?to=me", token_file=token_file) == "done"
    (path, headers, body), = webhook.requests
    assert (path, body) == ("/200/hook?to=me", RECORD)
    assert headers["Authorization"] == f"Bearer {TOKEN}" and headers["Content-Type"] == "application/json"


def test_the_token_is_read_each_time_and_without_one_none_is_sent(capfd: pytest.CaptureFixture[str], webhook: Webhook,
                                                                  token_file: str) -> None:
    assert told(capfd, url=f"{webhook.url}/204", token_file=token_file) == "done"
    Path(token_file).write_text("another")
    assert told(capfd, url=f"{webhook.url}/204", token_file=token_file) == "done"
    assert told(capfd, url=f"{webhook.url}/204") == "done"
    sent = [headers.get("Authorization") for _, headers, _ in webhook.requests]
    assert sent == [f"Bearer {TOKEN}", "Bearer another", None]


@pytest.mark.parametrize("content", [None, "", "two words", "ü", f"{TOKEN}\nX-Injected: 1"])
def test_a_token_file_that_cannot_be_used_is_logged_and_nothing_is_sent(capfd: pytest.CaptureFixture[str],
                                                                        webhook: Webhook, tmp_path: Path,
                                                                        content: str | None) -> None:
    path = tmp_path / "bad.token"
    if content is not None:
        path.write_text(content)
        path.chmod(0o600)
    assert told(capfd, url=f"{webhook.url}/200", token_file=str(path)).startswith(f'failed reason="token file {path}')
    assert webhook.requests == []


@pytest.mark.parametrize("status", [302, 307, 404, 500])
def test_an_answer_that_is_no_success_is_logged_and_not_followed(capfd: pytest.CaptureFixture[str], webhook: Webhook,
                                                                 token_file: str, status: int) -> None:
    said = told(capfd, url=f"{webhook.url}/{status}/hook-that-is-secret", token_file=token_file)
    assert said.startswith(f'failed reason="the answer is {status},') and "hook-that-is-secret" not in said
    assert len(webhook.requests) == 1


def test_proxies_of_the_environment_are_not_used(capfd: pytest.CaptureFixture[str], webhook: Webhook,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert told(capfd, url=f"{webhook.url}/200") == "done"


@pytest.mark.parametrize("answer", [b"", b"\x00\xff" * 40 + b"\r\n", f"220 {TOKEN} ready\r\n".encode(),
                                    b"HTTP/1.1 9999 x\r\n\r\n", b"HTTP/1.1 " + b"2" * 100_000,
                                    b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000 + b"\r\n"])
def test_an_answer_that_is_not_http_is_logged(capfd: pytest.CaptureFixture[str], token_file: str,
                                              answer: bytes) -> None:
    with Peer(answer) as peer:
        said = told(capfd, url=peer.url, token_file=token_file)
    assert said.startswith('failed reason="no HTTP answer: ') or "Connection reset" in said


def test_a_server_that_is_away_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        assert "Connection refused" in told(capfd, url=f"http://127.0.0.1:{unused.getsockname()[1]}/")


@pytest.mark.parametrize("trickle", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_server_that_never_comes_to_an_end_is_left(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                                     token_file: str, trickle: bytes) -> None:
    monkeypatch.setattr(notify, "_LIMIT_S", 0.5)
    with Peer(trickle, again_every_s=0.1) as peer:
        said = told(capfd, url=peer.url, token_file=token_file)
        wait_for(lambda: "http" not in [each.name for each in threading.enumerate()], "the thread has ended")
    assert said in ('failed reason="no answer within 0.5 s"', 'failed reason="timed out"')


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_a_certificate_that_nobody_vouches_for_is_refused(capfd: pytest.CaptureFixture[str], tmp_path: Path,
                                                          token_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out",
                    certificate, "-subj", "/CN=hook", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True, timeout=60)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with Webhook(tls) as webhook:
        assert "certificate verify failed" in told(capfd, url=f"{webhook.url}/200", token_file=token_file)
        assert webhook.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", certificate)
        assert told(capfd, url=f"{webhook.url}/200", token_file=token_file) == "done"
        elsewhere = webhook.url.replace("127.0.0.1", "localhost")
        assert "certificate verify failed" in told(capfd, url=f"{elsewhere}/200", token_file=token_file)


class Peer:
    """Speaks as it likes: `answer` once the request has come, then silence, or the same again and again."""

    def __init__(self, answer: bytes, *, again_every_s: float = 0) -> None:
        self._answer, self._again_every_s = answer, again_every_s
        self._ending = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._speak)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/hook"

    def _speak(self) -> None:
        connection = self._listener.accept()[0]
        with connection:
            connection.recv(65536)
            with contextlib.suppress(OSError):  # the client has gone
                connection.sendall(self._answer)
                while self._again_every_s and not self._ending.wait(self._again_every_s):
                    connection.sendall(self._answer)

    def __enter__(self) -> "Peer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        self._listener.close()
