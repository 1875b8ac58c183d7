"""One whole node as a user would have it: Consul's agent, nginx, Docker, lictor's registrar and watches."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from lictor.adapters import files, process
from lictor.events import agent_config as watches
from lictor.routing import nginx, route_store, templates
from lictor.spec.settings import load_settings

from lab import forked
from lab.consul import Consul
from lab.daemon import Daemon, wait_for
from lab.docker import Engine
from lab.nginx import Nginx

_SETTINGS = """
state_dir = "{state_dir}"
[nginx]
mode = "{mode}"
conf_dir = "{nginx.conf_dir}"
main_conf = "{nginx.main_conf}"
pid_file = "{nginx.pid_file}"
[watch]
config_dir = "{watch_dir}"
"""
MODE = os.environ.get("LICTOR_MODE", "reload")  # how new peers reach nginx, where a test does not say
QUICK = """
[heal]
surplus_after = "1s"
trust_after = "1s"
"""

BOOKS: dict[str, Any] = {
    "name": "books-service", "image": "books-service:1.0", "port": "127.0.0.1::8080",
    "route": {"path": "/api/v1/books"}, "replicas": {"initial": 1, "min": 1, "max": 10},
    "check": {"http": "/health", "interval": "1s", "timeout": "3s"}, "heal": {"grace": "3s"}, "drain": "10s",
    "stop_grace_period": "5s",
}


class Node:
    """Everything lives below `folder`, and `stop` takes all of it down again. Each handler gets the `token_file`,
    and `environ`.

    `timer` is its interval; without one only events count, and without `watches` the agent runs nothing of lictor's by
    itself. Without `registers` it runs no registrar, so that another node can have the engine's containers for itself;
    with `internal` the containers' own addresses are registered, which live on while Docker restarts. `settings` is
    TOML that comes last in lictor.toml; `mode` is how new peers reach nginx. A node that is a host has an `address`, in
    the network namespace `netns`.
    """

    def __init__(self, folder: str, docker: Engine, *, timer: str = "15s", watches: bool = True,
                 registers: bool = True, internal: bool = False, settings: str = QUICK, address: str = "127.0.0.1",
                 netns: str = "", mode: str = MODE, token_file: str = "",
                 environ: dict[str, str] | None = None, **consul_options: Any) -> None:
        self.folder, self.docker, self.timer = folder, docker, timer
        self.registers, self.internal = registers, internal
        self.handler_environ = environ or {}
        self.token_options = ["--token-file", token_file] if token_file else []
        for name in ("consul", "nginx", "state", "unwatched"):
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        self.consul = Consul(os.path.join(folder, "consul"), netns=netns, **consul_options)
        self.nginx = Nginx(os.path.join(folder, "nginx"), address=address, netns=netns)
        self.watch_dir = self.consul.config_dir if watches else os.path.join(folder, "unwatched")
        self.settings_path = os.path.join(folder, "lictor.toml")
        text = settings_text(os.path.join(folder, "state"), self.nginx, mode, self.watch_dir)
        files.write_atomic(self.settings_path, text + settings)
        self.settings = load_settings({"LICTOR_CONFIG": self.settings_path})
        self.registrar: Daemon | None = None

    @property
    def environ(self) -> dict[str, str]:
        own = {"LICTOR_CONFIG": self.settings_path}
        return {**self.consul.environ, **self.docker.environ, **own, **self.handler_environ}

    def install(self) -> None:
        """Write what `lictor init` does: nginx's snippet, and the agent's watches and timer."""
        assert self.settings.nginx is not None
        nginx.prepare(self.nginx.conf_dir, templates.Templates(live=self.settings.nginx.mode != "reload"))
        static = watches.static(self.settings, self.token_options, process.handler_argv)
        if self.timer:
            static["service"]["check"]["interval"] = self.timer
        else:
            del static["service"]
        files.write_atomic(os.path.join(self.watch_dir, watches.STATIC_FILE), watches.text(static))

    def start(self, timeout_s: float = 60) -> "Node":
        self.install()
        self.nginx.start(timeout_s)
        self.consul.start(env=self.environ, wait=False)
        self.consul.wait_ready(timeout_s)
        if self.registers:
            self.start_registrar()
        return self

    def start_registrar(self) -> None:
        options = ["--internal"] if self.internal else []
        self.registrar = Daemon([*process.handler_argv("lictor-registrar"), *options, *self.token_options],
                                os.path.join(self.folder, "registrar.log"), self.environ)

    def stop(self) -> None:
        """Kill Consul first, as it starts the handlers; then what they started and is still at work; then the rest."""
        self.consul.stop(signal.SIGKILL)
        try:
            wait_for(lambda: not self._kill_handlers(), "no handler is left")
        finally:
            if self.registrar:
                self.registrar.stop()
            self.nginx.stop()

    def _kill_handlers(self) -> list[int]:
        """Kill the handlers of now; returns them. One may have started another meanwhile."""
        found = self.handler_pids()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return found

    def handler_pids(self) -> list[int]:
        """Find processes with this node's settings in their environment, but for this one and the node's daemons."""
        mark = f"LICTOR_CONFIG={self.settings_path}".encode()
        own = {os.getpid(), *(each.pid for each in (self.registrar, self.consul.daemon, self.nginx.daemon) if each)}
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
                if pid not in own and mark in _environ_of(pid).split(b"\0")]

    def run(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run the command `lictor`; the caller looks at its exit code."""
        return forked.lictor(words, environ={**os.environ, **self.environ}, timeout_s=timeout_s)

    def handler(self, name: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a handler as the agent would, to its end."""
        return forked.handler(name, words, environ={**os.environ, **self.environ}, given=stdin)

    def apply(self, **changes: Any) -> None:
        """Apply the books service, changed so."""
        self.write_and_apply({**BOOKS, **changes})

    def write_and_apply(self, spec: dict[str, Any]) -> None:
        path = os.path.join(self.folder, f"{spec['name']}.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(spec, file)
        done = self.run("apply", path)
        assert done.returncode == 0, done.stderr

    def answers(self, path: str = "/api/v1/books") -> str:
        """Send a request through nginx; the name of the instance that answers, "" if none does."""
        status, body = self.nginx.get(path)
        return str(json.loads(body)["instance"]) if status == 200 else ""

    def served(self, requests: int = 12, path: str = "/api/v1/books") -> set[str]:
        """Name the instances that answer a number of requests."""
        return {self.answers(path) for _ in range(requests)}

    def confirmed(self, name: str) -> list[tuple[str, str]]:
        """Node and service ID of each instance that nginx has confirmed to serve; none while it has not."""
        now = route_store.published(self.settings.state_dir, name)
        return sorted(now.instances) if now and now.confirmed else []

    def wait_served(self, *names: str, timeout_s: float = 60) -> None:
        wait_for(lambda: self.served() == set(names), f"nginx serves exactly {', '.join(names)}", timeout_s)

    def wait_for(self, condition: Callable[[], object], what: str, timeout_s: float = 60) -> None:
        wait_for(condition, what, timeout_s)

    def log(self) -> str:
        """Read what all detached handlers have logged."""
        path = os.path.join(self.folder, "state", process.LOG_NAME)
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()


def settings_text(state_dir: str, nginx: Nginx, mode: str, watch_dir: str) -> str:
    """Write a lictor.toml; lines that are appended belong to [watch]."""
    return _SETTINGS.format(state_dir=state_dir, nginx=nginx, mode=mode, watch_dir=watch_dir)


def _environ_of(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""
