"""What else people use for the same, each as its users do: a plain script handler, consul-template, Traefik."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence

from lictor.adapters import files

from lab.bench import processes, script_handler, template_double
from lab.bench.contender import Front
from lab.bench.world import World
from lab.daemon import Daemon, free_ports

TEMPLATE = """upstream lictor_NAME {
{{- range service "NAME" }}
    server {{ .Address }}:{{ .Port }} max_fails=0;
{{- else }}
    server 127.0.0.1:9 down;
{{- end }}
}
"""


class Script:
    """A `service` watch with a plain Python script handler, and nginx, told by HUP."""

    name = "plain script"

    def __init__(self, world: World, folder: str) -> None:
        self.world = world
        self.front = Front(world, os.path.join(folder, "nginx"))
        self.port = self.front.nginx.port
        self.watches_path = os.path.join(world.consul.config_dir, f"{os.path.basename(folder)}.json")

    def prepare(self, services: Sequence[str]) -> None:
        self.front.lay_out(services)
        self.front.start()
        files.write_atomic(self.watches_path, json.dumps({"watches": [
            {"type": "service", "service": name, "args": [sys.executable, script_handler.__file__, name,
                                                          self.file_of(name), self.front.nginx.pid_file]}
            for name in services]}))

    def stop(self) -> None:
        files.remove(self.watches_path)
        self.world.reload()
        self.front.stop()

    def file_of(self, service: str) -> str:
        return self.front.upstream_file(service)

    def cpu_s(self) -> float:
        return self.front.cpu_s() + self.world.handlers_s()

    def reloads(self) -> int:
        return self.front.reloads()


class ConsulTemplate:
    """One template for each service, and the command that its documentation shows, `nginx -s reload`.

    No quiescence timer, which is quickest. Who writes a `kill -HUP` of his own instead saves the time in which nginx
    parses the configuration once more; the plain script handler shows how quick that is.
    """

    name = "consul-template"

    def __init__(self, world: World, folder: str) -> None:
        self.world, self.folder = world, folder
        self.front = Front(world, os.path.join(folder, "nginx"))
        self.port = self.front.nginx.port
        self.daemon: Daemon | None = None

    @staticmethod
    def missing() -> str:
        path = os.environ.get("CONSUL_TEMPLATE", "")
        if not path:
            return "not found: CONSUL_TEMPLATE=/path names its binary"
        return "" if os.access(path, os.X_OK) else f"not found: CONSUL_TEMPLATE={path} can't be run"

    def prepare(self, services: Sequence[str]) -> None:
        self.front.lay_out(services)
        self.front.start()
        reload = os.path.join(self.folder, "reload")  # a string command needs no shell only when it is one word
        files.write_atomic(reload, f'#!/bin/sh\nexec {shlex.join(self.front.nginx.reload_argv)}\n')
        os.chmod(reload, 0o755)
        settings = os.path.join(self.folder, "consul-template.json")
        files.write_atomic(settings, json.dumps({
            "consul": {"address": self.world.consul.address}, "log_level": "warn",
            "template": [{"contents": TEMPLATE.replace("NAME", name), "destination": self.file_of(name),
                          "command": reload} for name in services]}))
        self.daemon = self.world.run(self.command(settings), os.path.basename(self.folder))

    def command(self, settings_path: str) -> list[str]:
        return [os.environ["CONSUL_TEMPLATE"], "-config", settings_path]

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()
        self.front.stop()

    def file_of(self, service: str) -> str:
        return self.front.upstream_file(service)

    def cpu_s(self) -> float:
        return self.front.cpu_s() + (processes.tree_s(self.daemon.pid) if self.daemon else 0.0)

    def reloads(self) -> int:
        return self.front.reloads()


class ConsulTemplateDouble(ConsulTemplate):
    """The same settings, nginx and command, where there is no consul-template to run them."""

    name = "consul-template's double"

    @staticmethod
    def missing() -> str:
        return "" if ConsulTemplate.missing() else "consul-template itself is here"

    def command(self, settings_path: str) -> list[str]:
        return [sys.executable, template_double.__file__, settings_path]


class Traefik:
    """The proxy and its Consul catalogue provider, which watches; throttled as little as it can be."""

    name = "traefik"

    def __init__(self, world: World, folder: str) -> None:
        self.world, self.folder = world, folder
        self.port, = free_ports(1)
        self.daemon: Daemon | None = None

    @staticmethod
    def binary() -> str:
        return shutil.which("traefik", path=f"{sys.prefix}/bin{os.pathsep}{os.environ.get('PATH', '')}") or ""

    @classmethod
    def missing(cls) -> str:
        return "" if cls.binary() else "not found: pip install '.[bench]' brings it"

    def prepare(self, _services: Sequence[str]) -> None:
        os.makedirs(self.folder)
        self.daemon = self.world.run([
            self.binary(), f"--entrypoints.web.address=127.0.0.1:{self.port}",
            "--global.checknewversion=false", "--global.sendanonymoususage=false", "--log.level=ERROR",
            "--providers.providersthrottleduration=1ms", "--providers.consulcatalog.watch=true",
            f"--providers.consulcatalog.endpoint.address={self.world.consul.address}",
            "--providers.consulcatalog.defaultrule=PathPrefix(`/{{ .Name }}`)",
        ], os.path.basename(self.folder))

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()

    def file_of(self, service: str) -> str:
        return ""

    def cpu_s(self) -> float:
        return processes.tree_s(self.daemon.pid) if self.daemon else 0.0

    def reloads(self) -> int:
        return 0
