"""The autoscaler under loads, in simulated time; the whole table is `python -m lab.autoscale`."""

import pytest

from lab.autoscale.__main__ import Totals, better, mean, total
from lab.autoscale.planners import Hpa, Ours
from lab.autoscale.shapes import SHAPES
from lab.autoscale.simulator import Outcome, Shape, run


def shape(name: str) -> Shape:
    return next(each for each in SHAPES if each.name == name)


def test_there_are_twenty_shapes_of_different_names() -> None:
    assert len({each.name for each in SHAPES}) == len(SHAPES) == 20


@pytest.mark.parametrize(("name", "moves", "least", "most", "late_s"), [
    ("steady", 0, 2, 2, 0),
    ("step up x4 and back", 4, 1, 4, 60),
    ("noise", 2, 2, 4, 40),
    ("no traffic", 1, 1, 2, 0),
    ("a slow database", 2, 2, 8, 400),  # two steps, then hands off
    ("errors only", 0, 2, 2, 0),
    ("few requests", 0, 2, 2, 0),
])
def test_it_moves_no_more_than_the_load_needs(name: str, moves: int, least: int, most: int, late_s: int) -> None:
    given = shape(name)
    planner = Ours(given)
    outcome = run(given, planner)
    assert outcome.moves <= moves, planner.reasons
    assert least <= min(outcome.counts) <= max(outcome.counts) <= most and outcome.late_s <= late_s


@pytest.mark.parametrize("seed", range(1, 4))
def test_what_held_before_a_step_up_is_enough_after_it(seed: int) -> None:
    """A load of 40 % of what one instance can answer, four times as much for ten minutes, and the same again."""
    given = Shape("x4", lambda now: 32.0 if 180 <= now < 870 else 8.0, service_s=0.2, first=1, target_s=0.6)
    planner = Ours(given)
    outcome = run(given, planner, seed)
    steady, down = outcome.counts[27:86], outcome.counts[87:147]
    assert max(outcome.counts) <= 3 and len({*steady}) == 1, planner.reasons
    assert down[-1] == 1 and outcome.moves <= 4, planner.reasons


def test_the_same_seed_gives_the_same_outcome() -> None:
    given = shape("steady")._replace(seconds=300)
    assert run(given, Hpa(given)) == run(given, Hpa(given))


def test_the_outcomes_of_each_planner_are_added() -> None:
    found = [[Outcome(1, 10.0, 5, []), Outcome(2, 9.0, 5, [])]] * 2
    assert total(found) == [Totals(2, 20.0, 10), Totals(4, 18.0, 10)]
    assert mean(found, 2) == [Totals(1, 10.0, 5), Totals(2, 9.0, 5)]


@pytest.mark.parametrize(("others", "expected"), [
    ([Totals(2, 20, 10), Totals(3, 30, 20)], []),  # equal, and worse
    ([Totals(4, 18, 10), Totals(3, 30, 20)], [("HPA", "instance min", False)]),
    ([Totals(4, 21, 10), Totals(3, 18, 20)], [("thresholds", "instance min", True)]),  # cheaper, as it is late
    ([Totals(1, 21, 9), Totals(3, 20, 20)], [("HPA", "moves", False), ("HPA", "late s", False)]),
])
def test_a_total_in_which_another_one_is_better_is_told(others: list[Totals],
                                                        expected: list[tuple[str, str, bool]]) -> None:
    assert better([Totals(2, 20, 10), *others]) == expected
