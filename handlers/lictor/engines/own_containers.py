"""Lictor's own containers on this node's Docker, whichever engine has made them: seen, ended, looked into."""

import ipaddress
import math

from lictor import errors, model
from lictor.adapters import docker
from lictor.engines import inspection

PULL_TIMEOUT_S = 600.0
LABEL_COMPOSE = "com.docker.compose.project"  # Compose puts it on all that it makes

_ESTABLISHED = "01"


def containers(service: str | None = None, *, by_compose: bool) -> list[model.Container]:
    """Those that Compose has made, or all others but Swarm's, as `Engine.containers` describes them."""
    client = docker.connect()
    label = model.LABEL_SERVICE if service is None else f"{model.LABEL_SERVICE}={service}"
    found = [each for each in client.labelled(label) if (LABEL_COMPOSE in each["Labels"]) == by_compose
             and model.LABEL_TASK not in each["Labels"]]
    if service is None:
        listed = [inspection.listed(each) for each in found]
    else:
        listed = [inspection.container(each) for each in (client.inspect(each["Id"]) for each in found) if each]
    return sorted(listed, key=lambda each: (each.name, each.id))


def seen(client: docker.Client, container_id: str) -> model.Container:
    """One that was started just now."""
    found = client.inspect(container_id)
    if found is None:
        raise errors.Unavailable(f"docker: {container_id[:12]} was removed by somebody else while it started")
    return inspection.container(found)


def stop(container: model.Container, *, grace_s: float) -> None:
    client = docker.connect()
    if inspection.is_same(client.inspect(container.id), container):
        client.stop(container.id, grace_s=math.ceil(grace_s))


def remove(container: model.Container, *, grace_s: float) -> None:
    client = docker.connect()
    if inspection.is_same(client.inspect(container.id), container):
        client.stop(container.id, grace_s=math.ceil(grace_s))
        client.remove(container.id)


def in_flight(container: model.Container) -> int | None:
    found = docker.connect().inspect(container.id)
    if found is None or not found["State"]["Pid"]:
        return None
    proc = f"/proc/{found['State']['Pid']}"
    published = found["NetworkSettings"]["Ports"] or {}
    ports = {int(key.partition("/")[0]) for key, bindings in published.items() if bindings}
    if not ports:
        return None
    try:
        with open(f"{proc}/cgroup", encoding="ascii") as file:
            if container.id not in file.read():
                return None  # a process of this machine, but the engine is on another
        count = 0
        for table in ("tcp", "tcp6"):
            with open(f"{proc}/net/{table}", encoding="ascii") as file:
                count += connections(file.read(), ports)
        return count
    except OSError:
        return None


def logs(container: model.Container, *, lines: int) -> str:
    return docker.connect().logs(container.id, lines=lines)


def connections(table: str, ports: set[int]) -> int:
    """Established connections to local `ports` in the text of /proc/PID/net/tcp or tcp6, but for those of loopback."""
    count = 0
    for line in table.splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if state == _ESTABLISHED and int(local.partition(":")[2], 16) in ports and not _is_loopback(remote):
            count += 1
    return count


def _is_loopback(address: str) -> bool:
    """Of an address as the kernel prints it: words of four bytes in the machine's order, a colon, the port."""
    words = bytes.fromhex(address.partition(":")[0])
    in_order = b"".join(words[at:at + 4][::-1] for at in range(0, len(words), 4))
    ip = ipaddress.ip_address(in_order)
    return ip.is_loopback or bool(ip.version == 6 and ip.ipv4_mapped and ip.ipv4_mapped.is_loopback)
