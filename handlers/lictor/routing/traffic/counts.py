"""Counts of requests by service, slot of ten seconds and outcome: from nginx's shared dictionary, or its log. Pure.

An outcome is a letter and the bucket of a time, as `a57`; with a minus before it, the request began in an earlier slot.
`begun` counts requests in the slot in which they began, `late` those of them that ended in a later one, and `retries`
the tries that failed before an answer.
"""

import re
from collections.abc import Iterable

from lictor import model
from lictor.planner.autoscale.traffic import LAST_BUCKET, bucket
from lictor.routing.traffic import answers

SLOT_S = 10
BEGUN, LATE, RETRIES = "begun", "late", "retries"
LOG_FORMAT = "$msec|$lictor_measured|$status|$request_completion|$request_time|$upstream_status|" \
             "$upstream_response_time|$upstream_connect_time|$lictor_earlier"
_FIELDS = LOG_FORMAT.count("|") + 1
_LONGEST_S = 1e6
_OUTCOME = re.compile(rf"(-?)([{answers.KINDS}])([0-9]{{1,3}})", re.ASCII)
_LINE = re.compile(r"(\S{1,63}) ([0-9]{1,12}) ([a-z0-9-]{1,10}) ([0-9]{1,15})", re.ASCII)
_SINCE = re.compile(r"since ([0-9]{1,12}(?:\.[0-9]{1,9})?)", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,12}\.[0-9]{3}", re.ASCII)
_STATUS = re.compile(r"[0-9]{3}", re.ASCII)

Slots = dict[int, dict[str, int]]  # by the begin of a slot, in epoch seconds
Counts = dict[str, Slots]  # by service


def slot_of(at: float) -> int:
    return int(at // SLOT_S) * SLOT_S


def outcome(what: str) -> tuple[bool, str, int] | None:
    """Read an outcome: whether the request began earlier, its kind, its bucket. None if it is none."""
    match = _OUTCOME.fullmatch(what)
    if not match or int(match[3]) > LAST_BUCKET:
        return None
    return bool(match[1]), match[2], int(match[3])


def read_dump(text: str) -> tuple[float, Counts] | None:
    """Read what nginx gives of its dictionary, and since when it counts; None if it does not say that. A line that is
    no count is left out."""
    head, _, rest = text.partition("\n")
    since = _SINCE.fullmatch(head)
    if not since:
        return None
    found: Counts = {}
    for line in rest.splitlines():
        match = _LINE.fullmatch(line)
        if match and model.is_name(match[1]) and int(match[2]) % SLOT_S == 0:
            found.setdefault(match[1], {}).setdefault(int(match[2]), {})[match[3]] = int(match[4])
    return float(since[1]), found


def count_lines(lines: Iterable[str], found: Counts) -> None:
    """Add the lines of the log to what was counted before. A line that is none of its format is left out."""
    for line in lines:
        fields = line.split("|")
        if len(fields) != _FIELDS or not model.is_name(fields[1]):
            continue
        msec, name, status, completion, took, upstream_status, response_time, connect_time, earlier = fields
        if not (_NUMBER.fullmatch(msec) and _NUMBER.fullmatch(took) and _STATUS.fullmatch(status)):
            continue
        ended_at, took_s = float(msec), min(float(took), _LONGEST_S)
        locations = earlier.count(" : ") + 1 if earlier not in ("", "-") else 0
        request = answers.Request(int(status), completion == "OK", upstream_status, response_time, connect_time,
                                  locations)
        _count(found.setdefault(name, {}), ended_at, max(ended_at - took_s, 0.0), answers.judge(request))


def _count(slots: Slots, ended_at: float, began_at: float, result: answers.Outcome) -> None:
    """Count one request. A websocket began nothing that an instance had to answer in time."""
    ended, began = slot_of(ended_at), slot_of(began_at)
    is_upgrade = result.kind == answers.UPGRADE
    is_earlier = began != ended and not is_upgrade
    what = f"{'-' if is_earlier else ''}{result.kind}{bucket(result.time_s)}"
    for slot, each, number in ((ended, what, 1), (began, BEGUN, int(not is_upgrade)), (began, LATE, int(is_earlier)),
                               (ended, RETRIES, result.retries)):
        if number:
            counted = slots.setdefault(slot, {})
            counted[each] = counted.get(each, 0) + number


def drop_before(found: Counts, at: float) -> Counts:
    """Leave out slots that began before."""
    kept = {name: {slot: counted for slot, counted in slots.items() if slot >= at} for name, slots in found.items()}
    return {name: slots for name, slots in kept.items() if slots}
