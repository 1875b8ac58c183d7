"""An open loop of requests: they come whether others are answered or not, each on a connection of its own."""

import asyncio
import random
import threading
from collections.abc import Callable
from typing import NamedTuple

TIMEOUT_S = 65.0  # a little more than nginx waits for an instance
_LONGEST_ANSWER = 64 * 1024


class Request(NamedTuple):
    """One request: when it was to be sent, in seconds since the begin; how long it took; "" or what the client saw."""

    at: float
    took_s: float
    failure: str = ""

    @property
    def ended_at(self) -> float:
        return self.at + self.took_s


class OpenLoad:
    """Requests at `rate(seconds since the begin)` a second, at random moments; use as `with OpenLoad(...)`.

    A request's time counts from when it was to be sent, so that a late client hides nothing.
    """

    def __init__(self, port: int, path: str, rate: Callable[[float], float], *, seed: int = 1) -> None:
        self.port, self.path, self.rate = port, path, rate
        self.requests = list[Request]()  # those that have ended
        self.open = dict[int, float]()  # when the others were to be sent
        self._random, self._ending, self._began = random.Random(seed), threading.Event(), 0.0
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "OpenLoad":
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Send no more, and wait for the answers that are due."""
        self._ending.set()
        self._thread.join(TIMEOUT_S + 5)

    @property
    def now(self) -> float:
        """Seconds since the begin."""
        return self._loop.time() - self._began

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._send())
        finally:
            self._loop.close()

    async def _send(self) -> None:
        self._began = self._loop.time()
        self._started.set()
        at, number = 0.0, 0
        async with asyncio.TaskGroup() as group:
            while not self._ending.is_set():
                at += self._random.expovariate(self.rate(at))
                await asyncio.sleep(max(0.0, at - self.now))
                number += 1
                self.open[number] = at
                group.create_task(self._request(number, at))

    async def _request(self, number: int, at: float) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                failure = judge(await self._ask())
        except (OSError, TimeoutError) as error:
            failure = repr(error)
        self.requests.append(Request(at, self.now - at, failure))
        del self.open[number]

    async def _ask(self) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while len(answer) < _LONGEST_ANSWER and (part := await reader.read(_LONGEST_ANSWER)):
                answer += part
            return answer
        finally:
            writer.close()


def judge(answer: bytes) -> str:
    """Say what is wrong with an answer; "" if nothing is."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ")[1:2]
    if status != [b"200"]:
        return f"status {status[0].decode(errors='replace')}" if status else f"no answer: {answer[:60]!r}"
    return "" if b'"instance"' in body else f"no answer of an instance: {body[:60]!r}"
