"""Cost of counting requests: pairs of runs through two nginx of one configuration, of which one counts.

Throughput is that of one run after the other. nginx's CPU is that of two at once, as then both meet the same machine:
what else runs there changes the one by more than counting does, from one second to the next.
"""

import os
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any, NamedTuple

from lab.bench import load, processes
from lab.bench.contender import start
from lab.bench.variants import Lictor, Variant
from lab.bench.world import World

MEASURED, BESIDE = "measured", "beside a measured one"
_SERVICES = {MEASURED: "books", BESIDE: "films"}
_INSTANCES = 3
_RUN_S = 1  # short, so that both runs of a pair meet the same machine


class Way(NamedTuple):
    """How nginx counts: in a mode, by its Lua module or by a log."""

    name: str
    mode: str
    has_lua: bool

    def variant(self, measured: str = "") -> Variant:
        return Variant("script", self.mode, measured, self.has_lua)


WAYS = (Way("reload", "reload", True), Way("live", "live", True), Way("log", "reload", False))


class Run(NamedTuple):
    """What one run of the load generator gave, and cost nginx's workers."""

    requests_per_s: float
    cpu_us: float  # of a request
    failed: int


class Pair(NamedTuple):
    """A run of each."""

    plain: Run
    counting: Run


class Pairs(NamedTuple):
    """Pairs of runs one after the other, and at once."""

    in_turn: list[Pair]
    at_once: list[Pair]


def measure(folder: str, rounds: int, orphans: processes.Orphans) -> list[dict[str, Any]]:
    """Rows of way and service: medians of the pairs' ratios, with their quartiles."""
    print(f"measuring: {', '.join(each.name for each in WAYS)}; {rounds} rounds of {3 * len(_SERVICES)} runs of "
          f"{_RUN_S} s each ...", flush=True)
    ways = [way for way in WAYS if not way.variant().missing()]
    with World(os.path.join(folder, "m"), orphans, addresses=_INSTANCES) as world:
        for name in _SERVICES.values():
            world.fill([name], world.backends.addresses, world.backends.ports[0])
        made = {(way, counted): _contender(way, counted, world)
                for way in ways for counted in ("", _SERVICES[MEASURED])}
        start(world, {each: list(_SERVICES.values()) for each in made.values()})
        pairs = {(way, what): Pairs([], []) for way in ways for what in _SERVICES}
        for turn in range(-1, rounds):
            for (way, what), found in pairs.items():
                both = made[way, ""], made[way, _SERVICES[MEASURED]]
                in_turn = _in_turn(*both, _SERVICES[what], is_swapped=turn % 2 == 1)
                at_once = _runs(both, _SERVICES[what])
                if turn >= 0:  # the first one warms up
                    found.in_turn.append(in_turn)
                    found.at_once.append(Pair(*at_once))
    return [{"way": way.name, "service": what, **_row(found)} for (way, what), found in pairs.items()]


def _contender(way: Way, counted: str, world: World) -> Lictor:
    return Lictor(way.variant(counted), world, os.path.join(world.folder, f"c-{way.name}-{counted}"))


def _in_turn(plain: Lictor, counting: Lictor, service: str, *, is_swapped: bool) -> Pair:
    """Run the one and then the other, in turns the one and the other first."""
    runs = [run for each in ((counting, plain) if is_swapped else (plain, counting)) for run in _runs([each], service)]
    return Pair(*(runs[::-1] if is_swapped else runs))


def _runs(contenders: Sequence[Lictor], service: str) -> list[Run]:
    """Run them at once."""
    before_s = [_spent_s(each) for each in contenders]
    running = [load.start(f"http://127.0.0.1:{each.port}/{service}", _RUN_S) for each in contenders]
    loads = [load.result(each, _RUN_S) for each in running]
    return [Run(found.requests_per_s, (_spent_s(each) - before) / (found.requests_per_s * _RUN_S) * 1e6, found.failed)
            for each, before, found in zip(contenders, before_s, loads, strict=True)]


def _spent_s(contender: Lictor) -> float:
    """CPU seconds of nginx's workers."""
    assert contender.front.daemon
    return sum(map(processes.running_s, processes.children(contender.front.daemon.pid)))


def _row(pairs: Pairs) -> dict[str, Any]:
    return {
        **_ratios("throughput", [each.counting.requests_per_s / each.plain.requests_per_s for each in pairs.in_turn]),
        **_ratios("cpu", [each.counting.cpu_us / each.plain.cpu_us for each in pairs.at_once]),
        "requests_per_s": median(each.plain.requests_per_s for each in pairs.in_turn),
        "cpu_us": median(each.plain.cpu_us for each in pairs.at_once),
        "failed": sum(run.failed for some in pairs for pair in some for run in pair)}


def _ratios(name: str, ratios: Sequence[float]) -> dict[str, Any]:
    quartiles = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else [*ratios] * 3
    return {name: quartiles[1], f"{name}_quartiles": " ".join(f"{each:.3f}" for each in quartiles)}
