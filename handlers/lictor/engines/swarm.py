"""The engine `swarm`: one Swarm service for each colour, named as in the catalogue. Swarm places and repairs tasks.

A change of the count changes nothing else, so that no task is made anew for it. Settings that are no part of the
release (the stop grace, the release's times) reach Swarm with the next release.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lictor import errors, model
from lictor.adapters import docker_swarm, heartbeat
from lictor.adapters.process import CalledOff
from lictor.engines import container_options, labels, own_containers
from lictor.engines.protocols import Order
from lictor.spec import service_spec
from lictor.spec.container.resources import Logging
from lictor.spec.settings import Settings

_RESTART_DELAY_S = 2.0  # also before the replacement of a task that lictor or a dead node ended
_VOLUME = re.compile(r"(?:(?P<source>/[^:]*|[A-Za-z0-9][A-Za-z0-9_.-]+):)?(?P<target>/[^:]*)(?::(?P<options>[^:]*))?")
_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")

end = own_containers.remove
logs = own_containers.logs


def acts_here(settings: Settings) -> bool:
    try:
        return docker_swarm.connect().is_manager()
    except errors.Unavailable:
        if heartbeat.read(settings.state_dir):
            raise
        return False  # no registrar ever ran here: the engine is not away, this node only routes


def is_here() -> bool:
    try:
        return docker_swarm.connect().is_member()
    except errors.Unavailable:
        return False


def groups(service: str | None = None) -> list[model.Group] | None:
    client = docker_swarm.connect()
    label = model.LABEL_SERVICE if service is None else f"{model.LABEL_SERVICE}={service}"
    services = [service for service in client.services(label) if _has_own_name(service["Spec"])]
    tasks = client.tasks(label)
    return sorted(group(service, tasks) for service in services)


def scale(settings: Settings, order: Order, called_off: CalledOff | None = None) -> str:
    client, service = _connect(order.spec.name, order.color)
    client.require_networks(order.spec.networks)
    if service is None:
        return _create(client, definition(order))
    if service["Spec"]["Labels"].get(model.LABEL_RELEASE) != order.release:
        return _update(client, service, definition(order))
    desired = {**service["Spec"], "Mode": {"Replicated": {"Replicas": order.replicas}}}
    if desired == service["Spec"] and not _paused(service):
        return f"{service['Spec']['Name']} is so already"
    return _update(client, service, desired)  # which also resumes a paused update


def redeploy(settings: Settings, order: Order, called_off: CalledOff | None = None) -> str:
    client, service = _connect(order.spec.name, order.color)
    client.require_networks(order.spec.networks)
    desired = definition(order)
    if service is None:
        return _create(client, desired)
    again = service["Spec"]["Labels"].get(model.LABEL_RELEASE) == order.release
    desired["TaskTemplate"]["ForceUpdate"] = service["Spec"]["TaskTemplate"].get("ForceUpdate", 0) + again
    return _update(client, service, desired)


def remove(settings: Settings, order: Order, called_off: CalledOff | None = None) -> str:
    client, service = _connect(order.spec.name, order.color)
    if service is None:
        return ""
    client.remove(service["ID"])
    return f"{service['Spec']['Name']} is removed"


def containers(service: str | None = None) -> list[model.Container]:
    return own_containers.containers(service, made_by="swarm")


def group(service: Mapping[str, Any], tasks: Iterable[Mapping[str, Any]]) -> model.Group:
    """Sum up a Swarm service's order and what came of it, from Swarm's descriptions of it and of all tasks."""
    spec, labels = service["Spec"], service["Spec"]["Labels"]
    release, color = labels.get(model.LABEL_RELEASE, ""), labels.get(model.LABEL_COLOR, "")
    own = [task for task in tasks if task["ServiceID"] == service["ID"]]
    current = [task for task in own if _release(task) == release]
    running = [task for task in current if task["Status"]["State"] == task["DesiredState"] == "running"]
    replicas = spec["Mode"].get("Replicated", {}).get("Replicas", 0)
    last_error = _last_error(current, running) if len(running) < replicas else ""
    return model.Group(
        service=labels[model.LABEL_SERVICE], color=color, replicas=replicas, release=release,
        image=spec["TaskTemplate"]["ContainerSpec"]["Image"],
        container_ids=tuple(sorted(task["Status"]["ContainerStatus"]["ContainerID"] for task in running)),
        trouble=": ".join(filter(None, [_paused(service), last_error])), gave_up=bool(_paused(service)),
        task_ids=tuple(sorted(filter(None, ((task["Status"].get("ContainerStatus") or {}).get("ContainerID", "")
                                            for task in own)))))


def definition(order: Order) -> dict[str, Any]:
    """Make the body of the Engine API's `POST /services/create`."""
    spec, color, replicas, release = order
    port = spec.container_port
    # Swarm replaces one task at a time, and pauses if a new task ends within `healthy_for`; without the delay it would
    # be through before it notices. Then lictor goes back and records why. Swarm's own rollback would return to a spec
    # that lictor did not decide on.
    healthy_for = _nanoseconds(spec.release.healthy_for)
    update = {"Parallelism": 1, "Order": "start-first", "FailureAction": "pause", "Delay": healthy_for,
              "Monitor": healthy_for}
    return {
        "Name": model.catalog_name(spec.name, color),
        "Labels": labels.identify(spec.name, engine="swarm", color=color, release=release),
        "TaskTemplate": {
            "ContainerSpec": _container(spec, color=color, release=release),
            "Resources": {"Limits": {**_resources(spec), "Pids": spec.pids_limit}, "Reservations": _resources(spec)},
            "RestartPolicy": {"Condition": "any", "Delay": _nanoseconds(_RESTART_DELAY_S)},
            "Placement": {
                "Constraints": spec.placement.constraints,
                "Preferences": [{"Spread": {"SpreadDescriptor": label}} for label in spec.placement.spread]},
            "Networks": [{"Target": network} for network in spec.networks],
            **({"LogDriver": {"Name": spec.logging.driver, "Options": spec.logging.options}}
               if spec.logging != Logging() else {}),
        },
        "Mode": {"Replicated": {"Replicas": replicas}},
        "UpdateConfig": update,
        "RollbackConfig": update,
        "EndpointSpec": {"Ports": [{"Protocol": port.protocol, "TargetPort": each, "PublishMode": "host"}
                                   for each in (port.number, spec.check_port) if each]
                         if port else []},  # without a PublishedPort the node picks one, which its registrar registers
    }


def _container(spec: service_spec.Spec, *, color: str, release: str) -> dict[str, Any]:
    return {
        "Image": spec.image,
        "Labels": labels.describe(spec, color=color, release=release),
        "Command": spec.entrypoint_words,  # Swarm's words: Command is the entrypoint, and Args the command
        "Args": spec.command_words,
        "Hostname": '{{printf "%.63s" (printf "%s-%v" .Service.Name .Task.Slot)}}',
        "Env": [_literal(f"{name}={value}") for name, value in spec.environment_table.items()],
        "User": spec.user,
        "ReadOnly": spec.read_only,
        "CapabilityDrop": spec.cap_drop,
        "StopGracePeriod": _nanoseconds(spec.stop_grace_period),
        "Mounts": [*map(_mount, spec.volumes), *container_options.mounts_of_swarm(spec)],
        **container_options.of_swarm(spec, _literal),
    }


def _mount(volume: str) -> dict[str, Any]:
    """Parse one of `volumes`, such as data:/data or /etc/books:/etc/books:ro. Swarm makes no folder on a node."""
    match = _VOLUME.fullmatch(volume)
    options = set((match["options"] or "rw").split(",")) if match else set()
    if not match or options - {"ro", "rw", "nocopy", *_PROPAGATIONS}:
        raise errors.Refused(f"volumes holds {volume[:100]!r}; Swarm takes TARGET, NAME:TARGET or /SOURCE:TARGET, and "
                             f"behind that ro, rw, nocopy, {', '.join(_PROPAGATIONS)}")
    source = match["source"] or ""
    mount = {"Type": "bind" if source.startswith("/") else "volume", "Source": _literal(source),
             "Target": _literal(match["target"]), "ReadOnly": "ro" in options}
    if mount["Type"] == "volume":
        return {**mount, "VolumeOptions": {"NoCopy": "nocopy" in options}}
    return {**mount, "BindOptions": {"Propagation": next((name for name in _PROPAGATIONS if name in options), "")}}


def _resources(spec: service_spec.Spec) -> dict[str, int]:
    return {"NanoCPUs": round(spec.resources.cpus * 1e9), "MemoryBytes": int(spec.resources.memory)}


def _connect(name: str, color: str) -> tuple[docker_swarm.Client, dict[str, Any] | None]:
    """Connect, and find the Swarm service of a colour; Refused if its name is taken by a service that is not ours."""
    client = docker_swarm.connect()
    catalog_name = model.catalog_name(name, color)
    service = client.service(catalog_name)
    if service:
        labels = service["Spec"]["Labels"]
        if (labels.get(model.LABEL_SERVICE), labels.get(model.LABEL_COLOR, "")) != (name, color):
            raise errors.Refused(f"swarm: service {catalog_name} does not say that it is {name}'s"
                                 f"{f', colour {color}' if color else ''}; it is left alone")
    return client, service


def _create(client: docker_swarm.Client, desired: dict[str, Any]) -> str:
    client.create(desired)
    return f"{desired['Name']} is made"


def _update(client: docker_swarm.Client, service: Mapping[str, Any], desired: dict[str, Any]) -> str:
    client.update(service["ID"], desired, version=service["Version"]["Index"])
    return f"{desired['Name']} is updated"


def _has_own_name(spec: Mapping[str, Any]) -> bool:
    """Decide whether the service has the name that its labels make; a user's copy of a service has the labels only."""
    own = spec["Labels"]
    return bool(spec["Name"] == model.catalog_name(own[model.LABEL_SERVICE], own.get(model.LABEL_COLOR, "")))


def _release(task: Mapping[str, Any]) -> str:
    return str((task["Spec"]["ContainerSpec"].get("Labels") or {}).get(model.LABEL_RELEASE, ""))


def _paused(service: Mapping[str, Any]) -> str:
    update = service.get("UpdateStatus") or {}
    return str(update.get("Message") or "paused") if str(update.get("State", "")).endswith("paused") else ""


def _last_error(tasks: Iterable[Mapping[str, Any]], running: Iterable[Mapping[str, Any]]) -> str:
    """Find the newest error of a slot where nothing runs; in the other slots the trouble is over."""
    running_slots = {task.get("Slot") for task in running}
    failed = [task["Status"] for task in tasks if task.get("Slot") not in running_slots and task["Status"].get("Err")]
    return str(max(failed, key=lambda status: str(status["Timestamp"]))["Err"]) if failed else ""


def _literal(text: str) -> str:
    """Escape the templates that Swarm expands in some fields."""
    return text.replace("{{", '{{"{{"}}')


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
