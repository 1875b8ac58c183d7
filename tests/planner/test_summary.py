"""The summary of a service: what runs, what is the matter, and what it waits for."""

from typing import Any

import pytest

from lictor import model
from lictor.planner.actions import Action, Hold, Start, Wait, Warn
from lictor.planner.autoscale.traffic import Side
from lictor.planner.service_state import Failure, Rollout, Trial
from lictor.planner.summary.decided import add_to, extend, list_lines
from lictor.planner.summary.facts import Facts, gather
from lictor.planner.summary.service import Severity, Summary, sum_up
from lictor.reconcile.status.status_report import Status

from support.scene import NOW, RELEASE, SPEC, state_of, wanted

WHY = "db has no member yet"
RUNS = model.Instance("node-1", "s1", "books", "127.0.0.1", 1, "passing", True, None, "c1", image="books:1")


def facts_of(replicas: int) -> Facts:
    return gather(NOW, wanted(replicas), state_of(live_release=RELEASE), [RUNS])


def summary(replicas: int, running: int, image: str = "books:1", **state: Any) -> str:
    desired = wanted(replicas, {"image": image.encode()})
    instances = [RUNS._replace(service_id=f"s{number}") for number in range(running)]
    return sum_up(Facts(NOW, desired, state_of(live_release=RELEASE, **state), instances, instances,
                        awaited=WHY)).says


@pytest.mark.parametrize(("replicas", "running", "said"), [
    (2, 0, f"waiting: {WHY}"), (2, 1, f"waiting: {WHY}"), (2, 2, "as desired"),
    (1, 2, "converging: replicas key is 1")])
def test_only_what_is_not_there_waits(replicas: int, running: int, said: str) -> None:
    """Of a service that runs the list is not needed any more."""
    assert summary(replicas, running) == said


def test_a_release_waits_as_long_as_it_is_under_way() -> None:
    release = wanted(2, {"image": b"books:2"}).release
    rollout = Rollout(release, NOW)
    assert summary(2, 2, "books:2", rollout=rollout) == f"releasing books:2 for 0 s. It waits: {WHY}"
    complete = Rollout(release, NOW, most=2)
    assert summary(2, 2, "books:2", rollout=complete) == "releasing books:2 for 0 s"
    failed = Failure(release, "books:2", "it died", 1.0)
    assert summary(2, 2, "books:2", failed=failed) == (
        "release of books:2 failed: it died. the earlier release runs on")


OLD = RUNS._replace(container_id="c2", image="books:0")


@pytest.mark.parametrize(("instances", "spec", "live", "images"), [
    ([RUNS], {}, None, ["books:1"]), ([RUNS, OLD], {}, None, ["books:0", "books:1"]),
    ([], {}, SPEC, []),  # what was live once does not run
    ([RUNS._replace(image="")], {}, {**SPEC, "image": "books:0"}, ["books:0"]),  # a scheduler's own name is unknown
    ([], {"port": None, "check": None}, {**SPEC, "image": "books:0"}, ["books:0"]),  # not in the catalogue
    ([], {"port": None, "check": None}, {"image": 5}, []), ([], {"port": None, "check": None}, None, [])])
def test_what_runs_is_told_as_far_as_it_is_known(instances: list[model.Instance], spec: dict[str, Any],
                                                 live: dict[str, Any] | None, images: list[str]) -> None:
    state = state_of(live=live, live_release=RELEASE if live else "")
    assert gather(0.0, wanted(1, spec=spec), state, instances).images == images


@pytest.mark.parametrize(("image", "desired", "shown"), [
    ("b:1", "b:1", "b:1"), ("b:1", "b:2", "b:1 (desired: b:2)"), ("", "b:1", "- (desired: b:1)"), ("b:1", "", "b:1"),
    ("b:1, b:2", "b:2", "b:1, b:2 (desired: b:2)"), ("", "", "")])
def test_the_wish_stands_beside_what_runs_where_they_differ(image: str, desired: str, shown: str) -> None:
    assert Status("books", image=image, desired_image=desired).images == shown


def test_what_lictor_did_not_start_is_named_and_counts_for_nothing() -> None:
    stranger = RUNS._replace(service_id="by-hand", container_id="c9", image="books:0")
    registered = [RUNS, stranger, RUNS._replace(service_id="s1/udp", is_udp=True)]
    facts = gather(0.0, wanted(1), state_of(live_release=RELEASE), registered, {stranger.identity})
    assert (facts.instances, facts.foreign, facts.images) == ([RUNS], [stranger], ["books:1"])
    assert sum_up(facts) == Summary(Severity.ATTENTION, (
        "foreign: by-hand on node-1 (books:0). lictor did not start it, and leaves it alone. It may get traffic"))


def test_a_stranger_is_one_by_any_of_its_registrations_and_without_a_container_too() -> None:
    twice = [RUNS._replace(service_id=f"hand-{port}", container_id="c9", port=port) for port in (1, 2)]
    bare = RUNS._replace(service_id="bare", container_id="")
    known = {twice[1].identity, bare._replace(container_id="node-1/bare").identity}  # as a scheduler's node tells it
    facts = gather(0.0, wanted(1), state_of(live_release=RELEASE), [RUNS, *twice, bare], known)
    assert (facts.instances, facts.foreign) == ([RUNS], [twice[0], bare])


LOST = RUNS._replace(node="node-2", service_id="s2", container_id="c2", node_alive=False, image="books:0")
GREEN = wanted(1, spec={"release": {"strategy": "blue-green"}})
PORTLESS = wanted(1, spec={"port": None, "check": None})


@pytest.mark.parametrize(("facts", "severity", "says"), [
    # Consul keeps the registrations of a lost node for days.
    (gather(0.0, wanted(1), state_of(live_release=RELEASE), [RUNS, LOST]), Severity.WELL, "as desired"),
    (gather(0.0, wanted(1), state_of(live_release=RELEASE), [LOST]), Severity.WORKING, "converging: "),
    (gather(0.0, wanted(1)._replace(removed=True), state_of(), [RUNS]), Severity.WORKING, "being removed"),
    (gather(0.0, wanted(1)._replace(removed=True, why_held="x"), state_of(), [RUNS]), Severity.ATTENTION, "on hold: x"),
    (gather(10.0, GREEN, state_of(live_release="old", rollout=Rollout(GREEN.release, 1.0, trial=Trial(
        0.1, 2.0, 3.0, canary=Side({60: 9}, 3)))), [RUNS]), Severity.WORKING,
     "releasing books:1 for 9 s. canary of 10%: green got 12 requests, 25.00% errors (3), typically 18 ms; blue"),
    (gather(0.0, PORTLESS, state_of(live_release=PORTLESS.release), []), Severity.ATTENTION, "unknown: it has no port"),
    (gather(0.0, PORTLESS, state_of(live_release=PORTLESS.release), [])._replace(is_decided_here=True), Severity.WELL,
     "as desired")])
def test_how_a_service_is(facts: Facts, severity: Severity, says: str) -> None:
    found = sum_up(facts)
    assert found.severity == severity and found.says.startswith(says), found


@pytest.mark.parametrize(("statuses", "receiving", "quoted"), [
    (("passing",), 1, ""), (("passing", "critical"), 0, "s1 on node-1 is critical"), (("warning", "passing"), 1, "")])
def test_a_container_is_as_well_as_the_worst_of_its_registrations(statuses: tuple[str, ...], receiving: int,
                                                                 quoted: str) -> None:
    facts = gather(0.0, wanted(1), state_of(live_release=RELEASE), [
        RUNS._replace(service_id=f"s{number}", status=status) for number, status in enumerate(statuses)])
    assert (len(facts.instances), len(facts.receiving)) == (1, receiving)
    assert quoted in sum_up(facts).says


FOREIGN = Warn("s9", "foreign: on node-1 it is registered as books. It may get traffic.")
STARTS = Start("books-2", "replicas key is 2, 1 run", 2, "", RELEASE)
WAITS = Wait("books-2", "starting: it has not passed its check yet.")
HELD = Hold("books-2", "on hold: its number is given up.")
TRUE, VAGUE = facts_of(1), facts_of(2)


@pytest.mark.parametrize(("facts", "actions", "status", "check"), [
    (TRUE, (), "as desired", []),
    (TRUE, (STARTS,), "start books-2: replicas key is 2, 1 run", ["start books-2: replicas key is 2, 1 run"]),
    (VAGUE, (STARTS, FOREIGN), "converging: replicas key is 2", [
        "start books-2: replicas key is 2, 1 run", f"warn s9: {FOREIGN.reason}"]),
    (TRUE, (HELD,), f"books-2: {HELD.reason}", [f"books-2: {HELD.reason}"]),
    (VAGUE, (), "converging: replicas key is 2", ["converging: replicas key is 2"]),
    (VAGUE, (WAITS,), "converging: replicas key is 2", [f"wait books-2: {WAITS.reason}"]),
    (VAGUE, (HELD,), f"books-2: {HELD.reason}", [f"books-2: {HELD.reason}"]),
    (TRUE._replace(unserved=["node-1: x"]), (HELD,), "node-1: x", [f"books-2: {HELD.reason}"]),
    (TRUE._replace(nginx_nodes=[], desired=wanted(1, spec={"route": {"path": "/books"}})), (), "no nginx serves it", [
        "no nginx serves it"]),
    (TRUE._replace(nginx_nodes=[], lost_nginx_nodes=["node-2"], desired=wanted(1, spec={"route": {"path": "/books"}})),
     (), "no nginx serves it: node-2 did; no answer from there (serfHealth)", [
        "no nginx serves it: node-2 did; no answer from there (serfHealth)"]),
])
def test_a_decision_says_what_the_catalogue_does_not(facts: Facts, actions: tuple[Action, ...], status: str,
                                                     check: list[str]) -> None:
    summary = sum_up(facts)
    told = [each for each in [add_to(summary, facts, actions)] if each]
    found = extend(summary, facts, told)
    assert (found.says, list_lines(summary, facts, actions)) == (status, check)
    assert found.is_well == (not check)
    if told:  # as soon as the catalogue or the keys say anything else, that decision is of the past
        later = facts._replace(instances=[RUNS._replace(status="critical"), *facts.instances[1:]])
        assert extend(summary, later, told) == summary
