"""The limits on connections to lictor-serve: how many are handled at once, and how long a request may take to come."""

import contextlib
import socket
import threading
import time

from lictor.adapters import log

PENDING = 1024  # an agent that reloads lets all its watches fire at once


class Connections:
    """The accepted connections. At most `at_once` of them hold a slot.

    A connection waits for a slot for `slot_wait_s` and then goes on without one, so that slow requests cannot stop the
    others for long. A request must have come whole within `arrival_s`, even if it trickles.
    """

    def __init__(self, at_once: int, slot_wait_s: float, arrival_s: float) -> None:
        self._slots, self._slot_wait_s, self._arrival_s = threading.Semaphore(at_once), slot_wait_s, arrival_s
        self._with_slot = set[socket.socket]()
        self._accepted_at: dict[socket.socket, float] = {}  # only while the request is on its way

    def begin(self, connection: socket.socket) -> None:
        self._accepted_at[connection] = time.monotonic()
        if self._slots.acquire(timeout=self._slot_wait_s):
            self._with_slot.add(connection)

    def mark_arrived(self, connection: socket.socket) -> None:
        """Note that the request has come; its answer may take long."""
        self._accepted_at.pop(connection, None)

    def end(self, connection: socket.socket) -> None:
        self._accepted_at.pop(connection, None)
        if connection in self._with_slot:
            self._with_slot.remove(connection)
            self._slots.release()

    def cut_late(self) -> None:
        """Shut down the connections whose request is late; to be called now and then."""
        for connection, accepted_at in self._accepted_at.copy().items():
            if time.monotonic() - accepted_at > self._arrival_s:
                self.mark_arrived(connection)
                with contextlib.suppress(OSError):  # it has just ended by itself
                    connection.shutdown(socket.SHUT_RDWR)
                log.event("serve", outcome="refused", reason=f"a request had not come after {self._arrival_s:g} s")
