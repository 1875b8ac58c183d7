"""An observation is recorded whole, says no secrets, and is decided upon again as it was."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.planner import observation_codec, plan, replay
from lictor.planner.observation import Observer
from lictor.planner.service_state import Breaker, Failures
from lictor.reconcile import history

from support.paths import DATA as DATA_FOLDER
from support.scene import NOW, scene, state_of

DATA = sorted((DATA_FOLDER / "observations").glob("*.json"))
FULL = scene(3, "passing", "gone", "unhealthy", "draining late", "unregistered",
             keys={"hold": b"x", "image": b"books:2"},
             serving=frozenset({("node-1", "s4"), ("node-2", "s1")}), in_flight={"c4": None}, idle_reads={"c4": 2},
             reserved="3", observer=Observer(1.0, 2.0, "x", ("carts",)), certain=False,
             state={"failures": {"2": Failures(3, NOW)}, "breaker": Breaker(NOW, "x")})


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
def test_what_was_recorded_is_decided_again(path: Path) -> None:
    for record in replay.replay(path.read_text(), path.name).replayed:
        assert (record.verdict, record.then in record.now) == (replay.SAME, True)


def test_a_full_observation_survives_json_and_the_packing() -> None:
    assert observation_codec.load(json.loads(json.dumps(observation_codec.export(FULL)))) == FULL
    unpacked = observation_codec.unpack(observation_codec.pack(FULL))
    assert observation_codec.load(unpacked) == FULL


def test_an_observation_without_a_spec_survives() -> None:
    blind = FULL._replace(desired=FULL.desired._replace(spec=None, table=None, release=""))
    assert observation_codec.load(observation_codec.export(blind)) == blind


@pytest.mark.parametrize("secrets", [
    {"environment": {"PASSWORD": "hunter2"}}, {"environment": ["PASSWORD=hunter2"]},
    {"labels": {"PASSWORD": "hunter2"}}, {"labels": ["PASSWORD=hunter2"]},
    {"logging": {"driver": "syslog", "options": {"PASSWORD": "hunter2"}}},
    {"command": "run hunter2", "environment": ["PASSWORD"]},
    {"command": ["hunter2"], "entrypoint": "a hunter2", "labels": ["PASSWORD"]},
])
def test_values_that_may_be_secrets_are_left_out_and_the_decision_stays(secrets: dict[str, Any]) -> None:
    seen = scene(2, "passing", "gone", spec=secrets)
    seen = seen._replace(state=state_of(
        live=seen.desired.table, spec=seen.desired.table, previous=seen.desired.table, live_is_proven=True))
    text = json.dumps(observation_codec.export(seen))
    assert "hunter2" not in text and text.count("PASSWORD") == 4
    assert plan.plan(observation_codec.load(json.loads(text))) == plan.plan(seen)


def test_a_damaged_memory_is_recorded_too() -> None:
    damaged = scene(1, "passing", state={"live": {"environment": 5}})
    assert plan.plan(observation_codec.load(observation_codec.export(damaged))) == plan.plan(damaged)


def test_what_an_earlier_version_recorded_is_no_input_of_a_decision() -> None:
    exported = observation_codec.export(FULL)
    old = {**without(exported, "state_before"), "state": exported["state_before"]}
    with pytest.raises(errors.Refused, match="an earlier version recorded it"):
        observation_codec.load(old)


def without(table: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in table.items() if name != key}


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        [],
        "x",
        {},
        {**observation_codec.export(FULL), "now": "noon"},
        {**observation_codec.export(FULL), "extra": 1},
        without(observation_codec.export(FULL), "containers"),
        {**observation_codec.export(FULL), "instances": [3]},
        {**observation_codec.export(FULL), "rules": {"budget": "5"}},
        {**observation_codec.export(FULL), "rules": {"per_s": []}},
        {**observation_codec.export(FULL), "state_before": {"healing": {"passed_once": 3}}},
        {
            **observation_codec.export(FULL),
            "desired": {**observation_codec.export(FULL)["desired"], "table": {"name": "../x"}},
        },
    ],
)
def test_a_damaged_observation_is_refused(damaged: object) -> None:
    with pytest.raises(errors.Refused):
        observation_codec.load(damaged)


@pytest.mark.parametrize("text", [None, 3, "", "!", "eJwDAAAAAAE=", "AAAA"])
def test_what_was_not_packed_is_none(text: object) -> None:
    assert observation_codec.unpack(text) is None


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_sixty_instances_have_room_in_a_record() -> None:
    """Ids as random as real ones are."""
    crowd = scene(60, *["passing"] * 60)
    crowd = crowd._replace(
        containers=tuple(each._replace(id=digest(each.id)) for each in crowd.containers),
        instances=tuple(each._replace(container_id=digest(each.container_id)) for each in crowd.instances))
    assert '"observation"' in history._text({"observation": observation_codec.pack(crowd), "seen": "x" * 5000})
