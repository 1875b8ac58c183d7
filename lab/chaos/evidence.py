"""Reading what the programs themselves wrote down: nginx's access log, and Docker's events."""

import contextlib
import datetime
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import requests

from lab.chaos.timeline import Access, Address, Event

_LINE = re.compile(
    r"(?P<at>\d+\.\d+) (?P<status>\d+) (?P<upstreams>.+?) (?P<statuses>(?:\d{3}|-)(?:[,:]? ?(?:\d{3}|-))*) "
    r"(?P<took>\d+\.\d+) (?P<times>.+?) (?P<method>[A-Z]+) (?P<target>\S+) HTTP/\S+")
_PORT = 8080
_AGAIN_S = 0.1
_LABEL = "lictor.service"


def accesses(path: str) -> Iterator[Access]:
    """Read the lines of nginx's log in the format `timed`, but for a line that a kill cut short."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            found = _LINE.fullmatch(line.strip())
            if found:
                at, took = float(found["at"]), float(found["took"])
                tried = tuple(each for each in re.split(r"[,:]? ", found["upstreams"]) if each != "-")
                yield Access(at - took, at, int(found["status"]), tried, found["target"])


def is_ours(name: str, service: str) -> bool:
    """Whether lictor made a container of this label: an impostor has it from its image, and another name."""
    return name.startswith(f"{service}-")


class Events:
    """Docker's events about lictor's containers from the beginning on, also over restarts of Docker's daemon."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.events: list[Event] = []
        self.addresses: list[Address] = []
        self.since = time.time()
        self._ending = threading.Event()
        self._seen: set[tuple[float, str, str]] = set()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()

    def _follow(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException, OSError, ValueError):
                client = docker.APIClient(base_url=self.url, timeout=10)
                self._take_forgotten(client)
                stream: Any = client.events(since=int(self.since), decode=True,
                                            filters={"type": "container", "label": _LABEL})
                for each in stream:  # those of the last second come again; Docker's daemon itself forgets at a restart
                    self._take(client, each)
            self._ending.wait(_AGAIN_S)

    def _take_forgotten(self, client: Any) -> None:
        """Who was started just before Docker's daemon was killed lives on, and its start may be told to nobody. One
        that is told after all, of a moment later, is the same life."""
        started = {each.container for each in self.events if each.action == "start"}
        for listed in client.containers(filters={"label": _LABEL}):
            if listed["Id"] not in started:
                found = client.inspect_container(listed["Id"])
                started_at = datetime.datetime.fromisoformat(found["State"]["StartedAt"]).timestamp()
                named = {**found["Config"]["Labels"], "name": found["Name"].lstrip("/")}
                self._take(client, {"timeNano": 1e9 * started_at, "Action": "start",
                                    "Actor": {"ID": found["Id"], "Attributes": named}})

    def _take(self, client: Any, told: dict[str, Any]) -> None:
        at, container, action = told["timeNano"] / 1e9, told["Actor"]["ID"], told["Action"]
        if (at, container, action) in self._seen:
            return
        labels = told["Actor"]["Attributes"]
        service = labels.get(_LABEL, "")
        if not is_ours(labels.get("name", ""), service):
            return
        address = _address(client, container) if action == "start" else ""  # if Docker dies now, it is all told again
        if address:
            self.addresses.append(Address(address, container, service, at))
        self.events.append(Event(at, container, action, labels.get("name", ""), service))
        self._seen.add((at, container, action))
        self.since = max(self.since, at)


def _address(client: Any, container: str) -> str:
    """Where it listens; "" when it has gone already."""
    with contextlib.suppress(docker.errors.NotFound):
        networks = client.inspect_container(container)["NetworkSettings"]["Networks"].values()
        return next((f"{each['IPAddress']}:{_PORT}" for each in networks if each["IPAddress"]), "")
    return ""
