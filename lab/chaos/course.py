"""The course of a chaos run: which faults there are, when, and when everything has come to rest."""

import random
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol

from lab.chaos import verdict
from lab.chaos.faults import Mischief
from lab.chaos.timeline import Sample

BETWEEN_S = (2.0, 6.0)
_SETTLE_S = 420.0


class Watching(Protocol):
    """One that looks at everything all the time; `trouble` is why not everything was well at last."""

    samples: list[Sample]

    @property
    def trouble(self) -> str: ...


def run(mischief: Mischief[Any], watching: Watching, judge: Callable[[], list[str]], say: Callable[[str], None], *,
        minutes: float, seed: int, between_s: tuple[float, float] = BETWEEN_S) -> list[str]:
    """Hurt, and settle; returns what is not as it must be at the end."""
    ending_at = time.monotonic() + 60 * minutes
    try:
        for kind, chance, pause_s in schedule(random.Random(seed), mischief.faults, between_s):
            if time.monotonic() > ending_at:
                break
            mischief.begin(kind, chance)
            time.sleep(pause_s)
    finally:
        mischief.end()
    say("no more faults; it comes to rest ...")
    rested_s = time.monotonic()
    end = settle(judge, mischief, watching, rested_s + _SETTLE_S)
    say(f"at rest after {time.monotonic() - rested_s:.0f} s")
    return end


def schedule(chance: random.Random, kinds: Collection[str],
             between_s: tuple[float, float] = BETWEEN_S) -> Iterator[tuple[str, int, float]]:
    """Kind, seed, and the pause after it; without an end."""
    while True:
        for kind in chance.sample(sorted(kinds), len(kinds)):
            yield kind, chance.randrange(2**32), chance.uniform(*between_s)


def settle(judge: Callable[[], list[str]], mischief: Mischief[Any], watching: Watching, deadline: float) -> list[str]:
    """Wait until the end is as it must be, and every fault is repaired; returns what is not so, at the deadline.

    A victim whose trouble nobody has noticed yet seems to be well: without the second condition that would be rest.
    """
    while time.monotonic() < deadline:
        if not watching.trouble and not verdict.unrepaired(mischief.records, watching.samples):
            seen = len(watching.samples)
            left = judge()
            while not left and time.monotonic() < deadline and len(watching.samples) <= seen + 1:
                time.sleep(0.1)
            if not left and not watching.trouble:
                return []
        time.sleep(1)
    return judge()
