"""What processes spend: whole trees by /proc, and orphans, which come to us, as we are their subreaper."""

import ctypes
import os
import signal
import time
from collections.abc import Iterable

_TICKS = os.sysconf("SC_CLK_TCK")
_SET_CHILD_SUBREAPER = 36  # of <linux/prctl.h>
_UTIME, _CUTIME = 11, 13  # in /proc/PID/stat, counted from the state on


class Orphans:
    """Detached handlers: they outlive what started them, and then they are our children. Only one may be made."""

    def __init__(self) -> None:
        self.spent_s = 0.0  # by those that have ended
        if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl: no subreaper")

    def reap(self, daemons: Iterable[int]) -> list[int]:
        """Those that are still at work; `daemons` are the children of ours that are none."""
        working = []
        for pid in set(children(os.getpid())) - set(daemons):
            if _stat(pid)[:1] == ["Z"]:
                _, _, usage = os.wait4(pid, 0)
                self.spent_s += usage.ru_utime + usage.ru_stime
            else:
                working.append(pid)
        return working

    def kill(self, limit_s: float = 10) -> None:
        """All children that are left; only for the end."""
        deadline = time.monotonic() + limit_s
        while (working := self.reap(())) and time.monotonic() < deadline:
            for pid in working:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def tree_s(pid: int, *, itself: bool = True) -> float:
    """CPU seconds of a process (or without `itself` only of its children), the living and the ended below it too."""
    fields = _stat(pid)
    if not fields:
        return 0.0
    own, ended = (sum(map(int, fields[at:at + 2])) / _TICKS for at in (_UTIME, _CUTIME))
    return ended + (own if itself else 0) + sum(tree_s(each) for each in children(pid))


def running_s(pid: int) -> float:
    """CPU seconds of a process of one thread, to the microsecond; 0.0 if it is gone."""
    try:
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0]) / 1e9
    except OSError:
        return 0.0


def resident_mb(pid: int) -> float:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS:"))


def rests(pid: int, for_s: float) -> bool:
    """Whether it spends nothing that could be measured for that long."""
    spent_s = tree_s(pid)
    time.sleep(for_s)
    return tree_s(pid) - spent_s <= 1 / _TICKS


def is_childless(pid: int) -> bool:
    return not children(pid)


def children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):  # each thread has its own
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    except OSError:
        pass
    return found


def _stat(pid: int) -> list[str]:
    """Read the fields of /proc/PID/stat from the state on; empty if the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []
