"""The autoscaler's decisions, as tables: what was counted, what was known, what it wishes and says."""

from typing import Any

import pytest
from msgspec.structs import replace

from lictor.planner.autoscale import capacity, chance, traffic
from lictor.planner.autoscale.capacity import Capacity, Load
from lictor.planner.autoscale.decide import Memory, Rules, Step
from lictor.planner.autoscale.seen import rules_of
from lictor.planner.autoscale.traffic import Slice
from lictor.spec.service_spec import parse_spec

from support.traffic_table import KNOWN, NOW, RULES, decided, known, slices

BROKEN = chance.sample(traffic.add(slices(slow=0.5, seconds=20)), 0.25)  # at a step up
BEHIND = [replace(each, begun=10 * each.begun) for each in slices(slow=0.2)]  # far more come than are answered


@pytest.mark.parametrize(("found", "replicas", "memory", "wish"), [
    (slices(), 2, known(), None),
    (slices(slow=0.2), 2, Memory(), 3),  # unknown: a half more, at least one
    (slices(slow=0.2), 1, Memory(), 2),
    (slices(slow=0.2), 6, Memory(), 9),
    (slices(slow=0.2, rate=64.0), 4, known(), 6),  # what is in progress would ask for more, in vain
    (slices(slow=0.2, rate=250.0), 5, known(Capacity("1", Load(40.0, 30.0))), 8),  # load / (0.8 * known-good)
    (slices(slow=0.2, rate=200.0), 4, known(Capacity("1", Load(20.0, 30.0))), 6),  # they answer more than known-good
    (BEHIND, 2, known(), 4),  # at most 100 % a minute
    (BEHIND, 1, known(), 3),  # or two more
    (BEHIND, 2, known(counts=[(NOW - 50, 1)]), 3),
    (BEHIND, 3, known(counts=[(NOW - 50, 1)]), None),
    (BEHIND, 4, known(counts=[(NOW - 50, 3)]), 6),
    (BEHIND, 6, known(counts=[(NOW - 50, 3)]), None),
    (BEHIND, 6, known(counts=[(NOW - 70, 3)]), 10),
    (slices(slow=0.2), 10, known(), None),  # max
    (slices(slow=0.07), 2, known(), 3),  # a little, but for so long that it is no chance
    (slices(slow=0.06, rate=4.0), 2, known(), None),  # by chance, perhaps
    (slices(slow=0.5, seconds=30, until=NOW - 20) + slices(seconds=20), 2, known(), None),  # it is over
])
def test_it_goes_up_when_too_many_answers_are_slow(found: list[Slice], replicas: int, memory: Memory,
                                                   wish: int | None) -> None:
    assert decided(found, memory, replicas=replicas).wish == wish


@pytest.mark.parametrize(("found", "status", "says"), [
    ([], "warning", "no data"),
    (slices(until=NOW - 40), "warning", "no data"),
    (slices(rate=0.1), "passing", "p95 unknown, as 6 answers are too few over 60 s; 0.1 requests/s"),
    (slices(errors=0.2, slow=0.3), "critical", "20% of the answers are errors"),
    (slices(errors=1.0), "critical", "100% of the answers are errors"),
    (slices(slow=0.3, seconds=280, until=NOW - 20) + slices(slow=0.3, errors=0.2, seconds=20), "critical",
     "20% of the answers are errors"),  # errors have only begun
    ([Slice(NOW - at, 10.0, unanswered=30, begun=30) for at in (20, 10)], "critical", "100% of the answers are errors"),
])
def test_it_does_not_move_on_what_says_nothing(found: list[Slice], status: str, says: str) -> None:
    given = decided(found)
    assert (given.wish, given.status) == (None, status) and says in given.reason


def test_it_says_what_it_sees_in_one_line() -> None:
    found = [replace(each, busy_s=128.0) for each in slices(rate=41.0, took_s=0.31)]
    assert decided(found, Memory(), replicas=3).reason == (
        "p95 309 ms of 250 ms over 60 s; 41 requests/s, 3 instances, 12.8 in progress; wants 5")
    assert decided(rules=RULES._replace(share=0.99), replicas=1).reason.startswith("p99 101 ms of 250 ms over 60 s; 40 "
                                                                                   "requests/s, 1 instance, 4.0 in")


def test_slots_that_are_told_some_seconds_later_are_not_less_load() -> None:
    for late_s in (1, 7, 15, 29):
        assert decided(slices(slow=0.2, until=NOW - late_s), proven()).wish == 3
        found = decided(slices(rate=120.0, until=NOW - late_s), proven(), replicas=4)
        assert found.wish == 3 and found.memory.peaks == [(NOW, 120.0)]


@pytest.mark.parametrize("why", [{"quiet": "a release is under way"}, {"manual": "a person wrote the count 2"}])
def test_while_something_else_decides_it_waits_and_says_for_what(why: dict[str, Any]) -> None:
    given = decided(slices(slow=0.5), **why)
    assert (given.wish, given.status) == (None, "warning") and f"No move: {[*why.values()][0]}." in given.reason


def test_it_learns_while_the_count_is_a_persons_and_not_while_something_moves() -> None:
    assert decided(slices(rate=60.0), manual="a person wrote it").memory.capacity.held.rate == pytest.approx(30.0)
    assert decided(slices(rate=60.0), quiet="an instance starts").memory.capacity == KNOWN


def test_while_instances_settle_the_status_is_that_of_the_answers() -> None:
    given = decided(slices(slow=0.5), settled_at=NOW + 5, quiet="an instance starts")
    assert (given.wish, given.status) == (None, "warning") and given.reason.startswith("p95 996 ms of 250 ms")
    assert decided(slices(), settled_at=NOW + 5, quiet="an instance starts").status == "passing"


def test_the_load_of_a_node_that_is_silent_is_in_doubt() -> None:
    given = decided(slices(rate=4.0), proven(), replicas=4, silent=["node-2"])
    assert (given.wish, given.status) == (None, "warning") and "nginx of node-2 counts no requests" in given.reason
    assert given.memory.unproven_at == NOW and given.memory.capacity == proven().capacity
    assert decided(slices(rate=4.0), given.memory, replicas=4).wish is None
    assert decided(slices(slow=0.5), silent=["node-2"]).wish is None


def test_only_answers_of_the_instances_of_now_count() -> None:
    before, after = slices(slow=0.9, until=NOW - 30), slices(seconds=30)
    assert decided([*before, *after], settled_at=NOW - 30).wish is None
    assert decided(slices(slow=0.9), settled_at=NOW - 1000).wish is not None


BEARS = Capacity("1", Load(60.0, 9.0))


def proven(bears: Capacity = BEARS, *, since: float = 300.0,
           most: float = 1.0, most_at: float = 100.0) -> Memory:
    """A memory by which fewer have been enough for a while, with the highest rate of that."""
    return known(bears, unproven_at=NOW - since, peaks=[(NOW - most_at, most)])


@pytest.mark.parametrize(("memory", "replicas", "settled_s", "wish"), [
    (proven(), 4, 100, 3),  # one at a time
    (proven(since=290), 4, 100, None),  # not for as long
    (proven(most=150.0), 4, 100, None),  # the highest load of the while counts: 150 / (0.8 * 60) = 3.1
    (proven(most=140.0), 4, 100, 3),
    (proven(most=150.0, most_at=310.0), 4, 100, 3),  # that is past
    (proven(), 1, 100, None),  # min
    (proven(), 4, 20, None),  # the last move is too young
    (proven(Capacity("1", Load(5.0, 9.0))), 4, 100, None),  # nothing is known of such a load: that would be a trial
    (proven(Capacity("1")), 4, 100, None),
    (proven(Capacity("1", Load(60.0, 9.0), Load(13.0, 4.0), NOW - 3600)), 4, 100, None),  # 40 / 3 is 13.3
    (proven(Capacity("1", Load(60.0, 9.0), Load(14.0, 4.0), NOW - 3600)), 4, 100, 3),
    (proven(Capacity("1", Load(60.0, 9.0), Load(13.0, 4.0), NOW - 86401)), 4, 100, 3),  # longer than a day ago
    (replace(proven(), decided_at=NOW - 61), 4, 100, None),  # nobody has looked for a while
])
def test_it_goes_down_when_fewer_would_have_done_for_long(memory: Memory, replicas: int, settled_s: float,
                                                          wish: int | None) -> None:
    assert decided(slices(), memory, replicas=replicas, settled_at=NOW - settled_s).wish == wish


def test_it_goes_up_before_the_load_breaks_the_target_again() -> None:
    bears = Capacity("1", Load(40.0, 9.0), Load(50.0, 20.0), NOW - 3600)
    given = decided(slices(rate=92.0), known(bears))
    assert (given.wish, given.status) == (3, "passing")
    assert given.reason.endswith("wants 3, as the target held at 46 requests/s an instance, and broke at 50 requests/s "
                                 "an instance")
    assert decided(slices(rate=88.0), known(bears)).wish is None


def test_a_load_that_holds_where_it_broke_before_was_not_why() -> None:
    bears = Capacity("1", Load(20.0, 2.0), Load(30.0, 20.0), NOW - 3600)
    learned = decided(slices(rate=60.0), known(bears), quiet="", manual="x").memory.capacity
    assert learned.held.rate == pytest.approx(30.0) and learned.broke_at == 0.0


def test_a_short_disturbance_at_a_load_that_is_known_to_be_good_teaches_nothing() -> None:
    bears = Capacity("1", Load(40.0, 9.0))
    up = decided(slices(slow=0.5), known(bears))
    assert up.wish == 3 and up.memory.capacity == bears and not up.memory.steps[0].is_explained
    later = decided(slices(), up.memory, replicas=3, settled_at=NOW - 90).memory
    assert later.capacity == bears and later.steps == []


@pytest.mark.parametrize(("rates", "broke"), [
    ((80.0,), 0.0),  # it rose within the slot, to nobody knows what
    ((80.0, 160.0), 0.0),  # so it did
    ((80.0, 160.0, 160.0), 80.0),
    ((160.0, 160.0), 80.0),
    ((44.0,), 22.0),  # a wave, or chance
])
def test_a_slot_in_which_the_load_rose_does_not_tell_what_broke_the_target(rates: tuple[float, ...],
                                                                           broke: float) -> None:
    found = slices(seconds=300 - 10 * len(rates), until=NOW - 10 * len(rates))
    for number, rate in enumerate(rates):
        found += slices(rate=rate, slow=0.5, seconds=10, until=NOW - 10 * (len(rates) - 1 - number))
    given = decided(found, known(Capacity("1", Load(15.0, 9.0))))
    assert given.wish and given.memory.capacity.broke.rate == broke


def test_an_instance_that_bears_less_than_before_is_learned_if_another_one_mends_it_twice() -> None:
    """A backup that slows all down for a minute, once an hour, is mended by nobody: it would drive the count to max."""
    step = Step(NOW - 60, 2, 3, 1.0, 40.0, Load(20.0, 9.0), is_explained=False, sample=BROKEN)
    bears = Capacity("1", Load(40.0, 9.0))
    for before in (0.0, NOW - 3600):
        once = decided(slices(), known(bears, steps=[step], mended_at=before), replicas=3, settled_at=NOW - 40).memory
        assert (once.capacity, once.mended_at) == (bears, NOW)
    twice = known(bears, steps=[step], mended_at=NOW - 600)
    learned = decided(slices(), twice, replicas=3, settled_at=NOW - 40).memory.capacity
    assert learned.held.rate == pytest.approx(40 / 3) and learned.broke.rate == 20.0
    gone = decided(slices(rate=20.0), twice, replicas=3, settled_at=NOW - 40).memory.capacity  # as the load itself is
    assert gone == bears


@pytest.mark.parametrize(("begun", "busy_s", "held", "shrinks"), [
    (400, 320.0, 40.0, True),  # a tenth less than the 364 of before, and enough instances for the load
    (400, 320.0, 15.0, False),  # 40 / (0.8 * 15) is 3.3 instances
    (400, 270.0, 15.0, True),  # a quarter less
    (350, 360.0, 15.0, True),  # 400 answers, and 350 that came
    (370, 360.0, 15.0, False),
    (350, 365.0, 40.0, False),  # it does not shrink
])
def test_a_backlog_that_shrinks_needs_no_more_instances(begun: int, busy_s: float, held: float, shrinks: bool) -> None:
    last = replace(slices(slow=0.9, seconds=10)[0], begun=begun, busy_s=busy_s)
    given = decided([*slices(slow=0.9, seconds=290, until=NOW - 10), last], known(Capacity("1", Load(held, 9.0))))
    assert given.reason.endswith("No move: the backlog shrinks.") is shrinks and (given.wish is None) is shrinks


def test_without_any_request_it_goes_down_only_if_it_was_counted() -> None:
    none = [Slice(NOW - 300 + at, 10.0) for at in range(0, 300, 10)]
    memory = known(Capacity("1"), unproven_at=NOW - 300, peaks=[(NOW - 300, 0.0)])
    assert decided(none, memory).wish == 1
    assert decided(none, memory, replicas=1).wish is None
    assert decided([], memory).wish is None


@pytest.mark.parametrize(("rate", "slow", "wish"), [
    (40.0, 0.5, None),  # as slow as before, and no more answers: two steps that helped nothing
    (60.0, 0.5, 6),  # more answers
])
def test_after_two_steps_that_help_nothing_it_keeps_its_hands_off(rate: float, slow: float, wish: int | None) -> None:
    steps = [Step(NOW - 200, 2, 3, 1.0, 40.0, sample=BROKEN), Step(NOW - 100, 3, 4, 1.0, 40.0, sample=BROKEN)]
    found = [replace(each, connect_s=0.4, instances={"a": (100, 60.0), "b": (300, 150.0)})
             for each in slices(rate=rate, slow=slow)]
    given = decided(found, known(Capacity("1"), steps=steps), replicas=4)
    assert given.wish == wish
    if wish is None:
        assert given.status == "critical" and given.reason.endswith(
            "Scaling does not help: 2 steps up, from 2 to 4 instances, brought p95 from 1000 ms to 996 ms, and answers "
            "from 40 to 40/s (errors 0.0%, connecting takes 1 ms, instances take 500 ms to 600 ms on average). "
            "Look at what the instances wait for.")
        assert given.memory.capacity.broke_at == 0.0  # load was not why
        assert decided(slices(), given.memory, replicas=4, settled_at=NOW - 60).memory.steps == []  # it is well again


@pytest.mark.parametrize("count", [1, 2])
def test_a_step_has_its_time_before_it_is_judged_or_followed(count: int) -> None:
    steps = [Step(NOW - 60, 2, 3, 1.0, 40.0), Step(NOW - 30, 3, 4, 1.0, 40.0)][-count:]
    given = decided(slices(slow=0.5), known(Capacity("1"), steps=steps), replicas=4, settled_at=NOW - 10)
    assert (given.wish, given.status) == (None, "warning") and "is not known yet" in given.reason


def test_another_release_is_learned_anew() -> None:
    steps = [Step(NOW - 60, 2, 3, 1.0, 40.0)] * 2
    given = decided(slices(), known(steps=steps), release="2")
    assert given.memory.capacity.release == "2" and given.memory.steps == []
    assert given.memory.capacity.held.rate == pytest.approx(20.0)


def test_a_memory_that_is_lost_is_learned_again() -> None:
    given = decided(slices(), Memory())
    assert given.wish is None and given.memory.capacity.held.rate == pytest.approx(20.0)
    assert given.memory.capacity.held.in_progress == pytest.approx(2.0)


def test_clients_that_go_away_before_the_answer_hide_how_long_it_takes() -> None:
    found = [replace(each, cut=100) for each in slices(rate=60.0)]
    assert decided(found).memory.capacity == KNOWN


@pytest.mark.parametrize(("spec", "rules"), [
    ({"p95": "250ms"}, Rules(0.25, 0.95, 300.0, 1, 10, 60.0)),
    ({"p50": "1s", "window": "2m", "down_after": "10m"}, Rules(1.0, 0.5, 600.0, 1, 10, 120.0)),
    (None, None),
])
def test_the_rules_are_those_of_the_spec(spec: dict[str, str] | None, rules: Rules | None) -> None:
    table = {"name": "books", "image": "books:1", "port": 80, "route": {"path": "/b"}}
    assert rules_of(parse_spec({**table, **({"autoscale": spec} if spec else {})}, "")) == rules


def test_what_broke_since_steps_that_helped_nothing_is_forgotten() -> None:
    bears = Capacity("1", Load(20.0), Load(30.0), 100.0)
    assert capacity.forget_broke(bears, 50.0).broke_at == 0.0
    assert capacity.forget_broke(bears, 150.0) == bears
