"""The lock in Consul, for engines that more than one node may act for: one acts, and who lost it writes nothing.

A lock of Consul's is advice: it stops nobody who was frozen, woke up, and goes on. So every write under it is a
transaction that Consul refuses unless the session still holds the lock.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lictor import errors
from lictor.adapters import log
from lictor.adapters.consul import transactions
from lictor.adapters.consul.client import Client

LOCKS = "lictor/locks/"

_TTL_S = 15
_LOCK_DELAY_S = 15  # what the last holder had begun before it lost the lock has that long to end
_RENEW_EVERY_S = 5.0
_RETRY_AFTER_S = 1.0
_STOPS_WITHIN_S = 5.0
_TRUSTED_FOR_S = 10.0  # well below the TTL: an act that is begun now should end while the lock is ours


class Fence:
    """A lock that is ours. Call `check` right before an act that Consul cannot refuse, such as a container's start."""

    def __init__(self, client: Client, key: str, session: str, renewed_at: float) -> None:
        self._client, self._key, self._session, self._renewed_at = client, key, session, renewed_at
        self._ended = threading.Event()

    def lost(self) -> str:
        """Why what was begun has to stop: another may begin as soon as the lock delay is over. "": it need not."""
        age_s = _now() - self._renewed_at
        if self._ended.is_set():
            return f"lock {self._key}: it is not ours any more, its session has ended"
        if age_s > _TTL_S + _LOCK_DELAY_S - _STOPS_WITHIN_S:
            return f"lock {self._key}: last renewed {age_s:.1f} s ago, so another may have it soon"
        return ""

    def check(self) -> None:
        """Conflict when the lock may be somebody else's by now."""
        if self._ended.is_set():
            raise errors.Conflict(self.lost())
        age_s = _now() - self._renewed_at
        if age_s > _TRUSTED_FOR_S:
            raise errors.Conflict(f"lock {self._key}: last renewed {age_s:.1f} s ago, so it may not be ours any more")

    def put(self, key: str, value: str | bytes, index: int) -> None:
        """Write `key` if its ModifyIndex is `index` (0: if there is none) and the lock is ours, else Conflict."""
        self.commit([transactions.cas(key, value, index)])

    def commit(self, operations: list[transactions.Operation]) -> None:
        """Carry out all of them if the lock is ours, else none, with a Conflict."""
        self.check()
        self._client.commit([transactions.check_session(self._key, self._session), *operations])

    def _keep(self) -> None:
        pause_s = _RENEW_EVERY_S
        while not self._ended.wait(pause_s):
            asked_at = _now()  # Consul counts from when it is asked, which is later, so we are on the safe side
            try:
                self._client.renew_session(self._session)
            except errors.Conflict:
                self._ended.set()
            except errors.LictorError:
                pause_s = _RETRY_AFTER_S
            else:
                self._renewed_at, pause_s = asked_at, _RENEW_EVERY_S

    @contextmanager
    def _kept(self) -> Iterator["Fence"]:
        thread = threading.Thread(target=self._keep, name=self._key, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()
            with _tolerated(self._key):  # deleted while the session lives: then no lock delay holds up the next
                self._client.commit([transactions.check_session(self._key, self._session),
                                     transactions.delete_key(self._key)])


def put(client: Client, lock: Fence | None, key: str, value: str | bytes, index: int) -> None:
    """Write `key` if its ModifyIndex is `index`, and, where there is a lock, it is ours."""
    if lock:
        lock.put(key, value, index)
    else:
        client.put(key, value, cas=index)


def commit(client: Client, lock: Fence | None, operations: list[transactions.Operation]) -> None:
    """Carry out all of them or none; where there is a lock, only if it is ours."""
    if lock:
        lock.commit(operations)
    else:
        client.commit(operations)


@contextmanager
def held(client: Client, name: str, *, node: str) -> Iterator[Fence | None]:
    """Hold the lock `name` during the body; None: another holds it, or did within the lock delay.

    When Consul is away at the end, the session runs out by itself, and the key goes with it.
    """
    key = LOCKS + name
    with _session(client, key) as (session, created_at):
        if client.acquire(key, session, _holder(node)):
            with Fence(client, key, session, created_at)._kept() as fence:
                yield fence
            return
    yield None


@contextmanager
def _session(client: Client, name: str) -> Iterator[tuple[str, float]]:
    created_at = _now()
    session = client.create_session(name, ttl_s=_TTL_S, lock_delay_s=_LOCK_DELAY_S)
    try:
        yield session, created_at
    finally:
        with _tolerated(name):
            client.destroy_session(session)


@contextmanager
def _tolerated(key: str) -> Iterator[None]:
    try:
        yield
    except errors.LictorError as error:
        log.event("unlock", lock=key, outcome="failed", reason=error)


def _holder(node: str) -> str:
    """For people who wonder who holds it; lictor does not read it."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps({"node": node, "pid": os.getpid(), "time": at})


def _now() -> float:
    """Seconds that nobody sets back, and that go on while the machine sleeps: a session's do too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
