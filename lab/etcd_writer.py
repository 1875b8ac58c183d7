"""A client that writes keys to a set of etcd, and remembers which were acknowledged."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lab import etcd_gateway
from lab.daemon import wait_for

_PAUSE_S = 0.25  # a longer time without an acknowledgement is one in which writes stop
_PREFIX = "key-"


class Write(NamedTuple):
    """A write that was acknowledged, in which revision, and in which term of the member that did so."""

    key: str
    began: float  # seconds since the epoch
    ended: float
    revision: int
    term: int


class Writer(threading.Thread):
    """Writes fifty keys a second, one after the other, to whichever of `addresses` acknowledges one."""

    def __init__(self, addresses: Callable[[], list[str]], every_s: float = 0.02) -> None:
        super().__init__(name="writer", daemon=True)
        self.addresses, self.every_s, self.writes = addresses, every_s, list[Write]()
        self.pauses_s: list[float] = []
        self.is_over = threading.Event()

    @property
    def acknowledged(self) -> list[str]:
        return [write.key for write in self.writes]

    def run(self) -> None:
        due_at = acknowledged_at = time.monotonic()
        for number in itertools.count():
            due_at = max(due_at + self.every_s, time.monotonic() - 1)
            if self.is_over.wait(max(due_at - time.monotonic(), 0)):
                return
            key = f"{_PREFIX}{number:06}"
            if any(self._put(address, key) for address in self.addresses()):
                now = time.monotonic()
                if now - acknowledged_at > _PAUSE_S:
                    self.pauses_s.append(now - acknowledged_at)
                acknowledged_at = now

    def finish(self) -> None:
        self.is_over.set()
        self.join(30)

    def wait_for_more(self, count: int = 20) -> None:
        """Wait until so many more keys are acknowledged."""
        before = len(self.writes)
        wait_for(lambda: len(self.writes) >= before + count, f"{count} more writes are acknowledged", 60)

    def missing(self) -> set[str]:
        """List the acknowledged keys that the set does not have any more, or with another value; it is asked with its
        quorum, for which an election has to be over."""
        [found] = wait_for(lambda: list(self._read_all()), "a member answers with its quorum")
        return {key for key in self.acknowledged if found.get(key) != value_of(key)}

    def _read_all(self) -> Iterator[dict[str, str]]:
        """Yield what the set has, by the first member that can tell."""
        for address in self.addresses():
            with contextlib.suppress(OSError):
                yield etcd_gateway.read_all(address, _PREFIX)
                return

    def _put(self, address: str, key: str) -> bool:
        began = time.time()
        try:
            answer = etcd_gateway.put(address, key, value_of(key))
        except OSError:
            return False
        self.writes.append(Write(key, began, time.time(), answer.revision, answer.term))
        return True


def value_of(key: str) -> str:
    return f"value of {key}"
