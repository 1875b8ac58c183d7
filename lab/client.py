"""Steady requests through nginx while something happens, counted honestly.

A reset on a reused connection before any byte of the answer is counted apart: nginx closes idle connections at each
reload, and every HTTP client sends such a request again. On a fresh connection every failure counts.
"""

import http.client
import json
import threading
import time
from typing import NamedTuple

from lab.daemon import stretched
from lab.netns import inside


class Failure(NamedTuple):
    """One failed request: when it failed and when it was sent (time.monotonic), and what the client saw."""

    at: float
    seen: str
    began: float
    target: str  # with `tag`, this very request's alone
    status: int = 0  # 0: no HTTP answer


class Client:
    """`fresh` threads use a new connection for each request, one more keeps its own; use as `with Client(...)`.

    A `tag` makes each request's target one of its own (PATH?TAG.NUMBER), to be found again in nginx's access log. An
    answer that is not from an instance of `service`, when one is given, is a failure too. The clients stand in the
    network namespace `netns`, and ask `address`.
    """

    def __init__(self, port: int, path: str, *, fresh: int = 2, pause_s: float = 0.1, tag: str = "",
                 service: str = "", address: str = "127.0.0.1", netns: str = "") -> None:
        self.port, self.path, self.pause_s, self.tag, self.service = port, path, pause_s, tag, service
        self.address, self.netns = address, netns
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
            each.join(stretched(15))

    def answered_since(self, moment: float) -> set[str]:
        """Instances (NAME/BOOT) that have answered since."""
        with self._lock:
            return {name for name, at in self.last_answer.items() if at >= moment}

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address, self.port, timeout=stretched(10))

    def _fresh(self) -> None:
        with inside(self.netns):
            while not self._ending.wait(self.pause_s):
                self._request(self._connection(), keep=False, reused=False)

    def _reusing(self) -> None:
        connection = self._connection()
        reused = False
        with inside(self.netns):
            while not self._ending.wait(self.pause_s):
                reused = self._request(connection, keep=True, reused=reused)
        connection.close()

    def _request(self, connection: http.client.HTTPConnection, *, keep: bool, reused: bool) -> bool:
        """One request; returns whether the connection is still good, and kept."""
        with self._lock:
            self.requests += 1
            target = f"{self.path}?{self.tag}.{self.requests}" if self.tag else self.path
        began = time.monotonic()
        try:
            connection.request("GET", target)
            answer = connection.getresponse()
            try:
                body = answer.read()
            except ConnectionError as error:  # bytes of the answer had come: no excuse for a reused connection
                raise http.client.IncompleteRead(b"") from error
            wrong = self._look(answer.status, body)
            if wrong:
                self._fail(Failure(time.monotonic(), wrong, began, target, answer.status))
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if reused and isinstance(error, (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)):
                with self._lock:
                    self.resets_of_reused += 1
            else:
                self._fail(Failure(time.monotonic(), repr(error), began, target))
            return False
        if not keep:
            connection.close()
        return keep

    def _look(self, status: int, body: bytes) -> str:
        """Say what is wrong with an answer; "" if nothing is."""
        if status != 200:
            return f"status {status}"
        try:
            content = json.loads(body)
            instance, boot = content["instance"], content["boot"]
        except (ValueError, KeyError, TypeError):
            return f"no answer of an instance: {body[:100]!r}"
        with self._lock:
            self.last_answer[f"{instance}/{boot}"] = time.monotonic()
        return f"an answer of {instance}" if self.service and instance.rpartition("-")[0] != self.service else ""

    def _fail(self, failure: Failure) -> None:
        with self._lock:
            self.failures.append(failure)
