"""From the catalogue's change to the file, to the first answer by a new peer, and to the last one by a removed one."""

import os
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

from lictor.events import agent_config

from lab.bench import probe, processes
from lab.bench.contender import Contender, start
from lab.bench.field import Entry
from lab.bench.news import News
from lab.bench.plan import Size
from lab.bench.variants import Lictor
from lab.bench.world import World, raise_descriptor_limit

_QUIET_S = 0.6  # six times what nginx lets its old workers go on for after a HUP
_LIMIT_S = 60.0
_BETWEEN_S = 0.5  # the next change meets no reload that has not ended, and no pause after the last one
_ALONE_RUNS = 5
_ANSWERS_UP_TO = 10  # one of many more instances is asked too seldom for its answers to tell when


def measure(folder: str, entries: Sequence[Entry], size: Size, rounds: int,
            orphans: processes.Orphans) -> list[dict[str, Any]]:
    """Rows of size, contender, and the medians and 95th percentiles of each figure."""
    print(f"latency, {size}: {', '.join(each.name for each in entries)}; {rounds} rounds ...", flush=True)
    return [row for number, together in enumerate(_groups(entries, size))
            for row in _side_by_side(os.path.join(folder, str(number)), together, size, rounds, orphans)]


def _groups(entries: Sequence[Entry], size: Size) -> list[Sequence[Entry]]:
    """Who is measured side by side: as many as one agent has the descriptors for. Alone is whoever would be at work in
    the rounds of the others."""
    at_once = max(1, raise_descriptor_limit() // agent_config.descriptors_needed(size.services))
    quiet = [each for each in entries if not each.acts_on_all]
    return [*(quiet[first:first + at_once] for first in range(0, len(quiet), at_once)),
            *([each] for each in entries if each.acts_on_all)]


def _side_by_side(folder: str, entries: Sequence[Entry], size: Size, rounds: int,
                  orphans: processes.Orphans) -> list[dict[str, Any]]:
    """All are on one agent, each with a service of its own that changes; the others are routed by all."""
    others = [f"other-{number:04}" for number in range(size.services - 1)]
    taken: dict[str, dict[str, list[float | None]]] = {}
    with World(folder, orphans, addresses=size.instances + 2) as world:
        addresses, port = world.backends.addresses, world.backends.ports[0]
        own = [f"own-{number}" for number in range(len(entries))]
        world.fill([*own, *others], addresses[:size.instances], port)
        running = [(entry.make(world, os.path.join(folder, f"c{number}")), service)
                   for number, (entry, service) in enumerate(zip(entries, own, strict=True))]
        start(world, {contender: [service, *others] for contender, service in running})
        for turn in range(rounds + 1):  # the first warms up
            shift = turn % len(running)
            for contender, service in running[shift:] + running[:shift]:
                figures = _round(world, contender, service, turn, size)
                for key, value in figures.items():
                    taken.setdefault(contender.name, {}).setdefault(key, []).extend([value] if turn else [])
        for contender, _ in running:
            if isinstance(contender, Lictor) and contender.variant.mode == "reload":
                taken[contender.name]["nginx_alone_ms"] = [contender.reload_alone_ms() for _ in range(_ALONE_RUNS)]
    return [{"size": str(size), "contender": name, **summary(figures)} for name, figures in taken.items()]


def _round(world: World, contender: Contender, service: str, turn: int, size: Size) -> dict[str, float | None]:
    """One instance comes, and when all is at rest, another one goes."""
    addresses, port = world.backends.addresses, world.backends.ports[0]
    answers = size.instances <= _ANSWERS_UP_TO
    new = addresses[(turn + size.instances) % len(addresses)]
    old = addresses[turn % len(addresses)]
    file_path = contender.file_of(service)
    figures: dict[str, float | None] = {}
    for key, address, appears in (("first_new_ms", new, True), ("last_old_ms", old, False)):
        world.rest(_BETWEEN_S)
        news = News(world.consul.address, service)
        change = partial(world.register, service, new, port) if appears else partial(world.deregister, service, old)
        seen = probe.follow(contender.port, f"/{service}", file_path, change, f"{address}:{port}", appears=appears,
                            quiet_s=_QUIET_S, limit_s=_LIMIT_S, answers=answers)
        world.settle()
        if appears and file_path:
            figures["file_ms"] = _ms_after(news.at(), seen.file_at)
        if answers:
            figures[key] = _ms_after(news.at(), seen.answer_at)
    return figures


def _ms_after(began: float, moment: float | None) -> float | None:
    """0 for what was even before our own query was answered."""
    return None if moment is None else 1000 * max(0.0, moment - began)


def summary(figures: dict[str, list[float | None]]) -> dict[str, Any]:
    """Of each figure the median and the 95th percentile, and how often it was not seen within the limit."""
    found: dict[str, Any] = {}
    for key, values in figures.items():
        seen = [each for each in values if each is not None]
        found[key] = statistics.median(seen) if seen else None
        found[key.replace("_ms", "_p95_ms")] = percentile(seen, 95) if seen else None
        if len(seen) < len(values):
            found[f"{key}_not_seen"] = len(values) - len(seen)
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that at least so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * percent // 100) - 1)]
