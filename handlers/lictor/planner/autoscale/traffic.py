"""Traffic of a service, as its nginx nodes count it: answers by kind, and response times in buckets. Pure.

Each node sees its share only. So the buckets of all nodes are added; percentiles would say nothing if averaged.
"""

import math
from collections.abc import Iterable, Mapping

import msgspec

LEAST_S = 0.001
_GROWTH = 1.05  # of a bucket's width: a percentile is wrong by half of that at most
LAST_BUCKET = 240  # of 2 min and more
FEWEST = 20  # fewer answers are no percentile


class Slice(msgspec.Struct, frozen=True):
    """What was counted in some seconds. The spec's check path and ignored paths are left out."""

    at: float  # when it began, in epoch seconds
    seconds: float
    times: dict[int, int] = {}  # answers of instances below 500, by bucket of their response time
    errors: int = 0  # answers of 500 and more, and those that did not come in time (504)
    unanswered: int = 0  # no instance could be asked: it says nothing of a response time
    cut: int = 0  # the client went away before the answer: its time is too short
    begun: int = 0  # requests that came
    busy_s: float = 0.0  # seconds that all requests were in progress, together

    @property
    def answers(self) -> int:
        return sum(self.times.values())

    @property
    def rate(self) -> float:
        """Requests that came in a second."""
        return self.begun / self.seconds if self.seconds else 0.0

    @property
    def in_progress(self) -> float:
        """The mean number of requests in progress."""
        return self.busy_s / self.seconds if self.seconds else 0.0

    @property
    def error_share(self) -> float:
        failed = self.errors + self.unanswered
        return failed / (failed + self.answers) if failed else 0.0


def bucket(seconds: float) -> int:
    """Find the bucket of a response time; bucket n ends at 1 ms * 1.05^n."""
    if seconds <= LEAST_S:
        return 0
    return min(math.ceil(math.log(seconds / LEAST_S, _GROWTH) - 1e-9), LAST_BUCKET)


def middle_s(number: int) -> float:
    """Give the response time that stands for a bucket."""
    return LEAST_S * _GROWTH ** (number - 0.5) if number else LEAST_S


def percentile(times: Mapping[int, int], share: float) -> float | None:
    """Find the response time that this share of the answers stays within; None: they are too few to say."""
    total, seen = sum(times.values()), 0
    if total < FEWEST:
        return None
    for number in sorted(times):
        seen += times[number]
        if seen >= share * total:
            return middle_s(number)
    return middle_s(LAST_BUCKET)


def count_slower(times: Mapping[int, int], than_s: float) -> int:
    last = bucket(than_s)
    return sum(count for number, count in times.items() if number > last)


def add(slices: Iterable[Slice]) -> Slice:
    """Add slices that follow one another, of one node or of several whose slices begin together."""
    found = list(slices)
    times: dict[int, int] = {}
    for each in found:
        for number, count in each.times.items():
            times[number] = times.get(number, 0) + count
    lengths = {each.at: each.seconds for each in found}
    return Slice(min(lengths, default=0.0), sum(lengths.values()), times, *(
        sum(getattr(each, name) for each in found) for name in ("errors", "unanswered", "cut", "begun", "busy_s")))
