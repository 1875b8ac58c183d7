"""The verdict of scripts/chaos --set: made-up evidence shows that each of its checks can fail."""

import itertools
from typing import Any

import pytest

from lab.chaos.sets import members, verdict
from lab.chaos.sets.stops import stops
from lab.chaos.sets.timeline import End, Read, Round, Seat, Word
from lab.chaos.timeline import Deed, Event
from lab.etcd_writer import Write

DB = "db1"
_REVISIONS = itertools.count(1)


def seats(*numbers: int, learners: tuple[int, ...] = ()) -> tuple[Seat, ...]:
    return (*(Seat(f"id-{each}", each) for each in numbers), *(Seat(f"id-{each}", each, False) for each in learners))


def word(at: float, number: int, leader: int, term: int = 2, **changes: Any) -> Word:
    found = Word(number, f"c{number}", "set", f"id-{number}", term, f"id-{leader}" if leader else "",
                 acknowledged=next(_REVISIONS) if leader else 0, began=at + 0.1, ended=at + 0.2)
    return found._replace(**changes)


def seen(at: float, in_force: tuple[Seat, ...], *healthy: int, leader: int = 1, term: int = 2,
         others: tuple[Word, ...] = ()) -> Round:
    """A round in which these members, the leader among them, answer as they should."""
    words = [word(at, number, leader, term, leads=number == leader, seats=in_force) for number in healthy]
    return Round(at, at + 0.3, (*words, *others), {})


def headless(at: float, *numbers: int) -> Round:
    return Round(at, at + 0.3, tuple(word(at, number, 0) for number in numbers), {})


THREE, TWO, ONE = seats(1, 2, 3), seats(1, 2), seats(1)

CALM = [seen(0, THREE, 1, 2, 3), seen(1, THREE, 1, 2, 3)]
ONE_LINE: dict[str, list[Round]] = {
    "calm": CALM,
    "the leader dies, and another one takes over": [seen(0, THREE, 1, 2, 3), headless(1, 2, 3),
                                                    seen(2, THREE, 2, 3, leader=2, term=3)],
    "cut off, the old leader does not know yet, and takes no write": [
        seen(0, THREE, 1, 2, 3), seen(1, THREE, 2, 3, leader=2, term=3, others=(word(1, 1, 1, 2, acknowledged=0),))],
    "a new leader has not applied anything of its term yet": [seen(0, THREE, 1, 3, others=(word(0, 2, 2),))],
    "the old one's last write ended after the new one's first began": [
        seen(0, THREE, 2, 3, leader=2, term=3, others=(word(-0.05, 1, 1, 2, leads=True, seats=THREE),))],
}
TWO_LINES: dict[str, list[Round]] = {
    "two leaders of one term": [seen(0, THREE, 1, 2, others=(word(0, 3, 3, leads=True, seats=THREE),))],
    "two leaders of one term, in turn": [seen(0, THREE, 1, 2, 3), seen(9, THREE, 1, 2, 3, leader=2)],
    "a leader took a write after one of a later term": [
        seen(0, THREE, 2, 3, leader=2, term=3), seen(1, THREE, 1, leader=1, term=2)],
    "a second set": [seen(0, THREE, 1, 2, others=(word(0, 3, 3, 9, set_id="other"),))],
}


@pytest.mark.parametrize("name", ONE_LINE)
def test_one_leader_after_the_other_is_well(name: str) -> None:
    assert verdict.primaries(ONE_LINE[name]) == []


@pytest.mark.parametrize("name", TWO_LINES)
def test_two_primaries_are_a_violation(name: str) -> None:
    assert len(verdict.primaries(TWO_LINES[name])) == 1


def write(key: str, began: float, ended: float, revision: int) -> Write:
    return Write(key, began, ended, revision, 2)


WRITES = [write("a", 0, 1, 5), write("b", 0.5, 3, 7), write("c", 2, 2.5, 6)]
HISTORIES: dict[str, tuple[list[Write], list[Read]]] = {
    "one revision twice": ([*WRITES, write("d", 0, 9, 6)], []),
    "a later write has an earlier revision": ([*WRITES, write("d", 4, 5, 4)], []),
    "a read before what was acknowledged": (WRITES, [Read("a", 4, 5, 6, True)]),
    "a read that does not find what was acknowledged": (WRITES, [Read("a", 4, 5, 7, False)]),
}


def test_writes_at_once_may_have_any_order_and_reads_see_all_before_them() -> None:
    reads = [Read("a", 1.5, 2, 5, True), Read("b", 4, 5, 7, True), Read("b", 4, 5, 9, True)]
    assert verdict.history(WRITES, reads) == []


@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_that_is_not_in_one_line_is_a_violation(name: str) -> None:
    assert len(verdict.history(*HISTORIES[name])) == 1


def test_probes_are_writes_of_the_same_history() -> None:
    probes = verdict.probes(CALM)
    assert len(probes) == 6 and verdict.history(probes, []) == []
    assert len(verdict.history([*probes, probes[0]._replace(key="elsewhere")], [])) == 1


KEPT: dict[str, list[Round]] = {
    "none": CALM,
    "a healthy one leaves": [seen(0, THREE, 1, 2, 3), seen(1, TWO, 1, 2)],
    "an ill one leaves": [seen(0, THREE, 1, 2), seen(1, TWO, 1, 2)],
    "a learner comes, and gets its vote": [seen(0, ONE, 1), seen(1, seats(1, learners=(2,)), 1),
                                           seen(9, seats(1, learners=(2,)), 1, 2), seen(10, TWO, 1, 2)],
    "one is killed just after the decision": [seen(0, THREE, 1, 2, 3), seen(1, THREE, 1, 3), seen(2, TWO, 1, 2)],
    "one is killed in the same moment": [seen(0, THREE, 1, 2, 3), headless(1, 1), seen(9, TWO, 1, 2)],
}
GIVEN_UP: dict[str, list[Round]] = {
    "the healthy one leaves instead of the ill one": [
        seen(0, THREE, 1, 2), seen(6, THREE, 1, 2), seen(7, seats(1, 3), 1, 3)],
    "only one of two would be left": [seen(0, THREE, 1, 3), seen(6, THREE, 1, 3), seen(20, TWO, 1, 2)],
    "one that is not there gets a vote": [seen(0, seats(1, learners=(2,)), 1), seen(1, TWO, 1, 2)],
    "two leave a set of five, of which two are ill": [
        seen(0, seats(1, 2, 3, 4, 5), 1, 2, 3), seen(6, seats(1, 2, 3, 4, 5), 1, 2, 3),
        seen(7, seats(1, 4, 5), 1, 4, 5)],
}


@pytest.mark.parametrize("name", KEPT)
def test_a_change_that_leaves_a_healthy_majority_is_well(name: str) -> None:
    assert verdict.changes(KEPT[name]) == []


@pytest.mark.parametrize("name", GIVEN_UP)
def test_a_change_that_gives_up_the_majority_is_a_violation(name: str) -> None:
    assert len(verdict.changes(GIVEN_UP[name])) == 1


def event(at: float, number: int, action: str, container: str = "") -> Event:
    return Event(at, container or f"c{number}", action, f"{DB}-{number}", DB)


def ended(number: int, at: float = 10) -> list[Event]:
    return [event(0, number, "start"), event(at, number, "kill"), event(at + 0.1, number, "die"),
            event(at + 0.2, number, "destroy")]


AGAIN = event(11, 3, "start", "new")
WELL = [seen(at, THREE, 1, 2, 3) for at in range(20)]
TWO_WELL = [seen(at, THREE, 1, 3) for at in range(20)]
OURS = [Deed("killed", "c3", DB, 9, 11)]
ALLOWED: dict[str, tuple[list[Event], list[Deed], list[Round]]] = {
    "by our hand": (ended(3), OURS, TWO_WELL),
    "for a restart, with a majority": ([*ended(3), AGAIN], [], WELL),
    "another one was back just before, as those left take writes": (
        [*ended(3), AGAIN], [], [*TWO_WELL[:10], *(seen(at, THREE, 1, 2) for at in range(11, 20))]),
    "it had left": (ended(3), [], [seen(0, THREE, 1, 2, 3), *(seen(at, TWO, 1, 2) for at in range(1, 20))]),
    "it leaves just then": (ended(3), [], [*WELL[:10], *(seen(at, TWO, 1, 2) for at in range(11, 20))]),
    "it was never a member": (ended(4), [], WELL),
    "the only voter, for a restart": (
        [*ended(1), event(11, 1, "start", "new")], [], [seen(at, ONE, 1) for at in range(20)]),
    "a learner, for a restart": ([*ended(3), AGAIN], [], [seen(at, seats(1, 2, learners=(3,)), 1, 2, 3)
                                                          for at in range(20)]),
}
FORBIDDEN: dict[str, tuple[list[Event], list[Deed], list[Round]]] = {
    "a member, for good": (ended(3), [], WELL),
    "a member, though another one starts": ([*ended(3), event(11, 4, "start")], [], WELL),
    "for a restart, while another one is ill": ([*ended(3), AGAIN], [], TWO_WELL),
    "for a restart, while there is no leader": ([*ended(3), AGAIN], [], [
        seen(0, THREE, 1, 2, 3), *(headless(at, 1, 2, 3) for at in range(1, 15)), seen(15, THREE, 1, 2, 3)]),
    "before our deed": ([*ended(3, 8)], OURS, WELL),
    "at one stroke": ([event(0, 3, "start"), event(10, 3, "destroy")], [], WELL),
    "nothing was seen after it": (ended(3), [], WELL[:10]),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_a_member_is_only_started_anew_with_a_majority_and_others_are_ended(name: str) -> None:
    assert stops(*ALLOWED[name]) == []


@pytest.mark.parametrize("name", FORBIDDEN)
def test_any_other_end_of_a_member_is_a_violation(name: str) -> None:
    assert len(stops(*FORBIDDEN[name])) == 1


def disks(*marks: str) -> list[Round]:
    return [CALM[0]._replace(at=at, volumes=dict(zip("xyz", each, strict=False))) for at, each in enumerate(marks)]


@pytest.mark.parametrize(("marks", "deleted", "gone"), [
    (["12", "12"], "", 0), (["1", "12", "123"], "", 0), (["12", "1"], "2", 0), (["12", "13"], "2", 0),
    (["12", "1"], "", 1), (["12", "13"], "", 1), (["12", "13", "14"], "2", 1), (["12", ""], "", 2),
    (["12", "1", "12"], "", 0)])
def test_a_volume_that_has_gone_without_us_is_a_violation(marks: list[str], deleted: str, gone: int) -> None:
    assert len(verdict.volumes(disks(*marks), deleted)) == gone


def test_a_volume_is_not_gone_while_docker_gives_no_answer_and_an_emptied_one_is() -> None:
    unknown = CALM[0]._replace(volumes=None)
    assert verdict.volumes([*disks("12"), unknown], "") == []
    assert len(verdict.volumes([*disks("12"), CALM[0]._replace(volumes={"x": "1", "y": ""})], "")) == 1


def test_what_was_not_seen_is_a_violation() -> None:
    assert verdict.gaps(CALM) == []
    assert len(verdict.gaps([CALM[0], CALM[1]._replace(at=20)])) == 1
    assert len(verdict.gaps([headless(0, 1, 2), headless(1, 1, 2)])) == len(verdict.gaps([])) == 1


NAMES = [f"{DB}-{number}" for number in (1, 2, 3)]
STANDS = End(size=3, seats=THREE, running=NAMES, names=NAMES, primaries=[NAMES[0]], leader=NAMES[0],
             images=["etcd:1"] * 3, image="etcd:1", locks=[], sessions=[], plan="", says="as desired")


def test_when_the_set_stands_as_it_should_there_is_nothing_to_complain_of() -> None:
    assert verdict.standing(STANDS) == []


@pytest.mark.parametrize("changes", [
    {"size": 5}, {"seats": TWO}, {"seats": seats(1, 2, learners=(3,))}, {"running": NAMES[:2]},
    {"running": [*NAMES, f"{DB}-4"]}, {"primaries": []}, {"primaries": NAMES[1:2]}, {"primaries": NAMES[:2]},
    {"images": ["etcd:1", "etcd:2"]}, {"locks": ["lictor/locks/db1"]}, {"sessions": ["x"]}, {"plan": "start db1-3"},
    {"says": "on hold"}], ids=str)
def test_each_thing_that_is_not_as_it_should_be_is_a_violation(changes: dict[str, Any]) -> None:
    assert len(verdict.standing(STANDS._replace(**changes))) == 1


def test_ports_and_numbers_are_each_others() -> None:
    peers = [f"http://10.0.0.1:{members.port_of(number) + 1}" for number in (1, 2, 7)]
    assert [members.number_of(each) for each in peers] == [1, 2, 7]
    assert members.number_of("http://10.0.0.1:2381") == members.number_of("http://10.0.0.1:80") == 0
