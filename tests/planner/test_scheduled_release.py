"""Releases by engines that are told only how many there should be, as tables; test_on_swarm has a real engine."""

from typing import Any

import msgspec
import pytest

from lictor.model import Group
from lictor.planner import next_state, plan
from lictor.planner.actions import Act, Redeploy
from lictor.planner.observation import Observation, Reservation, drain_text
from lictor.planner.service_state import Failure, Failures, LastOrder, Rollout
from lictor.reconcile import scheduler_view

from support.scene import NOW, fields_of, state_of
from support.scheduled_scene import BLUE, GREEN, NEW, ROLLING, SPEC, TWO, decided, group, release_of, world


@pytest.mark.parametrize(("groups", "crew", "since_s", "expected"), [
    ((BLUE,), TWO, 0, ["scale books-green 2"]),
    ((BLUE, group("green", 0, "books:2")), TWO, 0, ["scale books-green 2"]),
    ((BLUE, GREEN), (*TWO, "c green passing"), 0, ["wait books-green"]),
    ((BLUE, GREEN), (*TWO, *NEW), 1, ["wait books-green"]),
    ((BLUE, GREEN), (*TWO, *NEW), 4, ["switch books-green"]),
])
def test_a_release_comes_up_in_the_other_colour(groups: tuple[Group, ...], crew: tuple[str, ...], since_s: float,
                                                expected: list[str]) -> None:
    seen = world("books:2", 2, groups, *crew)
    seen = seen._replace(now=NOW + since_s)
    assert decided(seen._replace(state=next_state.advance(seen))) == expected


def test_a_release_that_fits_nowhere_fails_with_the_engine_s_own_words() -> None:
    stuck = group("green", 2, "books:2", trouble="no suitable node (insufficient resources on 3 nodes)")
    seen = world("books:2", 2, (BLUE, stuck), *TWO)._replace(now=NOW + 61)
    seen = seen._replace(state=next_state.advance(seen))
    assert seen.state.release.failed and "insufficient resources on 3 nodes" in seen.state.release.failed.why
    assert decided(seen) == ["retire books-green", "hold "]


def test_a_release_that_never_passes_fails_at_its_deadline() -> None:
    seen = world("books:2", 2, (BLUE, GREEN), *TWO, "c green critical", "d green passing",
                 state={"passed_once": ["a", "b"]})
    assert seen.state.healing.critical_since == {"c": NOW} and not seen.state.release.failed
    late = world("books:2", 2, (BLUE, GREEN), *TWO, "c green critical", "d green passing", now=NOW + 61, state={
        "passed_once": ["a", "b", "d"], "rollout": seen.state.release.rollout,
        "critical_since": seen.state.healing.critical_since})
    assert late.state.release.failed and "not all passed within 60 s" in late.state.release.failed.why


def looped(seen: Observation, after_s: float, *ids: str) -> Observation:
    """A while later, when these run of the new release, and have just started."""
    blue = [each for each in seen.instances if "blue" in each.service]
    instances = (*blue, *(blue[0]._replace(service_id=f"s-{each}", service="books-green", status="critical",
                                           container_id=each) for each in ids))
    assert seen.scheduler
    made = scheduler_view.containers(seen.desired, seen.state, seen.scheduler, instances, NOW + after_s)
    known = [each._replace(release=release_of("books:2")) if "green" in each.color else each for each in made]
    seen = seen._replace(now=NOW + after_s, instances=instances, containers=tuple(known))
    return seen._replace(state=next_state.advance(seen))


@pytest.mark.parametrize(("seen_at", "failed_at"), [
    # one that comes later begins the deadline anew, as a pull may take long
    ([(30, "c"), (50, "cd"), (89, "cd")], None), ([(30, "c"), (50, "cd"), (109, "cd")], None),
    ([(30, "c"), (50, "cd"), (110, "cd")], 110),
    # what comes for one that has ended does not, however many of them stand at once
    ([(30, "e"), (50, "ef"), (61, "ef")], 61), ([(20, "e"), (40, "fg"), (61, "gh")], 61),
    ([(30, ""), (50, "gh"), (61, "gh")], 61),
])
def test_a_crash_loop_brings_no_new_instance(seen_at: list[tuple[float, str]], failed_at: float | None) -> None:
    groups = (group("blue", 2, "books:1", "a", "b"), group("green", 2, "books:2", *"cdefgh"))
    seen = world("books:2", 2, groups, *TWO, "c green critical", state={"passed_once": ["a", "b"]})
    for after_s, ids in seen_at:
        seen = looped(seen, after_s, *ids)
    failed = seen.state.release.failed
    assert (failed.at - NOW if failed else None) == failed_at


def test_a_failed_colour_is_retired_when_none_of_it_is_at_work() -> None:
    failed = {"failed": Failure(release_of("books:2"), "books:2", "it has given up", NOW - 1, NOW - 30),
              "passed_once": ["a", "b"], "critical_since": {"c": NOW - 5}}
    seen = world("books:2", 2, (BLUE, GREEN), *TWO, "c green critical", "d green passing", state=failed)
    assert decided(seen) == ["wait books-green", "hold "]
    assert decided(seen._replace(now=NOW + 30)) == ["retire books-green", "hold "]
    passing = world("books:2", 2, (BLUE, GREEN), *TWO, "c green passing", state=failed)
    assert decided(passing) == ["retire books-green", "hold "]


@pytest.mark.parametrize(("blue", "after_s", "behind", "expected"), [
    (BLUE, 10, (), ["wait books-blue"]),  # connections on other nodes cannot be seen
    (BLUE, 31, (), ["scale books-blue 0"]),
    (BLUE, 31, (("node-2", True),), ["wait books-blue"]),
    (BLUE, 61, (("node-2", False),), ["hold books-blue"]),
    (group("blue", 0, "books:1"), 599, (), []),
    (group("blue", 0, "books:1"), 601, (), ["retire books-blue"]),
])
def test_what_was_live_is_scaled_to_nothing_kept_and_retired(blue: Group, after_s: float, behind: tuple[Any, ...],
                                                             expected: list[str]) -> None:
    state = {"color": "green", "live": {**SPEC, "image": "books:2"}, "live_release": release_of("books:2"),
             "previous": {**SPEC, "image": "books:1"}, "previous_release": release_of("books:1"), "switched_at": NOW}
    assert decided(world("books:2", 2, (blue, GREEN), *NEW, state=state, behind=behind, now=NOW + after_s)) == expected


def test_rolling_is_the_engine_s_own_and_taken_back_when_it_fails() -> None:
    old = group("", 2, "books:1", "a", "b", spec=ROLLING)
    seen = world("books:2", 2, (old,), "a - passing", "b - passing", spec=ROLLING)
    assert decided(seen) == ["redeploy books 2"]
    half = (group("", 2, "books:2", "c", spec=ROLLING),)
    first = rolling(half, "a - passing", "c - critical", rollout=seen.state.release.rollout, passed_once=["a"])
    late = rolling(half, "a - passing", "c - critical", rollout=first.state.release.rollout, passed_once=["a"],
                   critical_since={"c": NOW}, now=NOW + 61)
    assert late.state.release.failed and decided(late)[0] == "redeploy books 2"
    back = plan.plan(late)[0]
    assert isinstance(back, Redeploy) and back.release == release_of("books:1", ROLLING)


def rolling(groups: tuple[Group, ...], *crew: str, rollout: Rollout | None, spec: dict[str, Any] = ROLLING,
            now: float = NOW, certain: bool = True, remembers: bool = True, **state: Any) -> Observation:
    return world("books:2", 2, groups, *crew, spec=spec, now=now, certain=certain, remembers=remembers,
                 state={"rollout": rollout, **state})


ALL_NEW = (group("", 2, "books:2", "c", "d", spec=ROLLING),)
BEGUN = Rollout(release_of("books:2", ROLLING), NOW - 9, passing_since=NOW - 4, most=2, moved_at=NOW - 9)


def test_a_rolling_release_ends_with_a_consistent_reading() -> None:
    new = ("c - passing", "d - passing")
    young = msgspec.structs.replace(BEGUN, passing_since=NOW - 2)
    assert decided(rolling(ALL_NEW, *new, rollout=young, certain=False)) == ["wait books"]
    assert decided(rolling(ALL_NEW, *new, rollout=BEGUN, certain=False)) == ["confirm books"]
    ended = rolling(ALL_NEW, *new, rollout=BEGUN)
    assert ended.state.release.rollout is None and ended.state.release.live_release == BEGUN.release
    assert decided(ended) == []
    ill = rolling(ALL_NEW, new[0], "d - critical", rollout=BEGUN, certain=False)
    assert ill.state.release.rollout and decided(ill) == ["wait s-d on node-1"]


def test_a_rolling_release_ends_only_if_the_smoke_path_of_all_answers() -> None:
    spec = {**ROLLING, "release": {**ROLLING["release"], "smoke": "/books"}}
    groups = (group("", 2, "books:2", "c", "d", spec=spec),)
    begun = msgspec.structs.replace(BEGUN, release=release_of("books:2", spec))
    for said, expected in (("answers 500", ["wait books"]), ("", [])):
        seen = world("books:2", 2, groups, "c - passing", "d - passing", spec=spec, state={"rollout": begun},
                     smoke={"c": "", "d": said})
        assert decided(seen) == expected and bool(seen.state.release.rollout) == bool(expected)


def test_an_update_that_the_engine_does_not_go_on_with_fails_the_release() -> None:
    paused = group("", 2, "books:2", "c", spec=ROLLING, trouble="update paused due to failure", gave_up=True)
    before = rolling((paused,), "a - passing", "c - passing", rollout=BEGUN,
                     last_orders={"": LastOrder(2, BEGUN.release, NOW - 99)})
    assert before.state.release.rollout and decided(before)[0] == "scale books 2"  # asked for again: that has it go on
    seen = rolling((paused,), "a - passing", "c - passing", rollout=BEGUN,
                   last_orders={"": LastOrder(2, BEGUN.release, NOW - 8)})
    assert seen.state.release.failed and "update paused due to failure" in seen.state.release.failed.why
    assert decided(seen)[0] == "redeploy books 2"


def test_the_deadline_of_an_engine_s_rolling_update_counts_from_the_last_new_instance() -> None:
    half, crew = (group("", 2, "books:2", "c", spec=ROLLING),), ("a - passing", "c - passing")
    one = msgspec.structs.replace(BEGUN, began_at=NOW - 300, most=0, moved_at=NOW - 59)
    came = rolling(half, *crew, rollout=one)
    assert came.state.release.rollout and came.state.release.rollout.moved_at == NOW
    late = rolling(half, *crew, rollout=came.state.release.rollout, now=NOW + 60)
    assert late.state.release.failed and "only 1 of 2 could be started within 60 s" in late.state.release.failed.why


def test_what_a_forgetful_engine_did_not_end_well_is_none_of_the_release_and_fails_it() -> None:
    """Its playbook broke off half-way, say: it is told again after a while, and taken back at the deadline."""
    half = (Group("books", "", 2, "", "books:1", None),)
    asked: dict[str, Any] = {"last_orders": {"": LastOrder(2, "", NOW - 20, done=False)},
                             "order_failures": {"": Failures(2, NOW - 20, "exit code 2: no inventory")}}
    begun = msgspec.structs.replace(BEGUN, passing_since=0.0, most=0)
    crew = ("a - passing", "b - passing")
    again = rolling(half, *crew, rollout=begun, remembers=False, **asked)
    (redeploy,) = plan.plan(again)
    assert decided(again) == ["redeploy books 2"] and isinstance(redeploy, Redeploy)
    assert redeploy.release == BEGUN.release
    late = rolling(half, *crew, rollout=begun, remembers=False, now=NOW + 60, **asked)
    assert late.state.release.failed and late.state.release.failed.why == (
        "no instance could be started within 60 s (release.deadline): failing: exit code 2: no inventory")
    (back, _) = plan.plan(late)
    assert isinstance(back, Redeploy) and back.release == release_of("books:1", ROLLING)
    just_failed = {**asked, "order_failures": {"": Failures(9, NOW + 59)}}  # that does not put off the way back
    assert decided(rolling(half, *crew, rollout=begun, remembers=False, now=NOW + 60, **just_failed))[0] == (
        "redeploy books 2")


def test_a_release_ends_whatever_consul_keeps_of_a_node_that_died() -> None:
    """For three days. But whether what the engine still takes for running there passes, nobody can see."""
    done = group("", 2, "books:2", "c", "d", spec=ROLLING)
    dead, new = "a - passing node-2!", ("c - passing", "d - passing")
    begun = msgspec.structs.replace(BEGUN, passing_since=NOW - 60)
    assert rolling((done,), dead, *new, rollout=begun).state.release.live_release == BEGUN.release
    away = rolling((done,), "c - passing", "d - passing node-2!", rollout=begun)
    assert away.state.release.rollout and decided(away) == ["wait books"]
    late = rolling((done,), "c - passing", "d - passing node-2!", rollout=away.state.release.rollout, now=NOW + 60)
    assert late.state.release.failed and "only 1 of 2 could be started" in late.state.release.failed.why


def test_a_release_fails_when_its_engine_does_not_end_what_it_replaces() -> None:
    told = (group("", 2, "books:2", "c", "d", spec=ROLLING),)
    crew = ("a - passing", "c - passing", "d - passing")
    begun = msgspec.structs.replace(BEGUN, passing_since=NOW - 59, most=2, moved_at=NOW - 100)
    seen = rolling(told, *crew, rollout=begun)
    assert seen.state.release.rollout and decided(seen)[0] == "wait books"
    late = rolling(told, *crew, rollout=begun, now=NOW + 1)
    assert late.state.release.failed and "3 are there, 2 are desired" in late.state.release.failed.why


def test_a_drain_that_does_not_end_does_not_put_off_a_release_for_ever() -> None:
    """The registrar of its node died before it could take the registration back, say."""
    told = (group("", 2, "books:2", "c", "d", spec=ROLLING),)
    stale = rolling(told, "a - critical", "c - passing", "d - passing", rollout=BEGUN)
    marked = tuple(each._replace(maintenance=drain_text(NOW - 5, "Swarm ends it")) if each.container_id == "a" else each
                   for each in stale.instances)
    state, held_up = BEGUN, []
    for later_s in range(0, 301, 10):
        seen = stale._replace(now=NOW + later_s, instances=marked, state=state_of(
            **{**fields_of(stale.state), "rollout": state}))
        seen = seen._replace(state=next_state.advance(seen))
        if not seen.state.release.rollout:
            break
        state = seen.state.release.rollout
        held_up += [later_s] if not state.moved_at else []
    assert held_up and held_up[-1] == 30  # its drain, and the grace to stop
    failed = seen.state.release.failed
    assert failed and "3 are there, 2 are desired" in failed.why and later_s == 100


def test_who_scales_down_during_a_release_does_not_fail_it() -> None:
    """Fewer are asked for only when that has stood for a while; until then as many run as were asked for."""
    spec = {**ROLLING, "release": {**ROLLING["release"], "deadline": "30s"}}
    new, old = release_of("books:2", spec), release_of("books:1", spec)
    state = {"live": {**spec, "image": "books:1"}, "live_release": old,
             "last_orders": {"": LastOrder(3, new, NOW - 40)}, "surplus_since": NOW - 40,
             "rollout": Rollout(new, NOW - 45, passing_since=NOW - 35, most=2, moved_at=NOW - 36)}
    seen = world("books:2", 2, (group("", 3, "books:2", *"abc", spec=spec),),
                 *(f"{each} - passing" for each in "abc"), spec=spec, state=state)
    assert seen.state.release.rollout and decided(seen) == ["wait books"]


@pytest.mark.parametrize(("stood_s", "fails"), [(62, False), (89, False), (90, True)])
def test_an_engine_that_fails_when_it_is_asked_for_fewer_gets_a_deadline_for_that(stood_s: float, fails: bool) -> None:
    """All pass, and have for long; its playbook breaks off once."""
    spec = {**ROLLING, "release": {**ROLLING["release"], "deadline": "30s"}}
    new, old = release_of("books:2", spec), release_of("books:1", spec)
    state = {"live": {**spec, "image": "books:1"}, "live_release": old, "surplus_since": NOW - stood_s,
             "last_orders": {"": LastOrder(3, new, NOW - 1, done=False)}, "order_failures": {"": Failures(2, NOW)},
             "rollout": Rollout(new, NOW - 99, passing_since=NOW - 95, most=2, moved_at=NOW - 96)}
    seen = world("books:2", 2, (Group("books", "", 3, new, "books:2", None),), *(f"{each} - passing" for each in "abc"),
                 spec=spec, remembers=False, ends=False, state=state)
    assert bool(seen.state.release.failed) == fails
    assert decided(seen) == (["redeploy books 3", "hold "] if fails else ["wait books"])


def test_nobody_is_replaced_while_a_rolling_release_is_under_way() -> None:
    spec = {**ROLLING, "release": {**ROLLING["release"], "deadline": "120s"}}
    new = release_of("books:2", spec)
    state = {"live": {**spec, "image": "books:1"}, "live_release": release_of("books:1", spec), "passed_once": [],
             "critical_since": dict.fromkeys("ab", NOW - 80), "last_orders": {"": LastOrder(2, new, NOW - 82)},
             "rollout": Rollout(new, NOW - 85, most=2, moved_at=NOW - 82)}
    seen = world("books:2", 2, (group("", 2, "books:2", *"ab", spec=spec),), "a - critical", "b - critical", spec=spec,
                 state=state)
    assert seen.state.release.rollout and decided(seen)
    assert not [each for each in plan.plan(seen) if isinstance(each, Act)]


@pytest.mark.parametrize("remembers", [True, False])
def test_the_ill_of_a_release_that_failed_are_its_engine_s_to_replace(remembers: bool) -> None:
    """It is told of the way back once, and nothing of that is taken off the budget, nor opens the breaker."""
    spec = {**ROLLING, "heal": {"grace": "10s", "budget": 1}, "release": {**ROLLING["release"], "deadline": "120s"}}
    new, old = release_of("books:2", spec), release_of("books:1", spec)
    state = {"live": {**spec, "image": "books:1"}, "live_release": old, "passed_once": [],
             "critical_since": dict.fromkeys("ab", NOW - 120), "last_orders": {"": LastOrder(2, new, NOW - 121)},
             "rollout": Rollout(new, NOW - 125, most=2, moved_at=NOW - 121)}
    told = group("", 2, "books:2", *"ab", spec=spec)._replace(container_ids=("a", "b") if remembers else None)
    crew = ("a - critical", "b - critical")
    how: dict[str, Any] = {"spec": spec, "remembers": remembers, "ends": remembers}
    spent = (Reservation("books", "x", NOW - 30),)
    for reservations in ((), spent):
        late = world("books:2", 2, (told,), *crew, state=state, reservations=reservations, **how)
        assert late.state.release.failed and not late.state.breaker and decided(late) == ["redeploy books 2", "hold "]
    back = {**state, "rollout": None, "failed": late.state.release.failed}
    for ago_s, expected in ((119, ["hold "]), (120, ["end s-a on node-1", "hold "])):
        back["last_orders"] = {"": LastOrder(2, old, NOW - ago_s)}
        seen = world("books:2", 2, (group("", 2, "books:1", spec=spec),), *crew, state=back, spec=spec)
        assert decided(seen)[-len(expected):] == expected and len(decided(seen)) == len(expected)


def test_an_engine_is_not_told_twice_at_once() -> None:
    """What it did with the live colour is not known, and one is ill."""
    asked = {"blue": LastOrder(2, "", NOW - 90, done=False)}
    seen = world("books:1", 2, (Group("books", "blue", 2, "", "books:1", None),), "a blue critical", "b blue passing",
                 state={"last_orders": asked, "critical_since": {"a": NOW - 20}}, remembers=False, ends=False)
    assert decided(seen) == ["redeploy books-blue 2"]


def test_a_failed_release_runs_on_while_an_nginx_may_send_requests_to_it() -> None:
    """It was live until just now, and asked for again."""
    old, new = release_of("books:1"), release_of("books:2")
    state = {"live": {**SPEC, "image": "books:2"}, "live_release": new, "color": "green",
             "previous": {**SPEC, "image": "books:1"}, "previous_release": old, "switched_at": NOW - 20,
             "failed": Failure(old, "books:1", "smoke path", NOW)}
    both = (BLUE, GREEN)
    assert decided(world("books:1", 2, both, *TWO, *NEW, state=state, behind=(("node-3", True),)))[0] == (
        "wait books-blue")
    assert decided(world("books:1", 2, both, *TWO, *NEW, state=state))[0] == "retire books-blue"


def test_a_colour_with_others_in_it_does_not_go_live() -> None:
    told = (BLUE, group("green", 2, "books:2", "c", "d"))
    begun = Rollout(release_of("books:2"), NOW - 60, passing_since=NOW - 60, most=2, moved_at=NOW - 59)
    state = {"rollout": begun}
    assert "switch books-green" in decided(world("books:2", 2, told, *TWO, *NEW, state=state))
    assert decided(world("books:2", 2, told, *TWO, *NEW, "x green passing", state=state)) == ["wait books-green"]


def test_who_scales_down_and_up_again_during_a_release_gives_it_another_deadline() -> None:
    asked = {"": LastOrder(3, BEGUN.release, NOW - 99)}
    state = {"rollout": msgspec.structs.replace(BEGUN, most=3, moved_at=NOW - 59, passing_since=0.0),
             "last_orders": asked}
    one = world("books:2", 1, (group("", 1, "books:2", "c", spec=ROLLING),), "c - critical", spec=ROLLING, state=state)
    assert one.state.release.rollout and one.state.release.rollout.most == 1
    told = (group("", 3, "books:2", "c", "d", spec=ROLLING),)
    three = world("books:2", 3, told, "c - critical", "d - critical", spec=ROLLING, now=NOW + 30,
                  state={"rollout": one.state.release.rollout, "last_orders": asked, "passed_once": []})
    assert three.state.release.rollout and three.state.release.rollout.moved_at == NOW + 30


def test_a_node_that_cannot_tell_leaves_what_the_release_comes_to_as_it_is() -> None:
    """A Swarm's worker does not see which instances are new: to it, all are of what was asked for last."""
    begun = msgspec.structs.replace(BEGUN, passing_since=0.0, most=1)
    state = {"rollout": begun, "last_orders": {"": LastOrder(2, BEGUN.release, NOW - 9)}}
    blind = (Group("books", "", 2, BEGUN.release, "books:2", None),)
    for now in (NOW, NOW + 100):
        seen = world("books:2", 2, blind, "a - passing", "b - passing", spec=ROLLING, tells=False, now=now, state=state)
        assert seen.state.release.rollout == begun and not seen.state.release.failed
        assert seen.state.release.live_release == release_of("books:1", ROLLING) and decided(seen) == []


def test_the_deadline_counts_from_when_the_engine_was_told_all() -> None:
    """Its playbook took a minute, and what it made registers a moment later."""
    asked = {"": LastOrder(2, BEGUN.release, NOW + 62)}
    begun = msgspec.structs.replace(BEGUN, passing_since=0.0, most=0)
    told = (Group("books", "", 2, BEGUN.release, "books:2", None),)
    seen = rolling(told, rollout=begun, remembers=False, now=NOW + 63, last_orders=asked)
    assert seen.state.release.rollout and seen.state.release.rollout.moved_at == NOW + 62
    assert rolling(told, rollout=begun, remembers=False, now=NOW + 122, last_orders=asked).state.release.failed


def test_a_colour_that_a_forgetful_engine_only_half_made_fails_and_is_ended() -> None:
    half = (BLUE, Group("books", "green", 2, release_of("books:2"), "books:2", None))
    asked = {"blue": LastOrder(2, release_of("books:1"), NOW - 999),
             "green": LastOrder(2, release_of("books:2"), NOW - 61, done=False)}
    begun = Rollout(release_of("books:2"), NOW - 60, most=2, moved_at=NOW - 60)
    seen = world("books:2", 2, half, *TWO, *NEW, remembers=False, state={"last_orders": asked, "rollout": begun})
    assert seen.state.release.failed and "its scheduler did not complete its order" in seen.state.release.failed.why
    assert decided(seen) == ["retire books-green", "hold "]


def test_another_image_and_fewer_at_once_make_no_sudden_drop() -> None:
    five, wanted = group("", 5, "books:1", *"abcde", spec=ROLLING), ("redeploy books 5", "wait books", "scale books 2")
    for told, since_s, expected in ((five, 100, wanted[0]), (five._replace(release=release_of("books:2", ROLLING)), 5,
                                                             wanted[1]),
                                    (five._replace(release=release_of("books:2", ROLLING)), 100, wanted[2])):
        seen = world("books:2", 2, (told,), *(f"{each} - passing" for each in "abcde"), spec=ROLLING,
                     state={"surplus_since": NOW - since_s})
        assert decided(seen)[0] == expected


def test_what_serves_nobody_yet_is_lowered_at_once() -> None:
    many = group("green", 5, "books:2", "c", "d")
    assert decided(world("books:2", 2, (BLUE, many), *TWO, *NEW)) == ["scale books-green 2"]
