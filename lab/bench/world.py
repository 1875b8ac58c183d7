"""What all contenders share: one Consul agent, the instances in its catalogue, and the backends behind them."""

import http.client
import json
import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Iterable
from typing import Any

from lab.bench import processes
from lab.bench.backends import Backends
from lab.consul import Consul
from lab.daemon import Daemon, wait_for

_DESCRIPTORS = 100_000  # each watch of each contender takes two of the agent's, and four while it reloads
_SPARE_DESCRIPTORS = 100  # of those, Consul wants some beside the connections of its clients
_MEMORY = "/dev/shm"
_QUIET_S = 0.3
_REST_LIMIT_S = 600.0  # a thousand handlers run at once when their watches are new


class World:
    """Use as `with World(folder, orphans, addresses=8) as world`: nothing that was started here outlives it."""

    def __init__(self, folder: str, orphans: processes.Orphans, *, addresses: int) -> None:
        self.folder, self.orphans = folder, orphans
        os.makedirs(folder)
        self.backends = Backends(os.path.join(folder, "backends"), addresses)
        connections = raise_descriptor_limit() - _SPARE_DESCRIPTORS
        # It keeps data, as a dev agent's reload drops all services; in memory, as its disk is not what is measured.
        self._consul_folder = tempfile.mkdtemp(prefix="lictor-bench-", dir=_MEMORY if os.path.isdir(_MEMORY) else None)
        self.consul = Consul(self._consul_folder, keep_data=True,
                             config={"limits": {"http_max_conns_per_client": connections}})
        self.daemons: list[Daemon] = []  # the contenders'
        self._connection = http.client.HTTPConnection("127.0.0.1", self.consul.http_port, timeout=60)
        self._is_open = False  # a request whose answer was not read yet

    def __enter__(self) -> "World":
        try:
            self.backends.start()
            self.consul.start(env=self.consul.environ)  # handlers find the agent by its environment
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self.consul.stop(signal.SIGKILL)  # asked to end it takes some seconds
        for each in reversed(self.daemons):
            each.stop()
        self.backends.stop()
        self.orphans.kill()
        shutil.rmtree(self._consul_folder, ignore_errors=True)

    def run(self, argv: list[str], log_name: str, env: dict[str, str] | None = None) -> Daemon:
        """Start a program of a contender, which may end before the world does."""
        daemon = Daemon(argv, os.path.join(self.folder, f"{log_name}.log"), {**self.consul.environ, **(env or {})})
        self.daemons.append(daemon)
        return daemon

    @property
    def agent_pid(self) -> int:
        assert self.consul.daemon
        return self.consul.daemon.pid

    def register(self, service: str, address: str, port: int) -> None:
        """Send it, and let the caller look at what happens meanwhile; the next request reads the answer first."""
        self._send("/v1/agent/service/register", {
            "ID": f"{service}:{address}", "Name": service, "Address": address, "Port": port,
            "Meta": {"lictor-engine": "docker"},
            "Check": {"TTL": "24h", "Status": "passing"}})

    def deregister(self, service: str, address: str) -> None:
        self._send(f"/v1/agent/service/deregister/{service}:{address}", None)

    def fill(self, services: Iterable[str], addresses: Iterable[str], port: int) -> None:
        """Register an instance of each service on each address, and wait for the catalogue to have them."""
        names, hosts = list(services), list(addresses)
        for name in names:
            for address in hosts:
                self.register(name, address, port)
        self.settle()
        if names:
            wait_for(lambda: len(self.consul.passing(names[-1])) == len(hosts), f"{names[-1]} passes", 120)

    def settle(self) -> None:
        """Read the answer to the last request; raises OSError when it was refused."""
        if self._is_open:
            answer = self._connection.getresponse()
            text = answer.read().decode(errors="replace")
            self._is_open = False
            if answer.status != 200:
                raise OSError(f"the agent refuses it: {answer.status} {text[:200]}")

    def reload(self) -> None:
        """Have the agent read its watches anew, and wait until the handlers of all of them are at rest."""
        self.consul.request("PUT", "/v1/agent/reload", timeout_s=300)
        self.rest()

    def rest(self, quiet_s: float = _QUIET_S) -> None:
        """Wait until no handler has been at work for that long."""
        deadline = time.monotonic() + _REST_LIMIT_S
        since = time.monotonic()
        while time.monotonic() - since < quiet_s:
            if time.monotonic() > deadline:
                raise AssertionError(f"handlers are still at work after {_REST_LIMIT_S:g} s")
            if not processes.is_childless(self.agent_pid) or self.orphans.reap(self._own_pids()):
                since = time.monotonic()
            time.sleep(0.02)

    def handlers_s(self) -> float:
        """CPU seconds of all handlers that the agent or a contender has started so far, and that have ended."""
        self.orphans.reap(self._own_pids())
        return processes.tree_s(self.agent_pid, itself=False) + self.orphans.spent_s

    def _own_pids(self) -> list[int]:
        return [each.pid for each in (self.consul.daemon, self.backends.daemon, *self.daemons) if each]

    def _send(self, path: str, body: Any) -> None:
        self.settle()
        self._connection.request("PUT", path, json.dumps(body) if body else None)
        self._is_open = True


def raise_descriptor_limit() -> int:
    """Let us, and what we start, have as many as we may; returns how many. An agent with none left drops events."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, _DESCRIPTORS)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):  # only root may have more than the hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
