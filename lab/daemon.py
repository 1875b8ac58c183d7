"""One program that the lab runs: started, waited for, stopped by its own pid, its output kept in a file."""

import contextlib
import http.client
import itertools
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from lictor import errors

T = TypeVar("T")
_REST = 3.0  # times what asking took
_LONGEST_REST_S = 1.0
_USUAL_LOAD = 3.0  # programs that want each processor while tests run on a machine of their own
_MOST_PATIENCE = 4.0
# Errors that a condition raises while something is not there yet, is half written, or does not answer.
_NOT_YET = (OSError, ValueError, LookupError, AssertionError, http.client.HTTPException, subprocess.SubprocessError,
            errors.LictorError)
# From here neither the kernel nor Docker takes a port: while a daemon is restarted, nobody else has its own.
_FIRST_PORT, _LAST_PORT = 10_000, 30_000
_ports = itertools.count(random.randrange(_LAST_PORT - _FIRST_PORT))


def wait_for(condition: Callable[[], T], what: str, timeout_s: float = 60, every_s: float = 0.05) -> T:
    """Poll until `condition` is true, and return what it was then; an AssertionError says what did not come true, and
    the last exception seen.

    One that takes long, as it starts a program, is asked less often: what is waited for needs the processor too. The
    deadline is for a machine that is not starved: it moves out with the load.
    """
    start = time.monotonic()
    last: Exception | None = None
    while True:
        began = time.monotonic()
        try:
            if found := condition():
                return found
        except _NOT_YET as error:
            last = error
        if time.monotonic() > start + stretched(timeout_s):
            raise AssertionError(f"not within {timeout_s:g} s: {what}" + (f" (last: {last})" if last else ""))
        time.sleep(max(every_s, min(_REST * (time.monotonic() - began), _LONGEST_REST_S)))


def stretched(timeout_s: float) -> float:
    """Give the time limit that is as long for the machine as it is now, by the load of the last minute."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return timeout_s * min(max(load / _USUAL_LOAD, 1.0), _MOST_PATIENCE)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now, and that this process did not give away lately."""
    found: list[int] = []
    while len(found) < count:
        port = _FIRST_PORT + next(_ports) % (_LAST_PORT - _FIRST_PORT)
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            found.append(port)
    return found


class Daemon:
    """A child process in a session of its own; `log_path` holds what it prints."""

    def __init__(self, argv: list[str], log_path: str, env: Mapping[str, str] | None = None) -> None:
        self.log_path = log_path
        with open(log_path, "ab") as log_file:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file, start_new_session=True,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def send(self, number: int) -> None:
        if self.running:
            self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 20) -> None:
        """Ask it to end and wait; kill it when it does not."""
        self.send(signal.SIGCONT)
        self.send(number)
        try:
            self.process.wait(stretched(timeout_s))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(stretched(timeout_s))

    def log(self) -> str:
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()
