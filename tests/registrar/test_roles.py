"""Roles of members as tags: which tag whose word gives, who is asked at all, and what a user's tag counts for."""

import threading
from typing import Any

import pytest

from lictor import errors
from lictor.adapters import log
from lictor.clusters import registry
from lictor.planner.cluster.observation import Report
from lictor.registrar import container_views, registration, roles
from lictor.registrar.roles import Member, Roles

from lab.daemon import wait_for


@pytest.mark.parametrize(("told", "tags"), [
    ({}, {}),
    ({"a": ("db", Report("primary", term=3)), "b": ("db", Report("secondary", term=3))},
     {"a": "primary", "b": "secondary"}),
    ({"a": ("db", Report("primary", term=3)), "b": ("db", Report("primary", term=4))}, {"b": "primary"}),
    ({"a": ("db", Report("primary", term=4)), "b": ("db", Report("primary", term=4))}, {}),
    ({"a": ("db", Report("primary", term=3)), "b": ("other", Report("primary", term=4))},
     {"a": "primary", "b": "primary"}),
    ({"a": ("db", Report("secondary", term=9)), "b": ("db", Report("primary", term=4))},
     {"a": "secondary", "b": "primary"}),
    ({"a": ("db", Report("new")), "b": ("db", Report("removed")), "c": ("db", Report("starting"))}, {}),
])
def test_at_most_one_member_is_the_primary(told: dict[str, tuple[str, Report]], tags: dict[str, str]) -> None:
    assert roles.tags(told) == tags


def container(label: str = "etcd 10.0.0.5:2381 10.0.0.5:2382", **changes: Any) -> dict[str, Any]:
    labels = {"lictor.service": "db", "lictor.engine": "docker", "lictor.number": "2", "lictor.container": "db-2",
              "lictor.color": "", "lictor.release": "r", "lictor.member": label, **changes.pop("labels", {})}
    ports = {f"{number}/tcp": [{"HostIp": "10.0.0.5", "HostPort": str(number)}] for number in (2381, 2382)}
    return {"Name": "/db-2", "Config": {"Labels": labels}, "NetworkSettings": {"Ports": ports}, **changes}


def test_a_member_is_asked_where_its_label_says() -> None:
    assert roles.member_of(container()) == Member("db", "etcd", "10.0.0.5:2381", "10.0.0.5:2382")


def test_a_member_is_asked_as_the_user_of_its_container_which_is_never_shown() -> None:
    found = container()
    found["Config"]["Env"] = ["MONGO_INITDB_ROOT_USERNAME=root", "MONGO_INITDB_ROOT_PASSWORD=a=b", "EMPTY"]
    member = roles.member_of(found)
    assert member and member.environment == {
        "MONGO_INITDB_ROOT_USERNAME": "root", "MONGO_INITDB_ROOT_PASSWORD": "a=b", "EMPTY": ""}
    assert "a=b" not in f"{member} {member!r} {[member]}"


def test_a_kind_that_cannot_be_loaded_is_told_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[str]()

    def kind(name: str, environment: object) -> None:
        raise errors.Refused("pymongo is not installed")

    monkeypatch.setattr(registry, "kind", kind)
    monkeypatch.setattr(log, "event", lambda action, **fields: told.append(f"{action}: {fields['reason']}"))
    followed = Roles(lambda: None)
    followed.follow({"c1": Member("db", "mongodb", "10.0.0.5:27017", "10.0.0.5:27017")})
    wait_for(lambda: told == ["role: pymongo is not installed"], "it is told")
    assert followed.tags() == {}


@pytest.mark.parametrize("found", [
    container(""), container("etcd"), container("etcd 10.0.0.5:2381"), container("a b c d"),
    container("etcd 10.0.0.5:22 10.0.0.5:22"), container("etcd 10.0.0.5 10.0.0.5"),
    container(NetworkSettings={"Ports": None}), container(NetworkSettings={"Ports": {"2381/tcp": None}}),
    container(Name="/other"), container(labels={"lictor.engine": "compose"}), container(Config={"Labels": None})])
def test_a_label_that_an_image_brought_has_nobody_asked(found: dict[str, Any]) -> None:
    assert roles.member_of(found) is None


@pytest.mark.parametrize(("given", "role", "tags"), [
    (["x"], "primary", ["x", "primary"]), (["primary", "x"], "secondary", ["x", "secondary"]),
    (["primary", "secondary"], "", [])])
def test_a_role_is_no_user_s_to_claim(given: list[str], role: str, tags: list[str]) -> None:
    registered = registration.Registration("h:db-2:2381", "db-2", "c2", {"Tags": given}, None)
    view = container_views.View("", "db-2", "", [registered], [])
    member = view._replace(member=Member("db", "etcd", "10.0.0.5:2381", "10.0.0.5:2382"))
    assert container_views.with_role(view, role) == view
    assert container_views.with_role(member, role).registrations[0].definition["Tags"] == tags


class FakeKind:
    """Says what it is told to say."""

    def __init__(self) -> None:
        self.report: Report | None = Report("primary", term=1)
        self.asked = 0

    def ask(self, member: str, address: str) -> Report:
        self.asked += 1
        if self.report is None:
            raise errors.Unavailable("away")
        return self.report


def test_each_change_is_told_once_and_a_member_that_left_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, changes = FakeKind(), threading.Semaphore(0)
    monkeypatch.setattr(registry, "kind", lambda name, environment: kind)
    monkeypatch.setattr(roles, "_EVERY_S", 0.01)
    followed = Roles(changes.release)
    followed.follow({"c1": Member("db", "etcd", "10.0.0.5:2379", "10.0.0.5:2380")})
    assert changes.acquire(timeout=30) and followed.tags() == {"c1": "primary"}
    kind.report = Report("secondary", term=2)
    assert changes.acquire(timeout=30) and followed.tags() == {"c1": "secondary"}
    kind.report = None
    assert changes.acquire(timeout=30) and followed.tags() == {}
    asked = kind.asked
    wait_for(lambda: kind.asked > asked + 5, "it is asked on")
    assert not changes.acquire(blocking=False)
    followed.follow({})
    wait_for(lambda: not [each for each in threading.enumerate() if each.name == "role of c1"], "it is asked no more")
