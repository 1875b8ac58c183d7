"""Each record of a decision is said to be the same, different, or not to be told: never the same unless it was decided
again."""

import json
from typing import Any

import pytest

from lictor import errors
from lictor.planner import breaker, next_state, observation_codec, plan, replay
from lictor.planner.actions import KINDS_OF_ACTS, describe
from lictor.planner.autoscale import record as autoscaling
from lictor.planner.autoscale.decide import decide
from lictor.planner.autoscale.memory import Memory
from lictor.planner.autoscale.seen import Rules, Seen
from lictor.planner.autoscale.traffic import Slice
from lictor.planner.observation import Observation
from lictor.planner.service_state import Breaker, Failure, Failures, Rollout
from lictor.reconcile import history

from support.scene import NOW, scene, wanted

START = {"kind": "start", "container": "books-2", "reason": "replicas key is 2, 1 run"}
SPENT = scene(3, "unhealthy", "passing", "passing", reserved="123")
NEXT = wanted(1, {"image": b"books:2"}).release
LATE = Rollout(NEXT, NOW - 900, moved_at=NOW - 900)
# Observations with the state before, as they are recorded: of each kind of record at least one.
RECORDED: dict[str, Observation] = {
    "a start": scene(2, "passing"),
    "several acts": scene(5, "passing", "gone"),
    "a replacement": scene(3, "unhealthy", "passing", "passing"),
    "a surplus that goes": scene(1, "passing", "passing"),
    "a drain that ends": scene(1, "passing", "draining late"),
    "the breaker opens": SPENT,
    "the breaker is open": SPENT._replace(state=next_state.advance(SPENT)),
    "the breaker closes": scene(1, "passing", state={
        "breaker": Breaker(NOW - 9000, "x", NOW - 8000), "causes": [next_state.BREAKER]}),
    "all are suspected": scene(3, "unhealthy", "unhealthy", "unhealthy"),
    "the suspicion is over": scene(3, "passing", "passing", "passing", state={
        "doubt": "3 of 3 instances are critical at once", "causes": [next_state.HELD]}),
    "a release fails": scene(1, "passing", keys={"image": b"books:2"}, state={"rollout": LATE}),
    "a release has failed": scene(1, "passing", keys={"image": b"books:2"}, state={
        "failed": Failure(NEXT, "books:2", "it ended", NOW - 9)}),
    "given up": scene(2, "passing", state={"failures": {"2": Failures(20, NOW - 1, "it ended")}}),
}
HELD = scene(2, "passing", keys={"hold": b"x"})


def records_of(before: Observation) -> list[dict[str, Any]]:
    """Records as the loop makes them: acts, causes of notifications, and that such a cause is over."""
    state, actions = next_state.step(before)
    told = next_state.causes(before._replace(state=state))
    lines = [(each.kind, each.container, each.reason) for each in actions if each.kind in KINDS_OF_ACTS]
    lines += [(cause, "", text) for cause, text in told.items()]
    lines += [(cause, "", next_state.OVER) for cause in before.state.notified.causes if cause not in told]
    return [{"at": NOW, "service": "books", "outcome": "done", "kind": kind, "container": container, "reason": reason,
             "observation": observation_codec.export(before)} for kind, container, reason in lines]


def replayed(*records: dict[str, Any]) -> list[replay.Replayed]:
    return replay.replay(json.dumps({"history": records}), "-").replayed


@pytest.mark.parametrize("before", RECORDED.values(), ids=RECORDED)
def test_the_same_version_decides_the_same(before: Observation) -> None:
    assert {(each.verdict, each.why) for each in replayed(*records_of(before))} <= {(replay.SAME, "")}


def test_every_kind_of_record_is_among_them() -> None:
    kinds = {each["kind"] for before in RECORDED.values() for each in records_of(before)}
    assert kinds >= {"start", "drain", "remove", "breaker", "held", "release failed", "gave up 2"}
    over = {each["kind"] for before in RECORDED.values() for each in records_of(before)
            if each["reason"] == next_state.OVER}
    assert over == {"breaker", "held"}


@pytest.mark.parametrize(("before", "line", "changed", "why"), [
    ("a start", "start books-2: ", {"container": "books-3"}, ""),
    ("a start", "start books-2: ", {"kind": "remove"}, ""),
    ("a start", "start books-2: ", {"reason": "replicas key is 3, 1 run"}, "the reason is another one"),
    ("the breaker opens", "breaker: ", {"reason": "the breaker is open: by hand"}, "the reason is another one"),
    ("the breaker opens", "breaker: ", {"reason": next_state.OVER}, "the reason is another one"),
    ("the breaker opens", "breaker: ", {"kind": "held"}, "the reason is another one"),
])
def test_another_decision_is_different(before: str, line: str, changed: dict[str, str], why: str) -> None:
    [record] = [each for each in records_of(RECORDED[before]) if describe(
        each["kind"], each["container"], each["reason"]).startswith(line)]
    [found] = replayed({**record, **changed})
    assert (found.verdict, found.why) == (replay.DIFFERENT, why) and found.then not in found.now


def test_the_state_is_decided_again_and_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that opens no breaker decides otherwise, though the one that recorded it did open one."""
    [record] = [each for each in records_of(SPENT) if each["kind"] == "breaker"]
    monkeypatch.setattr(breaker, "advance", lambda *_, **__: None)
    [found] = replayed(record)
    assert (found.verdict, found.now) == (replay.DIFFERENT, ["breaker: this is over"])


def exported(**changes: Any) -> dict[str, Any]:
    return {**observation_codec.export(scene(2, "passing")), **changes}


SET = scene(3, "passing", spec={"image": "mongo:4", "volumes": ["data:/data/db"], "replicas": {"min": 1, "max": 9},
                                "cluster": {"kind": "mongodb", "name": "rs0"}})


@pytest.mark.parametrize(("record", "why"), [
    (START, "the record holds no observation, as those of sets with state"),
    ({**START, "is_cut": True}, "its observation had no room in the record"),
    ({**START, "observation": None}, "this is no observation"),
    ({**START, "observation": {"now": 1}}, "this is no observation"),
    ({**START, "observation": exported(containers=[{"id": 7}])}, "this is no observation"),
    ({**START, "reason": "another one", "observation": exported(), "is_cut": True}, "a part of it had no room"),
    ({"observation": exported()}, "it holds no decision to compare with"),
    ({"at": 0.0, "outcome": "damaged"}, "the record is damaged"),
    ({"kind": "autoscale", "reason": "x", "autoscale": {}}, "autoscale cannot be read"),
    ({"kind": next_state.SET_TROUBLE, "reason": "x", "observation": observation_codec.export(SET)},
     "the answers of the set's members"),
    ({"kind": "stepdown", "container": "db-1", "reason": "x"}, "as those of sets with state"),
    ({"at": "noon", "kind": ["start"], "observation": 3}, "this is no observation"),
    ({"at": 1e300}, "the record holds no observation"),
], ids=lambda value: str(value)[:40])
def test_what_cannot_be_decided_again_is_never_called_the_same(record: dict[str, Any], why: str) -> None:
    story = replay.replay(json.dumps([record]), "-")
    [found] = story.replayed
    assert found.verdict == replay.UNKNOWN and why in found.why
    assert [story.count(each) for each in replay.VERDICTS] == [0, 0, 1] and 0 <= found.at <= 1e11


def test_a_value_that_no_rule_foresees_is_the_trouble_of_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(_: Observation) -> None:
        raise OverflowError("too much")

    records = records_of(RECORDED["a start"])
    monkeypatch.setattr(next_state, "step", step)
    [found] = replayed(*records)
    assert found.verdict == replay.UNKNOWN
    assert found.why == "this version cannot decide upon it: OverflowError('too much')"


def test_one_record_that_cannot_be_told_keeps_no_other_from_it() -> None:
    records = records_of(RECORDED["a start"])
    assert [each.verdict for each in replayed(START, *records)] == [replay.UNKNOWN, replay.SAME]


def test_records_that_no_decision_is_behind_are_counted_apart() -> None:
    story = replay.replay(json.dumps([{"kind": "refused"}, *records_of(RECORDED["a start"]), {"kind": "removed"}]), "-")
    assert (len(story.replayed), story.undecided) == (1, 2)


@pytest.mark.parametrize(("text", "said"), [
    ("{", "x.json: is no JSON"), ("3", "holds no records"), ("[3]", "holds no records"),
    ("[]", "none of its 0 records"), ('[{"kind": "refused"}]', "none of its 1 records holds a decision"),
])
def test_a_file_that_holds_no_records_is_refused(text: str, said: str) -> None:
    with pytest.raises(errors.Refused, match=said):
        replay.replay(text, "x.json")


def test_a_record_alone_is_replayed_too() -> None:
    [record] = records_of(RECORDED["a start"])
    line = f"start books-2: {record['reason']}"
    assert replay.replay(json.dumps(record), "-").replayed == [
        replay.Replayed("books", NOW, line, [line], replay.SAME)]


def counted(slices: int) -> tuple[Seen, Rules, Memory]:
    times = dict.fromkeys(range(20, 60), 40)
    each = [Slice(at=NOW - 10 * number, seconds=10.0, begun=1600, times=times)
            for number in range(slices, 0, -1)]
    return Seen(NOW, 2, "r", each, NOW - 4000), Rules(target_s=0.001), Memory()


@pytest.mark.parametrize("slices", [6, 90])
def test_a_wish_whose_counts_had_no_room_is_the_same_only_if_the_rest_suffices(slices: int) -> None:
    seen, rules, memory = counted(slices)
    packed = autoscaling.pack(seen, rules, memory)
    record = {"kind": "autoscale", "reason": decide(seen, rules, memory).reason,
              "autoscale": json.loads(json.dumps(packed))}
    assert packed["is_cut"] == (slices > 50)
    [found] = replayed(record)
    assert found.verdict == replay.SAME and found.then.startswith("autoscale: ")
    [other] = replayed({**record, "reason": "x"})
    assert other.verdict == (replay.UNKNOWN if slices > 50 else replay.DIFFERENT)


def test_a_reason_that_was_cut_is_not_called_another_one() -> None:
    [record] = records_of(RECORDED["a start"])
    long = {**record, "observation": observation_codec.pack(RECORDED["a start"]), "seen": "x" * 20_000}
    parsed = history._parsed(history._text(long).encode())
    assert "is_cut" not in parsed and [each.verdict for each in replayed(parsed)] == [replay.SAME]
    parsed = history._parsed(history._text({**long, "reason": "x" * 2000}).encode())
    assert parsed["is_cut"] and [each.verdict for each in replayed(parsed)] == [replay.UNKNOWN]


def test_a_plan_s_holds_are_compared_as_well() -> None:
    held = plan.plan(HELD)[0]
    [found] = replayed({"kind": held.kind, "container": held.container, "reason": held.reason,
                        "observation": observation_codec.export(HELD)})
    assert (held.kind, found.verdict) == ("hold", replay.SAME)
