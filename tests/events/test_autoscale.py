"""The autoscaler's check on a real Consul, with windows that the test writes: who acts, whose the count is, and what
must not stop it."""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lictor import errors
from lictor.adapters.consul import lock, transactions
from lictor.events import autoscale, autoscale_round, keys_watch, script
from lictor.events.autoscale_round import Line, rest_s
from lictor.planner.autoscale.capacity import Capacity, Load
from lictor.planner.autoscale.decide import Decision
from lictor.reconcile import history
from lictor.reconcile.autoscale import look, overview
from lictor.routing.traffic import meter

from lab.consul import Consul
from support import gossip
from support.autoscaled import SPEC, Node, window
from support.paths import HANDLERS


@pytest.fixture
def node(consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setattr(autoscale_round, "rest_s", lambda *_: 0.0)
    for limit in ("_ROUND_S", "_TIMEOUT_S"):  # on a starved machine, what Consul would end is as right
        monkeypatch.setattr(autoscale_round, limit, 60.0)
    return Node(consul, tmp_path / "state", monkeypatch)


@pytest.mark.parametrize(("now", "after_s", "expected"), [
    (1000.0, 0.0, 0.0),  # the slot has ended: its counts are there
    (1000.0, 0.1, 0.1),  # nginx still counts in it, as its clock of milliseconds may be behind
    (1000.2, 1.0, 0.8),  # the other nodes are telling theirs
    (1001.5, 1.6, 0.1),  # the log is behind
    (1003.0, 0.1, 0.0),  # late: at once
    (1007.5, 0.1, 0.0),  # the end is not near
    (1007.7, 0.1, 2.4),
    (1009.9, 0.1, 0.2),
])
def test_a_round_waits_for_the_end_of_a_slot_that_is_near(now: float, after_s: float, expected: float) -> None:
    assert rest_s(now, after_s) == pytest.approx(expected)


def act(node: Node, *names: str) -> list[Line]:
    return autoscale_round.run(node.context, names or ("books",), time.monotonic() + 60)


def call_of(node: Node) -> script.Call:
    return script.Call(node.context.settings, None, argparse.Namespace())


def wishing(wish: int | None, status: str = "warning") -> Callable[..., Decision]:
    return lambda seen, rules, memory: Decision(wish, status, f"wants {wish}", memory)


def test_a_breach_becomes_a_count_with_its_record(node: Node) -> None:
    node.run(2)
    node.counts()
    [line] = act(node)
    assert line.status == "warning" and line.text.endswith("wants 3") and "ms of 250 ms" in line.text
    assert node.count() == "3"
    [record] = history.read(node.context.client, "books")
    assert {key: record[key] for key in ("kind", "node", "from", "to", "outcome", "reason")} == {
        "kind": "autoscale", "node": "node-1", "from": 2, "to": 3, "outcome": "done", "reason": line.text}


def test_its_own_write_is_no_persons_and_the_start_is_waited_for(node: Node) -> None:
    node.run(2)
    node.counts()
    act(node)
    [line] = act(node)
    assert "2 run, and 3 are desired" in line.text and node.count() == "3"
    assert node.kept().own_index and not node.kept().manual_index


def test_within_the_target_nothing_is_written_but_the_memory(node: Node) -> None:
    node.run(2)
    node.counts(slow=0.0)
    assert [each.status for each in act(node)] == ["passing"]
    assert node.count() is None and node.kept().capacity.held.rate > 0
    assert history.read(node.context.client, "books") == []


def test_a_count_that_is_too_large_goes_down(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.run(3, replicas={"initial": 3, "min": 1, "max": 9})
    node.counts(slow=0.0)
    monkeypatch.setattr(look, "decide", wishing(2, "passing"))
    assert act(node) == [Line("books", "passing", "wants 2")]
    assert node.count() == "2" and history.read(node.context.client, "books")[0]["to"] == 2


def test_a_count_that_a_person_wrote_holds_and_then_no_longer(node: Node) -> None:
    node.run(4)
    node.counts()
    node.consul.put("services/books/replicas", "4")
    for _ in range(2):
        [line] = act(node)
        assert re.search("a person wrote the count 4, which holds for 1[45] min more", line.text)
        assert node.count() == "4"
    kept = node.kept()
    node.keeps("books", replace(kept, manual_since=time.time() - 901))
    [line] = act(node)
    assert "wants" in line.text and node.count() not in ("4", None)


def test_the_same_count_written_by_a_person_is_the_persons(node: Node) -> None:
    node.run(3, replicas={"initial": 2, "min": 1, "max": 9})
    node.consul.put("services/books/replicas", "3")
    index = node.context.client.get("services/books/replicas")
    assert index
    node.keeps("books", replace(node.kept(), own_index=index.modify_index))
    node.counts(slow=0.0)
    act(node)
    assert not node.kept().manual_index
    node.consul.put("services/books/replicas", "2")
    node.consul.put("services/books/replicas", "3")
    act(node)
    assert node.kept().manual_index > index.modify_index


def test_if_its_memory_is_lost_a_record_says_whose_the_count_is(node: Node) -> None:
    node.run(2)
    node.counts()
    act(node)
    node.consul.request("DELETE", "/v1/kv/lictor/autoscale/books")
    act(node)
    assert node.kept().own_index and not node.kept().manual_index
    node.consul.request("DELETE", "/v1/kv/lictor/autoscale/books")
    node.consul.put("services/books/replicas", "2")
    act(node)
    assert node.kept().manual_index and not node.kept().own_index


def test_a_write_that_comes_in_between_wins(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.run(2)
    node.counts()
    intend = history.intend

    def be_late(*args: Any) -> history.Begun:
        node.consul.put("services/books/replicas", "5")
        return intend(*args)

    monkeypatch.setattr(history, "intend", be_late)
    [line] = act(node)
    assert line.text.endswith(". Not written: another write came first") and node.count() == "5"
    assert history.read(node.context.client, "books")[-1]["outcome"] == "failed"
    monkeypatch.setattr(history, "intend", intend)
    act(node)
    assert node.count() == "5" and node.kept().manual_index


@pytest.mark.parametrize(("replicas", "own", "persons", "count"), [
    ({"initial": 1, "min": 1, "max": 3}, "5", False, "3"),  # max was lowered
    ({"initial": 2, "min": 2, "max": 9}, "1", False, "2"),  # min was raised
    ({"initial": 1, "min": 1, "max": 3}, "5", True, "5"),  # a person's is refused, and stays refused
    ({"initial": 0, "min": 0, "max": 0}, "5", False, "5"),  # it never takes the last instance
])
def test_its_own_count_follows_other_bounds(node: Node, replicas: dict[str, int], own: str, persons: bool,
                                            count: str) -> None:
    """Such a count is refused: without that, nothing would be scaled until a person wrote another one."""
    node.run(2, replicas=replicas)
    node.counts(slow=0.0)
    node.consul.put("services/books/replicas", own)
    index = node.context.client.get("services/books/replicas")
    assert index
    if not persons:
        node.keeps("books", replace(node.kept(), own_index=index.modify_index))
    [line] = act(node)
    assert node.count() == count
    assert (f"its own count {own} is outside of" in line.text) is (count != own)
    act(node)
    assert not node.kept().manual_index or persons


def test_with_its_memory_lost_a_count_outside_of_the_bounds_is_its_own_by_a_record(node: Node) -> None:
    node.run(2)
    node.counts()
    act(node)
    node.consul.request("DELETE", "/v1/kv/lictor/autoscale/books")
    node.consul.put("services/books/spec", json.dumps({**SPEC, "replicas": {"initial": 1, "min": 1, "max": 2}}))
    act(node)
    assert node.count() == "2"


def test_a_record_that_cannot_be_completed_hides_no_count_that_was_written(node: Node,
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def lose_the_lock(*_: object) -> None:
        raise errors.Conflict("the lock is lost")

    monkeypatch.setattr(history, "finish", lose_the_lock)
    node.run(2)
    node.counts()
    [line] = act(node)
    assert node.count() == "3" and line.text.endswith("wants 3")


def test_a_service_that_no_nginx_serves_is_told_so(node: Node) -> None:
    node.run(2)
    node.consul.request("DELETE", "/v1/kv/lictor/nodes/books?recurse")
    [line] = act(node)
    assert (line.status, line.text) == ("warning", "no data: no nginx serves it. The count stays.")


def test_a_node_that_tells_nothing_is_named(node: Node) -> None:
    node.run(2)
    node.counts(ago_s=60)
    [line] = act(node)
    assert line.text == "no data: node-1 has told no counts of its nginx for 30 s. The count stays."


def test_an_nginx_that_does_not_answer_is_told_by_this_check_too(node: Node, capsys: pytest.CaptureFixture[str],
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise errors.Unavailable("nginx does not answer on /run/x")

    monkeypatch.setattr(meter, "tell", fail)
    node.run(2)
    node.counts(slow=0.0)
    assert autoscale_round.answer(call_of(node)) == 1
    assert "nginx here: its counts are not told. nginx does not answer on /run/x" in capsys.readouterr().out


@pytest.mark.parametrize("hostile", [
    "", "[]", "{", '{"slices": 3}', '{"slices": [{"at": "noon", "seconds": 10}]}', "[" * 100_000,
    '{"slices": [{"at": 1e999, "seconds": 10}]}', "x" * 70_000,
    window().replace('"seconds": 10.0', '"seconds": -1'), window().replace('"begun": 400', '"begun": 1e30'),
    window().replace('"begun": 400', '"begun": -4'), window().replace('{"slices"', '{"slices": [], "x"'),
], ids=map(str, range(12)))  # a window says when it was made, and each worker makes its own
def test_what_no_nginx_can_have_counted_is_doubted(node: Node, hostile: str) -> None:
    node.run(2)
    node.consul.put("lictor/traffic/books/node-1", hostile)
    [line] = act(node)
    assert line.status == "warning" and line.text.startswith("no data: ") and node.count() is None


def test_a_live_node_that_stopped_writing_is_doubted_and_a_dead_one_is_not(node: Node) -> None:
    gossip.wait_unswept(node.consul)
    node.run(2)
    node.counts()
    node.routes("books", "node-2")
    check = {"Node": "node-2", "CheckID": "serfHealth", "Name": "serf", "Status": "passing"}
    body = {"Node": "node-2", "Address": "10.0.0.2", "Check": check}
    node.consul.request("PUT", "/v1/catalog/register", body)
    node.counts(node="node-2", ago_s=60)
    [line] = act(node)
    assert "In doubt: the nginx of node-2 counts no requests. No move" in line.text and node.count() is None
    node.consul.request("PUT", "/v1/catalog/register", {**body, "Check": {**check, "Status": "critical"}})
    act(node)
    assert node.count() == "3"


def test_one_services_failure_is_its_own(node: Node) -> None:
    for name in ("books", "rooms", "tables"):
        node.run(2, name=name, route={"path": f"/{name}"})
        node.counts(name)
    node.engine.broken.add("rooms")
    node.consul.put("lictor/autoscale/tables", b"\xff" * 1000)
    lines = {each.name: each for each in act(node, "books", "rooms", "tables")}
    assert "rooms is broken" in lines["rooms"].text and lines["rooms"].status == "warning"
    assert node.count("books") == "3" and node.count("rooms") is None
    assert lines["tables"].status != "critical" and "unreadable" not in lines["tables"].text


@pytest.mark.parametrize("changes", [
    {"autoscale": None}, {"node": "node-2"}, {"engine": "none"}, {"image": "a b"},
])
def test_a_service_that_is_not_this_nodes_to_scale_has_no_line(node: Node, changes: dict[str, Any]) -> None:
    node.run(2)
    spec = {key: value for key, value in {**SPEC, **changes}.items() if value is not None}
    node.consul.put("services/books/spec", json.dumps(spec))
    assert act(node) == [] and node.count() is None


def test_the_first_stage_knows_the_services_by_the_key_events(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    call = call_of(node)
    node.consul.put("services/rooms/spec", json.dumps({"name": "rooms", "image": "x:1"}))
    keys_watch.follow(call, keys_watch.read_keys(node.context.client, "services/"), None)
    words = ["--state-dir", call.settings.state_dir, "--config", "/no/such/file"]  # which is not read yet
    assert autoscale.main("", words) == 0 and capsys.readouterr().out == "no service has autoscale\n"
    node.run(2)
    node.counts()
    keys_watch.follow(call, keys_watch.read_keys(node.context.client, "services/"), None)
    assert autoscale.read_names(call.settings.state_dir) == ["books"]
    assert autoscale_round.answer(call) == 1
    told = capsys.readouterr()
    assert told.out.startswith("books: p95 ") and told.err == ""  # Consul would show that too


@pytest.mark.parametrize("damage", [None, "{", "3", '["../x"]', "[3]"])
def test_without_a_note_of_the_services_the_keys_are_read(node: Node, capsys: pytest.CaptureFixture[str],
                                                          damage: str | None) -> None:
    node.run(2)
    node.counts(slow=0.0)
    if damage:
        (Path(node.context.settings.state_dir) / "autoscale.json").write_text(damage)
    assert autoscale_round.answer(call_of(node)) == 0
    assert capsys.readouterr().out.startswith("books: p95 ")


def test_without_consul_it_is_unknown_and_no_alarm(node: Node, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    assert autoscale_round.answer(call_of(node)) == 1
    assert capsys.readouterr().out.startswith("unknown: ")


def test_without_a_leader_all_of_them_are_unknown(node: Node, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    def have_no_leader(*_: object) -> None:
        raise errors.Unavailable("500 No cluster leader")

    node.run(2)
    autoscale.note_names(node.context.settings.state_dir, {"books": b'{"autoscale": {}}'})
    monkeypatch.setattr(type(node.context.client), "tree", have_no_leader)
    assert autoscale_round.answer(call_of(node)) == 1
    assert capsys.readouterr().out == "unknown: 500 No cluster leader\n"


def test_its_first_stage_needs_the_standard_library_only() -> None:
    code = "import sys; from lictor.events import autoscale; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(HANDLERS)!r}); {code}"],
                            capture_output=True, text=True, check=True).stdout.split()
    assert not {"argparse", "click", "consul", "docker", "jinja2", "msgspec", "requests", "tomllib"} & set(loaded)


def test_for_a_scheduler_the_holder_of_the_lock_decides(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoscale_round, "SCHEDULERS", {"docker": None})  # which more than one node may act for then
    node.run(2)
    node.counts()
    with lock.held(node.context.client, "autoscale:books", node="node-2") as writer:
        assert writer
        assert act(node) == [Line("books", "passing", "another node decides on it")]
    node.keeps("books", replace(node.kept(), node="node-2", at=time.time()))
    assert act(node) == [Line("books", "passing", "node-2 decides on it")]
    node.keeps("books", replace(node.kept(), node="node-2", at=time.time() - 20))
    act(node)
    assert node.count() == "3" and node.kept().node == "node-1"
    assert node.consul.request("GET", f"/v1/kv/{lock.LOCKS}?keys") is None
    assert node.consul.request("GET", "/v1/session/list?consistent") == []


def test_the_output_has_the_worst_first_and_fits_into_what_consul_keeps() -> None:
    lines = [Line(f"s{number:03}", "passing", f"p95 {number} ms of 250 ms" + "." * 60) for number in range(200)]
    worse = [Line("zoo", "critical", "Scaling does not help"), Line("y", "warning", "x")]
    text = autoscale_round.describe([*lines, *worse])
    assert text.splitlines()[:2] == ["zoo: Scaling does not help", "y: x"] and len(text.encode()) < 4000
    assert text.splitlines()[-1].startswith("and ") and text.endswith(" passing")
    assert autoscale_round.describe([]) == "no service has autoscale for which this node acts"
    assert len(autoscale_round.describe([Line("x", "warning", "\n\x1b" + "a" * 9999)])) <= 500


def test_many_services_are_read_at_once_and_each_one_has_its_own_outcome(node: Node) -> None:
    for number in range(12):
        node.run(2, name=f"s{number}", route={"path": f"/s{number}"})
        node.counts(f"s{number}", slow=0.5 if number in (3, 5, 7) else 0.0)
    node.engine.broken.add("s5")  # where it is looked at again, before its wish
    node.consul.put("services/s7/replicas", "2")
    node.consul.put("lictor/autoscale/s9", b"\xff" * 1000)
    node.consul.put("services/s11/spec", "{")
    lines = {each.name: each for each in act(node, *(f"s{number}" for number in range(12)))}
    assert node.count("s3") == "3" and lines["s3"].text.endswith("wants 3")
    assert node.count("s5") is None and "s5 is broken" in lines["s5"].text and lines["s5"].status == "warning"
    assert node.count("s7") == "2" and "a person wrote the count 2" in lines["s7"].text
    assert lines["s9"].status == "passing" and "s11" not in lines  # it never had a sound spec: another check says so
    for name in ("s0", "s8", "s10"):
        assert node.kept(name).capacity.held.rate > 0 and node.kept(name).node == "node-1"


def test_what_there_was_no_time_for_is_told_by_name_and_comes_first_then(node: Node) -> None:
    names, now = [f"s{number:02}" for number in range(50)], time.time()
    for number, name in enumerate(names):
        node.run(1, name=name, route={"path": f"/{name}"})
        node.counts(name, slow=0.0)
        node.keeps(name, replace(node.kept(name), at=now - number))
    lines = autoscale_round.run(node.context, names, time.monotonic() - 1)
    assert {each.status for each in lines} == {"warning"} and [each.name for each in lines] == [*reversed(names)]
    text = autoscale_round.describe([*lines, Line("zoo", "critical", "max is 9"), Line("well", "passing", "p95 1 ms")])
    assert text.splitlines()[0] == "zoo: max is 9" and text.splitlines()[-1] == "well: p95 1 ms"
    assert text.splitlines()[1].startswith("s00, s01, s02, ") and " more: not looked at: " in text
    node.keeps("s20", replace(node.kept("s20"), at=time.time() - 500))
    assert overview.read(node.context, names).turns[0] == "s20"


@pytest.mark.parametrize(("names", "shown"), [
    (["a"], "a: x"), (["a", "b"], "a, b: x"),
    ([f"service-{number:02}" for number in range(99)], "and 83 more: x"),
])
def test_services_of_which_the_same_is_said_share_a_line(names: list[str], shown: str) -> None:
    [line] = autoscale_round.describe(Line(name, "warning", "x") for name in names).splitlines()
    assert line.endswith(shown) and autoscale_round.is_answer(line)


@pytest.mark.parametrize(("failure", "status", "says"), [
    (errors.Conflict("x"), "passing", ". Not written: another write came first"),
    (errors.Refused("403"), "warning", ". Not remembered: 403"),
])
def test_what_is_not_remembered_is_told(node: Node, monkeypatch: pytest.MonkeyPatch, failure: errors.LictorError,
                                        status: str, says: str) -> None:
    for name in ("rooms", "books"):
        node.run(2, name=name, route={"path": f"/{name}"})
        node.counts(name, slow=0.0)
    commit = node.context.client.commit

    def fail(operations: list[transactions.Operation]) -> None:
        if any("books" in each["KV"]["Key"] for each in operations):
            raise failure
        commit(operations)

    monkeypatch.setattr(node.context.client, "commit", fail)
    lines = {each.name: each for each in act(node, "books", "rooms")}
    assert lines["books"].status == status and lines["books"].text.endswith(says)
    assert lines["rooms"].status == "passing" and "Not" not in lines["rooms"].text and node.kept("rooms").at


def test_if_no_key_can_be_seen_it_is_unknown_and_not_well(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    autoscale.note_names(node.context.settings.state_dir, {"books": b'{"autoscale": {}}'})
    assert autoscale_round.answer(call_of(node)) == 1
    assert capsys.readouterr().out.startswith("unknown: no key below services/ can be seen, though services are known")


@pytest.mark.parametrize("slow", [0.0, 0.5])
def test_what_another_release_answered_teaches_nothing(node: Node, slow: float) -> None:
    """A release may come and be over between two looks, so that none of them sees it."""
    node.run(2)
    node.counts(slow=slow)
    before = replace(node.kept(), capacity=Capacity("another", Load(7.0, 7.0)))
    node.keeps("books", before)
    act(node)
    known = node.kept().capacity
    assert known.release not in ("", "another") and known == Capacity(known.release) and node.count() is None
    assert node.kept().settled_at > before.settled_at
