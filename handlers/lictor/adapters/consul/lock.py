"""The lock in Consul, for engines that more than one node may act for: only its holder acts and writes.

A lock of Consul's is advice: it does not stop a process that was frozen and wakes up after the lock has passed on. So
every write under it is a transaction that Consul refuses unless the session still holds the lock (fencing).
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

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


class Writer(Protocol):
    """Writes to Consul for one service, plain or under a lock. A call raises Conflict if another writer was first."""

    def put(self, key: str, value: str | bytes, index: int | None = None) -> None:
        """Write `key`; with `index` only if that is its ModifyIndex (0: if there is no such key)."""

    def commit(self, operations: list[transactions.Operation]) -> None:
        """Carry out all operations or none."""

    def check(self) -> None:
        """Raise Conflict if another node may be at work; called right before an act that Consul cannot refuse."""

    def lost(self) -> str:
        """Return the reason why a long act that has begun has to stop; "" as long as it may go on."""


class PlainWriter:
    """Writes for a service that only this node acts for: the lock file between its processes is enough."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def put(self, key: str, value: str | bytes, index: int | None = None) -> None:
        self._client.put(key, value, cas=index)

    def commit(self, operations: list[transactions.Operation]) -> None:
        self._client.commit(operations)

    def check(self) -> None:
        pass

    def lost(self) -> str:
        return ""


class FencedWriter:
    """Writes under a lock in Consul, which refuses each of them unless this writer's session still holds the lock."""

    def __init__(self, client: Client, key: str, session: str, renewed_at: float) -> None:
        self._client, self._key, self._session, self._renewed_at = client, key, session, renewed_at
        self._ended = threading.Event()

    def lost(self) -> str:
        age_s = _now() - self._renewed_at
        if self._ended.is_set():
            return f"lock {self._key}: it is not ours any more, its session has ended"
        if age_s > _TTL_S + _LOCK_DELAY_S - _STOPS_WITHIN_S:
            return f"lock {self._key}: last renewed {age_s:.1f} s ago, so another may have it soon"
        return ""

    def check(self) -> None:
        if self._ended.is_set():
            raise errors.Conflict(self.lost())
        age_s = _now() - self._renewed_at
        if age_s > _TRUSTED_FOR_S:
            raise errors.Conflict(f"lock {self._key}: last renewed {age_s:.1f} s ago, so it may not be ours any more")

    def put(self, key: str, value: str | bytes, index: int | None = None) -> None:
        write = transactions.set_key(key, value) if index is None else transactions.cas(key, value, index)
        self.commit([write])

    def commit(self, operations: list[transactions.Operation]) -> None:
        self.check()
        self._client.commit([transactions.check_session(self._key, self._session), *operations])

    def _keep(self) -> None:
        pause_s = _RENEW_EVERY_S
        while not self._ended.wait(pause_s):
            sent_at = _now()  # Consul counts from when it gets the request, which is later: that is the safe side
            try:
                self._client.renew_session(self._session)
            except errors.Conflict:
                self._ended.set()
            except errors.LictorError:
                pause_s = _RETRY_AFTER_S
            else:
                self._renewed_at, pause_s = sent_at, _RENEW_EVERY_S

    @contextmanager
    def _kept(self) -> Iterator["FencedWriter"]:
        thread = threading.Thread(target=self._keep, name=self._key, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()
            with _logged(self._key):  # deleted while the session lives: then no lock delay holds up the next
                self._client.commit([transactions.check_session(self._key, self._session),
                                     transactions.delete_key(self._key)])


@contextmanager
def held(client: Client, name: str, *, node: str) -> Iterator[FencedWriter | None]:
    """Hold the lock `name` during the body; yields None if another node holds it, or did within the lock delay.

    If Consul is away at the end, the session runs out by itself, and the key goes with it.
    """
    key = LOCKS + name
    with _session(client, key) as (session, created_at):
        if client.acquire(key, session, _holder(node)):
            with FencedWriter(client, key, session, created_at)._kept() as writer:
                yield writer
            return
    yield None


@contextmanager
def _session(client: Client, name: str) -> Iterator[tuple[str, float]]:
    created_at = _now()
    session = client.create_session(name, ttl_s=_TTL_S, lock_delay_s=_LOCK_DELAY_S)
    try:
        yield session, created_at
    finally:
        with _logged(name):
            client.destroy_session(session)


@contextmanager
def _logged(key: str) -> Iterator[None]:
    try:
        yield
    except errors.LictorError as error:
        log.event("unlock", lock=key, outcome="failed", reason=error)


def _holder(node: str) -> str:
    """Describe the holder for people; lictor does not read it."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return json.dumps({"node": node, "pid": os.getpid(), "time": at})


def _now() -> float:
    """Read a clock that is never set back, and that goes on while the machine sleeps, as a session's time does."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
