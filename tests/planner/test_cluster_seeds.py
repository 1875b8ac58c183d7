"""The seed list of a set: who is in it, well or not; which content of its key is believed; and what waits for it."""

from typing import Any

import pytest
from msgspec.structs import replace

from lictor.planner import next_state, plan
from lictor.planner.cluster import seeds
from lictor.planner.cluster.view import look
from lictor.planner.observation import Observation

from support.cluster_table import KNOWN, seen
from support.scene import NOW, RELEASE, scene, wanted

CLIENTS = {number: f"10.0.0.5:{27016 + number}" for number in range(1, 9)}
ONE, TWO, THREE = (CLIENTS[number] for number in (1, 2, 3))
WHY = "db has no member yet"


@pytest.mark.parametrize(("lines", "changes", "listed"), [
    (("1 primary",), {}, ONE),
    (("1 primary", "2 secondary", "3 secondary"), {}, f"{ONE},{TWO},{THREE}"),
    (("3 secondary", "1 secondary", "2 primary"), {}, f"{ONE},{TWO},{THREE}"),  # by number, whoever leads
    # who is ill, or on its way, is a member
    (("1 primary", "2 silent stopped", "3 secondary"), {}, f"{ONE},{TWO},{THREE}"),
    (("1 primary", "2 secondary", "3 secondary behind=900"), {}, f"{ONE},{TWO},{THREE}"),
    (("1 primary", "2 secondary", "3 silent wiped"), {}, f"{ONE},{TWO},{THREE}"),
    (("1 primary", "2 starting spare"), {}, f"{ONE},{TWO}"),
    (("1 primary", "2 new out"), {}, ONE), (("1 primary", "2 removed out"), {}, ONE),
    # a learner of etcd refuses clients
    (("1 primary", "2 secondary spare"), {"kind": "etcd"}, ONE), (("1 primary", "2 secondary"), {"kind": "etcd"},
                                                                  f"{ONE},{TWO}"),
    # what is not known for sure changes nothing
    ((), {}, ""), (("1 new",), {}, ""), (("1 primary", "2 secondary"), {"is_committed": False}, ""),
    (("1 primary", "2 silent", "3 silent"), {}, ""), (("1 secondary", "2 secondary"), {}, ""),
    (("1 primary", "2 primary", "3 secondary"), {}, ""),
    (("1 primary set=B", "2 secondary set=B"), {}, ""), (("1 primary", "2 secondary"), {"version": 4}, "")])
def test_who_is_listed(lines: tuple[str, ...], changes: dict[str, Any], listed: str) -> None:
    found = seen(*lines, **changes)
    assert seeds.list_seeds(look(found, replace(KNOWN, seated=())), found.traits, CLIENTS) == listed


GOOD = ["10.0.0.5:2379", f"{ONE},{TWO},{THREE}", "db-1.example.com:27017", "[fe80::5]:27017", "[::1]:1,h:65535",
        "node_1.dc1:1", ",".join(["10.0.0.5:2379"] * 50)]
BAD = ["x", "10.0.0.5", ":1", "10.0.0.5:", "10.0.0.5:0", "10.0.0.5:65536", "10.0.0.5:01", "10.0.0.5:1,", ",10.0.0.5:1",
       "10.0.0.5:1, 10.0.0.6:1", "10.0.0.5:1;10.0.0.6:1", "user:pw@10.0.0.5:1", "10.0.0.5:1/x", "10.0.0.5:1?tls=false",
       "http://10.0.0.5:1", "fe80::5:27017", "[::1:1", "10.0.0.5:1\nPATH=/x", "10.0.0.5:1\x00", "10.0.0.5:\u0661",
       "h\u00e9:1", "-h:1", "h-:1", "${HOME}:1", "{seeds:db}", "9" * 100_000, "a" * 254 + ":1",
       ",".join(["10.0.0.5:2379"] * 51), "10.0.0.5:1," * 100_000]


@pytest.mark.parametrize("text", GOOD)
def test_a_list_is_read_as_it_was_written(text: str) -> None:
    assert seeds.parse(f" {text}\n".encode()) == text and seeds.explain_missing({"db"}, {"db": text.encode()}) == ""


@pytest.mark.parametrize("value", [*(text.encode() for text in BAD), b"\xff\xfe", b"10.0.0.5:1\xff"])
def test_nothing_else_comes_into_an_environment(value: bytes) -> None:
    with pytest.raises(ValueError, match="it must be 1 to 50 ADDRESS:PORT with commas between"):
        seeds.parse(value)
    why = seeds.explain_missing({"db"}, {"db": value})
    assert why.startswith("the key lictor/seeds/db holds '") and len(why) < 600 and why.isprintable()


def test_each_set_that_lacks_is_named() -> None:
    values = {"a": b"h:1", "b": b" \n", "d": b"x"}
    assert seeds.explain_missing(["d", "c", "b", "a"], values) == (
        "b has no member yet; c has no member yet; the key lictor/seeds/d holds 'x'; it must be 1 to 50 ADDRESS:PORT "
        "with commas between")


def awaiting(replicas: int, *conditions: str, **changes: Any) -> Observation:
    """A scene in which the set lacks that the environment of each release names."""
    found = scene(replicas, *conditions, **changes)
    return found._replace(awaited={RELEASE: WHY, found.desired.release: WHY})


def decided(found: Observation) -> list[str]:
    return [f"{each.kind} {each.container}" for each in plan.plan(found)]


@pytest.mark.parametrize(("replicas", "conditions", "changes", "does"), [
    (2, [], {}, ["wait books-1"]),  # the first stands for all
    (3, ["passing"], {}, ["wait books-2"]), (2, ["passing", "passing"], {}, []), (1, ["passing", "passing"], {}, [
        "drain books-2"]),
    (2, ["passing", "gone"], {}, ["remove books-2", "wait books-2"]),
    (3, ["passing", "passing", "unhealthy"], {}, ["wait books-4"]),
    # none goes to make room for one that cannot start
    (3, ["passing", "passing", "unhealthy"], {"spec": {"replicas": {"min": 1, "max": 3}}}, ["hold books-3"]),
    (1, ["unhealthy", "unhealthy"], {"spec": {"replicas": {"min": 0, "max": 2}}, "reserved": "1"}, [
        "hold books-1", "hold books-2"]),
    (1, [], {"keys": {"hold": b"x"}}, ["hold books-1"])])
def test_a_start_waits_for_a_set(replicas: int, conditions: list[str], changes: dict[str, Any],
                                 does: list[str]) -> None:
    assert decided(awaiting(replicas, *conditions, **changes)) == does


def test_a_wait_says_for_whom_and_is_no_failure() -> None:
    found = awaiting(2)
    state, [wait] = next_state.step(found)
    assert wait.reason == f"waiting: {WHY}. Would start books-1 (replicas key is 2, 0 run)."
    assert not state.healing.failures and not state.breaker and not state.notified.causes


def release_of(*conditions: str, **changes: Any) -> Observation:
    """An observation of a release that has just begun."""
    found = scene(len(conditions), *conditions, keys={"image": b"books:2"}, **changes)
    found = found._replace(awaited={found.desired.release: WHY})
    return found._replace(state=next_state.advance(found))


@pytest.mark.parametrize(("spec", "does"), [
    ({}, ["wait books-3"]), ({"replicas": {"min": 1, "max": 2}}, ["hold books-1"])])
def test_a_release_waits_and_nothing_goes_before(spec: dict[str, Any], does: list[str]) -> None:
    assert decided(release_of("passing", "passing", spec=spec)) == does


def test_a_release_has_its_whole_deadline_once_the_set_is_there() -> None:
    found = release_of("passing", "passing")
    later = found._replace(now=NOW + 10_000, state=next_state.advance(found._replace(now=NOW + 10_000)))
    assert later.state.release.rollout and not later.state.release.failed
    ready = later._replace(now=NOW + 10_001, awaited={})
    state, [start] = next_state.step(ready)
    assert state.release.rollout and state.release.rollout.moved_at == NOW + 10_001
    assert (start.kind, start.container) == ("start", "books-3")
    late = ready._replace(now=NOW + 20_000, state=state)
    assert next_state.advance(late).release.failed


def test_a_release_in_another_colour_waits_too() -> None:
    blue = wanted(2, {"image": b"books:2"}, {"release": {"strategy": "blue-green"}})
    found = release_of("passing", "passing")._replace(desired=blue)
    instances = tuple(each._replace(service="books-blue") for each in found.instances)
    containers = tuple(each._replace(color="blue") for each in found.containers)
    found = found._replace(instances=instances, containers=containers, awaited={blue.release: WHY})
    actions = plan.plan(found._replace(state=next_state.advance(found)))
    assert [f"{each.kind} {each.container}" for each in actions if "green" in each.container] == ["wait books-green-1"]
