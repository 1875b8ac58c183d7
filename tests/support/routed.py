"""A node that routes a number of services, with a real nginx: what lictor-scale and Consul would do, a test does."""

import http.client
import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from lictor.adapters import files, process
from lictor.events import agent_config, http_door, script
from lictor.routing import condition, live_peers, nginx_processes, peers, route_store
from lictor.routing import nginx as lictor_nginx
from lictor.routing.traffic import meter
from lictor.spec import settings

from lab.daemon import Daemon, free_ports, wait_for
from lab.nginx import Nginx

_WORKERS = 2  # as lab/nginx.py has it
HOST_TEMPLATE = "server {{ listen 127.0.0.1:{port}; server_name {{{{ host }}}}; include {{{{ folder }}}}/*.conf; }}"


class Routed:
    """It routes `names`, of which nobody has seen an instance yet. `consul` is its address; away by default."""

    def __init__(self, folder: str, nginx: Nginx, names: Sequence[str], *, interval: str = "250ms",
                 consul: str = "127.0.0.1:9", config_dir: str = "/nowhere") -> None:
        self.folder, self.nginx, self.state_dir = folder, nginx, os.path.join(folder, "state")
        for each in script.FOLDERS:
            os.makedirs(os.path.join(self.state_dir, each))
        for name in names:
            route_store.write_route(self.state_dir, name, {
                "name": name, "service": name, "path": f"/{name}", "host": "", "traffic": "healthy", "node": "node-1",
                "empty_ok": False, "removed": False})
        path = os.path.join(folder, "lictor.toml")
        files.write_atomic(path, (
            f'state_dir = "{self.state_dir}"\n[nginx]\nmode = "reload"\nconf_dir = "{nginx.conf_dir}"\n'
            f'main_conf = "{nginx.main_conf}"\npid_file = "{nginx.pid_file}"\nreload_min_interval = "{interval}"\n'
            f'[watch]\ndoor = "http"\naddress = "127.0.0.1:{free_ports(1)[0]}"\nsecret_file = "{folder}/secret"\n'
            f'config_dir = "{config_dir}"\n'))
        self.environ = {**os.environ, "CONSUL_HTTP_ADDR": consul, "CONSUL_INDEX": "1", "LICTOR_CONFIG": path}
        self.settings = settings.load_settings(self.environ)
        lictor_nginx.prepare(nginx.conf_dir)
        nginx.start()

    def event(self, name: str, port: int) -> subprocess.Popen[bytes]:
        """Start the handler as Consul does, with one instance on `port`."""
        running = subprocess.Popen([*process.handler_argv("lictor-route"), name, "--state-dir", self.state_dir],
                                   stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environ)
        assert running.stdin
        running.stdin.write(payload(name, port))
        running.stdin.close()
        running.stdin = None  # communicate would flush it
        return running

    def serve(self, **environ: str) -> Daemon:
        """lictor-serve, answering."""
        daemon = Daemon(process.handler_argv("lictor-serve"), f"{self.folder}/serve.log", {**self.environ, **environ})
        wait_for(lambda: self.post("/alive")[0] == 200, "lictor-serve answers")
        return daemon

    def post(self, path: str, body: bytes = b"", index: int = 1,
             headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """As the agent posts it; `headers` take the place of its own."""
        given = {"X-Consul-Index": str(index), agent_config.SECRET_HEADER: http_door.read_secret(self.settings),
                 **(headers or {})}
        connection = http.client.HTTPConnection(*http_door.parse_address(self.settings), timeout=60)
        try:
            connection.request("POST", path, body, given)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def served(self, name: str) -> peers.PublishedRoute | None:
        return route_store.published(self.state_dir, name)

    def is_confirmed(self, name: str, port: int) -> bool:
        now = self.served(name)
        return bool(now and now.confirmed and now.peers == (peers.Peer("127.0.0.1", port),))

    def log(self) -> str:
        """What detached handlers have said."""
        return files.read(os.path.join(self.state_dir, process.LOG_NAME)) or ""

    def reloads(self) -> int:
        return len(re.findall("signal 1 .SIGHUP. received", files.read(f"{self.nginx.folder}/error.log") or ""))


def published(given: settings.Settings, name: str) -> peers.PublishedRoute:
    """What this node has published of a service, which has to be in its state folder."""
    found = route_store.published(given.state_dir, name)
    assert found
    return found


def set_up(folder: str, nginx: Nginx) -> settings.Settings:
    """Start nginx with lictor's snippet, and let a host's server listen where the user's own does."""
    for each in (*(f"state/{name}" for name in script.FOLDERS), "templates"):
        os.makedirs(os.path.join(folder, each))
    files.write_atomic(os.path.join(folder, "templates", "server.conf.j2"), HOST_TEMPLATE.format(port=nginx.port))
    lictor_nginx.prepare(nginx.conf_dir)
    nginx.start()
    return settings.Settings(path=f"{folder}/lictor.toml", state_dir=f"{folder}/state", nginx=settings.Nginx(
        mode="reload", conf_dir=nginx.conf_dir, main_conf=nginx.main_conf, pid_file=nginx.pid_file,
        binary=nginx.binary))


def put_route(given: settings.Settings, name: str, *, removed: bool = False, **fields: Any) -> None:
    """What lictor-scale would leave in the state folder of a service with one route, hostile or not."""
    put_routes(given, name, {"host": "", **fields}, removed=removed)


def put_routes(given: settings.Settings, name: str, *routes: Mapping[str, Any], removed: bool = False) -> None:
    """And of one with several."""
    route_store.write_route(given.state_dir, name, {
        "name": name, "service": name, "routes": routes, "traffic": "healthy", "node": "node-1", "empty_ok": False,
        "removed": removed})


def decide(given: settings.Settings, name: str, *ports: int, weights: Sequence[int] = ()) -> None:
    """Write what a decision for instances at these ports of loopback leaves in the state folder."""
    before = route_store.published(given.state_dir, name) or peers.PublishedRoute((), ())
    route_store.write_published(given.state_dir, name, before._replace(
        peers=tuple(peers.Peer("127.0.0.1", port, weight)
                    for port, weight in zip(ports, weights or [1] * len(ports), strict=True)),
        instances=tuple(("node-1", f"{port}") for port in ports), confirmed=False))


def nginx_of(given: settings.Settings) -> settings.Nginx:
    """The settings of nginx, on a node that routes."""
    assert given.nginx
    return given.nginx


def with_nginx(given: settings.Settings, **changes: Any) -> settings.Settings:
    """The same settings, but for these of nginx."""
    return given._replace(nginx=nginx_of(given)._replace(**changes))


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process wait longer for nginx than a handler may: on a starved machine its answer is as right later. A
    test sets its own limit where it is to pass."""
    for module, limit in ((lictor_nginx, "_CONFIRM_TIMEOUT_S"), (nginx_processes, "_QUIT_TIMEOUT_S"),
                          (condition, "_PATIENCE_S"), (live_peers, "_TIMEOUT_S"), (meter, "_TIMEOUT_S")):
        monkeypatch.setattr(module, limit, 60.0)


def workers(nginx: Nginx) -> set[int]:
    """The workers that take requests, once all of them do: those of before may end their last requests still."""
    found = set[int]()

    def are_there() -> bool:
        found.clear()
        found.update(pid for pid in children(nginx) if nginx_processes._is_titled(pid, nginx_processes._WORKER))
        return len(found) == _WORKERS

    wait_for(are_there, f"{_WORKERS} workers of nginx take requests")
    return found


def children(nginx: Nginx) -> set[int]:
    """All processes that nginx's master has started, and has not seen end yet."""
    with open(f"/proc/{nginx.pid}/task/{nginx.pid}/children", encoding="ascii") as file:
        return set(map(int, file.read().split()))


def reload_by_hand(nginx: Nginx) -> None:
    """Have nginx read its files, as an operator does; returns when only workers that have read them take requests."""
    before = workers(nginx)
    nginx.send(signal.SIGHUP)
    wait_for(lambda: not workers(nginx) & before, "no worker from before takes requests any more")


def payload(name: str, port: int) -> bytes:
    entry: dict[str, Any] = {
        "Node": {"Node": "node-1", "Address": "127.0.0.1"}, "Service": {"ID": name, "Service": name, "Port": port,
                                                                           "Meta": {"lictor-engine": "docker"}},
        "Checks": [{"Node": "node-1", "CheckID": "serfHealth", "Status": "passing", "ServiceID": ""}]}
    return json.dumps([entry]).encode()
