"""Containers on the Docker engine of this node, named SERVICE[-COLOR]-N, so that Docker itself refuses a second one."""

import contextlib
import ipaddress
import math
from typing import Any

from lictor import containers as docker
from lictor import errors, inspection, labels, model, policy

FENCED = False  # a container belongs to its node, where a lock between processes is enough

_ESTABLISHED = "01"
_PULL_TIMEOUT_S = 600.0


def containers(service: str | None = None) -> list[model.Container]:
    client = docker.connect()
    label = model.LABEL_SERVICE if service is None else f"{model.LABEL_SERVICE}={service}"
    own = [each for each in client.labelled(label) if model.LABEL_TASK not in each["Labels"]]  # those are Swarm's
    if service is None:
        found = [inspection.listed(each) for each in own]
    else:
        inspected = [client.inspect(each["Id"]) for each in own]
        found = [inspection.container(each) for each in inspected if each]
    return sorted(found, key=lambda each: (each.name, each.id))


def start(spec: policy.Spec, *, number: int, color: str, release: str, gated: bool = False) -> model.Container:
    client = docker.connect()
    name = f"{model.catalog_name(spec.name, color)}-{number}"
    kept = client.inspect(name)
    if kept and _is_kept(kept, spec.name, release):
        client.start(kept["Id"])
        return inspection.container(client.inspect(kept["Id"]) or kept)
    client.ensure_image(spec.image, timeout_s=_PULL_TIMEOUT_S)
    body = definition(spec, name, number=number, color=color, release=release)
    body["Labels"] |= {model.LABEL_GATE: "smoke"} if gated else {}
    container_id = client.create(name, body)
    try:
        for network in spec.networks[1:]:
            client.connect_network(container_id, network)
        client.start(container_id)
    except errors.LictorError:
        with contextlib.suppress(errors.LictorError):  # Docker's first reason is the one that helps
            client.remove(container_id)
        raise
    started = client.inspect(container_id)
    if started is None:
        raise errors.Unavailable(f"docker: {name} was removed by somebody else while it started")
    return inspection.container(started)


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


def definition(spec: policy.Spec, name: str, *, number: int, color: str, release: str) -> dict[str, Any]:
    """The body of the Engine API's `POST /containers/create`."""
    volumes = [each for each in spec.volumes if ":" not in each]
    port = spec.container_port
    key = f"{port.number}/{port.protocol}" if port else ""
    return {
        "Image": spec.image,
        "Hostname": name[:63],
        "User": spec.user,
        "Env": [f"{key}={value}" for key, value in spec.environment_table.items()],
        "Cmd": spec.command_words or None,
        "Entrypoint": spec.entrypoint_words or None,
        "Labels": labels.describe(spec, color=color, release=release) | {model.LABEL_NUMBER: str(number)},
        "Volumes": {each: {} for each in volumes},
        "StopTimeout": math.ceil(spec.stop_grace_period),
        "ExposedPorts": {key: {}} if port else {},
        "HostConfig": {
            "PortBindings": {key: [{"HostIp": port.publish_address, "HostPort": ""}]} if port else {},
            "Binds": [each for each in spec.volumes if each not in volumes],
            "NetworkMode": spec.networks[0] if spec.networks else "default",
            "RestartPolicy": {"Name": "no"},
            "ReadonlyRootfs": spec.read_only,
            "CapDrop": spec.cap_drop,
            "LogConfig": {"Type": spec.logging.driver, "Config": spec.logging.options},
            "NanoCpus": round(spec.resources.cpus * 1e9),
            "Memory": int(spec.resources.memory),
        },
    }


def _is_kept(found: dict[str, Any], service: str, release: str) -> bool:
    there = inspection.container(found)
    return (there.status, there.service, there.release) == ("exited", service, release)


def _is_loopback(address: str) -> bool:
    """Of an address as the kernel prints it: words of four bytes in the machine's order, a colon, the port."""
    words = bytes.fromhex(address.partition(":")[0])
    in_order = b"".join(words[at:at + 4][::-1] for at in range(0, len(words), 4))
    ip = ipaddress.ip_address(in_order)
    return ip.is_loopback or bool(ip.version == 6 and ip.ipv4_mapped and ip.ipv4_mapped.is_loopback)
