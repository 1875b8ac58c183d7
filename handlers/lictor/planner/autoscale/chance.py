"""Comparisons of what was counted: whether chance explains a difference. Pure.

One comparison in a thousand errs. That is little enough for a service that is looked at six times a minute.
"""

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.capacity import Amount
from lictor.planner.autoscale.traffic import Slice

RARE = 0.001
_SURE = 3.09  # standard deviations that are as rare
_MANY = 25.0  # late answers that may be expected: from there on their number is normally distributed
_TENTH = math.log(0.9) / math.log(traffic.GROWTH)  # in buckets

Number = Annotated[int, Meta(ge=0, le=10**12)]


class Sample(msgspec.Struct, frozen=True):
    """The part of some traffic that is compared. Times count by their logarithm, which is the number of their bucket:
    so one very slow answer is no more than one answer."""

    seconds: Amount = 0.0
    begun: Number = 0
    answers: Number = 0
    late: Number = 0
    level: Amount = 0.0  # the mean bucket
    spread: Amount = 0.0  # the variance of the buckets


def sample(part: Slice, target_s: float) -> Sample:
    """Take a sample of some traffic."""
    answers = part.answers
    if not answers:
        return Sample(part.seconds, part.begun)
    level = sum(number * count for number, count in part.times.items()) / answers
    spread = sum((number - level) ** 2 * count for number, count in part.times.items()) / answers
    return Sample(part.seconds, part.begun, answers, traffic.count_slower(part.times, target_s), level, spread)


def are_too_many(late: int, answers: int, share: float) -> bool:
    """Decide whether more answers are late than chance explains, if this share of all answers is in time."""
    rate = 1 - share
    expected = rate * answers
    if late <= expected:
        return False
    if expected >= _MANY:
        return late > expected + _SURE * math.sqrt(expected * share)
    term = math.exp(math.lgamma(answers + 1) - math.lgamma(late + 1) - math.lgamma(answers - late + 1)
                    + late * math.log(rate) + (answers - late) * math.log(share))
    total = term
    for number in range(late, answers):
        term *= (answers - number) / (number + 1) * rate / share
        total += term
        if term < total * 1e-6:
            break
    return total <= RARE


def are_faster(after: Sample, before: Sample) -> bool:
    """Decide whether answers are faster by a tenth: fewer are late, or all take less."""
    if not after.answers or not before.answers:
        return False
    shares = [each.late / each.answers for each in (after, before)]
    doubts = sum(share * (1 - share) / each.answers for share, each in zip(shares, (after, before), strict=True))
    if shares[0] <= 0.9 * shares[1] and shares[1] - shares[0] > _SURE * math.sqrt(doubts):
        return True
    gain = before.level - after.level
    return gain >= -_TENTH and gain > _SURE * math.sqrt(
        after.spread / after.answers + before.spread / before.answers)


def is_more(after: float, after_s: float, before: float, before_s: float, by: float) -> bool:
    """Decide whether the rate of what was counted has grown by a factor."""
    if not after_s or not before_s:
        return False
    gain = after / after_s - by * before / before_s
    return gain >= 0 and gain > _SURE * math.sqrt(after / after_s**2 + by * by * before / before_s**2)
