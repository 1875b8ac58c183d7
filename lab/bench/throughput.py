"""Throughput through each proxy, beside nginx with a plain upstream; and under full load while peers come and go."""

import os
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from lictor.adapters import files

from lab.bench import load, processes
from lab.bench.contender import Contender, Front, start
from lab.bench.field import Entry
from lab.bench.plan import Plan
from lab.bench.world import World

PLAIN = "plain nginx"
_SERVICE, _INSTANCES = "books", 3
_CHANGES_PER_S = 50


def measure(folder: str, entries: Sequence[Entry], plan: Plan, orphans: processes.Orphans) -> list[dict[str, Any]]:
    """Rows of contender, requests a second, 99th percentile and failures; medians of interleaved rounds."""
    names = [PLAIN, *(each.name for each in entries)]
    print(f"throughput: {', '.join(names)}; {plan.load_rounds} rounds of {plan.load_s} s ...", flush=True)
    taken: dict[str, list[load.Load]] = {name: [] for name in names}
    with World(os.path.join(folder, "t"), orphans, addresses=_INSTANCES) as world:
        world.fill([_SERVICE], world.backends.addresses, world.backends.ports[0])
        ports = {PLAIN: _plain(world)}
        made = {each.name: each.make(world, os.path.join(world.folder, f"c{number}"))
                for number, each in enumerate(entries)}
        start(world, {each: [_SERVICE] for each in made.values()})
        ports |= {name: each.port for name, each in made.items()}
        for turn in range(plan.load_rounds):
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                url = f"http://127.0.0.1:{ports[name]}/{_SERVICE}"
                load.result(load.start(url, 1), 1)  # its connections are there, and the caches are warm
                taken[name].append(load.result(load.start(url, plan.load_s), plan.load_s))
    return [{"contender": name, "requests_per_s": median(each.requests_per_s for each in loads),
             "p99_ms": median(each.p99_ms for each in loads), "failed": sum(each.failed for each in loads)}
            for name, loads in taken.items()]


def churn(folder: str, entries: Sequence[Entry], plan: Plan, orphans: processes.Orphans) -> list[dict[str, Any]]:
    """Rows of contender, changes a second that were made, and requests that failed meanwhile.

    A kept-alive connection that a reload of nginx ends is counted apart, as its client sends the request again; on a
    fresh connection everything counts.
    """
    rows = []
    for number, entry in enumerate(entries):
        print(f"churn: {entry.name}, {plan.churn_s} s of {_CHANGES_PER_S} changes a second ...", flush=True)
        with World(os.path.join(folder, f"x{number}"), orphans, addresses=_INSTANCES + 1) as world:
            world.fill([_SERVICE], world.backends.addresses[:_INSTANCES], world.backends.ports[0])
            contender = entry.make(world, os.path.join(world.folder, "c"))
            start(world, {contender: [_SERVICE]})
            rows.append({"contender": entry.name, **_churn(world, contender, plan.churn_s)})
    return rows


def _churn(world: World, contender: Contender, seconds: int) -> dict[str, Any]:
    reloads = contender.reloads()
    url = f"http://127.0.0.1:{contender.port}/{_SERVICE}"
    keeping, fresh = load.start(url, seconds), load.start(url, seconds, fresh=True)
    began, changes = time.monotonic(), 0
    try:
        while keeping.poll() is None:
            if changes % 2:
                world.deregister(_SERVICE, world.backends.addresses[-1])
            else:
                world.register(_SERVICE, world.backends.addresses[-1], world.backends.ports[0])
            world.settle()
            changes += 1
            time.sleep(max(0.0, began + changes / _CHANGES_PER_S - time.monotonic()))
        took_s = time.monotonic() - began
    finally:
        kept, others = load.result(keeping, 0), load.result(fresh, 0)
    return {"changes_per_s": changes / took_s, "requests": round(kept.requests_per_s * seconds),
            "on_fresh_connections": round(others.requests_per_s * seconds),
            "failed": kept.failed - kept.cut + others.failed, "cut": kept.cut, "reloads": contender.reloads() - reloads}


def _plain(world: World) -> int:
    """Start an nginx with the same instances in an upstream that keeps connections; its port."""
    front = Front(world, os.path.join(world.folder, "plain"))
    front.lay_out([_SERVICE])
    servers = " ".join(f"server {address}:{world.backends.ports[0]};" for address in world.backends.addresses)
    files.write_atomic(front.upstream_file(_SERVICE), f"upstream lictor_{_SERVICE} {{ {servers} keepalive 64; }}\n")
    front.start()
    return front.nginx.port
