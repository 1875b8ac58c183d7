"""Measure lictor, on the real Consul and nginx on loopback, side by side with what else people use for the same.

latency     from the catalogue's change, which a blocking query of our own is told of, to the file, to the first answer
            by the new peer, and to the last one by a removed one; new connections; all doors and modes, and the peers
storm       all instances of 200 services come back on another port within 2 s: reloads, time, CPU of all that it takes
throughput  wrk through each proxy and through a plain nginx with keepalive: requests a second, 99th percentile
churn       50 changes a second under full load, in live mode
resident    memory of `lictor serve`, and what an unchanged event costs there
events      what an event costs the script door
sweep       what an idle sweep of 300 containers costs; only when it is named, as it takes root and a Docker engine

Everyone is on one agent and has the same instances; rounds alternate. Consul keeps its data in memory where it can, so
that no slow disk stands between a registration and the catalogue. What this lictor or this machine does not have is
said, and not measured. Exit code 1: a limit does not hold.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from typing import Any

from lab.bench import events, field, latency, limits, load, plan, processes, report, resident, storm, sweeps, throughput

_PARTS = ("latency", "storm", "throughput", "churn", "resident", "events")
_EVENT_RUNS, _SWEEP_RUNS = 30, 5


def main(argv: list[str] | None = None) -> int:
    arguments = _arguments(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    began, load_before = time.time(), os.getloadavg()
    folder = tempfile.mkdtemp(prefix="lictor-bench-")
    orphans = processes.Orphans()
    try:
        parts, skipped = _measure(folder, arguments, orphans)
    except AssertionError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # it is ending already
            signal.signal(number, signal.SIG_IGN)
        orphans.kill()
        shutil.rmtree(folder, ignore_errors=True)
    verdicts = limits.judge(parts)
    report.tell(parts, skipped, verdicts)
    print(f"\n{os.cpu_count()} CPUs; load before and after: {load_before[0]:.1f}, {os.getloadavg()[0]:.1f}; "
          f"{time.time() - began:.0f} s")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"cpus": os.cpu_count(), "load_before": load_before, "load_after": os.getloadavg(),
                       "quick": arguments.quick, "parts": parts, "not_measured": skipped,
                       "limits": [{**each._asdict(), "holds": each.holds} for each in verdicts]}, file, indent=2)
    return 1 if any(each.holds is False for each in verdicts) else 0


def _measure(folder: str, arguments: argparse.Namespace,
             orphans: processes.Orphans) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    """The rows of each part, and a line for whatever could not be measured."""
    chosen = plan.QUICK if arguments.quick else plan.FULL
    if arguments.size:
        chosen = chosen._replace(sizes=tuple(arguments.size))
    if arguments.rounds:
        chosen = chosen._replace(rounds=arguments.rounds)
    present = field.present(arguments.only or ())
    live = [each for each in present if each.name == "lictor http live"]
    skipped = [f"{each.name}: {each.missing}" for each in field.everybody() if each.missing]
    parts: dict[str, list[dict[str, Any]]] = {}
    for part in arguments.part:
        if part in ("throughput", "churn") and load.missing():
            skipped.append(f"{part}: {load.missing()}")
        elif part == "churn" and not live or part == "resident" and resident.VARIANT.missing():
            skipped.append(f"{part}: there is no {'live mode' if part == 'churn' else 'http door'} to measure")
        elif part == "latency":
            parts[part] = latency.measure(folder, present, chosen, orphans)
        elif part == "storm":
            parts[part] = storm.measure(folder, present, chosen, orphans)
        elif part == "throughput":
            parts[part] = throughput.measure(folder, [each for each in present if "script" not in each.name], chosen,
                                             orphans)
        elif part == "churn":
            parts[part] = throughput.churn(folder, live, chosen, orphans)
        elif part == "resident":
            parts[part] = resident.measure(folder, chosen, orphans)
        elif part == "events":
            parts[part] = events.measure(os.path.join(folder, "e"), arguments.rounds or _EVENT_RUNS)
        else:
            parts[part] = sweeps.measure(os.path.join(folder, "w"), arguments.rounds or _SWEEP_RUNS)
    return parts, skipped


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="scripts/bench", description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("part", nargs="*", metavar="PART", help=f"all but sweep: {' '.join(_PARTS)}")
    options.add_argument("--quick", action="store_true", help="few rounds of small sizes, in about two minutes")
    options.add_argument("--json", metavar="FILE", help="write the figures there too")
    options.add_argument("--only", action="append", metavar="TEXT", help="those contenders whose name has this in it; "
                                                                         "may be given again")
    options.add_argument("--size", action="append", type=_size, metavar="SxI", help="latency with so many services and "
                                                                                    "instances; may be given again")
    options.add_argument("--rounds", type=int, metavar="N", help="of latency, events and sweeps")
    arguments = options.parse_args(argv)
    unknown = set(arguments.part) - {*_PARTS, "sweep"}
    if unknown:
        options.error(f"there is no part {' '.join(sorted(unknown))}; there are {' '.join(_PARTS)} sweep")
    arguments.part = arguments.part or _PARTS
    return arguments


def _size(text: str) -> plan.Size:
    services, _, instances = text.partition("x")
    if not (services.isdecimal() and instances.isdecimal() and int(services) and int(instances)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of services, an x, and a number of instances")
    return plan.Size(int(services), int(instances))


if __name__ == "__main__":
    raise SystemExit(main())
