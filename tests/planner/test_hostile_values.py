"""Whatever stands in a spec, a state, a key, the catalogue or a container: a decision comes of it, and no exception."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor import model
from lictor.planner import breaker, desired, next_state, service_state
from lictor.planner.observation import Observation
from lictor.reconcile import scheduler_view

from support.scene import NOW, SPEC, scene
from support.scheduled_scene import SPEC as SCHEDULED_SPEC
from support.scheduled_scene import TWO, group, world

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20),
    st.sampled_from(["", "x", "0", "-1", "1e999", "9" * 400 + "s", "5m", "blue", "a\nb", "\x1b[2J", "\ud7ff", "../..",
                     "${X}", "{name}", "127.0.0.1::80/udp", [], {}, [[]], [{}], {"": {}}, {"release": "x"}, 10**30]),
    st.lists(st.text(max_size=5), max_size=3), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
WHOLE_SPEC = {
    **SPEC, "route": {"path": "/", "host": "a.example"}, "environment": {"A": "1"}, "env_file": ["/a"],
    "command": "a b", "labels": {"a": "b"},
    "volumes": ["a:/b"], "networks": ["n"], "logging": {"driver": "none", "options": {"a": "b"}},
    "check": {"http": "/", "interval": "1s", "timeout": "1s", "start": "1m"}, "resources": {"cpus": 1, "memory": "9m"},
    "release": {"strategy": "blue-green", "healthy_for": "1s", "deadline": "9s", "smoke": "/", "keep": "1m"}}
WHOLE_STATE: dict[str, Any] = json.loads(service_state.encode(next_state.advance(scene(2, "passing", "unhealthy"))))
WHOLE_STATE["release"] |= {
    "rollout": {"release": "r", "began_at": 1.0}, "failed": {"release": "r", "image": "i", "why": "w", "at": 1.0},
    "last_orders": {"": {"replicas": 2, "release": "r", "at": 1.0}}, "previous": SPEC,
    "order_failures": {"": {"count": 2, "last_at": 1.0}}}
WHOLE_STATE |= {"breaker": {"opened_at": 1.0, "why": "w"}}


@st.composite
def changed(draw: st.DrawFn, whole: dict[str, Any]) -> dict[str, Any]:
    """A table in which something odd stands, at any depth, once or twice."""
    table = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 2))):
        place = table
        while True:
            is_known = bool(place) and draw(st.integers(0, 9)) > 0
            key = draw(st.sampled_from(sorted(place)) if is_known else st.text(max_size=5))
            if not isinstance(place.get(key), dict) or not draw(st.integers(0, 3)):
                break
            place = place[key]
        place[key] = copy.deepcopy(draw(ODD))
    return table


def observe(keys: dict[str, bytes], state: service_state.State, seen: Observation) -> Observation:
    wanted = desired.desired("books", keys, state)
    return seen._replace(desired=wanted, state=state)


@given(changed(WHOLE_SPEC), changed(WHOLE_STATE), st.binary(max_size=20), st.sampled_from(["replicas", "image", "color",
                                                                                        "hold", "removed", "x"]))
def test_whatever_stands_in_keys_and_state_is_decided_upon(spec: dict[str, Any], stored: dict[str, Any], value: bytes,
                                                           key: str) -> None:
    state = service_state.decode(json.dumps(stored).encode())
    for keys in ({"spec": json.dumps(spec).encode()}, {"spec": json.dumps(SPEC).encode(), key: value}, {key: value}):
        seen = observe(keys, state, scene(2, "passing", "unhealthy", "gone", "unregistered"))
        after, _ = next_state.step(seen)
        assert service_state.decode(service_state.encode(after)) == after
        scheduled = world("books:1", 2, (group("blue", 2, "books:1", "a", "b"),), *TWO, remembers=False)
        assert scheduled.scheduler
        groups = scheduler_view.remembered_groups(scheduled.desired, state, scheduled.instances)
        assert {each.color for each in groups} <= {"", *model.COLORS}
        view = scheduled.scheduler._replace(groups=tuple(groups))
        next_state.step(observe({"spec": json.dumps(SCHEDULED_SPEC).encode(), key: value}, state,
                                scheduled._replace(scheduler=view)))


@given(st.data())
def test_whatever_stands_in_the_catalogue_and_in_docker_is_decided_upon(data: st.DataObject) -> None:
    text, number = st.text(max_size=9), st.one_of(st.integers(-1, 10**12), st.floats(-1e12, 1e12))
    seen = scene(2, "passing", "unhealthy", "draining", "passing")
    of_container: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({}, optional={
        "name": text, "number": st.integers(-5, 10**9), "color": text, "image": text, "release": text, "status": text,
        "started_at": number, "health": text})
    of_instance: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({}, optional={
        "node": text, "service_id": text, "service": text, "address": text, "port": number, "status": text,
        "maintenance": text, "container_id": text, "is_udp": st.booleans(), "image": text, "output": text})
    containers = [each._replace(**data.draw(of_container)) for each in seen.containers]
    instances = [each._replace(**data.draw(of_instance)) for each in seen.instances]
    next_state.step(seen._replace(containers=tuple(containers), instances=tuple(instances)))


@pytest.mark.parametrize("stored", [
    {"spec": {"release": "x"}}, {"last_good": {"spec": {"release": "x"}}}, {"last_good": {"spec": {"release": []}}},
    {"last_good": {"spec": {"release": {"strategy": {}}}}}, {"release": {"live": {"image": {}}}},
    {"release": {"last_orders": {"../x": {"replicas": 1, "release": "r", "at": 1}}}},
    {"healing": {"failures": {"\x1b[2J": {"count": 10**18, "last_at": 1e300}}}},
])
def test_a_state_that_anybody_may_write_is_one_service_s_problem(stored: dict[str, Any]) -> None:
    state = service_state.decode(json.dumps(stored).encode())
    seen = observe({"spec": json.dumps(SPEC).encode()}, state, scene(1, "passing"))
    assert next_state.step(seen)[0].last_good.spec == SPEC
    assert not desired.desired("x", {}, state).removed


@pytest.mark.parametrize("text", [b"", b"[", b"{}", b"[{}]", b"[1]", b"\xff", b'[{"service": 1}]', b"[" * 99_999])
def test_a_damaged_budget_holds_no_reservations(text: bytes) -> None:
    assert breaker.decode(text) == () and NOW
