"""The decision of the autoscaler: which count of instances the response times ask for, and why. Pure.

Up: so many answers were slower than the target that chance is no explanation. Down: for `down_after_s` fewer would have
done, by a load that is known to be good. Never: a move on too few answers, on errors, while something else moves, or a
third one up after two that helped nothing.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from lictor.planner.autoscale import capacity, traffic
from lictor.planner.autoscale.capacity import Capacity, Load
from lictor.planner.autoscale.traffic import Slice

SURE = 2.33  # standard deviations: one in a hundred, by chance
MOST_ERRORS = 0.1
UP_WITHIN_S = 60.0  # in which the count at most doubles
_HELPS = 0.9
_MOST_USELESS = 2
_SHORT_S, _LONG_S = 20.0, 60.0
_STALE_S = 30.0


class Rules(NamedTuple):
    """`autoscale` of the spec, and the bounds of its `replicas`."""

    target_s: float
    share: float = 0.95
    down_after_s: float = 300.0
    least: int = 1
    most: int = 10


class Step(msgspec.Struct, frozen=True):
    """A move up, and what was seen before it."""

    at: float
    count: int
    took_s: float  # the percentile before it
    rate: float  # answers a second before it


class Memory(msgspec.Struct, frozen=True):
    """What the autoscaler keeps of a service. All of it can be lost: it is learned again."""

    capacity: Capacity = Capacity()
    step: Step | None = None  # the last move up that was not judged yet
    useless: int = 0  # moves up in a row that helped nothing
    needs: list[tuple[float, int]] = []  # counts that the load of the last while needed, with their times
    counts: list[tuple[float, int]] = []  # counts of the last minute


class Seen(NamedTuple):
    """What was observed; `slices` are those of all nodes, added, of the last minutes."""

    now: float
    replicas: int  # the desired count
    release: str
    slices: Sequence[Slice]
    settled_at: float  # since when as many instances serve
    quiet: str = ""  # why no count is to be changed now: a release, a start, a drain, a doubt, a person


class Decision(NamedTuple):
    """A wish (None: none), why, and what is to be remembered. `status` is that of the check: passing, warning,
    critical."""

    wish: int | None
    status: str
    reason: str
    memory: Memory


def decide(seen: Seen, rules: Rules, memory: Memory) -> Decision:
    """Decide on the count of instances."""
    memory = _remember(seen, rules, memory)
    last_minute = traffic.add(_since(seen, seen.now - _LONG_S))
    if not any(each.at + each.seconds > seen.now - _STALE_S for each in seen.slices):
        return Decision(None, "warning", "no data: no nginx has counted requests lately. The count stays.", memory)
    words = _describe(last_minute, seen, rules)
    total = traffic.add(_since(seen, max(seen.settled_at, seen.now - _LONG_S)))
    took_s = traffic.percentile(total.times, rules.share)
    if last_minute.error_share >= MOST_ERRORS:
        status = "critical" if memory.useless >= _MOST_USELESS else "warning"
        return Decision(None, status, f"{words}. {last_minute.error_share:.0%} of the answers are errors, which more "
                                      "instances do not mend.", memory)
    breach = _breach(seen, rules)
    load = Load(total.rate / seen.replicas, total.in_progress / seen.replicas) if seen.replicas else Load()
    if breach:
        load = Load(breach.rate / seen.replicas, breach.in_progress / seen.replicas)
        memory = _judge_step(replace(memory, capacity=capacity.learn_broke(memory.capacity, load, seen.now)), breach,
                             rules)
    elif took_s is not None and took_s <= rules.target_s and total.seconds >= _LONG_S / 2:
        memory = replace(memory, capacity=capacity.learn_held(memory.capacity, load), useless=0, step=None)
    memory = _note_need(seen, rules, memory, total, breach)
    if seen.quiet:
        return Decision(None, "warning" if breach else "passing", f"{words}. No move: {seen.quiet}.", memory)
    if breach:
        return _go_up(seen, rules, memory, breach, words)
    if took_s is None and total.begun:
        return Decision(None, "passing", f"{words}. Too few requests to decide on.", memory)
    return _go_down(seen, rules, memory, words)


def _remember(seen: Seen, rules: Rules, memory: Memory) -> Memory:
    known = capacity.of_release(memory.capacity, seen.release, seen.now)
    is_new = known.release != memory.capacity.release
    return Memory(known, None if is_new else memory.step, 0 if is_new else memory.useless,
                  [each for each in memory.needs if seen.now - each[0] <= rules.down_after_s + _STALE_S],
                  [*(each for each in memory.counts if seen.now - each[0] <= UP_WITHIN_S), (seen.now, seen.replicas)])


def _since(seen: Seen, at: float) -> list[Slice]:
    return [each for each in seen.slices if each.at >= at]


def _breach(seen: Seen, rules: Rules) -> Slice | None:
    """Find recent traffic of which so much is slow that it is no chance; the shortest that shows it."""
    for seconds in (_SHORT_S / 2, _SHORT_S, _LONG_S):
        part = traffic.add(_since(seen, max(seen.settled_at, seen.now - seconds)))
        count, expected = part.answers, part.answers * (1 - rules.share)
        slow = traffic.count_slower(part.times, rules.target_s)
        if count >= traffic.FEWEST and slow > expected + SURE * math.sqrt(expected * rules.share):
            return part
    return None


def _judge_step(memory: Memory, breach: Slice, rules: Rules) -> Memory:
    """Judge the last move up by what is seen since: it helped if a tenth of the time is gone, or more is answered."""
    step, took_s = memory.step, traffic.percentile(breach.times, rules.share)
    if step is None or took_s is None:
        return memory
    helped = took_s <= step.took_s * _HELPS or breach.answers / breach.seconds * _HELPS >= step.rate
    return replace(memory, step=None, useless=0 if helped else memory.useless + 1)


def _note_need(seen: Seen, rules: Rules, memory: Memory, total: Slice, breach: Slice | None) -> Memory:
    if not total.seconds:
        return memory
    need = capacity.needed(memory.capacity, Load(total.rate)) if total.begun else 0
    if breach or need is None:
        need = seen.replicas
    return replace(memory, needs=[*memory.needs, (seen.now, need)])


def _go_up(seen: Seen, rules: Rules, memory: Memory, breach: Slice, words: str) -> Decision:
    known, total = memory.capacity, Load(breach.rate, breach.in_progress)
    if memory.useless >= _MOST_USELESS:
        return Decision(None, "critical", f"{words}. Scaling does not help: {memory.useless} steps up brought neither "
                                          "less time nor more answers. Look at what the instances wait for.", memory)
    half_more = seen.replicas + max(1, math.ceil(seen.replicas / 2))
    by_rate = capacity.needed(known, total) or half_more
    by_progress = capacity.needed_in_progress(known, total) or half_more
    wish = max(seen.replicas + 1, by_rate, min(half_more, by_progress))
    fastest = 2 * max(1, min(count for _, count in memory.counts))
    wish = min(wish, max(fastest, seen.replicas), rules.most)
    if wish <= seen.replicas:
        status, why = ("critical", f"max is {rules.most}") if seen.replicas >= rules.most else (
            "warning", "the count has doubled within a minute")
        return Decision(None, status, f"{words}. No move: {why}.", memory)
    took_s = traffic.percentile(breach.times, rules.share) or 0.0
    step = Step(seen.now, wish, took_s, breach.answers / breach.seconds)
    return Decision(wish, "warning", f"{words}; wants {wish}", replace(memory, step=step))


def _go_down(seen: Seen, rules: Rules, memory: Memory, words: str) -> Decision:
    stay = Decision(None, "passing", words, memory)
    needs = [need for at, need in memory.needs if seen.now - at <= rules.down_after_s]
    is_proven = memory.needs and seen.now - memory.needs[0][0] >= rules.down_after_s
    fewer = seen.replicas - 1
    if not is_proven or fewer < max(needs, default=seen.replicas) or fewer < rules.least:
        return stay
    if seen.now - seen.settled_at < _LONG_S / 2 or _would_break(seen, memory, fewer):
        return stay
    return Decision(fewer, "passing", f"{words}; wants {fewer}, as for {rules.down_after_s / 60:g} min no more were "
                                      "needed", memory)


def _would_break(seen: Seen, memory: Memory, count: int) -> bool:
    total, broke = traffic.add(_since(seen, seen.now - _LONG_S)), memory.capacity.broke
    return bool(memory.capacity.broke_at and total.rate / max(count, 1) >= broke.rate)


def _describe(total: Slice, seen: Seen, rules: Rules) -> str:
    name, took_s = f"p{rules.share * 100:g}", traffic.percentile(total.times, rules.share)
    took = f"{name} {took_s * 1000:.0f} ms of {rules.target_s * 1000:.0f} ms" if took_s is not None else (
        f"{name} unknown, as {total.answers} answers are too few")
    return (f"{took} over {total.seconds:.0f} s; {total.rate:.0f} requests/s, {seen.replicas} instances, "
            f"{total.in_progress:.1f} in progress")
