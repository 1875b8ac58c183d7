"""What chance does to the comparison of a canary, and what it has to find."""

import math
import random

import pytest

from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.chance import RARE
from lictor.planner.autoscale.traffic import Side
from lictor.planner.canary import comparison

LOOKS = 37  # of a release that is watched for 5 minutes, and has a deadline of one


def side(asked: int, errors: int = 0, took_s: float = 0.02) -> Side:
    """Answers as services give them: two of three within a factor of 1.5."""
    answers, typical = asked - errors, traffic.bucket(took_s)
    below = [math.erf((number + 0.5 - math.log(took_s / traffic.LEAST_S, traffic.GROWTH)) / 8 / math.sqrt(2))
             for number in range(-1, traffic.LAST_BUCKET)]
    times = {number: count for number in range(traffic.LAST_BUCKET)
             if (count := round(answers * (below[number + 1] - below[number]) / 2))}
    rest = answers - sum(times.values())
    return Side({**times, typical: max(times.get(typical, 0) + rest, 0)} if answers else {}, errors)


@pytest.mark.parametrize(("canary", "live", "worse"), [
    # errors
    (side(100, 5), side(900, 0), "more errors"), (side(1000, 50), side(9000, 0), "more errors"),
    (side(1000, 50), side(9000, 450), ""), (side(1000, 50), side(9000, 900), ""),
    (side(1000, 20), side(9000, 90), ""), (side(1000, 30), side(9000, 90), "more errors"),
    (side(10, 1), side(90, 0), ""), (side(10, 4), side(90, 0), ""), (side(10, 10), side(90, 0), "more errors"),
    (side(1, 1), side(9, 0), ""), (side(5, 5), side(0), ""), (side(100, 100), side(0), ""),
    (side(500, 500), side(500, 500), ""), (side(500, 500), side(500, 460), "more errors"),
    (side(0), side(9000, 900), ""), (side(0), side(0), ""),
    (side(1_000_000, 1300), side(9_000_000, 9000), "more errors"),
    (side(10**9, 5 * 10**8), side(10**9, 10**8), "more errors"),  # a chance that is less than a float can be
    # response times
    (side(300, 0, 0.04), side(2700), "slower answers"), (side(60, 0, 0.04), side(540), "slower answers"),
    (side(15, 0, 0.2), side(135), ""), (side(5000, 0, 0.0215), side(45000), ""),  # by less than a tenth
    (side(5000, 0, 0.0235), side(45000), "slower answers"), (side(100, 0, 0.0235), side(900), ""),
    (side(3000, 0, 0.01), side(27000), ""),  # it is faster
    (side(3000, 0, 0.0019), side(27000, 0, 0.0012), ""),  # by less than a millisecond
    (side(3000, 0, 0.0028), side(27000, 0, 0.0012), "slower answers"),
])
def test_only_what_chance_does_not_explain_is_worse(canary: Side, live: Side, worse: str) -> None:
    found = comparison.find_worse(canary, live, LOOKS)
    assert (found.what if found else "") == worse
    assert found is None or 0 <= found.chance <= RARE


@pytest.mark.parametrize(("canary", "live", "are_enough"), [
    (side(600), side(5400), True), (side(400), side(3600), False), (side(6000), side(100), False),
    (side(2000, 20), side(18000, 180), True), (side(600, 6), side(5400, 54), False),  # errors of both hide a few more
    (side(0), side(9000), False), (side(9000), side(0), False), (side(0), side(0), False),
    (side(600, 600), side(5400, 5400), False),  # no answer, no time
])
def test_enough_are_so_many_that_a_worsening_would_have_been_seen(canary: Side, live: Side, are_enough: bool) -> None:
    assert comparison.are_enough(canary, live, LOOKS) is are_enough


@pytest.mark.parametrize(("asked", "share"), [(600, 0.0), (2500, 0.01), (6000, 0.05)])
def test_where_they_are_enough_19_of_20_releases_with_2_points_more_errors_are_found(asked: int, share: float) -> None:
    dice, found = random.Random(asked), 0
    live = side(9 * asked, round(9 * asked * share))
    assert comparison.are_enough(side(asked, round(asked * share)), live, LOOKS)
    for _ in range(200):
        errors = sum(dice.random() < share + comparison.MORE_ERRORS for _ in range(asked))
        found += comparison.find_worse(Side({60: asked - errors}, errors), live, LOOKS) is not None
    assert found >= 180  # 190 are to be expected


@pytest.mark.parametrize(("rate", "share", "errors"), [(4, 0.1, 0.05), (50, 0.1, 0.01), (50, 0.5, 0.3), (2, 0.5, 0.5)])
def test_equals_fail_in_less_than_one_release_of_a_hundred(rate: int, share: float, errors: float) -> None:
    """One in a thousand is promised; so few releases can only show that it is not many more."""
    dice, failed = random.Random(rate), 0
    for _ in range(100):
        counts = {"canary": [0, 0], "live": [0, 0]}
        times: dict[str, dict[int, int]] = {"canary": {}, "live": {}}
        for _ in range(LOOKS):
            for _ in range(rate * 10):
                name = "canary" if dice.random() < share else "live"
                if dice.random() < errors:
                    counts[name][1] += 1
                else:
                    bucket = max(round(dice.gauss(60, 12)), 0)
                    times[name][bucket] = times[name].get(bucket, 0) + 1
            canary, live = (Side(times[name], counts[name][1]) for name in ("canary", "live"))
            if comparison.find_worse(canary, live, LOOKS):
                failed += 1
                break
    assert failed <= 1


@pytest.mark.parametrize(("asked", "errors", "live_asked", "live_errors"), [
    (1000, 50, 9000, 200), (200, 30, 300, 5), (10, 10, 90, 0), (100, 60, 100, 15)])
def test_the_chance_of_errors_is_fishers(asked: int, errors: int, live_asked: int, live_errors: int) -> None:
    every = errors + live_errors
    exact = sum(math.comb(asked, number) * math.comb(live_asked, every - number)
                for number in range(errors, min(every, asked) + 1)) / math.comb(asked + live_asked, every)
    live = Side({60: live_asked - live_errors}, live_errors)
    found = comparison.find_worse(Side({60: asked - errors}, errors), live, 1)
    assert found and found.chance == pytest.approx(2 * exact, rel=1e-6)
