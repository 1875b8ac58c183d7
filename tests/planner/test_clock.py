"""A clock that is set: no wait is over at once, and none is endless. One table for all waits, in both directions."""

from typing import Any

import pytest
from msgspec.structs import replace

from lictor.model import Clock
from lictor.planner import breaker, next_state, observation_codec, plan, self_preservation
from lictor.planner.observation import Observation, Reservation, drain_text
from lictor.planner.service_state import Breaker, Failures, LastOrder, Rollout

from support.scene import NOW, scene, state_of

HOUR = 3600.0
SETS = (2 * HOUR, -3 * HOUR, 100 * HOUR, -100 * HOUR)


@pytest.mark.parametrize(("began_at", "clock", "since"), [
    (90.0, Clock(100.0), 90.0), (110.0, Clock(100.0), 100.0), (0.0, Clock(100.0, 50.0), 0.0),
    (40.0, Clock(100.0, 50.0), 50.0), (60.0, Clock(100.0, 50.0), 60.0),
    (104.0, Clock(100.0, 50.0), 100.0),  # another node's clock, which is a little ahead
    (106.0, Clock(100.0, 50.0, -70.0), 50.0),  # noted before the clock was set back
    (-5.0, Clock(100.0, 50.0), 100.0), (-5.0, Clock(100.0, 50.0, -70.0), 100.0), (float("nan"), Clock(100.0), 100.0),
    (float("-inf"), Clock(100.0), 100.0), (float("inf"), Clock(100.0, 50.0, 70.0), 100.0),  # no clock's
    (106.0, Clock(100.0, 50.0), 100.0), (7300.0, Clock(100.0, 50.0, 70.0), 100.0),  # another node's: far ahead
])
def test_a_wait_counts_from_its_begin_or_from_when_the_clock_was_set(began_at: float, clock: Clock,
                                                                     since: float) -> None:
    assert clock.since(began_at) == since and clock.age_s(began_at) == clock.now - since


@pytest.mark.parametrize(("at", "clock", "is_late"), [
    (100.0, Clock(100.0), False), (30.0, Clock(100.0), True), (104.0, Clock(100.0), False),
    (30.0, Clock(100.0, 50.0), False),  # the clock was set since
    (160.0, Clock(100.0, 50.0, -70.0), False), (160.0, Clock(120.0, 50.0, -70.0), True),  # it was set back since
    (160.0, Clock(100.0), True), (1e308, Clock(100.0), True), (-5.0, Clock(100.0), True),
    (float("nan"), Clock(100.0), True), (0.0, Clock(100.0), True)])
def test_a_sign_of_life_of_no_time_of_this_clock_is_none(at: float, clock: Clock, is_late: bool) -> None:
    assert clock.is_late(at, 60.0) is is_late


@pytest.mark.parametrize("mark", [0.0, NOW + 10 * 365 * 24 * HOUR, NOW + 2 * HOUR])
def test_a_drain_that_no_clock_here_began_is_marked_anew(mark: float) -> None:
    seen = drained(scene(1, "passing", "passing"))
    marked = seen.instances[0]._replace(maintenance=drain_text(mark, "scale"))
    assert [each.kind for each in plan.plan(seen._replace(instances=(marked, seen.instances[1])))] == ["drain"]


@pytest.mark.parametrize(("at", "clock", "translated"), [
    (40.0, Clock(100.0), 40.0), (40.0, Clock(100.0, 50.0, 7.0), 47.0), (60.0, Clock(100.0, 50.0, 7.0), 60.0),
    (150.0, Clock(100.0, 50.0, -70.0), 80.0), (60.0, Clock(100.0, 50.0, -70.0), 60.0),
    (40.0, Clock(100.0, 50.0), 40.0)])  # by how much is unknown
def test_a_time_of_before_the_set_is_translated(at: float, clock: Clock, translated: float) -> None:
    assert clock.translated(at) == translated


ROLLING = {"release": {"strategy": "rolling", "healthy_for": "20s", "deadline": "60s"}}
CRITICAL = {"critical_since": {"c1": NOW - 5}}
BUDGET_SPENT = tuple(Reservation("books", f"x{number}", NOW - 30) for number in range(9))


def drained(seen: Observation) -> Observation:
    """A drain of 5 s so far, with a request in flight."""
    marked = seen.instances[0]._replace(maintenance=drain_text(NOW - 5, "scale"))
    return seen._replace(instances=(marked, *seen.instances[1:]), in_flight={"c1": 1})


def begun(seen: Observation) -> Observation:
    """A release that began 5 s ago, of which no instance is there yet."""
    release = replace(seen.state.release, rollout=Rollout(seen.desired.release, NOW - 5, moved_at=NOW - 5),
                      live_release="live", live={**(seen.state.release.live or {}), "image": "books:0"})
    containers = tuple(each._replace(release="live") for each in seen.containers)
    return seen._replace(containers=containers).with_state(release=release)


def young(seen: Observation) -> Observation:
    return seen._replace(containers=tuple(each._replace(started_at=NOW - 5) for each in seen.containers)
                         ).with_state(healing=replace(seen.state.healing, passed_once=[]))


WAITS: dict[str, tuple[Observation, str, float]] = {  # what is observed, the act that it waits for, how long at most
    "grace": (scene(1, "critical", state=CRITICAL), "start", 10),
    "start-up": (young(scene(1, "critical")), "start", 70),
    "surplus": (scene(1, "passing", "passing", state={"surplus_since": NOW - 5}), "drain", 60),
    "drain": (drained(scene(1, "passing", "passing")), "remove", 30),
    "back-off": (scene(1, state={"failures": {"1": Failures(9, NOW - 5)}}), "start", 300),
    "breaker": (scene(2, "unhealthy", "passing", state={"breaker": Breaker(NOW - 5, "x")}), "start", 1800),
    "trust": (scene(1, "unhealthy", state={"trusted_since": NOW - 5}), "start", 10),
}


def plan_at(seen: Observation, by_s: float, later_s: float) -> tuple[Observation, tuple[Any, ...]]:
    """Plan on what was observed, with a clock that is set right after it, and then `later_s` pass. The timer looks
    each 15 s, and each look keeps what it learns."""
    set_at, state, actions = NOW + by_s, seen.state, tuple[Any, ...]()
    for passed_s in (*range(0, int(later_s), 15), later_s):
        now = seen._replace(now=set_at + passed_s, state=state, clock_set_at=set_at, clock_set_by=by_s)
        state, actions = next_state.step(now)
        seen = now._replace(state=state)
    return seen, actions


@pytest.mark.parametrize("by_s", SETS)
@pytest.mark.parametrize("name", WAITS)
def test_no_wait_is_over_at_once_and_none_is_endless(name: str, by_s: float) -> None:
    seen, act, longest_s = WAITS[name]
    assert act not in [each.kind for each in next_state.step(seen)[1]]  # or the table says nothing
    assert act not in [each.kind for each in plan_at(seen, by_s, 0)[1]]
    assert act not in [each.kind for each in plan_at(seen, by_s, 0.7 * longest_s)[1]]
    assert act in [each.kind for each in plan_at(seen, by_s, longest_s + 1)[1]]


@pytest.mark.parametrize("by_s", SETS)
def test_a_release_fails_neither_by_the_clock_nor_never(by_s: float) -> None:
    seen = begun(scene(1, "passing", spec=ROLLING, keys={"image": b"books:2"}))
    for later_s, fails in ((0, False), (54, False), (61, True)):
        state = plan_at(seen, by_s, later_s)[0].state.release
        assert (state.failed is not None) is fails


@pytest.mark.parametrize("ahead_s", [10.0, 2 * HOUR])
def test_what_a_node_began_whose_clock_is_ahead_is_not_over_for_this_one(ahead_s: float) -> None:
    seen = begun(scene(1, "passing", spec=ROLLING, keys={"image": b"books:2"}))
    rollout = Rollout(seen.desired.release, NOW + ahead_s, moved_at=NOW + ahead_s)
    seen = seen.with_state(release=replace(seen.state.release, rollout=rollout))._replace(clock_set_at=NOW - HOUR)
    for now, fails in ((NOW, False), (NOW + 61, True)):
        state = next_state.step(seen._replace(now=now))[0]
        assert (state.release.failed is not None) is fails
        seen = seen._replace(state=state)


@pytest.mark.parametrize("by_s", SETS)
def test_a_stopped_instance_that_a_release_is_to_start_again_is_no_failed_one(by_s: float) -> None:
    spec = {"release": {"strategy": "blue-green"}}
    seen = begun(scene(1, "passing", spec=spec, keys={"image": b"books:2"}))
    live = seen.containers[0]._replace(color="blue")
    kept = live._replace(id="k1", name="books-green-1", color="green", status="exited", exit_code=0,
                         release=seen.desired.release, started_at=NOW - HOUR)
    blue = seen.instances[0]._replace(service="books-blue")
    seen = seen._replace(containers=(live, kept), instances=(blue,))
    after, actions = plan_at(seen, by_s, 0)
    assert after.state.release.failed is None and [each.kind for each in actions] == ["switch", "start"]


@pytest.mark.parametrize("by_s", SETS)
def test_a_budget_is_neither_refilled_nor_spent_by_the_clock(by_s: float) -> None:
    """Nine of the last minutes still count; nine of hours ago still do not."""
    seen = scene(3, "unhealthy", "passing", "passing", reservations=BUDGET_SPENT)
    now = seen._replace(now=NOW + by_s, clock_set_at=NOW + by_s, clock_set_by=by_s)
    assert breaker.obstacle(now) is not None
    long_ago = tuple(replace(each, at=NOW - HOUR) for each in BUDGET_SPENT)
    assert breaker.obstacle(now._replace(reservations=long_ago)) is None
    kept = breaker.decode(breaker.encode(BUDGET_SPENT, now.now))
    assert kept == (BUDGET_SPENT if abs(by_s) < 24 * HOUR else ())


def test_services_that_the_clock_alone_makes_ill_since_one_moment_are_no_sign_of_a_failing_observer() -> None:
    seen = scene(1, "unhealthy")._replace(now=NOW + HOUR, clock_set_at=NOW + HOUR)
    others = {name: state_of(spec={"node": "node-1"}, critical_since={"x": NOW + HOUR}) for name in ("carts", "users")}
    assert self_preservation.failing_too(seen, others, "node-1") == ()
    assert self_preservation.failing_too(seen._replace(now=NOW, clock_set_at=0.0), {
        name: state_of(spec={"node": "node-1"}, critical_since={"x": NOW - 20}) for name in others}, "node-1") == (
        "carts", "users")


@pytest.mark.parametrize("by_s", SETS)
def test_an_order_is_given_again_after_its_deadline_by_whichever_clock(by_s: float) -> None:
    ordered = state_of(last_orders={"": LastOrder(1, "r", NOW - 5)}, switched_at=NOW - 5)
    learnt = next_state.advance(scene(1, "passing")._replace(
        now=NOW + by_s, clock_set_at=NOW + by_s, clock_set_by=by_s, state=ordered)).release
    assert (learnt.last_orders[""].at, learnt.switched_at) == (NOW + by_s, NOW + by_s)


def test_a_record_decides_the_same_under_a_clock_that_was_set() -> None:
    seen, actions = plan_at(WAITS["drain"][0], 2 * HOUR, 5)
    assert plan.plan(observation_codec.load(observation_codec.export(seen))) == actions
