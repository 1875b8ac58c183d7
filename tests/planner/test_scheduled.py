"""Services whose engine is told only how many there should be, as tables; test_on_swarm has a real engine."""

import msgspec
import pytest

from lictor import errors, model
from lictor.model import Group
from lictor.planner import backoff, desired, next_state, plan, scheduled
from lictor.planner.actions import Redeploy
from lictor.planner.observation import Observer
from lictor.planner.service_state import Failures, LastOrder, State
from lictor.reconcile import scheduler_view

from support.scene import NOW
from support.scheduled_scene import BLUE, ROLLING, SPEC, TWO, decided, group, release_of, world


@pytest.mark.parametrize(("count", "groups", "crew", "expected"), [
    (2, (), (), ["scale books-blue 2"]),
    (2, (BLUE,), TWO, []),
    (3, (BLUE,), TWO, ["scale books-blue 3"]),
    (1, (BLUE,), TWO, ["scale books-blue 1"]),
    (0, (BLUE,), TWO, ["scale books-blue 0"]),
    (2, (group("blue", 2, "books:1", "a", trouble="no suitable node"),), TWO[:1], ["wait books-blue"]),
    # ended by its own node only, and one at a time
    (2, (BLUE,), ("a blue critical", "b blue passing"), ["end s-a on node-1"]),
    (2, (BLUE,), ("a blue critical node-2", "b blue passing"), []),
])
def test_the_engine_is_told_absolute_counts(count: int, groups: tuple[Group, ...], crew: tuple[str, ...],
                                            expected: list[str]) -> None:
    state = {"surplus_since": NOW - 100, "critical_since": {"a": NOW - 20}}
    assert decided(world("books:1", count, groups, *crew, state=state)) == expected


@pytest.mark.parametrize(("count", "listed", "expected"), [
    (2, "ab", "end s-a on node-1"),  # its task is replaced already: what Consul keeps of it for days is nobody's
    (3, "abx", "end s-a on node-1"),  # only its Consul is away
    (3, "ab", "wait books-blue"),  # another is on its way
])
def test_a_node_that_does_not_answer_keeps_no_other_from_being_replaced(count: int, listed: str, expected: str) -> None:
    crew = ("a blue critical", "b blue passing", "x blue passing node-2!")
    seen = world("books:1", count, (group("blue", count, "books:1", *listed),), *crew,
                 state={"critical_since": {"a": NOW - 20}})
    assert decided(seen)[-1] == expected


def test_what_a_lost_host_had_is_asked_for_again_and_what_it_brings_back_is_ended() -> None:
    two = (group("blue", 2, "books:1"),)
    asked = {"last_orders": {"blue": LastOrder(2, release_of("books:1"), NOW - 60)}, "surplus_since": NOW - 100}
    lost = world("books:1", 2, two, "a blue passing", "b blue passing node-2!", state=asked, remembers=False)
    assert decided(lost) == ["scale books-blue 2"] and "1 of 2 are there" in plan.plan(lost)[0].reason
    back = (*TWO, "c blue passing node-2")
    assert decided(world("books:1", 2, two, *back, state=asked, remembers=False)) == ["scale books-blue 2"]
    briefly = {**asked, "surplus_since": 0.0}
    assert decided(world("books:1", 2, two, *back, state=briefly, remembers=False)) == ["wait books-blue"]
    assert decided(world("books:1", 2, (BLUE,), *back, state=asked)) == []  # one that can say ends it by itself


def test_what_a_host_brings_back_of_the_other_colour_is_ended() -> None:
    asked = {"blue": LastOrder(2, release_of("books:1"), NOW - 600),
             "green": LastOrder(0, release_of("books:2"), NOW - 600)}
    none = (BLUE, group("green", 0, "books:2"))
    crew = (*TWO, "c green passing node-2")
    for ago_s, expected in ((59, []), (60, ["scale books-green 0"])):
        asked["green"] = LastOrder(0, release_of("books:2"), NOW - ago_s)
        assert decided(world("books:1", 2, none, *crew, state={"last_orders": asked}, remembers=False)) == expected


def test_what_another_node_has_paused_is_called_paused() -> None:
    seen = world("books:1", 2, (BLUE,), "a blue passing", "b" * 20 + " blue passing node-2")
    first, second = seen.instances
    for reason, said in ((model.PAUSED, "paused: it gets no traffic, and is left alone until `docker unpause "
                          "bbbbbbbbbbbb`."), ("update", "maintenance: it was taken out of traffic by hand (update).")):
        withheld = seen._replace(instances=(first, second._replace(maintenance=reason)))
        [action] = plan.plan(withheld)
        assert (action.kind, action.container, action.reason) == ("hold", second.service_id + " on node-2", said)


def test_an_engine_that_was_told_to_end_a_service_is_not_told_so_all_the_time() -> None:
    """A host whose registrar is dead keeps what it has registered."""
    for ago_s, expected in ((59, []), (60, ["retire books-blue"])):
        asked = {"blue": LastOrder(0, release_of("books:1"), NOW - ago_s)}
        seen = world("books:1", 2, (group("blue", 0, "books:1"),), *TWO, keys={"removed": b""}, remembers=False,
                     state={"last_orders": asked})
        assert decided(seen) == expected


def test_instances_whose_port_only_their_playbook_knows_are_missed_too() -> None:
    spec = {key: each for key, each in SPEC.items() if key not in ("port", "check")}
    two = (group("blue", 2, "books:1", spec=spec),)
    asked = {"blue": LastOrder(2, release_of("books:1", spec), NOW - 60)}
    live = {"last_orders": asked, "live": {**spec, "image": "books:1"}, "live_release": release_of("books:1", spec),
            "color": "blue"}
    keys = {"color": b"blue"}
    lost = world("books:1", 2, two, "a blue passing", "b blue passing node-2!", spec=spec, state=live, keys=keys,
                 remembers=False)
    assert decided(lost) == ["scale books-blue 2"]
    unseen = world("books:1", 2, two, spec=spec, state={**live, "live_is_proven": False}, keys=keys, remembers=False)
    assert decided(unseen) == []


def test_what_only_one_of_those_that_look_sees_is_not_remembered_as_a_doubt() -> None:
    """The others would end it each time, and the grace begin anew; whom it concerns still heeds it."""
    state = {"critical_since": {"a": NOW - 20}}
    blind = world("books:1", 2, (BLUE,), "a blue critical", "b blue passing", state=state,
                  observer=Observer(nginx_trouble="it does not answer"))
    assert blind.state.trust.doubt == "" and blind.state.notified.causes == ["held on node-1"]
    (held,) = plan.plan(blind)
    assert held.kind == "hold" and "nginx itself fails" in held.reason


def test_when_a_doubt_of_one_node_ends_the_grace_counts_anew_there_and_only_there() -> None:
    """What failed with its nginx has to pass first; the others had no reason to wait."""
    first = world("books:1", 2, (BLUE,), "a blue critical", "b blue passing", state={"critical_since": {"a": NOW - 20}},
                  observer=Observer(nginx_trouble="it does not answer"))
    assert first.scheduler and decided(first) == ["hold s-a on node-1"]
    over = first._replace(observer=Observer())
    for later_s, expected in ((5, []), (14, []), (15, ["end s-a on node-1"])):
        over = over._replace(now=NOW + later_s)
        over = over._replace(state=next_state.advance(over))
        assert decided(over) == expected and over.state.trust.by_node == {"node-1": NOW + 5}
    other_node = first.scheduler._replace(node="node-2", ends_instances=False)
    elsewhere = first._replace(scheduler=other_node, observer=Observer())
    elsewhere = elsewhere._replace(state=next_state.advance(elsewhere))
    assert elsewhere.state.trust.by_node == {"node-1": 0.0} and decided(elsewhere) == ["redeploy books-blue 2"]


def test_a_person_is_told_once_of_what_one_node_doubts_whoever_looks() -> None:
    blind = Observer(nginx_trouble="it does not answer")
    seen = world("books:1", 2, (BLUE,), "a blue critical", "b blue passing", state={"critical_since": {"a": NOW - 20}},
                 observer=blind)
    assert next_state.causes(seen) == {
        "held on node-1": "on hold on node-1: nginx itself fails: it does not answer. No running instance is replaced "
                          "by this node."}
    for node, observer, told in (("node-2", Observer(), ["held on node-1"]), ("node-1", blind, ["held on node-1"]),
                                 ("node-1", Observer(), []), ("node-2", Observer(), [])):
        assert seen.scheduler
        seen = seen._replace(scheduler=seen.scheduler._replace(node=node), observer=observer)
        seen = seen._replace(state=next_state.advance(seen))
        assert seen.state.notified.causes == told


def test_a_colour_that_nobody_remembers_is_known_by_what_is_registered() -> None:
    wanted = desired.desired("books", {"spec": msgspec.json.encode(SPEC), "color": b"blue"}, State())
    found = [model.Instance("node-1", "s", f"books-{color}", "10.0.0.1", 1, "passing", alive, None, f"{color} {alive}")
             for color, alive in (("blue", True), ("green", True), ("green", False))]
    (green,) = scheduler_view.remembered_groups(wanted, State(), found)
    assert (green.color, green.replicas, green.release) == ("green", 1, "")
    gone = wanted._replace(removed=True)
    assert [each.color for each in scheduler_view.remembered_groups(gone, State(), found)] == ["blue", "green"]
    assert decided(world("books:1", 2, (BLUE, green), *TWO, "c green passing", remembers=False)) == [
        "scale books-green 0"]


def test_an_engine_is_told_nothing_when_what_serves_is_not_remembered() -> None:
    """Else what is asked for now would be told as what is live."""
    lost = {"live": None, "live_release": release_of("books:1"), "color": "blue"}
    seen = world("books:2", 3, (BLUE,), *TWO, state=lost)
    assert decided(seen) == ["hold books-blue", "scale books-green 3"]


def test_fewer_are_asked_for_only_when_that_has_stood_and_a_consistent_reading_shows_it() -> None:
    assert decided(world("books:1", 1, (BLUE,), *TWO)) == ["wait books-blue"]
    stood = {"surplus_since": NOW - 100}
    assert decided(world("books:1", 1, (BLUE,), *TWO, state=stood, certain=False)) == ["confirm books-blue"]


def test_an_engine_that_forgets_is_told_again_when_nothing_has_come_of_it() -> None:
    for ago_s, expected in ((59, ["wait books-blue"]), (60, ["scale books-blue 2"])):
        asked = {"last_orders": {"blue": LastOrder(2, release_of("books:1"), NOW - ago_s)}}
        assert decided(world("books:1", 2, (BLUE,), *TWO[:1], state=asked, remembers=False)) == expected


def test_an_engine_that_fails_is_told_again_only_after_a_while() -> None:
    for color, ago_s, expected in (("blue", 5, "wait books-blue"), ("blue", 11, "scale books-blue 3"),
                                   ("green", 5, "scale books-blue 3")):
        failed = {"order_failures": {color: Failures(2, NOW - ago_s)}}
        assert decided(world("books:1", 3, (BLUE,), *TWO, state=failed)) == [expected]


@pytest.mark.parametrize(("image", "runs", "release", "said"), [
    ("books:2", "books:1", "r", "books:2 is desired, books:1 runs"),
    ("books:2", "books:2", "r", "another release of books:2 is desired, books:2 runs"),
    ("", "", "r", "another release is desired, an earlier one runs"),
    ("", "books:1", "r", "another release is desired, books:1 runs"),
    ("books:2", "books:2", "", "books:2 is desired, it is unknown what runs"),
])
def test_an_order_of_another_release_says_so_without_an_image_too(image: str, runs: str, release: str,
                                                                  said: str) -> None:
    there = Group("books", "", 1, release, runs, None)
    seen = world("books:1", 1, (there,), "a - passing", spec={**ROLLING, "engine": "command"})
    assert seen.desired.spec
    wanted = seen.desired._replace(spec=msgspec.structs.replace(seen.desired.spec, image=image))
    (order,) = [each for each in plan.plan(seen._replace(desired=wanted)) if isinstance(each, Redeploy)]
    assert order.reason == said


def test_an_order_that_was_refused_is_on_hold_with_its_cause() -> None:
    state = next_state.order_failed(State(), "blue", errors.Refused("no such\nplaybook"), NOW - 20)
    failures = {"order_failures": state.release.order_failures}
    seen = world("books:1", 3, (BLUE,), *TWO, state=failures)
    assert [each.reason for each in plan.plan(seen)] == [
        "on hold: it was refused: no such playbook. It is tried again every 5 min, or after `lictor resume books`. "
        "Would scale books-blue (replicas key is 3)."]
    assert decided(seen._replace(now=NOW + 280)) == ["scale books-blue 3"]
    assert backoff.trouble(state) == "refused: no such playbook"


def test_one_that_cannot_end_an_instance_is_asked_to_make_all_anew_within_the_budget() -> None:
    state = {"critical_since": {"a": NOW - 20}, "last_orders": {"blue": LastOrder(2, release_of("books:1"), NOW - 90)}}
    seen = world("books:1", 2, (BLUE,), "a blue critical", "b blue passing", state=state, remembers=False, ends=False)
    (action,) = plan.plan(seen)
    assert isinstance(action, Redeploy) and (action.replicas, action.replaces) == (2, "a")


def test_a_tombstone_retires_every_colour() -> None:
    seen = world("books:1", 2, (BLUE, group("green", 0, "books:2")), *TWO, keys={"removed": b""})
    assert decided(seen) == ["retire books-blue", "retire books-green"]


def test_a_tombstone_is_not_forgotten_before_the_engine_has_been_told() -> None:
    """Also when none of its instances is registered any more: the tasks may be on their way up."""
    gone = {"removed": b""}
    for remembers in (True, False):
        assert not scheduled.is_over(world("books:1", 2, (BLUE,), keys=gone, remembers=remembers))
    kept = group("blue", 0, "books:1")
    assert not scheduled.is_over(world("books:1", 2, (kept,), keys=gone))
    assert scheduled.is_over(world("books:1", 2, (kept,), keys=gone, remembers=False))
    assert scheduled.is_over(world("books:1", 2, (), keys=gone))
    assert not scheduled.is_over(world("books:1", 2, (), keys=gone, tells=False))


def test_what_a_forgetful_engine_has_begun_is_finished_whatever_it_was() -> None:
    """Who told it was killed, or it failed: what runs now is not known."""
    fewer = {"last_orders": {"blue": LastOrder(3, release_of("books:1"), NOW - 5, done=False)}}
    three = (*TWO, "c blue passing")
    more = (group("blue", 3, "books:1"),)
    assert decided(world("books:1", 3, more, *three, state=fewer, remembers=False)) == ["scale books-blue 3"]
    stood = {**fewer, "surplus_since": NOW - 100}
    assert decided(world("books:1", 1, more, *three, state=stood, remembers=False)) == ["scale books-blue 1"]
    another = {"last_orders": {"blue": LastOrder(2, "", NOW - 5, done=False)}}
    unknown = Group("books", "blue", 2, "", "books:1", None)
    assert decided(world("books:1", 2, (unknown,), *TWO, state=another, remembers=False)) == ["redeploy books-blue 2"]
    again_later = {**another, "order_failures": {"blue": Failures(2, NOW - 5)}}
    assert decided(world("books:1", 2, (unknown,), *TWO, state=again_later, remembers=False)) == ["wait books-blue"]


def test_an_engine_that_has_given_up_is_told_again_after_a_while() -> None:
    stuck = (group("blue", 2, "books:1", "a", trouble="update paused", gave_up=True),)
    for ago_s, expected in ((59, ["wait books-blue"]), (60, ["scale books-blue 2"])):
        asked = {"last_orders": {"blue": LastOrder(2, release_of("books:1"), NOW - ago_s)}}
        assert decided(world("books:1", 2, stuck, *TWO, state=asked)) == expected


def test_what_was_told_by_a_clock_that_has_been_set_back_was_told_now() -> None:
    ahead = {"last_orders": {"blue": LastOrder(2, release_of("books:1"), NOW + 3600)}, "switched_at": NOW + 3600}
    seen = world("books:1", 2, (BLUE,), *TWO, state=ahead)
    assert seen.state.release.last_orders["blue"].at == NOW == seen.state.release.switched_at


@pytest.mark.parametrize(("task_ids", "crew", "expected"), [
    # what Swarm does not know is named, and neither counted nor ended; what is missing or ill shows
    (("a", "b"), ("a blue passing", "b blue passing", "x blue passing"), ["warn s-x"]),
    (("a", "b"), ("a blue passing", "b blue passing", "x blue critical"), ["warn s-x"]),
    (("a", "b"), ("a blue passing", "b blue critical", "x blue passing"), ["end s-b on node-1", "warn s-x"]),
    (("a",), ("a blue passing", "x blue passing"), ["wait books-blue", "warn s-x"]),
    (("a", "b"), ("a blue passing", "b blue passing", "x green passing"), []),  # of that colour it runs none: not ours
    (("a", "b"), ("a blue passing", "b blue passing", "x blue passing node-2!"), []),
    # who names no tasks cannot tell
    (None, ("a blue passing", "b blue critical", "x blue passing"), []),
])
def test_an_instance_of_which_the_scheduler_knows_nothing_is_foreign(task_ids: tuple[str, ...] | None,
                                                                     crew: tuple[str, ...],
                                                                     expected: list[str]) -> None:
    there = group("blue", 2, "books:1", *(task_ids or ("a", "b")))._replace(task_ids=task_ids)
    critical = {words.split()[0]: NOW - 99 for words in crew if "critical" in words}
    assert decided(world("books:1", 2, (there,), *crew, state={"critical_since": critical})) == expected
