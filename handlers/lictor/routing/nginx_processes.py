"""The processes of an nginx on this host: its master takes a signal, reads its files, and starts new workers."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import NamedTuple

from lictor import errors
from lictor.adapters import files
from lictor.spec.settings import LEAST_RELOAD_INTERVAL_S

_MASTER = rb"master process"
_WORKER = rb"worker process\0*$"  # a worker that goes is titled "worker process is shutting down"
_QUIT_TIMEOUT_S = 1.0
_LOOK_EVERY_S = 0.001
_LONGEST_LIST_BYTES = 1 << 16
_SIGHUP = 1 << (signal.SIGHUP - 1)
_MASK = re.compile(rb"^(?:SigPnd|ShdPnd|SigBlk):\t([0-9a-f]+)$", re.MULTILINE)  # of signals, in /proc/PID/status


class Processes(NamedTuple):
    """The processes of nginx when it was signalled; none are known of another pid namespace."""

    master: int = 0
    children: frozenset[int] = frozenset()
    workers: Mapping[int, int] = {}  # those that took requests: pid -> pidfd

    def await_start(self, *, timeout_s: float) -> bool:
        """Wait until nginx has accepted its files: then it starts workers. Returns whether one takes requests, which it
        is titled for; False also if none can be seen."""
        deadline = time.monotonic() + timeout_s
        with contextlib.suppress(OSError), open(_children_path(self.master), "rb", buffering=0) as file:
            while time.monotonic() < deadline:
                children = _pids(os.pread(file.fileno(), _LONGEST_LIST_BYTES, 0))
                if not children:
                    return False
                if any(_is_titled(pid, _WORKER) for pid in children - self.children):
                    return True
                time.sleep(_LOOK_EVERY_S)
        return False

    def quit(self) -> None:
        """Have the workers accept nothing more. nginx does so too, a tenth of a second after it has started others."""
        for pidfd in self.workers.values():
            with contextlib.suppress(OSError):  # the worker is gone already
                signal.pidfd_send_signal(pidfd, signal.SIGQUIT)

    def await_quit(self) -> None:
        """Return when the workers accept nothing more; where none are known, when nginx itself has told them."""
        deadline = time.monotonic() + (_QUIT_TIMEOUT_S if self.workers else LEAST_RELOAD_INTERVAL_S)
        while time.monotonic() < deadline and (
                not self.workers or any(_is_titled(pid, _WORKER) for pid in self.workers)):
            time.sleep(_LOOK_EVERY_S)


def hup(pid_file: str, held: ExitStack) -> Processes:
    """Have nginx read its files again; returns the processes that it had. `held` will close the pidfds."""
    text = (files.read(pid_file) or "").strip()
    master = _hold(int(text), held) if text.isdigit() else None
    if master is None or not has_master(pid_file):
        raise errors.Unavailable(f"nginx is not running: {pid_file} names no nginx master process")
    children = _children(int(text))
    workers = {pid: pidfd for pid in children if (pidfd := _hold(pid, held)) is not None and _is_titled(pid, _WORKER)}
    try:
        signal.pidfd_send_signal(master, signal.SIGHUP)
    except PermissionError as error:
        raise errors.Unavailable(f"nginx (pid {text}) may not be signalled by user id {os.geteuid()}; run lictor-route "
                                 "as root or as the user of nginx's master process") from error
    except ProcessLookupError as error:
        raise errors.Unavailable(f"nginx (pid {text}) has just ended") from error
    return Processes(int(text), children, workers)


def has_master(pid_file: str) -> bool:
    """Tell whether the process of the pid file is a master of nginx. Its workers may outlive it, and serve on."""
    text = (files.read(pid_file) or "").strip()
    return text.isdigit() and _is_titled(int(text), _MASTER)


def await_idle(pid_file: str, *, timeout_s: float) -> None:
    """Wait until nginx has read its files as often as it was told to, and its workers have begun. If files changed
    while it reads them, it would serve some of before and some of now, and might answer the new generation.

    Its master lets a HUP in only while it waits for signals; one that comes while it reads stays pending.
    """
    deadline = time.monotonic() + timeout_s
    while is_at_work(pid_file) and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)


def is_at_work(pid_file: str) -> bool:
    """Tell whether nginx was told to read its files, and has not done so yet, or not begun its workers."""
    text = (files.read(pid_file) or "").strip()
    master = int(text) if text.isdigit() else 0
    try:
        with open(f"/proc/{master}/status", "rb") as file:
            if any(int(mask, 16) & _SIGHUP for mask in _MASK.findall(file.read())):
                return True
    except OSError:  # it has ended
        return False
    return any(_is_titled(pid, _MASTER) for pid in _children(master))  # those that have no title of their own yet


def _children(pid: int) -> frozenset[int]:
    """List the processes that a process has started; none if that cannot be read."""
    try:
        with open(_children_path(pid), "rb") as file:
            return _pids(file.read())
    except OSError:  # it has just ended
        return frozenset()


def _children_path(pid: int) -> str:
    return f"/proc/{pid}/task/{pid}/children"


def _pids(text: bytes) -> frozenset[int]:
    return frozenset(map(int, text.split()))


def _hold(pid: int, held: ExitStack) -> int | None:
    """Open a pidfd, which can't come to mean another process; None if there is no such process."""
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, OverflowError):
        return None
    held.callback(os.close, descriptor)
    return descriptor


def _is_titled(pid: int, title: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return bool(re.match(rb"[a-z]+: " + title, file.read()))
    except OSError:
        return False
