"""A client that writes keys to a set of etcd, and remembers which were acknowledged."""

import base64
import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable

from lab.daemon import wait_for
from lab.http import ask

_PAUSE_S = 0.25  # a longer time without an acknowledgement is one in which writes stop


class Writer(threading.Thread):
    """Writes fifty keys a second, one after the other, to whichever of `addresses` acknowledges one."""

    def __init__(self, addresses: Callable[[], list[str]], every_s: float = 0.02) -> None:
        super().__init__(name="writer", daemon=True)
        self.addresses, self.every_s, self.acknowledged = addresses, every_s, list[str]()
        self.pauses_s: list[float] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        due_at = acknowledged_at = time.monotonic()
        for number in itertools.count():
            due_at = max(due_at + self.every_s, time.monotonic() - 1)
            if self.is_over.wait(max(due_at - time.monotonic(), 0)):
                return
            key = f"key-{number:06}"
            if any(self._put(address, key) for address in self.addresses()):
                now = time.monotonic()
                if now - acknowledged_at > _PAUSE_S:
                    self.pauses_s.append(now - acknowledged_at)
                acknowledged_at = now
                self.acknowledged.append(key)

    def finish(self) -> None:
        self.is_over.set()
        self.join(30)

    def wait_for_more(self, count: int = 20) -> None:
        """Wait until so many more keys are acknowledged."""
        before = len(self.acknowledged)
        wait_for(lambda: len(self.acknowledged) >= before + count, f"{count} more writes are acknowledged", 60)

    def missing(self) -> set[str]:
        """List the acknowledged keys that the set does not have any more; it is asked with its quorum."""
        asked = {"key": _encode("key-"), "range_end": _encode("key."), "keys_only": True}
        for address in self.addresses():
            status, body = ask(address, "POST", "/v3/kv/range", body=json.dumps(asked).encode(), timeout_s=30)
            if status == 200:
                found = {base64.b64decode(each["key"]).decode() for each in json.loads(body).get("kvs", ())}
                return {*self.acknowledged} - found
        raise AssertionError("no member answers")

    def _put(self, address: str, key: str) -> bool:
        try:
            body = json.dumps({"key": _encode(key), "value": _encode("x")}).encode()
            return ask(address, "POST", "/v3/kv/put", body=body, timeout_s=1)[0] == 200
        except (OSError, http.client.HTTPException):
            return False


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
