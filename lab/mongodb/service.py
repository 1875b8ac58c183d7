"""Sets of the double that lictor itself runs on a node's Docker: a member of the double answers in each container.

A container only sleeps. Once it runs, a server of the double listens in its network namespace, on the disk that a file
in its volume names; the server ends with the container. Simulated time goes by five times as fast as real time.
"""

import contextlib
import os
import subprocess
import threading
import uuid
from collections.abc import Callable
from typing import Any

from lictor import errors
from lictor.clusters.mongodb import PASSWORD, USER, Members
from lictor.planner.cluster.observation import Report

from lab import netns
from lab.docker import Docker
from lab.etcd_service import EtcdService
from lab.mongodb.commands import Session
from lab.mongodb.managed import NAME
from lab.mongodb.network import Network
from lab.mongodb.server import Disk, Entry, Server
from lab.mongodb.wire import Handler, Listener
from lab.node import Node

PORT = 27017
_EVERY_S = 0.2


class Mongods:
    """Serves for all containers of a service, until it is stopped."""

    def __init__(self, docker: Docker, name: str, key: str, user: tuple[str, str]) -> None:
        self.network, self._docker, self._name, self._key, self._user = Network(), docker, name, key, user
        self._disks: dict[str, Disk] = {}
        self._served: dict[str, tuple[str, Server, Listener]] = {}  # by name: the container's id, and what serves it
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mongods", daemon=True)
        self._thread.start()

    def address(self, number: int) -> str:
        return f"{self._docker.gateway}:{PORT + number - 1}"

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join(30)
        for name in list(self._served):
            self._end(name)

    def _run(self) -> None:
        while not self._is_over.wait(_EVERY_S):
            # A container that has just gone, or an engine that is slow to tell.
            with contextlib.suppress(OSError, AssertionError, ValueError, subprocess.SubprocessError):
                self._follow()
            self.network.advance(1)

    def _follow(self) -> None:
        listed = self._docker.docker("ps", "--no-trunc", "--filter", f"label=lictor.service={self._name}",
                                     "--format", "{{.Names}} {{.ID}}").splitlines()
        running = dict(line.split() for line in listed)
        for name in [name for name, (container_id, *_) in self._served.items() if running.get(name) != container_id]:
            self._end(name)
        for name, container_id in running.items():
            if name not in self._served:
                self._served[name] = (container_id, *self._serve(name))

    def _serve(self, name: str) -> tuple[Server, Listener]:
        address, network = self.address(int(name.rpartition("-")[2])), self.network
        pid = self._docker.docker("inspect", "-f", "{{.State.Pid}}", name).strip()
        with network.lock:
            server = Server(address, NAME, self._disk(f"{name}-data"), network.now, key=self._key)
            server.is_reached_as_local = False
            network.servers[address] = server
        connect: Callable[[], Handler] = lambda: Session(network, server).handle  # noqa: E731
        with netns.inside(f"/proc/{pid}/ns/net"):
            return server, Listener(PORT, connect, host="0.0.0.0")

    def _disk(self, volume: str) -> Disk:
        """Find the disk of a volume; on an empty one the image makes the first user, as the official one does."""
        folder = self._docker.docker("volume", "inspect", "-f", "{{.Mountpoint}}", volume).strip()
        path = os.path.join(folder, "disk")
        if not os.path.exists(path):
            with open(path, "w", encoding="ascii") as file:
                file.write(uuid.uuid4().hex)
        with open(path, encoding="ascii") as file:
            token = file.read()
        user = Entry(0, self.network.now, "users", {"user": self._user[0], "pwd": self._user[1]})
        return self._disks.setdefault(token, Disk(log=[user]))

    def _end(self, name: str) -> None:
        _, server, listener = self._served.pop(name)
        with self.network.lock:
            server.is_running = False
        listener.close()


class MongoService(EtcdService):
    """The service of a spec, with a key file and a first user, and the double in MongoDB's place. What people do to it
    is as with etcd."""

    def __init__(self, node: Node, docker: Docker, folder: str, spec: dict[str, Any]) -> None:
        super().__init__(node, docker, spec["name"])
        self.user = ("root", "correct horse battery staple")
        self.env_file = os.path.join(folder, "db.env")
        with open(self.env_file, "w", encoding="utf-8") as file:
            file.write(f"{USER}={self.user[0]}\n{PASSWORD}={self.user[1]}\n")
        with open(node.settings_path, "a", encoding="utf-8") as file:
            file.write(f'\n[allow]\nenv_files = ["{self.env_file}"]\n')
        self.spec = {
            **spec, "image": "books-service:1.0", "port": f"{docker.gateway}::{PORT}", "env_file": self.env_file,
            "entrypoint": ["/bin/busybox", "sleep"], "command": ["1000000"], "volumes": ["data:/data/db"],
            "check": {"tcp": True, "interval": "1s", "timeout": "3s"}, "drain": "2s", "stop_grace_period": "1s"}
        self.mongods = Mongods(docker, self.name, "a key file's content", self.user)
        self.kind = Members({USER: self.user[0], PASSWORD: self.user[1]})

    def reports(self) -> dict[int, Report]:
        found = {}
        for number in self._running():
            with contextlib.suppress(errors.LictorError):
                found[number] = self.kind.ask(self.address(number), self.address(number))
        return found

    def address(self, number: int, *, peer: bool = False) -> str:
        return self.mongods.address(number)
