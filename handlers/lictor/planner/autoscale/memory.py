"""The memory of the autoscaler: what it keeps of a service between two decisions. All of it can be lost. Pure."""

from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from lictor.planner.autoscale import capacity
from lictor.planner.autoscale.capacity import Amount, Capacity, Load
from lictor.planner.autoscale.chance import Sample
from lictor.planner.autoscale.seen import Rules, Seen

UP_WITHIN_S = 60.0  # in which the count at most doubles
_GAP_S = 60.0
_MOST_PEAKS = 400  # one each 10 s of an hour, and some

Instances = Annotated[int, Meta(ge=0, le=10**6)]


class Step(msgspec.Struct, frozen=True):
    """A move up for a breach, and what was seen before it."""

    at: Amount
    before: Instances
    count: Instances
    took_s: Amount  # the percentile
    rate: Amount  # answers a second
    load: Load = Load()  # of one instance
    is_explained: bool = True  # by the load
    sample: Sample = Sample()  # of the breach


class Memory(msgspec.Struct, frozen=True):
    """What the autoscaler keeps of a service. All of it can be lost: it is learned again."""

    capacity: Capacity = Capacity()
    steps: Annotated[list[Step], Meta(max_length=2)] = []  # moves up that have helped nothing yet
    peaks: Annotated[list[tuple[Amount, Amount]], Meta(max_length=_MOST_PEAKS)] = []  # times and rates, each rate
    # above all later ones, for as long as it takes to go down
    unproven_at: Amount = 0.0  # when it last was not so that fewer instances could do
    decided_at: Amount = 0.0
    counts: Annotated[list[tuple[Amount, Instances]], Meta(max_length=_MOST_PEAKS)] = []  # those of the last minute,
    # each with when it last was desired
    mended_at: Amount = 0.0  # when more instances last seemed to mend what the load does not explain
    target: str = ""  # for which all this was learned; "": that is not known


def advance(memory: Memory, seen: Seen, rules: Rules) -> Memory:
    """Bring the memory to now, and forget what is old. A time to come is of a clock that was set, and counts as now."""
    now = seen.now
    is_other_target = memory.target not in ("", rules.target)  # its loads say nothing of this one
    known = Capacity(seen.release) if is_other_target else capacity.of_release(memory.capacity, seen.release, now)
    is_new = is_other_target or known.release != memory.capacity.release
    is_gap = not 0 <= now - memory.decided_at <= _GAP_S
    counts = [(min(at, now), count) for at, count in memory.counts
              if count != seen.replicas and now - at < UP_WITHIN_S]
    return replace(
        memory, capacity=known, target=rules.target, steps=[] if is_new else memory.steps, decided_at=now,
        peaks=[(min(at, now), rate) for at, rate in memory.peaks if now - at <= rules.down_after_s],
        mended_at=0.0 if is_new else min(memory.mended_at, now),
        unproven_at=now if is_new or is_gap else min(memory.unproven_at, now),
        counts=[*counts, (now, seen.replicas)][-_MOST_PEAKS:])


def note_peak(memory: Memory, now: float, rate: float) -> Memory:
    """Note the rate of now, which makes earlier ones that were no higher useless."""
    return replace(memory, peaks=[*(each for each in memory.peaks if each[1] > rate), (now, rate)][-_MOST_PEAKS:])


def moved(memory: Memory, by_s: float) -> Memory:
    """Move its times to another node's clock."""
    known, at = memory.capacity, memory.capacity.broke_at
    return replace(
        memory, capacity=replace(known, broke_at=_moved(at, by_s)), unproven_at=_moved(memory.unproven_at, by_s),
        decided_at=_moved(memory.decided_at, by_s), mended_at=_moved(memory.mended_at, by_s),
        steps=[replace(step, at=_moved(step.at, by_s)) for step in memory.steps],
        peaks=[(_moved(at, by_s), rate) for at, rate in memory.peaks],
        counts=[(_moved(at, by_s), count) for at, count in memory.counts])


def _moved(at: float, by_s: float) -> float:
    return max(at + by_s, 0.001) if at else 0.0
