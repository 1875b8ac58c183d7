"""Counts of this node that outlive its handlers, which start for each event: totals in one file of the state folder.

Nothing is counted until `keep` is called, as on a node with `[metrics]`. Totals only grow, and `since` tells when they
began: if the file is lost or damaged they begin anew, and say so.
"""

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Container
from typing import Any, NamedTuple

from lictor.adapters import files, log

BUCKETS_S = (.005, .01, .025, .05, .075, .1, .25, .5, .75, 1.0, 2.5, 5.0, 7.5, 10.0)  # those of Prometheus' client
_FILE, _LOCK = "tally.json", "locks/:tally.lock"  # no service's name has a colon
_state_dir = ""


class Times(NamedTuple):
    """Durations, counted by the first of BUCKETS_S that they stay within; the last count is of those beyond."""

    counts: tuple[int, ...] = (0,) * (len(BUCKETS_S) + 1)
    sum_s: float = 0.0

    def plus(self, seconds: float) -> "Times":
        counts = tuple(count + (at == place(seconds)) for at, count in enumerate(self.counts))
        return Times(counts, round(self.sum_s + max(seconds, 0.0), 6))


def place(seconds: float) -> int:
    """Find the place of a duration among the counts."""
    return bisect_left(BUCKETS_S, seconds)


class Tally(NamedTuple):
    """All totals. A key of `counts` begins with a name; its labels, which hold no blank, follow in a fixed order."""

    since: float = 0.0  # epoch seconds; 0.0: nothing was counted yet
    counts: dict[tuple[str, ...], int] = {}
    times: dict[str, Times] = {}


def keep(state_dir: str) -> None:
    """Count from now on what this process does; "": nothing."""
    global _state_dir
    _state_dir = state_dir


def count(name: str, *labels: str) -> None:
    """Add one to a total."""
    _change(lambda old: old._replace(counts={**old.counts, (name, *labels): old.counts.get((name, *labels), 0) + 1}))


def time_taken(name: str, seconds: float) -> None:
    """Add a duration to a histogram."""
    _change(lambda old: old._replace(times={**old.times, name: old.times.get(name, Times()).plus(seconds)}))


def forget(name: str, known: Container[str]) -> None:
    """Drop the totals whose first label is none of these: services that are gone would stay for ever."""
    def is_gone(key: tuple[str, ...]) -> bool:
        return key[0] == name and key[1] not in known

    if _state_dir and any(map(is_gone, read(_state_dir).counts)):
        _change(lambda old: old._replace(counts={key: total for key, total in old.counts.items() if not is_gone(key)}))


def read(state_dir: str) -> Tally:
    """Read the totals; none if the file is absent or damaged."""
    table = files.read_json(os.path.join(state_dir, _FILE))
    try:
        counts = {tuple(map(str, key.split(" "))): _natural(total) for key, total in table["counts"].items()}
        times = {str(name): Times(tuple(map(_natural, each["counts"])), float(each["sum_s"]))
                 for name, each in table["times"].items()}
        if any(len(each.counts) != len(BUCKETS_S) + 1 for each in times.values()):
            return Tally()
        return Tally(float(table["since"]), counts, times)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        return Tally()


def _natural(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"{number!r} is no count")
    return number


def _change(change: Callable[[Tally], Tally]) -> None:
    if not _state_dir:
        return
    try:
        with files.locked(os.path.join(_state_dir, _LOCK)):
            new = change(read(_state_dir))
            files.write_json(os.path.join(_state_dir, _FILE), {
                "since": new.since or time.time(),
                "counts": {" ".join(key): total for key, total in new.counts.items()},
                "times": {name: each._asdict() for name, each in new.times.items()}}, durable=False)
    except OSError as error:  # a full disk must not keep the work from being done
        log.event("tally", outcome="failed", reason=error)
