"""The double of MongoDB keeps the rules that its modules name, as pymongo sees them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import bson
import pymongo
import pymongo.errors
import pytest

from lictor.adapters import mongo

from lab.daemon import wait_for
from lab.mongodb import rules, server
from lab.mongodb.managed import NAME, MongoSet
from lab.mongodb.server import Entry

Make = Callable[..., MongoSet]
Document = dict[str, Any]
USER, KEY = ("root", "a password"), "Zm9yIHRoZSBkb3VibGUgb25seQ== " * 3


@contextmanager
def refused(code: int) -> Iterator[None]:
    with pytest.raises(mongo.Failure) as caught:
        yield
    assert caught.value.code == code, caught.value


def config_of(members: MongoSet) -> Document:
    with members.session(1) as run:
        found: Document = run({"replSetGetConfig": 1})["config"]
    return {**found, "version": found["version"] + 1, "members": [dict(each) for each in found["members"]]}


def change(config: Document, number: int, **values: Any) -> Document:
    config["members"][number] |= values
    return config


def more(config: Document, count: int, **values: Any) -> Document:
    config["members"] += [{"_id": 100 + number, "host": f"10.0.0.{number}:1", "votes": 0, "priority": 0, **values}
                          for number in range(count)]
    return config


def without(config: Document, *numbers: int) -> Document:
    config["members"] = [each for number, each in enumerate(config["members"]) if number not in numbers]
    return config


# Configurations: replSetInitiate, replSetReconfig

@pytest.mark.parametrize(("code", "made"), [
    (103, lambda config: {**config, "version": config["version"] - 1}),
    (103, lambda config: {**config, "version": 1}),
    (103, lambda config: {**config, "settings": {"replicaSetId": bson.ObjectId()}}),
    (103, lambda config: without(config, 1, 2)),
    (103, lambda config: change(change(config, 1, votes=0, priority=0), 2, votes=0, priority=0)),
    (103, lambda config: more(config, 2, votes=1, priority=1)),
    (103, lambda config: change(config, 1, _id=77)),
    (93, lambda config: {**config, "_id": "another"}),
    (93, lambda config: more(config, 48)),
    (93, lambda config: more(config, 5, votes=1, priority=1)),
    (93, lambda config: change(config, 1, votes=0)),
    (93, lambda config: change(config, 1, _id=0)),
    (93, lambda config: change(config, 1, _id=256)),
    (93, lambda config: change(config, 1, host=config["members"][0]["host"])),
    (93, lambda config: without(config, 0, 1, 2)),
    (74, lambda config: without(config, 0)),
    (104, lambda config: change(config, 0, votes=0, priority=0)),
    (104, lambda config: change(config, 0, priority=0)),
])
def test_a_configuration_that_may_not_follow(make_set: Make, code: int, made: Callable[[Document], Document]) -> None:
    members = make_set(3)
    before = members.servers[1].config
    with members.session(1) as run, refused(code):
        run({"replSetReconfig": made(config_of(members))})
    assert members.servers[1].config == before


@pytest.mark.parametrize("made", [
    lambda config: config, lambda config: {**config, "version": config["version"] + 7},
    lambda config: without(config, 2), lambda config: change(config, 1, votes=0, priority=0),
    lambda config: more(config, 5), lambda config: {**config, "term": 99}])
def test_a_configuration_that_may_follow_is_on_all_members(make_set: Make,
                                                            made: Callable[[Document], Document]) -> None:
    members = make_set(3)
    new = made(config_of(members))
    with members.session(1) as run:
        run({"replSetReconfig": new})
        members.network.advance(3)
        assert run({"replSetGetConfig": 1, "commitmentStatus": True})["commitmentStatus"] is True
    found = members.servers[2].config
    assert found and found["version"] == new["version"] and found["term"] == 1  # the primary's own


def test_only_the_primary_takes_one_and_only_upon_one_that_is_committed(make_set: Make) -> None:
    members = make_set(3)
    with members.session(2) as run:
        with refused(10107):
            run({"replSetReconfig": config_of(members)})
        with refused(10107):
            run({"replSetGetConfig": 1, "commitmentStatus": True})
    members.cut(1)
    with members.session(1) as run:
        with refused(74):
            run({"replSetReconfig": config_of(members), "maxTimeMS": 2000})
        members.network.sides = {}
        members.servers[2].speed = members.servers[3].speed = 0
        run({"insert": "sold", "documents": [{}], "writeConcern": {"wtimeout": 1000}}, "books")
        run({"replSetReconfig": config_of(members), "maxTimeMS": 5000})  # installed, but not committed
        assert run({"replSetGetConfig": 1, "commitmentStatus": True})["commitmentStatus"] is False
        with refused(308):
            run({"replSetReconfig": config_of(members), "maxTimeMS": 3000})
        members.servers[1].is_configuring = True
        with refused(109):
            run({"replSetReconfig": config_of(members)})


def test_a_set_is_initiated_once_of_members_of_its_name(make_set: Make) -> None:
    members = make_set()
    members.run(1)
    own = {"_id": NAME, "members": [{"_id": 0, "host": members.address(1)}]}
    with members.session(1) as run:
        with refused(94):
            run({"replSetGetStatus": 1})
        with refused(94):
            run({"replSetGetConfig": 1})
        assert run({"hello": 1})["isreplicaset"] is True
        with refused(93):
            run({"replSetInitiate": {**own, "_id": "another"}})
        with refused(74):
            run({"replSetInitiate": {"_id": NAME, "members": [{"_id": 0, "host": members.address(2)}]}})
        run({"replSetInitiate": own})
        with refused(23):
            run({"replSetInitiate": own})
        assert run({"replSetGetStatus": 1})["myState"] == server.PRIMARY
        members.servers[1].set_name = ""
        with refused(76):
            run({"replSetGetStatus": 1})
        with refused(76):
            run({"replSetInitiate": own})


def test_a_member_of_another_set_vetoes_and_is_not_heard(make_set: Make) -> None:
    members = make_set(1)
    members.run(2)
    with members.session(2) as run:
        run({"replSetInitiate": {"_id": NAME, "members": [{"_id": 0, "host": members.address(2)}]}})
    config = config_of(members)
    config["members"].append({"_id": 1, "host": members.address(2), "votes": 1, "priority": 1})
    with members.session(1) as run:
        with refused(103):
            run({"replSetReconfig": config})
        run({"replSetReconfig": change(config, 1, votes=0, priority=0)})
    assert members.network._hears(members.servers[1], members.servers[2]).startswith("replica set IDs do not match")


def test_a_forced_one_is_taken_by_any_member_without_a_term_and_far_ahead(make_set: Make) -> None:
    members = make_set(3)
    for number in (1, 2):
        members.kill(number)
    members.network.advance(20)
    with members.session(3) as run:
        config = run({"replSetGetConfig": 1})["config"]
        run({"replSetReconfig": {**config, "members": config["members"][2:]}, "force": True})
        found = run({"replSetGetConfig": 1})["config"]
        assert found["version"] > config["version"] + 10_000 and "term" not in found
        members.network.advance(15)
        assert run({"hello": 1})["isWritablePrimary"] is True


def test_a_removed_member_says_so(make_set: Make) -> None:
    members = make_set(2)
    with members.session(1) as run:
        run({"replSetReconfig": without(config_of(members), 1)})
    members.network.advance(5)
    with members.session(2) as run:
        assert run({"hello": 1})["isreplicaset"] is True
        with refused(93):
            run({"replSetGetStatus": 1})
        assert len(run({"replSetGetConfig": 1})["config"]["members"]) == 1


# Elections, replication and rollback

def test_a_primary_alone_steps_down_and_the_others_elect_one(make_set: Make) -> None:
    members = make_set(3)
    members.cut(1)
    members.network.advance(9)
    assert [members.number(each.address) for each in members.network.primaries()] == [1]
    members.network.advance(20)
    found = members.network.primaries()
    assert [members.number(each.address) for each in found] == [2] and found[0].disk.term == 2
    assert found[0].config and found[0].config["term"] == 2
    members.network.sides = {}
    members.network.advance(5)
    assert members.servers[1].disk.term == 2 and members.servers[1].config == found[0].config


def test_no_majority_elects_no_one(make_set: Make) -> None:
    members = make_set(5)
    for number in (1, 2, 3):
        members.kill(number)
    members.network.advance(60)
    assert members.network.primaries() == []
    with members.session(4) as run:
        with refused(10107):
            run({"insert": "sold", "documents": [{}]}, "books")
        assert {each["state"] for each in run({"replSetGetStatus": 1})["members"]} == {2, 8}


def test_a_vote_is_for_who_is_not_behind_and_once_a_term(make_set: Make) -> None:
    members = make_set(3)
    members.servers[2].speed = 0
    members.write(1)
    members.kill(1)
    assert members.network.elect(members.servers[2]) is False
    assert members.network.elect(members.servers[3]) is True
    assert members.network._votes(members.servers[2], members.servers[3], 2) is False


def test_one_without_a_vote_is_never_elected(make_set: Make) -> None:
    members = make_set(2)
    members.kill(1)
    members.network.advance(60)
    assert members.network.primaries() == []


def test_what_a_majority_has_is_acknowledged_and_the_rest_rolled_back(make_set: Make) -> None:
    members = make_set(3)
    assert members.write(1) is True
    members.cut(1)
    assert members.write(1) is False
    members.network.advance(30)
    members.network.sides = {}
    members.network.advance(10)
    assert len(members.disks[1].rolled_back) == 1 and members.servers[1].state == server.SECONDARY
    assert members.disks[1].log == members.disks[2].log


def test_a_write_is_interrupted_if_the_primary_steps_down(make_set: Make) -> None:
    members = make_set(3)
    members.cut(1)
    with members.session(1) as run, refused(11602):
        run({"insert": "sold", "documents": [{}], "writeConcern": {"wtimeout": 30_000}}, "books")


def test_a_newcomer_drops_what_it_has_and_copies_all(make_set: Make) -> None:
    members = make_set(1)
    members.run(2).disk.log.append(Entry(0, 1.0, "books.sold", {"value": "its own"}))
    members.servers[2].speed = 3
    basis = members.kind.ask(members.address(1), members.address(1)).configuration
    members.kind.add(members.address(1), members.address(2), basis)
    for _ in range(8):
        members.write(1)
    members.network.advance(2)
    members.servers[2].speed = 1000
    members.network.advance(10)
    assert members.disks[2].log == members.disks[1].log and members.servers[2].state == server.SECONDARY


def test_it_answers_as_if_it_had_no_configuration_until_that_is_loaded(make_set: Make) -> None:
    members = make_set(3)
    members.kill(2)
    members.run(2)
    with members.session(2) as run:
        assert run({"hello": 1})["isreplicaset"] is True
        with refused(94):
            run({"replSetGetStatus": 1})
        assert run({"find": "system.replset"}, "local")["cursor"]["firstBatch"]
        members.network.advance(server.LOAD_S + 1)
        assert run({"replSetGetStatus": 1})["myState"] == server.SECONDARY


# Stepping down

def test_stepping_down(make_set: Make) -> None:
    members = make_set(3)
    with members.session(2) as run, refused(10107):
        run({"replSetStepDown": 60})
    with members.session(1) as run:
        with refused(2):
            run({"replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 5})
        members.servers[2].speed = members.servers[3].speed = 0
        run({"insert": "sold", "documents": [{}], "writeConcern": {"wtimeout": 1000}}, "books")
        with refused(262):
            run({"replSetStepDown": 60, "secondaryCatchUpPeriodSecs": 5})
        members.servers[2].speed = members.servers[3].speed = 1000
        run({"replSetStepDown": 60, "secondaryCatchUpPeriodSecs": 5})
        members.network.advance(2)
        assert run({"hello": 1})["isWritablePrimary"] is False
    members.kill(members.primary())
    members.kill(next(each for each in (2, 3) if members.servers[each].is_running))
    members.network.advance(30)
    assert members.primary() == 0


# Logins

@pytest.mark.parametrize(("command", "code"), [
    ({"replSetGetStatus": 1}, 0), ({"replSetGetConfig": 1}, 13), ({"insert": "a", "documents": [{}]}, 13),
    ({"replSetStepDown": 60}, 13), ({"find": "system.replset"}, 13), ({"ping": 1}, 0), ({"hello": 1}, 0),
    ({"noSuch": 1}, 13)])
def test_while_there_is_no_user_a_local_connection_may_do_little(make_set: Make, command: Document, code: int) -> None:
    members = make_set(key=KEY)
    members.run(1)
    with members.session(1) as run:
        run({"replSetInitiate": {"_id": NAME, "members": [{"_id": 0, "host": members.address(1)}]}})
        members.network.advance(2)
        if code:
            with refused(code):
                run(command)
        else:
            run(command)
        members.servers[1].is_reached_as_local = False
        if "hello" not in command and "ping" not in command:
            with refused(13):
                run(command)


def test_the_first_user_ends_that_and_is_on_all_members(make_set: Make) -> None:
    members = make_set(key=KEY)
    members.run(1)
    with members.session(1) as run:
        run({"replSetInitiate": {"_id": NAME, "members": [{"_id": 0, "host": members.address(1)}]}})
        members.network.advance(2)
        run({"createUser": USER[0], "pwd": USER[1], "roles": ["root"]})
        with refused(13):
            run({"createUser": "second", "pwd": "x", "roles": ["root"]})
        with refused(13):
            run({"replSetGetStatus": 1})
    with mongo.session(members.address(1), mongo.Login(*USER), 5) as run:
        assert run({"replSetGetStatus": 1})["myState"] == server.PRIMARY
        with refused(59):
            run({"noSuch": 1})
    with mongo.session(members.address(1), mongo.Login(USER[0], "wrong"), 5) as run, refused(18):
        run({"replSetGetStatus": 1})


@pytest.mark.parametrize(("password", "is_taken"), [("".join(KEY.split()), True), ("another", False)])
def test_the_key_file_is_the_password_of_the_members_own_user(make_set: Make, password: str, is_taken: bool) -> None:
    members = make_set(1, key=KEY, user=USER, has_image_user=True)
    client: pymongo.MongoClient[Document] = pymongo.MongoClient(
        members.address(1), directConnection=True, username="__system", password=password, authSource="local",
        authMechanism="SCRAM-SHA-256")
    with client:
        if is_taken:
            assert client.admin.command({"replSetGetStatus": 1})["myState"] == server.PRIMARY
        else:
            with pytest.raises(pymongo.errors.OperationFailure, match="Authentication failed"):
                client.admin.command({"replSetGetStatus": 1})


def test_members_of_other_key_files_do_not_hear_each_other(make_set: Make) -> None:
    members = make_set(3, key=KEY, user=USER, has_image_user=True)
    members.kill(3)
    members.key = "another"
    members.run(3)
    members.network.advance(20)
    with members.session(1) as run:
        third = run({"replSetGetStatus": 1})["members"][2]
    assert third["health"] == 0 and third["lastHeartbeatMessage"] == "Authentication failed."


# What a driver sees

def test_a_client_finds_the_set_from_any_seed_and_follows_its_primary(make_set: Make) -> None:
    members = make_set(3)
    client: pymongo.MongoClient[Document] = pymongo.MongoClient(
        members.address(3), replicaSet=NAME, serverSelectionTimeoutMS=60_000, heartbeatFrequencyMS=500)
    with client:
        client["books"]["sold"].insert_one({"value": 0})
        assert client.primary == ("127.0.0.1", members.ports[1])
        others = {members.ports[2], members.ports[3]}
        wait_for(lambda: {port for _, port in client.secondaries} == others, "the driver has found the others")
        with members.session(1) as run:
            run({"replSetStepDown": 60, "secondaryCatchUpPeriodSecs": 5})
        members.network.advance(2)
        with suppress(pymongo.errors.NotPrimaryError):  # unless the driver has noticed
            client["books"]["sold"].insert_one({"value": 1})
        client["books"]["sold"].insert_one({"value": 2})
        assert client.primary == ("127.0.0.1", members.ports[members.primary()])
    assert rules.NAMES[10107] == "NotWritablePrimary"
