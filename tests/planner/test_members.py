"""The condition of an instance, from its container and all of its registrations, as tables."""

from typing import Any

import msgspec
import pytest

from lictor import model
from lictor.planner import members, next_state, observation, observation_codec, plan
from lictor.planner.actions import Act
from lictor.planner.observation import Observation
from lictor.reconcile import observe

from support.scene import NOW, SPEC, scene


def decided(seen: Observation) -> list[str]:
    return [f"{each.kind} {each.container}".strip() for each in plan.plan(seen)]


def why(seen: Observation) -> str:
    return " | ".join(each.reason for each in plan.plan(seen))


def with_container(seen: Observation, position: int, **changes: Any) -> Observation:
    there = list(seen.containers)
    there[position] = there[position]._replace(**changes)
    return seen._replace(containers=tuple(there))


def with_instance(seen: Observation, position: int, **changes: Any) -> Observation:
    there = list(seen.instances)
    there[position] = there[position]._replace(**changes)
    return seen._replace(instances=tuple(there))


@pytest.mark.parametrize(("spec", "second", "expected"), [
    # what is asked by TCP is as well as its worst registration
    ({}, {"status": "critical"}, ["wait books-1"]),
    ({}, {"status": "critical", "since": 99}, ["start books-2"]),
    ({}, {"maintenance": "by hand"}, ["hold books-1"]),
    ({}, {"maintenance": model.JOINING}, ["admit books-1"]),
    ({}, {"maintenance": f"{observation.DRAINING}0: cut short"}, ["undrain books-1"]),
    # one for UDP speaks neither for nor against it
    ({}, {"status": "critical", "is_udp": True, "since": 99}, []),
    ({"port": None, "check": None}, {"status": "critical", "is_udp": True, "since": 99}, []),
    # where UDP is what is asked, TCP says more all the same
    ({"port": "8080/udp", "check": None}, {"status": "critical", "is_udp": True, "since": 99}, []),
    ({"port": "8080/udp", "check": None}, {"status": "critical", "since": 99}, ["start books-2"]),
])
def test_a_container_is_as_well_as_the_worst_of_its_registrations(spec: dict[str, Any], second: dict[str, Any],
                                                                  expected: list[str]) -> None:
    changes = {key: value for key, value in second.items() if key != "since"}
    seen = scene(1, "passing", spec=spec, state={"critical_since": {"c1": NOW - second.get("since", 0)},
                                                 "live": {**SPEC, **spec}})
    twin = seen.instances[0]._replace(service_id="a-twin", **changes)
    assert decided(seen._replace(instances=(*seen.instances, twin))) == expected
    assert decided(seen._replace(instances=(twin, *seen.instances))) == expected


@pytest.mark.parametrize(("spec", "status", "condition"), [
    ({}, "critical", "failing"), ({}, "absent", "starting"), ({"port": "8080/udp", "check": None}, "absent", "healthy"),
    ({"port": None}, "absent", "healthy"), ({"port": None}, "critical", "failing")])
def test_a_udp_twin_that_passes_speaks_for_nothing_that_is_asked_by_tcp(spec: dict[str, Any], status: str,
                                                                        condition: str) -> None:
    seen = scene(1, "passing", spec=spec, state={"live": {**SPEC, **spec}})
    udp = seen.instances[0]._replace(service_id="udp", is_udp=True)
    tcp = () if status == "absent" else (seen.instances[0]._replace(status=status),)
    (found,) = members.members(seen._replace(instances=(udp, *tcp)))
    assert found.condition == condition


def test_a_drain_takes_all_registrations_out_of_traffic_before_it_ends() -> None:
    seen = scene(0, "draining late")
    twin = seen.instances[0]._replace(service_id="a-twin", is_udp=True)
    assert decided(seen._replace(instances=(*seen.instances, twin))) == ["remove books-1"]
    assert decided(seen._replace(instances=(*seen.instances, twin._replace(maintenance=None)))) == ["drain books-1"]


@pytest.mark.parametrize(("replicas", "conditions"), [
    (2, ["passing", "passing"]), (2, ["passing", "unhealthy"]), (2, ["passing", "critical"]),
    (2, ["passing", "unregistered"]), (2, ["passing", "draining late"]), (2, ["passing", "maintenance"]),
    (1, ["passing", "passing"]), (1, ["passing", "unhealthy"]), (0, ["passing", "passing"]),
    (1, ["unhealthy", "passing"]),
])
def test_a_paused_container_is_neither_ended_nor_replaced_and_named(replicas: int, conditions: list[str]) -> None:
    for keys in ({}, {"removed": b""}):
        seen = with_container(scene(replicas, *conditions, keys=keys), 1, status="paused")
        acts = [each for each in plan.plan(seen) if isinstance(each, Act)]
        assert not [each for each in acts if each.kind == "start" or each.container == "books-2"]
        assert "books-2" in str(decided(seen)) and "paused" in why(seen)
        assert next_state.advance(seen).healing.critical_since.keys() <= {"c1"}


def test_what_its_registrar_calls_paused_is_paused_on_other_nodes_too() -> None:
    seen = with_instance(scene(2, "passing", "unhealthy"), 1, maintenance=model.PAUSED)
    assert members.members(seen)[1].condition == "paused"
    assert decided(seen) == ["hold books-2"] and "by hand" not in why(seen)


@pytest.mark.parametrize(("spec", "changes", "condition", "said"), [
    # what Docker says of the container's HEALTHCHECK, as long as it says it
    ({}, {"health": "starting"}, "starting", "HEALTHCHECK's start period and retries"),
    ({}, {"health": "unhealthy"}, "unhealthy", "critical for 20 s"),
    ({}, {"health": "healthy"}, "unhealthy", "critical for 20 s"),
    # where the HEALTHCHECK is the check, a registrar that is away makes nobody ill
    ({"check": None}, {"health": "healthy"}, "failing", "Docker calls it healthy, and lictor-registrar does not"),
    ({"check": None}, {"health": "unhealthy"}, "unhealthy", "critical for 20 s"),
    ({"check": None}, {"health": ""}, "unhealthy", "critical for 20 s"),
    ({}, {"status": "restarting"}, "restarting", "Docker restarts it by itself"),
    # the time that a check may take until it passes
    ({"check": {"http": "/", "start": "2h"}}, {"is_new": True}, "starting", "check.start, 7200 s"),
    ({"check": {"http": "/", "start": "1h"}}, {"is_new": True}, "unhealthy", "critical for 20 s"),
    ({"check": {"http": "/", "start": "2h"}}, {}, "unhealthy", "critical for 20 s"),  # it has passed before
    ({"check": {"http": "/", "start": "5s"}}, {"is_new": True, "started_at": NOW - 30}, "unhealthy", "critical for"),
    ({}, {"is_new": True, "started_at": NOW - 30}, "starting", "check.start, 60 s"),
])
def test_what_docker_or_the_spec_knows_is_no_illness(spec: dict[str, Any], changes: dict[str, Any], condition: str,
                                                     said: str) -> None:
    is_new, changes = changes.get("is_new"), {key: value for key, value in changes.items() if key != "is_new"}
    seen = with_instance(scene(2, "passing", "unhealthy", spec=spec), 1, output="404 Not Found")
    seen = with_container(seen, 1, **changes)
    if is_new:
        healing = msgspec.structs.replace(seen.state.healing, passed_once=["c1"])
        seen = seen.with_state(healing=healing)
    (_, found) = members.members(seen)
    assert found.condition == condition and said in why(seen)
    assert ("404 Not Found" in why(seen)) == (condition != "restarting")
    assert decided(seen) == (["start books-3"] if condition == "unhealthy" else
                             ["hold books-2" if condition == "restarting" else "wait books-2"])


@pytest.mark.parametrize(("passed_s_ago", "started_s_ago", "changes", "condition"), [
    (500, 20, {}, "starting"), (500, 59, {}, "starting"),  # people restarted it: it has its start-up again
    (500, 61, {}, "unhealthy"), (10, 20, {}, "unhealthy"),  # it is over; it has passed since
    (500, 20, {"restarts": 1}, "unhealthy"), (500, 20, {"restarts": 9}, "unhealthy"),  # by Docker: it had failed
    (500, 20, {"health": "starting"}, "starting"), (500, 90, {"health": "starting"}, "starting"),
    (None, 20, {}, "unhealthy"), (500, 700, {}, "unhealthy"), (20, 20, {}, "unhealthy"),
])
def test_one_that_people_restarted_has_its_start_up_again(passed_s_ago: float | None, started_s_ago: float,
                                                          changes: dict[str, Any], condition: str) -> None:
    state = {} if passed_s_ago is None else {"passed_at": {"c2": NOW - passed_s_ago}}
    seen = with_container(scene(2, "passing", "unhealthy", state=state), 1, started_at=NOW - started_s_ago, **changes)
    assert members.members(seen)[1].condition == condition
    assert decided(seen) == (["start books-3"] if condition == "unhealthy" else ["wait books-2"])
    passing = with_container(with_instance(seen, 1, status="passing"), 1, health="")
    after = passing._replace(state=next_state.advance(passing), now=NOW + 5)
    assert members.members(with_instance(after, 1, status="critical"))[1].condition == "failing"  # it has passed again
    assert next_state.advance(after).healing.passed_at == after.state.healing.passed_at


def test_what_serves_beside_the_service_is_named_and_left_alone() -> None:
    seen = scene(1, "passing", keys={"hold": b"Monday"})
    stranger = seen.instances[0]._replace(
        service_id="web:x:8080", container_id="other", image="books:0", node="node-2")
    for foreign, held in ((seen._replace(foreign=(stranger,)), True),
                          (scene(1, "passing", foreign=(stranger,)), False)):
        (warning,) = plan.plan(foreign)
        assert (warning.kind, warning.container, bool(foreign.desired.why_held)) == ("warn", "web:x:8080", held)
        assert warning.reason == ("foreign: on node-2 it is registered as books (books:0), and lictor did not start it "
                                  "there. It may get traffic; lictor neither counts, heals nor ends it.")
        assert observation_codec.load(observation_codec.export(foreign)) == foreign


@pytest.mark.parametrize(("changes", "is_foreign"), [
    ({}, True), ({"container_id": ""}, True), ({"container_id": "", "node": "node-2"}, True),
    ({"container_id": "c1"}, False), ({"is_udp": True, "container_id": "c1"}, False), ({"is_udp": True}, True),
    ({"node_alive": False}, False)])
def test_foreign_is_what_no_container_of_lictor_s_has_registered(changes: dict[str, Any], is_foreign: bool) -> None:
    seen = scene(1, "passing")
    other = seen.instances[0]._replace(**{"service_id": "other", "container_id": "x", **changes})
    found = observe.list_foreign(seen.containers, [*seen.instances, other])
    assert [each.service_id for each in found] == (["other"] if is_foreign else [])


def test_an_ended_container_says_how() -> None:
    seen = with_container(scene(1, "gone"), 0, is_out_of_memory=True)
    assert plan.plan(seen)[0].reason == "it is exited with exit code 137, out of memory"


@pytest.mark.parametrize(("printed", "said"), [
    ("HTTP GET http://127.0.0.1:8080/health: 404 Not Found Output: nothing\nhere",
     "HTTP GET http://127.0.0.1:8080/health: 404 Not Found Output: nothing"),
    ("\n\n  second \r\nthird", "second"), ("", ""), (None, ""), (5, "5"), ("x" * 300, "x" * 120),
    # behind the URL stands what matters
    (f"HTTP GET http://127.0.0.1:32768/health/{'x' * 200}?a=b: 404 Not Found Output: nothing",
     f"HTTP GET http://127.0.0.1:32768/health/{'x' * 13}...: 404 Not Found Output: nothing"),
    (f'Get "http://127.0.0.1:32768/{"x" * 200}": dial tcp 127.0.0.1:32768: connect: connection refused',
     f'Get "http://127.0.0.1:32768/{"x" * 20}...": dial tcp 127.0.0.1:32768: connect: connection refused'),
    ("\x1b[2Jgone\x07\u202egnp.exe", "?[2Jgone??gnp.exe"), ("a\tb", "a       b"), ("\x00", "?"),
])
def test_the_first_line_of_a_failing_check_is_cleaned(printed: object, said: str) -> None:
    checks = [{"CheckID": "b", "ServiceID": "s", "Status": "passing", "Output": "fine"},
              {"CheckID": "c", "ServiceID": "s", "Status": "critical", "Output": printed},
              {"CheckID": "_service_maintenance:s", "ServiceID": "s", "Status": "critical", "Output": "", "Notes": "x"}]
    entry = {"Node": {"Node": "n"}, "Checks": checks, "Service": {"ID": "s", "Service": "books", "Port": 1}}
    assert model.instance(entry).output == said


@pytest.mark.parametrize(("tags", "meta", "is_udp"), [
    (None, None, False), ([], {}, False), (["udp"], {}, True), (["a", "udp"], None, True), (["udp2"], {}, False),
    ([], {"lictor-protocol": "udp"}, True), ([], {"lictor-protocol": "tcp"}, False), (["UDP"], {}, True),
    # lictor's registrar knows the protocol, whatever tags the container gives itself
    (["udp"], {"lictor-engine": "e"}, False), (["udp"], {"lictor-engine": "e", "lictor-protocol": "udp"}, True),
    (["sctp"], {"lictor-engine": "e", "protocol": "udp"}, False),
    ([], {"protocol": "Udp"}, True), ([], {"lictor-protocol": "sctp"}, True), (["sctp"], {}, True)])
def test_udp_is_known_by_tag_or_metadata(tags: object, meta: object, is_udp: bool) -> None:
    entry = {"Node": {"Node": "n"}, "Checks": [],
             "Service": {"ID": "s", "Service": "books", "Port": 1, "Tags": tags, "Meta": meta}}
    assert model.instance(entry).is_udp is is_udp


def test_of_each_container_and_node_what_speaks_udp_is_silent_beside_tcp() -> None:
    one = model.Instance("n", "tcp", "books", "", 1, "passing", True, None, "c1")
    given = [one, one._replace(service_id="tcp2"), one._replace(service_id="udp", is_udp=True),
             one._replace(service_id="only", container_id="c2", is_udp=True),
             one._replace(service_id="bare", container_id=""),
             one._replace(service_id="bare-udp", container_id="", is_udp=True),
             one._replace(service_id="elsewhere", container_id="", is_udp=True, node="m")]
    groups = {owner: [each.service_id for each in group] for owner, group in model.by_container(given).items()}
    assert groups == {"c1": ["tcp", "tcp2"], "c2": ["only"], "n/bare": ["bare"], "m/elsewhere": ["elsewhere"]}


TAKEN = "its id is registered by somebody else: vm:books-1:8080, without lictor-engine"


def test_who_is_not_registered_for_a_known_reason_says_so() -> None:
    """Be it registrator beside lictor-registrar: a release that fails at its deadline has to say by whom."""
    seen = scene(1, "unregistered")._replace(unregistered={"books-1": TAKEN, "books-2": "of no concern"})
    (found,) = members.members(seen)
    assert found.words == f"books-1 is starting: {TAKEN}"
    assert f"it is not registered yet: {TAKEN}" in why(seen)
    passing = scene(1, "passing")._replace(unregistered={"books-1": "SERVICE_TAGS: a tag is left out"})
    assert members.members(passing)[0].words == "books-1 is healthy"
    assert observation_codec.load(observation_codec.export(seen)).unregistered == seen.unregistered
