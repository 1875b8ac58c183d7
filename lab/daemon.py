"""One program that the lab runs: started, waited for, stopped by its own pid, its output kept in a file."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping

from lictor import errors

_REST = 3.0  # times what asking took
_LONGEST_REST_S = 1.0
_USUAL_LOAD = 3.0  # programs that want each processor while tests run on a machine of their own
_MOST_PATIENCE = 4.0


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 30, every_s: float = 0.05) -> None:
    """Poll until `condition` is true; an AssertionError says what did not come true, and the last exception seen.

    One that takes long, as it starts a program, is asked less often: what is waited for needs the processor too. The
    deadline is for a machine that is not starved: it moves out with the load.
    """
    start = time.monotonic()
    last: Exception | None = None
    while True:
        began = time.monotonic()
        try:
            if condition():
                return
        except (OSError, ValueError, AssertionError, subprocess.SubprocessError, errors.LictorError) as error:
            last = error
        if time.monotonic() > start + timeout_s * _patience():
            raise AssertionError(f"not within {timeout_s:g} s: {what}" + (f" (last: {last})" if last else ""))
        time.sleep(max(every_s, min(_REST * (time.monotonic() - began), _LONGEST_REST_S)))


def _patience() -> float:
    """How many times as long as usual a thing may take, by the load of the last minute."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return min(max(load / _USUAL_LOAD, 1.0), _MOST_PATIENCE)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


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
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout_s)

    def log(self) -> str:
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()
