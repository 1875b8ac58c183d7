"""A node with hostile neighbours, in one process: every handler is called by its own entry point, as by the agent.

Only the edges are doubles: Consul's API (`FakeConsul` at `Client.connect`), Docker's (`FakeDocker` at
`docker.connect`), other programs (none is run), HTTP (nobody answers), and nginx's validation and reload, which always
succeed. A container that is started is registered at once, and passes.
"""

import argparse
import base64
import copy
import json
import os
import random
import shutil
from collections.abc import Callable, Collection, Iterable
from typing import Any

from lictor import errors, model
from lictor.adapters import docker
from lictor.adapters.consul.answers import Catalogue, Entry
from lictor.adapters.consul.client import Agent, Client
from lictor.events.script import Call
from lictor.spec.settings import load_settings

NODE = "node-1"
GOOD: dict[str, Any] = {"name": "good", "image": "good:1", "port": 8080, "node": NODE, "route": {"path": "/good"},
                        "replicas": {"min": 1, "max": 5}}
EVIL: dict[str, Any] = {
    **GOOD, "name": "evil", "image": "evil:1", "route": [{"path": "/evil", "host": ""}, "/more"],
    "check": {"http": "/health"},
    "environment": {"A": "b", "DB": "{seeds:db}"}, "command": ["x"], "volumes": ["/data"], "labels": {"a": "b"},
    "drain": "30s", "release": {"strategy": "rolling", "deadline": "60s"},
    "heal": {"grace": "10s", "budget": 3, "per": "10m"}, "resources": {"cpus": 0.5, "memory": "128m"},
    "logging": {"driver": "json-file", "options": {}}, "traffic": "any"}
TIME = "2026-01-01T00:00:00.123456789Z"
TEXTS = (
    "", " ", "\n", "\x00", "é", "\U0001f600", "-1", "0", "1", "9" * 40, "9" * 400, "9" * 5000, "NaN", "Infinity",
    "null", "{", "[]",
    "'\"`$;{}\\", "../../etc/passwd", "/" * 300, "a" * 5000, "blue", "green", "good", "evil",
    "evil-1", "169.254.169.254", "::1", "0.0.0.1", "fe80::1%eth0", "²", "\uff19", "http/tcp", "8080/tcp", TIME,
    "0001-01-01T00:00:00Z")
NUMBERS = (0, -1, 1, 8080, 65536, 2**31, 2**63, 2**64, 10**30, -10**30, 0.5, 1e308, -1e308)
WHOLE: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"": {}}, [None], {"a": [1, {"b": None}]})


def value(r: random.Random) -> Any:
    return copy.deepcopy(r.choice(r.choice((TEXTS, NUMBERS, WHOLE))))


def mutated(r: random.Random, table: Any, *, texts_only: bool = False) -> Any:
    """Replace, add or drop a few parts of a JSON value; with `texts_only` each stays of its kind."""
    table = json.loads(json.dumps(table))
    for _ in range(r.choice((0, 1, 1, 2, 5))):
        holder: Any = {"": table}
        key: Any = ""
        while isinstance(holder[key], dict | list) and holder[key] and r.random() < 0.8:
            holder = holder[key]
            key = r.choice(list(holder)) if isinstance(holder, dict) else r.randrange(len(holder))
        given = holder[key]
        if texts_only:
            kind = type(given)
            holder[key] = r.choice(TEXTS) if kind is str else r.choice((0, -1, 70000, 2**40)) if kind is int else given
        elif isinstance(holder, dict) and r.random() < 0.1:
            holder[r.choice(TEXTS)] = value(r)
        else:
            holder[key] = value(r)
        table = holder[""] if "" in holder and len(holder) == 1 and not texts_only and key == "" else table
    return table


def text(r: random.Random, table: Any) -> bytes:
    """Encode a mutated value, now and then cut off or not at all JSON."""
    data = json.dumps(mutated(r, table)).encode("utf-8", "surrogatepass")
    damage = r.random()
    if damage < 0.05:
        return data[:r.randrange(len(data) + 1)]
    if damage < 0.1:
        return r.choice((b"", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"NaN", b"9" * 5000, b"\x00", b"null"))
    return data


class FakeConsul(Client):
    """Keys, and a catalogue of one node."""

    def __init__(self) -> None:
        self.kv: dict[str, Entry] = {}
        self.entries: list[dict[str, Any]] = []
        self.index = 10
        self.read_in_parts = set()

    def set(self, key: str, data: bytes) -> None:
        self.index += 1
        self.kv[key] = Entry(data, self.index, self.index, "")

    def agent(self) -> Agent:
        return Agent(NODE, "127.0.0.1", "dc1", "1.8.7")

    def alive_nodes(self) -> frozenset[str]:
        return frozenset([NODE])

    def everything(self, needed: Iterable[str], *, in_bulk: bool = True) -> Catalogue:
        found: dict[str, list[dict[str, Any]]] = {}
        for entry in self.entries:
            found.setdefault(entry["Service"]["Service"], []).append(entry)
        return Catalogue(found, {})

    def health(self, service: str, *, consistent: bool = False) -> list[dict[str, Any]]:
        return self.everything([]).of(service)

    def get(self, key: str, *, consistent: bool = False) -> Entry | None:
        return self.kv.get(key)

    def tree(self, prefix: str, needed: Callable[[str], bool] = bool, *, consistent: bool = False) -> dict[str, Entry]:
        return {key: entry for key, entry in sorted(self.kv.items()) if key.startswith(prefix)}

    def keys(self, prefix: str) -> list[str]:
        return [*self.tree(prefix)]

    def put(self, key: str, data: str | bytes, *, cas: int | None = None) -> None:
        if cas is not None and cas != (self.kv[key].modify_index if key in self.kv else 0):
            raise errors.Conflict(key)
        self.set(key, data.encode() if isinstance(data, str) else data)

    def delete(self, key: str, *, cas: int | None = None, recurse: bool = False) -> None:
        for each in [each for each in self.kv if each == key or recurse and each.startswith(key)]:
            del self.kv[each]

    def commit(self, operations: Any) -> None:
        for operation in operations:
            each = operation["KV"]
            if each["Verb"] in ("set", "cas"):
                index = each["Index"] if each["Verb"] == "cas" else None
                self.put(each["Key"], base64.b64decode(each["Value"]), cas=index)
            elif each["Verb"].startswith("delete"):
                self.delete(each["Key"])

    def local_services(self, needed: Collection[str] = ()) -> dict[str, dict[str, Any]]:
        return {each["Service"]["ID"]: each["Service"] for each in self.entries}

    def local_checks(self, services: Collection[str] = ()) -> dict[str, dict[str, Any]]:
        return {check["CheckID"]: check for each in self.entries for check in each["Checks"]}

    def register(self, definition: dict[str, Any]) -> None:
        self.entries.append(entry(definition["Name"], definition["ID"], definition.get("Meta") or {}))

    def deregister(self, service_id: str) -> None:
        self.entries = [each for each in self.entries if each["Service"]["ID"] != service_id]

    def set_maintenance(self, service_id: str, reason: str | None) -> None:
        check_id = f"{model.MAINTENANCE_PREFIX}{service_id}"
        for each in [each for each in self.entries if each["Service"]["ID"] == service_id]:
            each["Checks"] = [check for check in each["Checks"] if check["CheckID"] != check_id]
            if reason is not None:
                drained = {"CheckID": check_id, "Status": "critical", "Notes": reason}
                each["Checks"].append({**each["Checks"][-1], **drained})

    def update_ttl(self, check_id: str, status: str, output: str) -> None: ...

    def reload_agent(self) -> None: ...

    @property
    def token_changes(self) -> int:
        return 0

    def token_accessor(self) -> str:
        return ""

    def nodes(self) -> frozenset[str]:
        return frozenset([NODE])

    def node_checks(self, node: str, services: Collection[str] = ()) -> dict[str, dict[str, Any]]:
        return self.local_checks()

    def node_services(self, node: str) -> list[dict[str, Any]]:
        return [*self.local_services().values()]


def entry(service: str, service_id: str, meta: dict[str, str], status: str = "passing") -> dict[str, Any]:
    node = {"Node": NODE, "Address": "127.0.0.1"}
    checks = [("serfHealth", "", "passing"), (f"service:{service_id}", service_id, status)]
    return {"Node": node, "Service": {"ID": service_id, "Service": service, "Address": "", "Port": 32000, "Meta": meta,
                                      "Tags": [], "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": False},
            "Checks": [{"Node": NODE, "CheckID": check_id, "Name": "x", "ServiceID": owner, "Status": word, "Notes": "",
                        "Output": "", "ServiceName": service if owner else ""} for check_id, owner, word in checks]}


class FakeDocker(docker.Client):
    """The containers of one engine, as its list and `inspect` show them."""

    def __init__(self, consul: FakeConsul) -> None:
        self.consul, self.containers = consul, dict[str, dict[str, Any]]()

    def add(self, container_id: str, name: str, labels: dict[str, str], **changes: Any) -> dict[str, Any]:
        self.containers[container_id] = {
            "Id": container_id, "Name": f"/{name}", "Created": TIME, "Image": "sha256:1",
            "State": {"Status": "running", "Running": True, "Paused": False, "Pid": 0, "ExitCode": 0,
                      "StartedAt": TIME},
            "Config": {"Image": "good:1", "Labels": labels, "Env": [], "ExposedPorts": {"8080/tcp": {}},
                       "Hostname": name, "StopSignal": ""},
            "HostConfig": {"NetworkMode": "default", "PortBindings": {}},
            "NetworkSettings": {"IPAddress": "172.17.0.2", "Networks": {"bridge": {"IPAddress": "172.17.0.2"}},
                                "Ports": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32000"}]}}, **changes}
        return self.containers[container_id]

    def _listed(self, found: dict[str, Any]) -> dict[str, Any]:
        return {"Id": found["Id"], "Names": [found["Name"]], "Labels": found["Config"]["Labels"], "State": "running",
                "Status": "Up 3 minutes", "Ports": [], "Created": 1767225600, "Image": "good:1"}

    def engine_id(self) -> str:
        return "engine"

    def running(self) -> list[dict[str, Any]]:
        return [self._listed(each) for each in self.containers.values()]

    def labelled(self, *labels: str) -> list[dict[str, Any]]:
        pairs = [label.partition("=") for label in labels]
        return [each for each in self.running() if all(
            key in each["Labels"] and (not sign or each["Labels"][key] == wanted) for key, sign, wanted in pairs)]

    def inspect(self, container: str) -> dict[str, Any] | None:
        return self.containers.get(container) or next(
            (each for each in self.containers.values() if each["Name"] == f"/{container}"), None)

    def ensure_image(self, image: str, *, timeout_s: float, policy: str = "missing") -> None: ...

    def image_config(self, image: str) -> dict[str, Any]:
        return {}

    def create(self, name: str, definition: dict[str, Any]) -> str:
        container_id = f"id-{name}"
        self.add(container_id, name, definition["Labels"])
        return container_id

    def require_networks(self, names: Iterable[str]) -> None: ...

    def connect_network(self, container: str, network: str) -> None: ...

    def start(self, container: str) -> None:
        found = self.containers[container]
        labels = found["Config"]["Labels"]
        self.consul.entries.append(entry(labels.get("SERVICE_NAME", "x"), f"{NODE}:{container}", {
            model.META_CONTAINER: container, model.META_ENGINE: "engine"}))

    def stop(self, container: str, *, grace_s: int) -> None: ...

    def remove(self, container: str) -> None:
        self.containers.pop(container, None)
        self.consul.entries = [each for each in self.consul.entries
                               if (each["Service"].get("Meta") or {}).get(model.META_CONTAINER) != container]

    def logs(self, container: str, *, lines: int) -> str:
        return "its last words"


class World:
    """One node: `good` is to have two instances, has one, and is confirmed once the sweep has been through."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(f"{folder}/consul.d")
        self.consul = FakeConsul()
        self.docker = FakeDocker(self.consul)
        path = f"{folder}/lictor.toml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'state_dir = "{folder}/state"\n[nginx]\nconf_dir = "{folder}/nginx"\n'
                       f'main_conf = "{folder}/nginx.conf"\n[watch]\nconfig_dir = "{folder}/consul.d"\n')
        self.settings = load_settings({"LICTOR_CONFIG": path})
        self.consul.set("services/good/spec", json.dumps(GOOD).encode())
        self.consul.set("services/good/replicas", b"2")
        self.consul.set("lictor/seeds/db", b"10.0.0.5:27017")
        self.docker.add("id-good-1", "good-1", {
            model.LABEL_SERVICE: "good", model.LABEL_NUMBER: "1", model.LABEL_RELEASE: self.release(),
            "SERVICE_NAME": "good", "lictor.container": "good-1", "lictor.engine": "docker"})
        self.docker.start("id-good-1")

    def serving(self) -> Call:
        """Return the call of a lictor-serve, which is this node's door then."""
        watch = self.settings.watch._replace(door="http", address="127.0.0.1:0", secret_file=f"{self.folder}/secret")
        return Call(self.settings._replace(watch=watch), None, argparse.Namespace())

    def release(self) -> str:
        from lictor.planner.desired import fingerprint
        from lictor.spec.service_spec import parse_spec

        return fingerprint(parse_spec(GOOD, ""))
