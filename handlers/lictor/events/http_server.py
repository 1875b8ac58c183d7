"""`lictor serve`: the resident door. The agent POSTs the events of its watches. A `service` event is followed here; the
others start the handlers that the script door starts. With `[metrics] listen`, a child serves the page and the metrics;
with the script door, that is all there is to serve.

It imports what following a route takes, and no more: Docker and the planner stay in other processes.
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

# Imported late elsewhere, as most events need them not; here all do once, and an upgrade may change the files beneath.
import lictor.adapters.consul.library
import lictor.routing.publish  # noqa: F401
from lictor import errors, model
from lictor.adapters import files, log, systemd, tally
from lictor.adapters.consul.payload import TooLong, index, require_length
from lictor.events import agent_config, coalesce, connection_limits, http_door, script, service_watch
from lictor.events.page import child
from lictor.events.script import Call
from lictor.routing import announce, route_store
from lictor.spec.settings import load_settings

_ROUTE = "/route/"
_CLIENT_TIMEOUT_S = 10
_ARRIVAL_S = 20.0
_AT_ONCE = 128
_SLOT_WAIT_S = 0.5
_ANNOUNCE_EVERY_S = 0.25
_RECONCILE_EVERY_S = 1.0
_CARE_EVERY_S = 0.4

Outcome = tuple[int, str]  # HTTP status, and a line for people
Event = tuple[bytes, int]  # payload, and Consul's index


def main(description: str) -> int:
    options = script.make_parser(description)
    options.add_argument(child.OPTION, action="store_true", help="only the page and the metrics, until stdin ends")
    return script.main(options, run)


def run(call: Call) -> int:
    """Serve until SIGTERM or SIGINT, and end what is under way. After SIGHUP, or if their file changes, the settings
    are read again."""
    if call.arguments.page or call.settings.watch.door != "http":
        return _serve_page(call)
    with Server(call) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        signal.signal(signal.SIGHUP, lambda *_: server.read_settings())
        log.event("serve", outcome="started", address=call.settings.watch.address)
        systemd.notify(systemd.READY)
        server.serve_forever()
    server.page.stop()
    server.flush()
    log.event("serve", outcome="stopped", reason="a signal asked for it")
    return 0


def _serve_page(call: Call) -> int:
    """Serve what is no event. It needs what the door does without: Docker, the planner and templates."""
    if not (call.settings.metrics and call.settings.metrics.listen):
        raise errors.Refused(f"watch.door is {call.settings.watch.door!r} in {call.settings.path or 'the defaults'}, "
                             "and metrics.listen is missing; lictor serve is what the agent calls when the door is "
                             "\"http\", and what shows the page and the metrics")
    from lictor.events.page import server

    if call.arguments.page:
        server.end_with_parent()
    return server.run(call)


class Server(connection_limits.Limited, socketserver.TCPServer):
    """A thread for each request, so that a slow one holds up no other; closing waits for the threads.

    An agent that reloads sends an event of every service at once. More threads at a time take more memory for good.
    """

    allow_reuse_address = True
    request_queue_size = connection_limits.PENDING

    def __init__(self, call: Call) -> None:
        self.call, self.secret = call, http_door.read_secret(call.settings).encode()
        self.stamp, self.due_at_s = self._stamp(), 0.0
        self.turns, self.page = coalesce.Turns(), child.Child()
        self.follow_ups = coalesce.Coalescer[set[str]](self._start_follow_up, set.union)
        self.handlers = {name: coalesce.Coalescer[Event](functools.partial(self._start_handler, name),
                                                         lambda _, newest: newest)
                         for name in ("lictor-scale", "lictor-heal")}
        address, inherited = http_door.parse_address(call.settings), systemd.listening()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.connections = connection_limits.Connections(_AT_ONCE, _SLOT_WAIT_S, _ARRIVAL_S)
        super().__init__(address, _Request, bind_and_activate=inherited is None)
        if inherited:
            self.socket.close()
            self.socket = inherited
            if inherited.getsockname()[:2] != address:
                raise errors.Refused(f"watch.address is {call.settings.watch.address!r}, and the socket unit has "
                                     f"{inherited.getsockname()[:2]}; lictor init writes it anew")

    def read_settings(self) -> None:
        path, self.stamp = self.call.settings.path, self._stamp()
        try:
            settings = load_settings({"LICTOR_CONFIG": path} if path else {})
            if settings.watch.door != "http":
                raise errors.Refused(f"watch.door is {settings.watch.door!r}; end lictor serve for that")
            self.call, self.secret = self.call._replace(settings=settings), http_door.read_secret(settings).encode()
            tally.keep(settings.state_dir if settings.metrics else "")
            log.event("serve", outcome="settings", reason=f"{path or 'the defaults'} has been read again")
        except errors.LictorError as error:
            log.event("serve", outcome="refused", reason=f"the old settings stay: {error}")

    def service_actions(self) -> None:
        """Do what is due twice a second; serve_forever calls it during each request too."""
        if time.monotonic() < self.due_at_s:
            return
        self.due_at_s = time.monotonic() + _CARE_EVERY_S
        systemd.notify(systemd.ALIVE)
        self.connections.cut_late()
        self.page.keep(self.call)
        stamp = self._stamp()
        if stamp != self.stamp and len(stamp) >= len(self.stamp):  # a file that is away is about to be replaced
            self.read_settings()

    def _stamp(self) -> list[tuple[int, int, int]]:
        """Return what changes when the settings or the secret are written anew."""
        return files.stamp(path for path in (self.call.settings.path, self.call.settings.watch.secret_file) if path)

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # an OSError: the client has gone
            log.event("serve", outcome="failed", reason=repr(error))

    def flush(self) -> None:
        """Start what is still waiting, so that it need not wait for the timer."""
        self.follow_ups.flush()
        for handler in self.handlers.values():
            handler.flush()

    def route(self, name: str, payload: bytes, consul_index: int) -> Outcome:
        """Do what lictor-route does; the answer comes once nginx serves it."""
        with self.turns.turn(name, consul_index) as is_newest:
            if not is_newest:
                return 202, "there is newer"
            code = service_watch.handle(self.call, name, payload, consul_index,
                                        lambda names: self.follow_ups.request(set(names)))
            return (503, "nginx has not confirmed it yet; the timer tries again") if code else (200, "done")

    def hand_over(self, handler: str, payload: bytes, consul_index: int) -> Outcome:
        """Have a handler do it; the answer comes before, as it may take long, and only the newest event counts."""
        try:
            if not isinstance(json.loads(payload), list | None):
                raise ValueError("it is not a list")
        except (ValueError, RecursionError) as error:
            raise errors.Refused(f"the payload is refused: {error}") from error
        self.handlers[handler].request((payload, consul_index))
        return 202, "will be done"

    def sweep(self, *_: object) -> Outcome:
        self.call.spawn("lictor-reconcile", "--sweep")
        return 202, "will be done"

    def _start_follow_up(self, names: set[str]) -> Callable[[], object]:
        """Tell the other nodes what nginx serves of services that this node only routes; reconcile the others."""
        state_dir = self.call.settings.state_dir
        only_routed = {name for name in names if route_store.is_only_routed(state_dir, name)}
        if only_routed:
            announce.report(state_dir, self.call.token_file, only_routed)
        if names == only_routed:
            return functools.partial(time.sleep, _ANNOUNCE_EVERY_S)
        child = self.call.reconcile(names - only_routed)
        if child is None:  # the process at work on it looks once more for each event that came meanwhile
            return functools.partial(time.sleep, _ANNOUNCE_EVERY_S)
        return functools.partial(_wait, child, _RECONCILE_EVERY_S)  # a long one must not hold up those of others

    def _start_handler(self, handler: str, event: Event) -> Callable[[], object]:
        payload, consul_index = event
        return self.call.spawn(handler, stdin=payload,
                               environ={"CONSUL_INDEX": str(consul_index)} if consul_index >= 0 else {}).wait


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
        if status == 403:
            self.server.connections.note_refused()
        elif status >= 400:
            log.event("serve", path=self.path, status=status, outcome="refused" if status < 500 else "failed",
                      reason=text)
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _outcome(self) -> Outcome:
        sent = self.headers.get(agent_config.SECRET_HEADER, "").encode("utf-8", "replace")
        if not self.server.secret or not hmac.compare_digest(sent, self.server.secret):
            return 403, f"{agent_config.SECRET_HEADER} is not what {self.server.call.settings.watch.secret_file} holds"
        self.server.connections.mark_known(self.connection)
        act = self._action()
        if act is None:
            return 404, "there is /route/NAME, /scale, /heal, /sweep and /alive"
        length = index(self.headers.get("Content-Length", ""))
        if length < 0:
            return 411, "Content-Length is missing"
        try:
            require_length(length)
        except TooLong as error:
            self.server.call.sweep(error)
            return 202, "will be done"
        payload = self.rfile.read(length)
        if len(payload) < length:
            return 400, "the body is shorter than Content-Length says"
        self.server.connections.mark_arrived(self.connection)
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
        """Log nothing: do_POST logs what deserves a line."""


def _wait(child: subprocess.Popen[bytes], timeout_s: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout_s)
