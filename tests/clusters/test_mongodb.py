"""The kind mongodb, by pymongo: each call on members of the double, and each answer that is none."""

import datetime
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bson
import pytest

from lictor import errors
from lictor.adapters import mongo
from lictor.clusters import mongodb, registry
from lictor.clusters.protocols import Kind
from lictor.planner.cluster.observation import Configuration, Link, Seat

from lab.daemon import free_ports, wait_for
from lab.mongodb import rules, server
from lab.mongodb.managed import NAME, MongoSet
from lab.mongodb.wire import Document, Listener

Make = Callable[..., MongoSet]
KIND: Kind = mongodb.Members({})
USER = ("root", "correct horse battery staple")
AS_USER = mongodb.Members({mongodb.USER: USER[0], mongodb.PASSWORD: USER[1]})
KEY = "Zm9yIHRoZSBkb3VibGUgb25seQ== " * 3


def test_it_is_found_by_its_name() -> None:
    assert isinstance(registry.kind("mongodb"), mongodb.Members)


@pytest.mark.parametrize(("code", "says"), [
    ("from lictor.clusters import registry; registry.kind('etcd'); import sys; print('pymongo' in sys.modules)",
     "False"),
    ("import sys; sys.modules['pymongo'] = None\nfrom lictor import errors\nfrom lictor.clusters import registry\n"
     "try: registry.kind('mongodb')\nexcept errors.Refused as error: print(error)",
     "mongodb: pymongo is not installed. No member can be asked; install lictor[mongodb].")])
def test_pymongo_is_needed_by_this_kind_alone(code: str, says: str) -> None:
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == says


def test_each_call_on_members(make_set: Make) -> None:
    """A member says who it is; one is added, gets a vote, is primary, and removed, each upon what was decided on."""
    members = make_set(1)
    client, second = members.address(1), members.address(2)
    first = KIND.ask(client, client)
    assert (first.role, first.behind, first.term, first.configuration) == (
        "primary", 0.0, 1, Configuration((Seat(client, True, "0"),), 1, 1, True))
    members.run(2)
    assert KIND.ask(second, second).role == "new"
    KIND.add(client, second, first.configuration)
    added = KIND.ask(client, client)
    assert added.configuration.seats == (Seat(client, True, "0"), Seat(second, False, "1"))
    with pytest.raises(errors.Conflict, match="has another configuration than decided upon"):
        KIND.add(client, members.address(3), first.configuration)
    members.network.advance(10)
    assert KIND.ask(second, second).role == "secondary" and KIND.ask(second, second).set_id == first.set_id
    with pytest.raises(errors.Unavailable, match="No electable secondaries caught up"):
        KIND.step_down(client, added.configuration)
    members.size = 3
    members.settle()
    third = KIND.ask(client, client)
    assert third.peers == {second: True, members.address(3): True}
    KIND.take_vote(client, members.address(3), third.configuration)
    assert members.seats() == {1: True, 2: True, 3: False}
    KIND.step_down(client, KIND.ask(client, client).configuration)
    members.network.advance(2)
    assert members.primary() == 2
    with pytest.raises(errors.Conflict, match="It is not the primary"):
        KIND.remove(client, members.address(3), third.configuration)
    members.network.advance(10)
    KIND.remove(second, client, KIND.ask(second, second).configuration)
    members.network.advance(10)
    assert KIND.ask(client, client).role == "removed" and KIND.ask(client, client).set_id == first.set_id
    with pytest.raises(errors.Refused, match="already initialized"):
        KIND.initiate(client, NAME, client)
    assert KIND.environment("db-1", client, client, None) == {}


def test_what_else_is_in_a_configuration_stays(make_set: Make) -> None:
    members = make_set(2)
    client = members.address(1)
    with members.session(1) as run:
        config = run({"replSetGetConfig": 1})["config"]
        config["members"][1] |= {"tags": {"rack": "b"}, "hidden": True}
        config["settings"]["chainingAllowed"] = False
        run({"replSetReconfig": {**config, "version": config["version"] + 1}})
    members.run(3)
    KIND.add(client, members.address(3), KIND.ask(client, client).configuration)
    found = members.servers[1].config
    assert found and found["settings"] == config["settings"] and found["members"][:2] == config["members"]
    assert found["members"][2].items() >= {"_id": 2, "host": members.address(3), "votes": 0, "priority": 0}.items()


@pytest.mark.parametrize(("taken", "free"), [
    ([0], 1), ([0, 1, 2], 3), ([0, 7], 8), ([3, 254], 255), ([0, 1, 255], 2), ([*range(200), 255], 200)])
def test_a_newcomer_gets_an_id_that_is_free(taken: list[int], free: int) -> None:
    assert mongodb._free_id({"_id": each} for each in taken) == free


@pytest.mark.parametrize(("state", "role"), [
    (server.SECONDARY, "secondary"), (server.RECOVERING, "recovering"), (server.STARTUP2, "copying data"),
    (server.ROLLBACK, "rolling back"), (server.UNKNOWN, "unknown"), (7, "an arbiter"), (server.REMOVED, "removed"),
    (4, "in state 4")])
def test_each_state_is_a_role(make_set: Make, monkeypatch: pytest.MonkeyPatch, state: int, role: str) -> None:
    monkeypatch.setitem(server.NAMES, 7, "ARBITER")
    monkeypatch.setitem(server.NAMES, 4, "FATAL")
    members = make_set(2)
    members.servers[2].state = state
    assert KIND.ask(members.address(2), members.address(2)).role == role


def test_one_that_was_just_elected_is_no_primary_before_it_is_writable(make_set: Make) -> None:
    members = make_set(1)
    members.servers[1].writable_at = members.network.now + 5
    assert KIND.ask(members.address(1), members.address(1)).role == "not writable yet"


def test_how_far_a_member_is_behind(make_set: Make) -> None:
    members = make_set(3)
    members.servers[3].speed = 0
    for _ in range(6):
        members.tick()
    assert 20 < KIND.ask(members.address(3), members.address(3)).behind <= 40
    assert KIND.ask(members.address(2), members.address(2)).behind < 5
    members.cut(3)
    members.network.advance(20)
    alone = KIND.ask(members.address(3), members.address(3))
    assert (alone.role, alone.behind, {*alone.peers.values()}) == ("secondary", float("inf"), {False})


def test_before_and_after_its_configuration_is_loaded(make_set: Make) -> None:
    """Only who has none is new: a voter that has not loaded it yet answers like one, and would be taken for lost."""
    members = make_set(3)
    members.kill(3)
    members.run(3)
    with pytest.raises(errors.Unavailable, match="has a configuration, and has not loaded it yet"):
        KIND.ask(members.address(3), members.address(3))
    members.network.advance(server.LOAD_S + 1)
    assert KIND.ask(members.address(3), members.address(3)).role == "secondary"


@contextmanager
def answering(answer: Callable[[str], Document]) -> Iterator[str]:
    """Answer each command but pymongo's own as told."""
    [port] = free_ports(1)
    hello = {"isWritablePrimary": True, "ismaster": True, "maxWireVersion": 21, "minWireVersion": 0, "ok": 1.0}

    def handle(database: str, command: Document) -> Document:
        name = next(iter(command))
        found = {**hello, "helloOk": True} if name == "ismaster" else answer(name)
        return found or {"ok": 1.0}

    listener = Listener(port, lambda: handle)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        listener.close()


HELLO = {"isWritablePrimary": True, "maxWireVersion": 21, "minWireVersion": 0, "ok": 1.0}
PEER = {"name": "a:1", "health": 1.0, "state": 1, "self": True, "optimeDate": datetime.datetime(2026, 1, 1)}
STATUS = {"set": "rs0", "myState": 1, "term": 1, "members": [PEER], "ok": 1.0}
SETTINGS = {"replicaSetId": bson.ObjectId()}
CONFIG = {"_id": "rs0", "version": 1, "term": 1, "members": [{"_id": 0, "host": "a:1"}], "settings": SETTINGS}
GOOD: dict[str, Document] = {"hello": HELLO, "replSetGetStatus": STATUS, "replSetGetConfig": {
    "config": CONFIG, "commitmentStatus": True, "ok": 1.0}}
DATE = PEER["optimeDate"]


def _deep(levels: int) -> Any:
    return [_deep(levels - 1)] if levels else []


@pytest.mark.parametrize(("command", "answer"), [
    ("hello", {"maxWireVersion": "21", "ok": 1.0}),
    ("hello", {"isWritablePrimary": "yes", "maxWireVersion": 21, "ok": 1.0}),
    ("hello", {"ok": 1.0}),
    ("replSetGetStatus", {"ok": 1.0}),
    ("replSetGetStatus", {**STATUS, "set": "other"}),
    ("replSetGetStatus", {**STATUS, "set": 5}),
    ("replSetGetStatus", {**STATUS, "term": None}),
    ("replSetGetStatus", {**STATUS, "myState": 1.5}),
    ("replSetGetStatus", {**STATUS, "myState": 2}),
    ("replSetGetStatus", {**STATUS, "members": {}}),
    ("replSetGetStatus", {**STATUS, "members": []}),
    ("replSetGetStatus", {**STATUS, "members": [PEER, PEER]}),
    ("replSetGetStatus", {**STATUS, "members": [{**PEER, "health": "up"}]}),
    ("replSetGetStatus", {**STATUS, "members": [{**PEER, "optimeDate": 5}]}),
    ("replSetGetStatus", {**STATUS, "members": [_deep(90)]}),
    ("replSetGetConfig", {"ok": 1.0}),
    ("replSetGetConfig", {"config": None, "ok": 1.0}),
    ("replSetGetConfig", {"config": {**CONFIG, "settings": {}}, "ok": 1.0}),
    ("replSetGetConfig", {"config": {**CONFIG, "members": [{"_id": 0, "host": 5}]}, "ok": 1.0}),
    ("replSetGetConfig", {"config": {**CONFIG, "members": [{"_id": "0", "host": "a"}]}, "ok": 1.0}),
    ("replSetGetConfig", {"config": {**CONFIG, "version": "1"}, "ok": 1.0}),
    ("replSetGetConfig", {"config": CONFIG, "commitmentStatus": "perhaps", "ok": 1.0}),
])
def test_an_answer_that_is_no_members_is_none(command: str, answer: Document) -> None:
    with answering(GOOD.__getitem__) as address:
        assert KIND.ask(address, "a:1").role == "primary"
    with answering(lambda name: answer if name == command else GOOD[name]) as address, pytest.raises(
            errors.Unavailable):
        KIND.ask(address, "a:1")


def test_a_forced_configuration_has_no_term() -> None:
    forced = {key: value for key, value in CONFIG.items() if key != "term"}
    with answering({**GOOD, "replSetGetConfig": {"config": forced, "ok": 1.0}}.__getitem__) as address:
        assert KIND.ask(address, "a:1").configuration == Configuration((Seat("a:1", True, "0"),), 1, -1, False)


@pytest.mark.parametrize(("code", "kind", "says"), [
    (13, errors.Refused, "says no: no"), (18, errors.Refused, "says no"), (23, errors.Refused, "says no"),
    (76, errors.Refused, "says no"), (93, errors.Refused, "says no"),
    (103, errors.Conflict, "Its configuration is another one by now"),
    (10107, errors.Conflict, "It is not the primary"), (189, errors.Conflict, "It is not the primary"),
    (13435, errors.Conflict, "It is not the primary"),
    (50, errors.Unavailable, "says no"), (74, errors.Unavailable, "says no"), (109, errors.NotYet, "says no"),
    (262, errors.Unavailable, "says no"), (308, errors.NotYet, "says no"), (11602, errors.Unavailable, "says no"),
    (91, errors.Unavailable, "says no"), (0, errors.Unavailable, "says no"), (99999, errors.Unavailable, "says no")])
def test_each_no_is_one_of_three(code: int, kind: type[Exception], says: str) -> None:
    basis = Configuration((Seat("a:1", True, "0"),), 1, 1)
    no = {"ok": 0.0, "errmsg": "no", "code": code, "codeName": "No"}
    calls: dict[str, Callable[[str], None]] = {
        "replSetReconfig": lambda at: KIND.remove(at, "b:1", basis),
        "replSetStepDown": lambda at: KIND.step_down(at, basis)}
    for command, call in calls.items():
        with answering({**GOOD, command: no}.__getitem__) as address, pytest.raises(kind, match=says) as caught:
            call(address)
        assert type(caught.value) in (kind, mongo.Failure)


def test_a_link_is_what_the_members_own_heartbeats_say_of_it(make_set: Make) -> None:
    """For a while one that has just stopped answering counts as up; what is only that old is not known."""
    members = make_set(3)
    one, two, three = (members.address(number) for number in (1, 2, 3))
    assert KIND.ask_links(one, one) == {two: Link(True), three: Link(True)}
    members.cut(3)
    members.network.advance(8)
    told = KIND.ask_links(one, one)
    assert told[two] == Link(True) and told[three].is_up is None and "was answered" in told[three].words
    members.network.advance(10)
    assert KIND.ask_links(two, two) == {one: Link(True), three: Link(False, "unreachable")}
    assert KIND.ask_links(three, three) == {one: Link(False, "unreachable"), two: Link(False, "unreachable")}
    members.cut()
    members.servers[3].key = "another"
    members.network.advance(12)
    assert KIND.ask_links(one, one)[three] == Link(False, "Authentication failed")


OTHER = {"name": "b:1", "health": 1.0, "state": 2, "lastHeartbeat": PEER["optimeDate"]}
LATER = datetime.datetime(2026, 1, 1, 0, 0, 3)


@pytest.mark.parametrize(("other", "status", "link"), [
    ({}, {"date": LATER}, Link(True)),
    ({}, {"date": LATER, "heartbeatIntervalMillis": 1000}, Link(None, "its last heartbeat was answered 3 s ago")),
    ({}, {}, Link(None, "it does not say when it was last answered")),
    ({"lastHeartbeat": None}, {"date": LATER}, Link(None, "it does not say when it was last answered")),
    ({"health": 0.0}, {"date": LATER}, Link(False, "it counts as down")),
    ({"health": 0.0, "lastHeartbeatMessage": "no\nroute. "}, {"date": LATER}, Link(False, "no route")),
    ({"health": float("nan")}, {"date": LATER}, Link(False, "it counts as down")),
    ({"lastHeartbeat": "yesterday"}, {"date": LATER}, None),
    ({"lastHeartbeatMessage": 5}, {"date": LATER}, None),
    ({}, {"date": LATER, "heartbeatIntervalMillis": "soon"}, None),
])
def test_a_link_without_a_fresh_answer_is_not_known(other: Document, status: Document, link: Link | None) -> None:
    answer = {**STATUS, **status, "members": [PEER, {**OTHER, **other}]}
    with answering({**GOOD, "replSetGetStatus": answer}.__getitem__) as address:
        if link:
            assert KIND.ask_links(address, "a:1") == {"b:1": link}
            return
        with pytest.raises(errors.Unavailable):
            KIND.ask_links(address, "a:1")


def test_what_is_not_committed_is_not_changed() -> None:
    answers = {**GOOD, "replSetGetConfig": {"config": CONFIG, "commitmentStatus": False, "ok": 1.0}}
    with answering(answers.__getitem__) as address, pytest.raises(errors.NotYet, match="not committed yet"):
        KIND.remove(address, "b:1", Configuration((Seat("a:1", True, "0"),), 1, 1))


def test_one_older_than_commitment_is_refused() -> None:
    with answering({**GOOD, "hello": {**HELLO, "maxWireVersion": 8}}.__getitem__) as address, pytest.raises(
            errors.Refused, match="older than MongoDB 4.4"):
        KIND.ask(address, "a:1")


def test_a_member_that_is_stopped_or_hangs_gives_no_answer(make_set: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    members = make_set(1)
    basis = KIND.ask(members.address(1), members.address(1)).configuration
    monkeypatch.setattr(mongodb, "ASK_S", 0.3)
    monkeypatch.setattr(mongodb, "CHANGE_S", 0.3)
    members.servers[1].is_hung = True
    calls: list[Callable[[str], object]] = [
        lambda at: KIND.ask(at, at), lambda at: KIND.add(at, "b:1", basis), lambda at: KIND.step_down(at, basis),
        lambda at: KIND.initiate(at, NAME, at)]
    for call in calls:
        with pytest.raises(errors.Unavailable, match="gives no answer"):
            call(members.address(1))
    members.kill(1)
    for address in (members.address(1), "127.0.0.1:", "127.0.0.1:http", "", "127.0.0.1:99999", "[::1]:1"):
        with pytest.raises(errors.Unavailable, match="gives no answer"):
            KIND.ask(address, address)


def test_a_client_leaves_no_thread_behind(make_set: Make) -> None:
    import threading

    members = make_set(1)
    KIND.ask(members.address(1), members.address(1))
    wait_for(lambda: not [each for each in threading.enumerate() if each.name.startswith("pymongo")],
             "pymongo's threads end")


# Logins: who may ask, and who makes the first user


@pytest.mark.parametrize(("key", "has_image_user", "is_local", "kind", "role"), [
    ("", False, True, KIND, "new"),
    (KEY, True, False, AS_USER, "new"),
    (KEY, False, True, AS_USER, "new"),
    (KEY, False, False, AS_USER, "has no user and is not reached as local"),
    (KEY, True, False, KIND, "requires authentication"),
    (KEY, True, True, mongodb.Members({mongodb.USER: "root", mongodb.PASSWORD: "wrong"}), "does not take the user"),
    (KEY, True, True, mongodb.Members({mongodb.USER: "other", mongodb.PASSWORD: USER[1]}), "does not take the user"),
])
def test_who_may_ask_a_newcomer(make_set: Make, key: str, has_image_user: bool, is_local: bool, kind: Kind,
                                role: str) -> None:
    members = make_set(key=key, user=USER if has_image_user else None, has_image_user=has_image_user)
    members.is_reached_as_local = is_local
    members.run(1)
    if role == "new":
        assert kind.ask(members.address(1), members.address(1)).role == "new"
    else:
        with pytest.raises(errors.Refused, match=role) as refused:
            kind.ask(members.address(1), members.address(1))
        assert USER[1] not in str(refused.value) and "wrong" not in str(refused.value)


def test_a_making_that_was_cut_short_before_the_first_user_goes_on(make_set: Make) -> None:
    members = make_set(key=KEY)
    members.run(1)
    address = members.address(1)
    with mongo.session(address, None, 5) as run:
        run({"replSetInitiate": {"_id": NAME, "members": [{"_id": 0, "host": address}]}})
    first = rules.set_id(members.servers[1].config)
    members.network.advance(2)
    assert AS_USER.ask(address, address).role == "new"
    with pytest.raises(errors.Refused):
        AS_USER.initiate(address, "another", address)
    with pytest.raises(errors.Refused):
        AS_USER.initiate(address, NAME, members.address(2))
    AS_USER.initiate(address, NAME, address)
    assert AS_USER.ask(address, address).set_id == str(first) and members.servers[1].users == dict([USER])
    with pytest.raises(errors.Refused, match="already initialized"):
        AS_USER.initiate(address, NAME, address)


def test_a_password_is_in_no_error_and_no_representation() -> None:
    login = mongo.Login(*USER)
    assert USER[1] not in f"{login} {login!r} {[login]}"
    said = {"ok": 0.0, "errmsg": f"of {USER[1]}\x1b[31m\n{'x' * 500}", "code": 2}
    with answering(lambda name: said) as address, mongo.session(address, None, 2) as run, pytest.raises(
            mongo.Failure) as caught:
        run({"ping": 1})
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(errors.Unavailable) as unavailable, mongo._translated("a:1", login):
        raise ValueError(f"of {USER[1]}")
    assert USER[1] not in str(unavailable.value)
