"""What holds of the autoscaler's decisions from any observation whatever."""

import math

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.planner.autoscale import learning, traffic
from lictor.planner.autoscale.capacity import Capacity, Load
from lictor.planner.autoscale.decide import Decision, Memory, Rules, Seen, Step, decide
from lictor.planner.autoscale.memory import UP_WITHIN_S, moved
from lictor.planner.autoscale.traffic import Slice

NOW = 10_000.0
COUNTS = st.integers(0, 500)
FEW = st.one_of(st.integers(1, 12), st.integers(1, 12), COUNTS)
AMOUNTS = st.one_of(st.just(0.0), st.floats(1e-9, 1e9), st.floats(1.0, 100.0))
TIMES = st.one_of(st.just(NOW - 50), st.just(0.0), st.floats(NOW - 400, NOW + 400), st.floats(0.0, 1e11))
LOADS = st.builds(Load, st.one_of(st.floats(50.0, 500.0), AMOUNTS), AMOUNTS)
WILD = st.lists(st.builds(
    Slice, st.integers(990, 1003).map(lambda each: each * 10.0), st.just(10.0),
    st.dictionaries(st.integers(0, traffic.LAST_BUCKET), st.integers(0, 10**6), max_size=2), st.integers(0, 1000),
    busy_s=AMOUNTS, begun=st.integers(0, 10**6)), max_size=4)
PLAIN = st.builds(lambda last, parts: [_slice(NOW - 10 * at - last, *part) for at, part in enumerate(parts, start=1)],
                  st.sampled_from([0, 0, 0, 0, 10, 30]), st.lists(st.tuples(
                      st.sampled_from([0, 10, 200, 2000, 2000]), st.sampled_from([0.0, 0.0, 0.1, 0.9]),
                      st.sampled_from([0.0] * 8 + [0.05, 0.3])), min_size=3, max_size=7))


def _slice(at: float, begun: int, slow: float, failed: float) -> Slice:
    late, errors = round(begun * slow), round(begun * failed * (1 - slow))
    return Slice(at, 10.0, {60: begun - late - errors, 150: late}, errors, begun=begun, busy_s=begun * (0.1 + slow))


STEPS = st.builds(Step, TIMES, COUNTS, COUNTS, AMOUNTS, AMOUNTS, LOADS, st.booleans())
PEAKS = st.lists(st.tuples(TIMES, st.one_of(st.floats(0.0, 50.0), AMOUNTS)), max_size=2)
MEMORIES = st.builds(
    Memory, st.builds(Capacity, st.sampled_from(["1", "1", "1", "2"]), LOADS, LOADS, TIMES),
    st.one_of(st.just([]), st.lists(STEPS, max_size=2)), PEAKS,
    st.one_of(st.just(NOW - 4000), st.just(NOW - 4000), TIMES), st.one_of(st.just(NOW - 10), st.just(NOW - 10), TIMES),
    st.lists(st.tuples(TIMES, FEW), max_size=2))
RULES = st.builds(lambda target_s, share, down_after_s, one, other, window_s: Rules(
    target_s, share, down_after_s, min(one, other), max(one, other), window_s),
                  st.one_of(st.just(0.25), st.floats(0.001, 60.0)), st.sampled_from([0.5, 0.95, 0.99]),
                  st.floats(60.0, 3600.0), st.integers(1, 3), st.integers(1, 500), st.floats(20.0, 300.0))
ANY = st.builds(Seen, st.just(NOW), FEW, st.sampled_from(["1", "2"]), st.one_of(PLAIN, WILD), TIMES,
                st.sampled_from(["", "it drains"]), st.sampled_from([(), ("node-2",)]),
                st.sampled_from(["", "a person wrote it"]))
CALM = st.builds(lambda replicas, slices: Seen(NOW, replicas, "1", slices, NOW - 100), FEW, PLAIN)
SLOW = st.builds(lambda replicas, begun, failed: Seen(
    NOW, replicas, "1", [_slice(NOW - at, begun, 0.5, failed) for at in range(60, 0, -10)], NOW - 100),
                 st.integers(1, 12), st.integers(10, 20_000), st.sampled_from([0.0, 0.0, 0.05, 0.15, 0.5]))
SEEN = st.one_of(ANY, CALM, SLOW)


def again(seen: Seen, rules: Rules, memory: Memory) -> Decision:
    """Decide on what a record holds."""
    return decide(msgspec.json.decode(msgspec.json.encode(seen), type=Seen),
                  msgspec.json.decode(msgspec.json.encode(rules), type=Rules),
                  msgspec.json.decode(msgspec.json.encode(memory), type=Memory))


@settings(max_examples=200)
@given(SEEN, RULES, MEMORIES)
def test_from_any_observation_whatever(seen: Seen, rules: Rules, memory: Memory) -> None:
    made = decide(seen, rules, memory)
    assert made.status in ("passing", "warning", "critical") and made.reason and len(made.reason) < 1000
    assert decide(seen, rules, memory) == made == again(seen, rules, memory)
    assert msgspec.json.decode(msgspec.json.encode(made.memory), type=Memory) == made.memory
    if made.wish is None:
        return
    recent = [count for at, count in memory.counts if NOW - at <= UP_WITHIN_S]
    assert made.wish != seen.replicas and seen.replicas > 0
    least = max(1, min([*recent, seen.replicas]))
    assert made.wish <= max(2 * least, least + 2, seen.replicas)  # doubled in a minute at most, or two more
    assert made.wish >= seen.replicas - 1  # down one at a time
    assert made.wish <= rules.most if made.wish > seen.replicas else made.wish >= rules.least
    assert not seen.quiet and not seen.silent and not seen.manual
    last = [each for each in seen.slices if each.at <= NOW]
    end = max(each.at + each.seconds for each in last)
    newest = traffic.add(each for each in last if each.at >= end - 20)
    assert any(each.at + each.seconds > NOW - 30 for each in seen.slices if each.at <= NOW)
    assert newest.failed < 0.1 * (newest.failed + newest.answers) or newest.failed + newest.answers < traffic.FEWEST
    if made.wish < seen.replicas:
        assert NOW - memory.unproven_at >= rules.down_after_s and 0 <= NOW - memory.decided_at <= 60
        assert NOW - seen.settled_at >= 30


@settings(max_examples=60)
@given(SEEN, RULES, MEMORIES, st.integers(2, 400))
def test_it_never_goes_down_to_a_load_that_broke_the_target(seen: Seen, rules: Rules, memory: Memory,
                                                            replicas: int) -> None:
    made = decide(seen._replace(replicas=replicas, quiet="", silent=(), manual="", settled_at=NOW - 100), rules, memory)
    known = made.memory.capacity
    if made.wish and made.wish < replicas:
        most = max(rate for _, rate in made.memory.peaks)
        assert not known.broke_at or most / made.wish < known.broke.rate
        assert not most or most / made.wish <= 0.8 * known.held.rate * (1 + 1e-6)


@settings(max_examples=60)
@given(SEEN, RULES, MEMORIES)
def test_two_steps_that_helped_nothing_are_the_last(seen: Seen, rules: Rules, memory: Memory) -> None:
    made = decide(seen, rules, memory)
    if made.wish and len(memory.steps) == 2 and len(made.memory.steps) == 2:
        assert made.wish <= seen.replicas or made.memory.steps[0] != memory.steps[0]
    assert len(made.memory.steps) <= learning.MOST_USELESS


@settings(max_examples=30)
@given(MEMORIES, st.floats(-1e6, 1e6))
def test_a_memory_moves_to_the_clock_of_another_node(memory: Memory, by_s: float) -> None:
    there = moved(memory, by_s)
    assert there.capacity.held == memory.capacity.held and len(there.peaks) == len(memory.peaks)
    assert bool(there.capacity.broke_at) == bool(memory.capacity.broke_at)
    assert math.isclose(there.decided_at, memory.decided_at + by_s, abs_tol=1e-3) or there.decided_at < 0.01
