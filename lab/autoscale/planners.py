"""Ours, and what others do, as planners of the same simulator."""

import math

from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.decide import Memory, Rules, Seen, decide
from lictor.planner.autoscale.traffic import Slice

from lab.autoscale.simulator import Shape


class Ours:
    """lictor's autoscaler."""

    def __init__(self, shape: Shape) -> None:
        self.rules = Rules(shape.target_s, least=shape.least, most=shape.most)
        self.memory, self.reasons = Memory(), list[str]()

    def decide(self, now: float, slices: list[Slice], count: int, settled_at: float) -> int:
        quiet = "an instance starts" if settled_at > now else ""
        decision = decide(Seen(now, count, "1", slices, settled_at, quiet), self.rules, self.memory)
        self.memory = decision.memory
        self.reasons.append(f"{now:.0f} {decision.status}: {decision.reason}")
        return decision.wish or count


class Hpa:
    """Kubernetes' HorizontalPodAutoscaler v2 with its defaults, on the percentile of the last minute.

    As its controller does: what the formula gives is kept for 300 s, going down takes the highest of that, and then the
    speed is bounded: twice as many, or four more, within 15 s.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape, self.wishes, self.counts = shape, list[tuple[float, int]](), list[tuple[float, int]]()

    def decide(self, now: float, slices: list[Slice], count: int, settled_at: float) -> int:
        times = traffic.add(each for each in slices if each.at >= now - 60).times
        took_s = traffic.percentile(times, 0.95)
        self.counts = [each for each in self.counts if now - each[0] <= 15] + [(now, count)]
        if took_s is None:
            return count
        ratio = took_s / self.shape.target_s
        wish = count if abs(ratio - 1) <= 0.1 else max(1, math.ceil(count * ratio))
        self.wishes = [each for each in self.wishes if now - each[0] <= 300] + [(now, wish)]
        if wish < count:
            return min(count, max(each for _, each in self.wishes))
        before = min(each for _, each in self.counts)
        return max(count, min(wish, max(2 * before, before + 4)))


class Thresholds:
    """One more above the target, one fewer below half of it, then a minute of rest."""

    def __init__(self, shape: Shape) -> None:
        self.shape, self.moved_at = shape, -60.0

    def decide(self, now: float, slices: list[Slice], count: int, settled_at: float) -> int:
        took_s = traffic.percentile(traffic.add(each for each in slices if each.at >= now - 60).times, 0.95)
        if took_s is None or now - self.moved_at < 60:
            return count
        move = 1 if took_s > self.shape.target_s else -1 if took_s < self.shape.target_s / 2 else 0
        self.moved_at = now if move else self.moved_at
        return count + move
