"""The limits on connections to lictor-serve: how many are handled at once, and how long a request may take to come."""

import contextlib
import socket
import socketserver
import threading
import time
from typing import Any

from lictor.adapters import log

PENDING = 1024  # an agent that reloads lets all its watches fire at once
_STRANGERS = 16  # connections that have not shown the secret yet
_YOUNG_S = 0.05  # so old a stranger is before it is cut for a newer one: an agent's needs a moment to be read
_HEADER_S = 1.0
_LOG_EVERY_S = 60.0


class Connections:
    """The accepted connections. At most `at_once` of them hold a slot.

    A connection waits for a slot for `slot_wait_s` and then goes on without one, so that slow requests cannot stop the
    others for long. A request must have come whole within `arrival_s`, even if it trickles. Until it has shown the
    secret, its header must come within a second, and it makes room for newer ones.
    """

    def __init__(self, at_once: int, slot_wait_s: float, arrival_s: float) -> None:
        self._slots, self._slot_wait_s, self._arrival_s = threading.Semaphore(at_once), slot_wait_s, arrival_s
        self._with_slot = set[socket.socket]()
        self._changed = threading.Condition()
        self._strangers: dict[socket.socket, float] = {}  # the oldest first, each with when it was accepted
        self._accepted_at: dict[socket.socket, float] = {}  # only while the request is on its way
        self._refused, self._logged_at = 0, -_LOG_EVERY_S

    def begin(self, connection: socket.socket) -> None:
        with self._changed:
            while len(self._strangers) >= _STRANGERS:
                oldest, accepted_at = next(iter(self._strangers.items()))
                young_s = accepted_at + _YOUNG_S - time.monotonic()
                if young_s > 0:
                    self._changed.wait(young_s)
                else:
                    self._cut(oldest)
            self._strangers[connection] = self._accepted_at[connection] = time.monotonic()
        if self._slots.acquire(timeout=self._slot_wait_s):
            self._with_slot.add(connection)

    def mark_known(self, connection: socket.socket) -> None:
        """Note that the request has shown the secret; its body may still be on its way."""
        with self._changed:
            self._strangers.pop(connection, None)
            self._changed.notify()

    def mark_arrived(self, connection: socket.socket) -> None:
        """Note that the request has come; its answer may take long."""
        self._accepted_at.pop(connection, None)

    def end(self, connection: socket.socket) -> None:
        self.mark_known(connection)
        self.mark_arrived(connection)
        if connection in self._with_slot:
            self._with_slot.remove(connection)
            self._slots.release()

    def cut_late(self) -> None:
        """Shut down the connections whose request is late; to be called now and then."""
        now_s = time.monotonic()
        with self._changed:
            for connection in [each for each, at in self._strangers.items() if now_s - at > _HEADER_S]:
                self._cut(connection)
        for connection, accepted_at in self._accepted_at.copy().items():
            if now_s - accepted_at > self._arrival_s:
                self.mark_arrived(connection)
                _shut_down(connection)
                log.event("serve", outcome="refused", reason=f"a request had not come after {self._arrival_s:g} s")
        self._log_refused()

    def note_refused(self) -> None:
        """Count a request without the secret; strangers must not wash the log away."""
        with self._changed:
            self._refused += 1
        self._log_refused()

    def _log_refused(self) -> None:
        with self._changed:
            count, now_s = self._refused, time.monotonic()
            if not count or now_s - self._logged_at < _LOG_EVERY_S:
                return
            self._refused, self._logged_at = 0, now_s
        log.event("serve", status=403, outcome="refused", count=count, reason="requests came without the secret")

    def _cut(self, connection: socket.socket) -> None:
        del self._strangers[connection]
        self._accepted_at.pop(connection, None)
        self._refused += 1
        _shut_down(connection)


class Limited(socketserver.ThreadingMixIn):
    """Mixed into a server that has `connections`: each is begun before its thread is, and ended with it."""

    connections: Connections

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.begin(request)
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started, which would have ended it
            self.connections.end(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.end(request)


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has just ended by itself
        connection.shutdown(socket.SHUT_RDWR)
