"""The world that a chaos run hurts: a machine with three services and their clients."""

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from lictor.adapters import files

from lab.chaos.evidence import Events
from lab.chaos.machine import COMING_UP_S, Machine, bring_loopback_up
from lab.chaos.timeline import Outage
from lab.client import Client
from lab.consul import Consul
from lab.daemon import wait_for
from lab.node import BOOKS, Node

SERVICES = {"/api/v1/books": "books-service", "/api/v1/authors": "authors-service", "/api/v1/orders": "orders-service"}
WANTED = 3
DRAIN_S = 10
SERVICE_BUDGET = {"grace": "2s", "budget": 50, "per": "10m"}
FLEET_BUDGET = {"budget": 200, "per": "10m"}
MASTER = "5e6c0f0e-0000-4000-8000-000000000002"
TOKEN = "5e6c0f0e-0000-4000-8000-000000000003"  # the agent's default
IMAGE = "lictor-chaos:1.0"
IMPOSTORS = "impostors"  # the network of those

_POLICIES = ("agent", "lictor", "lictor-reconcile", "lictor-registrar", "lictor-route", "lictor-scale")
_RULES = Path(__file__).resolve().parents[2] / "consul.d/acl"
_STATE_SIZE = "32m"
_ACL: dict[str, Any] = {"enabled": True, "default_policy": "deny", "token_ttl": "1s", "policy_ttl": "1s",
                        "enable_key_list_policy": True}


class World(Machine):
    """`nginx_away` and `nginx_refusing` are what the verdict has to know of what we did, too."""

    token = MASTER

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.server = Consul(self.path("server"), node="server", token=MASTER,
                             config={"acl": {**_ACL, "tokens": {"master": MASTER, "agent": MASTER}}})
        self.closing.callback(self.server.stop)
        heal = f"[heal]\nbudget = {FLEET_BUDGET['budget']}\nper = \"{FLEET_BUDGET['per']}\""  # else as users have it
        self.token_file = os.path.join(self.path("node"), "token")
        self.clock_path = os.path.join(self.path("node"), "clock")
        clock = {"LICTOR_CHAOS_CLOCK": self.clock_path, "PYTHONPATH": str(Path(__file__).parent / "clock")}
        self.node = Node(self.path("node"), self.docker, join=self.server.serf_port, internal=True,
                         settings=heal, token_file=self.token_file, environ=clock,
                         config={"acl": {**_ACL, "tokens": {"default": TOKEN, "agent": MASTER}}})
        self.closing.callback(self.node.stop)
        self.events = Events(self.docker.url)
        self.clients: dict[str, Client] = {}
        self.nginx_away: list[Outage] = []
        self.nginx_refusing: list[Outage] = []
        self.impostors: list[str] = []  # ids of containers of nobody's, which nobody may end
        self.tokens_stay = threading.Lock()
        self.tokens: list[dict[str, Any]] = []  # the agent's default, and the handlers'

    def start(self) -> None:
        bring_loopback_up()
        self.docker.start(wait=False)
        self.server.start(wait=False)
        self.docker.wait_ready(COMING_UP_S)
        self.docker.build_books(IMAGE)
        for number, name in enumerate([*SERVICES.values(), IMPOSTORS]):
            self._make_network(name, f"{self.docker.bridge}-{number}")
        self.events.start()
        self.closing.callback(self.events.stop)
        self._make_tokens()
        self._mount_state()
        self.node.start(COMING_UP_S)
        for path, service in SERVICES.items():
            self._apply(service, path)
        for path, service in SERVICES.items():
            wait_for(lambda path=path, service=service: self.node.served(path=path) == {  # type: ignore[misc]
                f"{service}-{number}" for number in range(1, WANTED + 1)}, f"nginx serves {service}", COMING_UP_S)
            client = Client(self.node.nginx.port, path, pause_s=0.05, tag=service, service=service)
            self.clients[service] = self.closing.enter_context(client)

    def _make_tokens(self) -> None:
        wait_for(lambda: self.server.request("GET", "/v1/acl/policies"), "the server's ACLs are up", COMING_UP_S)
        policies = [self.server.request("PUT", "/v1/acl/policy", {
            "Name": name, "Rules": (_RULES / f"{name}.hcl").read_text(encoding="utf-8")}) for name in _POLICIES]
        rights = [{"ID": each["ID"]} for each in policies]
        self.tokens = [self.make_token(rights, SecretID=TOKEN), self.make_token(rights)]
        files.write_atomic(self.token_file, self.tokens[1]["SecretID"], mode=0o600)

    def make_token(self, policies: list[dict[str, Any]], **fields: str) -> dict[str, Any]:
        return dict(self.server.request("PUT", "/v1/acl/token", {"Policies": policies, **fields}))

    def _make_network(self, name: str, bridge: str) -> None:
        """One of its own, for Docker gives the address of a container that died to the next one: while nginx cannot
        follow, because Consul or its own disk is away, requests would go to an instance of another service, or to an
        impostor."""
        self.docker.docker("network", "create", "-o", f"com.docker.network.bridge.name={bridge}", name)
        self.closing.callback(subprocess.run, ["ip", "link", "del", bridge], capture_output=True)

    def _mount_state(self) -> None:
        """Mount a small disk, which can be filled, as the state folder."""
        path = self.path("node", "state")
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_STATE_SIZE},mode=750", "lictor-chaos", path], check=True)
        self.closing.callback(subprocess.run, ["umount", "-l", path], capture_output=True)

    def _apply(self, service: str, path: str) -> None:
        """Give the other services the file that the image has for /api/v1/books only."""
        answer_too = f"busybox mkdir -p /www/api/v1; busybox ln -sf books /www{path}; exec busybox sh /bin/serve"
        command = {} if path in BOOKS["route"].values() else {"command": ["/bin/busybox", "sh", "-c", answer_too]}
        self.node.write_and_apply({
            **BOOKS, "name": service, "image": IMAGE, "route": {"path": path}, "heal": SERVICE_BUDGET, **command,
            "networks": [service],
            "replicas": {"initial": WANTED, "min": 1, "max": 6}, "drain": f"{DRAIN_S}s",
        })
        self.node.consul.request("PUT", f"/v1/kv/services/{service}/replicas", str(WANTED), token=MASTER)

    def passing(self, service: str) -> set[str]:
        """List the ids of the node's containers that pass in the catalogue; of other instances, the service IDs."""
        found = self.ask_agent(f"/v1/health/service/{service}?passing") or []
        return {each["Service"].get("Meta", {}).get("lictor-container", each["Service"]["ID"]) for each in found
                if each["Node"]["Node"] == self.node.consul.node}

    def answering(self, service: str, within_s: float = 2.0) -> set[str]:
        """Name the instances (NAME/BOOT) that the clients got answers of."""
        return self.clients[service].answered_since(time.monotonic() - within_s)
