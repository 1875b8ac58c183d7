"""A canary: how its trial begins, goes on and ends, as tables."""

from typing import Any

import msgspec
import pytest

from lictor.planner import desired, next_state, observation_codec, plan, service_state
from lictor.planner.actions import Act, Switch, Try
from lictor.planner.autoscale.traffic import Combined, Side, Slice
from lictor.planner.canary import key, trial
from lictor.planner.desired import route
from lictor.planner.observation import Counted, Observation
from lictor.planner.service_state import Failure, Rollout, State, Trial

from support.release_scene import BLUE_GREEN, NEW, OLD, decided, later, release_of, wanted, world
from support.scene import NOW

SPEC: dict[str, Any] = {**BLUE_GREEN, "route": {"path": "/books"},
                        "release": {**BLUE_GREEN["release"], "canary": "10%", "for": "5m"}}
BLUE = ("1 books:1 blue passing", "2 books:1 blue passing")
GREEN = ("1 books:2 green passing", "2 books:2 green passing")
KEY = {"canary": b"green 10%"}
FINE, MANY, NONE = Side({60: 900}, 0), Side({60: 8100}, 0), Side()
FAILING, SLOW = Side({60: 855}, 45), Side({74: 900})
ON_TRIAL = Rollout(release_of(SPEC, NEW), NOW - 400, NOW - 399, 2, trial=Trial(0.1, NOW - 390, NOW - 20))
SERVED: dict[str, Any] = {
    "serving": frozenset({("node-1", f"s{number}") for number in range(4)}), "behind": (("node-1", True),)}


def on_trial(canary: Side = NONE, live: Side = NONE, *, crew: tuple[str, ...] = (*BLUE, *GREEN),
             since_s: float = 330, spec: dict[str, Any] = SPEC, keys: dict[str, bytes] = KEY,
             silent: tuple[str, ...] = (), image: str = NEW, is_routed: bool = True, **changes: Any) -> Observation:
    """A release on trial since then, and what was counted of it since the last look."""
    rollout = msgspec.structs.replace(ON_TRIAL, trial=Trial(0.1, NOW - since_s, NOW - 20))
    return world(spec, image, *crew, state={"rollout": rollout}, keys=keys, **{
        "counted": Counted(NOW - 5, canary, live, silent, is_routed), **SERVED, **changes})


def acts(seen: Observation) -> list[str]:
    return [f"{each.kind} {each.container}" for each in plan.plan(seen) if isinstance(each, Act)]


def reasons(seen: Observation) -> str:
    return "\n".join(each.reason for each in plan.plan(seen))


def failure(seen: Observation) -> str:
    failed = seen.state.release.failed
    return failed.why if failed else ""


def test_a_trial_begins_where_the_colour_would_change() -> None:
    begun = {"rollout": Rollout(release_of(SPEC, NEW), NOW - 20, NOW - 2, 2)}
    seen = world(SPEC, NEW, *BLUE, *GREEN, state=begun)
    assert decided(seen) == ["wait books-green"]
    seen = later(seen, 2)
    [action] = plan.plan(seen)
    assert isinstance(action, Try) and (action.color, action.share) == ("green", 0.1)
    assert action.reason == "all 2 of books:2 pass; 10% of the requests first"
    assert key.make(action.color, action.share) == "green 10%"
    assert decided(seen._replace(certain=False)) == ["confirm books-green"]
    tried = service_state.decode(service_state.encode(next_state.tried(seen)))
    assert tried.release.rollout and tried.release.rollout.trial == Trial(0.1, seen.now, seen.now)


@pytest.mark.parametrize(("canary", "live", "since_s", "expected", "says"), [
    (FINE, MANY, 330, "switch",
     "no worse as canary: green got 900 requests, 0.00% errors (0), typically 18 ms; blue got 8100 requests"),
    (FINE, MANY, 100, "wait", "canary: for less than 5m: green got 900 requests"),
    (Side({60: 90}), Side({60: 810}), 330, "wait", "canary: too few requests: green got 90 requests"),
    (Side({60: 90}), Side({60: 810}), 361, "fails", "too few requests: green got 90 requests, 0.00% errors (0), "),
    (Side(), Side(), 361, "fails", "too few requests: green got no request; blue got no request within 6m "
                                   "(release.for and release.deadline)"),
    (Side(), MANY, 330, "wait", "too few requests: green got no request; blue got 8100 requests"),
    (FAILING, MANY, 20, "fails",
     "worse as canary, by more errors: green got 900 requests, 5.00% errors (45), typically 18 ms; blue got 8100 "
     "requests, 0.00% errors (0), typically 18 ms. Chance makes as much of 1 of 1,000,000 releases at most"),
    (SLOW, MANY, 20, "fails",
     "worse as canary, by slower answers: green got 900 requests, 0.00% errors (0), typically 36 ms; blue got 8100 "
     "requests, 0.00% errors (0), typically 18 ms"),
    (Side({46: 900}), MANY, 330, "switch", "typically 9.2 ms"),
])
def test_a_canary_is_decided_on_by_both_sides_numbers(canary: Side, live: Side, since_s: float, expected: str,
                                                      says: str) -> None:
    seen = on_trial(canary, live, since_s=since_s)
    if expected == "fails":
        assert failure(seen).startswith(says)
        assert acts(seen) == ["recall books-green"] and says in reasons(seen)
    else:
        assert not failure(seen) and says in reasons(seen)
        assert acts(seen) == (["switch books-green"] if expected == "switch" else [])


def test_worse_for_sure_is_worse_also_while_a_node_is_silent() -> None:
    assert failure(on_trial(FAILING, MANY, since_s=20, silent=("node-2",)))


@pytest.mark.parametrize(("changes", "says"), [
    ({"silent": ("node-2",)}, "the nginx of node-2 did not tell what it counts: green got 900"),
    ({"is_routed": False}, "no nginx serves the service"), ({"counted": None}, "no nginx serves the service")])
def test_missing_counts_are_waited_for_and_then_fail(changes: dict[str, Any], says: str) -> None:
    seen = on_trial(FINE, MANY, since_s=330, **changes)
    assert acts(seen) == [] and says in reasons(seen)
    assert failure(on_trial(FINE, MANY, since_s=361, **changes)).startswith(says)


@pytest.mark.parametrize(("until_s", "says"), [
    (0, ""), (39, ""), (41, "not all nodes have counted both colours for 41 s: green got 900"),
    (300, "not all nodes have counted both colours for 300 s: green got 900")])
def test_what_was_counted_long_ago_shows_nothing_of_now(until_s: float, says: str) -> None:
    """The slices of a node that counts, but not by colour, are left out of the sums."""
    def counted_since(since_s: float) -> Observation:
        rollout = msgspec.structs.replace(ON_TRIAL, trial=Trial(0.1, NOW - since_s, NOW - until_s, 0.0, FINE, MANY))
        return world(SPEC, NEW, *BLUE, *GREEN, state={"rollout": rollout}, keys=KEY,
                     counted=Counted(NOW - until_s), **SERVED)

    assert acts(counted_since(330)) == ([] if says else ["switch books-green"]) and says in reasons(counted_since(330))
    assert failure(counted_since(361)).startswith(says) and bool(failure(counted_since(361))) == bool(says)


def test_a_switch_still_needs_all_that_it_needed() -> None:
    assert acts(on_trial(FINE, MANY, certain=False)) == []
    ailing = on_trial(FINE, MANY, crew=(*BLUE, GREEN[0], "2 books:2 green critical"))
    assert acts(ailing) == [] and "has to pass its checks" in reasons(ailing)
    died = on_trial(FINE, MANY, crew=(*BLUE, GREEN[0], "2 books:2 green died"))
    assert "exited with exit code 137" in failure(died) and acts(died) == ["recall books-green"]


def test_the_deadline_of_the_checks_counts_only_while_one_does_not_pass() -> None:
    seen = on_trial(since_s=100)
    ailing = on_trial(since_s=100, crew=(*BLUE, GREEN[0], "2 books:2 green critical"))
    assert ailing.rollout and ailing.rollout.moved_at == NOW
    assert not failure(later(ailing, 59)) and "not all passed within 60 s" in failure(later(ailing, 61))
    ails_later = later(later(seen, 100), 1, instances=ailing.instances)
    assert not failure(ails_later) and "not all passed within 60 s" in failure(later(ails_later, 61))


def test_counts_are_added_once() -> None:
    seen = on_trial(FINE, MANY)
    assert seen.rollout and seen.rollout.trial
    assert seen.rollout.trial == Trial(0.1, NOW - 330, NOW - 5, 0.0, FINE, MANY)
    assert next_state.advance(seen) == seen.state
    more = later(seen, 10, counted=Counted(NOW + 5, Side({60: 1}, 2), Side({61: 3})))
    assert more.rollout and more.rollout.trial
    assert (more.rollout.trial.canary, more.rollout.trial.live) == (Side({60: 901}, 2), Side({60: 8100, 61: 3}))


SIDE, REST = Side({5: 1}, 2), Side({5: 2, 6: 3}, 1)


def part(at: float, canary: Side | None = SIDE, live: Side | None = REST) -> Slice:
    """What asked nobody is in the whole only."""
    return Slice(at, 10.0, {5: 4, 6: 3}, errors=2, unanswered=90, canary=canary, live=live)


@pytest.mark.parametrize(("slices", "until", "canary", "live"), [
    ([part(80), part(90), part(100)], 110.0, SIDE, REST),  # those before are in already
    ([part(100), part(110)], 120.0, Side({5: 2}, 4), Side({5: 4, 6: 6}, 2)),
    ([part(100), part(110, None)], 110.0, SIDE, REST),  # a node did not count by side
    ([part(100), part(110, SIDE, None)], 110.0, SIDE, REST),  # a node of an earlier version counted the canary only
    ([part(100), part(190)], 110.0, SIDE, REST),  # not over yet
    ([part(100, Side(), Side())], 110.0, Side(), Side()), ([], 100.0, Side(), Side())])
def test_slices_are_summed_up_by_side(slices: list[Slice], until: float, canary: Side, live: Side) -> None:
    found = trial.count(Combined(slices, ["node-2"]), 100.0, 195.0)
    assert found == Counted(until, canary, live, ("node-2",))


def test_a_hold_lets_its_time_stand_still() -> None:
    held = on_trial(Side({60: 10}), Side({60: 90}), since_s=100, keys={**KEY, "hold": b"until Monday"})
    assert acts(held) == [] and "on hold: the hold key is set (until Monday)" in reasons(held)
    much_later = later(held, 10_000, counted=None)
    assert much_later.rollout and much_later.rollout.trial and not failure(much_later)
    assert trial.elapsed_s(much_later.rollout.trial, much_later) == 100
    resumed = later(much_later._replace(desired=wanted(SPEC, NEW, State(), 2, **KEY)), 1, counted=None)
    assert resumed.rollout and resumed.rollout.trial
    assert trial.elapsed_s(resumed.rollout.trial, later(resumed, 50)) == pytest.approx(150, abs=2)


@pytest.mark.parametrize(("image", "spec", "keys", "expected"), [
    ("books:3", SPEC, KEY, ["recall books-green"]),  # another one is wanted
    ("books:3", SPEC, {}, ["drain books-green-1", "drain books-green-2"]),
    (OLD, SPEC, KEY, ["recall books-green"]),  # back to what is live
    (OLD, SPEC, {}, ["drain books-green-1", "drain books-green-2"]),
    (NEW, {**SPEC, "release": BLUE_GREEN["release"]}, KEY, ["recall books-green", "switch books-green"]),
    (NEW, SPEC, {"canary": b"green 20%"}, ["try books-green"]),  # by hand
    (NEW, SPEC, {}, ["try books-green"]), (NEW, SPEC, {"canary": b"nonsense"}, ["try books-green"]),
    (NEW, {**SPEC, "release": {**SPEC["release"], "canary": "20%"}}, KEY, ["recall books-green"]),
    (NEW, {**SPEC, "release": {**SPEC["release"], "canary": "20%"}}, {}, ["try books-green"]),
    (NEW, SPEC, {**KEY, "removed": b""}, []),
])
def test_other_wishes_end_a_trial(image: str, spec: dict[str, Any], keys: dict[str, bytes],
                                  expected: list[str]) -> None:
    seen = on_trial(since_s=100, image=image, spec=spec, keys=keys, behind=(), serving=frozenset())
    assert [each for each in acts(seen) if "blue" not in each] == expected


def scaled_down(**changes: Any) -> Observation:
    """One instance is desired of each colour, where two stand."""
    seen = on_trial(FINE, MANY, **changes)
    fewer = wanted(SPEC, NEW, seen.state, 1, **changes.get("keys", KEY))
    return later(seen._replace(desired=fewer), 1)


@pytest.mark.parametrize(("changes", "ended_at", "expected"), [
    ({}, 0.0, ["switch books-green"]),  # on trial: it is drained once it is live
    ({"since_s": 100}, 0.0, []), ({"since_s": 100, "behind": ()}, 0.0, []),
    ({"keys": {}, "since_s": 100}, 0.0, ["try books-green"]),  # the key is gone, and nginx lists it still
    ({"keys": {}, "behind": ()}, NOW, ["try books-green"]),  # without a trial: one may be about to list it
    ({"keys": {}}, NOW - 99, ["try books-green"]), ({"behind": ()}, NOW - 99, ["recall books-green"]),
    ({"keys": {}, "behind": ()}, NOW - 99, ["remove books-green-2"]),
])
def test_no_instance_that_nginx_may_ask_is_removed_as_surplus(changes: dict[str, Any], ended_at: float,
                                                              expected: list[str]) -> None:
    seen = scaled_down(**changes)
    if ended_at:
        release, rollout = seen.state.release, msgspec.structs.replace(ON_TRIAL, trial=None, passing_since=NOW - 9)
        seen = seen.with_state(release=msgspec.structs.replace(release, rollout=rollout, tried_until=ended_at))
    assert [each for each in acts(seen) if "blue" not in each] == expected


def failed_at(at: float) -> dict[str, Any]:
    return {"failed": Failure(release_of(SPEC, NEW), NEW, "worse as canary", at), "tried_until": at}


@pytest.mark.parametrize(("keys", "listed", "crew", "expected"), [
    (KEY, True, GREEN, ["recall books-green"]),  # the key goes first
    (KEY, False, GREEN, ["recall books-green"]),
    ({}, True, GREEN, ["wait books-green-1", "wait books-green-2"]),  # then nginx has to drop them
    ({}, False, GREEN, ["drain books-green-1", "drain books-green-2"]),  # one may be about to list them
    ({}, False, ("1 books:2 green drained",), ["remove books-green-1"]),
])
def test_the_instances_of_a_failed_canary_end_when_no_nginx_asks_them_any_more(
        keys: dict[str, bytes], listed: bool, crew: tuple[str, ...], expected: list[str]) -> None:
    idle = {"in_flight": {"c2": 0}, "idle_reads": {"c2": 3}}
    served = SERVED if listed else {"serving": frozenset({("node-1", "s0"), ("node-1", "s1")})}
    fields: dict[str, Any] = {**served, **idle}
    seen = world(SPEC, NEW, *BLUE, *crew, state=failed_at(NOW - 2), keys=keys, **fields)
    assert [each for each in decided(seen) if each != "hold"] == expected


def test_a_canary_that_failed_leaves_word_when_it_ended() -> None:
    assert on_trial(FAILING, MANY, since_s=20).state.release.tried_until == NOW
    assert on_trial(image="books:3").state.release.tried_until == NOW
    assert on_trial(FINE, MANY).state.release.tried_until == 0.0
    switched = next_state.switched(on_trial(FINE, MANY))
    assert switched.release.rollout is None and switched.release.color == "green"


def test_a_key_without_a_trial_is_taken_away() -> None:
    seen = world(SPEC, OLD, *BLUE, keys=KEY)
    assert decided(seen) == ["recall books-green"]
    assert "no release is on trial" in reasons(seen)


@pytest.mark.parametrize(("text", "expected"), [
    ("green 10%", {"service": "books-green", "share": 0.1}), (" green 50%\n", {"service": "books-green", "share": 0.5}),
    ("blue 10%", None), ("green 51%", None), ("green 0%", None), ("green", None), ("", None), ("red 10%", None),
    ("green 10%; return 200", None), ("green  10%", None), ("green -1%", None), ("green 1e1%", None),
    ("\xff", None), ("green 10%" * 9, None)])
def test_the_route_has_a_canary_only_if_its_key_can_be_read(text: str, expected: dict[str, Any] | None) -> None:
    given = {"spec": msgspec.json.encode(SPEC), "color": b"blue", "canary": text.encode("latin-1")}
    found = route(desired.desired("books", given, State()), "node-1")
    assert found and found["canary"] == expected
    assert (found["measure"], found["ignore"]) == ((True, ["/health"]) if expected else (False, []))


def test_a_removed_service_and_one_without_colours_have_no_canary() -> None:
    rolling = {**SPEC, "release": {"strategy": "rolling"}}
    for spec, more in ((rolling, {}), (SPEC, {"removed": b""})):
        given = {"spec": msgspec.json.encode(spec), "color": b"blue", **KEY, **more}
        found = route(desired.desired("books", given, State()), "node-1")
        assert found and found["canary"] is None


def test_a_recorded_observation_of_a_canary_is_decided_alike() -> None:
    seen = on_trial(FINE, MANY)
    rollout = msgspec.structs.replace(ON_TRIAL, trial=Trial(0.1, NOW - 330, NOW - 20, 0.0, FINE))
    before = seen.with_state(release=msgspec.structs.replace(seen.state.release, rollout=rollout))
    again = observation_codec.load(observation_codec.unpack(observation_codec.pack(before)))
    assert again.counted == before.counted
    assert [each.reason for each in next_state.step(again)[1]] == [each.reason for each in next_state.step(before)[1]]
    assert isinstance(next_state.step(again)[1][0], Switch)
