"""What many routed services cost a node while nothing changes: a sweep of the timer, `lictor plan`, `lictor status`.

CPU seconds, user and system, of the whole process and what it waits for; not what Consul and nginx spend on their
answers. Real: Consul, nginx in reload mode, the keys, the catalogue's entries. Simulated: the instances are entries of
an external node, behind which nobody listens; the agent has no watches and no timer, so that nothing else runs; and
nginx starts when all files are there, as it would take longer to reload ten thousand services than lictor waits for.
"""

import base64
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lictor.adapters import clock, files, process
from lictor.events import timer
from lictor.routing import nginx
from lictor.spec.settings import load_settings

from lab.consul import Consul
from lab.daemon import wait_for
from lab.nginx import Nginx
from lab.node import settings_text

LIMITS = {1000: {"sweep": 0.6, "plan": 1.0, "status": 0.6}, 10_000: {"sweep": 3.0}}
_INSTANCES = 3
_AT_ONCE = 60  # operations in one of Consul's transactions
_MEMORY = "/dev/shm"
_LIMIT_S = 300.0
_SWEEP = [*process.handler_argv("lictor-reconcile"), "--sweep"]
_LICTOR = os.path.join(os.path.dirname(sys.executable), "lictor")
_COMMANDS = {"sweep": _SWEEP, "plan": [_LICTOR, "plan"], "status": [_LICTOR, "status"]}


def measure(sizes: Iterable[int], runs: int) -> list[dict[str, Any]]:
    """Measure a row for each number of services and each command: the median of its CPU seconds."""
    return [row for count in sizes for row in _measure_at(count, runs)]


def _measure_at(count: int, runs: int) -> Iterator[dict[str, Any]]:
    print(f"scale: {count} services of {_INSTANCES} instances ...", flush=True)
    with Crowd(count) as crowd:
        crowd.settle()
        for what in LIMITS[count]:
            spent = [crowd.run(_COMMANDS[what]) for _ in range(runs)]
            yield {"services": count, "what": what, "cpu_s": statistics.median(spent), "most_s": max(spent)}


class Crowd:
    """A node that routes `count` services; use as `with Crowd(1000) as crowd`."""

    def __init__(self, count: int) -> None:
        self.names = [f"service-{number:05}" for number in range(count)]
        self.folder = tempfile.mkdtemp(prefix="lictor-scale-", dir=_MEMORY if os.path.isdir(_MEMORY) else None)
        self.nginx = Nginx(os.path.join(self.folder, "nginx"))
        self.nginx.load_no_modules()  # reload mode has no use for Lua, and nginx reads its files sooner
        self.consul = Consul(os.path.join(self.folder, "consul"), keep_data=True)
        path, state_dir = os.path.join(self.folder, "lictor.toml"), os.path.join(self.folder, "state")
        for each in ("state", "unwatched"):
            os.mkdir(os.path.join(self.folder, each))
        files.write_atomic(path, settings_text(state_dir, self.nginx, "reload",
                                               os.path.join(self.folder, "unwatched")))
        self.environ = {**{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
                        **self.consul.environ, "LICTOR_CONFIG": path}
        self.settings = load_settings(self.environ)
        self.log = os.open(os.path.join(self.folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)

    def __enter__(self) -> "Crowd":
        try:
            self.consul.start()
            nginx.prepare(self.nginx.conf_dir)
            self._fill()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.consul.stop(signal.SIGKILL)
        self.nginx.stop()
        os.close(self.log)
        shutil.rmtree(self.folder)

    def settle(self) -> None:
        """Sweep until nginx serves all of it as the keys and the catalogue say."""
        self.run(_SWEEP)
        self.nginx.start(_LIMIT_S)
        wait_for(self._is_settled, "all services are routed", _LIMIT_S)

    def run(self, argv: Sequence[str]) -> float:
        """Run a command to its end; returns the CPU seconds that it took."""
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                              env=self.environ) as child:
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime

    def _is_settled(self) -> bool:
        self.run(_SWEEP)
        text, status = timer.judge(timer.read(self.settings), clock.read(self.settings.state_dir))
        if status != timer.PASSING:
            print(f"    {text:.200}", flush=True)
        return status == timer.PASSING

    def _fill(self) -> None:
        """Write a spec of each service, and its instances to the catalogue."""
        self._commit({"KV": {"Verb": "set", "Key": f"services/{name}/spec", "Value": base64.b64encode(json.dumps(
            {"name": name, "engine": "none", "route": {"path": f"/{name}"}}).encode()).decode()}}
            for name in self.names)
        self.consul.request("PUT", "/v1/catalog/register", {
            "Node": "apps", "Address": "127.0.0.1", "NodeMeta": {"external-node": "true"},
            "Check": {"CheckID": "externalNodeHealth", "Status": "passing"}})
        operations: list[dict[str, Any]] = []
        ports = itertools.cycle(range(20_000, 60_000))
        for name, number in itertools.product(self.names, range(_INSTANCES)):
            service = {"ID": f"{name}-{number}", "Service": name, "Address": "10.0.0.1", "Port": next(ports),
                       "Weights": {"Passing": 1, "Warning": 1}}
            check = {"Node": "apps", "CheckID": f"service:{name}-{number}", "ServiceID": f"{name}-{number}",
                     "Status": "passing", "Output": "TCP connect: Success"}
            operations += [{"Service": {"Verb": "set", "Node": "apps", "Service": service}},
                           {"Check": {"Verb": "set", "Check": check}}]
        self._commit(operations)

    def _commit(self, operations: Iterable[dict[str, Any]]) -> None:
        rest = iter(operations)
        while batch := list(itertools.islice(rest, _AT_ONCE)):
            self.consul.request("PUT", "/v1/txn", batch)
