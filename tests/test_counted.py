"""Services whose engine is told only how many there should be, as tables; test_on_swarm has a real engine."""

from typing import Any

import msgspec
import pytest

from lictor import counting, desired, memory, model, plan
from lictor.model import Group
from lictor.observation import Counts, Observation
from lictor.state import Asked, Deaths, State
from scene import NOW

SPEC: dict[str, Any] = {
    "name": "books", "engine": "swarm", "image": "books:1", "port": 8080, "check": {"http": "/health"},
    "replicas": {"min": 0, "max": 9}, "heal": {"grace": "10s"}, "drain": "30s",
    "release": {"strategy": "blue-green", "healthy_for": "3s", "deadline": "60s", "keep": "10m"}}
ROLLING = {**SPEC, "release": {**SPEC["release"], "strategy": "rolling"}}


def release_of(image: str, spec: dict[str, Any] = SPEC) -> str:
    return desired.desired("books", {"spec": msgspec.json.encode(spec), "image": image.encode()}, State()).release


def group(color: str, replicas: int, image: str, *ids: str, trouble: str = "", spec: dict[str, Any] = SPEC) -> Group:
    return Group("books", color, replicas, release_of(image, spec), image, ids, trouble)


def world(asked: str, count: int, groups: tuple[Group, ...], *crew: str, spec: dict[str, Any] = SPEC,
          state: dict[str, Any] | None = None, keys: dict[str, bytes] | None = None, remembers: bool = True,
          ends: bool = True, now: float = NOW, **fields: Any) -> Observation:
    """Of each of the crew: `ID COLOR STATUS [NODE]`; what is live is books:1, in blue."""
    color = "blue" if spec is SPEC else ""
    remembered = State(**{"live": {**spec, "image": "books:1"}, "live_release": release_of("books:1", spec),
                          "proven": True, "color": color, "passed": [each.split()[0] for each in crew],
                          **(state or {})})
    instances = []
    for words in crew:
        container_id, own, status, *node = words.split()
        name = model.catalog_name("books", "" if own == "-" else own)
        instances.append(model.Instance(node[0] if node else "node-1", f"s-{container_id}", name, "10.0.0.1", 32000,
                                        status, True, None, container_id))
    given = {"spec": msgspec.json.encode(spec), "replicas": str(count).encode(), "image": asked.encode(),
             **(keys or {})}
    if color:
        given.setdefault("color", remembered.color.encode())
    wanted = desired.desired("books", given, remembered)
    counts = Counts("node-1", True, ends, remembers, groups)
    seen = Observation(now, wanted, tuple(counting.containers(wanted, remembered, counts, instances, now)),
                       tuple(instances), state=remembered, counts=counts, **{"certain": True, **fields})
    return seen._replace(state=memory.remember(seen))


def decided(seen: Observation) -> list[str]:
    return [f"{each.kind} {each.container}" + (f" {each.number}" if each.kind in ("scale", "redeploy") else "")
            for each in plan.plan(seen)]


BLUE = group("blue", 2, "books:1", "a", "b")
TWO = ("a blue passing", "b blue passing")


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


def test_fewer_are_asked_for_only_when_that_has_stood_and_a_consistent_reading_shows_it() -> None:
    assert decided(world("books:1", 1, (BLUE,), *TWO)) == ["wait books-blue"]
    stood = {"surplus_since": NOW - 100}
    assert decided(world("books:1", 1, (BLUE,), *TWO, state=stood, certain=False)) == ["confirm books-blue"]


def test_an_engine_that_forgets_is_told_again_when_nothing_has_come_of_it() -> None:
    for ago_s, expected in ((59, ["wait books-blue"]), (60, ["scale books-blue 2"])):
        asked = {"asked": {"blue": Asked(2, release_of("books:1"), NOW - ago_s)}}
        assert decided(world("books:1", 2, (BLUE,), *TWO[:1], state=asked, remembers=False)) == expected


def test_an_engine_that_fails_is_told_again_only_after_a_while() -> None:
    for ago_s, expected in ((5, ["wait books-blue"]), (11, ["scale books-blue 3"])):
        failed = {"deaths": {"0": Deaths(2, NOW - ago_s)}}
        assert decided(world("books:1", 3, (BLUE,), *TWO, state=failed)) == expected


def test_one_that_cannot_end_an_instance_is_asked_to_make_all_anew_within_the_budget() -> None:
    state = {"critical_since": {"a": NOW - 20}, "asked": {"blue": Asked(2, release_of("books:1"), NOW - 90)}}
    seen = world("books:1", 2, (BLUE,), "a blue critical", "b blue passing", state=state, remembers=False, ends=False)
    (action,) = plan.plan(seen)
    assert (action.kind, action.number, action.replaces) == ("redeploy", 2, "a")


GREEN = group("green", 2, "books:2", "c", "d")
NEW = ("c green passing", "d green passing")


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
    assert decided(seen._replace(state=memory.remember(seen))) == expected


def test_a_release_that_fits_nowhere_fails_with_the_engine_s_own_words() -> None:
    stuck = group("green", 2, "books:2", trouble="no suitable node (insufficient resources on 3 nodes)")
    seen = world("books:2", 2, (BLUE, stuck), *TWO)._replace(now=NOW + 61)
    seen = seen._replace(state=memory.remember(seen))
    assert seen.state.failed and "insufficient resources on 3 nodes" in seen.state.failed.why
    assert decided(seen) == ["retire books-green", "hold "]


def test_a_release_that_never_passes_fails_at_its_deadline() -> None:
    seen = world("books:2", 2, (BLUE, GREEN), *TWO, "c green critical", "d green passing", state={"passed": ["a", "b"]})
    assert seen.state.critical_since == {"c": NOW} and not seen.state.failed
    late = world("books:2", 2, (BLUE, GREEN), *TWO, "c green critical", "d green passing", now=NOW + 61, state={
        "passed": ["a", "b", "d"], "rollout": seen.state.rollout, "critical_since": seen.state.critical_since})
    assert late.state.failed and "not all passed within 60 s" in late.state.failed.why


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
    half = world("books:2", 2, (group("", 2, "books:2", "c", spec=ROLLING),), "a - passing", "c - critical",
                 spec=ROLLING, state={"rollout": seen.state.rollout, "passed": ["a"], "critical_since": {"c": NOW}},
                 now=NOW + 300)
    assert half.state.failed and decided(half)[0] == "redeploy books 2"
    assert plan.plan(half)[0].release == release_of("books:1", ROLLING)


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


def test_a_tombstone_retires_every_colour() -> None:
    seen = world("books:1", 2, (BLUE, group("green", 0, "books:2")), *TWO, keys={"removed": b""})
    assert decided(seen) == ["retire books-blue", "retire books-green"]
