"""The options of a container, in the forms of Docker and of Swarm. Pure."""

import re
from collections.abc import Callable
from typing import Any

from lictor.spec.container import options
from lictor.spec.service_spec import Spec

Fields = dict[str, Any]

_SIZE = re.compile(r"(\d+)([kmg]?)", re.ASCII)


def config(spec: Spec) -> Fields:
    """Make what stands in the body of the Engine API's `POST /containers/create`."""
    return {
        **({"Hostname": spec.hostname} if spec.hostname else {}),
        **({"WorkingDir": spec.working_dir} if spec.working_dir else {}),
        **({"Healthcheck": spec.healthcheck.definition} if spec.healthcheck else {})}


def host_config(spec: Spec) -> Fields:
    """Make what stands in that body's HostConfig."""
    return {
        "PidsLimit": spec.pids_limit,
        "Tmpfs": options.mounts(spec.tmpfs),
        "Ulimits": options.ulimits(spec.ulimits),
        "ExtraHosts": [f"{name}:{address}" for name, address in options.hosts(spec.extra_hosts).items()],
        "Dns": options.listed(spec.dns),
        "Sysctls": options.table(spec.sysctls),
        "GroupAdd": spec.group_add,
        **({"ShmSize": int(spec.shm_size)} if spec.shm_size else {}),
        **({"Init": True} if spec.init else {})}


def of_swarm(spec: Spec, literal: Callable[[str], str]) -> Fields:
    """Make what stands in the ContainerSpec of a Swarm service. `literal` escapes what Swarm would expand."""
    servers = options.listed(spec.dns)
    return {
        **({"Hostname": literal(spec.hostname)} if spec.hostname else {}),
        **({"Dir": spec.working_dir} if spec.working_dir else {}),
        **({"Healthcheck": spec.healthcheck.definition} if spec.healthcheck else {}),
        **({"Init": True} if spec.init else {}),
        **({"Groups": spec.group_add} if spec.group_add else {}),
        **({"Ulimits": options.ulimits(spec.ulimits)} if spec.ulimits else {}),
        **({"Sysctls": options.table(spec.sysctls)} if spec.sysctls else {}),
        **({"DNSConfig": {"Nameservers": servers}} if servers else {}),
        **({"Hosts": [f"{address} {name}" for name, address in options.hosts(spec.extra_hosts).items()]}
           if spec.extra_hosts else {})}


def mounts_of_swarm(spec: Spec) -> list[Fields]:
    """Make the mounts in memory of a Swarm service, which knows the size and the mode of one."""
    found = [_in_memory(path, given) for path, given in options.mounts(spec.tmpfs).items()]
    return found + ([_in_memory("/dev/shm", f"size={int(spec.shm_size)}")] if spec.shm_size else [])


def _in_memory(path: str, given: str) -> Fields:
    fields = dict(part.partition("=")[::2] for part in given.split(",") if part)
    size, mode = _SIZE.fullmatch(fields.get("size", "")), fields.get("mode", "")
    return {"Type": "tmpfs", "Target": path, "TmpfsOptions": {
        **({"SizeBytes": int(size[1]) * 1024 ** " kmg".index(size[2] or " ")} if size else {}),
        **({"Mode": int(mode, 8)} if mode else {})}}
