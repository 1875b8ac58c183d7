"""A storm: every instance of many services comes back on another port within two seconds."""

import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

from lab.bench import probe, processes
from lab.bench.contender import Contender, start
from lab.bench.field import Entry
from lab.bench.plan import Plan
from lab.bench.world import World

_INSTANCES = 3
_STORM_S = 2.0
_QUIET_S = 2.5  # no answer from an old port for so long, while every service is asked several times
_BETWEEN_PASSES_S = 0.05
_LIMIT_S = 40.0


def measure(folder: str, entries: Sequence[Entry], plan: Plan, orphans: processes.Orphans) -> list[dict[str, Any]]:
    """Rows of contender, and the medians of reloads, seconds to converge and CPU seconds.

    Each is alone while it is its turn, on the one agent that all of them use.
    """
    services = [f"storm-{number:03}" for number in range(plan.storm_services)]
    print(f"storm, {len(services)} x {_INSTANCES}: {', '.join(each.name for each in entries)}; "
          f"{plan.storm_rounds} rounds ...", flush=True)
    taken: dict[str, list[dict[str, Any]]] = {each.name: [] for each in entries}
    with World(os.path.join(folder, "s"), orphans, addresses=_INSTANCES) as world:
        port, other = world.backends.ports
        world.fill(services, world.backends.addresses, port)
        for turn in range(plan.storm_rounds):
            for number, entry in enumerate(entries):
                contender = entry.make(world, os.path.join(world.folder, f"c{turn}-{number}"))
                start(world, {contender: services})
                taken[entry.name].append(_storm(world, contender, services, port, other))
                contender.stop()
                port, other = other, port
    return [{"contender": name, "services": len(services), **_medians(rounds)} for name, rounds in taken.items()]


def _storm(world: World, contender: Contender, services: Sequence[str], old: int, new: int) -> dict[str, Any]:
    world.rest()
    reloads, cpu_s = contender.reloads(), contender.cpu_s()
    changes = [(service, address) for service in services for address in world.backends.addresses]
    began = time.monotonic()
    for number, (service, address) in enumerate(changes):
        time.sleep(max(0.0, began + number * _STORM_S / len(changes) - time.monotonic()))
        world.register(service, address, new)
    world.settle()
    ended = stale = last_reload = time.monotonic()
    seen = contender.reloads()
    while time.monotonic() - stale < _QUIET_S and time.monotonic() - ended < _LIMIT_S:
        for service in services:
            if not probe.ask("127.0.0.1", contender.port, f"/{service}").endswith(f":{new}"):
                stale = time.monotonic()
        if contender.reloads() > seen:
            seen, last_reload = contender.reloads(), time.monotonic()
        time.sleep(_BETWEEN_PASSES_S)
    converged = stale - ended < _LIMIT_S - _QUIET_S
    world.rest()
    return {"storm_s": ended - began, "converged_s": stale - ended if converged else None,
            "reloads": contender.reloads() - reloads, "reloading_s": last_reload - began,
            "cpu_s": contender.cpu_s() - cpu_s}


def _medians(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """None stands for a round that did not converge, and makes the whole None."""
    return {key: None if any(each[key] is None for each in rounds) else statistics.median(each[key] for each in rounds)
            for key in rounds[0]}
