"""Short forms of keys: what each stands for, in files and in keys alike."""

import json
from typing import Any

import pytest

from lictor.planner.desired import desired
from lictor.planner.service_state import State
from lictor.spec import service_spec, spec_file
from lictor.spec.input.shorthands import expand

LEAST: dict[str, Any] = {"name": "books", "image": "books:1", "port": 8080, "node": "n"}


@pytest.mark.parametrize(("short", "whole"), [
    ({"replicas": 3}, {"replicas": {"initial": 3}}),
    ({"replicas": 0}, {"replicas": {"initial": 0}}),
    ({"replicas": 20}, {"replicas": {"initial": 20, "max": 20}}),
    ({"route": "/api"}, {"route": {"path": "/api"}}),
    ({"check": "/health"}, {"check": {"http": "/health"}}),
    ({"drain": 30}, {"drain": "30s"}), ({"stop_grace_period": 90}, {"stop_grace_period": "1m30s"}),
    ({"check": {"http": "/", "interval": 2, "timeout": 1, "start": 60}},
     {"check": {"http": "/", "interval": "2s", "timeout": "1s", "start": "1m"}}),
    ({"cpus": 0.5}, {"resources": {"cpus": 0.5}}), ({"resources": {"cpus": "0.5"}}, {"resources": {"cpus": 0.5}}),
    ({"cpus": "1", "mem_limit": "64m"}, {"resources": {"cpus": 1, "memory": "64m"}}),
    ({"ulimits": {"nofile": 5, "core": "-1"}},
     {"ulimits": {"nofile": {"soft": 5, "hard": 5}, "core": {"soft": -1, "hard": -1}}}),
    ({"mem_limit": "64m", "resources": {"cpus": 1}}, {"resources": {"cpus": 1, "memory": "64m"}}),
])
def test_a_short_form_is_the_whole_one_in_a_file_and_in_a_key(short: dict[str, Any], whole: dict[str, Any]) -> None:
    spec = service_spec.parse_spec({**LEAST, **whole}, "")
    assert service_spec.parse_spec({**LEAST, **short}, "") == spec
    for text in (json.dumps({**LEAST, **short}), json.dumps({**LEAST, **short}).replace('"3"', "3")):
        assert service_spec.parse_spec(spec_file.load(text, "x"), "") == spec
    found = desired("books", {"spec": json.dumps({**LEAST, **short}).encode()}, State())
    assert found.spec == spec and not found.problems
    assert found.table and service_spec.parse_spec(found.table, "") == spec


@pytest.mark.parametrize("table", [
    {"replicas": True}, {"replicas": 1.5}, {"replicas": "many"}, {"replicas": "03"}, {"replicas": [3]}, {"route": 5},
    {"check": None}, {"check": ["/h"]}, {"cpus": 1, "resources": {"cpus": 2}}, {"cpus": 1, "resources": "x"}, [], None,
    "text", {"resources": {"cpus": "many"}}, {"resources": {"cpus": "1e3"}}])
def test_what_is_no_short_form_stays_as_it_is(table: Any) -> None:
    assert expand(table) == table


def test_the_whole_form_stays_as_it_is() -> None:
    whole = expand({"replicas": 20, "route": "/a", "check": "/h", "cpus": "0.5", "mem_limit": "64m", "drain": 30})
    assert expand(whole) == whole
