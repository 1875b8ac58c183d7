"""Lessons of a look at the traffic: the load that an instance bears, and whether steps up have helped. Pure."""

from msgspec.structs import replace

from lictor.planner.autoscale import capacity, traffic
from lictor.planner.autoscale.capacity import Load
from lictor.planner.autoscale.memory import Memory, Step
from lictor.planner.autoscale.seen import Rules, Seen
from lictor.planner.autoscale.traffic import Slice
from lictor.planner.autoscale.windows import SHORT_S, SHRINKS, Windows

MOST_USELESS = 2  # steps up
_HELPS = 0.9
_HELD_FOR_S = 30.0
_AT_ONCE_S = 60.0  # after a step: what it mended is well by then
_MOST_CUT = 0.1


def learn(seen: Seen, rules: Rules, memory: Memory, view: Windows) -> Memory:
    """Learn from traffic that all desired instances, and no others, have answered."""
    if seen.replicas < 1:
        return memory
    if view.breach:
        return _learn_breach(seen, rules, memory, view, view.breach)
    took_s, part = view.settled_took_s, view.settled
    if took_s is None or took_s > rules.target_s or part.seconds < _HELD_FOR_S or part.cut_share >= _MOST_CUT:
        return memory
    return _learn_held(seen, memory, part)


def broken_load(seen: Seen, memory: Memory, view: Windows, breach: Slice) -> Load:
    """Find the load of one instance that may be why the target broke: the highest lately, as it leaves a backlog."""
    least = max(1, min(count for _, count in memory.counts))
    return Load(view.most_rate / least, breach.in_progress / seen.replicas)


def is_useless(seen: Seen, memory: Memory) -> bool:
    """Whether two steps up, of which the last one has had its time, brought nothing."""
    return len(memory.steps) >= MOST_USELESS and seen.now - seen.settled_at >= SHORT_S


def _learn_breach(seen: Seen, rules: Rules, memory: Memory, view: Windows, breach: Slice) -> Memory:
    load, known, steps = broken_load(seen, memory, view, breach), memory.capacity, memory.steps
    if capacity.explains(known, load) and not 0 < view.backlog < SHRINKS:  # else the instances bear the load of now
        known = capacity.learn_broke(known, load, seen.now)
    if steps and seen.now - seen.settled_at >= SHORT_S and _has_helped(steps[0], breach, rules):
        steps = []
    memory = replace(memory, capacity=known, steps=steps, unproven_at=seen.now)
    return replace(memory, capacity=capacity.forget_broke(known, steps[0].at)) if is_useless(seen, memory) else memory


def _has_helped(step: Step, breach: Slice, rules: Rules) -> bool:
    """Whether a tenth of the time is gone since before a step, or more is answered."""
    took_s = traffic.percentile(breach.times, rules.share)
    return took_s is None or took_s <= step.took_s * _HELPS or breach.answers / breach.seconds * _HELPS >= step.rate


def _learn_held(seen: Seen, memory: Memory, part: Slice) -> Memory:
    load, known = Load(part.rate / seen.replicas, part.in_progress / seen.replicas), memory.capacity
    step = memory.steps[0] if memory.steps else None
    if step and not step.is_explained and seen.now - seen.settled_at <= _AT_ONCE_S and (
            load.rate < step.load.rate and part.rate >= _HELPS * step.load.rate * step.before):
        known = capacity.learn_less(known, step.load, load, seen.now)
    return replace(memory, steps=[], capacity=capacity.learn_held(known, load))
