"""Cost of counting requests: pairs of runs through two nginx of one configuration, of which one counts."""

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
    """Two runs, one after the other."""

    plain: Run
    counting: Run


def measure(folder: str, rounds: int, orphans: processes.Orphans) -> list[dict[str, Any]]:
    """Rows of way and service: medians of the pairs' ratios, with their quartiles."""
    print(f"measuring: {', '.join(each.name for each in WAYS)}; {rounds} rounds of {2 * len(_SERVICES)} runs of "
          f"{_RUN_S} s each ...", flush=True)
    ways = [way for way in WAYS if not way.variant().missing()]
    with World(os.path.join(folder, "m"), orphans, addresses=_INSTANCES) as world:
        for name in _SERVICES.values():
            world.fill([name], world.backends.addresses, world.backends.ports[0])
        made = {(way, counted): _contender(way, counted, world)
                for way in ways for counted in ("", _SERVICES[MEASURED])}
        start(world, {each: list(_SERVICES.values()) for each in made.values()})
        pairs: dict[tuple[Way, str], list[Pair]] = {(way, what): [] for way in ways for what in _SERVICES}
        for turn in range(-1, rounds):
            for (way, what), found in pairs.items():
                pair = _pair(made[way, ""], made[way, _SERVICES[MEASURED]], _SERVICES[what], is_swapped=turn % 2 == 1)
                found += [pair] * (turn >= 0)  # the first one warms up
    return [{"way": way.name, "service": what, **_row(found)} for (way, what), found in pairs.items()]


def _contender(way: Way, counted: str, world: World) -> Lictor:
    return Lictor(way.variant(counted), world, os.path.join(world.folder, f"c-{way.name}-{counted}"))


def _pair(plain: Lictor, counting: Lictor, service: str, *, is_swapped: bool) -> Pair:
    """Run both, in turns the one and the other first."""
    if is_swapped:
        second = _run(counting, service)
        return Pair(_run(plain, service), second)
    return Pair(_run(plain, service), _run(counting, service))


def _run(contender: Lictor, service: str) -> Run:
    assert contender.front.daemon
    workers = processes.children(contender.front.daemon.pid)
    before_s = sum(map(processes.running_s, workers))
    found = load.result(load.start(f"http://127.0.0.1:{contender.port}/{service}", _RUN_S), _RUN_S)
    spent_s = sum(map(processes.running_s, workers)) - before_s
    return Run(found.requests_per_s, spent_s / (found.requests_per_s * _RUN_S) * 1e6, found.failed)


def _row(pairs: Sequence[Pair]) -> dict[str, Any]:
    return {
        **_ratios("throughput", [each.counting.requests_per_s / each.plain.requests_per_s for each in pairs]),
        **_ratios("cpu", [each.counting.cpu_us / each.plain.cpu_us for each in pairs]),
        "requests_per_s": median(each.plain.requests_per_s for each in pairs),
        "cpu_us": median(each.plain.cpu_us for each in pairs),
        "failed": sum(run.failed for pair in pairs for run in pair)}


def _ratios(name: str, ratios: Sequence[float]) -> dict[str, Any]:
    quartiles = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else [*ratios] * 3
    return {name: quartiles[1], f"{name}_quartiles": " ".join(f"{each:.3f}" for each in quartiles)}
