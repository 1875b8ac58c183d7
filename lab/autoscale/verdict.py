"""The verdict on a load test: x1, x4 and x1 again. Pure: requests and counts in, verdicts out.

What the load needs is computed from the capacity of the image, and not from what lictor has learned.
"""

import heapq
import math
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lab.autoscale.image import Image
from lab.autoscale.open_load import Request
from lab.bench.limits import Verdict

SHARE = 0.95
WINDOW_S = 60.0
MOST_BACK_S, MOST_DOWN_S = 60.0, 600.0
_STEP_S = 5.0
_SIMULATED = 20_000


class Count(NamedTuple):
    """The counts of instances at a time, in seconds since the begin."""

    at: float
    desired: int
    running: int


class Phases(NamedTuple):
    """The load: `low` requests a second until `up_at`, `high` until `down_at`, and `low` until the end."""

    low: float
    high: float
    up_at: float
    down_at: float
    end_at: float
    steady_s: float = 600.0  # the last ones of the high load, in which nothing is to move

    def rate(self, at: float) -> float:
        return self.high if self.up_at <= at < self.down_at else self.low


def percentile(values: Iterable[float], share: float = SHARE) -> float | None:
    """Find the value that this share stays within; None: there is none."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def needed(rate: float, image: Image, target_s: float) -> int:
    """Count the instances with which the percentile is within the target: the fewest, if none of them waits in vain."""
    count = 1
    while count * image.most_rate <= rate or (_waiting_line(rate, count * image.at_once, image.service_s)) > target_s:
        count += 1
    return count


def _waiting_line(rate: float, at_once: int, service_s: float) -> float:
    """Simulate one line of requests before all that serve; the percentile of their times."""
    dice, now, free, times = random.Random(1), 0.0, [0.0] * at_once, list[float]()
    for _ in range(_SIMULATED):
        now += dice.expovariate(rate)
        ended = max(now, heapq.heappop(free)) + service_s
        heapq.heappush(free, ended)
        times.append(ended - now)
    return percentile(times) or 0.0


def back_within_s(requests: Sequence[Request], phases: Phases, target_s: float) -> float:
    """Tell how long after the step up each window is within the target, until the load goes down; inf: never."""
    ordered = sorted(each for each in requests if phases.up_at <= each.at < phases.down_at)
    begin = phases.down_at - WINDOW_S
    back_s = math.inf
    while begin >= phases.up_at:
        took_s = percentile(each.took_s for each in ordered if begin <= each.at < begin + WINDOW_S)
        if took_s is None or took_s > target_s:
            break
        back_s = begin - phases.up_at
        begin -= _STEP_S
    return back_s


def surplus(counts: Sequence[Count], phases: Phases, low_need: int, high_need: int) -> int:
    """Tell by how many instances there were more than needed, at most; what the way down takes is not counted here."""
    return max((max(each.desired, each.running) - (low_need if each.at < phases.up_at else high_need)
                for each in counts), default=0)


def down_within_s(counts: Sequence[Count], phases: Phases) -> float:
    """Tell how long after the step down no more instances run than before the step up; inf: more do at the end."""
    before = max((max(each.desired, each.running) for each in counts if each.at < phases.up_at), default=0)
    down_s = math.inf
    for each in reversed([each for each in counts if each.at >= phases.down_at]):
        if max(each.desired, each.running) > before:
            break
        down_s = each.at - phases.down_at
    return down_s


def moves(counts: Sequence[Count], since: float, until: float) -> int:
    """Count the changes of the desired count."""
    return sum(before.desired != after.desired and since <= after.at < until
               for before, after in zip(counts, counts[1:], strict=False))


def judge(requests: Sequence[Request], counts: Sequence[Count], phases: Phases, image: Image,
          target_s: float) -> list[Verdict]:
    """Give the verdict on each of the five claims."""
    low_need, high_need = (needed(rate, image, target_s) for rate in (phases.low, phases.high))
    return [
        Verdict("seconds from the step up until the percentile is within the target for good",
                back_within_s(requests, phases, target_s), at_most=MOST_BACK_S),
        Verdict(f"instances above the need ({low_need} at x1, {high_need} at x4)",
                surplus(counts, phases, low_need, high_need), at_most=1),
        Verdict("seconds from the step down until no more run than before", down_within_s(counts, phases),
                at_most=MOST_DOWN_S),
        Verdict(f"moves in {phases.steady_s / 60:g} steady minutes",
                moves(counts, phases.down_at - phases.steady_s, phases.down_at), at_most=0),
        Verdict(f"failed requests of {len(requests)}", sum(bool(each.failure) for each in requests), at_most=0),
    ]
