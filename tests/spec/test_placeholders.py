"""Seed lists in an environment: what is a placeholder, what is left alone, and where nothing would fill it in."""

import json
from typing import Any

import pytest

from lictor.planner.desired import desired
from lictor.planner.service_state import State
from lictor.spec import placeholders

SEEDS = {"db": "10.0.0.5:27017,10.0.0.5:27018", "a.b_c-1": "h:1"}


@pytest.mark.parametrize(("value", "filled"), [
    ("{seeds:db}", SEEDS["db"]), ("mongodb://{seeds:db}/?replicaSet=rs0", f"mongodb://{SEEDS['db']}/?replicaSet=rs0"),
    ("{seeds:db};{seeds:a.b_c-1}", f"{SEEDS['db']};h:1"), ("{{seeds:db}}", f"{{{SEEDS['db']}}}"),
    ('{"db": "{seeds:db}", "x": {}}', f'{{"db": "{SEEDS["db"]}", "x": {{}}}}'),
    # all else is left alone
    *((text, text) for text in (
        "", "db", "{}", "{seeds}", "{seeds:}", "{seeds:Db}", "{seeds: db}", "{seeds:db }", "{seeds:-db}", "{seed:db}",
        "{Seeds:db}", "{seeds:a..b}", "{seeds:db", "seeds:db}", '{"seeds": "db"}', '{"seeds":"db"}', "{name}",
        "{seeds:" + "a" * 64 + "}", "{seeds:d\nb}", "${seeds}", "{seeds:{db}"))])
def test_a_placeholder_is_exactly_that(value: str, filled: str) -> None:
    assert placeholders.fill_sets({"A": value}, SEEDS) == {"A": filled}
    assert placeholders.find_sets({"A": value}) == {name for name in SEEDS if f"{{seeds:{name}}}" in value}


@pytest.mark.parametrize(("environment", "names"), [
    ({"A": "{seeds:db}", "B": "{seeds:db}{seeds:other}", "{seeds:key}": ""}, {"db", "other"}),
    (["A={seeds:db}", "{seeds:key}=x", "B", "C=x={seeds:other}"], {"db", "other"}),
    ({"A": 3, "B": None, "C": ["{seeds:db}"]}, set()), ([3, None], set()), (None, set()), ("{seeds:db}", set()),
    (7, set())])
def test_an_environment_may_be_of_either_form_and_damaged(environment: object, names: set[str]) -> None:
    assert placeholders.find_sets(environment) == names


CLUSTER = {"port": 2379, "volumes": ["data:/data"], "replicas": {"min": 1, "max": 5},
           "cluster": {"kind": "etcd", "name": "db"}}


@pytest.mark.parametrize(("changes", "said"), [
    ({"engine": "swarm"}, "environment.DB holds {seeds:db}, and with engine swarm nothing fills that in; it is for"),
    ({"engine": "none"}, "environment.DB holds {seeds:db}, and with engine none nothing"),
    (CLUSTER, "environment.DB holds {seeds:db}, and with cluster nothing fills that in"),
    ({"engine": "compose", "project": {"folder": "/srv"}}, "environment is for containers that lictor makes"),
    ({"engine": "command"}, "environment is for containers that lictor makes"),
    ({"engine": "webhook"}, "environment is for containers that lictor makes"),
    ({"environment": ["A=b", "DB=x{seeds:db}"], "engine": "none"}, "environment.DB holds {seeds:db}"),
    ({"environment": {"DB": "{seeds:db}" * 17}}, "environment holds 17 seed lists, such as {seeds:db}; it may hold 16"),
    ({"environment": {"DB": "{seeds:db}" * 16}}, ""), ({"environment": {"DB": '{"seeds": {}}'}, "engine": "none"}, ""),
    ({}, "")])
def test_a_seed_list_that_nobody_would_fill_in_is_refused(changes: dict[str, Any], said: str) -> None:
    table = {"name": "books", "image": "books:1", "node": "n", "environment": {"DB": "{seeds:db}"}, **changes}
    problems = desired("books", {"spec": json.dumps(table).encode()}, State()).problems
    assert bool(problems) is bool(said) and said in "".join(problems), problems
