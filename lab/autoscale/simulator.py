"""A service under load, in simulated time: instances that serve so many requests at a time, and let the others wait."""

import heapq
import random
from collections.abc import Callable
from typing import NamedTuple, Protocol

from lictor.planner.autoscale.traffic import Slice, bucket

SLICE_S = 10
START_S = 8.0  # from a wish to an instance that serves
TIMEOUT_S = 60.0  # as nginx has it by default

Rate = Callable[[float], float]


class Shape(NamedTuple):
    """A load, and what it meets. `rate` is requests a second; `clients`, if it is set, how many ask again at once."""

    name: str
    rate: Rate = lambda _: 0.0
    clients: Rate | None = None
    seconds: int = 1800
    at_once: int = 4  # requests that an instance serves at a time
    service_s: float = 0.08
    database: int = 0  # requests that a database behind all instances serves at a time; 0: none limits them
    database_s: float = 0.0
    fails: Callable[[float], float] = lambda _: 0.0  # the share of answers that are errors
    slower: Callable[[float], float] = lambda _: 1.0  # by which factor instances are slower
    first: int = 2
    least: int = 1
    most: int = 20
    target_s: float = 0.25


class Planner(Protocol):
    """What decides about the count, each 10 s."""

    def decide(self, now: float, slices: list[Slice], count: int, settled_at: float) -> int: ...


class Outcome(NamedTuple):
    """What a planner made of a shape."""

    moves: int
    instance_min: float
    late_s: int  # seconds in whose slice more than 5 of 100 answers were slower than the target
    counts: list[int]  # at each decision


class _Instance:
    def __init__(self, serves_at: float, at_once: int) -> None:
        self.serves_at, self.free = serves_at, [0.0] * at_once


class _World:
    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape, self.random = shape, random.Random(seed)
        self.instances = [_Instance(0.0, shape.at_once) for _ in range(shape.first)]
        self.database = [0.0] * shape.database
        self.turn = 0
        number = shape.seconds // SLICE_S
        self.times: list[dict[int, int]] = [{} for _ in range(number)]
        self.errors, self.begun, self.busy_s = [0] * number, [0] * number, [0.0] * number

    def request(self, now: float) -> float:
        """Serve one request; returns when it ends."""
        serving = [each for each in self.instances if each.serves_at <= now]
        self.turn += 1
        instance = serving[self.turn % len(serving)]
        slower = self.shape.slower(now)
        started = max(now, heapq.heappop(instance.free))
        ended = started + self.random.lognormvariate(0, 0.25) * self.shape.service_s * slower
        if self.database:
            begun = max(ended, heapq.heappop(self.database))
            ended = begun + self.random.lognormvariate(0, 0.25) * self.shape.database_s
            heapq.heappush(self.database, ended)
        heapq.heappush(instance.free, ended)
        self._count(now, min(ended, now + TIMEOUT_S), ended > now + TIMEOUT_S
                    or self.random.random() < self.shape.fails(now))
        return ended

    def _count(self, began: float, ended: float, is_error: bool) -> None:
        first, last = int(began // SLICE_S), int(ended // SLICE_S)
        self.begun[first] += 1
        for number in range(first, min(last + 1, len(self.busy_s))):
            self.busy_s[number] += min(ended, (number + 1) * SLICE_S) - max(began, number * SLICE_S)
        if last < len(self.times):
            if is_error:
                self.errors[last] += 1
            else:
                key = bucket(ended - began)
                self.times[last][key] = self.times[last].get(key, 0) + 1

    def slices(self, now: float) -> list[Slice]:
        return [Slice(number * SLICE_S, SLICE_S, self.times[number], self.errors[number], 0, 0, self.begun[number],
                      self.busy_s[number]) for number in range(max(0, int(now // SLICE_S) - 30), int(now // SLICE_S))]

    def resize(self, now: float, count: int) -> None:
        while len(self.instances) > count:
            self.instances.pop()
        while len(self.instances) < count:
            self.instances.append(_Instance(now + START_S, self.shape.at_once))

    def settled_at(self) -> float:
        return max(each.serves_at for each in self.instances)


def run(shape: Shape, planner: Planner, seed: int = 1) -> Outcome:
    """Run a shape to its end."""
    world, now, resized_at = _World(shape, seed), 0.0, 0.0
    arrivals = _clients(world) if shape.clients else _strangers(world)
    counts: list[int] = []
    for number in range(1, shape.seconds // SLICE_S):
        until = float(number * SLICE_S)
        arrivals(now, until)
        now = until
        count = len(world.instances)
        wish = planner.decide(now, world.slices(now), count, max(resized_at, world.settled_at()))
        wish = max(shape.least, min(shape.most, wish))
        if wish != count:
            world.resize(now, wish)
            resized_at = now
        counts.append(wish)
    moves = sum(before != after for before, after in zip([shape.first, *counts], counts, strict=False))
    return Outcome(moves, sum(counts) * SLICE_S / 60, SLICE_S * sum(_is_late(each, shape) for each in world.times),
                   counts)


def _is_late(times: dict[int, int], shape: Shape) -> bool:
    slow = sum(count for key, count in times.items() if key > bucket(shape.target_s))
    return slow > 0.05 * sum(times.values())


def _strangers(world: _World) -> Callable[[float, float], None]:
    """Have requests come whether others are answered or not."""
    def arrive(since: float, until: float) -> None:
        now = since
        while True:
            rate = world.shape.rate(now)
            now += world.random.expovariate(rate) if rate > 0 else 1.0
            if now >= until:
                return
            if rate > 0:
                world.request(now)
    return arrive


def _clients(world: _World) -> Callable[[float, float], None]:
    """Have so many clients ask again as soon as they are answered."""
    ready: list[float] = []

    def arrive(since: float, until: float) -> None:
        assert world.shape.clients
        wanted = int(world.shape.clients(since))
        while len(ready) < wanted:
            heapq.heappush(ready, since + world.random.random())
        while len(ready) > wanted:
            ready.remove(max(ready))
            heapq.heapify(ready)
        while ready and ready[0] < until:
            now = max(heapq.heappop(ready), since)
            heapq.heappush(ready, world.request(now) + 0.001)
    return arrive
