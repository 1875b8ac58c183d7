"""Whoever keeps a proxy in line with the catalogue, as far as the bench has to know."""

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

from lictor.adapters import files

from lab.bench import probe, processes
from lab.bench.world import World
from lab.daemon import Daemon, wait_for
from lab.nginx import Nginx

_START_LIMIT_S = 120.0
_SNIPPET = """
map $http_upgrade $connection_upgrade {{
    default upgrade;
    ""      "";
}}
include {conf_dir}/upstreams/*.conf;
"""
_UPSTREAM = "upstream lictor_{name} {{ server 127.0.0.1:9 down; }}\n"
_LOCATION = """
location /{name} {{
    proxy_pass http://lictor_{name};
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    proxy_connect_timeout 2s;
    proxy_next_upstream error timeout;
    proxy_next_upstream_timeout 10s;
}}
"""


class Contender(Protocol):
    """One on a world of its own or beside others; it routes /NAME to the service NAME."""

    name: str
    port: int  # of its proxy, on 127.0.0.1

    def prepare(self, services: Sequence[str]) -> None:
        """Start, to serve what the catalogue has of these services and to follow it; watches wait for the agent."""

    def stop(self) -> None:
        """End all of it; the world goes on."""

    def file_of(self, service: str) -> str:
        """Where the service's peers are written before the proxy serves them; "" when it needs no file."""

    def cpu_s(self) -> float:
        """CPU seconds that it, its proxy and its handlers have spent so far; others must be at rest meanwhile."""

    def reloads(self) -> int:
        """How often its proxy was reloaded so far."""


def start(world: World, contenders: Mapping[Contender, Sequence[str]]) -> None:
    """Each with its services. The agent is reloaded once for all, as then every watch of everybody fires."""
    for each, services in contenders.items():
        each.prepare(services)
    world.reload()
    for each, services in contenders.items():
        _wait_served(each, services)


class Front:
    """The nginx of a contender, which includes upstreams/ and locations/ below `conf_dir`.

    Who has no use for Lua does without, as people do: with it nginx takes three times as long to read a thousand
    services' files.
    """

    def __init__(self, world: World, folder: str, *, has_lua: bool = False) -> None:
        self.world = world
        os.makedirs(folder)
        self.nginx = Nginx(folder)
        if not has_lua:
            self.nginx.load_no_modules()
        self.daemon: Daemon | None = None

    def lay_out(self, services: Sequence[str]) -> None:
        """Write what people write once, and lictor itself: each service's location, and an upstream without peers yet.

        The location does what lictor's does, websockets included, so that only the upstreams are compared.
        """
        for name in services:
            self._write(f"upstreams/lictor_{name}.conf", _UPSTREAM.format(name=name))
            self._write(f"locations/{name}.conf", _LOCATION.format(name=name))
        self._write("lictor.conf", _SNIPPET.format(conf_dir=self.nginx.conf_dir))

    def start(self) -> None:
        self.nginx.start()
        assert self.nginx.daemon
        self.daemon = self.nginx.daemon
        self.world.daemons.append(self.daemon)

    def stop(self) -> None:
        self.nginx.stop()

    def cpu_s(self) -> float:
        return processes.tree_s(self.daemon.pid) if self.daemon else 0.0

    def reloads(self) -> int:
        with open(os.path.join(self.nginx.folder, "error.log"), encoding="utf-8", errors="replace") as file:
            return sum("(SIGHUP) received" in line for line in file)

    def upstream_file(self, service: str) -> str:
        return os.path.join(self.nginx.conf_dir, "upstreams", f"lictor_{service}.conf")

    def _write(self, path: str, text: str) -> None:
        full = os.path.join(self.nginx.conf_dir, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        files.write_atomic(full, text, durable=False)


def _wait_served(contender: Contender, services: Sequence[str]) -> None:
    waiting = list(services)

    def are_served() -> bool:
        waiting[:] = [name for name in waiting if not probe.ask("127.0.0.1", contender.port, f"/{name}")]
        if waiting:
            raise AssertionError(f"{len(waiting)} are not, {waiting[0]} among them")
        return True

    wait_for(are_served, f"{contender.name} serves every service", _START_LIMIT_S)
