"""When the catalogue has changed, as a blocking query of our own is told: it is what every contender waits for."""

import http.client
import threading
import time
import urllib.parse

_LIMIT_S = 30


class News:
    """Of the next change to a service; `at()` waits for it."""

    def __init__(self, address: str, service: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=2 * _LIMIT_S)
        self._path = f"/v1/health/service/{urllib.parse.quote(service)}"
        self._changed_at: float | None = None
        index = self._ask("")
        self._thread = threading.Thread(target=self._wait, args=(index,), daemon=True)
        self._thread.start()

    def at(self) -> float:
        """Return the moment by time.perf_counter; raises AssertionError if there was no change."""
        self._thread.join(_LIMIT_S)
        self._connection.close()
        assert self._changed_at is not None, f"the catalogue does not change: {self._path}"
        return self._changed_at

    def _wait(self, index: str) -> None:
        if self._ask(f"?index={index}&wait={_LIMIT_S}s") != index:
            self._changed_at = time.perf_counter()

    def _ask(self, query: str) -> str:
        self._connection.request("GET", self._path + query)
        answer = self._connection.getresponse()
        found = answer.headers["X-Consul-Index"]
        answer.read()
        return found
