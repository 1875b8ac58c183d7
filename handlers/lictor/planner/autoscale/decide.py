"""The decision of the autoscaler: which count of instances the response times ask for, and why. Pure.

Up: so many answers were slower than the target that chance is no explanation, or the load is one that broke it before.
Down: for `down_after_s` fewer would have done, by a load that is known to be good.

Never: a move on too few answers, on errors, on a part of the nodes, while something else moves, or against a person's
count; a third step up after two that helped nothing; one down to a load that broke the target in the last day.
"""

import math
from typing import NamedTuple

from msgspec.structs import replace

from lictor.planner.autoscale import capacity, chance, learning, traffic, windows, words
from lictor.planner.autoscale import memory as memories
from lictor.planner.autoscale.capacity import Load
from lictor.planner.autoscale.memory import Memory, Step
from lictor.planner.autoscale.seen import Rules, Seen
from lictor.planner.autoscale.traffic import Slice
from lictor.planner.autoscale.windows import Windows

__all__ = ["Decision", "Memory", "Rules", "Seen", "Step", "decide"]

MOST_ERRORS = 0.1
_NEAR = 0.9  # of the load that broke the target
_SETTLED_S = 30.0
_ANSWERS_MORE = 1.1  # than come
_ALWAYS_MORE = 2  # instances within a minute, though that be more than twice as many
_WORKED_OFF_S = 30.0  # so soon a backlog is to be gone


class Decision(NamedTuple):
    """A wish (None: none), why, and what is to be remembered. `status` is that of the check: passing, warning,
    critical."""

    wish: int | None
    status: str
    reason: str
    memory: Memory


def decide(seen: Seen, rules: Rules, memory: Memory) -> Decision:
    """Decide on the count of instances."""
    memory = memories.advance(memory, seen, rules)
    view = windows.look(seen, rules)
    text = words.describe(view, seen, rules)
    if nothing := _see_nothing(seen, view, text, memory):
        return nothing
    memory = memories.note_peak(memory, seen.now, view.whole.rate)  # a load that held is one of as long a window too
    if view.error_share >= MOST_ERRORS:
        memory = replace(memory, unproven_at=seen.now)
        return Decision(None, "critical", f"{text}. {view.error_share:.0%} of the answers are errors. No move: "
                        f"{seen.quiet and f'{seen.quiet}, and '}more instances do not mend errors.", memory)
    is_above = view.took_s is not None and view.took_s > rules.target_s
    status = "warning" if is_above or view.breach or view.late_waiting else "passing"
    if seen.quiet:
        return Decision(None, status, f"{text}. No move: {seen.quiet}.", memory)
    memory = learning.learn(seen, rules, memory, view)
    if seen.manual:
        return Decision(None, status, f"{text}. No move: {seen.manual}.", memory)
    if view.breach:
        return _answer_breach(seen, rules, memory, view, view.breach, text)
    if view.whole.begun and view.took_s is None:
        return Decision(None, status, f"{text}. No move: {_too_little(view)}.", memory)
    decision = _answer_load(seen, rules, memory, view, text)._replace(status=status)
    if is_above and decision.wish is None:
        return decision._replace(reason=f"{text}. No move: {words.describe_no_breach(view, seen, rules)}.")
    return decision


def _see_nothing(seen: Seen, view: Windows, text: str, memory: Memory) -> Decision | None:
    """Decide where there is nothing to judge by; None: there is."""
    memory = replace(memory, unproven_at=seen.now)
    if seen.replicas < 1:  # then all answers are errors, as they have to be
        return Decision(None, "passing", "No move: no instance is desired.", memory)
    if unknown := _unknown(seen, view):
        is_all = view.is_stale or not seen.is_routed  # nothing else is known
        return Decision(None, "warning", unknown if is_all else f"{text}. {unknown}", memory)
    return None


def _too_little(view: Windows) -> str:
    return (f"{view.late_waiting} requests wait for longer than the target, and too few were answered to decide on"
            if view.late_waiting else "that is too little to decide on")


def _unknown(seen: Seen, view: Windows) -> str:
    """Say why the load is not known."""
    named = ", ".join(seen.silent[:3]) + (", ..." if len(seen.silent) > 3 else "")
    if not seen.is_routed:
        return "no data: no nginx serves it. The count stays."
    if view.is_stale:
        since = f"for {windows.STALE_S:.0f} s" if seen.slices else "yet"
        return f"no data: {f'{named} has told no' if named else 'no node has told'} counts of its nginx {since}. " \
               "The count stays."
    return f"In doubt: the nginx of {named} counts no requests. No move: its share of the load is unknown." if (
        named) else ""


def _answer_breach(seen: Seen, rules: Rules, memory: Memory, view: Windows, breach: Slice, text: str) -> Decision:
    took_s = traffic.percentile(breach.times, rules.share) or 0.0
    if learning.is_useless(seen, memory):
        return Decision(None, "critical", f"{text}. {words.describe_useless(memory.steps, breach, took_s, rules)}",
                        memory)
    if memory.steps and seen.now - seen.settled_at < windows.SHORT_S:
        return Decision(None, "warning", f"{text}. No move: whether the last step up helps is not known yet.", memory)
    if _is_draining(memory, view, breach, seen.replicas):
        return Decision(None, "warning", f"{text}. No move: the backlog shrinks.", memory)
    if seen.replicas >= rules.most:
        return Decision(None, "critical", f"{text}. No move: max is {rules.most}.", memory)
    wish = _at_most(_count_for_breach(seen, memory, view, breach), seen, rules, memory)
    if wish <= seen.replicas:
        return Decision(None, "warning", f"{text}. No move: more may not be added within a minute.", memory)
    load = learning.broken_load(seen, memory, view, breach)
    step = Step(seen.now, seen.replicas, wish, took_s, breach.answers / breach.seconds, load,
                capacity.explains(memory.capacity, load), chance.sample(breach, rules.target_s))
    memory = replace(memory, steps=[*memory.steps, step])
    return Decision(wish, "warning", f"{text}; wants {wish}", memory)


def _count_for_breach(seen: Seen, memory: Memory, view: Windows, breach: Slice) -> int:
    """Count the instances for a load that breaks the target.

    A known-good load may be far below what an instance can bear. What the instances do answer now bounds such a wish.
    """
    known, total = memory.capacity, view.load
    half_more = seen.replicas + max(1, math.ceil(seen.replicas / 2))
    by_rate = capacity.needed(known, total) or half_more
    to_do = total.rate + view.waiting / _WORKED_OFF_S
    by_answers = capacity.count_for(to_do, breach.answers / breach.seconds / seen.replicas) or half_more
    by_progress = capacity.needed_in_progress(known, total) or half_more
    return max(seen.replicas + 1, min(by_rate, max(half_more, by_answers)), min(half_more, by_progress))


def _is_draining(memory: Memory, view: Windows, breach: Slice, replicas: int) -> bool:
    """Whether the instances are enough for the load of now, and work off what an earlier one has left."""
    need = capacity.needed(memory.capacity, view.load)
    if 0 < view.backlog < 1 and breach.answers >= _ANSWERS_MORE * breach.begun:
        return True
    return 0 < view.backlog <= (windows.SHRINKS if need is not None and need <= replicas else windows.SHRINKS_FAST)


def _at_most(wish: int, seen: Seen, rules: Rules, memory: Memory) -> int:
    """Keep a wish within max, and within twice the count of a minute ago. One instance may become three: a load that
    needs three would leave two with a backlog that grows for all of that minute."""
    before = max(1, min(count for _, count in memory.counts))
    return min(wish, max(2 * before, before + _ALWAYS_MORE, seen.replicas), rules.most)


def _answer_load(seen: Seen, rules: Rules, memory: Memory, view: Windows, text: str) -> Decision:
    """Go up before the load breaks the target again, or down to where it is known to hold."""
    known = memory.capacity
    bears = _NEAR * known.broke.rate
    if known.broke_at and view.short.seconds and view.load.rate >= bears * seen.replicas:
        least = max(seen.replicas + 1, math.ceil(view.newest_rate / bears)) if bears else seen.replicas
        wish = _at_most(least, seen, rules, memory)
        if wish > seen.replicas:
            return Decision(wish, "", f"{text}; wants {wish}, as {words.describe_capacity(known)}", memory)
    fewer = seen.replicas - 1
    if not _is_enough(view, rules, memory, fewer):
        return Decision(None, "", text, memory)
    proven_s = seen.now - memory.unproven_at
    if proven_s < rules.down_after_s or seen.now - seen.settled_at < _SETTLED_S:
        return Decision(None, "", f"{text}; {fewer} would do, for {words.minutes(proven_s)} so far", memory)
    return Decision(fewer, "", f"{text}; wants {fewer}, as for {words.minutes(rules.down_after_s)} no more were needed",
                    memory)


def _is_enough(view: Windows, rules: Rules, memory: Memory, count: int) -> bool:
    """Whether so many instances are known to bear the highest load of the last while."""
    known, most_rate = memory.capacity, max(view.newest_rate, *(rate for _, rate in memory.peaks))
    need = capacity.needed(known, Load(most_rate)) if most_rate else 0
    would_break = known.broke_at and most_rate / max(count, 1) >= known.broke.rate
    return count >= rules.least and need is not None and need <= count and not would_break
