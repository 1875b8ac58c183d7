"""Releases under requests: each strategy in each mode, one release after the other, and no request may fail.

Real: Consul, nginx, a Docker engine, lictor's watches, registrar and timer, and three containers of the service.
Clients ask all along, some on a fresh connection for each request and one on a connection that it keeps.
"""

import os
import statistics
import time
from typing import Any

from lab.client import Client
from lab.docker import Docker
from lab.node import Node

_MODES, _STRATEGIES = ("reload", "live"), ("rolling", "blue-green")
_IMAGES = ("books-service:1.0", "books-service:2.0")
_REPLICAS, _FRESH_CLIENTS, _PAUSE_S = 3, 6, 0.01
_RELEASE_LIMIT_S = 120.0


def measure(folder: str, count: int) -> list[dict[str, Any]]:
    """Rows of mode and strategy: releases, their median time, requests meanwhile, and those that failed."""
    os.makedirs(folder)
    docker = Docker(folder)
    rows = []
    try:
        docker.start()
        for image in _IMAGES:
            docker.build_books(image, image.rpartition(":")[2])
        for mode in _MODES:
            for strategy in _STRATEGIES:
                print(f"releases: {count} {strategy} ones in mode {mode} ...", flush=True)
                node = Node(os.path.join(folder, f"{mode}-{strategy}"), docker, keep_data=True, mode=mode)
                try:
                    node.start()
                    rows.append({"mode": mode, "strategy": strategy, **_release(node, strategy, count)})
                finally:
                    node.stop()
                    docker.clear()
    finally:
        docker.stop()
    return rows


def _release(node: Node, strategy: str, count: int) -> dict[str, Any]:
    release = {"strategy": strategy, "healthy_for": "1s", "deadline": "60s"}
    node.apply(image=_IMAGES[0], release=release, replicas=_REPLICAS)
    node.wait_for(lambda: len(node.served()) == _REPLICAS, f"nginx serves {_REPLICAS} instances")
    took_s = []
    with Client(node.nginx.port, "/api/v1/books", fresh=_FRESH_CLIENTS, pause_s=_PAUSE_S) as client:
        for number in range(count):
            began = time.monotonic()
            done = node.run("deploy", "books-service", _IMAGES[(number + 1) % 2], "--wait", timeout_s=_RELEASE_LIMIT_S)
            if done.returncode:
                raise OSError(f"release {number + 1}: {done.stdout[-500:]} {done.stderr[-500:]}")
            took_s.append(time.monotonic() - began)
        time.sleep(1)  # what is over late is counted too
    for each in client.failures[:5]:
        print(f"    failed: {each.seen}")
    return {"releases": count, "release_s": statistics.median(took_s), "requests": client.requests,
            "failed": len(client.failures), "cut": client.resets_of_reused}
