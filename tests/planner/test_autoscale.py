"""The autoscaler's decisions, as tables: what was counted, what was known, what it wishes."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.planner.autoscale import capacity, traffic
from lictor.planner.autoscale.capacity import Capacity, Load
from lictor.planner.autoscale.decide import Decision, Memory, Rules, Seen, Step, decide
from lictor.planner.autoscale.traffic import Slice

NOW = 10_000.0
RULES = Rules(0.25, least=1, most=10)
KNOWN = Capacity("1", Load(20.0, 2.0))


def slices(*, rate: float = 40.0, took_s: float = 0.1, slow: float = 0.0, errors: float = 0.0, seconds: int = 300,
           until: float = NOW) -> list[Slice]:
    """Steady traffic; `slow` and `errors` are shares."""
    number = round(rate * 10)
    late, failed = round(number * slow), round(number * errors)
    times = {traffic.bucket(took_s): number - late - failed, **({traffic.bucket(1.0): late} if late else {})}
    return [Slice(until - seconds + at, 10.0, times, errors=failed, begun=number,
                  busy_s=(number - late) * took_s + late) for at in range(0, seconds, 10)]


def seen(found: list[Slice] | None = None, **changes: Any) -> Seen:
    return Seen(NOW, 2, "1", found if found is not None else slices(), NOW - 1000)._replace(**changes)


def decided(found: list[Slice] | None = None, memory: Memory | None = None, **changes: Any) -> Decision:
    return decide(seen(found, **changes), RULES, memory or Memory(KNOWN))


@pytest.mark.parametrize(("found", "replicas", "memory", "wish"), [
    (slices(), 2, Memory(KNOWN), None),
    (slices(slow=0.2), 2, Memory(), 3),  # unknown: a half more, at least one
    (slices(slow=0.2), 1, Memory(), 2),
    (slices(slow=0.2), 6, Memory(), 9),
    (slices(slow=0.2, rate=64.0), 4, Memory(KNOWN), 6),  # what is in progress would ask for more, in vain
    (slices(slow=0.2, rate=200.0), 4, Memory(Capacity("1", Load(40.0, 30.0))), 7),  # load / (0.8 * known-good)
    (slices(slow=0.2, rate=400.0), 2, Memory(KNOWN), 4),  # at most 100 % a minute
    (slices(slow=0.2), 10, Memory(KNOWN), None),  # max
    (slices(slow=0.07), 2, Memory(KNOWN), 3),  # a little, but for so long that it is no chance
    (slices(slow=0.06, rate=4.0), 2, Memory(KNOWN), None),  # by chance, perhaps
])
def test_it_goes_up_when_too_many_answers_are_slow(found: list[Slice], replicas: int, memory: Memory,
                                                   wish: int | None) -> None:
    assert decided(found, memory, replicas=replicas).wish == wish


@pytest.mark.parametrize(("found", "says"), [
    ([], "no data"),
    (slices(until=NOW - 40), "no data"),
    (slices(rate=0.1), "too few"),
    (slices(errors=0.2, slow=0.3), "20% of the answers are errors"),
    (slices(errors=1.0), "100% of the answers are errors"),
])
def test_it_does_not_move_on_what_says_nothing(found: list[Slice], says: str) -> None:
    given = decided(found)
    assert given.wish is None and says in given.reason


def test_while_something_else_moves_it_waits_and_says_for_what() -> None:
    given = decided(slices(slow=0.5), quiet="a release is under way")
    assert (given.wish, given.status) == (None, "warning") and "No move: a release is under way." in given.reason


def test_only_answers_of_the_instances_of_now_count() -> None:
    before, after = slices(slow=0.9, until=NOW - 30), slices(seconds=30)
    assert decided([*before, *after], settled_at=NOW - 30).wish is None
    assert decided([*before, *after], settled_at=NOW - 1000).wish is not None


def proven(*needs: int) -> list[tuple[float, int]]:
    """Counts that were needed, one each 10 s, until now."""
    return [(NOW - 10 * (len(needs) - at), need) for at, need in enumerate(needs)]


@pytest.mark.parametrize(("needs", "replicas", "settled_s", "wish"), [
    ([1] * 31, 4, 100, 3),  # one at a time
    ([1] * 29, 4, 100, None),  # not for as long
    ([1] * 10 + [4] + [1] * 20, 4, 100, None),  # the highest of the while counts
    ([3] * 31, 4, 100, 3),
    ([1] * 31, 1, 100, None),  # min
    ([1] * 31, 4, 20, None),  # the last move is too young
])
def test_it_goes_down_when_fewer_would_have_done_for_long(needs: list[int], replicas: int, settled_s: float,
                                                          wish: int | None) -> None:
    memory = Memory(Capacity("1", Load(60.0, 9.0)), needs=proven(*needs))
    assert decided(slices(), memory, replicas=replicas, settled_at=NOW - settled_s).wish == wish


def test_it_never_goes_down_to_where_the_target_broke() -> None:
    broken = Capacity("1", Load(60.0, 9.0), Load(39.0, 4.0), NOW - 3600)
    assert decided(slices(), Memory(broken, needs=proven(*[1] * 31))).wish is None
    assert decided(slices(), Memory(capacity.of_release(broken, "1", NOW + 86400), needs=proven(*[1] * 31))).wish == 1


def test_without_any_request_it_goes_down_only_if_it_was_counted() -> None:
    none = [Slice(NOW - 300 + at, 10.0) for at in range(0, 300, 10)]
    memory = Memory(KNOWN, needs=proven(*[0] * 31))
    assert decided(none, memory).wish == 1
    assert decided([], memory).wish is None


@pytest.mark.parametrize(("rate", "slow", "useless", "wish"), [
    (40.0, 0.5, 2, None),  # as slow as before, and no more answers: the second step that helped nothing
    (60.0, 0.5, 0, 4),  # more answers
])
def test_after_two_steps_that_help_nothing_it_keeps_its_hands_off(rate: float, slow: float, useless: int,
                                                                  wish: int | None) -> None:
    step = Step(NOW - 100, 2, 1.0, 40.0)
    given = decided(slices(rate=rate, slow=slow), Memory(Capacity("1"), step=step, useless=1))
    assert (given.memory.useless, bool(given.wish)) == (useless, bool(wish))
    if wish is None:
        assert given.status == "critical" and "Scaling does not help" in given.reason


def test_another_release_is_learned_anew() -> None:
    given = decided(slices(), Memory(KNOWN, useless=2), release="2")
    assert given.memory.capacity.release == "2" and given.memory.useless == 0
    assert given.memory.capacity.held.rate == pytest.approx(20.0)


@given(st.lists(st.floats(0.0005, 200.0), min_size=traffic.FEWEST, max_size=400), st.sampled_from([0.5, 0.95, 0.99]),
       st.integers(1, 5))
def test_percentiles_of_added_nodes_are_within_a_bucket_of_those_of_all(times: list[float], share: float,
                                                                       nodes: int) -> None:
    shares = [times[node::nodes] for node in range(nodes)]
    counted = traffic.add(Slice(0.0, 10.0, _count(each)) for each in shares)
    exact = sorted(times)[max(math.ceil(share * len(times)) - 1, 0)]
    found = traffic.percentile(counted.times, share)
    assert found is not None and counted.seconds == 10.0
    assert found == pytest.approx(min(max(exact, traffic.LEAST_S), 122.0), rel=0.05)


def _count(times: list[float]) -> dict[int, int]:
    found: dict[int, int] = {}
    for each in times:
        found[traffic.bucket(each)] = found.get(traffic.bucket(each), 0) + 1
    return found


@given(st.integers(1, 20), st.floats(0.1, 500.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.integers(0, 3),
       st.sampled_from(["", "it drains"]), st.floats(0.0, 100.0), st.floats(0.0, 20.0))
def test_whatever_is_seen_the_wish_stays_within_its_bounds(replicas: int, rate: float, slow: float, errors: float,
                                                           useless: int, quiet: str, held: float,
                                                           progress: float) -> None:
    found = slices(rate=rate, slow=min(slow, 1 - errors), errors=errors)
    memory = Memory(Capacity("1", Load(held, progress)), useless=useless, needs=proven(*[1] * 31))
    made = decided(found, memory, replicas=replicas, quiet=quiet)
    if made.wish is None:
        return
    assert not quiet and made.wish != replicas
    assert RULES.least <= made.wish <= max(RULES.most, replicas) and replicas - 1 <= made.wish <= 2 * replicas
