"""One host of the lab: a node in namespaces of its own, with its own address, name, engine, agent and nginx."""

import json
import os
import re
import subprocess
import sys
from typing import Any

from lictor.adapters import process

from lab import netns
from lab.daemon import Daemon, stretched, wait_for
from lab.docker import Engine
from lab.hosts import init
from lab.hosts.network import SUBNET, Network
from lab.node import Node

_PORTS = {"http": 8500, "server": 8300, "serf_lan": 8301}
_FIRST_NUMBER = 11


class Host(Node):
    """`position` counts from 0; the others' addresses follow from `count`. What it has is below `folder`.

    The first `servers` hosts run Consul servers. With `memory_mib` its engine takes the machine to have only so much.
    """

    def __init__(self, folder: str, position: int, network: Network, *, count: int, servers: int, cgroup: str,
                 memory_mib: int = 0, raft_multiplier: int = 1) -> None:
        self.name = name_of(position)
        self.number = _FIRST_NUMBER + position
        self.address = address_of(position)
        self.network, self.cgroup, self.memory_mib = network, f"{cgroup}/{self.name}", memory_mib
        self.netns = network.path(self.name)
        self.count, self.is_server = count, position < servers
        self.first: Daemon | None = None  # when it was this very process that booted it
        for each in ("engine", "etc-docker"):
            os.makedirs(os.path.join(folder, each), exist_ok=True)
        agent: dict[str, Any] = {
            "bind_addr": self.address, "client_addr": f"127.0.0.1 {self.address}", "ports": _PORTS,
            "data_dir": os.path.join(folder, "consul", "data"), "retry_interval": "1s",
            "retry_join": [address_of(other) for other in range(count) if other != position],
            "server": self.is_server,
        }
        if self.is_server:
            agent |= {"bootstrap_expect": servers, "autopilot": {"server_stabilization_time": "2s"},
                      "performance": {"raft_multiplier": raft_multiplier}}
        engine = Engine(f"unix://{folder}/docker.sock", scratch=folder)
        super().__init__(folder, engine, address=self.address, netns=self.netns, node=self.name, config=agent)

    def boot(self) -> None:
        """Plug the cable in and start everything, as a machine does when it gets power; nothing is waited for."""
        self.install()
        self.network.add(self.name, self.number)
        path = self._write("init.json", json.dumps({
            "name": self.name, "binds": self._binds(), "programs": self._programs(),
        }))
        self.first = Daemon([
            "nsenter", f"--net={self.netns}", "unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc",
            "--kill-child", sys.executable, init.__file__, path,
        ], os.path.join(self.folder, "init.log"))

    def wait_up(self, timeout_s: float = 60) -> None:
        """Wait until the engine and nginx answer, and the agent knows a leader and itself; a server has a vote."""
        self.docker.wait_ready(timeout_s)
        self.consul.wait_ready(timeout_s)
        wait_for(self.nginx.is_up, f"nginx answers on {self.nginx.url}", timeout_s)
        wait_for(self._votes, f"{self.name} has its vote in Consul", timeout_s)

    def _votes(self) -> bool:
        """Autopilot takes a dead server's vote, and gives it back a while after its return: whoever kills another one
        before that leaves no majority."""
        found = self.consul.request("GET", "/v1/operator/raft/configuration")["Servers"]
        return not self.is_server or any(each["Node"] == self.name and each["Voter"] for each in found)

    @property
    def is_running(self) -> bool:
        try:
            return netns.first_process(self.netns) > 0
        except ProcessLookupError:
            return False

    def run(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        argv = self.command([os.path.join(sys.prefix, "bin", "lictor"), *words])
        return subprocess.run(argv, capture_output=True, text=True, timeout=stretched(timeout_s),
                              env={**os.environ, **self.environ}, stdin=subprocess.DEVNULL)

    def command(self, argv: list[str]) -> list[str]:
        """Return the command that runs a program on this host; raises ProcessLookupError if the host is dead."""
        first = str(netns.first_process(self.netns))
        return ["nsenter", "--target", first, "--mount", "--uts", "--ipc", "--net", "--pid", f"--wdns={os.getcwd()}",
                "--", *argv]

    def processes(self, word: str) -> list[int]:
        """Our numbers of what runs on this host, containers left out, and has a word that ends so in its argv."""
        return [pid for pid in netns.members(self.netns) if any(each.endswith(word) for each in _argv(pid))]

    def start(self, timeout_s: float = 60) -> "Host":
        self.boot()
        self.wait_up(timeout_s)
        return self

    def stop(self) -> None:
        """As a power cut: nothing has time to say goodbye."""
        self.network.remove(self.name)
        self.reap()

    def reap(self) -> None:
        """Once it is dead, let no zombie stay behind."""
        if self.first:
            self.first.stop()

    def _programs(self) -> list[dict[str, Any]]:
        engine = [
            "dockerd", "--data-root", f"{self.folder}/engine", "--exec-root", "/run/docker", "-H", self.docker.url,
            "--pidfile", "/run/docker.pid", "--exec-opt", "native.cgroupdriver=cgroupfs",
            "--cgroup-parent", self.cgroup,
        ]
        argvs = {
            "dockerd": engine, "nginx": self.nginx.argv, "consul": self.consul.argv,
            "registrar": process.handler_argv("lictor-registrar"),
        }
        return [{"argv": argv, "env": {} if name == "dockerd" else self.environ,
                 "log": os.path.join(self.folder, f"{name}.log")} for name, argv in argvs.items()]

    def _binds(self) -> dict[str, str]:
        """Give the engine an id in /etc/docker, and no name server, so that a pull fails at once."""
        hosts = "".join(f"{address_of(each)} {name_of(each)}\n" for each in range(self.count))
        binds = {
            "/etc/docker": os.path.join(self.folder, "etc-docker"),
            "/etc/resolv.conf": self._write("resolv.conf", "nameserver 127.0.0.1\n"),
            "/etc/hosts": self._write("hosts", f"127.0.0.1 localhost\n{hosts}"),
        }
        if self.memory_mib:
            binds["/proc/meminfo"] = self._write("meminfo", _with_memory(self.memory_mib))
        return binds

    def _write(self, name: str, text: str) -> str:
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path


def name_of(position: int) -> str:
    return f"host-{position + 1}"


def address_of(position: int) -> str:
    return f"{SUBNET}.{_FIRST_NUMBER + position}"


def _with_memory(mib: int) -> str:
    with open("/proc/meminfo", encoding="utf-8") as file:
        return re.sub(r"(?m)^(MemTotal|MemFree|MemAvailable):.*$", rf"\1: {mib * 1024} kB", file.read())


def _argv(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().decode(errors="replace").split("\0")
    except OSError:
        return []
