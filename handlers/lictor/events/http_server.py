"""`lictor serve`: the resident door. The agent POSTs what its watches see; a route is followed here, everything else
by the same handlers that the script door starts.

It imports beforehand what following a route takes, and no more: Docker and the planner stay in other processes.
"""

import contextlib
import functools
import hmac
import json
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from lictor import errors, model
from lictor.adapters import files, log, process, systemd
from lictor.adapters.consul.payload import LONGEST_BYTES, index
from lictor.events import agent_config, coalesce, connection_limits, http_door, script, service_watch
from lictor.events.script import Call
from lictor.routing import announce, publish, route_store
from lictor.spec.settings import load_settings

_ROUTE = "/route/"
_CLIENT_TIMEOUT_S = 10
_ARRIVAL_S = 20.0
_AT_ONCE = 128
_SLOT_WAIT_S = 0.5
_TELL_EVERY_S = 0.25
_RECONCILE_EVERY_S = 1.0
_IMPORTED_BEFOREHAND = publish

Outcome = tuple[int, str]
News = tuple[bytes, int]  # a watch's payload, and Consul's index


def main(description: str) -> int:
    return script.main(script.parser(description), run)


def run(call: Call) -> int:
    """Serve until SIGTERM or SIGINT; what is under way then is ended first. SIGHUP, or a change of
    their file, has the settings read again."""
    if call.settings.watch.door != "http":
        raise errors.Refused(f"watch.door is {call.settings.watch.door!r} in {call.settings.path or 'the defaults'}; "
                             "lictor serve is what the agent calls when it is \"http\"")
    with Server(call) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        signal.signal(signal.SIGHUP, lambda *_: server.read_settings())
        log.event("serve", outcome="started", address=call.settings.watch.address)
        systemd.notify(systemd.READY)
        server.serve_forever()
    server.leave()
    log.event("serve", outcome="stopped", reason="it was asked to")
    return 0


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Each request has a thread, so that a slow one holds up nobody; closing waits for those.

    An agent that reloads sends an event of every service at once: the more threads at a time, the more memory for good.
    """

    allow_reuse_address = True
    request_queue_size = connection_limits.PENDING

    def __init__(self, call: Call) -> None:
        self.call, self.secret = call, http_door.secret(call.settings).encode()
        self.settings_ns = files.modified_ns(call.settings.path) if call.settings.path else 0
        self.routing = coalesce.Turns()
        self.following_up = coalesce.Errand[set[str]](self._follow_up, set.union)
        self.handing_over = {name: coalesce.Errand[News](functools.partial(self._hand_over, name), _newest)
                             for name in ("lictor-scale", "lictor-heal")}
        address, given = http_door.host_and_port(call.settings), systemd.listening()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.connections = connection_limits.Connections(_AT_ONCE, _SLOT_WAIT_S, _ARRIVAL_S)
        super().__init__(address, _Request, bind_and_activate=given is None)
        if given:
            self.socket.close()
            self.socket = given
            if given.getsockname()[:2] != address:
                raise errors.Refused(f"watch.address is {call.settings.watch.address!r}, and the socket unit has "
                                     f"{given.getsockname()[:2]}; lictor init writes it anew")

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.begin(request)
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started, which would have done it
            self.connections.end(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.end(request)

    def read_settings(self) -> None:
        path = self.call.settings.path
        try:
            self.settings_ns = files.modified_ns(path) if path else 0
            settings = load_settings({"LICTOR_CONFIG": path} if path else {})
            if settings.watch.door != "http":
                raise errors.Refused(f"watch.door is {settings.watch.door!r}; end lictor serve for that")
            self.call, self.secret = self.call._replace(settings=settings), http_door.secret(settings).encode()
            log.event("serve", outcome="settings", reason=f"{path or 'the defaults'} has been read again")
        except errors.LictorError as error:
            log.event("serve", outcome="refused", reason=f"the old settings stay: {error}")

    def service_actions(self) -> None:
        """Twice a second, as long as connections are taken."""
        systemd.notify(systemd.ALIVE)
        self.connections.cut_late()
        path = self.call.settings.path
        if path and files.modified_ns(path) not in (0, self.settings_ns):
            self.read_settings()

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # who asked has gone
            log.event("serve", outcome="failed", reason=repr(error))

    def leave(self) -> None:
        """Start what is still waiting, so that nothing waits for the timer."""
        self.following_up.leave()
        for errand in self.handing_over.values():
            errand.leave()

    def route(self, name: str, payload: bytes, index: int) -> Outcome:
        """As lictor-route; the answer comes when nginx serves it."""
        with self.routing.turn(name, index) as is_newest:
            if not is_newest:
                return 202, "there is newer"
            code = service_watch.handle(self.call, name, payload, index,
                                reconcile=lambda names: self.following_up.need(set(names)))
            return (503, "nginx has not confirmed it yet; the timer tries again") if code else (200, "done")

    def hand_over(self, script: str, payload: bytes, index: int) -> Outcome:
        """Answered before it is done: it may take long, and the newest is what counts."""
        try:
            if not isinstance(json.loads(payload), list | None):
                raise ValueError("it is not a list")
        except (ValueError, RecursionError) as error:
            raise errors.Refused(f"the payload is refused: {error}") from error
        self.handing_over[script].need((payload, index))
        return 202, "will be done"

    def sweep(self, *_: object) -> Outcome:
        process.spawn_handler("lictor-reconcile", [*self.call.inherited, "--sweep"],
                              state_dir=self.call.settings.state_dir)
        return 202, "will be done"

    def _follow_up(self, names: set[str]) -> Callable[[], object]:
        """The others are told what nginx serves now, and what this node acts for is reconciled."""
        state_dir = self.call.settings.state_dir
        only_routed = {each for each in names if route_store.is_only_routed(state_dir, each)}
        if only_routed:
            announce.report(state_dir, self.call.token_file, only_routed)
        if names == only_routed:
            return functools.partial(time.sleep, _TELL_EVERY_S)
        child = process.spawn_handler("lictor-reconcile", [*self.call.inherited, *sorted(names - only_routed)],
                                      state_dir=state_dir)
        return functools.partial(_wait, child, _RECONCILE_EVERY_S)  # a long one must not hold up those of others

    def _hand_over(self, script: str, news: News) -> Callable[[], object]:
        payload, index = news
        return process.spawn_handler(script, self.call.inherited, state_dir=self.call.settings.state_dir, stdin=payload,
                                     environ={"CONSUL_INDEX": str(index)} if index >= 0 else {}).wait


class _Request(BaseHTTPRequestHandler):
    server: Server
    timeout = _CLIENT_TIMEOUT_S

    def do_POST(self) -> None:
        try:
            status, text = self._outcome()
        except errors.Refused as error:
            status, text = 400, str(error)
        except (errors.LictorError, OSError) as error:
            status, text = 503, str(error)
        if status >= 400:
            log.event("serve", path=self.path, status=status, outcome="refused" if status < 500 else "failed",
                      reason=text)
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _outcome(self) -> Outcome:
        given = self.headers.get(agent_config.SECRET_HEADER, "").encode("utf-8", "replace")
        if not self.server.secret or not hmac.compare_digest(given, self.server.secret):
            return 403, f"{agent_config.SECRET_HEADER} is not what {self.server.call.settings.watch.secret_file} holds"
        act = self._action()
        if act is None:
            return 404, "there is /route/NAME, /scale, /heal, /sweep and /alive"
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            return 411, "Content-Length is missing"
        if int(length) > LONGEST_BYTES:
            return 413, f"the body may have {LONGEST_BYTES} bytes"
        payload = self.rfile.read(int(length))
        if len(payload) < int(length):
            return 400, "the body is shorter than Content-Length says"
        self.server.connections.has_come(self.connection)
        return act(payload, index(self.headers.get("X-Consul-Index", "")))

    def _action(self) -> Callable[[bytes, int], Outcome] | None:
        name = self.path.removeprefix(_ROUTE)
        if self.path.startswith(_ROUTE) and model.is_name(name):
            return functools.partial(self.server.route, name)
        actions: dict[str, Callable[[bytes, int], Outcome]] = {
            "/scale": functools.partial(self.server.hand_over, "lictor-scale"),
            "/heal": functools.partial(self.server.hand_over, "lictor-heal"),
            "/sweep": self.server.sweep,
            "/alive": lambda *_: (200, "alive"),
        }
        return actions.get(self.path)

    def log_message(self, *_: object) -> None:
        """What deserves a line has had one."""


def _newest(old: News, new: News) -> News:
    return new


def _wait(child: subprocess.Popen[bytes], timeout_s: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout_s)
