"""Lessons of a look at the traffic: the load that an instance bears, and whether steps up have helped. Pure.

A step up is on probation until it is seen to have helped, which is decided soon after its instances serve. If chance
could end it, a target that is nearly met would be broken, mended and broken again by chance, up to max. So a step that
has not helped counts until an hour has had no breach, or far more requests come.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from lictor.planner.autoscale import capacity, chance
from lictor.planner.autoscale.capacity import Load
from lictor.planner.autoscale.memory import Memory, Step
from lictor.planner.autoscale.seen import Rules, Seen
from lictor.planner.autoscale.traffic import Slice
from lictor.planner.autoscale.windows import SHORT_S, SHRINKS, Windows

MOST_USELESS = 2  # steps up
_HELPS = 0.9
_JUDGED_S = 120.0  # so soon after its instances serve a step has helped, or has not
_ON_PROBATION_S = 3600.0
_GROWN = 1.25  # so many more requests are another load
_HELD_FOR_S = 30.0
_AT_ONCE_S = 60.0  # after a step: what it mended is well by then
_AGAIN_S = 1800.0  # what passes by itself, such as a backup, does not come again so soon after one fewer was tried
_MOST_CUT = 0.1


def learn(seen: Seen, rules: Rules, memory: Memory, view: Windows) -> Memory:
    """Learn from traffic that all desired instances, and no others, have answered."""
    if seen.replicas < 1:
        return memory
    if view.took_s is not None and view.took_s > rules.target_s:
        memory = replace(memory, unproven_at=seen.now)
    if seen.now - memory.unproven_at >= _ON_PROBATION_S:
        memory = replace(memory, steps=[])
    if view.breach:
        return _learn_breach(seen, rules, memory, view, view.breach)
    took_s, part = view.settled_took_s, view.settled
    if took_s is None or took_s > rules.target_s or part.seconds < _HELD_FOR_S or part.cut_share >= _MOST_CUT:
        return memory
    return _learn_held(seen, rules, memory, part)


def broken_load(seen: Seen, memory: Memory, view: Windows, breach: Slice) -> Load:
    """Find the load of one instance that may be why the target broke: the highest lately, as it leaves a backlog."""
    least = max(1, min(count for _, count in memory.counts))
    return Load(view.most_rate / least, breach.in_progress / seen.replicas)


def is_useless(seen: Seen, memory: Memory) -> bool:
    """Whether two steps up, of which the last one has had its time, brought nothing."""
    return len(memory.steps) >= MOST_USELESS and seen.now - seen.settled_at >= SHORT_S


def _learn_breach(seen: Seen, rules: Rules, memory: Memory, view: Windows, breach: Slice) -> Memory:
    load, known = broken_load(seen, memory, view, breach), memory.capacity
    bears_it = 0 < view.backlog < SHRINKS
    if capacity.explains(known, load) and not bears_it and not view.is_rising:  # else it broke at what is still to come
        known = capacity.learn_broke(known, load, seen.now)
    is_over = _have_helped(seen, rules, memory.steps, breach) or _has_grown(memory.steps, view.whole)
    memory = replace(memory, capacity=known, steps=[] if is_over else memory.steps, unproven_at=seen.now)
    return replace(memory, capacity=capacity.forget_broke(known, memory.steps[0].at)) if (
        is_useless(seen, memory)) else memory


def _have_helped(seen: Seen, rules: Rules, steps: Sequence[Step], part: Slice) -> bool:
    """Decide whether steps up have made the answers faster by a tenth, or brought half of the answers that so many
    more instances may bring."""
    after = chance.sample(part, rules.target_s)
    if not steps or not SHORT_S <= seen.now - seen.settled_at <= _JUDGED_S:
        return False
    return any(chance.are_faster(after, step.sample) for step in steps) or all(
        chance.is_more(after.answers, after.seconds, step.sample.answers, step.sample.seconds,
                       1 + (seen.replicas / max(step.before, 1) - 1) / 2) for step in steps)


def _has_grown(steps: Sequence[Step], part: Slice) -> bool:
    """Decide whether far more requests come than at each of the steps up."""
    return bool(steps) and all(chance.is_more(part.begun, part.seconds, step.sample.begun, step.sample.seconds, _GROWN)
                               for step in steps)


def _learn_held(seen: Seen, rules: Rules, memory: Memory, part: Slice) -> Memory:
    load, known = Load(part.rate / seen.replicas, part.in_progress / seen.replicas), memory.capacity
    step = memory.steps[0] if memory.steps else None
    have_helped = _have_helped(seen, rules, memory.steps, part)
    if step and have_helped and not step.is_explained and seen.now - seen.settled_at <= _AT_ONCE_S and (
            load.rate < step.load.rate and part.rate >= _HELPS * step.load.rate * step.before):
        if 0 < seen.now - memory.mended_at <= rules.down_after_s + _AGAIN_S:
            known = capacity.learn_less(known, step.load, load, seen.now)
        memory = replace(memory, mended_at=seen.now)
    return replace(memory, steps=[] if have_helped else memory.steps, capacity=capacity.learn_held(known, load))
