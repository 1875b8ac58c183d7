"""The planner's rules as tables; nothing runs here."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor import desired, model, plan
from lictor.state import State

NOW = 1_000_000.0
SPEC = {"name": "books", "image": "books:1", "port": 8080, "node": "node-1", "check": {"http": "/health"},
        "replicas": {"min": 0, "max": 9}, "heal": {"grace": "10s"}, "drain": "30s"}


def wanted(replicas: int, keys: dict[str, bytes] | None = None) -> desired.Desired:
    spec = msgspec.json.encode(SPEC)
    return desired.desired("books", {"spec": spec, "replicas": str(replicas).encode(), **(keys or {})}, State())


RELEASE = wanted(1).release


def observation(replicas: int, *conditions: str, keys: dict[str, bytes] | None = None,
                **fields: Any) -> plan.Observation:
    """One container for each condition, numbered from 1, the lowest number the oldest."""
    containers, instances = [], []
    critical_since, passed = {}, []
    for number, condition in enumerate(conditions, start=1):
        if condition == "absent":
            continue
        name, container_id, service_id = f"books-{number}", f"c{number}", f"s{number}"
        started_at = NOW - (5 if "young" in condition else 1000 - number)
        status = "exited" if condition == "gone" else "running"
        containers.append(model.Container(container_id, name, "books", number, "", "books:1", RELEASE, status,
                                          started_at, started_at, 137 if condition == "gone" else None))
        if condition == "vanished":  # it was registered once, and passed
            passed.append(container_id)
        if condition in ("gone", "unregistered", "unregistered young", "vanished"):
            continue
        if condition.startswith("unhealthy"):
            critical_since[service_id] = NOW - 10
        if "never" not in condition and "young" not in condition:
            passed.append(container_id)
        began = int(NOW - 31 if "late" in condition else NOW - 1)
        maintenance = f"{plan.DRAINING}{began}: scale" if "draining" in condition else (
            "by hand" if condition == "maintenance" else None)
        health = condition if condition in ("passing", "warning") else "critical"
        instances.append(model.Instance("node-1", service_id, "books", "127.0.0.1", 32000 + number, health, True,
                                        maintenance, container_id))
    remembered = State(critical_since=critical_since, passed=passed, proven=True, live=SPEC, **fields.pop("state", {}))
    return plan.Observation(NOW, wanted(replicas, keys), tuple(containers), tuple(instances), state=remembered,
                            **fields)


def decided(seen: plan.Observation) -> list[str]:
    return [f"{each.kind} {each.container}".strip() for each in plan.plan(seen)]


@pytest.mark.parametrize(("replicas", "conditions", "expected"), [
    (0, [], []),
    (1, [], ["start books-1"]),
    (2, ["passing", "passing"], []),
    (2, ["passing", "warning"], []),
    (2, ["passing", "maintenance"], []),
    (3, ["passing"], ["start books-2", "start books-3"]),
    (3, ["passing", "absent", "passing"], ["start books-2"]),
    (1, ["passing", "passing"], ["drain books-2"]),
    (1, ["passing", "critical", "passing"], ["drain books-2", "drain books-3"]),
    (0, ["passing"], ["drain books-1"]),
    # what does not run is a fact: its remains go, and its number is free again
    (2, ["passing", "gone"], ["remove books-2", "start books-2"]),
    (1, ["passing", "gone"], ["remove books-2"]),
    # critical is judged: first the grace, then a replacement, which has to pass, then the drain
    (3, ["passing", "passing", "critical"], ["wait books-3"]),
    (3, ["passing", "passing", "unhealthy"], ["start books-4"]),
    (3, ["passing", "passing", "unhealthy", "critical young"], ["wait books-4"]),
    (3, ["passing", "passing", "unhealthy", "passing"], ["drain books-3"]),
    (1, ["unhealthy"], ["start books-2"]),
    (1, ["unhealthy", "critical young"], ["wait books-2"]),
    (1, ["unhealthy", "passing"], ["drain books-1"]),
    # a replacement that is no better goes itself, the first stays
    (1, ["unhealthy", "unhealthy never"], ["drain books-2"]),
    # of two, none goes before a replacement has passed, and then one for each that has
    (2, ["unhealthy", "unhealthy", "critical young"], ["wait books-3"]),
    (2, ["unhealthy", "unhealthy", "critical"], ["wait books-3"]),
    (2, ["unhealthy", "unhealthy", "passing"], ["drain books-1"]),
    (2, ["unhealthy", "unhealthy", "passing", "passing"], ["drain books-1", "drain books-2"]),
    # start-up: critical and not registered are no illness yet
    (1, ["critical young"], ["wait books-1"]),
    (1, ["unregistered young"], ["wait books-1"]),
    (0, ["unregistered young"], ["wait books-1"]),
    (0, ["unregistered"], ["remove books-1"]),
    (1, ["unregistered"], ["wait books-1"]),
    # what nginx may still send requests to is not removed because its registration cannot be seen
    (0, ["vanished"], ["wait books-1"]),
    (1, ["vanished"], ["wait books-1"]),
])
def test_count_and_illness_decide(replicas: int, conditions: list[str], expected: list[str]) -> None:
    assert decided(observation(replicas, *conditions)) == expected


@pytest.mark.parametrize(("fields", "condition", "expected"), [
    ({"in_flight": {"c2": 0}, "idle_reads": {"c2": 3}}, "draining", "remove"),
    ({"in_flight": {"c2": 0}, "idle_reads": {"c2": 2}}, "draining", "wait"),
    ({"in_flight": {"c2": 1}, "idle_reads": {}}, "draining", "wait"),
    ({"in_flight": {"c2": None}, "idle_reads": {}}, "draining", "wait"),
    ({"in_flight": {"c2": 0}, "idle_reads": {"c2": 3}, "serving": frozenset({("node-1", "s2")})}, "draining", "wait"),
    ({"in_flight": {"c2": 1}, "serving": frozenset({("node-1", "s2")})}, "draining late", "remove"),
])
def test_a_drain_ends_when_idle_and_listed_by_no_nginx_or_at_its_deadline(
        fields: dict[str, Any], condition: str, expected: str) -> None:
    assert decided(observation(1, "passing", condition, **fields)) == [f"{expected} books-2"]


@pytest.mark.parametrize(("failures", "failed_ago_s", "kind"), [
    (0, 0, "start"), (1, 0, "start"), (2, 9, "wait"), (2, 10, "start"), (3, 19, "wait"), (9, 299, "wait"),
    (9, 300, "start"), (5000, 299, "wait"), (5000, 300, "start"),
])
def test_starts_back_off_after_failures(failures: int, failed_ago_s: float, kind: str) -> None:
    seen = observation(1, state={"failures": failures, "failed_at": NOW - failed_ago_s})
    assert [each.kind for each in plan.plan(seen)] == [kind]


@pytest.mark.parametrize("keys", [{"hold": b""}, {"hold": b"until Monday"}])
def test_hold_explains_and_touches_nothing(keys: dict[str, bytes]) -> None:
    (action,) = plan.plan(observation(2, "passing", keys=keys))
    assert action.kind == "hold" and "the hold key is set (" in action.reason and action.reason.endswith(
        "start books-2: replicas key is 2, 1 run")


def test_without_a_spec_or_a_tombstone_nothing_is_touched() -> None:
    remembered = State(spec=SPEC, replicas=1)
    seen = observation(1, "passing", "passing")._replace(desired=desired.desired("books", {}, remembered))
    assert {each.kind for each in plan.plan(seen)} == {"hold"}


def test_a_tombstone_drains_all() -> None:
    assert decided(observation(2, "passing", "unhealthy", keys={"removed": b""})) == ["drain books-2", "drain books-1"]


def test_another_image_is_held_until_releases_exist_and_what_dies_comes_back_as_it_was() -> None:
    seen = observation(2, "passing", keys={"image": b"books:2"})
    actions = plan.plan(seen)
    assert [each.kind for each in actions] == ["start", "hold"]
    assert "image books:2 is asked for, books:1 runs" in actions[1].reason
    assert plan.remember(seen).live == SPEC


def test_an_image_that_never_ran_well_gives_way_to_the_next() -> None:
    seen = observation(1, "gone", keys={"image": b"books:2"})
    seen = seen._replace(state=State(live=SPEC))
    assert plan.remember(seen).live == {**SPEC, "image": "books:2"}
    assert decided(seen) == ["remove books-1", "start books-1"]


def test_a_death_is_counted_once_and_forgotten_after_ten_minutes() -> None:
    seen = observation(1, "gone")
    first = plan.remember(seen)
    assert (first.failures, first.failed_at) == (1, NOW)
    assert plan.remember(seen._replace(state=first, now=NOW + 1)).failures == 1
    assert plan.remember(seen._replace(state=first, now=NOW + 601, containers=())).failures == 0


def test_times_to_come_are_not_believed_and_so_delay_nothing_for_ever() -> None:
    remembered = State(failures=3, failed_at=NOW + 1e9, critical_since={"s1": NOW + 1e9})
    learnt = plan.remember(observation(1, "critical")._replace(state=remembered))
    assert (learnt.failed_at, learnt.critical_since) == (NOW, {"s1": NOW})


@pytest.mark.parametrize("mark", ["²: x", "lunch", f"{'9' * 400}: x", "-1: x", "1"])
def test_a_draining_mark_that_is_not_ours_is_some_maintenance(mark: str) -> None:
    seen = observation(0, "passing")
    marked = seen._replace(instances=(seen.instances[0]._replace(maintenance=f"{plan.DRAINING}{mark}"),))
    assert decided(marked) == ["drain books-1"]


def test_a_tombstone_drains_the_other_colour_too() -> None:
    seen = observation(2, "passing", "passing", keys={"removed": b""})
    first, second = seen.containers
    coloured = seen._replace(containers=(first, second._replace(color="green")))
    assert decided(coloured) == ["drain books-2", "drain books-1"]


def test_grace_counts_from_the_first_sighting() -> None:
    seen = observation(1, "critical")
    learnt = plan.remember(seen)
    assert learnt.critical_since == {"s1": NOW}
    assert decided(seen._replace(state=learnt, now=NOW + 9.9)) == ["wait books-1"]
    assert decided(seen._replace(state=learnt, now=NOW + 10)) == ["start books-2"]


CONDITIONS = st.sampled_from(["passing", "warning", "critical", "unhealthy", "unhealthy never", "critical young",
                              "gone", "draining", "draining late", "maintenance", "unregistered", "unregistered young",
                              "vanished"])


@settings(max_examples=300, deadline=None)
@given(replicas=st.integers(0, 9), conditions=st.lists(CONDITIONS, max_size=12),
       idle=st.dictionaries(st.sampled_from([f"c{n}" for n in range(1, 13)]), st.integers(0, 4)))
def test_whatever_is_seen_enough_good_ones_stay_and_no_two_actions_concern_one_container(
        replicas: int, conditions: list[str], idle: dict[str, int]) -> None:
    seen = observation(replicas, *conditions, idle_reads=idle, in_flight=dict.fromkeys(idle, 0))
    everyone = plan.members(seen)
    actions = plan.plan(seen)
    touched = [each.container for each in actions if each.kind in ("drain", "remove")]
    good = {each.name for each in everyone if each.condition in ("healthy", "starting", "failing")}
    starts = [each for each in actions if each.kind == "start"]
    assert len(set(touched)) == len(touched)
    assert len(good - set(touched)) >= min(replicas, len(good))
    passing = {each.name for each in everyone if each.condition == "healthy"}
    assert len(passing - set(touched)) >= min(replicas, len(passing))
    running = [each for each in everyone if each.condition not in ("gone", "draining")]
    assert len(running) + len(starts) <= max(replicas + 1, len(running))
    assert not {each.container for each in starts} & {each.name for each in everyone if each.condition != "gone"}
