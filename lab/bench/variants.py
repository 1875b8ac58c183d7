"""lictor itself, by the door that events come in and the mode in which nginx follows: a row for each."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from lictor.adapters import files, process
from lictor.adapters.consul.client import Client
from lictor.events import agent_config, script
from lictor.events import http_door as door
from lictor.planner import desired, service_state
from lictor.routing import follow, nginx, route_store
from lictor.routing.conf import service_files
from lictor.spec.settings import DOORS, MODES, load_settings

from lab.bench import processes
from lab.bench.contender import Front
from lab.bench.probe import listens
from lab.bench.world import World
from lab.daemon import Daemon, free_ports, wait_for
from lab.node import settings_text

_HTTP = """
address = "127.0.0.1:{port}"
secret_file = "{folder}/secret"
"""

_AS_ITS_UNIT = {"MALLOC_ARENA_MAX": "1"}


class Variant(NamedTuple):
    """lictor with one of its doors, in one of nginx's modes; its nginx may count the requests of a service, and have
    those of one wait for an instance. In mode reload nginx may have Lua, which only counting makes use of."""

    door: str
    mode: str
    measured: str = ""
    has_lua: bool = False
    waits: str = ""

    @property
    def name(self) -> str:
        return f"lictor {self.door} {self.mode}{' measured' if self.measured else ''}"

    def missing(self) -> str:
        """Why this lictor can't be run so; "" when it can."""
        lacks = [f"the {what} {value}" for what, value, known in
                 (("door", self.door, DOORS), ("mode", self.mode, MODES)) if value not in known]
        return f"this lictor has not {' and '.join(lacks)} yet" if lacks else ""


VARIANTS = (Variant("script", "reload"), Variant("http", "reload"), Variant("script", "live"), Variant("http", "live"))


class Lictor:
    """Without KV and timer: the routes are laid down as lictor-scale would, and watched as it would have them watched.
    Somebody else runs the services (engine none), as with the peers."""

    def __init__(self, variant: Variant, world: World, folder: str) -> None:
        self.name, self.variant, self.world, self.folder = variant.name, variant, world, folder
        self.front = Front(world, os.path.join(folder, "nginx"), has_lua=variant.has_lua or variant.mode == "live")
        self.port = self.front.nginx.port
        self.state_dir = os.path.join(folder, "state")
        self.settings_path = os.path.join(folder, "lictor.toml")
        self.watches_path = os.path.join(world.consul.config_dir, f"{os.path.basename(folder)}.json")
        self.serve: Daemon | None = None

    def prepare(self, services: Sequence[str]) -> None:
        text = settings_text(self.state_dir, self.front.nginx, self.variant.mode, self.folder)
        text += f'door = "{self.variant.door}"\n'
        if self.variant.door == "http":
            text += _HTTP.format(folder=self.folder, port=free_ports(1)[0])
        files.write_atomic(self.settings_path, text)
        settings = load_settings({"LICTOR_CONFIG": self.settings_path})
        for each in script.FOLDERS:
            os.makedirs(os.path.join(self.state_dir, each))
        nginx.prepare(self.front.nginx.conf_dir)
        self.front.start()
        for name in services:
            options = {"wait": "60s"} if name == self.variant.waits else {}
            route_store.write_route(self.state_dir, name, {
                **_route(name, self.world.consul.node, options), "measure": name == self.variant.measured,
                "ignore": [f"/{name}/health"]})
        with open(os.path.join(self.folder, "start.log"), "w", encoding="utf-8") as file, \
                contextlib.redirect_stderr(file):
            follow.refresh(settings, services, Client.connect(environ=self.world.consul.environ))
        counts = os.path.join(self.front.nginx.conf_dir, service_files.COUNTS)
        assert os.path.exists(counts) == bool(self.variant.measured), f"{counts} says whether requests are counted"
        if self.variant.door == "http":
            self.serve = self.world.run([*process.handler_argv("lictor-serve"), "--config", self.settings_path],
                                        f"{os.path.basename(self.folder)}-serve", _AS_ITS_UNIT)
            wait_for(lambda: listens(*door.parse_address(settings)), "lictor serve listens")
        found = agent_config.routes(settings, {name: name for name in services}, ["--config", self.settings_path],
                               process.handler_argv, door.read_secret(settings))
        files.write_atomic(self.watches_path, agent_config.text({"watches": found["watches"]}))

    def stop(self) -> None:
        files.remove(self.watches_path)
        self.world.reload()
        if self.serve:
            self.serve.stop()
        self.front.stop()

    def file_of(self, service: str) -> str:
        path = f"peers/{service}.conf" if self.variant.mode == "reload" else f"live/{service}.peers"
        return os.path.join(self.front.nginx.conf_dir, path)

    def cpu_s(self) -> float:
        return (self.front.cpu_s() + self.world.handlers_s()
                + (processes.tree_s(self.serve.pid) if self.serve else 0.0))

    def reloads(self) -> int:
        return self.front.reloads()

    def reload_alone_ms(self) -> float:
        """Measure what `nginx -s reload` takes with the same files, until nginx answers by them."""
        server = self.front.nginx
        generation = max(int(time.time()), nginx.answered(server.conf_dir) or 0) + 1
        files.write_atomic(os.path.join(server.conf_dir, "generation.conf"),
                           f'location = /generation {{ return 200 "{generation}"; }}\n')
        began = time.perf_counter()
        subprocess.run([*server.argv[:3], "-s", "reload"], check=True, stderr=subprocess.DEVNULL)
        wait_for(lambda: nginx.answered(server.conf_dir) == generation, "nginx answers by the new files", every_s=0.002)
        return 1000 * (time.perf_counter() - began)


def _route(name: str, node: str, options: dict[str, str]) -> dict[str, Any]:
    spec = {"name": name, "engine": "none", "route": {"path": f"/{name}", **options}}
    wanted = desired.desired(name, {"spec": json.dumps(spec).encode()}, service_state.State())
    found = desired.route(wanted, node)
    assert found, wanted.problems
    return {**found, "empty_ok": False}  # nobody asked for none
