"""The world of a set under chaos: a machine with one service of etcd, and clients that write and read."""

import os
import shutil
import threading
import time
from typing import Any

from lab.chaos.evidence import Events
from lab.chaos.machine import COMING_UP_S, Machine, bring_loopback_up
from lab.chaos.sets.client import Reader
from lab.chaos.sets.timeline import Round
from lab.consul import Consul
from lab.etcd_service import EtcdService
from lab.etcd_writer import Writer
from lab.node import Node

IMAGES = ("etcd:1", "etcd:2")
SIZES = (1, 3, 5)
FIRST_SIZE = 3
MARK = ".chaos-mark"  # in the folder of a volume, beside its data
_TIMER = "5s"
_EVERY_S = 0.05


class World(Machine):
    """`rounds` is what was seen all the time; `size` and `image` are what is desired; `trouble` says why it is not so.

    `deleted` are the marks of the volumes that we deleted.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.server = Consul(self.path("server"), node="server")
        self.closing.callback(self.server.stop)
        self.node = Node(self.path("node"), self.docker, join=self.server.serf_port, timer=_TIMER)
        self.closing.callback(self.node.stop)
        self.events = Events(self.docker.url)
        self.rounds: list[Round] = []
        self.trouble = "not looked at yet"
        self.size, self.image = FIRST_SIZE, IMAGES[0]
        self.deleted: list[str] = []
        self.addresses: list[str] = []  # of the members that run, as clients reach them
        self.size_stays = threading.Lock()  # held while a lost disk is not made up for
        self.db: EtcdService
        self.writer = Writer(lambda: self.addresses, _EVERY_S)
        self.reader = Reader(lambda: self.addresses, self.writer)

    def start(self) -> None:
        if not shutil.which("etcd"):
            raise AssertionError("there is no etcd here: scripts/setup installs it")
        bring_loopback_up()
        self.docker.start(wait=False)
        self.db = EtcdService(self.node, self.docker)
        self.server.start(wait=False)
        self.docker.wait_ready(COMING_UP_S)
        for number, image in enumerate(IMAGES, start=1):
            self.docker.build_etcd(image, version=str(number))
        self.events.start()
        self.closing.callback(self.events.stop)
        self.server.wait_ready(COMING_UP_S)
        self.node.start(COMING_UP_S)
        self.db.apply(image=self.image)
        self.put("replicas", str(self.size))
        self.db.settle(self.size, timeout_s=COMING_UP_S)
        self.addresses = self.db.addresses()
        for thread in (self.writer, self.reader):
            thread.start()
            self.closing.callback(thread.finish)

    def put(self, key: str, value: str) -> None:
        """Write a key of the service, as people do."""
        self.server.put(f"services/{self.db.name}/{key}", value)

    @property
    def host(self) -> str:
        return self.db.spec["port"].partition("::")[0]  # type: ignore[no-any-return]

    def last_round(self, within_s: float = 3.0) -> Round | None:
        """Return what was seen last, if that is not long ago."""
        last = self.rounds[-1] if self.rounds else None
        return last if last and time.time() - last.ended <= within_s else None

    def keys_below(self, prefix: str) -> list[Any]:
        return self.server.request("GET", f"/v1/kv/{prefix}?keys") or []

    def folder_of(self, *names: str) -> str:
        return os.path.join(self.node.folder, *names)
