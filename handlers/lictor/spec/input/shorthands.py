"""Short forms of a spec's keys, in files and keys alike, and the whole form that each stands for. Pure."""

import re
from typing import Any

_MOST_BY_DEFAULT = 10  # instances
_COUNT = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)
_LIMIT = re.compile(r"-?\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_OPENS_THE_NODE = "engine: compose (a spec cannot open the node to a container; a Compose file of the node can)"
_FILES = "env_file or volumes (files of the node, which its [allow] has to list)"
# What people write who come from elsewhere, and what they mean.
SYNONYMS = {
    "container_name": "name", "count": "replicas", "env": "environment", "expose": "port", "health": "check",
    "healthcheck": "check", "instances": "replicas", "interval": "check.interval",
    "timeout": "check.timeout", "limits": "resources", "path": "route", "scale": "replicas",
    "depends_on": "check (a service that is not ready gets no requests)", "links": "networks", "tag": "image",
    "build": "image (docker build -t NAME makes it)", "deploy": "replicas, resources or release",
    "restart": "heal (lictor itself restarts instances)", "mem_limit": "resources.memory", "cpus": "resources.cpus",
    "secrets": _FILES, "configs": _FILES, "profiles": "engine: compose",
    "stop_signal": "stop_grace_period (the signal is the image's own, STOPSIGNAL)",
    "tls": "route.tls",
    **dict.fromkeys(("cap_add", "cgroup_parent", "device_cgroup_rules", "devices", "gpus", "ipc", "pid", "privileged",
                     "runtime", "userns_mode", "volumes_from"), _OPENS_THE_NODE),
}
# Compose writes these beside the other keys of a service: key in the file -> key below resources.
RESOURCES = {"cpus": "cpus", "mem_limit": "memory"}


def expand(table: Any) -> Any:
    """Put the whole form in the place of each short one. What is neither is left to the validation."""
    if not isinstance(table, dict):
        return table
    whole = {key: _FORMS[key](value) if key in _FORMS else value for key, value in table.items()}
    given = whole.get("resources", {})
    if not isinstance(given, dict):
        return whole
    short = {below: key for key, below in RESOURCES.items() if key in whole and below not in given}
    given = {**given, **{below: whole.pop(key) for below, key in short.items()}}
    if isinstance(given.get("cpus"), str) and _NUMBER.fullmatch(given["cpus"]):
        given["cpus"] = float(given["cpus"])
    return {**whole, "resources": given} if given else whole


def _replicas(value: Any) -> Any:
    is_count = isinstance(value, int) and not isinstance(value, bool) or (
        isinstance(value, str) and _COUNT.fullmatch(value))
    if not is_count:
        return value
    return {"initial": int(value), **({"max": int(value)} if int(value) > _MOST_BY_DEFAULT else {})}


def _route(value: Any) -> Any:
    if isinstance(value, list):
        return [{"path": each} if isinstance(each, str) else each for each in value]
    return {"path": value} if isinstance(value, str) else value


def _check(value: Any) -> Any:
    return {"http": value} if isinstance(value, str) else value


def _ulimits(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: {"soft": int(limit), "hard": int(limit)} if _is_limit(limit) else limit
            for name, limit in value.items()}


def _is_limit(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) or (
        isinstance(value, str) and bool(_LIMIT.fullmatch(value)))


_FORMS = {"replicas": _replicas, "route": _route, "check": _check, "ulimits": _ulimits}
