"""A node with many services, which sweeps alone bring to what is wanted; for measuring what an idle sweep costs."""

import json
import os
import subprocess
import threading
import time
from typing import Any, NamedTuple

from lictor.adapters import clock, process
from lictor.events import timer

from lab.counter import Counter
from lab.daemon import wait_for
from lab.docker import Docker
from lab.node import Node

_SWEEP_LIMIT_S = 300.0  # the first ones start every container
_DESIRED_LIMIT_S = 600.0


class Sweep(NamedTuple):
    """What one `lictor-reconcile --sweep` took: user and system time, imports and its own children included."""

    cpu_s: float
    wall_s: float
    requests: list[str]  # to Consul


class Fleet:
    """`services` services of `replicas` containers each on a node of its own; `stop` takes all of it down again."""

    def __init__(self, folder: str, services: int, replicas: int) -> None:
        self.specs = [_spec(f"service-{number:03}", replicas) for number in range(services)]
        self.docker = Docker(folder)
        self.node = Node(folder, self.docker, watches=False, keep_data=True)

    def start(self) -> None:
        """Apply all specs and sweep until `lictor status` says of each service that it is as desired."""
        self.docker.start()
        self.docker.build_books()
        self.node.start()
        paths = [os.path.join(self.node.folder, f"{spec['name']}.json") for spec in self.specs]
        for path, spec in zip(paths, self.specs, strict=True):
            with open(path, "w", encoding="utf-8") as file:
                json.dump(spec, file)
        applied = self.node.run("apply", *paths, timeout_s=300)
        if applied.returncode:
            raise OSError(f"lictor apply: {applied.stderr}")
        wait_for(lambda: self._sweep({})[0] == 0 and self._is_as_desired(), "all services are as desired",
                 _DESIRED_LIMIT_S, every_s=1)

    def measure(self, runs: int) -> list[Sweep]:
        """Sweep that often, once before to warm up; raises OSError when there was anything to do."""
        with Counter(self.node.consul.address) as counter:
            measured = []
            for _ in range(runs + 1):
                counter.requests.clear()
                code, cpu_s, wall_s = self._sweep({"CONSUL_HTTP_ADDR": counter.address})
                measured.append(Sweep(cpu_s, wall_s, list(counter.requests)))
                text, status = timer.judge(timer.read(self.node.settings), clock.read(self.node.settings.state_dir))
                if (code, status, text) != (0, timer.PASSING, f"{len(self.specs)} services as desired"):
                    raise OSError(f"the sweep was not idle: exit code {code}, {text}")
        return measured[1:]

    def stop(self) -> None:
        try:
            self.node.stop()
        finally:
            self.docker.stop()

    def _is_as_desired(self) -> bool:
        rows = json.loads(self.node.run("status", "--json").stdout)
        return [each["says"] for each in rows] == ["as desired"] * len(self.specs)

    def _sweep(self, environ: dict[str, str]) -> tuple[int, float, float]:
        """Its exit code, CPU and wall time; the kernel adds the time of children that it has waited for."""
        # Bytecode is cached as an installation has it.
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        began = time.monotonic()
        with subprocess.Popen([*process.handler_argv("lictor-reconcile"), "--sweep"], stdin=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, env={**inherited, **self.node.environ, **environ}) as child:
            limit = threading.Timer(_SWEEP_LIMIT_S, child.kill)
            limit.start()
            try:
                _, status, usage = os.wait4(child.pid, 0)
                child.returncode = os.waitstatus_to_exitcode(status)
            finally:
                limit.cancel()
                child.kill()  # no longer there, unless we were cut short
        return child.returncode, usage.ru_utime + usage.ru_stime, time.monotonic() - began


def _spec(name: str, replicas: int) -> dict[str, Any]:
    return {
        "name": name, "image": "books-service:1.0", "port": "127.0.0.1::8080", "route": {"path": f"/{name}"},
        "entrypoint": ["/bin/busybox", "httpd", "-f", "-p", "8080"],  # one process, where the image has two
        "replicas": {"initial": replicas, "min": 1, "max": replicas},
        "check": {"tcp": True, "interval": "5s", "timeout": "2s"},
    }
