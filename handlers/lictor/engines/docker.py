"""The engine `docker`: containers named SERVICE[-COLOR]-N, so that Docker itself refuses a second one of a number."""

import contextlib
import math
from typing import Any

from lictor import errors, model
from lictor.adapters import docker
from lictor.engines import container_options, labels, own_containers
from lictor.spec import service_spec
from lictor.spec.cluster import Place

FENCED = False  # a container belongs to its node, where a lock between processes is enough

stop = own_containers.stop
remove = own_containers.remove
in_flight = own_containers.in_flight
logs = own_containers.logs

_LOG_BOUNDS = {"max-size": "10m", "max-file": "3"}


def containers(service: str | None = None) -> list[model.Container]:
    return own_containers.containers(service, made_by="docker")


def start(spec: service_spec.Spec, *, number: int, color: str, release: str, gated: bool = False,
          place: Place | None = None) -> model.Container:
    """Make and start an instance, as `ContainerEngine.start`; a member of a set with state has a place."""
    client = docker.connect()
    name = f"{model.catalog_name(spec.name, color)}-{number}"
    kept = client.inspect(name)
    if kept and _is_kept(kept, name, release):
        client.start(kept["Id"])
        return own_containers.read_started(client, kept["Id"])
    _require(client, spec)
    container_id = _create(client, name, definition(
        spec, name, number=number, color=color, release=release, gated=gated, place=place))
    try:
        for network in spec.networks[1:]:
            client.connect_network(container_id, network)
        client.start(container_id)
    except errors.LictorError:
        with contextlib.suppress(errors.LictorError):  # Docker's first reason is the one that helps
            client.remove(container_id)
        raise
    return own_containers.read_started(client, container_id)


def prepare(spec: service_spec.Spec) -> None:
    """Have an image here before what is made of another one ends; raises what `start` would."""
    _require(docker.connect(), spec)


def _require(client: docker.Client, spec: service_spec.Spec) -> None:
    client.require_networks(spec.networks)
    client.ensure_image(spec.image, timeout_s=own_containers.PULL_TIMEOUT_S, policy=spec.pull_policy)


def definition(spec: service_spec.Spec, name: str, *, number: int, color: str, release: str,
               gated: bool = False, place: Place | None = None) -> dict[str, Any]:
    """Make the body of the Engine API's `POST /containers/create`."""
    volumes = [volume for volume in spec.volumes if ":" not in volume]
    bindings = _bindings(spec, place)
    return {
        "Image": spec.image,
        "Hostname": name[:63],
        "User": spec.user,
        "Env": [f"{name}={value}" for name, value in spec.environment_table.items()],
        "Cmd": spec.command_words or None,
        "Entrypoint": spec.entrypoint_words or None,
        "Labels": labels.of_container(
            spec, name=name, number=number, color=color, release=release, gated=gated, place=place),
        "Volumes": {volume: {} for volume in volumes},
        "StopTimeout": math.ceil(spec.stop_grace_period),
        "ExposedPorts": dict.fromkeys(bindings, {}),
        **container_options.config(spec),
        "HostConfig": {
            "PortBindings": bindings,
            "Binds": [volume for volume in spec.volumes if volume not in volumes],
            "NetworkMode": spec.networks[0] if spec.networks else "default",
            "RestartPolicy": {"Name": "no"},
            "ReadonlyRootfs": spec.read_only,
            "CapDrop": spec.cap_drop,
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": spec.logging.driver, "Config": spec.logging.options},
            "NanoCpus": round(spec.resources.cpus * 1e9),
            "Memory": int(spec.resources.memory),
            **container_options.host_config(spec),
        },
    }


def _bindings(spec: service_spec.Spec, place: Place | None) -> dict[str, list[dict[str, str]]]:
    """Publish the port, and the check's, at ones that Docker chooses; those of a member at its own."""
    port = spec.container_port
    if port is None:
        return {}
    inside = [port.number, *([spec.check_port] if spec.check_port else [])]
    ports = {each: str(outside) for each, outside in place.published.items()} if place else dict.fromkeys(inside, "")
    return {f"{each}/{port.protocol}": [{"HostIp": port.publish_address, "HostPort": outside}]
            for each, outside in ports.items()}


def _create(client: docker.Client, name: str, desired: dict[str, Any]) -> str:
    """Create a container; its log is bounded if neither the spec nor the daemon bounds it.

    Only a container that was created shows the daemon's own settings of logs, and nothing changes them afterwards.
    """
    container_id = client.create(name, desired)
    log = (client.inspect(container_id) or {}).get("HostConfig", {}).get("LogConfig", {})
    if log.get("Type") != "json-file" or "max-size" in (log["Config"] or {}):
        return container_id
    client.remove(container_id)
    bounded = {"Type": log["Type"], "Config": {**_LOG_BOUNDS, **(log["Config"] or {})}}
    return client.create(name, {**desired, "HostConfig": {**desired["HostConfig"], "LogConfig": bounded}})


def _is_kept(found: dict[str, Any], name: str, release: str) -> bool:
    own = found["Config"]["Labels"] or {}
    return found["State"]["Status"] == "exited" and (
        labels.maker(name, own), own.get(model.LABEL_RELEASE)) == ("docker", release)
