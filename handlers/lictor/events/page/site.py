"""The pages by their paths. An answer is made of what was read last; its tag changes with its bytes."""

import hashlib
import time
from typing import NamedTuple

from lictor.events.metrics import exposition
from lictor.events.script import Call

TEXT, HTML, JSON = "text/plain; charset=utf-8", "text/html; charset=utf-8", "application/json"


class Answer(NamedTuple):
    """An answer, but for its headers that are the same for all."""

    status: int
    content_type: str
    body: bytes

    @property
    def tag(self) -> str:
        return f'"{hashlib.sha256(self.body).hexdigest()[:20]}"'


class Site:
    """What can be read of this node, and of all services."""

    def __init__(self, call: Call) -> None:
        self._call = call

    @property
    def version(self) -> int:
        """The number of what was read last."""
        return 0

    def wait(self, version: int, timeout_s: float) -> None:
        """Wait until there is a newer one, or the time is over."""
        time.sleep(min(timeout_s, 1.0))

    def answer(self, path: str) -> Answer:
        if path == "/metrics":
            return Answer(200, exposition.CONTENT_TYPE, exposition.text(self._call.settings).encode())
        return Answer(404, TEXT, b"there is /metrics\n")
