"""Whose the count is, since when as many instances serve, when the count is left alone, and records of decisions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lictor import errors
from lictor.model import Clock
from lictor.planner.autoscale import kept as keeping
from lictor.planner.autoscale import quiet, record
from lictor.planner.autoscale.capacity import Capacity, Load
from lictor.planner.autoscale.kept import Kept
from lictor.planner.autoscale.memory import Memory
from lictor.planner.service_state import Breaker, Rollout

from support.scene import NOW, scene


@pytest.mark.parametrize(("kept", "own_key_index", "count_index", "known", "own", "manual"), [
    (Kept(), 0, 0, False, 0, 0),  # there is no count
    (Kept(), 0, 7, False, 0, 7),  # nothing is known of it: a person's
    (Kept(), 0, 7, True, 7, 0),  # a record says that it is the autoscaler's
    (Kept(is_with_wish=True), 8, 8, False, 8, 0),  # written together
    (Kept(is_with_wish=True), 8, 9, False, 8, 9),  # and by a person since
    (Kept(own_index=8), 12, 8, False, 8, 0),
    (Kept(own_index=8), 12, 11, False, 8, 11),
    (Kept(own_index=8, manual_index=11, manual_since=5.0), 13, 0, False, 8, 0),  # deleted: it holds no longer
    (Kept(own_index=8), 12, 3, False, 8, 3),  # a Consul that was set up anew
])
def test_only_the_index_tells_whose_a_count_is(kept: Kept, own_key_index: int, count_index: int, known: bool, own: int,
                                               manual: int) -> None:
    found = keeping.claim(kept, own_key_index, count_index, NOW, is_known_as_own=known)
    assert (found.own_index, found.manual_index, found.is_with_wish) == (own, manual, False)
    assert bool(found.manual_since) == bool(manual)


def test_a_persons_count_holds_from_its_first_sight() -> None:
    kept = keeping.claim(Kept(), 0, 7, NOW, is_known_as_own=False)
    again = keeping.claim(kept, 9, 7, NOW + 100, is_known_as_own=False)
    assert [keeping.held_s(again, 900, NOW + at) for at in (0, 100, 900, 9000)] == [900, 800, 0, 0]
    assert keeping.held_s(keeping.claim(again, 9, 8, NOW + 500, is_known_as_own=False), 900, NOW + 500) == 900
    assert keeping.held_s(again, 0, NOW) == 0


@pytest.mark.parametrize(("kept", "serving", "passed_at", "settled_at"), [
    (Kept(), 2, NOW - 50, NOW - 50),
    (Kept(), 2, 0.0, NOW),
    (Kept(), 1, NOW - 50, 0.0),
    (Kept(replicas=2, settled_at=NOW - 500), 2, NOW - 50, NOW - 500),
    (Kept(replicas=2, settled_at=NOW - 500), 3, NOW - 50, 0.0),
    (Kept(replicas=2), 2, NOW - 50, NOW),
    (Kept(replicas=3, settled_at=NOW - 500), 2, NOW - 50, NOW),
])
def test_settled_is_since_as_many_serve(kept: Kept, serving: int, passed_at: float, settled_at: float) -> None:
    found = keeping.settle(kept, 2, serving, passed_at, NOW)
    assert (found.replicas, found.settled_at) == (2, settled_at)


@pytest.mark.parametrize(("known", "is_mixed", "settled_at"), [
    ("", False, NOW - 500),  # nothing was learned of any
    ("1", False, NOW - 500),
    ("2", False, NOW),  # what it answered says nothing of this one
    ("1", True, 0.0),
    ("2", True, 0.0),
])
def test_a_release_is_settled_once_it_alone_answers(known: str, is_mixed: bool, settled_at: float) -> None:
    kept = Kept(Capacity(known), replicas=2, settled_at=NOW - 500)
    assert keeping.settle(kept, 2, 2, NOW - 900, NOW, release="1", is_mixed=is_mixed).settled_at == settled_at


def test_times_of_another_clock_are_moved_to_this_one() -> None:
    kept = Kept(Capacity("1", Load(20.0), Load(30.0), NOW - 100), node="other", at=NOW - 10, counts=[(NOW - 10, 2)],
                manual_index=7, manual_since=NOW - 100)
    moved = keeping.by_clock(kept, 3600.0, Clock(NOW + 3600))
    assert moved.capacity == replace(kept.capacity, broke_at=NOW + 3500) and moved.counts == [(NOW + 3590, 2)]
    assert (moved.at, moved.manual_since, moved.manual_index) == (NOW + 3590, NOW + 3500, 7)
    assert keeping.by_clock(kept, 0.0, Clock(NOW)) == kept


def test_a_clock_that_was_set_makes_no_wait_endless() -> None:
    kept = Kept(manual_index=7, manual_since=NOW, settled_at=NOW)
    moved = keeping.by_clock(kept, 0.0, Clock(NOW - 7200, NOW - 7200, -7200.0))
    assert keeping.held_s(moved, 900, NOW - 7200) == 900 and moved.settled_at == NOW - 7200


@given(st.binary() | st.text().map(str.encode) | st.sampled_from([
    b'{"at": 1e999}', b'{"capacity": {"held": {"rate": -5.0}}}', b"[" * 99999, b'{"counts": [[1, 2, 3]]}',
    b"x" * 70_000, b'{"own_index": 1e30}', b'{"counts": %s}' % str([[1.0, 1]] * 2000).encode()]))
def test_what_is_damaged_is_learned_again(text: bytes) -> None:
    assert keeping.decode(text) == Kept()


def test_it_is_read_as_it_was_written_and_as_the_memory_alone() -> None:
    kept = Kept(Capacity("1", Load(20.0, 2.0)), counts=[(NOW, 2)], node="node-1", own_index=10**15, reason="x")
    assert keeping.decode(keeping.encode(kept)) == kept
    memory = keeping.memory_of(kept)
    assert type(memory) is Memory and memory.counts == [(NOW, 2)]
    assert keeping.with_memory(kept, Memory()).node == "node-1" and keeping.with_memory(kept, Memory()).counts == []


@pytest.mark.parametrize(("conditions", "fields", "says"), [
    (("passing", "passing"), {}, ""),
    (("passing", "warning"), {}, ""),
    (("passing", "critical"), {}, ""),  # it fails under its load, perhaps: no reason to have no more of them
    (("passing", "unhealthy"), {}, ""),
    (("passing", "unregistered young"), {}, "books-2 starts"),
    (("passing", "passing", "draining"), {}, "books-3 drains"),
    (("passing", "maintenance"), {}, "books-2 is out of traffic by hand"),
    (("passing",), {}, "1 run, and 2 are desired"),
    (("passing", "passing", "passing"), {}, "3 run, and 2 are desired"),
    (("passing", "passing"), {"keys": {"hold": b"until Monday"}}, "the hold key is set (until Monday)"),
    (("passing", "passing"), {"state": {"doubt": "x"}}, "doubt: x"),
    (("passing", "passing"), {"state": {"breaker": Breaker(NOW, "x")}}, "the breaker is open"),
    (("passing", "passing"), {"state": {"rollout": Rollout("2", NOW)}}, "a release is under way"),
    (("passing", "passing"), {"behind": (("node-2", True),)}, "the nginx of node-2 may still ask the release before"),
    (("passing", "passing"), {"behind": (("node-2", False),)}, ""),  # it asks nobody
])
def test_the_count_is_left_alone_while_something_else_moves_it(conditions: tuple[str, ...], fields: dict[str, Any],
                                                               says: str) -> None:
    observation = scene(2, *conditions, **fields)
    assert quiet.find_obstacle(observation, has_count=True) == says
    assert quiet.is_mixed(observation) == ("release" in says)


def test_a_count_that_is_refused_or_none_is_left_alone() -> None:
    observation = scene(2, "passing", "passing", keys={"replicas": b"many"})
    assert quiet.find_obstacle(observation, has_count=True) == "the count in its key is refused"
    assert quiet.find_obstacle(scene(0), has_count=True) == "no instance is desired"
    assert quiet.count_serving(scene(2, "passing", "unhealthy", "draining", "gone")) == 2


@pytest.mark.parametrize("damaged", [None, [], {}, {"seen": 3}, {"seen": {}, "rules": {}, "memory": {}}])
def test_a_damaged_record_is_refused(damaged: object) -> None:
    with pytest.raises(errors.Refused, match="autoscale cannot be read"):
        record.decide_again(damaged)
