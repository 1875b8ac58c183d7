"""A client that reads back, with the quorum, what was acknowledged to another one."""

import random
import threading
import time
from collections.abc import Callable

from lab import etcd_gateway
from lab.chaos.sets.timeline import Read
from lab.etcd_writer import Writer, value_of

_EVERY_S = 0.1
_RECENT = 50


class Reader(threading.Thread):
    """Reads ten keys a second of those that were acknowledged last, each from any member."""

    def __init__(self, addresses: Callable[[], list[str]], writer: Writer) -> None:
        super().__init__(name="reader", daemon=True)
        self.addresses, self.writer, self.reads = addresses, writer, list[Read]()
        self.is_over = threading.Event()

    def run(self) -> None:
        while not self.is_over.wait(_EVERY_S):
            addresses, recent = self.addresses(), self.writer.writes[-_RECENT:]
            if addresses and recent:
                self._read(random.choice(addresses), random.choice(recent).key)

    def finish(self) -> None:
        self.is_over.set()
        self.join(30)

    def _read(self, address: str, key: str) -> None:
        began = time.time()
        try:
            answer, value = etcd_gateway.read(address, key)
        except OSError:
            return
        self.reads.append(Read(key, began, time.time(), answer.revision, value == value_of(key)))
