"""What lictor serve has accepted: how many are handled at once, and how long a request may take to come."""

import contextlib
import socket
import threading
import time

from lictor.adapters import log

PENDING = 1024  # an agent that reloads lets all its watches fire at once


class Connections:
    """At most `at_once` have a slot; who waits for one for longer than `slot_wait_s` goes on without, as so many that
    take long must not hold up the next. A request has to have come whole within `arrival_s`, however it trickles."""

    def __init__(self, at_once: int, slot_wait_s: float, arrival_s: float) -> None:
        self._slots, self._slot_wait_s, self._arrival_s = threading.Semaphore(at_once), slot_wait_s, arrival_s
        self._with_slot = set[socket.socket]()
        self._accepted_at: dict[socket.socket, float] = {}  # of those whose request is on its way

    def begin(self, connection: socket.socket) -> None:
        self._accepted_at[connection] = time.monotonic()
        if self._slots.acquire(timeout=self._slot_wait_s):
            self._with_slot.add(connection)

    def has_come(self, connection: socket.socket) -> None:
        """Its request is there; to answer may take long."""
        self._accepted_at.pop(connection, None)

    def end(self, connection: socket.socket) -> None:
        self._accepted_at.pop(connection, None)
        if connection in self._with_slot:
            self._with_slot.remove(connection)
            self._slots.release()

    def cut_late(self) -> None:
        """Who reads from one of these finds its end; to be called now and then."""
        for connection, accepted_at in self._accepted_at.copy().items():
            if time.monotonic() - accepted_at > self._arrival_s:
                self.has_come(connection)
                with contextlib.suppress(OSError):  # it has just ended by itself
                    connection.shutdown(socket.SHUT_RDWR)
                log.event("serve", outcome="refused", reason=f"a request had not come after {self._arrival_s:g} s")
