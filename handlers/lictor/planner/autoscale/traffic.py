"""Traffic of a service, as its nginx nodes count it: answers by kind, and response times in buckets. Pure.

Each node sees its share only. So the buckets of all nodes are added; percentiles would say nothing if averaged.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta
from msgspec.structs import replace

LEAST_S = 0.001
GROWTH = 1.05  # of a bucket's width: a percentile is wrong by half of that at most
LAST_BUCKET = 240  # of 2 min and more
FEWEST = 20  # fewer answers are no percentile
SLICE_S = 10.0
SILENT_S = 30.0  # a node that has not counted for so long is silent
_REMEMBERED_S = 120.0  # so long the silence of a node is doubted of which nothing else is known

MOST = 10**9
Count = Annotated[int, Meta(ge=0, le=MOST)]
Bucket = Annotated[int, Meta(ge=0, le=LAST_BUCKET)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]


class Side(msgspec.Struct, frozen=True):
    """The requests of a slice that asked an instance of one side first, while there is a canary."""

    times: dict[Bucket, Count] = {}  # its answers below 500
    errors: Count = 0  # answers of 500 and more, late ones (504), and instances that gave none, another one or not


class Slice(msgspec.Struct, frozen=True):
    """What was counted in some seconds. The spec's check path and ignored paths are left out."""

    at: Annotated[float, Meta(ge=0, le=1e11)]  # when it began, in epoch seconds
    seconds: Annotated[float, Meta(gt=0, le=300)]
    times: dict[Bucket, Count] = {}  # answers below 500, by their response time
    errors: Count = 0  # answers of 500 and more, and those that did not come in time (504)
    unanswered: Count = 0  # no instance could be asked: it says nothing of a response time
    cut: Count = 0  # the client went away before the answer: its time is too short
    begun: Count = 0  # requests that came
    busy_s: Seconds = 0.0  # seconds that all requests were in progress, together
    connect_s: Seconds = 0.0  # seconds of connecting to instances, together; 0.0: they were not counted
    instances: dict[str, tuple[Count, Seconds]] = {}  # answers, and their seconds, of each; may be left out
    retries: Count = 0  # tries that failed before another instance was asked
    upgrades: Count = 0  # websockets that ended: they are neither begun nor answered here
    left: dict[Bucket, Count] = {}  # those of the cut ones of which nothing had come yet, by how long they had waited
    canary: Side | None = None  # None: the sides were not counted apart
    live: Side | None = None  # as that of the canary; what asked nobody is in neither

    @property
    def answers(self) -> int:
        return sum(self.times.values())

    @property
    def rate(self) -> float:
        """Requests that came in a second."""
        return self.begun / self.seconds if self.seconds else 0.0

    @property
    def in_progress(self) -> float:
        """The mean number of requests in progress."""
        return self.busy_s / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        return self.errors + self.unanswered

    @property
    def error_share(self) -> float:
        return self.failed / (self.failed + self.answers) if self.failed else 0.0

    @property
    def cut_share(self) -> float:
        return self.cut / (self.cut + self.answers) if self.cut else 0.0


class Combined(NamedTuple):
    """The slices of all nodes, added, and the nodes that should count and do not."""

    slices: list[Slice]
    silent: list[str]
    is_routed: bool = True  # some nginx serves the service


def bucket(seconds: float) -> int:
    """Find the bucket of a response time; bucket n ends at 1 ms * 1.05^n."""
    if seconds <= LEAST_S:
        return 0
    return min(math.ceil(math.log(seconds / LEAST_S, GROWTH) - 1e-9), LAST_BUCKET)


def middle_s(number: int) -> float:
    """Give the response time that stands for a bucket."""
    return LEAST_S * GROWTH ** (number - 0.5) if number else LEAST_S


def percentile(times: Mapping[int, int], share: float) -> float | None:
    """Find the response time that this share of the answers stays within; None: they are too few to say."""
    total, seen = sum(times.values()), 0
    if total < FEWEST:
        return None
    for number in sorted(times):
        seen += times[number]
        if seen >= share * total:
            return middle_s(number)
    return middle_s(LAST_BUCKET)


def with_left(part: Slice, target_s: float) -> Slice:
    """Count the clients that went away after the target was over as late answers: their answers would have been."""
    last = bucket(target_s)
    late = {number: count for number, count in part.left.items() if number > last}
    if not late:
        return part
    times = {number: part.times.get(number, 0) + late.get(number, 0) for number in part.times.keys() | late.keys()}
    return replace(part, times=times, cut=max(part.cut - sum(late.values()), 0), left={})


def count_slower(times: Mapping[int, int], than_s: float) -> int:
    last = bucket(than_s)
    return sum(count for number, count in times.items() if number > last)


def add(slices: Iterable[Slice]) -> Slice:
    """Add slices that follow one another, of one node or of several whose slices begin together. Sides are counted
    apart if each of them does so."""
    found = list(slices)
    instances: dict[str, tuple[int, float]] = {}
    for each in found:
        for name, (count, took_s) in each.instances.items():
            before = instances.get(name, (0, 0.0))
            instances[name] = (before[0] + count, before[1] + took_s)
    lengths = {each.at: each.seconds for each in found}
    sums = {name: sum(getattr(each, name) for each in found)
            for name in ("errors", "unanswered", "cut", "begun", "busy_s", "connect_s", "retries", "upgrades")}
    return Slice(min(lengths, default=0.0), sum(lengths.values()), _add_buckets(each.times for each in found),
                 instances=instances, left=_add_buckets(each.left for each in found),
                 canary=_add_all(each.canary for each in found), live=_add_all(each.live for each in found), **sums)


def add_sides(sides: Iterable[Side]) -> Side:
    """Add sides, up to the highest counts that are read again."""
    found = list(sides)
    times = _add_buckets(each.times for each in found)
    return Side({number: min(count, MOST) for number, count in times.items()},
                min(sum(each.errors for each in found), MOST))


def _add_all(sides: Iterable[Side | None]) -> Side | None:
    found = list(sides)
    known = [each for each in found if each is not None]
    return add_sides(known) if known and len(known) == len(found) else None


def _add_buckets(tables: Iterable[Mapping[int, int]]) -> dict[int, int]:
    added: dict[int, int] = {}
    for counted in tables:
        for number, count in counted.items():
            added[number] = added.get(number, 0) + count
    return added


def combine(by_node: Mapping[str, Sequence[Slice]], now: float, expected: Collection[str] = ()) -> Combined:
    """Add the nodes' slices, slot by slot, and name the silent nodes.

    A node is silent if it is `expected` (its nginx routes, and Consul calls it alive) or has counted requests lately,
    and has no fresh slice. A slot that a counting node has not written yet is left out: it would look like less load.
    """
    placed = {node: {_slot(each): each for each in slices if each.at <= now} for node, slices in by_node.items()}
    first = {node: min(slots) for node, slots in placed.items() if is_fresh(slots.values(), now)}
    silent = {node for node in {*expected, *_lately_busy(placed, now)} if node not in first}
    whole = [slot for slot in sorted({slot for slots in placed.values() for slot in slots})
             if all(slot in placed[node] or slot < since for node, since in first.items())]
    return Combined([_add_slot(placed.values(), slot) for slot in whole], sorted(silent))


def is_fresh(slices: Iterable[Slice], now: float) -> bool:
    """Tell whether a node with these slices still counts."""
    return any(each.at + each.seconds > now - SILENT_S for each in slices)


def _lately_busy(placed: Mapping[str, Mapping[int, Slice]], now: float) -> list[str]:
    return [node for node, slots in placed.items()
            if any(each.begun and each.at > now - _REMEMBERED_S for each in slots.values())]


def _add_slot(nodes: Iterable[Mapping[int, Slice]], slot: int) -> Slice:
    return add(replace(slots[slot], at=slot * SLICE_S) for slots in nodes if slot in slots)


def _slot(each: Slice) -> int:
    return round(each.at / SLICE_S)


def decode(text: bytes | None) -> list[Slice]:
    """Decode what a node has written, newest last; what cannot be read, or is no slice, counts as not written."""
    try:
        found = msgspec.json.decode(text or b"{}", type=_Written).slices
    except (ValueError, RecursionError):
        return []
    return sorted(found, key=lambda each: each.at) if all(map(is_slot, found)) else []


def is_slot(each: Slice) -> bool:
    """Tell whether a slice is one whole slot of a node's clock, as nodes count them."""
    return each.seconds == SLICE_S and each.at % SLICE_S == 0


class _Written(msgspec.Struct):
    slices: Annotated[list[Slice], Meta(max_length=60)] = []
