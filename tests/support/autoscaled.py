"""A node that acts for services with `autoscale`, whose nginx is the test: it writes what one would have counted."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lictor import model
from lictor.adapters.consul.client import Client
from lictor.engines import registry
from lictor.events import script
from lictor.planner import desired
from lictor.planner.autoscale import kept as keeping
from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.kept import Kept
from lictor.planner.autoscale.traffic import Slice
from lictor.planner.service_state import State
from lictor.reconcile.context import Context
from lictor.spec.settings import Settings

from lab.consul import Consul

SPEC: dict[str, Any] = {"name": "books", "image": "books:1", "port": 8080, "node": "node-1",
                        "route": {"path": "/books"}, "replicas": {"initial": 2, "min": 1, "max": 9},
                        "autoscale": {"p95": "250ms"}}


class Containers:
    """The engine, in memory: it lists what the test says that it runs; a service in `broken` cannot be listed."""

    FENCED = False

    def __init__(self) -> None:
        self.there: list[model.Container] = []
        self.broken = set[str]()

    def containers(self, service: str | None = None) -> list[model.Container]:
        if service in self.broken:
            raise OSError(f"{service} is broken")
        return [each for each in self.there if service in (None, each.service)]


class Node:
    """The services run, pass, and are routed by node-1; what is counted is steady."""

    def __init__(self, consul: Consul, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.consul, self.engine = consul, Containers()
        monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
        monkeypatch.setitem(registry.CONTAINER_ENGINES, "docker", self.engine)
        for each in script.FOLDERS:
            (folder / each).mkdir(parents=True)
        self.context = Context(Settings(state_dir=str(folder), nginx=None), Client.connect(), "node-1")

    def run(self, serving: int = 2, **changes: Any) -> None:
        """Have so many instances of a service serve, as its spec says at first, and nginx route it."""
        spec = {**SPEC, **changes}
        name = spec["name"]
        self.consul.put(f"services/{name}/spec", json.dumps(spec))
        for number in range(1, serving + 1):
            self.serve(number, spec)
        self.routes(name, "node-1")
        self.keeps(name, Kept(replicas=serving, settled_at=time.time() - 1000, node="node-1"))

    def serve(self, number: int, spec: dict[str, Any] = SPEC) -> None:
        """Have one more instance serve."""
        name, started = spec["name"], time.time() - 5000
        release = desired.desired(name, {"spec": json.dumps(spec).encode()}, State()).release
        container_id = f"{name}{number}"
        self.engine.there.append(model.Container(container_id, f"{name}-{number}", name, number, "", spec["image"],
                                                 release, "running", started, started, None))
        self.consul.register({"Name": name, "ID": container_id, "Port": 8000 + number, "Address": "127.0.0.1",
                              "Meta": {model.META_CONTAINER: container_id, model.META_ENGINE: "docker"}})

    def routes(self, name: str, node: str) -> None:
        self.consul.put(f"lictor/nodes/{name}/{node}", json.dumps({"instances": [[node, f"{name}1"]]}))

    def keeps(self, name: str, kept: Kept) -> None:
        self.consul.put(f"{keeping.KEY_PREFIX}{name}", keeping.encode(kept))

    def kept(self, name: str = "books") -> Kept:
        return keeping.decode((self.consul.get(f"{keeping.KEY_PREFIX}{name}") or "").encode())

    def counts(self, name: str = "books", node: str = "node-1", **load: Any) -> None:
        self.consul.put(f"lictor/traffic/{name}/{node}", window(**load))

    def count(self, name: str = "books") -> str | None:
        """What stands in the key of the desired count."""
        return self.consul.get(f"services/{name}/replicas")


def window(*, slow: float = 0.5, rate: float = 40.0, seconds: int = 300, ago_s: float = 0.0) -> str:
    """What a node has written: steady traffic until `ago_s` before now, of which a share is slow."""
    until = (time.time() - ago_s) // 10 * 10
    number = round(rate * 10)
    late = round(number * slow)
    times = {str(traffic.bucket(0.1)): number - late, str(traffic.bucket(1.0)): late}
    return json.dumps({"slices": [
        {"at": until - seconds + at, "seconds": 10.0, "times": times, "begun": number,
         "busy_s": (number - late) * 0.1 + late} for at in range(0, seconds, 10)]})


def slices(text: str) -> list[Slice]:
    return traffic.decode(text.encode())
