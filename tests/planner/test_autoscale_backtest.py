"""Recorded traffic under other targets."""

import json

import msgspec
import pytest

from lictor import errors
from lictor.planner.autoscale import backtest, traffic
from lictor.planner.autoscale.backtest import Recorded
from lictor.planner.autoscale.decide import Decision, Memory, Rules, Seen
from lictor.planner.autoscale.traffic import Slice


def served(number: int, rate: float, replicas: int, release: str = "1") -> Recorded:
    """Ten seconds in which an instance takes 100 ms, above 25 requests/s 200 ms, and above 45 a second."""
    load = rate / replicas
    took_s = 0.1 if load <= 25 else 0.2 if load <= 45 else 1.0
    begun = round(rate * 10)
    return Recorded(Slice(number * 10.0, 10.0, {traffic.bucket(took_s): begun}, begun=begun, busy_s=begun * took_s),
                    replicas, release)


DAY = [served(number, 40.0 if number < 100 or number >= 200 else 160.0, 2 if number < 100 else 6 if number < 250 else 3)
       for number in range(400)]
SLOW_DAY = [served(number, 40.0 if number < 100 else 90.0, 2) for number in range(300)]


def test_with_the_recorded_target_it_does_what_the_load_needs() -> None:
    found = backtest.run(DAY, Rules(0.25))
    assert (found.summary.least, found.summary.recorded_least, found.summary.recorded_most) == (2, 2, 6)
    assert found.summary.most in (4, 5, 6) and 0 < found.summary.moves < 10
    assert found.summary.recorded_moves == 2 and found.summary.late_share < 0.1
    assert found.summary.instance_h < found.summary.recorded_instance_h
    assert [at for at, _ in found.counts] == [each.slice.at for each in DAY]


def test_a_tighter_target_takes_more_instances_and_a_loose_one_fewer() -> None:
    tight, wide = (backtest.run(SLOW_DAY, Rules(target_s)).summary for target_s in (0.15, 2.0))
    assert tight.most > wide.most == 2 and tight.instance_h > wide.instance_h and wide.moves == 0


def test_a_load_that_was_never_recorded_is_told() -> None:
    found = backtest.run(DAY, Rules(0.25, most=2)).summary
    assert (found.unknown_share, found.late_share) == (0.25, 0.25) and (found.least, found.most) == (2, 2)
    assert "For 25.0% of the time an instance would have had more load" in backtest.describe(found, Rules(0.25))


def test_a_release_is_judged_by_its_own_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Seen] = []

    def decide(seen: Seen, _: Rules, memory: Memory) -> Decision:
        found.append(seen)
        return Decision(None, "passing", "", memory)

    monkeypatch.setattr(backtest, "decide", decide)
    backtest.run([served(number, 40.0, 2, "1" if number < 5 else "2") for number in range(9)], Rules(0.25))
    assert [each.settled_at for each in found] == [0.0] * 5 + [60.0] * 4


def test_it_is_said_in_a_sentence() -> None:
    summary = backtest.Summary(3, 7, 11, 94.25, 0.012, 0.0, 4, 4, 0, 96.0)
    assert backtest.describe(summary, Rules(0.25)) == (
        "with p95 250 ms it would have taken 3 to 7 instances, 11 moves and 94.2 instance hours; 1.2% of the time "
        "above the target. Recorded were 4 instances, 0 moves and 96.0 instance hours.")


def test_percentiles_stay_when_a_histogram_is_scaled() -> None:
    times = {10: 900, 50: 60, 90: 40}
    for answers in (20, 333, 5000):
        scaled = backtest._scaled(times, answers)
        assert sum(scaled.values()) == answers
        assert [traffic.percentile(scaled, share) for share in (0.5, 0.95)] == [
            traffic.percentile(times, share) for share in (0.5, 0.95)]


def test_a_record_is_read_line_by_line() -> None:
    text = b"\n".join(msgspec.json.encode(each) for each in reversed(DAY)).decode() + "\n\n"
    assert backtest.parse(text.splitlines(), "day.jsonl") == DAY


@pytest.mark.parametrize(("lines", "said"), [
    ([], "day.jsonl: holds no lines"),
    (["", " "], "day.jsonl: holds no lines"),
    (["{"], "day.jsonl, line 1: is no line of a record"),
    (["", "[]"], "day.jsonl, line 2: is no line of a record"),
    ([json.dumps({"slice": {"at": 0, "seconds": 10}, "replicas": -1})], "line 1: is no line of a record"),
    ([json.dumps({"slice": {"at": 0, "seconds": 0}, "replicas": 1})], "line 1: is no line of a record"),
    (["[" * 10_000], "line 1: is no line of a record"),
])
def test_what_is_no_record_is_refused_with_its_line(lines: list[str], said: str) -> None:
    with pytest.raises(errors.Refused) as refused:
        backtest.parse(lines, "day.jsonl")
    assert said in str(refused.value) and "--record" in str(refused.value)
