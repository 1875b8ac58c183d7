"""Tables: what the agent has, what it should have, and what is done about it."""

from typing import Any

import pytest

from lictor.registrar.diff import Difference, Rules, containers, differences, leftovers, unsynced
from lictor.registrar.registration import Registration

META = {"lictor-engine": "E1", "lictor-container": "c1"}
DEFINITION = {"ID": "a", "Name": "books", "Address": "", "Port": 1, "Tags": [], "Meta": META, "Check": {"TTL": "60s"}}
WANTED = Registration("a", "books-1", "c1", DEFINITION, None)
SERVICE: dict[str, Any] = {"ID": "a", "Service": "books", "Address": "", "Port": 1, "Tags": None, "Meta": META}
CHECK = {"service:a": {"Type": "ttl", "Status": "critical"}}
RULES = Rules("E1")
PAUSED = {**CHECK, "_service_maintenance:a": {"Type": "maintenance", "Notes": "why"}}


def found(service: dict[str, Any] | None, checks: dict[str, Any] = CHECK, wanted: bool = True,
          rules: Rules = RULES) -> Difference | None:
    result = differences({"a": WANTED} if wanted else {}, {"a": service} if service else {}, checks, rules)
    assert len(result) < 2
    return result[0] if result else None


@pytest.mark.parametrize("change", [{"Port": 2}, {"Tags": ["t"]}, {"Address": "127.0.0.1"}, {"Service": "other"},
                                    {"Meta": {**META, "zone": "a"}}])
def test_what_differs_is_registered_again_and_stays_in_maintenance(change: dict[str, Any]) -> None:
    assert found(SERVICE) is None
    different = found({**SERVICE, **change}, PAUSED)
    assert different and different.registration == WANTED and different.maintenance == "why" and not different.afresh


@pytest.mark.parametrize(("paused", "notes", "due", "keeps"), [
    (True, None, "lictor: its container is paused", True),
    (True, "lictor: its container is paused", None, False),
    (True, "by hand", None, False),
    (False, "lictor: its container is paused", None, True),
    (False, "by hand", None, False),
    (False, None, None, False),
])
def test_a_paused_container_is_in_maintenance_and_one_that_runs_again_is_not(paused: bool, notes: str | None,
                                                                             due: str | None, keeps: bool) -> None:
    checks = CHECK if notes is None else {**CHECK, "_service_maintenance:a": {"Type": "maintenance", "Notes": notes}}
    result = differences({"a": WANTED._replace(paused=paused)}, {"a": SERVICE}, checks, RULES)
    assert [(each.maintenance, each.keeps) for each in result] == ([(due, True)] if keeps else [])


def test_a_paused_container_is_registered_in_maintenance_also_anew() -> None:
    paused = WANTED._replace(paused=True)
    for service in (None, {**SERVICE, "Port": 2}):
        due = differences({"a": paused}, {"a": service} if service else {}, CHECK, RULES)
        assert [(each.maintenance, each.keeps) for each in due] == [("lictor: its container is paused", False)]


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
    assert not ended.again


def test_another_token_registers_all_anew_and_what_ends_too() -> None:
    rules = Rules("E1", renew=True)
    again = found(SERVICE, PAUSED, rules=rules)
    assert again and again.registration == WANTED and again.maintenance == "why" and not again.afresh
    ended = found(SERVICE, wanted=False, rules=rules)
    assert ended and ended.registration is None and ended.again
    assert {**ended.again, "Check": {}} == {**DEFINITION, "Tags": None, "Check": {}}  # as it is, with today's token
    assert ended.again["Check"]["Status"] == "critical"


def test_what_only_the_catalogue_has_is_found() -> None:
    mine, other = {**SERVICE, "ID": "mine"}, {**SERVICE, "ID": "other", "Meta": {"lictor-engine": "E2"}}
    assert leftovers({"a": SERVICE}, [SERVICE, mine, other, {"ID": "x", "Meta": None}], RULES) == {"mine": mine}


def test_what_docker_does_not_tell_of_stays() -> None:
    untold = Rules("E1", untold={"c1"})
    assert found(SERVICE, wanted=False, rules=untold) is None and leftovers({}, [SERVICE], untold) == {}
    assert found({**SERVICE, "Meta": {**META, "lictor-container": "c2"}}, wanted=False, rules=untold)


def test_a_registration_that_names_no_container_is_none_of_a_dead_one() -> None:
    nameless = {**SERVICE, "Meta": {"lictor-engine": "E1"}}
    assert containers({"a": SERVICE, "b": nameless, "c": {**SERVICE, "Meta": None}}, "E1") == {"c1"}


@pytest.mark.parametrize(("meta", "whose"), [
    (None, "without lictor-engine"), ({}, "without lictor-engine"),
    ({**META, "lictor-engine": "E2"}, "for 'E2'"),
])
def test_never_touches_what_is_not_this_engines(meta: dict[str, str] | None, whose: str) -> None:
    foreign = {**SERVICE, "Meta": meta}
    assert found(foreign, wanted=False) is None
    refused = found(foreign)
    assert refused and refused.refused
    assert f"its id is registered by somebody else: a, {whose}" in refused.reason


USUAL = WANTED._replace(usual_id="a")


@pytest.mark.parametrize(("registration", "service", "rules", "says"), [
    (USUAL, {}, Rules("E1"), "--take-over"),
    (USUAL, {}, Rules("E1", take_over=True), ""),
    (USUAL, {"Port": 9}, Rules("E1", take_over=True), ""),  # a stale port of registrator's
    (WANTED, {}, Rules("E1", take_over=True), ""),  # a SERVICE_ID, whose entry is about the same
    (WANTED, {"Port": 9}, Rules("E1", take_over=True), "another SERVICE_ID"),
    (WANTED, {"Service": "db"}, Rules("E1", take_over=True), "another SERVICE_ID"),
    (USUAL, {"Meta": {"lictor-engine": "E2"}}, Rules("E1", take_over=True), "for 'E2'"),
    (USUAL, {"Meta": {"external-source": "nomad"}}, Rules("E1", take_over=True), "for 'nomad'"),
    (USUAL, {}, Rules("E1", take_over=True, taken_over={"a"}), "beside this one"),
])
def test_an_entry_of_nobody_is_taken_over_once_if_it_is_about_the_container(
        registration: Registration, service: dict[str, Any], rules: Rules, says: str) -> None:
    there = {**SERVICE, "Meta": None, **service}
    [difference] = differences({"a": registration}, {"a": there}, PAUSED, rules)
    assert (difference.takes_over, difference.refused) == (not says, bool(says))
    assert says in difference.reason and ("somebody else: a" in difference.reason) == bool(says)
    assert says or difference.maintenance == "why"  # it stays out of traffic


@pytest.mark.parametrize(("service_id", "meta", "goes"), [
    ("vm:gone:8080", None, True), ("vm:gone:53:udp", {"check_http": "/"}, True), ("vm:here:8080", None, False),
    ("other:gone:8080", None, False), ("vm:gone", None, False), ("vm:gone:http", None, False), ("gone", None, False),
    ("vm:gone:8080", {"lictor-engine": "E2"}, False),
])
def test_registrators_dead_entries_go_where_cleanup_says_so(service_id: str, meta: dict[str, str] | None,
                                                            goes: bool) -> None:
    services = {service_id: {**SERVICE, "ID": service_id, "Meta": meta}}
    assert differences({}, services, {}, Rules("E1", running={"here"})) == []
    found = differences({}, services, {}, Rules("E1", running={"here"}, cleanup_host="vm"))
    assert [each.id for each in found] == [service_id] * goes


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
