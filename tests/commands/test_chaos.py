"""The verdict of scripts/chaos is strict, its evidence is read right, and a short run holds and leaves nothing."""

import json
import os
import random
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.chaos import evidence, faults, verdict
from lab.chaos.course import schedule, settle
from lab.chaos.doing import Doing
from lab.chaos.faults import FAULTS
from lab.chaos.timeline import Access, Address, Deed, Done, Event, Failed, Outage, Sample, Standing
from lab.daemon import wait_for
from lab.docker import Docker
from support import leaving
from support.paths import REPOSITORY

BOOKS = "books-service"
WANTED = {BOOKS: 3}


def event(at: float, name: str, action: str) -> Event:
    return Event(at, f"id-{name}", action, name, BOOKS)


def deed(kind: str, name: str, began: float, ended: float) -> Deed:
    return Deed(kind, f"id-{name}", BOOKS, began, ended)


def removals(events: list[Event], *deeds: Deed) -> list[str]:
    started = [event(0, name, "start") for name in "abc"]
    return verdict.removals([*started, *events], deeds, WANTED, {"id-a": 40.0})


ENDED_A = [event(50, "a", "kill"), event(51, "a", "die"), event(52, "a", "destroy")]
START_D = event(20, "d", "start")
ACCOUNTED_FOR: dict[str, tuple[list[Event], list[Deed]]] = {
    "killed by us, then removed": (ENDED_A, [deed("killed", "a", 49.9, 50.5)]),
    "stopped by us, then removed": (ENDED_A, [deed("stopped", "a", 49, 51)]),
    "broken by us": (ENDED_A, [deed("broken", "a", 30, 30.1)]),
    "dead by itself, then removed": ([event(50, "a", "die"), event(60, "a", "destroy")], []),
    "the paused one is surplus": ([START_D, *ENDED_A], [deed("paused", "a", 15, 19)]),
    "its replacement is surplus": ([START_D, *ENDED_A], [deed("paused", "b", 15, 19)]),
    "a stand-in was killed during the drain": (
        [START_D, event(45, "b", "kill"), event(45, "b", "die"), *ENDED_A],
        [deed("paused", "a", 15, 19), deed("killed", "b", 44, 46)]),
}
NOT_ACCOUNTED_FOR: dict[str, tuple[list[Event], list[Deed]]] = {
    "healthy and not harmed": (ENDED_A, []),
    "removed at one stroke while it ran": ([event(50, "a", "destroy")], []),
    "another one was killed": (ENDED_A, [deed("killed", "b", 49.9, 50.5)]),
    "another one was broken": (ENDED_A, [deed("broken", "b", 30, 30.1)]),
    "lictor was there before our kill": (ENDED_A, [deed("killed", "a", 50.1, 50.5)]),
    "lictor was there before we broke it": (ENDED_A, [deed("broken", "a", 50.1, 50.2)]),
    "our kill failed long before": (ENDED_A, [deed("killed", "a", 10, 11)]),
    "recovered from a pause, and nobody stood in": (ENDED_A, [deed("paused", "a", 15, 19)]),
    "one too many, but nobody needed it": ([START_D, *ENDED_A], []),
    "one too many before anybody was paused": ([START_D, *ENDED_A], [deed("paused", "b", 60, 65)]),
    "the stand-in came too late": ([event(50.5, "d", "start"), *ENDED_A], [deed("paused", "a", 15, 19)]),
    "the stand-in had died long before": (
        [START_D, event(30, "b", "kill"), event(30, "b", "die"), *ENDED_A],
        [deed("paused", "a", 15, 19), deed("killed", "b", 29, 31)]),
    "the stand-in is broken": ([START_D, *ENDED_A], [deed("paused", "a", 15, 19), deed("broken", "b", 25, 26)]),
    "the stand-in is paused": ([START_D, *ENDED_A], [deed("paused", "a", 15, 19), deed("paused", "b", 39, 55)]),
    "it was paused": ([START_D, *ENDED_A], [deed("paused", "a", 45, 70)]),
    "two go where one was surplus": (
        [START_D, *ENDED_A, event(70, "b", "kill"), event(71, "b", "die")], [deed("paused", "a", 15, 19)]),
}


@pytest.mark.parametrize("name", ACCOUNTED_FOR)
def test_a_removal_that_our_deeds_account_for_is_none_to_complain_of(name: str) -> None:
    events, deeds = ACCOUNTED_FOR[name]
    assert removals(events, *deeds) == []


@pytest.mark.parametrize("name", NOT_ACCOUNTED_FOR)
def test_any_other_removal_is_a_violation(name: str) -> None:
    events, deeds = NOT_ACCOUNTED_FOR[name]
    assert len(removals(events, *deeds)) == 1


def test_who_is_ended_without_a_drain_must_have_been_surplus_just_then() -> None:
    stand_in_dies = [START_D, event(42, "b", "kill"), event(42, "b", "die"), *ENDED_A]
    events = [*(event(0, name, "start") for name in "abc"), *stand_in_dies]
    deeds = [deed("paused", "a", 15, 19), deed("killed", "b", 41, 43)]
    assert verdict.removals(events, deeds, WANTED, {"id-a": 40.0}) == []
    assert len(verdict.removals(events, deeds, WANTED, {})) == 1


def test_a_death_that_nobody_asked_for_is_a_violation_unless_docker_was_away() -> None:
    events = [event(0, "a", "start"), event(50, "a", "die"), event(0, "b", "start"), *(
        event(50, "b", action) for action in ("kill", "die"))]
    assert len(verdict.deaths(events, [], [Outage(40, 49)])) == 1
    assert verdict.deaths(events, [], [Outage(40, 51)]) == []


REFUSED = "ConnectionRefusedError(111, 'Connection refused')"
AWAY = [Outage(100, 105)]
ADDRESSES = [Address("10.0.0.2:8080", "id-a", BOOKS, 0), Address("10.0.0.3:8080", "id-b", BOOKS, 0),
             Address("10.0.0.2:8080", "id-d", BOOKS, 90)]
KILL_A = [deed("killed", "a", 50, 50.2)]


def explained(seen: str, status: int, began: float, ended: float, *upstreams: str, logged: bool = True) -> str:
    failed = Failed(BOOKS, "/x?1", began, ended, seen, status)
    access = Access(began, ended, status or 200, upstreams, "/x?1") if logged else None
    return verdict.explain(failed, access, AWAY, KILL_A, ADDRESSES)


@pytest.mark.parametrize(("seen", "began", "ended"), [
    (REFUSED, 102, 102.001), ("ConnectionResetError(104)", 99.9, 100.1), ("IncompleteRead(0 bytes read)", 99.9, 100.1)])
def test_what_a_dead_nginx_cuts_or_refuses_is_explained(seen: str, began: float, ended: float) -> None:
    assert explained(seen, 0, began, ended, logged=False) == verdict.NGINX_DEAD


@pytest.mark.parametrize(("seen", "status", "began", "ended"), [
    ("status 502", 502, 102, 102.1), ("status 503", 503, 102, 102.1), ("status 504", 504, 99, 106),
    ("TimeoutError('timed out')", 0, 99, 109), (REFUSED, 0, 99, 99.9), (REFUSED, 0, 105.1, 105.2)])
def test_a_dead_nginx_explains_no_answer_nor_other_moment(seen: str, status: int, began: float, ended: float) -> None:
    assert explained(seen, status, began, ended) == verdict.UNEXPLAINED


def test_a_request_in_a_container_that_was_killed_meanwhile_is_explained() -> None:
    assert explained("status 502", 502, 49.9, 50.1, "10.0.0.2:8080") == verdict.KILLED
    assert explained("IncompleteRead(0 bytes read)", 0, 50.1, 50.3, "10.0.0.3:8080", "10.0.0.2:8080") == verdict.KILLED


@pytest.mark.parametrize(("began", "ended", "upstreams"), [
    (49.9, 50.1, ("10.0.0.3:8080",)), (49.9, 50.1, ("10.0.0.2:8080", "10.0.0.3:8080")), (49.9, 50.1, ()),
    (50.3, 50.4, ("10.0.0.2:8080",)), (49.0, 49.9, ("10.0.0.2:8080",)), (49.9, 50.1, (f"lictor_{BOOKS}",)),
    (95, 95.1, ("10.0.0.2:8080",))])
def test_a_kill_explains_no_other_container_nor_moment(began: float, ended: float, upstreams: tuple[str, ...]) -> None:
    assert explained("status 502", 502, began, ended, *upstreams) == verdict.UNEXPLAINED


def test_a_request_to_a_container_that_has_just_been_paused_is_explained() -> None:
    hurts = verdict.instants([deed("paused", "a", 50, 90)], [], [])

    def explained(began: float, upstream: str) -> str:
        access = Access(began, began + 10, 499, (upstream,), "/x?1")
        failed = Failed(BOOKS, "/x?1", began, began + 10, "TimeoutError('timed out')", 0)
        return verdict.explain(failed, access, [], hurts, ADDRESSES[:2])

    assert explained(49, "10.0.0.2:8080") == explained(54, "10.0.0.2:8080") == verdict.PAUSED
    assert explained(39, "10.0.0.2:8080") == explained(56, "10.0.0.2:8080") == verdict.UNEXPLAINED
    assert explained(51, "10.0.0.3:8080") == verdict.UNEXPLAINED


@pytest.mark.parametrize(("refusing", "heard_at"), [
    ([], 55), ([Outage(30, 49)], 55), ([Outage(56, 65)], 55), ([Outage(45, 51)], 71), ([Outage(54, 64)], 84),
    ([Outage(45, 80)], 90), ([Outage(70, 75), Outage(45, 51)], 90)])
def test_a_pause_is_heard_of_by_the_next_sweep_after_nginx_refused_changes(refusing: list[Outage],
                                                                           heard_at: float) -> None:
    paused = deed("paused", "a", 50, 90)
    assert verdict.instants([paused], [], refusing) == [paused._replace(ended=heard_at)]


def test_without_a_line_in_nginxs_log_a_kill_explains_nothing() -> None:
    assert explained("ConnectionResetError(104)", 0, 49.9, 50.1, logged=False) == verdict.UNEXPLAINED


def test_an_address_given_anew_is_that_of_its_holder_at_the_time() -> None:
    assert verdict.holder("10.0.0.2:8080", ADDRESSES, 50, 51) == {"id-a"}
    assert verdict.holder("10.0.0.2:8080", ADDRESSES, 95, 96) == {"id-d"}
    assert verdict.holder("10.0.0.2:8080", ADDRESSES, 89, 91) == {"id-a", "id-d"}


def test_a_kill_lasts_until_docker_sees_the_container_dead() -> None:
    kills = verdict.instants([deed("killed", "a", 50, 52), deed("stopped", "b", 50, 52)], [event(50.1, "a", "die")],
                             [Outage(49, 60)])
    assert kills == [deed("killed", "a", 50, 50.1)]


def test_traffic_to_where_no_container_ever_was_is_a_violation() -> None:
    log = [Access(1, 1.1, 200, (upstream,), "/api/v1/books?1") for upstream in ("10.0.0.2:8080", "10.66.66.66:80")]
    assert len(verdict.strangers(log, ADDRESSES, {"/api/v1/books": BOOKS})) == 1


NAMES = [f"{BOOKS}-{number}" for number in (1, 2, 3)]
WELL = Standing(
    wanted=WANTED, running=[(BOOKS, name[-1], name) for name in NAMES], passing={BOOKS: NAMES}, served={BOOKS: NAMES},
    maintenance=[], sessions=[], locks=[], ended=[], temporaries=[], garbage=[], plan="", says={BOOKS: "as desired"})


def test_when_everything_stands_as_it_should_there_is_nothing_to_complain_of() -> None:
    assert verdict.standing(WELL) == []


@pytest.mark.parametrize("changes", [
    {"running": WELL.running[:2], "passing": {BOOKS: NAMES[:2]}, "served": {BOOKS: NAMES[:2]}},
    {"running": [*WELL.running, ("other", "1", "other-1")]},
    {"passing": {BOOKS: NAMES[:2]}}, {"passing": {BOOKS: [*NAMES, "stale"]}}, {"passing": {}},
    {"served": {BOOKS: NAMES[:2]}}, {"served": {BOOKS: [*NAMES, "stale"]}}, {"served": {}},
    {"maintenance": ["_service_maintenance:x"]}, {"sessions": ["x"]}, {"locks": ["lictor/locks/x"]},
    {"ended": ["id-x"]}, {"temporaries": ["/x/.y.1.tmp"]},
    {"garbage": ["/x/upstreams/y.conf"]}, {"plan": "start books-service-3"},
    {"says": {BOOKS: "converging"}}, {"says": {}}], ids=str)
def test_each_thing_that_is_not_as_it_should_be_is_a_violation(changes: dict[str, Any]) -> None:
    assert len(verdict.standing(WELL._replace(**changes))) == 1


def test_one_number_twice_is_a_violation_of_its_own() -> None:
    twice = WELL._replace(running=[*WELL.running[:2], (BOOKS, "2", NAMES[2])])
    assert verdict.standing(twice) == [f"{BOOKS}: number 2 runs 2 times"]


def test_a_fault_is_repaired_when_all_is_well_again_without_what_it_harmed() -> None:
    fault = Done("health broken", "a", 10, 11, True, "", victim="id-a")
    samples = [Sample(10.5, "", frozenset({"id-b"})), Sample(12, "", frozenset({"id-a"})),
               Sample(13, "trouble", frozenset({"id-b"})), Sample(14, "", frozenset({"id-b"}))]
    assert verdict.repairs([fault, fault._replace(done=False)], samples) == [(4, fault)]
    assert len(verdict.unrepaired([fault, fault._replace(done=False)], samples[:3])) == 1
    assert verdict.unrepaired([fault], samples) == []


def test_the_clock_of_a_handler_is_set_and_its_other_clocks_are_not(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY / "lab/chaos/clock"), "LICTOR_CHAOS_CLOCK": str(clock)}
    code = "import time; print(time.time(), time.monotonic())"

    def ask() -> tuple[float, float]:
        wall, monotonic = subprocess.check_output([sys.executable, "-c", code], env=environ, text=True).split()
        return float(wall) - time.time(), float(monotonic) - time.monotonic()

    for seconds in (0, 7200, -10_800):
        if seconds:
            clock.write_text(str(seconds))
        wall_s, monotonic_s = ask()
        assert abs(wall_s - seconds) < 60 and abs(monotonic_s) < 60


def test_it_is_not_at_rest_while_a_victim_runs_that_seems_to_be_well() -> None:
    fault = Done("health broken", "a", 10, 11, True, "", victim="id-a")
    samples = [Sample(12, "", frozenset({"id-a"}))]
    watching: Any = types.SimpleNamespace(samples=samples, trouble="")
    mischief: Any = types.SimpleNamespace(records=[fault])
    assert settle(lambda: ["not so"], mischief, watching, time.monotonic()) == ["not so"]

    def replace_it() -> None:
        samples.extend(Sample(20 + each, "", frozenset()) for each in range(9))

    unrepaired_when_judged = []

    def judge() -> list[str]:
        unrepaired_when_judged.extend(verdict.unrepaired([fault], samples))
        samples.extend(samples[-1:] * 9)
        return []

    repair = threading.Timer(0.2, replace_it)
    repair.start()
    assert settle(judge, mischief, watching, time.monotonic() + 60) == []
    repair.join()
    assert unrepaired_when_judged == []


def test_nginxs_log_is_read_also_where_it_tried_several(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("100.500 200 10.0.0.2:8080 200 0.250 0.250 GET /api/v1/books?books-service.1 HTTP/1.1\n"
                   "101.000 502 10.0.0.2:8080, 10.0.0.3:8080 504, 502 2.000 2.000, 0.000 GET /x?2 HTTP/1.1\n"
                   "102.000 503 - - 0.000 - GET /x?3 HTTP/1.1\n"
                   "103.000 200 10.0.0.2:8080 20")
    assert list(evidence.accesses(str(log))) == [
        Access(100.25, 100.5, 200, ("10.0.0.2:8080",), "/api/v1/books?books-service.1"),
        Access(99.0, 101.0, 502, ("10.0.0.2:8080", "10.0.0.3:8080"), "/x?2"), Access(102.0, 102.0, 503, (), "/x?3")]


def test_who_was_started_while_nobody_heard_of_it_is_found(docker: Docker) -> None:
    label = "lictor.service=books-service"
    unheard = docker.docker("run", "-d", "--name", "books-service-1", "--label", label, "books-service:1.0")
    docker.docker("run", "-d", "--name", "impostor", "--label", label, "books-service:1.0")
    events = evidence.Events(docker.url)
    events.start()
    try:
        wait_for(lambda: events.events, "it is found")
        heard = docker.docker("run", "-d", "--name", "books-service-2", "--label", label, "books-service:1.0")
        docker.docker("restart", "-t", "0", "books-service-1")
        wait_for(lambda: "restart" in [each.action for each in events.events], "all is told")
        starts = {each.container: each.name for each in events.events if each.action == "start"}
        assert starts == {unheard: "books-service-1", heard: "books-service-2"}
        assert {(each.container, each.service) for each in events.addresses if each.address} == {
            (unheard, BOOKS), (heard, BOOKS)}
        assert [each.started for each in verdict.lives(events.events, ())] == sorted(
            max(each.at for each in events.events if each.container == container and each.action == "start")
            for container in starts)
    finally:
        events.stop()


def test_a_seed_decides_what_happens_and_every_fault_comes_before_any_comes_again() -> None:
    first, again, other = [
        [item for item, _ in zip(schedule(random.Random(seed), FAULTS), range(2 * len(FAULTS)), strict=False)]
        for seed in (1, 1, 2)
    ]
    assert first == again != other
    assert {kind for kind, _, _ in first[:len(FAULTS)]} == {kind for kind, _, _ in first[len(FAULTS):]} == set(FAULTS)


class Faulty:
    """Faults for a world that has nothing but its end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.undone = threading.Event()
        world: Any = types.SimpleNamespace(ending=threading.Event())
        self.mischief: faults.Mischief[Any] = faults.Mischief(world, lambda text: None, faults.FAULTS)
        for kind in ("lasts", "refuses", "stays"):
            monkeypatch.setitem(faults.FAULTS, kind, getattr(self, kind))

    @contextmanager
    def lasts(self, world: Any, chance: random.Random) -> Iterator[Doing]:
        try:
            yield Doing("x", "for a day", 86_400)
        finally:
            self.undone.set()

    @contextmanager
    def refuses(self, world: Any, chance: random.Random) -> Iterator[Doing]:
        raise OSError("not now")
        yield

    @contextmanager
    def stays(self, world: Any, chance: random.Random) -> Iterator[Doing]:
        yield Doing("x", "for good")
        raise AssertionError("it cannot be undone")


def test_what_lasts_is_undone_at_the_end_and_what_cannot_be_done_or_undone_is_told(
        monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = Faulty(monkeypatch)
    for kind in ("lasts", "lasts", "refuses", "stays"):
        faulty.mischief.begin(kind, 1)
    assert not faulty.undone.is_set()
    faulty.mischief.end()
    assert faulty.undone.is_set()
    assert sorted((each.kind, each.done) for each in faulty.mischief.records) == [
        ("lasts", False), ("lasts", True), ("refuses", False), ("stays", True)]
    assert ["stays" in each for each in faulty.mischief.failures] == [True]


@pytest.mark.daemons
@pytest.mark.timeout(600)
def test_a_short_run_holds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    summary_path = tmp_path / "summary.json"
    code, output = leaving.run(REPOSITORY / "scripts/chaos", "--minutes", 0.5, "--seed", 1, "--json", summary_path,
                               timeout_s=570)
    assert code == 0, output
    summary = json.loads(summary_path.read_text())
    assert summary["violations"] == [] and summary["requests"] > 100
    assert sum(each["done"] for each in summary["faults"].values()) >= 4
