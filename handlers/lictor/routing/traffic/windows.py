"""Windows of a service's traffic: counts become slices, which are aligned, kept for six minutes, and bounded. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from lictor.planner.autoscale.traffic import Side, Slice
from lictor.routing.traffic import answers, counts
from lictor.routing.traffic.counts import SLOT_S, Slots

KEPT_S = 360.0
READ_S = 60.0  # so far back counts are read again: what began then may end only now
MOST_BYTES = 64 * 1024
_FIELDS = {answers.ERROR: "errors", answers.UNANSWERED: "unanswered", answers.CUT: "cut", answers.UPGRADE: "upgrades",
           counts.BEGUN: "begun", counts.RETRIES: "retries"}
_SUMMED = ("errors", "unanswered", "cut", "retries")


class Totals(msgspec.Struct, frozen=True):
    """Sums that only grow, whatever becomes of slices; named as in a Slice."""

    times: dict[int, int] = {}
    errors: int = 0
    unanswered: int = 0
    cut: int = 0
    retries: int = 0


class Kept(msgspec.Struct, frozen=True):
    """What this node keeps of a service: its slices, and since when it is measured."""

    since: float
    slices: list[Slice] = []
    gone: Totals = Totals()  # what slices had counted that are kept no more

    @property
    def totals(self) -> Totals:
        """Sums of all that was counted."""
        return _plus(self.gone, self.slices)


def advance(kept: Kept | None, slots: Slots, counted_since: float, now: float, *, by_side: bool = False) -> Kept:
    """Add the slots that are over to what was kept. The first one is the first that was measured from its begin.

    `by_side`: there is a canary, so that what each side has in a slot is told though it is nothing.
    """
    since = kept.since if kept and kept.since <= now else now
    new = slices(slots, max(since, counted_since), now, by_side=by_side)
    first = new[0].at if new else counts.slot_of(now)
    before = [each for each in kept.slices if each.at < first] if kept else []
    following = {each.at: each for each in [*before, *new] if now - KEPT_S <= each.at <= now - SLOT_S}
    gone = _plus(kept.gone, [_lost(each, following.get(each.at)) for each in kept.slices]) if kept else Totals()
    return Kept(since, [*following.values()], gone)


def slices(slots: Slots, since: float, now: float, *, by_side: bool = False) -> list[Slice]:
    """Make a slice of each slot that is over and was counted from its begin. One without a request is data too."""
    first = counts.slot_of(max(since, now - READ_S) + SLOT_S - 1e-6)
    busy_s = _busy(slots, now)
    return [replace(_slice(at, slots.get(at, {}), by_side=by_side), busy_s=round(busy_s.get(at, 0.0), 3))
            for at in range(first, counts.slot_of(now), SLOT_S)]


def encode(found: Iterable[Slice]) -> bytes:
    """Encode the value of lictor/traffic/NAME/NODE; the oldest slices are left out if it would be too long."""
    texts, total = list[bytes](), len(b'{"slices":[]}')
    for each in sorted(found, key=lambda each: each.at, reverse=True):
        text = msgspec.json.encode(each)
        total += len(text) + 1
        if total > MOST_BYTES:
            break
        texts.append(text)
    return b'{"slices":[' + b",".join(reversed(texts)) + b"]}"


def _lost(before: Slice, now: Slice | None) -> Slice:
    """Find what a slice had counted and has no more, as if its slot was read again from a file that was cut."""
    if now is None:
        return before
    times = {number: lost for number, count in before.times.items() if (lost := count - now.times.get(number, 0)) > 0}
    return replace(before, times=times, **{field: max(getattr(before, field) - getattr(now, field), 0)
                                           for field in _SUMMED})


def _plus(totals: Totals, slices: Iterable[Slice]) -> Totals:
    found = list(slices)
    times = dict(totals.times)
    for each in found:
        for number, count in each.times.items():
            times[number] = times.get(number, 0) + count
    return Totals(times, **{field: getattr(totals, field) + sum(getattr(each, field) for each in found)
                            for field in _SUMMED})


def _slice(at: int, counted: Mapping[str, int], *, by_side: bool) -> Slice:
    numbers: dict[str, Any] = {field: counted.get(what, 0) for what, field in _FIELDS.items()}
    times, left = (counts.by_bucket(counted, kind) for kind in (answers.ANSWER, answers.LEFT))
    numbers["cut"] += sum(left.values())
    canary, live = (_side(counted, side) for side in (answers.CANARY, answers.LIVE))
    is_apart = by_side or (canary, live) != (Side(), Side())
    return Slice(float(at), float(SLOT_S), times, left=left, canary=canary if is_apart else None,
                 live=live if is_apart else None, **numbers)


def _side(counted: Mapping[str, int], side: str) -> Side:
    return Side(counts.by_bucket(counted, side + answers.ANSWER), counted.get(side + answers.ERROR, 0))


def _busy(slots: Slots, now: float) -> dict[int, float]:
    """Add up the time in progress, by slot. A request that has not ended is taken to begin in the middle of a slot."""
    found = {slot: counted.get(counts.BUSY, 0) / 1000 for slot, counted in slots.items()}
    for began, counted in slots.items():
        began_at = max(began + SLOT_S / 2, now - READ_S - SLOT_S)
        for slot, part_s in counts.spread(began_at, now) if counted.get(counts.OPEN) else ():
            found[slot] = found.get(slot, 0.0) + counted[counts.OPEN] * part_s
    return found
