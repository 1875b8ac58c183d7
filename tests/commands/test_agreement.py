"""Whether the verbs agree: each sort of contradiction is found, what passes by itself is none, and none is possible by
what the planner decides and the summary says, whatever was observed."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.adapters.text import one_line
from lictor.events import timer
from lictor.model import Clock, Instance
from lictor.planner import next_state, observation_codec
from lictor.planner.observation import Observation
from lictor.planner.service_state import Breaker
from lictor.planner.summary.decided import add_to, list_lines
from lictor.planner.summary.facts import gather
from lictor.planner.summary.service import sum_up
from lictor.reconcile.status import status_report

from lab.chaos.agreement import NODE, Check, Contradiction, Round, Said, contradictions, find_standing
from support import disorder
from support.examples import at_least
from support.paths import DATA
from support.scene import NOW, scene

WELL = {"name": "books", "severity": "well", "is_unseen": False, "says": "as desired", "problems": [], "nobody": "",
        "color": "", "passing": 2, "registered": 2}
ILL = {**WELL, "severity": "working", "says": "converging: replicas key is 3"}
NOBODYS = {**WELL, "severity": "failed", "says": "nobody acts: vm1", "nobody": "nobody acts: vm1"}
START = {"service": "books", "kind": "start", "container": "books-3", "reason": "replicas key is 3, 2 run"}
NOBODY = {"service": "books", "kind": "nobody", "container": "", "reason": "nobody acts: vm1"}
ELSEWHERE = {"service": "books", "kind": "none", "container": "", "reason": "node vm2 acts for it, this is vm1"}
FINE, LINE = Check("passing", ("1 services as desired",)), Check("warning", ("books: start books-3: x",))
FOREIGN = Instance("node-1", "by-hand", "books", "127.0.0.1", 9, "passing", True, None, "c9")
AWAY = Check("warning", ("unknown: no sweep has ended for 10 s, as the last one failed: x",))
PASSES, FAILS = ({"condition": text, "is_foreign": False} for text in ("passes", "critical: 404 Not Found"))


def doctor(services: str = "a node acts for each", timer: str = "1 services as desired") -> list[dict[str, Any]]:
    return [{"name": "services", "ok": services.startswith("a node"), "detail": services},
            {"name": "timer", "ok": True, "detail": timer}]


@pytest.mark.parametrize(("said", "between"), [
    (Said([WELL], [START]), {("status", "plan")}),
    (Said([WELL], [{**START, "kind": "hold"}]), {("status", "plan")}),  # what is not done is not well either
    (Said([ILL], []), {("status", "plan")}),
    (Said([{**WELL, "problems": ["services/books/spec: is no JSON"]}], []), {("status", "plan")}),
    (Said([ILL], [START], {"books": []}), {("status", "why"), ("plan", "why")}),
    (Said([ILL], [START], {"books": [{**START, "container": "books-4"}]}), {("plan", "why")}),
    (Said([ILL], [START], {"books": [{**START, "reason": "its node is away"}]}), {("plan", "why")}),
    (Said([WELL], [], check=LINE), {("status", "the check"), ("plan", "the check")}),
    (Said([ILL], [START], check=FINE), {("status", "the check"), ("plan", "the check")}),
    (Said([WELL], check=Check("critical", ("books: its route is refused",))), {("status", "the check")}),
    (Said([NOBODYS], [START]), {("status", "plan")}),
    (Said([ILL], [NOBODY]), {("status", "plan")}),
    (Said([NOBODYS], doctor=doctor()), {("status", "doctor")}),
    (Said([WELL], doctor=doctor("books: nobody acts: vm1")), {("status", "doctor")}),
    (Said([WELL], check=FINE, doctor=doctor(timer="books: start books-3: x")), {
        ("status", "doctor"), ("the check", "doctor")}),
    (Said([WELL], pages={"books": {**WELL, "instances": [PASSES, FAILS]}}), {("status", "status NAME")}),
    (Said([WELL], pages={"books": {**WELL, "instances": [PASSES]}}), {("status", "status NAME")}),
])
def test_each_sort_of_contradiction_is_found(said: Said, between: set[tuple[str, str]]) -> None:
    assert {(each.service, each.between) for each in contradictions(said)} == {("books", each) for each in between}


@pytest.mark.parametrize(("said", "between"), [
    (Said([WELL], check=AWAY, shown="books  2/2  as desired\n"), ("status", "the check")),
    (Said([], check=AWAY, shown="no services yet\n"), ("status", "the check")),
    (Said([WELL], check=FINE, doctor=[{"name": "timer", "ok": False, "detail": "the agent has no check"}]), (
        "the check", "doctor"))])
def test_what_is_amiss_of_a_node_is_told_by_all(said: Said, between: tuple[str, str]) -> None:
    assert [(each.service, each.between) for each in contradictions(said)] == [(NODE, between)]


@pytest.mark.parametrize("said", [
    Said([WELL], check=AWAY, shown=f"books  2/2  as desired\nvm1: {AWAY.lines[0].replace('10 s', '12 s')}\n"),
    Said([WELL], check=FINE, shown="books  2/2  as desired\n"), Said(check=AWAY, shown="Consul is away"),
    Said([ILL], check=LINE, shown="books  2/3  converging\n"),
    Said(), Said([WELL]), Said(None, [START]), Said([WELL], [], {"books": []}, {}, FINE, doctor()),
    Said([ILL], [START], {"books": [START]}, {}, LINE, doctor(timer="books: start books-3: x")),
    Said([ILL], [START], {"books": [{**START, "reason": "replicas key is 3, 1 run"}]}),  # a number may be another one
    Said([NOBODYS], [NOBODY], {"books": [NOBODY]}, {}, LINE, doctor("books: nobody acts: vm1")),
    Said([WELL], [ELSEWHERE]), Said([ILL], [ELSEWHERE]), Said([ILL], [{**ELSEWHERE, "kind": "unknown"}]),
    Said([ILL], check=Check("critical", ("carts: its route is refused",))),  # the worst alone is told
    Said([ILL], check=Check("warning", ("unknown: no sweep has ended yet",))),
    Said([WELL], check=Check("critical", ())),
    Said([WELL], [{**START, "service": "books-too"}], check=Check("warning", ("books-too: start books-too-1: x",))),
    Said([WELL], pages={"books": {**WELL, "instances": [PASSES, {**PASSES, "condition": "warning: slow"}]}}),
    Said([WELL], pages={"books": {**WELL, "instances": [PASSES, PASSES, {**FAILS, "is_foreign": True}]}}),
    Said([WELL], pages={"books": {**ILL, "instances": []}}),  # it has changed in between
    Said([{**WELL, "color": "blue"}], pages={"books": {**WELL, "instances": [PASSES] * 4}}),
])
def test_what_says_the_same_or_nothing_is_no_contradiction(said: Said) -> None:
    assert contradictions(said) == []


PLAN = Contradiction("books", ("status", "plan"), "'as desired' beside 'start'")
CHECK = PLAN._replace(between=("status", "the check"))


@pytest.mark.parametrize(("rounds", "stood"), [
    ([], 0), ([(0, 0, {PLAN})], 0), ([(0, 0, {PLAN}), (10, 0, {PLAN})], 1), ([(0, 0, {PLAN}), (20, 0, {PLAN})], 1),
    ([(0, 0, {PLAN}), (10, 0, {PLAN}), (20, 0, {PLAN})], 1),  # is told once
    ([(0, 0, {PLAN}), (10, 0, set()), (20, 0, {PLAN})], 0),  # it has passed, and come again
    ([(0, 0, {PLAN}), (10, 0, {PLAN._replace(what="another")})], 0),  # one of them has changed its mind
    ([(0, 0, {PLAN, CHECK}), (10, 0, {PLAN, CHECK})], 1),
    ([(0, 0, {CHECK}), (10, 0, {CHECK}), (20, 8, {CHECK})], 0),  # that sweep may have begun before
    ([(0, 0, {CHECK}), (10, 8, {CHECK}), (20, 8, {CHECK}), (30, 23, {CHECK})], 1),
])
def test_a_contradiction_that_stands_is_a_violation(rounds: list[tuple[float, float, set[Contradiction]]],
                                                    stood: int) -> None:
    found = find_standing(Round(at, swept_at, frozenset(each)) for at, swept_at, each in rounds)
    assert len(found) == stood and all(each.startswith("books: status and ") for each in found)


def ask(before: Observation) -> Said:
    """Say what each verb says of an observation, all of them at the same instant."""
    state, actions = next_state.step(before)
    seen = before._replace(state=state)
    facts = gather(NOW, seen.desired, state, (
        each for each in {*seen.instances, *seen.foreign} if each.service == seen.desired.catalog_name),
        {each.identity for each in seen.foreign})
    here = facts._replace(is_decided_here=True)  # as the sweep of the node that acts has them
    summary, name = sum_up(here), seen.desired.name
    told = add_to(summary, here, actions)
    row = status_report.make_row(facts, [told] if told else [])
    plan = status_report.complete([{"service": name, "kind": each.kind, "container": each.container,
                                    "reason": each.reason} for each in actions], row)
    lines = [one_line(f"{name}: {line}") for line in list_lines(summary, here, actions)]
    problems = [one_line(f"{name}: {line}") for line in seen.desired.problems]
    problems += [f"{name}: the breaker is open: {state.breaker.why}"] if state.breaker else []
    text, status = timer.judge(timer.Summary(NOW, "", 1, [], problems, lines, []), Clock(NOW))
    check = Check(("passing", "warning", "critical")[status], tuple(text.splitlines()))
    return Said([row._asdict()], plan, {name: plan}, {}, check, doctor(timer="; ".join(check.lines)))


RECORDED = [observation_codec.load(record["observation"]) for path in sorted((DATA / "observations").glob("*.json"))
            for record in json.loads(path.read_text())]
SCENES = [scene(2, *words.split(), **given) for given in (
    {}, {"keys": {"hold": b"x"}}, {"keys": {"image": b"books:2"}}, {"keys": {"replicas": b"many"}},
    {"state": {"doubt": "all are ill"}}, {"state": {"breaker": Breaker(NOW, "its budget is spent")}},
    {"keys": {"removed": b""}}, {"keys": {"spec": b"{"}}, {"spec": {"node": "node-2"}})
    for words in ("passing passing", "passing", "passing unhealthy", "passing gone", "passing passing passing",
                  "passing maintenance", "passing never", "passing unregistered", "passing draining", "",
                  "warning warning")]


@pytest.mark.parametrize("before", [*RECORDED, *SCENES], ids=range(len(RECORDED) + len(SCENES)))
def test_the_verbs_agree_about_what_was_recorded(before: Observation) -> None:
    assert contradictions(ask(before)) == []


def test_a_foreign_instance_counts_for_nothing_and_all_name_it() -> None:
    said = ask(scene(1, "passing", foreign=(FOREIGN,)))
    assert contradictions(said) == [] and said.status and said.check and said.plan
    assert said.status[0]["passing"] == 1 and said.status[0]["says"].startswith("foreign: by-hand on node-1")
    assert any("foreign" in each["reason"] for each in said.plan)
    assert any("foreign" in line for line in said.check.lines)


@given(st.randoms(use_true_random=False))
@settings(max_examples=at_least(300))
def test_no_observation_makes_the_verbs_contradict_each_other(r: Random) -> None:
    assert contradictions(ask(disorder.anything(r))) == []
