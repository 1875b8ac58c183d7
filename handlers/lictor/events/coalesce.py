"""Coalescing of events: of several for one thing, only the newest, or their sum, is acted upon."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from lictor.adapters import log

T = TypeVar("T")


class Turns:
    """One turn at a time for each name. A thread that waits gives up as soon as a newer event waits behind it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: dict[str, dict[int, int]] = {}  # name -> number of the thread -> Consul's index of its event
        self._running: set[str] = set()

    @contextmanager
    def turn(self, name: str, index: int) -> Iterator[bool]:
        """Wait for the turn; yields whether the event is still the newest. If it is not, there is no turn."""
        with self._changed:
            mine, waiting = next(self._numbers), self._waiting.setdefault(name, {})
            waiting[mine] = index
            self._changed.notify_all()

            def is_newest() -> bool:
                return not any(number > mine and other >= index for number, other in waiting.items())

            self._changed.wait_for(lambda: name not in self._running or not is_newest())
            has_turn = is_newest()
            del waiting[mine]
            if not waiting:
                del self._waiting[name]
            if has_turn:
                self._running.add(name)
        try:
            yield has_turn
        finally:
            if has_turn:
                with self._changed:
                    self._running.remove(name)
                    self._changed.notify_all()


class Coalescer(Generic[T]):
    """Work in the background, one run at a time; requests during a run are merged into the next run.

    `start` begins a run, and returns the function that waits for its end.
    """

    def __init__(self, start: Callable[[T], Callable[[], object]], merge: Callable[[T, T], T]) -> None:
        self._start, self._merge = start, merge
        self._guard = threading.Lock()
        self._next: T | None = None
        self._is_busy = False

    def request(self, work: T) -> None:
        with self._guard:
            self._next = work if self._next is None else self._merge(self._next, work)
            if not self._is_busy:
                threading.Thread(target=self._run, daemon=True).start()  # it first waits for the guard
                self._is_busy = True

    def flush(self) -> None:
        """Start what is still to be done, and wait for nothing."""
        work = self._take()
        if work is not None:
            self._start(work)

    def _run(self) -> None:
        while (work := self._take()) is not None:
            try:
                self._start(work)()
            except Exception as error:  # mostly for lack of processes or memory; the timer comes back to it
                log.event("coalesce", outcome="failed", reason=repr(error))

    def _take(self) -> T | None:
        with self._guard:
            work, self._next = self._next, None
            self._is_busy = work is not None
            return work
