"""Containers on the Docker engine of this node, named SERVICE[-COLOR]-N, so that Docker itself refuses a second one."""

import contextlib
import datetime
import ipaddress
import math
import re
from typing import Any

from lictor import containers as docker
from lictor import errors, model, policy

FENCED = False  # a container belongs to its node, where a lock between processes is enough

_ESTABLISHED = "01"
_EXITED = re.compile(r"Exited \((-?\d+)\)")  # `Exited (137) 5 minutes ago`
_PULL_TIMEOUT_S = 600.0
# Labels that decide what a container is registered as; the spec says that, so a user's labels may not.
_REGISTERED_AS = re.compile(r"SERVICE_(?:\d+_)?(?:NAME|ID|IGNORE|CHECK_.*)", re.IGNORECASE | re.ASCII)


def containers(service: str | None = None) -> list[model.Container]:
    client = docker.connect()
    if service is None:
        found = [_listed(each) for each in client.labelled(model.LABEL_SERVICE)]
    else:
        inspected = [client.inspect(each["Id"]) for each in client.labelled(f"{model.LABEL_SERVICE}={service}")]
        found = [_container(each) for each in inspected if each]
    return sorted(found, key=lambda each: (each.name, each.id))


def start(spec: policy.Spec, *, number: int, color: str, release: str, gated: bool = False) -> model.Container:
    client = docker.connect()
    name = f"{model.catalog_name(spec.name, color)}-{number}"
    kept = client.inspect(name)
    if kept and _is_kept(kept, spec.name, release):
        client.start(kept["Id"])
        return _container(client.inspect(kept["Id"]) or kept)
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
    return _container(started)


def stop(container: model.Container, *, grace_s: float) -> None:
    client = docker.connect()
    if _is_ours(client.inspect(container.id), container):
        client.stop(container.id, grace_s=math.ceil(grace_s))


def remove(container: model.Container, *, grace_s: float) -> None:
    client = docker.connect()
    if _is_ours(client.inspect(container.id), container):
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
        "Labels": _labels(spec, number=number, color=color, release=release),
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


def _labels(spec: policy.Spec, *, number: int, color: str, release: str) -> dict[str, str]:
    labels = {key: value for key, value in spec.label_table.items() if not _REGISTERED_AS.fullmatch(key)}
    labels |= {model.LABEL_SERVICE: spec.name, model.LABEL_NUMBER: str(number), model.LABEL_RELEASE: release,
               "SERVICE_NAME": model.catalog_name(spec.name, color)}
    if color:
        labels[model.LABEL_COLOR] = color
    if spec.container_port:  # whatever other ports the image has, this one has the name without its number behind
        labels[f"SERVICE_{spec.container_port.number}_NAME"] = labels["SERVICE_NAME"]
    if spec.container_port and spec.check:
        check, prefix = spec.check, f"SERVICE_{spec.container_port.number}_CHECK"
        labels |= {f"{prefix}_HTTP": check.http} if check.http else {f"{prefix}_TCP": "true"}
        labels |= {f"{prefix}_INTERVAL": f"{round(check.interval * 1000)}ms",
                   f"{prefix}_TIMEOUT": f"{round(check.timeout * 1000)}ms"}
    return labels


def _is_ours(found: dict[str, Any] | None, container: model.Container) -> bool:
    """False when it is gone; Refused when it does not say itself that it is the one."""
    if found is None:
        return False
    labels = found["Config"]["Labels"] or {}
    if (labels.get(model.LABEL_SERVICE), labels.get(model.LABEL_NUMBER)) != (container.service, str(container.number)):
        raise errors.Refused(f"docker: {container.name} ({container.id[:12]}) does not say that it is number "
                             f"{container.number} of {container.service}; it is left alone")
    return True


def _is_kept(found: dict[str, Any], service: str, release: str) -> bool:
    labels = found["Config"]["Labels"] or {}
    return found["State"]["Status"] == "exited" and (
        labels.get(model.LABEL_SERVICE), labels.get(model.LABEL_RELEASE)) == (service, release)


def _container(found: dict[str, Any]) -> model.Container:
    state = found["State"]
    return _labelled(
        found["Config"]["Labels"], id=found["Id"], name=found["Name"].removeprefix("/"), image=found["Config"]["Image"],
        status=state["Status"], created_at=_epoch(found["Created"]), started_at=_epoch(state["StartedAt"]),
        exit_code=None if state["Running"] or state["Status"] == "created" else state["ExitCode"],
    )


def _listed(found: dict[str, Any]) -> model.Container:
    """From the short form of Docker's list, as far as that goes."""
    created_at, exited = float(found["Created"]), _EXITED.match(found["Status"])
    own = [each.removeprefix("/") for each in found["Names"] if each.count("/") == 1]  # /OTHER/ALIAS is a link's
    return _labelled(
        found["Labels"], id=found["Id"], name=own[0] if own else found["Id"][:12],  # a dead one may have lost its name
        image=found["Image"], status=found["State"], created_at=created_at,
        started_at=0.0 if found["State"] == "created" else created_at, exit_code=int(exited[1]) if exited else None,
    )


def _labelled(labels: dict[str, str], **facts: Any) -> model.Container:
    number = labels.get(model.LABEL_NUMBER, "")
    return model.Container(
        service=labels[model.LABEL_SERVICE], number=int(number) if number.isdecimal() else 0,
        color=labels.get(model.LABEL_COLOR, ""), release=labels.get(model.LABEL_RELEASE, ""), **facts)


def _epoch(text: str) -> float:
    """The year 1 is Docker's word for never."""
    return 0.0 if text.startswith("0001-") else datetime.datetime.fromisoformat(text).timestamp()


def _is_loopback(address: str) -> bool:
    """Of an address as the kernel prints it: words of four bytes in the machine's order, a colon, the port."""
    words = bytes.fromhex(address.partition(":")[0])
    in_order = b"".join(words[at:at + 4][::-1] for at in range(0, len(words), 4))
    ip = ipaddress.ip_address(in_order)
    return ip.is_loopback or bool(ip.version == 6 and ip.ipv4_mapped and ip.ipv4_mapped.is_loopback)
