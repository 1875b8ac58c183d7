"""Decisions about sets with state, as tables: what the members say, what is decided, and in which words."""

from typing import Any

import pytest
from msgspec.structs import replace

from lictor import errors
from lictor.model import Clock
from lictor.planner.actions import Wait
from lictor.planner.cluster import words
from lictor.planner.cluster.actions import Act, GiveVote, Leave, Restart, TakeVote
from lictor.planner.cluster.case import Case
from lictor.planner.cluster.decide import decide, note_failure
from lictor.planner.cluster.kept import Kept, Tries
from lictor.planner.cluster.view import look

from support.cluster_table import BLANK, KNOWN, NOW, decided, seen, shown

THREE = ("1 primary", "2 secondary", "3 secondary")
FIVE = (*THREE, "4 secondary", "5 secondary")
LONG_ILL = replace(KNOWN, ill_since={"db-3": NOW - 300})
JOINING = replace(KNOWN, seated=(1,), joining=2)
JOINS = replace(KNOWN, seated=(1, 2), joining=3)


@pytest.mark.parametrize(("lines", "size", "kept", "does"), [
    ((), 3, BLANK, "start 1"),
    (("1 new",), 3, Kept(joining=1), "initiate 1"),
    (("1 primary",), 3, KNOWN, "start 2"),
    (("1 primary", "2 silent out age=5"), 3, JOINING, "wait 2"),  # it has just started
    (("1 primary", "2 silent out stopped"), 3, JOINING, "start 2"),
    (("1 primary", "2 silent out age=90"), 3, JOINING, "restart 2"),  # nothing came of it
    (("1 primary", "2 silent out age=5 release=0"), 3, JOINING, "restart 2"),
    (("1 primary", "2 new out"), 3, JOINING, "add 2"),
    (("1 primary", "2 starting spare"), 3, JOINS, "wait 2"),
    (("1 primary", "2 new spare"), 3, JOINS, "wait 2"),  # it has not heard of its seat yet
    (("1 primary", "2 secondary spare behind=40"), 3, JOINS, "wait 2"),
    (("1 primary", "2 secondary spare"), 3, KNOWN, "start 3"),  # votes are given in pairs: two voters bear no failure
    (("1 primary", "2 secondary spare", "3 secondary spare behind=40"), 3, KNOWN, "wait 3"),
    (("1 primary", "2 secondary spare", "3 secondary spare"), 3, KNOWN, "givevote 2"),
    (("1 primary", "2 secondary", "3 secondary spare"), 3, KNOWN, "givevote 3"),
    (THREE, 3, KNOWN, "nothing"),
    (THREE, 4, KNOWN, "start 4"),
    ((*THREE, "4 secondary spare"), 4, KNOWN, "nothing"),  # an even one is a spare
    ((*THREE, "4 secondary spare"), 5, KNOWN, "start 5"),
    ((*THREE, "4 secondary spare", "5 secondary spare"), 5, KNOWN, "givevote 4"),
    ((*THREE, "4 silent missing out"), 4, KNOWN, "start 5"),  # a volume with data is nobody's but its member's
])
def test_growth(lines: tuple[str, ...], size: int, kept: Kept, does: str) -> None:
    assert shown(decided(*lines, size=size, kept=kept)) == does


@pytest.mark.parametrize(("lines", "does"), [
    (("1 primary",), "add 2"),  # before it starts, as the newcomer needs to be told who the members are
    (("1 primary", "2 silent spare gone"), "start 2"),
    (("1 primary", "2 starting spare"), "wait 2"),
    (("1 primary", "2 secondary spare"), "givevote 2"),  # etcd takes one learner at a time, so no pairs
    (("1 primary", "2 secondary"), "add 3"),
    (THREE, "nothing"),
])
def test_growth_of_a_kind_whose_members_are_added_first(lines: tuple[str, ...], does: str) -> None:
    made = decided(*lines, kind="etcd", size=4, kept=replace(KNOWN, joining=2 if "spare" in str(lines) else 0))
    assert shown(made) == does
    assert shown(decided(kind="etcd", kept=BLANK)) == "initiate 1"  # its first member makes the set by starting


@pytest.mark.parametrize(("lines", "size", "does"), [
    (FIVE, 3, "leave 5"),  # the newest
    (("1 secondary", "2 secondary", "3 secondary", "4 secondary", "5 primary"), 3, "leave 4"),  # not the primary
    ((*THREE, "4 secondary"), 3, "leave 4"),
    (("1 primary", "2 secondary", "3 silent", "4 secondary", "5 secondary"), 3, "leave 3"),  # an ill one first
    ((*THREE, "4 secondary spare"), 3, "leave 4"),
    (THREE, 2, "leave 3"),
    (("1 primary", "2 secondary"), 2, "takevote 2"),
    (("1 secondary", "2 primary"), 2, "takevote 1"),
    (("1 primary", "2 secondary spare"), 2, "nothing"),
    (("1 primary", "2 secondary"), 1, "leave 2"),
    ((*THREE, "4 starting spare"), 3, "leave 4"),  # the wish was lowered while it copied
    ((*THREE, "4 secondary out registered"), 3, "drain 4"),
    ((*THREE, "4 removed out draining"), 3, "wait 4"),
    ((*THREE, "4 removed out"), 3, "stop 4"),
    ((*THREE, "4 silent out stopped"), 3, "stop 4"),
    ((*THREE, "4 new out"), 3, "stop 4"),
    (("1 primary", "2 secondary", "3 silent", "4 silent", "5 secondary"), 1, "leave 4"),
    (("1 primary", "2 secondary", "3 silent", "4 silent"), 1, "wait"),  # that is no majority any more
    (THREE, 0, "hold"),
])
def test_shrinking(lines: tuple[str, ...], size: int, does: str) -> None:
    assert shown(decided(*lines, size=size)) == does


@pytest.mark.parametrize(("lines", "kept", "does"), [
    (("1 primary", "2 secondary", "3 silent"), KNOWN, "wait 3"),  # it may come back
    (("1 primary", "2 secondary", "3 silent stopped"), KNOWN, "start 3"),
    (("1 primary", "2 secondary", "3 silent missing"), KNOWN, "start 3"),  # its container is gone, its data is not
    (("1 primary", "2 secondary", "3 silent hidden"), KNOWN, "wait 3"),
    (("1 primary", "2 secondary", "3 silent"), LONG_ILL, "start 4"),
    (("1 primary", "2 secondary", "3 silent seen"), LONG_ILL, "wait 3"),  # the primary sees it
    (("1 primary", "2 secondary", "3 secondary unseen"), LONG_ILL, "wait 3"),  # it says so itself
    (("1 primary", "2 secondary", "3 silent", "4 new out"), LONG_ILL, "add 4"),
    (("1 primary", "2 secondary", "3 silent", "4 starting spare"), LONG_ILL, "wait 4"),
    (("1 primary", "2 secondary", "3 silent", "4 secondary spare"), LONG_ILL, "givevote 4"),
    (("1 primary", "2 secondary", "3 silent", "4 secondary"), LONG_ILL, "leave 3"),
    (("1 primary", "2 secondary", "3 silent out", "4 secondary"), LONG_ILL, "stop 3"),
    ((*THREE, "4 secondary"), KNOWN, "leave 4"),  # it came back meanwhile
    (("1 primary", "2 secondary", "3 starting"), LONG_ILL, "wait 3"),  # it copies data, however long that takes
    (("1 primary", "2 secondary", "3 silent wiped stopped"), KNOWN, "start 4"),  # it may not vote on what it forgot
    (("1 primary", "2 secondary", "3 silent gone"), KNOWN, "start 4"),
    (("1 primary", "2 secondary", "3 new"), KNOWN, "start 4"),
    (("1 primary", "2 secondary", "3 primary set=B"), KNOWN, "leave 3"),  # MongoDB takes no other change before
    (("1 primary", "2 secondary", "3 primary set=B", "4 secondary spare"), KNOWN, "leave 3"),
    (("1 primary", "2 secondary", "3 secondary", "4 secondary set=B spare"), KNOWN, "leave 4"),
    (("1 primary", "2 secondary", "3 silent", "4 silent spare"), replace(LONG_ILL, ill_since={
        "db-3": NOW - 300, "db-4": NOW - 300}), "leave 4"),  # the one in its place has failed too
    (("1 primary", "2 secondary release=0", "3 silent release=0"), replace(LONG_ILL, proven=("0",)), "restart 3"),
])
def test_one_is_lost(lines: tuple[str, ...], kept: Kept, does: str) -> None:
    assert shown(decided(*lines, kept=kept)) == does


@pytest.mark.parametrize(("lines", "kept", "does"), [
    (("1 primary", "2 secondary", "3 silent"), KNOWN, "wait 3"),
    (("1 primary", "2 secondary", "3 silent"), LONG_ILL, "leave 3"),
    (("1 primary", "2 secondary"), KNOWN, "add 3"),
    (("1 primary", "2 secondary", "3 silent wiped stopped"), replace(KNOWN, proven=()), "leave 3"),
    (("1 primary", "2 secondary", "3 starting spare", "4 silent"), replace(LONG_ILL, ill_since={
        "db-4": NOW - 300}), "wait 3"),
])
def test_one_is_lost_of_a_kind_that_takes_no_newcomer_until_it_has_left(lines: tuple[str, ...], kept: Kept,
                                                                        does: str) -> None:
    assert shown(decided(*lines, kept=kept, kind="etcd")) == does


def test_a_spare_takes_the_place_of_a_lost_voter_at_once() -> None:
    lines = ["1 primary", "2 secondary", "3 silent", "4 secondary spare"]
    assert shown(decided(*lines, size=4, kept=LONG_ILL)) == "givevote 4"
    lines[3] = "4 secondary"
    assert shown(decided(*lines, size=4, kept=LONG_ILL)) == "takevote 3"
    lines[2] = "3 silent spare"
    assert shown(decided(*lines, size=4, kept=LONG_ILL)) == "start 5"


@pytest.mark.parametrize(("lines", "size", "does"), [
    (("1 primary release=0", "2 secondary release=0", "3 secondary release=0"), 3, "restart 3"),
    (("1 primary release=0", "2 secondary release=0", "3 starting"), 3, "wait 3"),
    (("1 primary release=0", "2 secondary release=0", "3 secondary behind=40"), 3, "wait 3"),
    (("1 primary release=0", "2 secondary release=0", "3 secondary"), 3, "restart 2"),
    (("1 primary release=0", "2 secondary", "3 secondary"), 3, "stepdown 1"),
    (("1 secondary release=0", "2 primary", "3 secondary"), 3, "restart 1"),
    (("1 secondary release=0", "2 secondary release=0", "3 primary release=0"), 3, "restart 2"),
    (("1 primary release=0", "2 secondary spare release=0"), 2, "restart 2"),  # a spare first
    (("1 primary release=0",), 1, "restart 1"),  # nobody else is there
    (("1 primary release=0", "2 secondary"), 2, "takevote 2"),  # first it is as it is to be
])
def test_a_release_restarts_one_at_a_time_and_the_primary_last(lines: tuple[str, ...], size: int, does: str) -> None:
    assert shown(decided(*lines, size=size)) == does


def test_a_release_that_fails_stops_at_its_first_member_and_goes_back_from_there() -> None:
    lines, old = ("1 primary release=0", "2 secondary release=0"), replace(KNOWN, proven=("0",))
    assert shown(decided(*lines, "3 silent", kept=old)) == "wait 3"
    made = decided(*lines, "3 silent", kept=replace(old, ill_since={"db-3": NOW - 300}))
    assert shown(made) == "hold 3" and "no member of the desired release has been healthy yet" in made.reason
    assert shown(decided(*lines, "3 silent", kept=old, release="0")) == "restart 3"
    made = decided(*lines, "3 silent stopped", kept=old, release="0")
    assert shown(made) == "start 3" and getattr(made.action, "release", "") == "0"
    made = decided(*lines, "3 silent stopped release=0", kept=old)
    assert shown(made) == "start 3" and getattr(made.action, "release", "") == "0"  # as it was; its turn comes


NEVER_SEEN = "No set is made"


@pytest.mark.parametrize(("lines", "kept", "changes", "says"), [
    (("1 new",), BLANK, {}, "db-1 has a container"),  # lictor has not started it
    (("1 new", "2 silent"), Kept(joining=1), {}, "db-2 has a container"),
    (("1 new", "2 silent missing"), Kept(joining=1), {}, "db-2 has a volume that is not empty"),
    (("1 new", "2 silent hidden"), Kept(joining=1), {}, "the volume of db-2 cannot be seen"),
    (("1 silent missing",), BLANK, {}, "db-1 has a volume that is not empty"),
    (("1 new",), Kept(joining=1), {"traces": ("a record says that it was made",)}, "a record says"),
    (("1 new",), Kept(joining=1, founder="c1@1.000"), {}, "db-1 was to make the set, and has been started anew"),
    (("1 new",), Kept(joining=1, seated=(1, 2)), {}, "2 members stand in the state"),
])
def test_no_set_is_made_where_one_may_exist(lines: tuple[str, ...], kept: Kept, changes: dict[str, Any],
                                            says: str) -> None:
    made = decided(*lines, kept=kept, **changes)
    assert shown(made) == "hold" and says in made.reason and NEVER_SEEN in made.reason
    assert made.reason.endswith("remove those volumes and the key lictor/cluster/db.")


def test_a_set_that_is_known_is_never_made_again() -> None:
    for lines in ((), ("1 new",), ("1 silent wiped stopped",), ("1 new", "2 new", "3 new")):
        made = decided(*lines, kept=replace(KNOWN, joining=1))
        assert shown(made) == "wait" and made.reason.startswith("no primary: no member answers")


def test_the_one_that_makes_the_set_is_written_down_first_and_tried_again_only_as_the_same() -> None:
    made = decided("1 new", kept=Kept(joining=1))
    assert shown(made) == "initiate 1" and made.kept.founder == "c1@999000.000"
    assert shown(decided("1 new", kept=made.kept)) == "wait 1"  # backing off
    assert shown(decided("1 new", kept=replace(made.kept, tries={}))) == "initiate 1"
    assert shown(decided("1 silent", kept=made.kept)) == "wait 1"
    assert shown(decided("1 silent stopped", kept=made.kept)) == "start 1"
    assert shown(decided("1 primary", kept=made.kept)) == "start 2"


@pytest.mark.parametrize(("lines", "changes", "says"), [
    (("1 secondary", "2 secondary", "3 secondary"), {}, "no primary: no member says that it is primary. An election"),
    (("1 primary", "2 primary", "3 secondary"), {}, "db-1 and db-2 both say that they are primary in term 1"),
    (("1 primary", "2 silent", "3 silent"), {}, "1 of 3 voters are healthy"),
    (("1 primary", "2 secondary unseen", "3 secondary unseen"), {}, "1 of 3 voters are healthy"),  # of a minority
    (("1 primary", "2 secondary term=2", "3 secondary term=2"), {}, "1 of 3 voters are healthy"),  # it is voted out
    (("1 primary term=2", "2 secondary", "3 secondary"), {}, "1 of 3 voters are healthy"),  # who has elected it?
    (("1 primary old", "2 secondary", "3 secondary"), {}, "db-1 says that it is primary, and db-2 has a newer"),
    (("1 primary spare", "2 secondary", "3 secondary"), {}, "has no vote in its own configuration"),
    (("1 primary behind=1", "2 secondary", "3 secondary"), {"is_committed": False}, "changing: version 5"),
    (("1 primary set=B", "2 secondary", "3 secondary"), {}, "no primary: no member says that it is primary"),
    (THREE, {"version": 4}, "on hold: db-1 knows term 1 and version 4, and lictor has seen term 1 and version 5: the "
     "disks are older than that."),
    (THREE, {"held": "a person says so"}, "on hold: a person says so. Would start db-4"),
    (THREE, {"doubt": "Consul was away"}, "on hold: Consul was away. Would start db-4"),
    (THREE, {"certain": False}, "unconfirmed: a consistent reading"),
])
def test_hands_off(lines: tuple[str, ...], changes: dict[str, Any], says: str) -> None:
    made = decided(*lines, size=5, **changes)
    assert shown(made).split()[0] in ("wait", "hold", "confirm") and says in made.reason


@pytest.mark.parametrize(("lines", "kept", "does"), [
    (("1 primary term=1", "2 primary term=2", "3 secondary term=2"), KNOWN, "wait 1"),  # the later term is the set's
    (("1 primary", "2 secondary", "3 secondary old"), KNOWN, "wait 3"),  # restored from an old disk: it catches up
    (("1 primary", "2 secondary", "3 secondary", "4 secondary out old"), KNOWN, "stop 4"),  # it thinks it is a member
    (("1 primary", "2 secondary", "3 secondary", "4 primary set=B out"), KNOWN, "nothing"),
])
def test_members_that_contradict_the_primary(lines: tuple[str, ...], kept: Kept, does: str) -> None:
    term = 2 if "term=2" in str(lines) else 1
    assert shown(decided(*lines, kept=kept, term=term)) == does


def test_members_of_two_sets_are_left_to_a_person() -> None:
    made = decided("1 primary set=A", "2 primary set=B", kept=BLANK)
    assert shown(made) == "hold" and "db-1 is of A, db-2 is of B" in made.reason


def test_a_configuration_that_names_what_is_not_ours_is_left_alone() -> None:
    found = seen("1 primary", "2 secondary", "3 secondary", size=5)
    made = decide(found._replace(slots=found.slots[1:]), KNOWN)
    assert shown(made) == "wait"  # its primary cannot be told which of ours it is
    made = decide(found._replace(slots=(found.slots[0], *found.slots[2:])), KNOWN)
    assert shown(made) == "hold" and "the configuration names a2, which is no address of an instance" in made.reason


MONGODB = ("majority lost: 1 of 3 voters answer (db-1 is ill: it gives no answer; db-3 is ill: it gives no answer). "
           "lictor changes nothing until a majority answers again. If the others are lost for good, writes that only "
           "they have are lost too; to go on with db-2: back up one of them, connect to it with mongosh, and enter: "
           "cfg = rs.conf(); printjson(cfg); cfg.members = [cfg.members[1]]; rs.reconfig(cfg, {force : true})")


def test_with_the_majority_lost_a_person_gets_the_manuals_commands() -> None:
    lines = ("1 silent", "2 secondary", "3 silent")
    assert decided(*lines).reason.startswith("no primary: no member says that it is primary. An election may take")
    late = replace(KNOWN, headless_since=NOW - 60)
    assert decided(*lines, kept=late).reason == MONGODB
    assert "etcd --force-new-cluster" in decided(*lines, kept=late, kind="etcd").reason
    made = decided("1 silent", "2 secondary", "3 secondary", kept=late)
    assert made.reason == ("no primary: no member says that it is primary. Nothing is changed until there is one.")
    assert shown(decided("1 silent", "2 silent", "3 silent", kept=late)) == "hold"


def test_after_a_power_cut_all_are_started_again_with_their_data_and_none_without() -> None:
    lines = ("1 silent stopped", "2 silent stopped", "3 silent wiped stopped")
    assert shown(decided(*lines)) == "start 1"
    assert shown(decided("1 secondary", *lines[1:])) == "start 2"
    assert shown(decided("1 secondary", "2 secondary", lines[2])) == "wait"


def test_without_a_primary_a_stale_member_does_not_bring_former_members_back() -> None:
    kept = replace(KNOWN, seated=(1, 2, 3))
    made = decided("1 silent hidden", "2 silent hidden", "3 silent hidden", "4 secondary old", "5 silent stopped",
                   kept=kept)
    assert shown(made) == "wait"


def test_an_act_that_has_no_effect_is_tried_again_later_and_later() -> None:
    lines = ("1 primary", "2 secondary", "3 silent stopped")
    kept = decided(*lines).kept
    assert kept.tries == {"start db-3": Tries(1, NOW)}
    made = decided(*lines, kept=kept)
    assert shown(made) == "wait 3" and made.reason.startswith(
        "begun: start db-3 was begun 1 time, and no end or effect of it is seen yet. It is tried again in 10 s. Would")
    for count, wait_s in ((1, 10), (2, 20), (5, 160), (9, 300)):
        for age_s, does in ((wait_s - 1, "wait 3"), (wait_s, "start 3")):
            kept = replace(KNOWN, tries={"start db-3": Tries(count, NOW - age_s)})
            assert shown(decided(*lines, kept=kept)) == does
    assert decided(*THREE, kept=replace(KNOWN, tries={"start db-3": Tries(3, NOW - 901)})).kept.tries == {}


def test_a_start_is_never_put_off_for_long_while_the_set_has_no_primary() -> None:
    """Each vote may be the one that it lacks."""
    lines = ("1 secondary", "2 silent stopped", "3 silent stopped")
    for age_s, does in ((9, "wait 2"), (10, "start 2")):
        kept = replace(KNOWN, tries={"start db-2": Tries(9, NOW - age_s)})
        assert shown(decided(*lines, kept=kept)) == does


NO, NOT_YET = errors.Unavailable("etcd: no.\n answer. "), errors.NotYet("etcd: unhealthy cluster")


@pytest.mark.parametrize(("ended", "wait_s", "says"), [
    ((None,), 10, "begun: start db-3 was begun 1 time, and no end or effect of it is seen yet."),  # it broke off
    ((NO,), 10, "backing off: start db-3 was tried 1 time, and failed: etcd: no. answer."),
    ((NO, NO), 20, "backing off: start db-3 was tried 2 times, and failed: etcd: no. answer."),
    ((NOT_YET,), 2, "not yet: start db-3 was put off: etcd: unhealthy cluster."),
    ((NOT_YET,) * 10, 2, "not yet: start db-3 was put off: etcd: unhealthy cluster."),
    ((NOT_YET,) * 11, 10, "not yet: start db-3 was put off: etcd: unhealthy cluster."),
    ((NOT_YET,) * 12, 20, "not yet: "),
    ((NOT_YET, NO), 10, "backing off: start db-3 was tried 2 times, and failed: etcd: no. answer."),
    ((NOT_YET, NO, NO), 20, "backing off: start db-3 was tried 3 times, and failed: etcd: no. answer."),
    ((NO, NOT_YET), 10, "backing off: start db-3 was tried 2 times, and failed: etcd: unhealthy cluster."),
    ((NO, None), 20, "begun: start db-3 was begun 2 times, and no end or effect of it is seen yet."),
])
def test_the_next_step_says_why_the_last_try_failed_and_a_plain_not_yet_is_soon_asked_again(
        ended: tuple[errors.LictorError | None, ...], wait_s: int, says: str) -> None:
    lines, kept, at = ("1 primary", "2 secondary", "3 silent stopped"), KNOWN, NOW
    for error in ended:
        made = decided(*lines, kept=kept, clock=Clock(at))
        assert shown(made) == "start 3"
        kept = note_failure(made.kept, made.action, error) if error and isinstance(made.action, Act) else made.kept
        after = decided(*lines, kept=kept, clock=Clock(at))
        assert isinstance(after.action, Wait)
        at = after.action.until
        kept = after.kept
    assert after.reason.startswith(says) and f"It is tried again in {wait_s} s. Would start db-3" in after.reason
    assert (words.describe_failure(after.kept) + ".").startswith(says) or not ended[-1]
    assert words.describe_failure(decided(*THREE, kept=after.kept).kept) == ""  # it is not the next step any more
    other = decided("1 primary", "2 silent stopped", "3 silent stopped", kept=after.kept)
    assert shown(other) == "start 2" and words.describe_failure(other.kept) == ""


def test_a_failure_of_what_was_not_kept_is_kept_by_nobody() -> None:
    made = decided("1 primary", "2 secondary", "3 silent stopped")
    assert isinstance(made.action, Act) and note_failure(BLANK, made.action, NO) == BLANK


@pytest.mark.parametrize(("lines", "kept", "says"), [
    (("1 primary", "2 secondary", "3 silent"), KNOWN, "db-3 is ill: it gives no answer (refused). Nothing else"),
    (("1 primary", "2 secondary", "3 silent seen"), KNOWN,
     "the primary sees it, and it gives lictor no answer (refused)"),
    (("1 primary", "2 silent out age=5"), JOINING, "db-2 gives no answer yet (timed out). It is added"),
    (("1 primary", "2 silent out age=90"), JOINING, "no answer for 90 s since its start (timed out). It is made anew"),
])
def test_what_waits_for_a_silent_member_says_why_it_is_silent(lines: tuple[str, ...], kept: Kept, says: str) -> None:
    silences = {"db-3": "refused", "db-2": "timed out"}
    assert says in decided(*lines, kept=kept, silences=silences).reason


@pytest.mark.parametrize(("lines", "act", "is_kept"), [
    (("1 primary", "2 secondary", "3 silent"), Leave, False),
    (("1 primary", "2 secondary", "3 silent"), TakeVote, False),
    (("1 primary", "2 secondary", "3 silent"), Restart, False),
    (THREE, Leave, True), (THREE, TakeVote, True), (THREE, Restart, True), (THREE, GiveVote, True),
    (("1 primary", "2 secondary"), Restart, False), (("2 primary",), Restart, True),
    (("1 primary", "2 starting spare"), GiveVote, False), (("1 primary", "2 secondary spare"), GiveVote, True),
    (("1 primary", "2 secondary spare"), Restart, True), (("1 primary", "2 secondary spare"), Leave, True),
])
def test_whatever_step_asks_for_it_no_act_gives_up_the_majority(lines: tuple[str, ...], act: Any,
                                                                is_kept: bool) -> None:
    """All of them are about the second member."""
    found = seen(*lines)
    case = Case(found, KNOWN, look(found, KNOWN), 3)
    planned = act("db-2", "", 2, "2") if act is Restart else act("db-2", "", 2, "a2", case.view.configuration)
    assert case.keeps_majority(planned) is is_kept


def test_what_no_primary_has_committed_teaches_nothing() -> None:
    assert decided("1 secondary", "2 secondary", "3 silent", kept=LONG_ILL).kept.ill_since == {}
    made = decided(*THREE, "4 secondary spare", is_committed=False, version=6)
    assert (made.kept.version, made.kept.seated) == (5, (1, 2, 3))
    made = decided(*THREE, "4 secondary spare", version=6, size=4)
    assert (made.kept.version, made.kept.seated) == (6, (1, 2, 3, 4))


def test_a_reason_says_state_cause_and_consequence() -> None:
    assert decided(*THREE).reason == "as desired: 3 members, db-1 is primary."
    assert decided(*THREE, "4 secondary spare", size=4).reason == (
        "as desired: 4 members, 1 member without a vote, db-1 is primary.")
    assert decided(*THREE, "4 primary set=B out").reason.endswith(
        "primary. db-4 says that it belongs to another set, and is left alone.")
    assert decided(*FIVE).reason == ("shrinking: 5 members, and 3 desired. db-5 leaves the configuration; its "
                                     "container runs on until that is committed.")
    assert decided("1 primary", "2 secondary", "3 silent", kept=LONG_ILL).reason == (
        "replacing: db-3 is ill: it gives no answer. db-4 is started on an empty volume.")
