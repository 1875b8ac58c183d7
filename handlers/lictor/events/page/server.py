"""The listener of `[metrics] listen`. It only reads, and with the http door it is a process of its own: people who look
hold up no event.

An answer waits for a change if its request says `Prefer: wait=SECONDS` and, by If-None-Match, what it knows already.
"""

import os
import re
import signal
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from lictor import errors
from lictor.adapters import files, log, systemd
from lictor.events import connection_limits
from lictor.events.page import access
from lictor.events.page.site import TEXT, Answer, Site
from lictor.events.script import Call
from lictor.spec.settings import Metrics, load_settings

_TIMEOUT_S = 10
_ARRIVAL_S = 20.0
_AT_ONCE = 64
_SLOT_WAIT_S = 0.2
_LONGEST_WAIT_S = 25
_LONGEST_PATH = 300
_WAIT = re.compile(r"wait=(\d{1,3})", re.ASCII)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
    "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
}


def run(call: Call) -> int:
    """Serve until SIGTERM or SIGINT. If the settings or the secret change, the process becomes a new one."""
    metrics = call.settings.metrics
    if metrics is None or not metrics.listen:
        raise errors.Refused(f"metrics.listen is missing in {call.settings.path or 'the defaults'}")
    with Server(call, metrics) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        signal.signal(signal.SIGHUP, lambda *_: server.renew())
        log.event("page", outcome="started", address=metrics.listen)
        systemd.notify(systemd.READY)
        server.serve_forever()
    if server.is_renewed:
        os.execv(sys.executable, [sys.executable, *sys.argv])
    log.event("page", outcome="stopped", reason="a signal asked for it")
    return 0


def end_with_parent() -> None:
    """End this process when the one that started it does: its stdin ends then."""
    def wait() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


class Server(connection_limits.Limited, socketserver.TCPServer):
    """A thread for each request. Threads that wait for a change do not keep the process from ending."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, call: Call, metrics: Metrics) -> None:
        self.call, self.secret, self.site, self.is_renewed = call, access.read_secret(metrics), Site(call), False
        self._stamp = self._read_stamp()
        host, _, port = metrics.listen.rpartition(":")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.connections = connection_limits.Connections(_AT_ONCE, _SLOT_WAIT_S, _ARRIVAL_S)
        try:
            super().__init__((host.strip("[]"), int(port)), _Request)
        except OSError as error:
            raise errors.Unavailable(f"metrics.listen {metrics.listen}: {error.strerror}") from error

    def service_actions(self) -> None:
        """Do what is due twice a second; called by serve_forever."""
        systemd.notify(systemd.ALIVE)
        self.connections.cut_late()
        stamp = self._read_stamp()
        if stamp != self._stamp and len(stamp) >= len(self._stamp):  # a file that is away is about to be replaced
            self._stamp = stamp
            self.renew()

    def renew(self) -> None:
        """Begin anew with the settings as they are, unless they are refused: then the old ones stay."""
        path = self.call.settings.path
        try:
            settings = load_settings({"LICTOR_CONFIG": path} if path else {})
            if settings.metrics:
                access.read_secret(settings.metrics)
        except errors.LictorError as error:
            log.event("page", outcome="refused", reason=f"the old settings stay: {error}")
            return
        self.is_renewed = True
        threading.Thread(target=self.shutdown).start()

    def _read_stamp(self) -> list[tuple[int, int, int]]:
        metrics = self.call.settings.metrics
        paths = (self.call.settings.path, metrics.secret_file if metrics else "")
        return files.stamp(path for path in paths if path)

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # an OSError: the client has gone
            log.event("page", outcome="failed", reason=repr(error))


class _Request(BaseHTTPRequestHandler):
    server: Server
    timeout = _TIMEOUT_S
    server_version, sys_version = "lictor", ""

    def do_GET(self) -> None:
        refused = access.refuse(self.server.secret, self.headers)
        if refused:
            self.server.connections.note_refused()
            status, why = refused
            more = {"WWW-Authenticate": 'Basic realm="lictor", charset="UTF-8"'} if status == 401 else {}
            return self._send(Answer(status, TEXT, f"{why}\n".encode()), more)
        self.server.connections.mark_known(self.connection)
        self.server.connections.mark_arrived(self.connection)
        known = self.headers.get("If-None-Match", "")
        answer = self._await_change(known)
        tag = {"ETag": answer.tag} if answer.status == 200 else {}
        return self._send(answer._replace(status=304, body=b"") if tag and answer.tag == known else answer, tag)

    do_HEAD = do_GET

    def _await_change(self, known: str) -> Answer:
        """Make the answer; if the client knows it, and has said so, wait for another one."""
        path = urlsplit(self.path[:_LONGEST_PATH]).path
        wish = _WAIT.search(self.headers.get("Prefer", ""))
        deadline = time.monotonic() + min(int(wish[1]) if wish else 0, _LONGEST_WAIT_S)
        while True:
            version, answer = self.server.site.version, self._make(unquote(path))
            left_s = deadline - time.monotonic()
            if answer.tag != known or left_s <= 0:
                return answer
            self.server.site.wait(version, left_s)

    def _make(self, path: str) -> Answer:
        try:
            return self.server.site.answer(path)
        except errors.LictorError as error:
            return Answer(503, TEXT, f"{error}\n".encode())
        except Exception as error:  # a value that no rule foresees is no reason to end the connection without a word
            log.event("page", path=path, outcome="failed", reason=repr(error))
            return Answer(500, TEXT, b"lictor.log in the state folder says why\n")

    def _send(self, answer: Answer, more: dict[str, str]) -> None:
        self.send_response(answer.status)
        for name, value in {**_HEADERS, "Content-Type": answer.content_type, **more}.items():
            self.send_header(name, value)
        if answer.status != 304:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Log nothing: scrapes and pages come each second."""
