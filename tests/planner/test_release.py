"""The planner's rules of a release as tables; whole releases are followed in test_whole_releases."""

from typing import Any

import msgspec
import pytest

from lictor import errors
from lictor.planner import backoff, next_state, plan
from lictor.planner.actions import Act, Drain, Start, Switch
from lictor.planner.observation import Observation
from lictor.planner.service_state import Failure, Failures, LastOrder, State

from support.release_scene import BLUE_GREEN, NEW, OLD, ROLLING, decided, later, release_of, wanted, world
from support.scene import NOW, SPEC, fields_of

BLUE = ("1 books:1 blue passing", "2 books:1 blue passing")


@pytest.mark.parametrize(("crew", "expected"), [
    # as many as are live, in the other colour; those that were kept of this very release first
    ((), ["start books-green-1", "start books-green-2"]),
    (("1 books:2 green passing",), ["start books-green-2"]),
    (("2 books:2 green kept",), ["start books-green-2", "start books-green-1"]),
    # what a start that was cut short has left, or another release, goes first
    (("1 books:2 green created",), ["remove books-green-1", "start books-green-1", "start books-green-2"]),
    (("1 books:0 green kept",), ["remove books-green-1", "start books-green-1", "start books-green-2"]),
    (("1 books:0 green passing",), ["drain books-green-1", "wait books-green-1"]),
    # what drains of this very release is wanted again
    (("1 books:2 green drained",), ["undrain books-green-1"]),
    (("1 books:2 green passing", "2 books:2 green critical"), ["wait books-green-2"]),
    # all pass, but for less than healthy_for
    (("1 books:2 green passing", "2 books:2 green passing"), ["wait books-green"]),
    # scaled down meanwhile: what serves nobody yet goes at once
    (("1 books:2 green passing", "2 books:2 green passing", "3 books:2 green passing"), ["remove books-green-3"]),
])
def test_blue_green_brings_up_the_other_colour(crew: tuple[str, ...], expected: list[str]) -> None:
    assert decided(world(BLUE_GREEN, NEW, *BLUE, *crew)) == expected


def test_the_switch_waits_for_healthy_for_a_consistent_reading_and_the_smoke_path() -> None:
    spec = {**BLUE_GREEN, "release": {**BLUE_GREEN["release"], "smoke": "/books"}}
    seen = world(spec, NEW, *BLUE, "1 books:2 green passing", "2 books:2 green passing")
    assert decided(seen) == ["wait books-green"]
    assert decided(later(seen, 4, certain=False)) == ["confirm books-green"]
    assert decided(later(seen, 4, smoke={"c2": "", "c3": "answers 500"})) == ["wait books-green"]
    good = later(seen, 4, smoke={"c2": "", "c3": ""})
    assert decided(good) == ["switch books-green"]
    after = next_state.switched(good)
    assert (after.release.color, after.release.live_release, after.release.previous_release) == (
        "green", release_of(spec, NEW), release_of(spec, OLD))


SWITCHED = {"color": "green", "live": {**BLUE_GREEN, "image": NEW}, "live_release": release_of(BLUE_GREEN, NEW),
            "previous": {**BLUE_GREEN, "image": OLD}, "previous_release": release_of(BLUE_GREEN, OLD),
            "switched_at": NOW}
GREEN = "1 books:2 green passing"


@pytest.mark.parametrize(("blue", "after_s", "behind", "expected"), [
    ("passing", 5, (), ["drain books-blue-1"]),
    # an nginx may still send requests: a node that is alive, or one that does not answer
    ("passing", 5, (("node-2", True),), ["wait books-blue-1"]),
    ("passing", 61, (("node-2", False),), ["hold books-blue-1"]),
    ("drained", 5, (), ["stop books-blue-1"]),
    # kept stopped, and then no longer
    ("kept", 599, (), []),
    ("kept", 601, (), ["remove books-blue-1"]),
])
def test_what_was_live_is_drained_stopped_kept_and_removed(blue: str, after_s: float, behind: tuple[Any, ...],
                                                           expected: list[str]) -> None:
    seen = world(BLUE_GREEN, NEW, GREEN, f"1 books:1 blue {blue}", replicas=1, now=NOW + after_s, state=SWITCHED,
                 behind=behind, in_flight={"c1": 0}, idle_reads={"c1": 3})
    assert decided(seen) == expected


def test_a_colour_changed_by_hand_is_put_back() -> None:
    seen = world(BLUE_GREEN, NEW, GREEN, replicas=1, state=SWITCHED, keys={"color": b"blue"})
    (action,) = plan.plan(seen)
    assert isinstance(action, Switch) and action.color == "green"
    assert "only lictor writes this key" in seen.desired.problems[0]


@pytest.mark.parametrize(("spec", "crew", "after_s", "why"), [
    (BLUE_GREEN, (*BLUE, "1 books:2 green died"), 1, "books-green-1 is exited with exit code 137"),
    (BLUE_GREEN, (*BLUE, "1 books:2 green critical", "2 books:2 green passing"), 61,
     "not all passed within 60 s (release.deadline): books-green-1"),
    (BLUE_GREEN, (*BLUE, "1 books:2 green passing"), 61, "only 1 of 2 could be started within 60 s"),
    (BLUE_GREEN, BLUE, 61, "within 60 s (release.deadline): failing: docker: no space left"),
    (ROLLING, ("1 books:1 passing", "2 books:1 passing"), 61, "(release.deadline): failing: docker: no space left"),
    (BLUE_GREEN, (*BLUE, "1 books:2 green critical", "2 books:2 green passing"), 59, ""),
    (ROLLING, ("1 books:1 passing", "2 books:1 passing", "3 books:2 died"), 1, "books-3 is exited"),
    (ROLLING, ("1 books:1 passing", "2 books:1 passing", "3 books:2 critical"), 61, "not all passed"),
])
def test_a_release_fails(spec: dict[str, Any], crew: tuple[str, ...], after_s: float, why: str) -> None:
    begun = world(spec, NEW, *crew)
    told = next_state.release_delayed(begun.state, errors.Unavailable("docker: no space\n left"))
    seen = later(begun._replace(state=told), after_s)
    assert bool(seen.state.release.failed) == bool(why) == (seen.state.release.rollout is None)
    assert why in (seen.state.release.failed.why if seen.state.release.failed else "")
    if seen.state.release.failed:
        assert seen.state.release.live_release == release_of(spec, OLD)
        assert next_state.RELEASE_FAILED in seen.state.notified.causes


@pytest.mark.parametrize(("error", "said"), [
    (errors.Refused("docker: create books-green-1: no such network"),
     "refused: docker: create books-green-1: no such network"),
    (errors.Unavailable("docker: start books-green-1: no space left"),
     "failing: docker: start books-green-1: no space left"),
])
def test_a_release_that_could_not_be_started_says_what_the_engine_said(error: errors.LictorError, said: str) -> None:
    begun = world(BLUE_GREEN, NEW, *BLUE)
    seen = later(begun._replace(state=next_state.start_failed(begun.state, 1, error, NOW + 1)), 61)
    assert seen.state.release.failed and seen.state.release.failed.why == (
        f"no instance could be started within 60 s (release.deadline): {said}")


@pytest.mark.parametrize(("crew", "is_told"), [(BLUE, True), ((*BLUE, "1 books:2 green passing"), False)])
def test_what_kept_a_start_from_going_through_is_forgotten_once_an_instance_has_come(crew: tuple[str, ...],
                                                                                     is_told: bool) -> None:
    begun = world(BLUE_GREEN, NEW, *BLUE)
    told = next_state.release_delayed(begun.state, errors.Unavailable("docker is away"))
    seen = world(BLUE_GREEN, NEW, *crew, now=NOW + 1)._replace(state=told)
    assert backoff.trouble(next_state.advance(seen)) == ("failing: docker is away" if is_told else "")
    starts = [each for each in plan.plan(seen._replace(state=next_state.advance(seen))) if each.kind == "start"]
    assert {each.reason.endswith("The last start failed: docker is away") for each in starts} == {is_told}


SLOW = {**BLUE_GREEN, "check": {"http": "/", "start": "5m"}}


@pytest.mark.parametrize(("spec", "changes", "after_s", "fails"), [
    # an instance that may take longer to start than the deadline makes it longer
    (SLOW, {}, 299, False), (SLOW, {}, 300, True),
    ({**BLUE_GREEN, "check": {"http": "/", "start": "5s"}}, {}, 59, False),
    # what people do to a new instance is not held against the release
    (BLUE_GREEN, {"status": "paused"}, 300, False), (BLUE_GREEN, {"maintenance": "by hand"}, 300, False),
    # Docker's word on it is no reason to wait for ever
    (BLUE_GREEN, {"health": "starting"}, 59, False), (BLUE_GREEN, {"health": "starting"}, 60, True),
    (BLUE_GREEN, {"status": "restarting"}, 60, True),
])
def test_the_deadline_is_for_those_who_can_pass(spec: dict[str, Any], changes: dict[str, Any], after_s: float,
                                                fails: bool) -> None:
    seen = world(spec, NEW, *BLUE, "1 books:2 green critical", "2 books:2 green passing")
    output = "HTTP GET http://127.0.0.1:32770/: 404 Not Found"
    ill = seen.instances[2]._replace(output=output, maintenance=changes.get("maintenance"))
    stuck = seen.containers[2]._replace(**{key: value for key, value in changes.items() if key != "maintenance"})
    seen = seen._replace(containers=(*seen.containers[:2], stuck, seen.containers[3]),
                         instances=(*seen.instances[:2], ill, seen.instances[3]))
    late = later(later(seen, 0), after_s)
    assert bool(late.state.release.failed) == fails
    if late.state.release.failed:
        assert f"books-green-1 is {'restarting' if 'status' in changes else ''}" in late.state.release.failed.why
        assert late.state.release.failed.why.endswith(f": {output}")
        assert ("(check.start)" if spec is SLOW else "(release.deadline)") in late.state.release.failed.why
    else:
        says = " ".join(each.reason for each in plan.plan(late))
        assert ("404 Not Found" in says) == (not {"status", "maintenance"} & changes.keys())


def test_a_release_fails_when_the_other_colour_does_not_get_free() -> None:
    """A node that once routed the service, say, and will never say that it lists it no more."""
    in_the_way, behind = (*BLUE, "1 books:0 green passing"), (("node-2", True),)
    seen = world(BLUE_GREEN, NEW, *in_the_way, behind=behind)
    assert decided(later(seen, 59)) == ["hold books-green-1", "wait books-green-1"]
    late = later(seen, 61)
    assert late.state.release.failed and "green is not free, as the nginx of node-2" in late.state.release.failed.why


@pytest.mark.parametrize(("spec", "crew"), [
    (BLUE_GREEN, (*BLUE, "1 books:0 green drained")),
    (ROLLING, ("1 books:1 drained", "2 books:1 passing", "3 books:2 passing")),
])
def test_the_deadline_does_not_count_while_others_answer_their_last_requests(spec: dict[str, Any],
                                                                             crew: tuple[str, ...]) -> None:
    seen = later(world(spec, NEW, *crew), 61)
    assert seen.state.release.rollout and not seen.state.release.failed
    gone = seen._replace(containers=tuple(each for each in seen.containers if each.color != "green" and (
        spec is BLUE_GREEN or each.number != 1)))
    assert later(later(gone, 10), 59).state.release.rollout and later(later(gone, 10), 60).state.release.failed


@pytest.mark.parametrize("drains", [False, True])
def test_while_a_scheduler_carries_out_an_order_no_time_counts(drains: bool) -> None:
    """A playbook that takes longer than the deadline fails no release, whatever is seen first when it has ended."""
    begun = world(ROLLING, NEW, "1 books:1 passing", "2 books:1 passing").state
    rollout = begun.release.rollout
    assert rollout and rollout.moved_at == NOW
    state = {**fields_of(begun), "last_orders": {"": LastOrder(2, rollout.release, NOW + 62)}}
    crew = ("1 books:1 drained" if drains else "1 books:1 passing", "2 books:1 passing")
    seen = world(ROLLING, NEW, *crew, now=NOW + 63, state=state).state.release.rollout
    assert seen and (seen.moved_at, seen.used_s) == ((0.0, 1.0) if drains else (NOW + 62, 0.0))


@pytest.mark.parametrize("changes", [{"status": "paused"}, {"maintenance": "by hand"}])
def test_an_instance_that_people_keep_away_for_a_moment_begins_no_other_deadline(changes: dict[str, Any]) -> None:
    begun = later(world(BLUE_GREEN, NEW, *BLUE, "1 books:2 green critical", "2 books:2 green passing"), 50)
    instance = begun.instances[2]._replace(maintenance=changes.get("maintenance"))
    container = begun.containers[2]._replace(status=changes.get("status", "running"))
    kept = begun._replace(instances=(*begun.instances[:2], instance, begun.instances[3]),
                          containers=(*begun.containers[:2], container, begun.containers[3]))
    stopped = later(later(kept, 1), 100)
    assert stopped.state.release.rollout and stopped.state.release.rollout.used_s == 51
    again = later(stopped._replace(instances=begun.instances, containers=begun.containers), 1)
    assert not later(again, 8).state.release.failed and later(again, 9).state.release.failed


def test_time_on_hold_counts_neither_for_a_release_nor_against_it() -> None:
    begun = world(BLUE_GREEN, NEW, *BLUE, "1 books:2 green passing", "2 books:2 green passing").state
    held = world(BLUE_GREEN, NEW, *BLUE, "1 books:2 green critical", "2 books:2 green passing", now=NOW + 50,
                 state=fields_of(begun), keys={"hold": b"until Monday"})
    after = later(world(BLUE_GREEN, NEW, *BLUE, "1 books:2 green critical", "2 books:2 green passing", now=NOW + 99,
                        state=fields_of(held.state)), 9)  # its deadline is 60 s, of which 50 were over when it was held
    assert after.state.release.rollout and not after.state.release.failed and later(after, 1).state.release.failed
    again = world(BLUE_GREEN, NEW, *BLUE, "1 books:2 green critical", "2 books:2 green passing", now=NOW + 100,
                  state=fields_of(after.state), keys={"hold": b"and again"})  # another hold begins no other deadline
    ill = world(BLUE_GREEN, NEW, *BLUE, "1 books:2 green critical", "2 books:2 green passing", now=NOW + 500,
                state=fields_of(again.state))
    assert not later(ill, 8).state.release.failed and later(ill, 9).state.release.failed
    all_new = ("1 books:2 passing", "2 books:2 passing")
    begun = world(ROLLING, NEW, *all_new).state
    still = world(ROLLING, NEW, *all_new, now=NOW + 9, state=fields_of(begun), keys={"hold": b""})
    assert begun.release.rollout and still.state.release.rollout
    assert still.state.release.live_release == release_of(ROLLING, OLD)
    passing = world(BLUE_GREEN, NEW, *BLUE, "1 books:2 green passing", "2 books:2 green passing", now=NOW + 99,
                    state=fields_of(held.state))
    assert decided(passing) == ["wait books-green"] and decided(later(passing, 4)) == ["switch books-green"]


FAILED = {"failed": Failure(release_of(BLUE_GREEN, NEW), NEW, "it died", NOW - 5)}


def test_what_has_failed_is_removed_and_not_tried_again_until_something_changes() -> None:
    seen = world(BLUE_GREEN, NEW, *BLUE, "1 books:2 green passing", state=FAILED)
    assert [each.kind for each in plan.plan(seen)] == ["remove", "hold"]
    other = world(BLUE_GREEN, "books:3", *BLUE, state=FAILED)
    assert other.state.release.failed is None and decided(other) == ["start books-green-1", "start books-green-2"]
    assert decided(world(BLUE_GREEN, OLD, *BLUE, state=FAILED)) == []


@pytest.mark.parametrize(("third", "after_s", "expected"), [
    # of three that migrate a database at their start, two have lost the race: the third may be in the midst of it
    ({"health": "starting"}, 2, ["wait books-green-3"]), ({"health": "starting"}, 59, ["wait books-green-3"]),
    ({"health": "starting"}, 60, ["remove books-green-3"]),
    ({"started_at": NOW, "is_new": True}, 2, ["wait books-green-3"]),
    ({"started_at": NOW, "is_new": True}, 60, ["remove books-green-3"]),
    # what is at work no more goes at once
    ({"health": "starting", "passes": True}, 2, ["remove books-green-3"]), ({}, 2, ["remove books-green-3"]),
    ({"status": "exited"}, 2, ["remove books-green-3"]),
    ({"status": "paused"}, 60, ["hold books-green-3"]),
])
def test_a_failed_release_ends_only_what_is_not_at_work(third: dict[str, Any], after_s: float,
                                                        expected: list[str]) -> None:
    three = (*BLUE, "3 books:1 blue passing")
    seen = world(BLUE_GREEN, NEW, *three, "1 books:2 green passing", "2 books:2 green passing",
                 "3 books:2 green critical", replicas=3,
                 state={"passed_once": [f"c{number}" for number in range(5 if third.get("is_new") else 6)]})
    changes = {key: value for key, value in third.items() if key not in ("is_new", "passes")}
    if changes.get("status") == "exited":
        changes["started_at"] = NOW + 0.5
    dead = [each._replace(status="exited", exit_code=1, started_at=NOW + 0.5) for each in seen.containers[3:5]]
    last = seen.instances[5]._replace(status="passing" if third.get("passes") else "critical")
    failed = later(seen, 1, containers=(*seen.containers[:3], *dead, seen.containers[5]._replace(**changes)),
                   instances=(*seen.instances[:3], last))
    assert failed.state.release.failed and "books-green-1 is exited with exit code 1" in failed.state.release.failed.why
    now = later(failed, after_s - 1)
    assert decided(now) == ["remove books-green-1", "remove books-green-2", *expected, "hold"]
    assert not [each for each in plan.plan(now) if "blue" in each.container]


def test_the_state_keeps_no_secret_of_two_releases_ago() -> None:
    state = State()
    for number in (1, 2, 3):
        spec = {**BLUE_GREEN, "environment": {"PASSWORD": f"secret-{number}"}, "command": f"run secret-{number}"}
        seen = Observation(NOW, wanted(spec, NEW, state), state=state, certain=True)
        state = next_state.switched(seen._replace(state=next_state.advance(seen)))
    kept = str(msgspec.to_builtins(state))
    assert "secret-3" in kept and "secret-2" in kept and "secret-1" not in kept


def test_a_release_of_a_spec_without_an_image_is_named_too() -> None:
    failed = {"failed": Failure(release_of(BLUE_GREEN, NEW), "", "it died", NOW - 5)}
    seen = world(BLUE_GREEN, NEW, *BLUE, state=failed)
    assert plan.plan(seen)[-1].reason == (
        "on hold: the release of its spec failed: it died. It is not tried again until another is desired.")
    assert next_state.causes(seen)[next_state.RELEASE_FAILED] == "the release of its spec failed: it died"


def test_a_new_release_does_not_back_off_from_what_it_may_mend() -> None:
    """Its own deadline runs meanwhile, and the number that keeps dying may be the one that it starts with."""
    old = ("1 books:1 passing", "2 books:1 passing")
    loops = {"failures": {"1": Failures(9, NOW - 5), "3": Failures(2, NOW - 5)}}
    assert decided(world(ROLLING, NEW, *old, state=loops)) == ["start books-3"]
    first = world(ROLLING, NEW, *old)
    died = world(ROLLING, NEW, *old, "3 books:2 died", state={
        "rollout": first.state.release.rollout, "passed_once": ["c0", "c1"]}, now=NOW + 1)
    assert died.state.release.failed and died.state.healing.failures == {}
    # ... but once it is live, as nothing else ran when it was asked for, it does back off
    alone = world(ROLLING, NEW, replicas=0, state={"passed_once": []})
    assert alone.state.release.live_release == release_of(ROLLING, NEW)
    again = world(ROLLING, NEW, "1 books:2 died", state={
        "live_release": alone.state.release.live_release, "live_is_proven": False, "passed_once": [],
        "failed": died.state.release.failed})
    assert again.state.healing.failures
    refused = next_state.start_failed(first.state, 3, errors.Unavailable("full"), NOW + 1)
    assert decided(later(first._replace(state=refused), 2)) == ["wait books-3"]


def test_another_first_release_does_not_back_off_either() -> None:
    alone = world(ROLLING, NEW, "1 books:1 died", state={
        "live": {**ROLLING, "image": OLD}, "live_release": release_of(ROLLING, OLD),
        "live_is_proven": False, "passed_once": [], "counted_dead": ["c0"], "failures": {"1": Failures(9, NOW - 5)}})
    assert alone.state.healing.failures == {} and alone.state.release.live_release == release_of(ROLLING, NEW)


def test_what_has_failed_does_not_go_live_by_scaling_to_nothing_and_back() -> None:
    failed = {"failed": Failure(release_of(ROLLING, NEW), NEW, "it died", NOW - 5)}
    none = world(ROLLING, NEW, replicas=0, state=failed)
    assert none.state.release.failed and none.state.release.live_release == release_of(ROLLING, OLD)
    back = world(ROLLING, NEW, replicas=1, state={**failed, "live": none.state.release.live})
    start, hold = plan.plan(back)
    assert isinstance(start, Start) and start.release == release_of(ROLLING, OLD) and hold.kind == "hold"


@pytest.mark.parametrize(("crew", "limits", "expected"), [
    (("1 books:1 passing", "2 books:1 passing"), {}, ["start books-3"]),
    (("1 books:1 passing", "2 books:1 passing", "3 books:2 critical"), {}, ["wait books-3"]),
    (("1 books:1 passing", "2 books:1 passing", "3 books:2 passing"), {}, ["wait books-1"]),  # for healthy_for
    (("1 books:1 drained", "2 books:1 passing", "3 books:2 passing"), {}, ["remove books-1", "wait books-1"]),
    # where replicas.max leaves no room one goes first, as long as enough others pass
    (("1 books:1 passing", "2 books:1 passing"), {"max": 2, "min": 1}, ["drain books-1"]),
    (("1 books:1 passing", "2 books:1 passing"), {"max": 2, "min": 2, "initial": 2}, ["hold books-1"]),
])
def test_rolling_goes_one_at_a_time(crew: tuple[str, ...], limits: dict[str, int], expected: list[str]) -> None:
    spec = {**ROLLING, "replicas": {**SPEC["replicas"], **limits}}
    assert decided(world(spec, NEW, *crew, in_flight={"c0": 0}, idle_reads={"c0": 3})) == expected


@pytest.mark.parametrize(("crew", "expected"), [
    # an ill one goes first, so that another can come
    (("1 books:1 critical", "2 books:1 critical", "3 books:2 passing"), ["drain books-1"]),
    (("1 books:1 passing", "2 books:1 critical", "3 books:2 passing"), ["drain books-2"]),
    (("1 books:1 passing", "2 books:1 passing", "3 books:2 passing"), ["drain books-3"]),
    (("1 books:1 critical", "2 books:1 critical", "3 books:2 critical"), ["drain books-3"]),
    (("1 books:1 critical", "2 books:2 passing"), ["start books-3"]),  # it is ill, and replaced as at any time
])
def test_on_the_way_back_none_that_passes_goes_for_one_that_does_not(crew: tuple[str, ...],
                                                                     expected: list[str]) -> None:
    state = {"failed": Failure(release_of(ROLLING, NEW), NEW, "it is late", NOW - 5),
             "critical_since": {f"c{each}": NOW - 99 for each in range(3)}}
    seen = world(ROLLING, NEW, *crew, state=state)
    assert [each for each in decided(seen) if each != "hold"] == expected
    fewer = world(ROLLING, NEW, "1 books:1 critical", "2 books:2 passing", replicas=3, state=state)
    assert decided(fewer)[0] == "start books-3"  # nobody has to go for that


@pytest.mark.parametrize(("crew", "count", "most", "expected"), [
    (("1 books:1 critical", "2 books:2 critical"), 2, 2, "drain books-2"),  # no room beside the ill one
    (("1 books:1 critical", "2 books:1 passing", "3 books:2 critical"), 3, 3, "drain books-3"),  # most are critical
    (("1 books:1 critical", "2 books:2 critical", "3 books:2 critical"), 3, 4, "start books-4"),
])
def test_what_keeps_the_ill_does_not_keep_the_failed(crew: tuple[str, ...], count: int, most: int,
                                                     expected: str) -> None:
    spec = {**ROLLING, "replicas": {"min": 1, "initial": 2, "max": most}}
    state = {"failed": Failure(release_of(spec, NEW), NEW, "it is late", NOW - 5),
             "critical_since": {f"c{each}": NOW - 99 for each in range(3)},
             "live": {**spec, "image": OLD}, "live_release": release_of(spec, OLD)}
    seen = world(spec, NEW, *crew, replicas=count, state=state)
    acts = [f"{each.kind} {each.container}" for each in plan.plan(seen) if isinstance(each, Act)]
    assert acts == [expected] and any(each.kind == "hold" for each in plan.plan(seen))


def test_an_ill_one_that_goes_on_the_way_back_is_taken_off_the_budget_and_by_judgement() -> None:
    state = {"failed": Failure(release_of(ROLLING, NEW), NEW, "it is late", NOW - 5),
             "critical_since": {"c1": NOW - 99}}
    crew = ("1 books:1 passing", "2 books:1 critical", "3 books:2 passing")
    drains = [each for each in plan.plan(world(ROLLING, NEW, *crew, state=state)) if isinstance(each, Drain)]
    assert [each.replaces for each in drains] == ["c1"]
    assert "confirm books-2" in decided(world(ROLLING, NEW, *crew, state=state, certain=False))


@pytest.mark.parametrize(("crew", "most"), [
    (("1 books:1 drained",), 1),  # it went in place
    (("1 books:1 drained", "2 books:3 joining"), 2),  # beside what came of a release that was asked for in between
])
def test_one_that_is_well_again_and_the_last_that_passes_does_not_drain_for_a_release(crew: tuple[str, ...],
                                                                                      most: int) -> None:
    """Else it waits until no nginx lists it, the next one until it is gone, and the deadline of the release as well."""
    spec = {**ROLLING, "replicas": {"min": 0, "initial": 1, "max": most}}
    seen = world(spec, NEW, *crew, replicas=1, serving=frozenset({("node-1", "s0")}), in_flight={"c0": 0},
                 idle_reads={"c0": 3})
    assert seen.state.release.rollout and decided(seen) == ["undrain books-1"]
    others = world({**spec, "replicas": {"min": 0, "max": 3}}, NEW, *crew, f"{len(crew) + 1} books:2 passing",
                   replicas=1, serving=frozenset({("node-1", "s0"), ("node-1", f"s{len(crew)}")}),
                   in_flight={"c0": 0}, idle_reads={"c0": 3})
    assert "undrain books-1" not in decided(others)


def test_rolling_lets_a_newcomer_in_when_its_smoke_path_answers_and_then_an_old_one_goes() -> None:
    spec = {**ROLLING, "release": {**ROLLING["release"], "smoke": "/books"}}
    old = ("1 books:1 passing", "2 books:1 passing")
    joining = world(spec, NEW, *old, "3 books:2 joining")
    assert decided(later(joining, 4, smoke={"c2": "answers 404"})) == ["wait books-3"]
    assert decided(later(joining, 4, smoke={"c2": ""})) == ["admit books-3"]
    assert decided(later(world(spec, NEW, *old, "3 books:2 passing"), 4, smoke={"c2": ""})) == ["drain books-1"]
    assert decided(later(joining, 61, certain=False)) == ["confirm books-3", "confirm"]
    failed = later(joining, 61, smoke={"c2": "answers 404"}).state.release.failed
    assert failed and failed.why == "smoke path /books: books-3 answers 404"


def test_a_service_that_is_held_gets_no_release() -> None:
    seen = world(BLUE_GREEN, NEW, *BLUE, keys={"hold": b""})
    assert seen.state.release.rollout is None and {each.kind for each in plan.plan(seen)} <= {"hold"}
