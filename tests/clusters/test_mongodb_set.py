"""The planner, by the kind mongodb, on the double: sets end as desired, and lose no acknowledged write.

The tests that are named after a place cite a public report of what went wrong there.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest

from lictor import errors
from lictor.planner.cluster.actions import Change, Leave, Stop
from lictor.planner.cluster.kept import Kept
from lictor.planner.cluster.observation import Report

from lab.mongodb import rules
from lab.mongodb.managed import MongoSet
from support.examples import at_least

pytestmark = pytest.mark.daemons  # the double's members are servers, and each story starts several

Make = Callable[..., MongoSet]
WALK = [1, 3, 5, 3, 1]
USER = ("root", "correct horse battery staple")
KEY = "Zm9yIHRoZSBkb3VibGUgb25seQ== " * 3


def assert_well(members: MongoSet, size: int) -> None:
    assert len(members.seats()) == size, members.reasons[-3:]
    assert {number for number, each in members.servers.items() if each.is_running} == {*members.seats()}
    assert members.missing() == set()
    assert len({rules.set_id(each.config) for each in members.servers.values()}) == 1


@pytest.mark.parametrize("every", [0, 2, 3])
def test_up_and_down_no_acknowledged_write_is_lost(make_set: Make, every: int) -> None:
    """Also if lictor is killed at each so many acts, between what it writes down and what it does."""
    members = make_set(crashes_at_each=every)
    for size in WALK:
        members.size = size
        members.settle(ticks=400)
        assert_well(members, size)
        assert all(members.seats().values())
    assert members.network.elections == 1 and len(members.acknowledged) > 20
    assert sum(each.was_used for each in members.disks.values()) == 5  # every volume is still there


def test_each_change_is_of_one_member_a_version_later(make_set: Make) -> None:
    members = make_set(3)
    assert members.done == [
        "start 1", "initiate 1", "start 2", "add 2", "start 3", "add 3", "givevote 2", "givevote 3"]
    config = members.servers[1].config
    assert config
    assert config["version"] == 5
    assert [(each["_id"], each["votes"], each["priority"]) for each in config["members"][1:]] == [(1, 1, 1), (2, 1, 1)]


def test_an_even_one_is_a_spare(make_set: Make) -> None:
    members = make_set(4)
    assert members.seats() == {1: True, 2: True, 3: True, 4: False}
    members.size = 2
    members.settle()
    assert members.seats() == {1: True, 2: False}


def test_two_managers_that_decide_at_once_change_one_thing(make_set: Make) -> None:
    members = make_set()
    for size in WALK:
        members.size = size
        for _ in range(200):
            made = members.manage()
            if isinstance(made.action, Change) and members.done[-1][0] != "(":
                with pytest.raises(errors.Conflict):
                    members.carry_out(made.action)
            members.tick()
            if made.action is None:
                break
        assert_well(members, size)


def test_a_release_restarts_the_primary_last_after_one_election(make_set: Make) -> None:
    members = make_set(3)
    elections, members.release = members.network.elections, "2"
    assert members.settle() == ["restart 3", "restart 2", "stepdown 1", "restart 1"]
    assert members.network.elections == elections + 1 and members.primary() != 1
    assert_well(members, 3)


def test_a_release_that_does_not_work_costs_one_member_and_goes_back(make_set: Make) -> None:
    members = make_set(3)
    members.release, members.broken_releases = "2", {"2"}
    assert members.watch(5) == ["restart 3"]
    assert members.primary() and members.network.is_committed(members.servers[members.primary()])
    members.release = "1"
    assert members.settle() == ["restart 3"]
    assert_well(members, 3)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_member_that_is_killed_comes_back_with_its_disk(make_set: Make, number: int) -> None:
    """While it loads its configuration it answers as if it had none; it is no lost member then."""
    members = make_set(3)
    members.kill(number)
    members.network.advance(15)
    assert members.settle() == [f"start {number}"]
    assert "has a configuration, and has not loaded it yet" in str(members.reasons)
    assert_well(members, 3)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_member_whose_disk_is_wiped_is_replaced_upwards(make_set: Make, number: int) -> None:
    members = make_set(3)
    members.wipe(number)
    acts = members.settle()
    assert acts.index("givevote 4") < acts.index(f"leave {number}") and f"start {number}" not in acts
    assert [*members.seats().values()] == [True] * 3 and 4 in members.seats() and members.missing() == set()


def test_all_are_killed_at_once_and_come_back(make_set: Make) -> None:
    members = make_set(3)
    for number in members.servers:
        members.kill(number)
    assert members.settle() == ["start 1", "start 2", "start 3"]
    assert_well(members, 3)


def test_the_majority_is_lost_nothing_is_changed_and_a_person_goes_on_by_the_manual(make_set: Make) -> None:
    members = make_set(5)
    for number in (1, 2, 3):
        members.wipe(number)
    assert members.watch(30) == []
    told = members.reasons[-1]
    assert told.startswith("majority lost: 2 of 5 voters answer")
    assert "cfg.members = [cfg.members[3], cfg.members[4]]; rs.reconfig(cfg, {force : true})" in told
    with members.session(4) as run:  # what these commands of mongosh send
        config = run({"replSetGetConfig": 1})["config"]
        run({"replSetReconfig": {**config, "members": config["members"][3:5]}, "force": True})
    members.watch(20)
    members.settle()
    assert [*members.seats().values()] == [True] * 5 and {4, 5} < {*members.seats()}
    assert members.missing() == set()


def test_a_member_with_a_stale_configuration_is_of_no_weight(make_set: Make) -> None:
    """It was away while others joined and left. Its own word, and that of the primary which it knew, counts nothing."""
    members = make_set(3)
    members.cut(3)
    members.hidden = {3}
    members.watch(80)
    assert 3 not in members.seats() and len(members.seats()) == 3
    members.network.sides, members.hidden = {}, set()
    members.run(3)
    assert members.settle() == ["drain 3", "stop 3"]
    assert_well(members, 3)


@pytest.mark.parametrize("number", [1, 3])
def test_a_member_on_a_disk_of_an_earlier_day_catches_up_before_it_counts(make_set: Make, number: int) -> None:
    members = make_set(3)
    old = members.disks[number].copy()
    members.size = 5
    members.settle()
    members.kill(number)
    members.network.advance(20)
    members.disks[number] = old
    assert members.settle() == [f"start {number}"]
    assert_well(members, 5)


def test_all_disks_of_an_earlier_day_are_left_to_a_person(make_set: Make) -> None:
    members = make_set(3)
    old = {number: disk.copy() for number, disk in members.disks.items()}
    members.size = 5
    members.settle()
    for number in members.servers:
        members.kill(number)
        members.disks[number] = old.get(number, type(old[1])(was_used=True))
    members.watch(30)
    assert "the disks are older than that" in members.reasons[-1]
    assert not any(isinstance(act, Leave | Stop) for act in members.acts)


def test_a_newcomer_that_copies_slowly_has_all_the_time_that_it_needs(make_set: Make) -> None:
    members = make_set(1)
    members.watch(60)
    members.size = 3
    while "add 2" not in members.done:
        members.watch(1)
        if 2 in members.servers:
            members.servers[2].speed = members.servers[2].speed and 0
    assert set(members.watch(70)) <= {"start 3", "add 3"}
    assert members.seats()[2] is False and "copying data" in members.reasons[-1]
    members.servers[2].speed = 1000
    members.settle()
    assert_well(members, 3)


def test_a_newcomer_with_another_key_file_gets_no_vote(make_set: Make) -> None:
    members = make_set(1, key=KEY, user=USER, has_image_user=True)
    members.size, members.key = 3, "another"
    assert members.watch(30) == ["start 2", "add 2"]
    assert members.seats() == {1: True, 2: False} and members.primary() == 1


def test_helm_charts_5353_scaling_down_takes_members_out_before_it_stops_them(make_set: Make) -> None:
    """helm/charts 5353, bitnami/charts 3073, morphy2k/k8s-mongo-sidecar 41: stopped members stayed configured, so that
    the rest had no majority, and no primary."""
    members = make_set(5)
    members.size = 1
    acts = members.settle()
    assert [act.split()[0] for act in acts] == ["leave", "drain", "stop"] * 4
    assert members.network.elections == 1
    assert_well(members, 1)


@pytest.mark.parametrize("alone", [1, 2, 3])
def test_cvallance_66_on_the_side_of_the_minority_nobody_is_removed(make_set: Make, alone: int) -> None:
    """cvallance/mongo-k8s-sidecar 66: each side's helper removed the members that it could not see."""
    members = make_set(3)
    members.cut(alone)
    members.hidden = {1, 2, 3} - {alone}
    members.is_writing = False
    assert members.watch(60) == []
    assert len(members.network.primaries()) == 1
    members.network.sides, members.hidden, members.is_writing = {}, set(), True
    members.settle()
    assert_well(members, 3)


def test_cvallance_66_on_the_side_of_the_majority_one_is_replaced_after_a_while(make_set: Make) -> None:
    members = make_set(3)
    members.cut(1)
    members.hidden = {1}
    assert members.watch(40) == [] and members.primary() != 1
    acts = members.watch(80)
    assert acts.index("givevote 4") < acts.index("leave 1") and len(members.network.primaries()) == 1
    members.network.sides, members.hidden = {}, set()
    members.settle()
    assert_well(members, 3)


def test_what_a_cut_off_primary_wrote_alone_was_never_acknowledged(make_set: Make) -> None:
    members = make_set(3)
    members.cut(1)
    with members.session(1) as run:
        answer = run({"insert": "sold", "documents": [{"value": -1}], "writeConcern": {"w": "majority",
                      "wtimeout": 3000}}, "books")
    assert "writeConcernError" in answer
    members.network.advance(30)
    members.network.sides = {}
    members.settle()
    assert [each.document for each in members.disks[1].rolled_back if each.collection] == [{"value": -1}]
    assert_well(members, 3)


@pytest.mark.parametrize("is_memory_lost", [False, True])
def test_sclorg_304_a_first_member_that_loses_its_disk_makes_no_second_set(make_set: Make,
                                                                           is_memory_lost: bool) -> None:
    """sclorg/mongodb-container 304, rancher/catalog-dockerfiles 105, bitnami/charts 6741: it initiated once more, and
    then "replica set IDs do not match"."""
    members = make_set(3)
    first = rules.set_id(members.servers[1].config)
    members.wipe(1)
    if is_memory_lost:
        members.kept = Kept()
    members.run(1)  # its host starts it again, on the empty disk
    members.settle()
    assert "initiate" not in str(members.done[8:])
    assert {rules.set_id(each.config) for each in members.servers.values()} == {first}
    assert members.missing() == set()


def test_sclorg_304_a_member_of_another_set_is_never_taken_in(make_set: Make) -> None:
    """Somebody has initiated the wiped first member by hand. While it has a vote, MongoDB takes no other change."""
    members = make_set(3)
    members.is_writing = False  # a client would be taken in by the second set
    members.wipe(1)
    members.run(1)
    with members.session(1) as run:
        run({"replSetInitiate": {"_id": "rs0", "members": [{"_id": 0, "host": members.address(1)}]}})
    acts = members.settle()
    assert acts == ["leave 1", "start 4", "add 4", "givevote 4"]
    assert [*members.seats().values()] == [True] * 3 and 1 not in members.seats() and members.missing() == set()
    assert members.servers[1].is_running  # it is another set's, and left alone


def test_canonical_25_the_primary_hands_over_before_it_goes(make_set: Make) -> None:
    """canonical/mongodb-operator 25: the primary was removed first, and nobody could reconfigure."""
    members = make_set(3)
    with members.session(1) as run:
        run({"replSetStepDown": 60, "secondaryCatchUpPeriodSecs": 10})
    members.network.advance(5)
    primary = members.primary()
    assert primary != 1
    members.size = 1
    assert members.settle()[0] == "leave 3" if primary == 2 else "leave 2"
    assert [*members.seats()] == [primary]
    assert_well(members, 1)


def test_a_host_name_that_the_member_itself_does_not_reach_makes_no_set(make_set: Make) -> None:
    """Host names in the configuration that not every member can reach: MongoDB itself refuses the first one."""
    members = make_set()
    members.run(1)
    with pytest.raises(errors.Unavailable, match="No host described in new configuration maps to this node"):
        members.kind.initiate(members.address(1), "rs0", "db-1:27017")
    assert members.report(1) == Report("new")


@pytest.mark.parametrize("options", [{"has_image_user": True}, {}])
def test_with_key_file_and_first_user_up_and_down(make_set: Make, options: dict[str, Any]) -> None:
    """The user is the image's, or lictor's by the localhost exception. What is kept and told never has the password."""
    members = make_set(1, key=KEY, user=USER, **options)
    for size in (3, 1):
        members.size = size
        members.settle()
        assert_well(members, size)
    kept = msgspec.json.encode([members.kept, members.reasons, members.done, repr(members.acts)]).decode()
    assert USER[1] not in kept and KEY not in kept


@pytest.mark.parametrize("seed", range(at_least(3)))
def test_random_faults(make_set: Make, seed: int) -> None:
    """A minority at a time is harmed; the wish, the release and lictor's own memory change meanwhile."""
    members, random = make_set(3, crashes_at_each=seed % 3 and 5), Random(seed)
    for _ in range(12):
        _harm(members, random)
        for _ in range(random.randrange(1, 16)):
            members.watch(1)
            terms = [each.disk.term for each in members.network.primaries()]
            assert len({*terms}) == len(terms), "two primaries of one term"
    members.network.sides, members.hidden, members.size = {}, set(), 3
    for each in members.servers.values():
        each.speed = 1000
    members.settle(ticks=400)
    assert len(members.seats()) == 3 and members.missing() == set()
    assert "initiate" not in str(members.done[2:])


def _harm(members: MongoSet, random: Random) -> None:
    members.network.sides, members.hidden = {}, set()
    members.size = random.choice([1, 2, 3, 4, 5, members.size, members.size])
    seated = members.seats() if members.primary() else {}
    logs = [members.disks[number].log for number in seated if members.servers[number].is_running]
    is_well = all(seated.values()) and len(logs) == len(seated) > 2 and all(log == logs[0] for log in logs)
    one = random.choice([*seated]) if is_well else 0
    match random.choice(["kill", "wipe", "cut", "hide", "slow", "release", "old disk", "forget"]):
        case "kill" if one:
            members.kill(one)
        case "wipe" if one:
            members.wipe(one)
        case "old disk" if one:
            old = members.disks[one].copy()
            members.watch(5)
            seated = members.seats() if members.primary() else {}
            others = [members.disks[number].log for number in seated if number != one]
            if one in seated and members.servers[one].is_running and all(log == others[0] for log in others):
                members.kill(one)
                members.disks[one] = old
        case "cut" if one:
            members.cut(one)
            members.hidden = {one} if random.random() < 0.5 else set()
        case "hide" if one:
            members.hidden = {one}
        case "slow":
            for each in members.servers.values():
                each.speed = random.choice([1, 2, 5, 1000])
        case "release":
            members.release = str(random.randrange(3))
        case "forget" if one:
            members.kept = Kept()
