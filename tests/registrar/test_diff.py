"""Tables: what the agent has, what it should have, and what is done about it."""

from typing import Any

import pytest

from lictor.registrar.diff import Difference, differences, unsynced
from lictor.registrar.registration import Registration

META = {"lictor-engine": "E1", "lictor-container": "c1"}
DEFINITION = {"ID": "a", "Name": "books", "Address": "", "Port": 1, "Tags": [], "Meta": META, "Check": {"TTL": "60s"}}
WANTED = Registration("a", "books-1", "c1", DEFINITION, None)
SERVICE = {"ID": "a", "Service": "books", "Address": "", "Port": 1, "Tags": None, "Meta": META, "Weights": {}}
CHECK = {"service:a": {"Type": "ttl", "Status": "critical"}}
PAUSED = {**CHECK, "_service_maintenance:a": {"Type": "maintenance", "Notes": "why"}}


def found(service: dict[str, Any] | None, checks: dict[str, Any] = CHECK, wanted: bool = True,
          kept: frozenset[str] = frozenset()) -> Difference | None:
    result = differences({"a": WANTED} if wanted else {}, kept, {"a": service} if service else {}, checks, "E1")
    assert len(result) < 2
    return result[0] if result else None


@pytest.mark.parametrize("change", [{"Port": 2}, {"Tags": ["t"]}, {"Address": "127.0.0.1"}, {"Service": "other"},
                                    {"Meta": {**META, "zone": "a"}}])
def test_what_differs_is_registered_again_and_stays_in_maintenance(change: dict[str, Any]) -> None:
    assert found(SERVICE) is None
    different = found({**SERVICE, **change}, PAUSED)
    assert different and different.registration == WANTED and different.maintenance == "why" and not different.afresh


def test_what_is_missing_is_registered() -> None:
    assert found(None) == Difference("a", "it is not registered", WANTED, "books-1")
    without_check = found(SERVICE, {})
    assert without_check and without_check.registration and not without_check.afresh


def test_nothing_of_another_container_or_check_stays() -> None:
    others = found({**SERVICE, "Meta": {**META, "lictor-container": "c0"}}, PAUSED)
    assert others and others.afresh and others.maintenance is None
    check = found(SERVICE, {**PAUSED, "service:a": {"Type": "http"}})
    assert check and check.afresh and check.maintenance == "why"


def test_ends_what_no_container_stands_for() -> None:
    ended = found(SERVICE, wanted=False)
    assert ended and ended.registration is None and ended.container == "c1"
    assert found(SERVICE, wanted=False, kept=frozenset({"c1"})) is None


@pytest.mark.parametrize("meta", [None, {}, {**META, "lictor-engine": "E2"}])
def test_never_touches_what_is_not_this_engines(meta: dict[str, str] | None) -> None:
    foreign = {**SERVICE, "Meta": meta}
    assert found(foreign, wanted=False) is None
    refused = found(foreign)
    assert refused and refused.refused and "taken" in refused.reason


PAUSE = {"_service_maintenance:a": {"Status": "critical"}}


@pytest.mark.parametrize(("agent", "catalogue", "reason"), [
    ({"service:a": {"Status": "critical"}}, {"service:a": {"Status": "passing"}},
     "it is critical, and passing in the catalogue"),
    ({"service:a": {"Status": "passing"}}, {}, "it is passing, and missing in the catalogue"),
    ({"service:a": {"Status": "passing"}, **PAUSE}, {"service:a": {"Status": "critical"}, **PAUSE},
     "it is passing, and critical in the catalogue"),
    ({"service:a": {"Status": "passing"}}, {"service:a": {"Status": "passing"}}, None),
    ({"service:a": {"Status": "passing"}, **PAUSE}, {}, None),  # it would join the traffic before it is let in
    ({"service:a": {"Status": "critical"}}, {"service:a": {"Status": "passing"}, **PAUSE}, None),
    ({"service:b": {"Status": "critical"}}, {"service:b": {"Status": "passing"}}, None),
    ({}, {"service:a": {"Status": "passing"}}, None)], ids=str)
def test_what_the_catalogue_was_not_told_of_is_registered_again(agent: dict[str, Any], catalogue: dict[str, Any],
                                                                reason: str | None) -> None:
    found = unsynced({"a": WANTED}, agent, catalogue)
    assert [each.reason for each in found] == ([reason] if reason else [])
    assert all(each.registration == WANTED and not each.afresh and each.maintenance is None for each in found)
