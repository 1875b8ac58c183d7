"""Counts of requests by service, slot of ten seconds and outcome: from nginx's shared dictionary, or its log. Pure.

An answer is counted by the bucket of its time, as `a57`, and so is a client that left. What else a request became is
counted by its letter. While there is a canary, a request counts as `na57` or `ne` too if that was asked first, and as
`ba57` or `be` if the live colour was. `begun` counts requests in the slot in which they began, and `retries` the tries
that failed before an answer. `busy` is how many milliseconds of the slot ended requests were in progress. `open` is how
many that began in it still are.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from lictor import model
from lictor.planner.autoscale.traffic import LAST_BUCKET, bucket
from lictor.routing.traffic import answers

SLOT_S = 10
BEGUN, RETRIES, BUSY, OPEN = "begun", "retries", "busy", "open"
LOG_FORMAT = "$msec|$lictor_measured|$status|$request_completion|$request_time|$upstream_status|" \
             "$upstream_response_time|$upstream_connect_time|$lictor_earlier|$upstream_addr|$lictor_canary"
_FIELDS = LOG_FORMAT.count("|") + 1
_EARLIER_FIELDS = 9  # an earlier version had no canary
_LONGEST_S = 1e6
_SPREAD_S = 90.0  # further back no slot is read
_TIMED = re.compile(
    rf"([{answers.TIMED}]|[{answers.CANARY}{answers.LIVE}]{answers.ANSWER})([0-9]{{1,3}})", re.ASCII)
_LINE = re.compile(r"(\S{1,63}) ([0-9]{1,12})((?: [a-z0-9]{1,10} [0-9]{1,15}){1,1000})", re.ASCII)
_TIME = r"([0-9]{1,12}\.[0-9]{1,9})"
_SINCE = re.compile(rf"since {_TIME} {_TIME} {_TIME}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,12}\.[0-9]{3}", re.ASCII)
_STATUS = re.compile(r"[0-9]{3}", re.ASCII)

Slots = dict[int, dict[str, int]]  # by the begin of a slot, in epoch seconds
Counts = dict[str, Slots]  # by service


def slot_of(at: float) -> int:
    return int(at // SLOT_S) * SLOT_S


class Counted(NamedTuple):
    """What was counted, without a gap, from `since` on up to `until`. `lost_at`: when counts were lost, as there was no
    room for them; 0.0: never."""

    since: float
    until: float
    by_name: Counts
    lost_at: float = 0.0


def by_bucket(counted: Mapping[str, int], kind: str) -> dict[int, int]:
    """List how many of a kind there are by the bucket of their time. What is no count of these is left out."""
    found = {int(match[2]): number for what, number in counted.items()
             if (match := _TIMED.fullmatch(what)) and match[1] == kind and int(match[2]) <= LAST_BUCKET}
    return dict(sorted(found.items()))


def read_dump(text: str) -> Counted | None:
    """Read what nginx gives of its dictionary; None if it does not say since when it counts. A line that is no count is
    left out. Several workers may each tell what is in progress there."""
    head, _, rest = text.partition("\n")
    since = _SINCE.fullmatch(head)
    if not since:
        return None
    found: Counts = {}
    for line in rest.splitlines():
        match = _LINE.fullmatch(line)
        if match and model.is_name(match[1]) and int(match[2]) % SLOT_S == 0:
            counted, words = found.setdefault(match[1], {}).setdefault(int(match[2]), {}), match[3].split()
            for what, number in zip(words[::2], words[1::2], strict=True):
                counted[what] = counted.get(what, 0) + int(number)
    return Counted(float(since[1]), float(since[2]), found, float(since[3]))


def count_lines(lines: Iterable[str], found: Counts) -> None:
    """Add the lines of the log to what was counted before. A line that is none of its format is left out."""
    for line in lines:
        fields = line.split("|")
        if len(fields) not in (_FIELDS, _EARLIER_FIELDS) or not model.is_name(fields[1]):
            continue
        msec, name, status, completion, took, upstream_status, response_time, connect_time, earlier, *sides = fields
        if not (_NUMBER.fullmatch(msec) and _NUMBER.fullmatch(took) and _STATUS.fullmatch(status)):
            continue
        ended_at, took_s = float(msec), min(float(took), _LONGEST_S)
        locations = earlier.count(" : ") + 1 if earlier not in ("", "-") else 0
        request = answers.Request(int(status), completion == "OK", upstream_status, response_time, connect_time,
                                  locations, *sides)
        _count(found.setdefault(name, {}), ended_at, max(ended_at - took_s, 0.0), answers.judge(request))


def _count(slots: Slots, ended_at: float, began_at: float, result: answers.Outcome) -> None:
    """Count one request. A websocket began nothing that an instance had to answer in time, and what nginx answers by
    itself is no load of an instance."""
    if result.kind == answers.OWN:
        return
    ended, number = slot_of(ended_at), bucket(result.time_s)
    _add(slots, ended, _word(result.kind, number), 1)
    _add(slots, ended, RETRIES, result.retries)
    if result.kind_of_side:
        _add(slots, ended, result.side + _word(result.kind_of_side, number), 1)
    if result.kind != answers.UPGRADE:
        _add(slots, slot_of(began_at), BEGUN, 1)
        for slot, part_s in spread(max(ended_at - result.time_s, ended_at - _SPREAD_S), ended_at):
            _add(slots, slot, BUSY, round(part_s * 1000))


def _word(kind: str, number: int) -> str:
    return f"{kind}{number}" if kind in answers.TIMED else kind


def _add(slots: Slots, slot: int, what: str, number: int) -> None:
    if number:
        counted = slots.setdefault(slot, {})
        counted[what] = counted.get(what, 0) + number


def spread(begin: float, end: float) -> Iterator[tuple[int, float]]:
    """Yield the slots between two times, each with its seconds."""
    while begin < end:
        slot = slot_of(begin)
        part = min(end, slot + SLOT_S)
        yield slot, part - begin
        begin = part


def drop_before(found: Counts, at: float) -> Counts:
    """Leave out slots that began before."""
    kept = {name: {slot: counted for slot, counted in slots.items() if slot >= at} for name, slots in found.items()}
    return {name: slots for name, slots in kept.items() if slots}
