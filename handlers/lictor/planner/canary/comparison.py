"""The comparison of a canary with the live colour: is it worse, and would it have been seen if it was? Pure.

Two things are compared: the share of errors, by Fisher's exact test, and the response times. Times count by their
logarithm, which is the number of their bucket: so one very slow answer is no more than one answer. A release is looked
at every ten seconds. The one error in a thousand that it may end in is shared out among all these looks.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.chance import RARE
from lictor.planner.autoscale.traffic import Side

MORE_ERRORS = 0.02  # of all requests: a worsening that must not be overlooked,
SLOWER = 1.2  # and the same of the response time
LEAST_SLOWER = 1.1  # times as long; less is no worsening
LEAST_SLOWER_S = 0.001  # and shorter times are all one to nginx's counts
_MISSED = 1.645  # standard deviations: it is overlooked in one case of twenty
_COMPARED = 2  # at each look
_HALF_A_BUCKET = 1 / 12  # the variance within a bucket


class Times(NamedTuple):
    """Response times by their buckets: how many, the mean, the variance."""

    answers: int
    level: float
    spread: float

    @property
    def typical_s(self) -> float:
        return traffic.LEAST_S * math.pow(traffic.GROWTH, self.level - 0.5)


class Worse(NamedTuple):
    """A worsening, in words, and how likely chance makes as much of one at any look of a release."""

    what: str
    chance: float


def requests(side: Side) -> int:
    return sum(side.times.values()) + side.errors


def error_share(side: Side) -> float:
    return side.errors / requests(side) if requests(side) else 0.0


def times_of(counted: Mapping[int, int]) -> Times:
    count = sum(counted.values())
    if not count:
        return Times(0, 0.0, 0.0)
    level = sum(number * each for number, each in counted.items()) / count
    spread = sum((number - level) ** 2 * each for number, each in counted.items()) / count
    return Times(count, level, spread + _HALF_A_BUCKET)


def find_worse(canary: Side, live: Side, looks: int) -> Worse | None:
    """Find in what a canary is worse for sure; None: chance explains it all, or it is not worse."""
    of_errors = _chance_of_errors(canary.errors, requests(canary), live.errors, requests(live)) * looks * _COMPARED
    if of_errors <= RARE:
        return Worse("more errors", of_errors)
    new, old = times_of(canary.times), times_of(live.times)
    of_times = _chance_of_gain(new.level - old.level, new, old) * looks * _COMPARED
    is_slower = new.level - old.level >= _buckets(LEAST_SLOWER, old)
    return Worse("slower answers", of_times) if is_slower and of_times <= RARE else None


def are_enough(canary: Side, live: Side, looks: int) -> bool:
    """Tell whether these requests are so many that a worsening which matters would have been found, in 19 cases of
    20: MORE_ERRORS, or times that are SLOWER."""
    asked, share = requests(canary), min(error_share(live) + MORE_ERRORS, 1.0)
    errors = math.floor(asked * share - _MISSED * math.sqrt(asked * share * (1 - share)))
    new, old = times_of(canary.times), times_of(live.times)
    gain = _buckets(SLOWER, old) - _MISSED * _deviation(new, old)
    return max(_chance_of_errors(errors, asked, live.errors, requests(live)),
               _chance_of_gain(gain, new, old)) * looks * _COMPARED <= RARE


def _buckets(factor: float, of: Times) -> float:
    """Tell how many buckets a time is longer by this factor, and by LEAST_SLOWER_S at least."""
    return math.log(max(factor, 1 + LEAST_SLOWER_S / of.typical_s)) / math.log(traffic.GROWTH)


def _deviation(new: Times, old: Times) -> float:
    return math.sqrt(new.spread / max(new.answers, 1) + old.spread / max(old.answers, 1))


def _chance_of_gain(gain: float, new: Times, old: Times) -> float:
    """Give the chance of such a difference of means, or a larger one, between equals: Student's t as a normal
    deviate. Few answers say nothing."""
    fewest = min(new.answers, old.answers)
    if fewest < traffic.FEWEST or gain <= 0:
        return 1.0
    deviate, free = gain / _deviation(new, old), fewest - 1
    normal = deviate * (1 - 1 / (4 * free)) / math.sqrt(1 + deviate * deviate / (2 * free))
    return math.erfc(normal / math.sqrt(2)) / 2


def _chance_of_errors(errors: int, asked: int, live_errors: int, live_asked: int) -> float:
    """Give the chance that so many of all errors, or more, fall on the canary, if each request fails alike."""
    every, total = errors + live_errors, asked + live_asked
    if errors <= 0 or not live_asked or errors * total <= every * asked:
        return 1.0
    term = math.exp(_log_choose(asked, errors) + _log_choose(live_asked, live_errors) - _log_choose(total, every))
    chance = term
    for number in range(errors, min(every, asked)):
        term *= (asked - number) * (every - number) / ((number + 1) * (live_asked - every + number + 1))
        chance += term
        if term <= chance * 1e-9:  # both are 0, if they are less than a float can be
            break
    return chance


def _log_choose(many: int, some: int) -> float:
    return math.lgamma(many + 1) - math.lgamma(some + 1) - math.lgamma(many - some + 1)
