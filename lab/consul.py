"""A real Consul agent: on loopback a dev server, a server with a data folder or a client that joins it; or a host's."""

import base64
import json
import os
import signal
import urllib.parse
from typing import Any

from lictor.adapters import files

from lab.daemon import Daemon, free_ports, stretched, wait_for
from lab.http import ask

# A dev server's own pace of gossip is for idle machines only: it would take a busy node for a dead one.
_LAN = {"gossip_interval": "200ms", "probe_interval": "1s", "probe_timeout": "500ms", "suspicion_mult": 4}


class Consul:
    """One agent. `config` is merged into its configuration; files put into `config_dir` are read on `reload()`.

    It forgets everything when it stops, unless `keep_data`. A client is given the server's `serf_port` as `join`.
    Where `config` names the `data_dir`, it says everything. With `netns` it is asked in that network namespace.
    """

    def __init__(self, folder: str, *, node: str = "node-1", config: dict[str, Any] | None = None,
                 keep_data: bool = False, join: int | None = None, token: str = "", netns: str = "") -> None:
        self.folder, self.node, self.token, self.keep_data, self.join = folder, node, token, keep_data, join
        self.config, self.netns = config or {}, netns
        self.config_dir = os.path.join(folder, "consul.d")
        os.makedirs(self.config_dir, exist_ok=True)
        free = dict(zip(("http", "server", "serf_lan"), free_ports(3), strict=True))
        ports = {**free, "serf_wan": -1, "dns": -1, "grpc": -1, **self.config.get("ports", {})}
        self.http_port, self.server_port, self.serf_port = (int(ports[each]) for each in free)
        self.address = f"127.0.0.1:{self.http_port}"
        base: dict[str, Any] = {
            "node_name": node, "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "enable_local_script_checks": True,
            "limits": {"http_max_conns_per_client": 2000}, "disable_update_check": True, "leave_on_terminate": False,
            "performance": {"raft_multiplier": 1},
        }
        if not (join or keep_data or "data_dir" in self.config):
            base["gossip_lan"] = _LAN
        files.write_atomic(os.path.join(folder, "agent.json"), json.dumps({**base, **self.config, "ports": ports}))
        self.daemon: Daemon | None = None

    @property
    def environ(self) -> dict[str, str]:
        """What makes the consul command and lictor's handlers speak to this agent."""
        return {"CONSUL_HTTP_ADDR": self.address, **({"CONSUL_HTTP_TOKEN": self.token} if self.token else {})}

    @property
    def argv(self) -> list[str]:
        argv = ["consul", "agent", "-config-file", os.path.join(self.folder, "agent.json"),
                "-config-dir", self.config_dir]
        if self.join:
            argv += ["-retry-join", f"127.0.0.1:{self.join}", "-data-dir", os.path.join(self.folder, "data")]
        elif self.keep_data:
            argv += ["-server", "-bootstrap", "-data-dir", os.path.join(self.folder, "data")]
        elif "data_dir" not in self.config:
            argv += ["-dev"]
        return argv

    def start(self, *, wait: bool = True, env: dict[str, str] | None = None) -> "Consul":
        self.daemon = Daemon(self.argv, os.path.join(self.folder, "consul.log"), env)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout_s: float = 60) -> None:
        wait_for(lambda: self.request("GET", "/v1/status/leader") and self._node_is_known(),
                 f"{self.node} knows a leader on {self.address}", timeout_s)

    def _node_is_known(self) -> bool:
        """With its own health: before that, Consul takes no session of it."""
        checks: list[dict[str, Any]] = self.request("GET", f"/v1/health/node/{self.node}?stale") or []
        return bool(self.token) or any(each["CheckID"] == "serfHealth" for each in checks)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.daemon:
            self.daemon.stop(number)

    def send(self, number: int) -> None:
        """Send a signal to the agent, which has to have been started."""
        assert self.daemon
        self.daemon.send(number)

    def reload(self) -> None:
        self.request("PUT", "/v1/agent/reload")

    def clear(self) -> None:
        """Make a dev agent what it was at its start."""
        if self.clear_files():
            self.reload()
        wait_for(self._clear, f"{self.node} has no service but Consul's own")

    def _clear(self) -> bool:
        """Remove what there is now; a program that a test has left may have written something meanwhile."""
        self.request("DELETE", "/v1/kv/?recurse")  # before the sessions: a lock that is held would be kept from others
        for session in self.request("GET", "/v1/session/list"):
            self.request("PUT", f"/v1/session/destroy/{session['ID']}")
        for kind in ("service", "check"):
            for name in self.request("GET", f"/v1/agent/{kind}s"):
                self.request("PUT", f"/v1/agent/{kind}/deregister/{urllib.parse.quote(name, safe='')}")
        for node in self.request("GET", "/v1/catalog/nodes"):
            if node["Node"] != self.node:
                self.request("PUT", "/v1/catalog/deregister", {"Node": node["Node"]})
        return self._is_clear()

    def clear_files(self) -> list[str]:
        """Remove the files in `config_dir`, and return their names."""
        found = os.listdir(self.config_dir)
        for name in found:
            os.unlink(os.path.join(self.config_dir, name))
        return found

    def _is_clear(self) -> bool:
        services = self.request("GET", "/v1/catalog/services")
        checks = self.request("GET", f"/v1/health/node/{self.node}")
        return set(services) == {"consul"} and {each["CheckID"] for each in checks} == {"serfHealth"}

    def request(self, method: str, path: str, body: object = None, token: str | None = None, *,
                timeout_s: float = 15) -> Any:
        """Ask the HTTP API; a JSON answer is parsed, None stands for 404; other refusals raise OSError."""
        data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else (
            json.dumps(body).encode() if body is not None else None)
        given = self.token if token is None else token
        status, text = ask(self.address, method, path, body=data, headers={"X-Consul-Token": given} if given else {},
                           netns=self.netns, timeout_s=stretched(timeout_s))
        if status == 404:
            return None
        if status >= 300:
            raise OSError(f"{method} {path}: {status} {text[:200]}")
        try:
            return json.loads(text)
        except ValueError:
            return text

    def put(self, key: str, value: str | bytes) -> None:
        """Write a key, however strange its name: a transaction carries it where a path would not."""
        data = value if isinstance(value, bytes) else value.encode()
        operation = {"Verb": "set", "Key": key, "Value": base64.b64encode(data).decode()}
        self.request("PUT", "/v1/txn", [{"KV": operation}])

    def get(self, key: str) -> str | None:
        answer: str | None = self.request("GET", f"/v1/kv/{key}?raw")
        return answer if answer is None or isinstance(answer, str) else json.dumps(answer)

    def register(self, service: dict[str, Any]) -> None:
        """Register with the local agent; keys as in Consul's HTTP API (Name, ID, Address, Port, Meta, Check)."""
        self.request("PUT", "/v1/agent/service/register", service)

    def passing(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("GET", f"/v1/health/service/{name}?passing") or []
        return found
