"""What chance does to the autoscaler: services that are nearly within their target, few answers, and slowness that has
nothing to do with the load."""

import math
import random

import pytest

from lictor.planner.autoscale import chance, traffic
from lictor.planner.autoscale.capacity import Capacity
from lictor.planner.autoscale.chance import Sample
from lictor.planner.autoscale.decide import Memory, Rules, Seen, Step, decide
from lictor.planner.autoscale.traffic import Slice

from support.traffic_table import NOW, RULES, decided, known, slices

START_S = 10.0


def counts_of(rate: float, slow: float, share: float, *, hours: float, seed: int = 7) -> tuple[list[int], set[str]]:
    """Let a service run, of whose answers a share is slow whatever its load; returns its counts, and what was said."""
    dice, rules = random.Random(seed), Rules(0.25, share, least=1, most=10)
    now, count, settled_at, memory = NOW, 2, NOW - 100, Memory()
    found, counts, said = list[Slice](), list[int](), set[str]()
    for _ in range(int(hours * 360)):
        number = round(max(dice.gauss(rate * 10, math.sqrt(rate * 10)), 0))
        late = sum(dice.random() < slow for _ in range(number))
        times = {key: each for key, each in ((95, number - late), (142, late)) if each}
        found = [*found[-35:], Slice(now, 10.0, times, begun=number, busy_s=0.1 * number + 0.9 * late)]
        now += 10
        made = decide(Seen(now, count, "1", found, settled_at, "x starts" if settled_at > now else ""), rules, memory)
        memory = made.memory
        said.add(f"{made.status} {made.reason.rpartition('. ')[2]}")
        if made.wish is not None:
            settled_at, count = now + (START_S if made.wish > count else 0), made.wish
        counts.append(count)
    return counts, said


def moves(counts: list[int]) -> int:
    return sum(before != after for before, after in zip(counts, counts[1:], strict=False))


@pytest.mark.parametrize(("rate", "slow", "share"), [
    (40.0, 0.04, 0.95), (20.0, 0.045, 0.95), (5.0, 0.04, 0.95), (1.5, 0.03, 0.95), (0.5, 0.02, 0.95),
    (0.83, 0.005, 0.99), (5.0, 0.006, 0.99), (2.0, 0.4, 0.5), (10.0, 0.0, 0.95),
])
def test_within_the_target_chance_moves_next_to_nothing(rate: float, slow: float, share: float) -> None:
    counts, _ = counts_of(rate, slow, share, hours=2)
    assert max(counts) <= 3 and moves(counts) <= 1  # there are 720 looks at three windows


@pytest.mark.parametrize(("rate", "slow", "share"), [
    (40.0, 0.06, 0.95),  # one slow endpoint
    (10.0, 0.06, 0.95), (2.0, 0.06, 0.95), (40.0, 0.08, 0.95), (10.0, 0.1, 0.95), (10.0, 0.3, 0.95),
    (10.0, 0.02, 0.99), (40.0, 0.05, 0.95), (0.83, 0.01, 0.99), (5.0, 0.55, 0.5)])
def test_slowness_that_is_not_of_the_load_takes_two_steps_and_no_more(rate: float, slow: float, share: float) -> None:
    counts, _ = counts_of(rate, slow, share, hours=6)
    assert max(counts) <= 5  # of 10: a half more of 2, and of 3
    assert moves(counts) <= 4


def test_what_is_above_the_target_and_left_alone_is_told_why() -> None:
    _, said = counts_of(10.0, 0.06, 0.95, hours=2)
    assert "warning No move: so few answers are late that it may be chance." in said
    assert "critical Look at what the instances wait for." in said


@pytest.mark.parametrize(("late", "answers", "share", "too_many"), [
    (4, 20, 0.95, False), (5, 20, 0.95, False), (6, 20, 0.95, True), (20, 20, 0.95, True),
    (3, 50, 0.99, False), (4, 50, 0.99, False), (5, 50, 0.99, True),  # as 0.5 are expected
    (17, 20, 0.5, False), (18, 20, 0.5, True),
    (11, 100, 0.95, False), (13, 100, 0.95, False), (14, 100, 0.95, True),
    (25, 500, 0.95, False), (500, 10_000, 0.95, False), (560, 10_000, 0.95, False), (570, 10_000, 0.95, True),
    (0, 20, 0.95, False), (0, 0, 0.95, False)])
def test_too_many_are_more_than_chance_explains(late: int, answers: int, share: float, too_many: bool) -> None:
    assert chance.are_too_many(late, answers, share) is too_many


def sample(answers: int, late: int, level: float = 100.0, spread: float = 4.0) -> Sample:
    return Sample(20.0, answers, answers, late, level, spread)


@pytest.mark.parametrize(("after", "before", "faster"), [
    (sample(600, 30), sample(600, 300), True),
    (sample(600, 36), sample(100, 12), False),  # a slow endpoint after a bad minute
    (sample(600, 290), sample(600, 300), False),
    (sample(600, 600, 95.0), sample(600, 600, 100.0), True),  # all are late still, and a fifth faster
    (sample(600, 600, 99.0), sample(600, 600, 100.0), False),  # by a twentieth
    (sample(20, 0, 90.0, 400.0), sample(20, 6, 100.0, 400.0), False),  # too few
    (sample(0, 0), sample(600, 300), False), (sample(600, 0), Sample(), False)])
def test_answers_are_faster_if_chance_does_not_explain_it(after: Sample, before: Sample, faster: bool) -> None:
    assert chance.are_faster(after, before) is faster


@pytest.mark.parametrize(("after", "after_s", "before", "before_s", "by", "more"), [
    (3600, 60.0, 800, 20.0, 1.25, True), (3000, 60.0, 800, 20.0, 1.25, False), (70, 60.0, 15, 20.0, 1.25, False),
    (100, 0.0, 10, 10.0, 1.0, False), (100, 10.0, 10, 0.0, 1.0, False)])
def test_more_came_if_chance_does_not_explain_it(after: int, after_s: float, before: int, before_s: float, by: float,
                                                 more: bool) -> None:
    assert chance.is_more(after, after_s, before, before_s, by) is more


def test_while_the_percentile_is_above_the_target_nothing_is_proven() -> None:
    memory = known(unproven_at=NOW - 4000, peaks=[(NOW - 100, 1.0)])
    found = slices(slow=0.06, rate=5.0)  # which may be chance
    made = decided(found, memory, replicas=4)
    assert (made.wish, made.status, made.memory.unproven_at) == (None, "warning", NOW)
    assert made.reason.endswith("No move: so few answers are late that it may be chance.")


@pytest.mark.parametrize(("found", "settled_s", "says"), [
    (slices(slow=0.5, seconds=50, until=NOW - 10) + slices(seconds=10), 10, "since 2 instances serve, it is within"),
    (slices(slow=0.5, seconds=40, until=NOW - 20) + slices(seconds=20), 1000, "the newest answers are within"),
    (slices(slow=0.5, rate=1.0), 15, "since 2 instances serve, too few answers came"),
    (slices(slow=0.5, seconds=40, until=NOW - 20) + slices(rate=0.0, seconds=20), 1000, "far fewer requests come"),
])
def test_a_window_that_is_above_the_target_and_no_breach_is_explained(found: list[Slice], settled_s: float,
                                                                      says: str) -> None:
    made = decided(found, settled_at=NOW - settled_s)
    assert (made.wish, made.status) == (None, "warning") and says in made.reason


def test_two_steps_are_two_although_the_load_went_and_came_between_them() -> None:
    """Seen on a real node: the second step's window held a pause, so that the load after it seemed to have grown."""
    before, after = slices(slow=0.2, rate=9.5, seconds=20), slices(slow=0.2, rate=1.3, seconds=50)
    steps = [Step(NOW - 200, 1, 2, 2.0, 9.5, sample=chance.sample(traffic.add(before), 0.25)),
             Step(NOW - 60, 2, 3, 2.0, 1.4, sample=chance.sample(traffic.add(after), 0.25))]
    made = decided(slices(slow=0.2, rate=7.5, seconds=30), known(Capacity("1"), steps=steps), replicas=3,
                   settled_at=NOW - 40)
    assert (made.wish, made.status) == (None, "critical") and "Scaling does not help" in made.reason


@pytest.mark.parametrize(("left", "wish", "status"), [
    ({traffic.bucket(5.0): 20}, 3, "warning"),  # who waited for 5 s has had no answer within 250 ms
    ({traffic.bucket(0.2): 20}, None, "passing"),  # they left before that was over
    ({}, None, "passing")])
def test_clients_that_give_up_after_the_target_are_late_answers(left: dict[int, int], wish: int | None,
                                                                status: str) -> None:
    found = [Slice(each.at, 10.0, {traffic.bucket(0.1): 40}, cut=sum(left.values()), begun=60, left=left)
             for each in slices()]
    made = decided(found)
    assert (made.wish, made.status) == (wish, status)


def test_requests_that_wait_and_are_not_answered_are_no_good_news() -> None:
    hung = [Slice(NOW - at, 10.0, begun=100, busy_s=(70.0 - at) * 100) for at in range(60, 0, -10)]
    made = decided(hung)
    assert (made.wish, made.status) == (None, "warning")
    assert made.reason.endswith("No move: 548 requests wait for longer than the target, and too few were answered to "
                                "decide on.")
    few = [Slice(NOW - at, 10.0, {95: 1}, begun=1, busy_s=0.1) for at in range(60, 0, -10)]
    assert decided(few).status == "passing"


def test_errors_are_counted_in_words_where_they_are_too_few_for_a_share() -> None:
    few = [Slice(NOW - at, 10.0, errors=2, begun=2) for at in range(60, 0, -10)]
    assert decided(few).reason == ("p95 unknown, as 0 answers are too few over 60 s; 0.2 requests/s, 2 instances, 0.0 "
                                   "in progress, 12 errors. No move: that is too little to decide on.")


def test_errors_do_not_hide_what_else_is_the_matter() -> None:
    assert decided(slices(errors=0.5), quiet="books-1 is paused").reason.endswith(
        "50% of the answers are errors. No move: books-1 is paused, and more instances do not mend errors.")


@pytest.mark.parametrize(("every_s", "for_s"), [(3600, 60), (3600, 120), (7200, 30)])
def test_a_disturbance_that_passes_by_itself_does_not_drive_the_count_to_max(every_s: int, for_s: int) -> None:
    dice, rules = random.Random(3), Rules(0.25, least=1, most=20)
    now, count, settled_at, memory, found, counts = NOW, 2, NOW - 100, Memory(), list[Slice](), list[int]()
    for number in range(8 * 360):
        came = round(dice.gauss(400, 20))
        late = came // 2 if number * 10 % every_s >= every_s - for_s else 0
        found = [*found[-35:], Slice(now, 10.0, {95: came - late, 142: late}, begun=came, busy_s=0.1 * came + late)]
        now += 10
        made = decide(Seen(now, count, "1", found, settled_at, "x starts" if settled_at > now else ""), rules, memory)
        memory = made.memory
        if made.wish is not None:
            settled_at, count = now + (START_S if made.wish > count else 0), made.wish
        counts.append(count)
    assert max(counts) <= 6


def test_where_no_instance_is_desired_errors_are_no_alarm() -> None:
    made = decided(slices(errors=1.0), replicas=0, quiet="no instance is desired")
    assert (made.wish, made.status, made.reason) == (None, "passing", "No move: no instance is desired.")


def test_what_was_learned_for_another_target_is_forgotten() -> None:
    memory = decided(memory=known(unproven_at=NOW - 4000, peaks=[(NOW - 100, 1.0)]), replicas=4).memory
    assert memory.target == RULES.target == "p95 0.25" and memory.capacity.held.rate
    for rules in (RULES._replace(target_s=0.1), RULES._replace(share=0.99)):
        made = decided(slices(took_s=0.05, rate=8.0), memory, rules, replicas=4)
        assert made.wish is None and made.memory.capacity.held.rate == pytest.approx(2.0)
        assert made.memory.unproven_at == NOW
    kept = decided(slices(rate=8.0), memory, RULES._replace(window_s=120.0), replicas=4).memory
    assert kept.capacity.held == memory.capacity.held
