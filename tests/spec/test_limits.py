"""Values that a spec may have, put by hand with `consul kv put`: each is told with its key, and what is allowed."""

import json
import math
from typing import Any

import pytest

from lictor.planner import service_state
from lictor.planner.desired import desired
from lictor.planner.service_state import LastGood, State
from lictor.spec import limits

from support.scene import state_of

BASE: dict[str, Any] = {"name": "books", "image": "books:1", "port": 8080, "node": "n", "route": {"path": "/b"},
                        "check": {"http": "/h"}}
NO_DURATION = "is no duration; write it such as 500ms, 2s, 1m30s or 1h"
NO_MEMORY = "is no amount of memory; write it such as 64m, 128MiB or 1g"
HUGE = 10 ** 30
NO_COUNTS: list[Any] = ["", "3", True, 1.5, [], {}, None, math.nan, math.inf, 1e308]
NO_AMOUNTS: list[Any] = [-1, "-1m", "", "0.5g", True, 1.5, [], "NaN", math.nan]
NO_PORTS: list[Any] = [0, -1, 65536, HUGE, "", "0", "NaN", True, 1.5, [], math.nan]
DURATIONS = {
    "release.healthy_for": "0s..8760h", "release.deadline": "1s..8760h", "release.keep": "0s..8760h",
    "release.for": "10s..24h",
    "route.timeout": "1s..24h", "route.wait": "100ms..60s",
    "heal.grace": "0s..8760h", "heal.per": "1s..24h", "drain": "0s..8760h", "stop_grace_period": "0s..8760h",
    "check.interval": "1ms..24h", "check.timeout": "1ms..24h", "check.start": "0s..8760h",
    "autoscale.p95": "1ms..60s", "autoscale.window": "20s..5m", "autoscale.down_after": "1m..1h",
    "autoscale.hold_after_manual": "0s..24h"}


def problems(key: str, value: Any, last_good: dict[str, Any] | None = None) -> tuple[str, ...]:
    """Tell what is said of a spec in which `key` has this value, whatever it has been before."""
    table = json.loads(json.dumps(BASE))
    *above, last = key.split(".")
    below = table
    for each in above:
        below = below.setdefault(each, {})
    below[last] = value
    if above == ["autoscale"] and last != "p95":
        below["p95"] = "250ms"
    state = State(last_good=LastGood(spec=last_good)) if last_good else State()
    service = desired("books", {"spec": json.dumps(table).encode()}, state)
    assert service.problems == () or (service.spec is None) is (last_good is None)
    return service.problems


@pytest.mark.parametrize("key", DURATIONS)
@pytest.mark.parametrize(("value", "said"), [
    ("-1s", NO_DURATION), ("NaN", NO_DURATION), ("inf", NO_DURATION), ("", NO_DURATION), (" ", NO_DURATION),
    ("1e9h", NO_DURATION), ("-1", NO_DURATION), (1.5, NO_DURATION), (True, NO_DURATION),
    ([], NO_DURATION), ({}, NO_DURATION), (math.nan, NO_DURATION), (math.inf, NO_DURATION),
    (-math.inf, NO_DURATION), ("9" * 400 + "h", "must be at most 1000000h"), ("999999h", "it must be within "),
    ("8761h", "it must be within ")])
def test_no_duration_is_nonsense(key: str, value: Any, said: str) -> None:
    [problem] = problems(key, value)
    assert problem.startswith(f"services/books/spec: {key}") and said in problem and len(problem) < 250
    assert said[:2] != "it" or problem.endswith(DURATIONS[key]), problem


@pytest.mark.parametrize(("key", "value", "said"), [
    *((key, "0s", f"is 0s; it must be {'at least 1ms' if 'check' in key else 'within ' + DURATIONS[key]}")
      for key, within in DURATIONS.items() if not within.startswith("0s")),
    ("heal.per", "0ms", "is 0s; it must be within 1s..24h"), ("heal.per", "0.0001s", "is 0.0001s; it must be within"),
    ("heal.per", "25h", "is 25h; it must be within 1s..24h"), ("release.deadline", "999ms", "is 0.999s; it must be"),
    ("check.interval", "25h", "is 25h; it must be within 1ms..24h"),
    ("release.healthy_for", "2m", "is 120s; it must be within the deadline, 60s"),
    *(("heal.budget", value, f"is {str(value)[:99]}; it must be within 0..1000") for value in (-1, 1001, HUGE)),
    *((key, value, "it must be a whole number") for value in NO_COUNTS
      for key in ("heal.budget", "replicas.initial", "replicas.min", "replicas.max")),
    *((f"replicas.{each}", value, "; they must not descend, and lie within 0..500")
      for each in ("initial", "min", "max") for value in (-1, 501, HUGE)),
    ("autoscale.p95", 250, "autoscale.p95: 250 has no unit; write it such as 250ms or 1s"),
    ("autoscale.p95", "1", "autoscale.p95: '1' has no unit"), ("drain", HUGE, "it must be at most 1000000h"),
    ("replicas", 3.0, "it must be a whole number, or a table with the keys"),
    ("replicas", "", "it must be a whole number, or a table with the keys"), ("replicas", True, "replicas is true"),
    ("replicas", 501, "; they must not descend, and lie within 0..500"), ("check", "h", "check.http is 'h'"),
    ("resources.cpus", -1, "is -1.0; it must be within 0..1024"), ("resources.cpus", 1025, "it must be within 0..1024"),
    ("resources.cpus", 1e-9, "is 1e-09; it must be within 0.01..1024, or 0 for no limit"),
    ("resources.cpus", HUGE, "is 1e+30; it must be within 0..1024"), ("resources.cpus", "", "it must be a number"),
    ("resources.cpus", math.nan, "is 'NaN'; it must be a number"),
    ("resources.cpus", math.inf, "is 'Infinity'; it must be a number"),
    ("resources.memory", 1, "is 1 bytes; it must be within 4m..65536g, or 0 for no limit"),
    ("resources.memory", HUGE, NO_MEMORY), ("resources.memory", "9" * 17 + "g", "it must be within 4m..65536g"),
    *(("resources.memory", value, NO_MEMORY) for value in NO_AMOUNTS),
    *(("port", value, "port is ") for value in NO_PORTS),
    ("volumes", [""], "volumes holds ''; it must be SOURCE:/TARGET"), ("volumes", ["nonsense"], "volumes holds"),
    ("env_file", "", "env_file holds ''; it must be a file's whole path"), ("env_file", ["a.env"], "holds 'a.env'"),
    ("image", "", "image is missing"), ("image", "Foo/Bar:1", "image is 'Foo/Bar:1'; it must be an image's name"),
    ("port", "8080/udp", "port is '8080/udp'; a route, a check and a smoke path ask by TCP"),
])
def test_no_number_and_no_text_is_nonsense(key: str, value: Any, said: str) -> None:
    [problem] = problems(key, value)
    assert problem.startswith(f"services/books/spec: {key.split('.')[0]}") and said in problem and len(problem) < 300


@pytest.mark.parametrize(("key", "value"), [
    ("heal.per", "1s"), ("heal.per", "24h"), ("heal.per", 60), ("heal.budget", 0), ("heal.budget", limits.MOST_BUDGET),
    ("drain", "0s"),
    ("drain", "8760h"), ("heal.grace", "0s"), ("release.healthy_for", "0s"), ("release.keep", "0s"), ("port", "8080"),
    ("release.deadline", "3s"), ("check.interval", "1ms"), ("check.start", "0s"), ("check.start", None),
    ("replicas.max", 500), ("replicas.initial", 0), ("resources.cpus", 0), ("resources.cpus", 0.01),
    ("resources.cpus", "0.5"), ("cpus", "0.5"), ("cpus", 2), ("mem_limit", "64m"), ("replicas", 3), ("replicas", "3"),
    ("replicas", 20), ("route", "/api"), ("check", "/health"), ("drain", 30), ("drain", "30"), ("drain", 0),
    ("resources.memory", "4m"), ("resources.memory", 0), ("stop_grace_period", "0s"), ("env_file", [])])
def test_what_makes_sense_is_taken(key: str, value: Any) -> None:
    assert problems(key, value) == ()


@pytest.mark.parametrize(("changes", "said"), [
    ({"check": {"http": "/h"}}, "check is for a service with a port"), ({"check": {"tcp": True}}, "check is for"),
    ({"check": {"tcp": True, "port": 81}}, "check is for"), ({"release": {"smoke": "/h"}}, "release.smoke is for"),
    ({"check": {"tcp": True}, "engine": "compose", "project": {"folder": "/srv"}}, "check is for"),
    ({"engine": "none", "check": {"tcp": True, "port": 81}}, "check.port is for a service with a port"),
    ({"engine": "none", "check": {"tcp": True}}, ""), ({"engine": "command", "check": {"tcp": True}}, ""),
    ({"check": {"tcp": True}, "port": 80}, ""), ({}, "")])
def test_what_asks_an_instance_needs_its_port(changes: dict[str, Any], said: str) -> None:
    table = {key: value for key, value in BASE.items() if key not in ("port", "route", "check")} | changes
    found = desired("books", {"spec": json.dumps(table).encode()}, State()).problems
    assert [each.startswith(f"services/books/spec: {said}") for each in found] == ([True] if said else [])


@pytest.mark.parametrize(("length", "said"), [
    (limits.LONGEST_BYTES - 200, []), (limits.LONGEST_BYTES, ["it may have 100000"]),
    (500_000, ["it may have 100000"])])
def test_a_spec_is_so_short_that_a_state_can_hold_three(length: int, said: list[str]) -> None:
    found = problems("environment", {"A": "x" * length})
    assert [each.partition("; ")[2] for each in found] == said
    assert all(each.startswith("services/books/spec: has ") for each in found)
    table = {**BASE, "environment": {"A": "x" * min(length, limits.LONGEST_BYTES)}}
    assert len(service_state.encode(state_of(spec=table, live=table, previous=table))) < 400_000


def test_the_last_good_spec_stays_in_force_also_if_it_is_the_same_one_from_before_the_rule() -> None:
    for last_good in (BASE, {**BASE, "heal": {"per": "0s"}}):
        [problem] = problems("heal.per", "0s", last_good)
        assert problem == "services/books/spec: heal.per is 0s; it must be within 1s..24h"
