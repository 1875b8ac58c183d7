"""A load test of lictor's autoscaler on the real Consul, nginx and Docker: load x1, x4 and x1 again, in an open loop.

Each instance serves so many requests at a time, and the others wait. Prints a line each 10 s, each move as it comes,
and a verdict on each claim. Exit code 1: one of them does not hold. It takes up to 25 minutes, and ends a minute after
no more instances run than before the step up. Everything runs on free ports of 127.0.0.1 and in a temporary folder;
nothing is left behind.
"""

import argparse
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from lictor.planner.autoscale import kept as keeping
from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.traffic import SLICE_S, Slice
from lictor.planner.autoscale.words import milliseconds
from lictor.routing.traffic import meter

from lab import node as nodes
from lab.autoscale import image as images
from lab.autoscale import verdict
from lab.autoscale.image import Image
from lab.autoscale.open_load import OpenLoad
from lab.autoscale.verdict import Count, Phases
from lab.bench.limits import Verdict
from lab.daemon import wait_for
from lab.docker import Docker, running_engine
from lab.node import Node

IMAGE = Image(at_once=4, service_s=0.2)
TARGET_S = 0.6
_SERVICE, _PATH, _TAG = "queue", "/queue", "lictor-bench-queue:1.0"
_STEP_LIMIT_S = 60.0
_POLL_S = 1.0
_TOLD_S = 20.0  # so long a line waits for what nginx has counted
_STAYS_S = 60.0
_FULL = (180.0, 690.0, 660.0, 600.0)  # x1, x4, x1 at most, and the steady part of x4
_QUICK = (20.0, 40.0, 20.0, 20.0)


class Watch:
    """What happens meanwhile: the counts, and a line each 10 s."""

    def __init__(self, node: Node, engine: Docker, load: OpenLoad) -> None:
        self.node, self.engine, self.load = node, engine, load
        self.counts, self.rows = list[Count](), list[dict[str, Any]]()
        self._began_at = time.time() - load.now
        self._slot = math.ceil(self._began_at / SLICE_S) * SLICE_S

    def until(self, at: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Watch until a second of the load, or until it is over."""
        while self.load.now < at and not is_over():
            self.look()
            time.sleep(_POLL_S)

    def look(self) -> None:
        desired = int(self.node.consul.get(f"services/{_SERVICE}/replicas") or 1)
        running = len(self.engine.containers(f"label=lictor.service={_SERVICE}", "status=running"))
        if self.counts and desired != self.counts[-1].desired:
            print(f"{self.load.now:6.0f} s  {self.counts[-1].desired} -> {desired}: {self._kept().reason}", flush=True)
        self.counts.append(Count(self.load.now, desired, running))
        self._tell_slots()

    def _tell_slots(self) -> None:
        while time.time() >= self._slot + SLICE_S:
            counted = self._counted(self._slot)
            if counted is None and time.time() < self._slot + SLICE_S + _TOLD_S:
                return
            self._tell(self._slot - self._began_at, counted)
            self._slot += SLICE_S

    def _tell(self, since: float, counted: Slice | None) -> None:
        sent = [each.took_s for each in list(self.load.requests) if since <= each.at < since + SLICE_S]
        waiting = [self.load.now - at for at in list(self.load.open.values()) if since <= at < since + SLICE_S]
        client, server = verdict.percentile([*sent, *waiting]), (
            traffic.percentile(counted.times, verdict.SHARE) if counted else None)
        kept, count = self._kept(), self.counts[-1]
        self.rows.append({"since": since, "rate": (len(sent) + len(waiting)) / SLICE_S, "client_p95_s": client,
                          "nginx_p95_s": server, "running": count.running, "desired": count.desired,
                          "status": kept.status, "reason": kept.reason, "load": os.getloadavg()[0]})
        print(f"{since:6.0f} s  {(len(sent) + len(waiting)) / SLICE_S:5.1f}/s  p95 {_time(client)}, nginx's "
              f"{_time(server)}  {count.running} run, {count.desired} desired  load {os.getloadavg()[0]:.1f}  "
              f"{kept.reason}", flush=True)

    def _counted(self, slot: float) -> Slice | None:
        text = self.node.consul.get(f"{meter.PREFIX}{_SERVICE}/{self.node.consul.node}")
        return next((each for each in traffic.decode((text or "").encode()) if each.at == slot), None)

    def _kept(self) -> keeping.Kept:
        return keeping.decode((self.node.consul.get(f"{keeping.KEY_PREFIX}{_SERVICE}") or "").encode())


def main(argv: list[str] | None = None) -> int:
    """Run the load test; returns the exit code."""
    given = _arguments(argv)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    folder = tempfile.mkdtemp(prefix="lictor-bench-")
    engine = running_engine(folder)
    node = Node(folder, engine, settings="", keep_data=True, mode=given.mode)
    began, load_before = time.monotonic(), os.getloadavg()[0]
    try:
        _come_up(engine, node)
        verdicts, figures = _measure(node, engine, given)
    except AssertionError as error:
        print(f"\nFAILED: {error}\n\nWhat the handlers said last:\n{node.log()[-3000:]}", file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # it is ending already
            signal.signal(number, signal.SIG_IGN)
        node.stop()
        engine.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print("\n" + "\n".join(map(describe, verdicts)))
    print(f"{os.cpu_count()} CPUs; load before and after: {load_before:.1f}, {os.getloadavg()[0]:.1f}; "
          f"{time.monotonic() - began:.0f} s")
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(figures, file)
    return 0 if all(each.holds for each in verdicts) else 1


def describe(found: Verdict) -> str:
    """Describe a verdict in one line."""
    value = "never" if found.value is None or math.isinf(found.value) else f"{found.value:g}"
    return f"{'holds' if found.holds else 'FAILS'}  {found.what}: {value} (at most {found.at_most:g})"


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="scripts/bench autoscale --real", description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="some seconds of each load: the claims need not hold")
    options.add_argument("--use", type=float, default=0.4, help="the share of what one instance can answer that comes "
                                                                "at x1 (default: %(default)s)")
    options.add_argument("--mode", choices=("reload", "live"), default=nodes.MODE,
                         help="how new instances reach nginx (default: %(default)s)")
    options.add_argument("--json", metavar="FILE", help="write the figures there too")
    given = options.parse_args(argv)
    if os.geteuid():
        options.error("it starts nginx and, where none runs, a Docker engine, so it needs root")
    if not 0 < given.use < 1:
        options.error(f"--use: {given.use:g} is no share between 0 and 1")
    return given


def _come_up(engine: Docker, node: Node) -> None:
    engine.start()
    taken = engine.containers(f"name=^{_SERVICE}-")
    assert not taken, f"this Docker has containers of such names already: {', '.join(taken)}"
    images.build(engine, _TAG, IMAGE)
    node.start()
    node.write_and_apply({
        "name": _SERVICE, "image": _TAG, "port": "127.0.0.1::8080", "route": {"path": _PATH},
        "replicas": {"initial": 1, "min": 1, "max": 10}, "check": {"http": "/health", "interval": "2s"},
        "autoscale": {"p95": f"{TARGET_S * 1000:.0f}ms"}})
    wait_for(lambda: node.nginx.get(_PATH)[0] == 200, "the first instance is served", _STEP_LIMIT_S)


def _measure(node: Node, engine: Docker, given: argparse.Namespace) -> tuple[list[Verdict], dict[str, Any]]:
    low_s, high_s, least_s, steady_s = _QUICK if given.quick else _FULL
    low = given.use * IMAGE.most_rate
    phases = Phases(low, 4 * low, low_s, low_s + high_s, low_s + high_s + least_s, steady_s)
    print(f"{phases.low:g} requests/s, {phases.high:g} from {phases.up_at:.0f} s, {phases.low:g} from "
          f"{phases.down_at:.0f} s; an instance answers {IMAGE.most_rate:g} at most; the target is p95 "
          f"{milliseconds(TARGET_S)}", flush=True)
    with OpenLoad(node.nginx.port, _PATH, phases.rate) as load:
        watch = Watch(node, engine, load)
        watch.until(phases.end_at, lambda: load.now >= phases.down_at + _STAYS_S and (
            verdict.down_within_s(watch.counts, phases) <= load.now - phases.down_at - _STAYS_S))
    verdicts = verdict.judge(load.requests, watch.counts, phases, IMAGE, TARGET_S)
    return verdicts, {"phases": phases._asdict(), "rows": watch.rows, "counts": watch.counts,
                      "requests": load.requests,
                      "limits": [{**each._asdict(), "holds": each.holds} for each in verdicts]}


def _time(seconds: float | None) -> str:
    return "   ?   " if seconds is None else f"{milliseconds(seconds):>8}"


if __name__ == "__main__":
    raise SystemExit(main())
