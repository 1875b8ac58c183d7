"""lictor's own containers on this node's Docker, whichever engine made them: listed, ended, looked into."""

import datetime
import ipaddress
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from lictor import errors, model
from lictor.adapters import docker
from lictor.engines import labels

PULL_TIMEOUT_S = 600.0

_ESTABLISHED = "01"
_EXITED = re.compile(r"Exited \((-?\d+)\)")  # `Exited (137) 5 minutes ago`
_HEALTH = re.compile(r"\b(?:starting|healthy|unhealthy)\b")


def containers(service: str | None, made_by: Literal["docker", "compose", "swarm"]) -> list[model.Container]:
    """List the containers that one engine made, as `ContainerEngine.containers` describes it."""
    client = docker.connect()
    label = model.LABEL_SERVICE if service is None else f"{model.LABEL_SERVICE}={service}"
    listed = [each for each in client.labelled(label) if labels.maker(_listed_name(each), each["Labels"]) == made_by]
    if service is None:
        found = [_from_list(each) for each in listed]
    else:
        found = [_from_inspect(each) for each in (client.inspect(each["Id"]) for each in listed) if each]
    return sorted(found, key=lambda container: (container.name, container.id))


def read_started(client: docker.Client, container_id: str) -> model.Container:
    """Inspect a container that was started just now."""
    found = client.inspect(container_id)
    if found is None:
        raise errors.Unavailable(f"docker: {container_id[:12]} was removed by another program while it started")
    return _from_inspect(found)


def stop(container: model.Container, *, grace_s: float) -> None:
    client = docker.connect()
    if _is_same(client.inspect(container.id), container):
        client.stop(container.id, grace_s=math.ceil(grace_s))


def remove(container: model.Container, *, grace_s: float) -> None:
    client = docker.connect()
    if _is_same(client.inspect(container.id), container):
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
                return None  # the engine runs on another machine, and the process id is another process here
        count = 0
        for table in ("tcp", "tcp6"):
            with open(f"{proc}/net/{table}", encoding="ascii") as file:
                count += count_connections(file.read(), ports)
        return count
    except OSError:
        return None


def logs(container: model.Container, *, lines: int) -> str:
    return docker.connect().logs(container.id, lines=lines)


def ended_at(container: model.Container) -> float:
    """Read when its run before this one ended; 0.0: there was none."""
    found = docker.connect().inspect(container.id)
    return _epoch(found["State"]["FinishedAt"]) if found else 0.0


def count_connections(table: str, ports: set[int]) -> int:
    """Count established connections to local `ports` in the text of /proc/PID/net/tcp or tcp6, without loopback's."""
    count = 0
    for line in table.splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if state == _ESTABLISHED and int(local.partition(":")[2], 16) in ports and not _is_loopback(remote):
            count += 1
    return count


def _is_loopback(address: str) -> bool:
    """Judge an address as the kernel prints it: words of four bytes in the machine's order, a colon, the port."""
    words = bytes.fromhex(address.partition(":")[0])
    in_order = b"".join(words[at:at + 4][::-1] for at in range(0, len(words), 4))
    ip = ipaddress.ip_address(in_order)
    return ip.is_loopback or bool(ip.version == 6 and ip.ipv4_mapped and ip.ipv4_mapped.is_loopback)


def devices(volumes: Iterable[str]) -> dict[str, str]:
    """Find, of named volumes, those that mount a path or a disk of this host, by the options that they were made with.
    """
    client = docker.connect()
    found = {name: client.volume_device(name) for name in volumes}
    return {name: device for name, device in found.items() if device}


def _is_same(found: Mapping[str, Any] | None, known: model.Container) -> bool:
    """Decide whether Docker still has a container; Refused if its name and labels are not of this service and number.
    """
    if found is None:
        return False
    name, own = _name(found), found["Config"]["Labels"] or {}
    if not labels.maker(name, own) or (own.get(model.LABEL_SERVICE), labels.number(own)) != (
            known.service, str(known.number)):
        raise errors.Refused(f"docker: {name} ({known.id[:12]}) is not a container that lictor made as number "
                             f"{known.number} of {known.service}; it is left alone")
    if found["State"]["Paused"]:
        raise errors.Conflict(f"docker: {known.name} was paused meanwhile; it is left alone")
    return True


def _name(inspected: Mapping[str, Any]) -> str:
    return str(inspected["Name"]).removeprefix("/")


def _listed_name(listed: Mapping[str, Any]) -> str:
    """Find the name in Docker's list; "" once Docker has forgotten it. /OTHER/ALIAS is a link's."""
    return next((name.removeprefix("/") for name in listed["Names"] or () if name.count("/") == 1), "")


def _from_inspect(found: Mapping[str, Any]) -> model.Container:
    state = found["State"]
    return _labelled(
        found["Config"]["Labels"] or {}, id=found["Id"], name=_name(found),
        image=found["Config"]["Image"], status=state["Status"], created_at=_epoch(found["Created"]),
        started_at=_epoch(state["StartedAt"]), health=_health((state.get("Health") or {}).get("Status", "")),
        is_out_of_memory=bool(state.get("OOMKilled")), restarts=found.get("RestartCount", 0),
        exit_code=None if state["Running"] or state["Status"] == "created" else state["ExitCode"],
    )


def _from_list(found: Mapping[str, Any]) -> model.Container:
    """Read the short form of Docker's list, as far as that goes."""
    created_at, exited = float(found["Created"]), _EXITED.match(found["Status"])
    return _labelled(
        found["Labels"], id=found["Id"], name=_listed_name(found) or found["Id"][:12],
        image=found["Image"], status=found["State"], created_at=created_at,
        started_at=0.0 if found["State"] == "created" else created_at, exit_code=int(exited[1]) if exited else None,
        health=_health(found["Status"]),
    )


def _labelled(given: Mapping[str, str], **facts: Any) -> model.Container:
    return model.Container(
        service=given.get(model.LABEL_SERVICE, ""), number=int(labels.number(given) or 0),
        color=given.get(model.LABEL_COLOR, ""), release=given.get(model.LABEL_RELEASE, ""), **facts)


def _health(text: str) -> str:
    """Read Docker's word on a HEALTHCHECK, by itself or as its list shows it: `Up 3 minutes (health: starting)`."""
    match = _HEALTH.search(text)
    return match[0] if match else ""


def _epoch(text: str) -> float:
    """Parse Docker's time; the year 1 is its word for never."""
    return 0.0 if text.startswith("0001-") else datetime.datetime.fromisoformat(text).timestamp()
