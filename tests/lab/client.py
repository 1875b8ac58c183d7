"""Steady requests through nginx while something happens, counted honestly.

A reset on a reused connection before any byte of the answer is counted apart: nginx closes idle connections at each
reload, and every HTTP client sends such a request again. On a fresh connection every failure counts.
"""

import http.client
import json
import threading
import time
from typing import NamedTuple


class Failure(NamedTuple):
    """One failed request: when (time.monotonic), and what the client saw."""

    at: float
    seen: str


class Client:
    """`fresh` threads use a new connection for each request, one more keeps its own; use as `with Client(...)`."""

    def __init__(self, port: int, path: str, *, fresh: int = 2, pause_s: float = 0.01) -> None:
        self.port, self.path, self.pause_s = port, path, pause_s
        self.requests = 0
        self.resets_of_reused = 0
        self.failures: list[Failure] = []
        self.last_answer: dict[str, float] = {}  # instance and boot id -> time.monotonic of its last answer
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._fresh, daemon=True) for _ in range(fresh)]
        self._threads.append(threading.Thread(target=self._reusing, daemon=True))

    def __enter__(self) -> "Client":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for each in self._threads:
            each.join(15)

    def answered_since(self, moment: float) -> set[str]:
        """Instances (NAME/BOOT) that have answered since."""
        with self._lock:
            return {name for name, at in self.last_answer.items() if at >= moment}

    def _fresh(self) -> None:
        while not self._ending.wait(self.pause_s):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                self._request(connection)
            except (OSError, http.client.HTTPException) as error:
                self._fail(repr(error))
            finally:
                connection.close()

    def _reusing(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        reused = False
        while not self._ending.wait(self.pause_s):
            try:
                self._request(connection)
                reused = True
            except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected) as error:
                if reused:
                    with self._lock:
                        self.resets_of_reused += 1
                else:
                    self._fail(repr(error))
                connection.close()
                reused = False
            except (OSError, http.client.HTTPException) as error:
                self._fail(repr(error))
                connection.close()
                reused = False
        connection.close()

    def _request(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self.requests += 1
        connection.request("GET", self.path)
        answer = connection.getresponse()
        try:
            body = answer.read()
        except ConnectionError as error:  # bytes of the answer had come: no excuse for a reused connection
            raise http.client.IncompleteRead(b"") from error
        if answer.status != 200:
            self._fail(f"status {answer.status}")
            return
        content = json.loads(body)
        with self._lock:
            self.last_answer[f"{content['instance']}/{content['boot']}"] = time.monotonic()

    def _fail(self, seen: str) -> None:
        with self._lock:
            self.failures.append(Failure(time.monotonic(), seen))
