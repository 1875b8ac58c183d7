"""Handlers that outlive the one that started them, and with it the test: they would go on in the next one's Consul."""

import contextlib
import os
import signal

from lab.daemon import wait_for


def end(settings_path: str) -> None:
    """Kill all handlers with these settings, and those that they start meanwhile. An agent that starts handlers has to
    have ended before."""
    wait_for(lambda: not _kill(settings_path), f"no handler with {settings_path} is left")


def _kill(settings_path: str) -> list[int]:
    """Kill the handlers of now; returns them."""
    found = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
             if pid != os.getpid() and _has(pid, settings_path)]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def _has(pid: int, settings_path: str) -> bool:
    """Tell whether a process was told of these settings, by its environment or by an option."""
    path = settings_path.encode()
    return f"LICTOR_CONFIG={settings_path}".encode() in _words(pid, "environ") or path in _words(pid, "cmdline")


def _words(pid: int, name: str) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read().split(b"\0")
    except OSError:  # it has just ended
        return []
