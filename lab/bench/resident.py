"""The resident process: its memory with many services, before and after many events, and what an event costs there."""

import http.client
import json
import os
import time
import urllib.parse
from statistics import median
from typing import Any

from lab.bench import latency, processes
from lab.bench.contender import start
from lab.bench.plan import Plan
from lab.bench.variants import Lictor, Variant
from lab.bench.world import World
from lab.daemon import wait_for

_INSTANCES = 3
_REST_S = 0.5
VARIANT = Variant("http", "reload")


def measure(folder: str, plan: Plan, orphans: processes.Orphans) -> list[dict[str, Any]]:
    """Measure one service and many, a row each: megabytes, and milliseconds of an unchanged event."""
    return [_measure(os.path.join(folder, f"m{count}"), count, plan.posted, orphans) for count in (1, plan.served)]


def _measure(folder: str, count: int, posted: int, orphans: processes.Orphans) -> dict[str, Any]:
    print(f"resident: {count} services, {posted} unchanged events ...", flush=True)
    services = [f"books-{number:04}" for number in range(count)]
    with World(folder, orphans, addresses=_INSTANCES) as world:
        world.fill(services, world.backends.addresses, world.backends.ports[0])
        contender = Lictor(VARIANT, world, os.path.join(folder, "c"))
        start(world, {contender: services})
        assert contender.serve
        reload = _reload(world, contender.serve.pid)
        before_mb = processes.resident_mb(contender.serve.pid)
        taken_ms = _post(world, contender.watches_path, posted)
        after_mb = processes.resident_mb(contender.serve.pid)
    return {"services": count, "before_mb": before_mb, "after_mb": after_mb, "events": posted,
            "unchanged_ms": median(taken_ms), "unchanged_p95_ms": latency.percentile(taken_ms, 95),
            **reload}


def _reload(world: World, serve_pid: int) -> dict[str, float]:
    """Measure what one more service costs: the agent reads its watches anew, and each watch fires once."""
    began, before = time.monotonic(), [processes.tree_s(pid) for pid in (world.agent_pid, serve_pid)]
    world.consul.request("PUT", "/v1/agent/reload", timeout_s=300)
    answered_s = time.monotonic() - began
    world.rest()
    wait_for(lambda: processes.rests(serve_pid, _REST_S), "lictor serve is at rest", 300)
    agent_s, serve_s = (processes.tree_s(pid) - spent for pid, spent in
                        zip((world.agent_pid, serve_pid), before, strict=True))
    return {"reload_s": answered_s, "reload_agent_cpu_s": agent_s, "reload_serve_cpu_s": serve_s}


def _post(world: World, watches_path: str, count: int) -> list[float]:
    """Send what the agent would send, to the watches in turn, on one connection; milliseconds of each."""
    with open(watches_path, encoding="utf-8") as file:
        watches = [each for each in json.load(file)["watches"] if each["type"] == "service"]
    taken_ms, connection = [], None
    payloads: dict[str, bytes] = {}
    for number in range(count):
        watch = watches[number % len(watches)]
        service, target = watch["service"], watch["http_handler_config"]
        url = urllib.parse.urlsplit(target["path"])
        if service not in payloads:
            payloads[service] = json.dumps(world.consul.request("GET", f"/v1/health/service/{service}")).encode()
        headers = {key: values[0] for key, values in target.get("header", {}).items()}
        connection = connection or http.client.HTTPConnection(url.netloc, timeout=30)
        began = time.perf_counter()
        connection.request(target.get("method", "POST"), url.path + (f"?{url.query}" if url.query else ""),
                           payloads[service], {**headers, "Content-Type": "application/json", "X-Consul-Index": "1"})
        answer = connection.getresponse()
        answer.read()
        taken_ms.append(1000 * (time.perf_counter() - began))
        if answer.status >= 300:
            raise OSError(f"serve answers {answer.status} to an event of {service}")
    return taken_ms
