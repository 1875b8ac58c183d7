"""Full load on a proxy by wrk: how many requests a second, how slow the slowest hundredth, how many failed."""

import re
import shutil
import subprocess
from typing import NamedTuple

_CONNECTIONS, _FRESH_CONNECTIONS, _THREADS = 32, 4, 1
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Load(NamedTuple):
    """What one run of wrk measured."""

    requests_per_s: float
    p99_ms: float
    failed: int  # no answer, or none of 2xx and 3xx
    cut: int = 0  # of those, connections that ended before the answer did; nginx closes idle ones at each reload


def missing() -> str:
    return "" if shutil.which("wrk") else "not found: wrk, the load generator (Debian's package wrk)"


def start(url: str, seconds: int, *, fresh: bool = False) -> subprocess.Popen[str]:
    """Start clients that keep their connections; `fresh`: few, with a new connection for each request."""
    how = ["-c", str(_FRESH_CONNECTIONS), "-H", "Connection: close"] if fresh else ["-c", str(_CONNECTIONS)]
    argv = ["wrk", "-t", str(_THREADS), *how, "-d", f"{seconds}s", "--latency", url]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def result(running: subprocess.Popen[str], seconds: int) -> Load:
    """Wait for its end; it is killed when that does not come."""
    try:
        output, _ = running.communicate(timeout=seconds + 30)
    finally:
        running.kill()
        running.wait()
    return parse(output)


def parse(output: str) -> Load:
    """Read what wrk prints with --latency; raises ValueError if it is something else."""
    rate = re.search(r"^Requests/sec:\s+([0-9.]+)$", output, re.MULTILINE)
    slowest = re.search(r"^\s+99%\s+([0-9.]+)(us|ms|s|m)$", output, re.MULTILINE)
    if not rate or not slowest:
        raise ValueError(f"wrk: {output.strip()[-300:]}")
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    connect, read, write, timeout = map(int, sockets.groups()) if sockets else (0, 0, 0, 0)
    failed = connect + read + write + timeout + (int(refused[1]) if refused else 0)
    return Load(float(rate[1]), float(slowest[1]) * _UNITS_MS[slowest[2]], failed, read + write)
