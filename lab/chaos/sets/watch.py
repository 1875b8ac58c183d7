"""Looking at the set all the time: its members, its volumes, and whether everything is as desired."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import docker.errors
import requests

from lab.chaos.sampler import Sampler
from lab.chaos.sets import members
from lab.chaos.sets.members import Running
from lab.chaos.sets.timeline import Round
from lab.chaos.sets.verdict import following, leading
from lab.chaos.sets.world import MARK, World
from lab.chaos.timeline import Sample

_EVERY_S = 0.5
_MOST = 20
_ERRORS = (docker.errors.DockerException, requests.RequestException, OSError, ValueError, KeyError)


class Watch(Sampler):
    """Samples from a thread of its own; `world.rounds` holds the evidence."""

    def __init__(self, world: World, say: Callable[[str], None]) -> None:
        super().__init__()
        self.world, self.say = world, say
        self.samples: list[Sample] = []
        self._api: Any = None
        self._pids: dict[str, int] = {}
        self._containers: list[dict[str, Any]] = []  # by Docker's last answer
        self._used: set[str] = set()  # marks of volumes that held data
        self._marks = 0

    @property
    def trouble(self) -> str:
        """Why not everything was well when it was last looked at."""
        return self.world.trouble

    def _run(self) -> None:
        with ThreadPoolExecutor(max_workers=_MOST) as pool:
            while not self._ending.is_set():
                seen = self._look(pool)
                before, self.world.trouble = self.world.trouble, self._explain(seen)
                self.world.rounds.append(seen)
                ids = frozenset(each["Id"] for each in self._containers if each["State"] in ("running", "paused"))
                self.samples.append(Sample(seen.at, self.world.trouble, ids))
                if before and not self.world.trouble:
                    self.say(f"    all is well again: {self.world.size} members")
                self._ending.wait(_EVERY_S)

    def _look(self, pool: ThreadPoolExecutor) -> Round:
        at, volumes = time.time(), None
        try:
            self._api = self._api or docker.APIClient(self.world.docker.url, version="auto", timeout=5)
            self._containers = self._api.containers(all=True, filters={"label": f"lictor.service={self.world.db.name}"})
            volumes = dict(self._volumes())
        except _ERRORS:
            pass
        running = list(self._running())
        self.world.addresses = [f"{self.world.host}:{members.port_of(each.number)}" for each in running]
        return Round(at, time.time(), members.ask_all(pool, running), volumes)._replace(ended=time.time())

    def _running(self) -> Iterator[Running]:
        for each in self._containers:
            with contextlib.suppress(*_ERRORS):
                if each["Id"] not in self._pids:
                    self._pids[each["Id"]] = self._api.inspect_container(each["Id"])["State"]["Pid"]
                pid = self._pids[each["Id"]]
                if not pid:
                    del self._pids[each["Id"]]
                elif _is_etcd(pid):
                    yield Running(int(each["Names"][0].rpartition("-")[2]), each["Id"], pid)

    def _volumes(self) -> Iterator[tuple[str, str]]:
        """Name the service's volumes with their marks. One that held data and is empty now counts as gone."""
        listed = self._api.volumes(filters={"name": f"{self.world.db.name}-"})["Volumes"] or []
        for each in listed:
            mark, data = self._mark(os.path.dirname(each["Mountpoint"])), each["Mountpoint"]
            if os.listdir(data):
                self._used.add(mark)
            yield each["Name"], "" if mark in self._used and not os.listdir(data) else mark

    def _mark(self, folder: str) -> str:
        path = os.path.join(folder, MARK)
        try:
            with open(path, encoding="ascii") as file:
                return file.read()
        except FileNotFoundError:
            self._marks += 1
            with open(path, "w", encoding="ascii") as file:
                file.write(f"{os.path.basename(folder)}#{self._marks}")
            return f"{os.path.basename(folder)}#{self._marks}"

    def _explain(self, seen: Round) -> str:
        """Say why not everything is as desired; "": it is."""
        world, leader = self.world, leading(seen)
        if leader is None:
            return "no leader takes writes"
        seated = {f"{world.db.name}-{seat.number}" for seat in leader.seats if seat.votes}
        states = {each["Names"][0].lstrip("/"): (each["State"], each["Image"]) for each in self._containers}
        if len(leader.seats) != world.size or len(seated) != world.size:
            return f"{len(leader.seats)} members, {len(seated)} votes"
        if len(following(seen)) != world.size:
            return f"{len(following(seen))} healthy members"
        if states != dict.fromkeys(seated, ("running", world.image)):
            return f"containers: {states}"
        return ""


def _is_etcd(pid: int) -> bool:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="ascii") as file:
        return file.read().strip() == "etcd"
    return False
