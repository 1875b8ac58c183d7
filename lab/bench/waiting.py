"""What a thousand requests that wait for an instance cost: memory of nginx, and the answers of another service."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any

from lictor.routing import live_peers

from lab.bench import load, processes
from lab.bench.probe import ask
from lab.bench.variants import Lictor, Variant
from lab.bench.world import World
from lab.daemon import free_ports, wait_for

LIMITS = {"memory_mb": 30.0, "p99": 1.1}
VARIANT = Variant("script", "live", waits="books")
_BESIDE, _INSTANCES, _WAITING, _RUN_S = "films", 3, 1000, 2
_HEADER_BYTES = 4000  # as cookies and tokens take


def measure(folder: str, rounds: int, orphans: processes.Orphans) -> list[dict[str, Any]]:
    """One row: the most memory that waiting requests took, and what they changed for another service, as medians of
    pairs of runs with and without them. The instance that they wait for refuses connections, as one that was killed."""
    print(f"waiting: {_WAITING} requests, {rounds} rounds of 2 runs of {_RUN_S} s each ...", flush=True)
    with World(os.path.join(folder, "q"), orphans, addresses=_INSTANCES) as world:
        world.fill([_BESIDE], world.backends.addresses, world.backends.ports[0])
        world.fill([VARIANT.waits], world.backends.addresses[:1], free_ports(1)[0])
        lictor = Lictor(VARIANT, world, os.path.join(world.folder, "c"))
        lictor.prepare([VARIANT.waits, _BESIDE])
        wait_for(lambda: ask("127.0.0.1", lictor.port, f"/{_BESIDE}"), f"{_BESIDE} is served", 60)
        _run(lictor)  # its connections are there, and the caches are warm
        memory_mb, without, beside = list[float](), list[load.Load](), list[load.Load]()
        for turn in range(rounds):
            for has_waiting in (True, False) if turn % 2 else (False, True):
                if not has_waiting:
                    without.append(_run(lictor))
                    continue
                before_mb = _memory_mb(lictor)
                with _waiting(lictor):
                    memory_mb.append(_memory_mb(lictor) - before_mb)
                    beside.append(_run(lictor))
    pairs = list(zip(beside, without, strict=True))
    return [{"waiting": _WAITING, "memory_mb": max(memory_mb),
             "p99": median(one.p99_ms / other.p99_ms for one, other in pairs),
             "p99_ms": median(each.p99_ms for each in beside),
             "p99_ms_without": median(each.p99_ms for each in without),
             "throughput": median(one.requests_per_s / other.requests_per_s for one, other in pairs),
             "failed": sum(each.failed for each in beside)}]


@contextmanager
def _waiting(lictor: Lictor) -> Iterator[None]:
    """Have as many requests wait meanwhile as may."""
    request = f"GET /{VARIANT.waits} HTTP/1.1\r\nHost: bench\r\nCookie: {'x' * _HEADER_BYTES}\r\n\r\n".encode()
    with ExitStack() as connections:
        for _ in range(_WAITING):
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", lictor.port), 10))
            connection.sendall(request)
        wait_for(lambda: _count(lictor) == _WAITING, f"{_WAITING} requests wait", 20)
        yield
        assert _count(lictor) == _WAITING, "fewer waited to the end"
    wait_for(lambda: _count(lictor) == 0, "none waits any more", 20)


def _count(lictor: Lictor) -> int:
    return live_peers.count_waiting(lictor.front.nginx.conf_dir, VARIANT.waits)


def _run(lictor: Lictor) -> load.Load:
    return load.result(load.start(f"http://127.0.0.1:{lictor.port}/{_BESIDE}", _RUN_S), _RUN_S)


def _memory_mb(lictor: Lictor) -> float:
    """Memory of nginx's workers."""
    assert lictor.front.daemon
    return sum(map(processes.resident_mb, processes.children(lictor.front.daemon.pid)))
