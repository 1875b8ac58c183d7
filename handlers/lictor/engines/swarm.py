"""Docker's Swarm mode: one Swarm service for each colour, named as in the catalogue. Swarm places and repairs tasks.

A change of the count leaves everything else as it is, so that no task is made anew for it: what is no part of the
release (the stop grace, the release's times) reaches Swarm with the next release.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lictor import errors, model
from lictor.adapters import docker_swarm, heartbeat
from lictor.adapters.process import CalledOff
from lictor.engines import labels, own_containers
from lictor.spec import service_spec
from lictor.spec.settings import Settings

_RESTART_DELAY_S = 2.0  # also before the replacement of one that lictor or a dead node ended
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
        return False  # no registrar ever ran here: it is no engine that is away, but a node that only routes


def is_here() -> bool:
    try:
        return docker_swarm.connect().is_member()
    except errors.Unavailable:
        return False


def groups(service: str | None = None) -> list[model.Group] | None:
    client = docker_swarm.connect()
    label = model.LABEL_SERVICE if service is None else f"{model.LABEL_SERVICE}={service}"
    services = [each for each in client.services(label) if _is_named(each["Spec"])]
    tasks = client.tasks(label)
    return sorted(group(each, tasks) for each in services)


def scale(settings: Settings, spec: service_spec.Spec, *, color: str, replicas: int, release: str,
          called_off: CalledOff | None = None) -> str:
    client, there = _connect(spec.name, color)
    if there is None:
        return _create(client, definition(spec, color=color, replicas=replicas, release=release))
    if there["Spec"]["Labels"].get(model.LABEL_RELEASE) != release:
        return _update(client, there, definition(spec, color=color, replicas=replicas, release=release))
    wanted = {**there["Spec"], "Mode": {"Replicated": {"Replicas": replicas}}}
    if wanted == there["Spec"] and not _paused(there):
        return f"{there['Spec']['Name']} is so already"
    return _update(client, there, wanted)  # which also has a paused update go on


def redeploy(settings: Settings, spec: service_spec.Spec, *, color: str, replicas: int, release: str,
             called_off: CalledOff | None = None) -> str:
    client, there = _connect(spec.name, color)
    wanted = definition(spec, color=color, replicas=replicas, release=release)
    if there is None:
        return _create(client, wanted)
    again = there["Spec"]["Labels"].get(model.LABEL_RELEASE) == release
    wanted["TaskTemplate"]["ForceUpdate"] = there["Spec"]["TaskTemplate"].get("ForceUpdate", 0) + again
    return _update(client, there, wanted)


def remove(settings: Settings, spec: service_spec.Spec, *, color: str, called_off: CalledOff | None = None) -> str:
    client, there = _connect(spec.name, color)
    if there is None:
        return ""
    client.remove(there["ID"])
    return f"{there['Spec']['Name']} is removed"


def containers(service: str | None = None) -> list[model.Container]:
    return own_containers.containers(service, made_by="swarm")


def group(service: Mapping[str, Any], tasks: Iterable[Mapping[str, Any]]) -> model.Group:
    """What a service was told, and what came of it, as Swarm describes it and all tasks."""
    spec, own = service["Spec"], service["Spec"]["Labels"]
    release = own.get(model.LABEL_RELEASE, "")
    current = [each for each in tasks if each["ServiceID"] == service["ID"] and _release(each) == release]
    running = [each for each in current if each["Status"]["State"] == each["DesiredState"] == "running"]
    replicas = spec["Mode"].get("Replicated", {}).get("Replicas", 0)
    missing = _last_error(current, running) if len(running) < replicas else ""
    return model.Group(
        service=own[model.LABEL_SERVICE], color=own.get(model.LABEL_COLOR, ""), replicas=replicas, release=release,
        image=spec["TaskTemplate"]["ContainerSpec"]["Image"],
        container_ids=tuple(sorted(each["Status"]["ContainerStatus"]["ContainerID"] for each in running)),
        trouble=": ".join(filter(None, [_paused(service), missing])), gave_up=bool(_paused(service)))


def definition(spec: service_spec.Spec, *, color: str, replicas: int, release: str) -> dict[str, Any]:
    """The body of the Engine API's `POST /services/create`."""
    port = spec.container_port
    # One task at a time, and no further when a new one ends within the time; without a delay it would be through before
    # it hears of that. Then lictor itself goes back, and records why: Swarm's own rollback would come in between, to a
    # spec that lictor did not decide on.
    healthy_for = _nanoseconds(spec.release.healthy_for)
    update = {"Parallelism": 1, "Order": "start-first", "FailureAction": "pause", "Delay": healthy_for,
              "Monitor": healthy_for}
    return {
        "Name": model.catalog_name(spec.name, color),
        "Labels": labels.identify(spec.name, color=color, release=release),
        "TaskTemplate": {
            "ContainerSpec": _container(spec, color=color, release=release),
            "Resources": {"Limits": _resources(spec), "Reservations": _resources(spec)},
            "RestartPolicy": {"Condition": "any", "Delay": _nanoseconds(_RESTART_DELAY_S)},
            "Placement": {
                "Constraints": spec.placement.constraints,
                "Preferences": [{"Spread": {"SpreadDescriptor": each}} for each in spec.placement.spread]},
            "Networks": [{"Target": each} for each in spec.networks],
            **({"LogDriver": {"Name": spec.logging.driver, "Options": spec.logging.options}}
               if spec.logging != service_spec.Logging() else {}),
        },
        "Mode": {"Replicated": {"Replicas": replicas}},
        "UpdateConfig": update,
        "RollbackConfig": update,
        "EndpointSpec": {"Ports": [{"Protocol": port.protocol, "TargetPort": port.number, "PublishMode": "host"}]
                         if port else []},  # without a PublishedPort the node picks one, and its registrar tells it
    }


def _container(spec: service_spec.Spec, *, color: str, release: str) -> dict[str, Any]:
    return {
        "Image": spec.image,
        "Labels": labels.describe(spec, color=color, release=release),
        "Command": spec.entrypoint_words,  # Swarm's words: Command is the entrypoint, and Args the command
        "Args": spec.command_words,
        "Hostname": '{{printf "%.63s" (printf "%s-%v" .Service.Name .Task.Slot)}}',
        "Env": [_literal(f"{key}={value}") for key, value in spec.environment_table.items()],
        "User": spec.user,
        "ReadOnly": spec.read_only,
        "CapabilityDrop": spec.cap_drop,
        "StopGracePeriod": _nanoseconds(spec.stop_grace_period),
        "Mounts": [_mount(each) for each in spec.volumes],
    }


def _mount(volume: str) -> dict[str, Any]:
    """One of `volumes`, such as data:/data or /etc/books:/etc/books:ro. Swarm makes no folder on a node for it."""
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
    return {**mount, "BindOptions": {"Propagation": next((each for each in _PROPAGATIONS if each in options), "")}}


def _resources(spec: service_spec.Spec) -> dict[str, int]:
    return {"NanoCPUs": round(spec.resources.cpus * 1e9), "MemoryBytes": int(spec.resources.memory)}


def _connect(service: str, color: str) -> tuple[docker_swarm.Client, dict[str, Any] | None]:
    """With the Swarm service of the colour, if there is one; Refused when its name is taken by what is not ours."""
    client = docker_swarm.connect()
    name = model.catalog_name(service, color)
    there = client.service(name)
    if there:
        own = there["Spec"]["Labels"]
        if (own.get(model.LABEL_SERVICE), own.get(model.LABEL_COLOR, "")) != (service, color):
            raise errors.Refused(f"swarm: service {name} does not say that it is {service}'s"
                                 f"{f', colour {color}' if color else ''}; it is left alone")
    return client, there


def _create(client: docker_swarm.Client, wanted: dict[str, Any]) -> str:
    client.create(wanted)
    return f"{wanted['Name']} is made"


def _update(client: docker_swarm.Client, there: Mapping[str, Any], wanted: dict[str, Any]) -> str:
    client.update(there["ID"], wanted, version=there["Version"]["Index"])
    return f"{wanted['Name']} is updated"


def _is_named(spec: Mapping[str, Any]) -> bool:
    """Whether its name is the one that its labels make: somebody else's copy of a service has them too."""
    own = spec["Labels"]
    return bool(spec["Name"] == model.catalog_name(own[model.LABEL_SERVICE], own.get(model.LABEL_COLOR, "")))


def _release(task: Mapping[str, Any]) -> str:
    return str((task["Spec"]["ContainerSpec"].get("Labels") or {}).get(model.LABEL_RELEASE, ""))


def _paused(service: Mapping[str, Any]) -> str:
    update = service.get("UpdateStatus") or {}
    return str(update.get("Message") or "paused") if str(update.get("State", "")).endswith("paused") else ""


def _last_error(tasks: Iterable[Mapping[str, Any]], running: Iterable[Mapping[str, Any]]) -> str:
    """The newest one, of the slots where nothing runs: what is over in the others is no trouble any more."""
    well = {each.get("Slot") for each in running}
    failed = [each["Status"] for each in tasks if each.get("Slot") not in well and each["Status"].get("Err")]
    return str(max(failed, key=lambda each: str(each["Timestamp"]))["Err"]) if failed else ""


def _literal(text: str) -> str:
    """Swarm expands templates in some fields."""
    return text.replace("{{", '{{"{{"}}')


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
