"""The machine that every chaos run hurts: a Consul server, a node that is its client, and a Docker engine of its own.

Everything lives below one folder; `close` takes all of it down again.
"""

import contextlib
import json
import os
import subprocess
import threading
from typing import Any

from lictor.reconcile import conditions

from lab.chaos.evidence import is_ours
from lab.chaos.timeline import Deed, Outage
from lab.consul import Consul
from lab.docker import Docker
from lab.node import Node

COMING_UP_S = 120.0  # on a loaded machine


class Machine:
    """`deeds` and `docker_away` are what the verdict has to know of what we did. `server` and `node` come later."""

    token = ""  # that may do everything

    server: Consul
    node: Node

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.closing = contextlib.ExitStack()
        self.docker = Docker(folder)
        self.closing.callback(self.docker.stop)
        self.deeds: list[Deed] = []
        self.docker_away: list[Outage] = []
        self.choosing = threading.Lock()
        self.hurt: set[str] = set()  # ids of the containers that we hurt, and that have not recovered
        self.docker_stays = threading.Lock()  # held by whoever could not undo its fault without Docker
        self.ending = threading.Event()  # faults end early, and undo what they did

    def path(self, *names: str) -> str:
        """Return a path below the folder, and make its last folder."""
        path = os.path.join(self.folder, *names)
        os.makedirs(path, exist_ok=True)
        return path

    def close(self) -> None:
        """Take everything down, whatever of it stands."""
        self.ending.set()
        self.closing.close()

    def ask_agent(self, path: str) -> Any:
        """Ask the node's agent, whatever the handlers' token is worth there; raises OSError."""
        return self.node.consul.request("GET", path, token=self.token, timeout_s=3)

    def list_leaked_sessions(self) -> list[str]:
        """List the sessions but for one of each node, which holds what its sweeps tell for as long as they do."""
        sessions = self.server.request("GET", "/v1/session/list") or []
        telling = {each["Node"]: each["ID"] for each in sessions if each["Name"] == conditions.PREFIX.rstrip("/")}
        return [each["ID"] for each in sessions if each["ID"] not in telling.values()]

    def containers(self) -> list[dict[str, str]]:
        """Lictor's containers that run, the paused ones too: id, name, service, number, status. An impostor is none."""
        words = ["ps", "--no-trunc", "--filter", "label=lictor.service", "--format",
                 '{"id":"{{.ID}}","name":"{{.Names}}","service":"{{.Label "lictor.service"}}",'
                 '"number":"{{.Label "lictor.number"}}","status":"{{.State}}"}']
        listed = [json.loads(line) for line in self.docker.docker(*words, timeout_s=10).splitlines()]
        return [each for each in listed if is_ours(each["name"], each["service"])]


def bring_loopback_up() -> None:
    """In a network namespace of its own it is down at first."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
