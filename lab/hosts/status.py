"""How each host of the lab is: asked of the programs themselves, on the host itself, so that a cut changes nothing."""

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from lab.hosts.host import Host
from lab.hosts.lab import Lab

_TIMEOUT_S = 3.0


class Status(NamedTuple):
    """`consul` and `swarm` say the host's role as it sees it itself; `alive`: the Consul members that it sees alive."""

    host: str
    address: str
    state: str  # up, cut, killed
    consul: str = "-"
    alive: tuple[str, ...] = ()
    swarm: str = "-"
    nginx: bool = False
    registrar: bool = False

    def is_well(self, count: int) -> bool:
        knows_leader = self.consul == "leader" or " of " in self.consul
        return (self.state == "up" and knows_leader and len(self.alive) == count and self.nginx and self.registrar
                and self.swarm in ("leader", "manager", "worker"))


def read(lab: Lab) -> list[Status]:
    with ThreadPoolExecutor(len(lab.hosts)) as pool:
        return list(pool.map(lambda host: _status(lab, host), lab.hosts))


def table(rows: list[Status]) -> str:
    shown = [("HOST", "ADDRESS", "STATE", "CONSUL", "SEES ALIVE", "SWARM", "NGINX", "REGISTRAR")]
    for each in rows:
        seen = ", ".join(each.alive) or "-"
        flags = ("yes" if each.nginx else "no", "yes" if each.registrar else "no")
        shown.append((each.host, each.address, each.state, each.consul, seen, each.swarm, *flags))
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in shown)


def _status(lab: Lab, host: Host) -> Status:
    if not host.is_running:
        return Status(host.name, host.address, "killed")
    return Status(
        host.name, host.address, "cut" if lab.network.is_cut(host.name) else "up",
        consul=_tried(lambda: _consul(lab, host)) or "no answer",
        alive=tuple(_tried(lambda: _alive(host)) or ()),
        swarm=_tried(lambda: _swarm(host)) or "no answer",
        nginx=bool(_tried(host.nginx.is_up)),
        registrar=bool(host.processes("/lictor-registrar")),
    )


def _consul(lab: Lab, host: Host) -> str:
    own = host.consul.request("GET", "/v1/agent/self", timeout_s=_TIMEOUT_S)
    leader = str(host.consul.request("GET", "/v1/status/leader", timeout_s=_TIMEOUT_S)).partition(":")[0]
    names = {each.address: each.name for each in lab.hosts}
    if leader == host.address:
        return "leader"
    role = "follower" if own["Config"]["Server"] else "client"
    return f"{role} of {names[leader]}" if leader in names else f"{role}, no leader"


def _alive(host: Host) -> list[str]:
    members = host.consul.request("GET", "/v1/agent/members", timeout_s=_TIMEOUT_S)
    return sorted(each["Name"] for each in members if each["Status"] == 1)


def _swarm(host: Host) -> str:
    swarm = json.loads(host.docker.docker("info", "--format", "{{json .Swarm}}", timeout_s=_TIMEOUT_S))
    if swarm["LocalNodeState"] != "active":
        return str(swarm["LocalNodeState"])
    if not swarm["ControlAvailable"]:
        return f"worker, {swarm['Error']}" if swarm["Error"] else "worker"
    words = ("node", "inspect", "self", "--format", "{{.ManagerStatus.Leader}}")
    leads = _tried(lambda: host.docker.docker(*words, timeout_s=_TIMEOUT_S))
    return {"true": "leader", "false": "manager"}.get(leads or "", "manager, no quorum")


def _tried(ask: Callable[[], Any]) -> Any:
    """Ask it; None if it does not answer."""
    try:
        return ask()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
