"""Pauses: what a hold key says of one, when one is over, and how a service that is paused is summed up."""

import json
from typing import Any

import pytest

from lictor.planner.observation_codec import export, load
from lictor.planner.routes import pause
from lictor.planner.routes.pause import Hold, Pause, Record
from lictor.planner.summary.facts import Facts
from lictor.planner.summary.service import Severity, sum_up
from lictor.spec.service_spec import Spec, parse_spec

from support.scene import NOW, SPEC, scene, state_of, wanted

PAUSE = Pause(60.0, NOW)
HOLD = pause.encode(Hold("kernel", PAUSE)).encode()
OVER = pause.encode(Hold("kernel", PAUSE._replace(is_over=True))).encode()


def spec_of(**keys: Any) -> Spec:
    return parse_spec({**SPEC, **keys}, "spec")


@pytest.mark.parametrize("hold", [
    Hold("", PAUSE), Hold("kernel", PAUSE), Hold("größer als { 1 }", PAUSE._replace(is_over=True)),
    Hold("x", Pause(pause.SHORTEST_S, 1.5)), Hold("x", Pause(pause.LONGEST_S, 1.5))])
def test_what_is_written_is_read_again(hold: Hold) -> None:
    assert pause.parse(pause.encode(hold)) == hold


@pytest.mark.parametrize(("why", "read"), [
    ('"\\ud800 kernel"', "\\ud800 kernel"), ('"\\udfff"', "\\udfff"), ('" \\u00e4\\n"', "ä"),
    ('"\\ud83d\\ude00"', "😀"), ("5", "5"), ("null", "None"), ('{"\\ud800": [1]}', "{'\\ud800': [1]}"),
    ("[" * 900 + "]" * 900, "[" * 900 + "]" * 900)])
def test_whatever_reason_a_pause_has_it_can_be_written_on(why: str, read: str) -> None:
    found = pause.parse(f'{{"why": {why}, "pause": {{"for_s": 60, "asked_at": {NOW}}}}}')
    assert found == Hold(read, PAUSE)
    assert found.described.encode() and pause.parse(pause.encode(found)) == found


@pytest.mark.parametrize("text", [
    "", "until Monday", "{", "{}", "[]", '{"pause": null}', '{"pause": 5}', '{"pause": {}}', '{"why": "x"}',
    *(json.dumps({"pause": {"asked_at": NOW, "for_s": 60, key: wrong}}) for key, wrong in (
        ("for_s", 0), ("for_s", 601), ("for_s", -1), ("for_s", "soon"), ("for_s", None), ("asked_at", -1),
        ("asked_at", 1e12), ("asked_at", []), ("for_s", 10 ** 400))),
    '{"pause": {"for_s": NaN, "asked_at": 5}}', '{"pause": {"for_s": Infinity, "asked_at": 5}}', "[" * 100_000,
    '{"a":' * 100_000])
def test_any_other_text_is_a_hold_alone(text: str) -> None:
    assert pause.parse(text) == Hold(text)


def test_a_pause_is_told_with_its_reason() -> None:
    assert wanted(1, {"hold": b"until Monday"}).why_held == "the hold key is set (until Monday)"
    assert wanted(1, {"hold": HOLD}).why_held == (
        "the hold key is set (kernel). All requests wait, for 60 s at most")
    assert wanted(1, {"hold": OVER}).why_held == (
        "the hold key is set (kernel). Its pause of 60 s is over, and requests flow")
    assert [wanted(1, {"hold": each}).is_paused for each in (b"x", HOLD, OVER)] == [False, True, False]
    assert not wanted(1).is_paused


@pytest.mark.parametrize(("text", "length_s"), [
    ("60s", 60), ("1m", 60), ("10m", 600), ("1s", 1), ("1500ms", 1.5), ("30", 30),
    ("0s", None), ("999ms", None), ("601s", None), ("1h", None), ("soon", None), ("", None), ("-5s", None)])
def test_a_length_is_bounded(text: str, length_s: float | None) -> None:
    if length_s is None:
        with pytest.raises(ValueError, match=r"within 1s\.\.10m|is no duration"):
            pause.parse_length(text)
    else:
        assert pause.parse_length(text) == length_s


@pytest.mark.parametrize(("keys", "said"), [
    ({"route": {"path": "/", "wait": "5s"}}, ""),
    ({"route": [{"path": "/", "wait": "5s"}, {"path": "/a", "wait": "1s"}]}, ""),
    ({}, "route is missing; without one no request comes through nginx, and none can wait there"),
    ({"route": "/books"}, "wait is missing in the route /books; it must be given, such as 5s"),
    ({"route": [{"path": "/", "wait": "5s"}, {"path": "/a", "host": "a.example.com"}]},
     "wait is missing in the route a.example.com/a; it must be given, such as 5s"),
    ({"cluster": {"kind": "mongodb", "name": "rs0"}, "volumes": ["data:/data/db"], "check": {"tcp": True},
      "replicas": {"min": 1, "max": 5}, "command": ["--replSet", "rs0"]},
     "cluster is mongodb; a set with state cannot be paused, as its clients ask its members")])
def test_what_keeps_requests_from_waiting_is_named(keys: dict[str, Any], said: str) -> None:
    assert pause.find_obstacle(spec_of(**keys)) == said


def test_a_pause_counts_from_when_a_node_has_seen_it_and_a_new_one_anew() -> None:
    first = pause.begin(PAUSE, "", None, 5000.0, 70.0)
    assert first == Record(NOW, 5060.0, 130.0)
    assert pause.begin(PAUSE, "", first, 5050.0, 120.0) == first
    assert pause.begin(PAUSE, "no wait", first, 5050.0, 120.0) == first._replace(obstacle="no wait")
    assert pause.begin(Pause(30.0, NOW + 1), "", first, 5050.0, 120.0) == Record(NOW + 1, 5080.0, 150.0)
    assert pause.record_of({"pause": first._asdict()}) == first


@pytest.mark.parametrize(("now", "uptime_s", "left_s"), [
    (5000, 70, 60), (5059, 129, 1), (5060, 130, 0), (5061, 131, 0),
    (5000, 131, 0),  # the clock was set back
    (9000, 71, 0),  # it was set forward
    (5050, 0, 10)])  # the machine was started since
def test_a_pause_is_over_by_whichever_clock_comes_first(now: float, uptime_s: float, left_s: float) -> None:
    record = Record(NOW, 5060.0, 130.0)
    assert record.left_s(now, uptime_s) == left_s == record.remaining_s(now, uptime_s)
    assert record._replace(obstacle="x").left_s(now, uptime_s) == 0


def test_a_machine_that_was_started_since_and_has_lost_its_clock_is_paused_no_longer() -> None:
    assert Record(NOW, 5060.0, 9130.0).left_s(0.0, 30.0) == 0


@pytest.mark.parametrize("table", [
    {}, {"pause": None}, {"pause": {}}, {"pause": 5}, {"pause": {"asked_at": 1}}, {"pause": {"asked_at": 1, "x": 2}},
    {"pause": {"asked_at": "1", "ends_at": 1, "ends_at_uptime": 1}},
    {"pause": {"asked_at": 1, "ends_at": 1, "ends_at_uptime": 1, "obstacle": 5}}])
def test_a_damaged_record_is_none(table: dict[str, Any]) -> None:
    assert pause.record_of(table) is None


@pytest.mark.parametrize(("hold", "paused", "more", "severity", "said"), [
    (b"x", {}, {}, "attention", "on hold: the hold key is set (x)"),
    (OVER, {}, {}, "attention", "on hold: the hold key is set (kernel). Its pause of 60 s is over, and requests flow"),
    (HOLD, {"node-1": (14, 2)}, {}, "attention", "on node-1 14 wait, and 2 are in flight"),
    (HOLD, {"node-1": (1, 0), "node-2": (0, 0)}, {}, "attention",
     "on node-1 1 wait, and 0 are in flight; on node-2 0 wait, and 0 are in flight"),
    (HOLD, {}, {}, "failed", "node-1 has not confirmed it"),
    (HOLD, {}, {"nginx_nodes": []}, "failed", "no nginx has confirmed it"),
    (HOLD, {"node-1": (1, 0)}, {"nginx_nodes": ["node-1", "node-2"]}, "failed",
     "node-2 has not confirmed it; on node-1 1 wait, and 0 are in flight"),
    (HOLD, {}, {"unconfirmed": ["node-1: its pause is not carried out: x"]}, "failed",
     "node-1: its pause is not carried out: x"),
    (HOLD, {}, {"unserved": ["node-1: nginx does not answer"]}, "failed", "node-1: nginx does not answer")])
def test_a_pause_is_summed_up_by_what_each_nginx_has_confirmed(
        hold: bytes, paused: dict[str, tuple[int, int]], more: dict[str, Any], severity: str, said: str) -> None:
    facts = Facts(NOW, wanted(1, {"hold": hold}), state_of(), [], [], nginx_nodes=["node-1"], paused=paused)
    found = sum_up(facts._replace(**more))
    assert (found.severity, found.says.endswith(said)) == (Severity(severity), True)
    assert found.says.startswith("paused: the hold key is set (kernel). " if hold == HOLD else "on hold: ")


def test_a_record_of_the_history_has_the_pause_too() -> None:
    seen = scene(1, "passing", keys={"hold": HOLD})
    assert load(json.loads(json.dumps(export(seen)))).desired.pause == PAUSE
