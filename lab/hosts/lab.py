"""The lab: three hosts on one machine, joined into one Consul and one Swarm, that can be killed, cut off and healed.

Everything is below one folder, so that the commands of different processes find it: namespaces are kept by files there,
and processes are known by the namespace that they are in, which holds even if whoever started them was killed.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab import leftovers
from lab.client import Client
from lab.daemon import wait_for
from lab.hosts.host import Host, name_of
from lab.hosts.network import Network

COUNT = 3
IMAGE = "books-service:1.0"
_MARK = "lab.json"
_SWARM_PORT = 2377


class NoLab(Exception):
    """There is none in this folder, or there is something else."""


class Lab:
    """Use as `with Lab(folder) as lab`: it is up, with books-service:1.0 on every engine, and goes down at the end.

    The first `servers` hosts run Consul servers, the first `managers` manage the Swarm. `memory_mib`: what each engine
    takes its machine's memory to be. The more `patience`, the later Consul and the Swarm give up one that is silent.
    """

    def __init__(self, folder: str, *, servers: int = 3, managers: int = 3, memory_mib: Sequence[int] = (),
                 patience: int = 1) -> None:
        self.folder = os.path.abspath(folder)
        self.settings: dict[str, Any] = {"servers": servers, "managers": managers, "memory_mib": list(memory_mib),
                                         "patience": patience}
        self.managers = managers
        self.network = Network(os.path.join(self.folder, "net"))
        self.cgroup = f"lictor-lab-{hashlib.sha256(self.folder.encode()).hexdigest()[:12]}"
        self.hosts: list[Host] = []

    @classmethod
    def find(cls, folder: str) -> "Lab":
        """Find the lab that is up in this folder."""
        try:
            with open(os.path.join(folder, _MARK), encoding="utf-8") as file:
                text = file.read()
            lab = cls(folder, **(json.loads(text) if text else {}))  # "": who began to make it was killed just then
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoLab(f"there is no lab in {folder}; `lab up` makes one") from error
        lab._furnish()
        return lab

    def __enter__(self) -> "Lab":
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def __getitem__(self, name: str) -> Host:
        for each in self.hosts:
            if each.name == name:
                return each
        raise KeyError(f"there is no host {name!r}; there are {', '.join(each.name for each in self.hosts)}")

    def up(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Make it all and wait until it is; what was made is taken down again when that fails."""
        self._claim()
        try:
            self._furnish()
            say("three hosts get power: Consul, Docker, nginx and lictor start")
            self.network.create()
            with ThreadPoolExecutor(COUNT + 1) as pool:
                list(pool.map(Host.boot, self.hosts))
                waits = [pool.submit(each.wait_up) for each in self.hosts]
                list(pool.map(lambda each: each.docker.wait_ready(), self.hosts))
                say("the engines answer; they become one Swarm, and get the image")
                image = pool.submit(self._give_image)
                self._join_swarm()
                for each in (image, *waits):
                    each.result()
                say("every host is up")
        except BaseException as error:
            error.add_note(leftovers.last_words(self.folder))
            self.down()
            raise

    def down(self) -> None:
        """Leave nothing, however far it was; once there is nothing, that is fine too."""
        if not os.path.exists(os.path.join(self.folder, _MARK)):
            return
        self.network.delete()
        for each in self.hosts:
            each.reap()
        leftovers.remove_cgroups(self.cgroup)
        leftovers.remove_folder(self.folder, last=_MARK)

    def kill(self, host: Host) -> None:
        """Cut a host's power."""
        host.stop()

    def cut(self, host: Host) -> None:
        """Everything on it runs on, but no packet leaves or reaches it."""
        self.network.cut(host.name)

    def heal(self, host: Host, timeout_s: float = 60, *, at_once: bool = False) -> None:
        """Join a host that was cut off, boot one that was killed; and wait until it is up.

        By itself the agent of one that was cut off tries the others every half minute; `at_once` it is told to, while
        they are up.
        """
        if host.is_running:
            self.network.join(host.name)
            if at_once:
                wait_for(lambda: [host.consul.request("PUT", f"/v1/agent/join/{each.address}") for each in self.hosts],
                         f"{host.name} joins the others", timeout_s)
        else:
            host.stop()  # what a kill that was itself killed may have left
            host.boot()
        host.wait_up(timeout_s)

    def leader(self) -> Host | None:
        """Consul's, as far as a host that is neither killed nor cut off knows one."""
        for host in self.hosts:
            if host.is_running and not self.network.is_cut(host.name):
                address = str(host.consul.request("GET", "/v1/status/leader")).partition(":")[0]
                return next((each for each in self.hosts if each.address == address), None)
        return None

    def client(self, host: Host, path: str, **options: Any) -> Client:
        """Steady requests to this host's nginx from outside all hosts."""
        return Client(host.nginx.port, path, address=host.address, netns=self.network.outside, **options)

    def _claim(self) -> None:
        """Claim the folder by a mark, before anything else is made."""
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        found = os.stat(self.folder)
        if found.st_uid != os.getuid() or found.st_mode & 0o022 or os.path.islink(self.folder):
            raise NoLab(f"{self.folder} belongs to somebody else, or others may write there")
        if os.path.exists(os.path.join(self.folder, _MARK)):
            raise NoLab(f"there is a lab in {self.folder} already; `lab down` ends it")
        if os.path.realpath(self.folder).startswith("/run/"):
            raise NoLab(f"{self.folder}: every host has a /run of its own, which would hide it")
        if os.listdir(self.folder):
            raise NoLab(f"{self.folder} is not empty, and `lab down` would remove it as a whole")
        with open(os.path.join(self.folder, _MARK), "x", encoding="utf-8") as file:
            json.dump(self.settings, file)

    def _furnish(self) -> None:
        memory = self.settings["memory_mib"] or [0] * COUNT
        self.hosts = [
            Host(os.path.join(self.folder, name_of(position)), position, self.network, count=COUNT,
                 servers=self.settings["servers"], cgroup=f"/{self.cgroup}", memory_mib=memory[position],
                 raft_multiplier=self.settings["patience"])
            for position in range(COUNT)
        ]

    def _join_swarm(self) -> None:
        """One after the other: managers are not fond of company at that moment."""
        first = self.hosts[0]
        first.docker.docker("swarm", "init", "--advertise-addr", first.address, "--dispatcher-heartbeat",
                            f"{2 * self.settings['patience']}s")
        for position, host in enumerate(self.hosts[1:], start=1):
            role = "manager" if position < self.managers else "worker"
            token = first.docker.docker("swarm", "join-token", "--quiet", role)
            host.docker.docker("swarm", "join", "--token", token, "--advertise-addr", host.address,
                               f"{first.address}:{_SWARM_PORT}")
        wait_for(lambda: ready_nodes(first) == {each.name for each in self.hosts}, "all Swarm nodes are ready", 60)

    def _give_image(self) -> None:
        first, *others = self.hosts
        first.docker.build_books(IMAGE)
        for host in others:
            first.docker.copy(IMAGE, host.docker)


def ready_nodes(manager: Host) -> set[str]:
    """Names of the Swarm's nodes that this manager takes to be ready."""
    lines = manager.docker.docker("node", "ls", "--format", "{{.Hostname}} {{.Status}}").splitlines()
    return {name for name, _, status in (line.partition(" ") for line in lines) if status == "Ready"}
