"""Backtest of the autoscaler: recorded traffic runs through its decisions with other rules. Pure.

At another count than the recorded one, an instance has another load. Its response times are then those that were
recorded at that load, or at the next higher one. A load that is higher than any recorded one counts as too much, the
more so the higher it is, and is told.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from lictor import errors
from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.decide import decide
from lictor.planner.autoscale.memory import Instances, Memory
from lictor.planner.autoscale.seen import Rules, Seen
from lictor.planner.autoscale.traffic import Slice
from lictor.planner.autoscale.words import milliseconds

START_S = 10.0  # from a wish to instances that serve
_STEP = 1.1  # loads of one instance are alike within that
_KEPT_S = 360.0
_LONGEST = 1_000_000  # lines: four months


class Recorded(msgspec.Struct, frozen=True):
    """A line of a record: what all nodes counted, and how many instances of which release served it."""

    slice: Slice
    replicas: Instances
    release: str = ""


class Summary(NamedTuple):
    """The outcome of a backtest, and the same numbers as they were recorded."""

    least: int
    most: int
    moves: int
    instance_h: float
    late_share: float  # of the slices with enough answers, how many broke the target
    unknown_share: float  # of all slices, in how many an instance would have had a load that none was recorded at
    recorded_least: int
    recorded_most: int
    recorded_moves: int
    recorded_instance_h: float


class Backtest(NamedTuple):
    """The counts over time, and their summary."""

    counts: list[tuple[float, int]]
    summary: Summary


def parse(lines: Iterable[str], path: str) -> list[Recorded]:
    """Parse a record, one JSON object a line; raises Refused naming `path` and the line."""
    found: list[Recorded] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if len(found) >= _LONGEST:
            raise errors.Refused(f"{path}: has more than {_LONGEST} lines; split it")
        try:
            found.append(msgspec.json.decode(line, type=Recorded))
        except (ValueError, RecursionError) as error:
            raise errors.Refused(f"{path}, line {number}: is no line of a record: {error!s:.200}; use what "
                                 "`lictor autoscale NAME --record` writes") from error
    if not found:
        raise errors.Refused(f"{path}: holds no lines; use what `lictor autoscale NAME --record` writes")
    return sorted(found, key=lambda each: each.slice.at)


def run(recorded: Sequence[Recorded], rules: Rules) -> Backtest:
    """Run a record, in the order of time, through the decisions, beginning with its own first count."""
    curve, memory = _curve(recorded), Memory()
    count = serving = max(rules.least, min(rules.most, recorded[0].replicas))
    settled_at = recorded[0].slice.at
    window: list[Slice] = []
    counts: list[tuple[float, int]] = []
    late = unknown = judged = 0
    release = recorded[0].release
    for each in recorded:
        if each.release != release:  # what it answered in this slice, nobody can tell from the other one's
            release, settled_at = each.release, max(settled_at, each.slice.at + each.slice.seconds)
        if each.slice.at >= settled_at:
            serving = count
        part, is_known = _as_served_by(each, serving, curve, rules.target_s)
        window = [*(other for other in window if part.at - other.at < _KEPT_S), part]
        counts.append((part.at, count))
        unknown += not is_known
        if part.answers >= traffic.FEWEST:
            judged += 1
            late += traffic.count_slower(part.times, rules.target_s) > (1 - rules.share) * part.answers
        now = part.at + part.seconds
        quiet = "an instance starts" if settled_at > now else ""
        decision = decide(Seen(now, count, each.release, window, settled_at, quiet), rules, memory)
        memory = decision.memory
        if decision.wish is not None:
            settled_at = now + START_S if decision.wish > count else now
            count = decision.wish
    return Backtest(counts, _summarize(recorded, counts, late / judged if judged else 0.0, unknown / len(recorded)))


def describe(summary: Summary, rules: Rules) -> str:
    """Say in words what the backtest gave."""
    text = (f"with {rules.percentile} {milliseconds(rules.target_s)} it would have taken "
            f"{_range(summary.least, summary.most)} instances, {summary.moves} moves and "
            f"{summary.instance_h:.1f} instance hours; {summary.late_share:.1%} of the time above the "
            "target. Recorded were "
            f"{_range(summary.recorded_least, summary.recorded_most)} instances, {summary.recorded_moves} moves and "
            f"{summary.recorded_instance_h:.1f} instance hours.")
    return text if not summary.unknown_share else (
        f"{text} For {summary.unknown_share:.1%} of the time an instance would have had more load than any recorded "
        "one: that counts as above the target.")


def _range(least: int, most: int) -> str:
    return f"{least}" if least == most else f"{least} to {most}"


def _summarize(recorded: Sequence[Recorded], counts: list[tuple[float, int]], late: float, unknown: float) -> Summary:
    ours, theirs = [count for _, count in counts], [each.replicas for each in recorded]
    hours = [each.slice.seconds / 3600 for each in recorded]
    return Summary(min(ours), max(ours), _moves(ours), _product(ours, hours), late, unknown,
                   min(theirs), max(theirs), _moves(theirs), _product(theirs, hours))


def _product(counts: Sequence[int], hours: Sequence[float]) -> float:
    return sum(count * each for count, each in zip(counts, hours, strict=True))


def _moves(counts: Sequence[int]) -> int:
    return sum(before != after for before, after in zip(counts, counts[1:], strict=False))


def _curve(recorded: Sequence[Recorded]) -> dict[int, dict[int, int]]:
    """Collect the response times by the load of one instance."""
    curve: dict[int, list[Slice]] = {}
    for each in recorded:
        if each.replicas and each.slice.answers:
            curve.setdefault(_level(each.slice.rate / each.replicas), []).append(each.slice)
    return {level: traffic.add(curve[level]).times for level in sorted(curve)}


def _level(load: float) -> int:
    return math.ceil(math.log(load, _STEP)) if load > 1e-6 else -200


def _as_served_by(each: Recorded, count: int, curve: dict[int, dict[int, int]],
                  target_s: float) -> tuple[Slice, bool]:
    """Make the slice that so many instances would have served; and tell whether their load was ever recorded."""
    part = each.slice
    if count == each.replicas or not part.answers:
        return part, True
    wanted = _level(part.rate / count)
    level = next((known for known in curve if known >= wanted), None)
    times = {traffic.bucket(2 * target_s * _STEP ** (wanted - max(curve, default=wanted))): part.answers} if (
        level is None) else _scaled(curve[level], part.answers)
    busy_s = sum(traffic.middle_s(number) * times[number] for number in times)
    return replace(part, times=times, busy_s=busy_s, instances={}), level is not None


def _scaled(times: dict[int, int], answers: int) -> dict[int, int]:
    """Scale a histogram to so many answers, so that each percentile stays what it is."""
    total, passed, given, found = sum(times.values()), 0, 0, dict[int, int]()
    for number in sorted(times):
        passed += times[number]
        upto = round(answers * passed / total)
        if upto > given:
            found[number], given = upto - given, upto
    return found
