"""Measure lictor, on the real Consul and nginx on loopback, side by side with what else people use for the same.

latency     from the catalogue's change, which a blocking query of our own is told of, to the file, to the first answer
            by the new peer, and to the last one by a removed one; new connections; all doors and modes, and the peers
storm       all instances of 200 services come back on another port within 2 s: reloads, time, CPU of all that it takes
throughput  wrk through each proxy and through a plain nginx with keepalive: requests a second, 99th percentile
churn       50 changes a second under full load, in both modes
resident    memory of `lictor serve`, and what an unchanged event costs there
events      what an event costs the script door
measuring   what counting requests costs, of a measured service and of one beside it, in each way; only when it is named
sweep       what an idle sweep of 300 containers costs; only when it is named, as it takes root and a Docker engine
releases    20 of each strategy in each mode, under requests; only when it is named, as it takes a Docker engine
scale       what 1,000 and 10,000 routed services cost a node while nothing changes; only when it is named
waiting     memory of 1,000 requests that wait, and what they cost another service; only when it is named
page        what 500 services take to be shown by a browser, and a change of one; only when it is named, with Chromium

Everyone is on one agent and has the same instances; rounds alternate. With 1,000 services only as many at a time as the
agent may open connections for; and Traefik, which acts on whatever changes, is by itself. Consul keeps its data in
memory where it can, so that no slow disk stands between a registration and the catalogue. What this lictor or this
machine does not have is said, and not measured. Exit code 1: a limit does not hold, or a part failed.
"""

import argparse
import functools
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lab.bench import (
    events,
    field,
    latency,
    limits,
    load,
    measuring,
    pages,
    plan,
    processes,
    releases,
    report,
    resident,
    scale,
    storm,
    sweeps,
    throughput,
    waiting,
)

_PARTS = ("latency", "storm", "throughput", "churn", "resident", "events")
_NAMED_PARTS = ("measuring", "sweep", "releases", "scale", "page", "waiting")
_EVENT_RUNS, _SWEEP_RUNS, _PAGE_CHANGES = 30, 5, 20


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    began, load_before = time.time(), os.getloadavg()
    folder = tempfile.mkdtemp(prefix="lictor-bench-")
    orphans = processes.Orphans()
    try:
        parts, skipped, failed = measured(folder, arguments, orphans)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # it is ending already
            signal.signal(number, signal.SIG_IGN)
        orphans.kill()
        shutil.rmtree(folder, ignore_errors=True)
    verdicts = limits.judge(parts)
    report.tell(parts, [*failed, *skipped], verdicts)
    print(f"\n{os.cpu_count()} CPUs; load before and after: {load_before[0]:.1f}, {os.getloadavg()[0]:.1f}; "
          f"{time.time() - began:.0f} s")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"cpus": os.cpu_count(), "load_before": load_before, "load_after": os.getloadavg(),
                       "quick": arguments.quick, "parts": parts, "not_measured": [*failed, *skipped],
                       "limits": [{**each._asdict(), "holds": each.holds} for each in verdicts]}, file, indent=2)
    return 1 if failed or any(each.holds is False for each in verdicts) else 0


def measured(folder: str, arguments: argparse.Namespace,
             orphans: processes.Orphans) -> tuple[dict[str, list[dict[str, Any]]], list[str], list[str]]:
    """Measure each part: its rows, a line for each contender that could not be measured, and one for each failure."""
    present = field.present(arguments.only or ())
    skipped, failed = [f"{each.name}: {each.missing}" for each in field.everybody() if each.missing], []
    parts: dict[str, list[dict[str, Any]]] = {}
    for part, what, measure in _to_measure(folder, arguments, present, orphans):
        lacks = _lacks(part, present)
        if lacks:
            skipped.append(f"{part}: {lacks}")
            continue
        try:
            parts[part] = [*parts.get(part, []), *measure()]
        except (AssertionError, OSError) as error:  # the others' figures are worth having all the same
            print(f"bench: {what}: {error}", file=sys.stderr)
            failed.append(f"{what}: {error}")
    return parts, skipped, failed


def _to_measure(folder: str, arguments: argparse.Namespace, present: Sequence[field.Entry],
                orphans: processes.Orphans) -> Iterator[tuple[str, str, Callable[[], list[dict[str, Any]]]]]:
    """Part, what of it, and what measures that; one after the other, as each has the machine to itself."""
    chosen = plan.QUICK if arguments.quick else plan.FULL
    rounds = arguments.rounds or chosen.rounds
    without_scripts = [each for each in present if "script" not in each.name]
    wholes: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "storm": lambda: storm.measure(folder, present, chosen, orphans),
        "throughput": lambda: throughput.measure(folder, without_scripts, chosen, orphans),
        "measuring": lambda: measuring.measure(folder, arguments.rounds or chosen.pairs, orphans),
        "churn": lambda: throughput.churn(folder, _by_http(present), chosen, orphans),
        "resident": lambda: resident.measure(folder, chosen, orphans),
        "waiting": lambda: waiting.measure(folder, rounds, orphans),
        **_of_lictor_alone(folder, arguments.rounds, chosen),
    }
    for part in arguments.part:
        for number, size in enumerate(arguments.size or chosen.sizes if part == "latency" else ()):
            yield part, f"{part}, {size}", functools.partial(
                latency.measure, os.path.join(folder, f"l{number}"), present, size, rounds, orphans)
        if part in wholes:
            yield part, part, wholes[part]


def _of_lictor_alone(folder: str, rounds: int | None,
                     chosen: plan.Plan) -> dict[str, Callable[[], list[dict[str, Any]]]]:
    """Parts in which nobody else takes part."""
    return {
        "events": lambda: events.measure(os.path.join(folder, "e"), rounds or _EVENT_RUNS),
        "sweep": lambda: sweeps.measure(os.path.join(folder, "w"), rounds or _SWEEP_RUNS),
        "releases": lambda: releases.measure(os.path.join(folder, "r"), rounds or chosen.releases),
        "scale": lambda: scale.measure(scale.LIMITS, rounds or _SWEEP_RUNS),
        "page": lambda: pages.measure(os.path.join(folder, "p"), rounds or _PAGE_CHANGES),
    }


def _lacks(part: str, present: Sequence[field.Entry]) -> str:
    """Why a part can't be measured; "" when it can."""
    if part == "churn" and not _by_http(present):
        return "there is no http door to measure"
    if part == "resident" and resident.VARIANT.missing():
        return "there is no http door to measure"
    return load.missing() if part in ("throughput", "measuring", "churn", "waiting") else ""


def _by_http(present: Sequence[field.Entry]) -> list[field.Entry]:
    return [each for each in present if each.name in ("lictor http live", "lictor http reload")]


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="scripts/bench", description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("part", nargs="*", metavar="PART",
                         help=f"all but {' and '.join(_NAMED_PARTS)}: {' '.join(_PARTS)}")
    options.add_argument("--quick", action="store_true", help="few rounds of small sizes, in about two minutes")
    options.add_argument("--json", metavar="FILE", help="write the figures there too")
    options.add_argument("--only", action="append", metavar="TEXT", help="those contenders whose name has this in it; "
                                                                         "may be given again")
    options.add_argument("--size", action="append", type=_size, metavar="SxI", help="latency with so many services and "
                                                                                    "instances; may be given again")
    options.add_argument("--rounds", type=int, metavar="N", help="of latency, events and what has to be named")
    arguments = options.parse_args(argv)
    unknown = set(arguments.part) - {*_PARTS, *_NAMED_PARTS}
    if unknown:
        options.error(f"there is no part {' '.join(sorted(unknown))}; there are {' '.join([*_PARTS, *_NAMED_PARTS])}")
    arguments.part = arguments.part or _PARTS
    return arguments


def _size(text: str) -> plan.Size:
    services, _, instances = text.partition("x")
    if not (services.isdecimal() and instances.isdecimal() and int(services) and int(instances)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of services, an x, and a number of instances")
    return plan.Size(int(services), int(instances))


if __name__ == "__main__":
    raise SystemExit(main())
