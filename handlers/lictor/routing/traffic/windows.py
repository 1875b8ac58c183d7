"""Windows of a service's traffic: counts become slices, which are aligned, kept for six minutes, and bounded. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from lictor.planner.autoscale.traffic import LAST_BUCKET, Slice, middle_s
from lictor.routing.traffic import answers, counts
from lictor.routing.traffic.counts import SLOT_S, Slots

KEPT_S = 360.0
READ_S = 60.0  # so far back counts are read again: what began then may end only now
MOST_BYTES = 64 * 1024
_FIELDS = {answers.ERROR: "errors", answers.UNANSWERED: "unanswered", answers.CUT: "cut", answers.LEFT: "cut",
           answers.UPGRADE: "upgrades"}


class Window(msgspec.Struct, frozen=True):
    """The value of lictor/traffic/NAME/NODE."""

    slices: list[Slice]


class Kept(msgspec.Struct, frozen=True):
    """What this node keeps of a service: its slices, and since when it is measured."""

    since: float
    slices: list[Slice] = []


def advance(kept: Kept | None, slots: Slots, counted_since: float, now: float) -> Kept:
    """Add the slots that are over to what was kept. The first one is the first that was measured from its begin."""
    since = kept.since if kept and kept.since <= now else now
    new = slices(slots, max(since, counted_since), now)
    first = new[0].at if new else counts.slot_of(now)
    before = [each for each in kept.slices if each.at < first] if kept else []
    return Kept(since, [each for each in [*before, *new] if now - KEPT_S <= each.at <= now - SLOT_S])


def slices(slots: Slots, since: float, now: float) -> list[Slice]:
    """Make a slice of each slot that is over and was counted from its begin. One without a request is data too."""
    first = counts.slot_of(max(since, now - READ_S) + SLOT_S - 1e-6)
    busy_s = _busy(slots, now)
    return [replace(_slice(at, slots.get(at, {})), busy_s=round(busy_s.get(at, 0.0), 3))
            for at in range(first, counts.slot_of(now), SLOT_S)]


def encode(found: Iterable[Slice]) -> bytes:
    """Encode the value of the key; the oldest slices are left out if it would be too long."""
    texts, total = list[bytes](), len(msgspec.json.encode(Window([])))
    for each in sorted(found, key=lambda each: each.at, reverse=True):
        text = msgspec.json.encode(each)
        total += len(text) + 1
        if total > MOST_BYTES:
            break
        texts.append(text)
    return b'{"slices":[' + b",".join(reversed(texts)) + b"]}"


def decode(value: bytes) -> list[Slice] | None:
    """Read lictor/traffic/NAME/NODE; None for anything that lictor did not write."""
    try:
        found = msgspec.json.decode(value, type=Window).slices
    except (msgspec.DecodeError, RecursionError):  # a ValidationError is one too
        return None
    return found if len(value) <= MOST_BYTES and all(map(is_sound, found)) else None


def is_sound(each: Slice) -> bool:
    """Decide whether a slice can be one of a node's: whole slots, and no number that nobody could have counted."""
    numbers = [*each.times.values(), *each.left.values(), each.errors, each.unanswered, each.cut, each.begun,
               each.retries, each.upgrades]
    return (0 <= each.at < 1e12 and each.at % SLOT_S == 0 and each.seconds == SLOT_S and 0 <= each.busy_s < 1e12
            and all(0 <= number < 1 << 53 for number in numbers)
            and all(0 <= key <= LAST_BUCKET for key in (*each.times, *each.left)))


def _slice(at: int, counted: Mapping[str, int]) -> Slice:
    times: dict[int, int] = {}
    left: dict[int, int] = {}
    numbers: dict[str, Any] = {"retries": counted.get(counts.RETRIES, 0)}
    own = 0
    for what, number in counted.items():
        match counts.outcome(what):
            case (_, answers.ANSWER, bucket):
                times[bucket] = times.get(bucket, 0) + number
            case (is_earlier, answers.OWN, _):
                own += 0 if is_earlier else number
            case (_, kind, bucket):
                if kind == answers.LEFT:
                    left[bucket] = left.get(bucket, 0) + number
                numbers[_FIELDS[kind]] = numbers.get(_FIELDS[kind], 0) + number
    begun = max(counted.get(counts.BEGUN, 0) - own, 0)  # what nginx answers by itself is no load of an instance
    return Slice(float(at), float(SLOT_S), dict(sorted(times.items())), begun=begun, left=dict(sorted(left.items())),
                 **numbers)


def _busy(slots: Slots, now: float) -> dict[int, float]:
    """Spread the time in progress over slots. A request is taken to begin, or to end, in the middle of its slot."""
    found: dict[int, float] = {}
    for slot, counted in slots.items():
        middle = slot + SLOT_S / 2
        open_ = counted.get(counts.BEGUN, 0) - counted.get(counts.LATE, 0)
        for what, number in counted.items():
            result = counts.outcome(what)
            if result and result[1] != answers.UPGRADE:
                is_earlier, _, bucket = result
                open_ -= 0 if is_earlier else number
                _spread(found, middle - middle_s(bucket) if bucket else middle, middle, number)
        _spread(found, middle, now, max(open_, 0))
    return found


def _spread(found: dict[int, float], begin: float, end: float, number: int) -> None:
    while number and begin < end:
        slot = counts.slot_of(begin)
        part = min(end, slot + SLOT_S)
        found[slot] = found.get(slot, 0.0) + number * (part - begin)
        begin = part
