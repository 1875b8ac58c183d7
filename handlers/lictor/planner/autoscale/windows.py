"""Windows of the recent traffic, and the breach of the target in them: so much is slow that it is no chance. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from lictor.planner.autoscale import chance, traffic
from lictor.planner.autoscale.capacity import Load
from lictor.planner.autoscale.seen import Rules, Seen
from lictor.planner.autoscale.traffic import Slice

SHRINKS = 0.9  # a backlog that is less after 10 s is worked off,
SHRINKS_FAST = 0.75  # or will soon be gone
_RISES = 1.25  # times as many requests
SHORT_S = 20.0
STALE_S = 30.0
_OVER = 0.5  # of the requests


class Windows(NamedTuple):
    """The traffic of the spec's window, parts of it, and what they show."""

    whole: Slice
    settled: Slice  # since as many instances serve
    short: Slice  # the newest 20 s of that
    breach: Slice | None  # the shortest recent traffic of as many instances that breaks the target
    took_s: float | None  # the percentile of the whole window
    settled_took_s: float | None
    rate: float  # requests a second in the newest 20 s, whatever served them
    most_rate: float  # of a slot
    newest_rate: float  # of the newest slot
    waiting: float  # requests in progress in it
    backlog: float  # requests in progress in the newest slot, as a share of those in the one before; 0.0: unknown
    error_share: float  # the highest of the whole window and its newest 20 s
    late_waiting: int  # if too few were answered: how many requests wait for longer than the target. 0: no matter
    is_stale: bool  # nothing was counted lately
    is_rising: bool  # far more came in the newest slot than in the one before: a part of it may have had less load

    @property
    def is_over(self) -> bool:
        """Whether far fewer requests come than in the whole window."""
        return self.rate < self.whole.rate * _OVER

    @property
    def load(self) -> Load:
        """The load in all that an answer to it has to bear."""
        part = self.breach or self.short
        return Load(part.rate, part.in_progress)


def look(seen: Seen, rules: Rules) -> Windows:
    """Divide the recent traffic into windows, which end with the newest slot: nodes tell it some seconds later."""
    seen = seen._replace(slices=[traffic.with_left(each, rules.target_s) for each in seen.slices])
    end = max((each.at + each.seconds for each in seen.slices if each.at <= seen.now), default=seen.now)
    whole = _since(seen, end - rules.window_s)
    settled = traffic.add(_since(seen, max(seen.settled_at, end - rules.window_s)))
    newest = traffic.add(_since(seen, end - SHORT_S))
    total = traffic.add(whole)
    took_s = traffic.percentile(total.times, rules.share)
    late_waiting = round(newest.in_progress - newest.rate * rules.target_s) if took_s is None else 0
    return Windows(
        total, settled, traffic.add(_since(seen, max(seen.settled_at, end - SHORT_S))), _breach(seen, rules, end),
        took_s, traffic.percentile(settled.times, rules.share),
        newest.rate, max((each.rate for each in whole), default=0.0), whole[-1].rate if whole else 0.0,
        whole[-1].in_progress if whole else 0.0,
        _backlog(_since(seen, seen.settled_at)[-2:]),
        max(part.error_share if part.failed + part.answers >= traffic.FEWEST else 0.0 for part in (total, newest)),
        late_waiting if late_waiting >= traffic.FEWEST else 0, not whole or end <= seen.now - STALE_S,
        _is_rising(whole[-2:]))


def _since(seen: Seen, at: float) -> list[Slice]:
    return [each for each in seen.slices if at <= each.at <= seen.now]


def _backlog(last: Sequence[Slice]) -> float:
    return last[1].in_progress / last[0].in_progress if len(last) == 2 and last[0].in_progress > 0 else 0.0


def _is_rising(last: Sequence[Slice]) -> bool:
    return len(last) == 2 and chance.is_more(last[1].begun, last[1].seconds, last[0].begun, last[0].seconds, _RISES)


def _breach(seen: Seen, rules: Rules, end: float) -> Slice | None:
    """Find the shortest window that breaks the target. A longer one does not if its newest part is well again, or if
    far fewer requests come than it had: more instances would come too late."""
    is_well, newest_rate = False, traffic.add(_since(seen, end - SHORT_S)).rate
    for seconds in (SHORT_S / 2, SHORT_S, rules.window_s):
        part = traffic.add(_since(seen, max(seen.settled_at, end - seconds)))
        slow = traffic.count_slower(part.times, rules.target_s)
        if part.answers < traffic.FEWEST:
            continue
        if part.rate * _OVER > newest_rate:
            continue
        if not is_well and chance.are_too_many(slow, part.answers, rules.share):
            return part
        is_well = slow <= part.answers * (1 - rules.share)
    return None
