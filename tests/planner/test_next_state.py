"""What is remembered from one observation to the next, as tables."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from lictor import errors
from lictor.planner import desired, members, next_state, plan, service_state
from lictor.planner.observation import Observation, Observer
from lictor.planner.service_state import Breaker, Failure, Failures, Release, State

from support.scene import NOW, SPEC, scene, state_of


def later(seen: Observation, seconds: float, **changes: Any) -> Observation:
    """The same scene a while later, with what was learnt."""
    return seen._replace(state=next_state.advance(seen), now=seen.now + seconds, **changes)


def kinds(seen: Observation) -> list[str]:
    return [each.kind for each in plan.plan(seen._replace(state=next_state.advance(seen)))]


def test_the_good_input_is_remembered_and_a_release_that_is_asked_for_is_not_live() -> None:
    learnt = next_state.advance(scene(2, "passing", keys={"image": b"books:2"}))
    assert (learnt.last_good.replicas, learnt.last_good.image, learnt.release.live) == (2, "books:2", SPEC)


def test_an_image_that_never_ran_well_gives_way_to_the_next() -> None:
    seen = scene(1, "gone", keys={"image": b"books:2"})._replace(state=state_of(live=SPEC))
    assert next_state.advance(seen).release.live == {**SPEC, "image": "books:2"}


@pytest.mark.parametrize(("condition", "count"), [
    ("gone", 1), ("gone never", 2), ("unhealthy never", 2), ("passing", 0)])
def test_a_death_is_counted_once_and_double_before_the_first_passing(condition: str, count: int) -> None:
    first = next_state.advance(scene(1, condition))
    why = f"books-1 is {'unhealthy' if 'unhealthy' in condition else 'exited with exit code 137'}"
    assert first.healing.failures == ({"1": Failures(count, NOW, why)} if count else {})
    assert next_state.advance(later(scene(1, condition), 1)).healing.failures == first.healing.failures


def test_the_last_line_of_what_ended_is_told_with_its_end() -> None:
    seen = scene(1, "gone never")
    [member] = members.members(seen)
    end = "books-1 is exited with exit code 137"
    failed = Failure(member.release, "books:1", f"{end}; books-2 is dead", 1.0)
    state = replace(next_state.advance(seen), release=Release(failed=failed))
    told = next_state.ended(state, member, "no database")
    assert told.healing.failures["1"].why == f"{end}: no database"
    assert next_state.ended(told, member, "no database") == told
    assert told.release.failed and told.release.failed.why == f"{end}: no database; books-2 is dead"
    other = replace(state, release=Release(failed=replace(failed, release="other")))
    assert next_state.ended(other, member, "no database").release == other.release


def test_a_start_that_is_refused_is_a_failure() -> None:
    full = errors.Unavailable("the disk\nis full")
    twice = next_state.start_failed(next_state.start_failed(State(), 3, full, NOW), 3, full, NOW + 9)
    assert twice.healing.failures == {"3": Failures(4, NOW + 9, "the disk is full")}


@pytest.mark.parametrize(("condition", "died_s_ago", "forgotten"), [
    ("passing", 10, True),  # it has been running for more than ten minutes
    ("passing young", 500, False), ("absent", 500, False), ("absent", 901, True),
])
def test_ten_good_minutes_forget_deaths(condition: str, died_s_ago: float, forgotten: bool) -> None:
    seen = scene(1, condition, state={"failures": {"1": Failures(3, NOW - died_s_ago)}})
    assert (next_state.advance(seen).healing.failures == {}) is forgotten


def test_times_to_come_are_not_believed_and_so_delay_nothing_for_ever() -> None:
    remembered = state_of(failures={"1": Failures(3, NOW + 1e9)}, critical_since={"c1": NOW + 1e9},
                          surplus_since=NOW + 1e9, passed_once=["c1", "c2"], breaker=Breaker(NOW + 1e9, "x"))
    learnt = next_state.advance(scene(1, "critical", "passing")._replace(state=remembered))
    healing = learnt.healing
    assert (healing.failures["1"].last_at, healing.critical_since, healing.surplus_since) == (NOW, {"c1": NOW}, NOW)
    assert learnt.breaker == Breaker(NOW, "x")


def test_grace_counts_from_the_first_sighting_and_after_the_start_up() -> None:
    seen = scene(1, "critical")
    assert next_state.advance(seen).healing.critical_since == {"c1": NOW}
    assert kinds(later(seen, 9.9)) == ["wait"]
    assert kinds(later(seen, 10)) == ["start"]
    young = scene(1, "critical young")
    assert next_state.advance(young).healing.critical_since == {}
    assert next_state.advance(later(young, 56)).healing.critical_since == {"c1": NOW + 56}


def test_since_when_it_is_critical_is_not_forgotten_while_its_registration_cannot_be_seen() -> None:
    seen = scene(1, "unhealthy")
    unseen = next_state.advance(seen._replace(instances=()))
    assert unseen.healing.critical_since == seen.state.healing.critical_since
    assert next_state.advance(scene(1, "passing")._replace(state=unseen)).healing.critical_since == {}


def test_a_surplus_stands_from_its_first_sighting_and_anew_when_it_was_none_meanwhile() -> None:
    seen = scene(1, "passing", "passing", state={"surplus_since": 0.0})
    assert kinds(later(seen, 59)) == ["wait"]
    assert kinds(later(seen, 60)) == ["drain"]
    wanted_again = later(seen, 30, desired=scene(2).desired)
    assert next_state.advance(wanted_again).healing.surplus_since == 0.0


@pytest.mark.parametrize("keys", [{}, {"replicas": b"1"}])
def test_what_no_spec_makes_surplus_does_not_age(keys: dict[str, bytes]) -> None:
    seen = scene(1, "passing", "passing")
    unreadable = seen._replace(desired=desired.desired("books", keys, state_of(spec=SPEC, replicas=1)))
    assert next_state.advance(unreadable).healing.surplus_since == 0.0


def test_a_doubt_ends_with_a_consistent_reading_and_gives_the_whole_grace_again() -> None:
    seen = scene(3, "unhealthy", "unhealthy", "passing")
    assert next_state.advance(seen).trust.doubt == "2 of 3 instances are critical at once"
    better = later(seen, 5, instances=scene(3, "passing", "unhealthy", "passing").instances)
    assert next_state.advance(better._replace(certain=False)).trust.doubt == "2 of 3 instances are critical at once"
    trusted = next_state.advance(better)
    assert (trusted.trust.doubt, trusted.trust.trusted_since) == ("", NOW + 5)
    assert trusted.healing.critical_since == {"c2": seen.state.healing.critical_since["c2"]}  # others compare
    assert kinds(better) == ["wait"]
    assert kinds(later(better, 10)) == ["start"]


def test_a_replacement_that_gets_its_grace_again_did_not_die() -> None:
    learnt = next_state.advance(seen := scene(3, "passing", "passing", "unhealthy never", state={"doubt": "x"}))
    assert (learnt.healing.counted_dead, learnt.healing.failures) == ([], {})
    assert next_state.advance(seen._replace(state=learnt)) == learnt


def test_the_breaker_opens_when_a_replacement_is_due_and_the_budget_spent() -> None:
    spent = scene(3, "passing", "passing", "unhealthy", spec={"heal": {"grace": "10s", "budget": 0}})
    spent = spent._replace(instances=(*spent.instances[:2], spent.instances[2]._replace(output="404 Not Found")))
    learnt = next_state.advance(spent)
    assert learnt.breaker == Breaker(NOW, "its budget is spent: 0 of 0 replaced within 10 min, and books-3 is critical "
                                          "for 20 s: 404 Not Found")
    assert next_state.advance(spent._replace(state=learnt)) == learnt
    for unsure in (spent._replace(certain=False), spent._replace(observer=Observer(agent_age_s=1.0)),
                   scene(3, "passing", "passing", "passing", spec={"heal": {"budget": 0}})):
        assert next_state.advance(unsure).breaker is None


def test_the_breaker_closes_after_ten_minutes_of_being_well() -> None:
    opened = {"breaker": Breaker(NOW - 100, "x")}
    well = scene(2, "passing", "passing", state=opened)
    assert next_state.advance(well).breaker == Breaker(NOW - 100, "x", NOW)
    assert next_state.advance(later(well, 599)).breaker is not None
    assert next_state.advance(later(later(well, 300), 300)).breaker is None  # however often one looks meanwhile
    assert next_state.advance(later(well, 600)).breaker is None
    ill = later(well, 300, instances=scene(2, "passing", "critical").instances)
    assert next_state.advance(ill).breaker == Breaker(NOW - 100, "x", 0.0)


@pytest.mark.parametrize(("seen", "causes"), [
    (scene(2, "passing", "passing"), []),
    (scene(3, "passing", "passing", "unhealthy"), []),
    (scene(3, "unhealthy", "unhealthy", "passing"), ["held"]),
    (scene(3, "critical", "critical", "critical"), []),  # it may pass within the grace
    (scene(3, "passing", "passing", "unhealthy", observer=Observer(agent_age_s=1.0)), []),  # it passes by itself
    (scene(3, "passing", "passing", "unhealthy", spec={"heal": {"budget": 0}}), ["breaker"]),
    (scene(1, "critical young", state={"failures": {"1": Failures(6, NOW)}}), []),
    (scene(1, "critical young", state={"failures": {"1": Failures(7, NOW)}}), ["gave up 1"]),
    (scene(3, "passing", "passing", "passing", state={"doubt": "x", "causes": ["held"]}, certain=False), ["held"]),
    (scene(3, "passing", "passing", "passing", state={"doubt": "x", "causes": ["held"]}), []),
])
def test_people_are_told_of_each_cause_as_long_as_it_lasts(seen: Observation, causes: list[str]) -> None:
    assert next_state.advance(seen).notified.causes == causes


def scene_of_set(**changes: Any) -> Observation:
    spec = {"name": "db", "image": "etcd:1", "node": "n", "port": 2379, "volumes": ["data:/data"],
            "replicas": {"min": 1, "max": 5}, "cluster": {"kind": "etcd", "name": "db"}}
    return Observation(NOW, desired.desired("db", {"spec": json.dumps(spec).encode()}, State()), **changes)


def test_people_are_told_once_what_only_they_can_end_of_a_set() -> None:
    troubled = scene_of_set(set_trouble="majority lost: 1 of 3 voters answer.")
    told = next_state.advance_set(troubled, None).notified
    assert (told.causes, told.pending) == (["set needs a person"], ["set needs a person"])
    sent = troubled.with_state(notified=replace(told, pending=[]))
    assert next_state.advance_set(sent, None).notified.pending == []
    assert next_state.advance_set(sent._replace(set_trouble=""), None).notified.causes == []


def test_a_release_of_a_set_is_live_when_all_members_are_of_it() -> None:
    seen = scene_of_set(state=State(release=Release(live={"a": 1}, live_release="r1")))
    assert next_state.advance_set(seen, False).release.live_release == "r1"
    live = next_state.advance_set(seen, True).release
    assert (live.live_release, live.previous_release, live.previous) == (seen.desired.release, "r1", {"a": 1})


@pytest.mark.parametrize("text", [
    None, b"", b"[]", b'{"healing": {"failures": 3}}', b'{"healing": 3}', b'{"breaker": "x"}', b"[" * 50_000])
def test_a_memory_that_is_absent_or_damaged_is_a_fresh_one(text: bytes | None) -> None:
    assert service_state.decode(text) == State()


def test_a_memory_survives_being_written() -> None:
    full = state_of(failures={"1": Failures(2, NOW)}, breaker=Breaker(NOW, "x"), doubt="y", causes=["held"])
    assert service_state.decode(service_state.encode(full)) == full
