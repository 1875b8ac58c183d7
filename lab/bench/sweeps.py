"""What a sweep of the timer costs when there is nothing to do.

`lictor-reconcile --sweep` with 100 services of 3 containers on one node: the median is at most 1 s of CPU (user and
system time of the whole process and what it waits for; not what Docker and Consul spend on their answers), and each
sends at most 10 HTTP requests to Consul, counted by a proxy between the two.
Real: Consul (one server with a data folder), nginx with 100 routes, a Docker engine of its own (so it needs root and
dockerd), the 300 containers, which lictor itself starts, their published ports, lictor-registrar, and Consul's TCP
check of each container every 5 s. Not real: the containers hold a web server that nobody asks; and the agent runs no
watches and no timer: sweeps that are called one by one bring everything up, and nothing else of lictor but the
registrar runs while they are measured.
"""

import statistics
import time
from typing import Any

from lab.fleet import Fleet

LIMITS = {"cpu_s": 1.0, "requests": 10}
_SERVICES, _REPLICAS = 100, 3


def measure(folder: str, runs: int) -> list[dict[str, Any]]:
    """One row: medians of CPU and wall time, and the most requests that one of them sent."""
    fleet = Fleet(folder, _SERVICES, _REPLICAS)
    try:
        print(f"sweep: {_SERVICES} services of {_REPLICAS} containers are started ...", flush=True)
        began = time.monotonic()
        fleet.start()
        print(f"all as desired after {time.monotonic() - began:.0f} s; {runs} idle sweeps ...", flush=True)
        sweeps = fleet.measure(runs)
    finally:
        fleet.stop()
    for each in sweeps[-1].requests:
        print(f"    {each}")
    return [{"services": _SERVICES, "replicas": _REPLICAS, "cpu_s": statistics.median(each.cpu_s for each in sweeps),
             "wall_s": statistics.median(each.wall_s for each in sweeps),
             "requests": max(len(each.requests) for each in sweeps)}]
