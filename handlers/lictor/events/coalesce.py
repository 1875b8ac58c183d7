"""What threads that bring news of the same thing leave to each other. Nothing here knows what the news is."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from lictor.adapters import log

T = TypeVar("T")


class Turns:
    """One at a time for each name. Who waits while later news comes, by its index too, need not go on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: dict[str, dict[int, int]] = {}  # name -> number of the one who waits -> index of its news
        self._running: set[str] = set()

    @contextmanager
    def turn(self, name: str, index: int) -> Iterator[bool]:
        """Wait for one's turn; yields whether this is still the newest."""
        with self._changed:
            mine, waiting = next(self._numbers), self._waiting.setdefault(name, {})
            waiting[mine] = index
            self._changed.notify_all()

            def is_newest() -> bool:
                return not any(number > mine and other >= index for number, other in waiting.items())

            self._changed.wait_for(lambda: name not in self._running or not is_newest())
            goes_on = is_newest()
            del waiting[mine]
            if not waiting:
                del self._waiting[name]
            if goes_on:
                self._running.add(name)
        try:
            yield goes_on
        finally:
            if goes_on:
                with self._changed:
                    self._running.remove(name)
                    self._changed.notify_all()


class Errand(Generic[T]):
    """What is done in the background, once at a time: `start` returns what waits until the next may be started, and
    what comes meanwhile is merged."""

    def __init__(self, start: Callable[[T], Callable[[], object]], merge: Callable[[T, T], T]) -> None:
        self._start, self._merge = start, merge
        self._guard = threading.Lock()
        self._next: T | None = None
        self._is_busy = False

    def need(self, what: T) -> None:
        with self._guard:
            self._next = what if self._next is None else self._merge(self._next, what)
            if not self._is_busy:
                threading.Thread(target=self._work, daemon=True).start()  # which first waits for the guard
                self._is_busy = True

    def leave(self) -> None:
        """Start what is still to be done, and wait for nothing."""
        what = self._take()
        if what is not None:
            self._start(what)

    def _work(self) -> None:
        while (what := self._take()) is not None:
            try:
                self._start(what)()
            except Exception as error:  # mostly no process or memory to be had; the timer comes back to it
                log.event("errand", outcome="failed", reason=repr(error))

    def _take(self) -> T | None:
        with self._guard:
            what, self._next = self._next, None
            self._is_busy = what is not None
            return what
