"""A spec as a person writes it into a file (YAML or JSON): read strictly, and brought into the one form that is stored.

What could never work is refused here, with words that help. A spec that is in Consul already is only parsed: to refuse
that for what it has always been would leave its service alone.
"""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

from lictor import errors
from lictor.spec import service_spec, yaml_reader
from lictor.spec.quantities import Duration, Memory

_MODES = "ro|rw|z|Z|nocopy|r?(?:shared|slave|private)|consistent|cached|delegated"
_VOLUME = re.compile(rf"(?:(?:/[^:]*|[A-Za-z0-9][A-Za-z0-9_.-]+):)?/[^:]+(?::(?:{_MODES})(?:,(?:{_MODES}))*)?")
_LONGEST_H = 365 * 24
_LEAST_MEMORY_M, _MOST_MEMORY_G = 4, 65536  # Docker makes no smaller container, and no machine has more
_AS_WRITTEN = ("image", "port", "user", "environment", "labels", "logging")  # taken as they are written, numbers too


def read(text: str, path: str) -> dict[str, Any]:
    """The table of a spec file, in the form that is stored, and still to be checked; raises Refused naming `path` and
    what is wrong."""
    table = yaml_reader.read(text, path, as_written=_AS_WRITTEN)
    try:
        return _in_one_form(table, os.path.dirname(os.path.abspath(path)))
    except ValueError as error:
        raise errors.Refused(f"{path}: {error}") from error


def check(table: dict[str, Any], path: str) -> None:
    """Raises Refused for what is no spec, or one that could never work; naming `path`, the key, and what is allowed."""
    spec = service_spec.parse_spec(_as_stored(table, path), path)
    try:
        if spec.image and spec.engine != "none":
            service_spec.parse_image(spec.image, spec.engine)
        for key, amount in _amounts(spec, ""):
            _refuse_absurd(key, amount)
        _refuse_impossible(spec)
    except ValueError as error:
        raise errors.Refused(f"{path}: {error}") from error


def _amounts(of: Any, where: str) -> Iterator[tuple[str, Duration | Memory]]:
    for key in of.__struct_fields__:
        value = getattr(of, key)
        if isinstance(value, Duration | Memory):
            yield f"{where}{key}", value
        elif hasattr(value, "__struct_fields__"):
            yield from _amounts(value, f"{where}{key}.")


def _refuse_absurd(key: str, amount: Duration | Memory) -> None:
    if isinstance(amount, Duration) and amount > _LONGEST_H * 3600:
        raise ValueError(f"{key} is {amount / 3600:g}h; it must be at most {_LONGEST_H}h")
    if isinstance(amount, Memory) and amount and not _LEAST_MEMORY_M << 20 <= amount <= _MOST_MEMORY_G << 30:
        raise ValueError(f"{key} is {str(amount)[:100]} bytes; it must be within {_LEAST_MEMORY_M}m.."
                         f"{_MOST_MEMORY_G}g, or 0 for no limit")


def _refuse_impossible(spec: service_spec.Spec) -> None:
    release, heal, port = spec.release, spec.heal, spec.container_port
    problems = {
        f"heal.budget is {heal.budget}; it must be 0 or more": heal.budget < 0,
        f"heal.per is {heal.per:g}s; it must be more than 0s": heal.per <= 0,
        f"release.deadline is {release.deadline:g}s; it must be more than 0s": release.deadline <= 0,
        f"release.healthy_for is {release.healthy_for:g}s; it must be within the deadline, {release.deadline:g}s":
            release.healthy_for > release.deadline,
        f"port is {spec.port!r}; a route, a check and a smoke path ask by TCP":
            port is not None and port.protocol == "udp" and bool(spec.route or spec.check or release.smoke)}
    for problem, is_so in problems.items():
        if is_so:
            raise ValueError(problem)


def _as_stored(table: dict[str, Any], path: str) -> object:
    """What those read who find it in Consul, and they are stricter than who writes it."""
    try:
        return service_spec.read_spec(json.dumps(table, allow_nan=False))
    except (ValueError, RecursionError) as error:
        raise errors.Refused(f"{path}: cannot be stored as JSON: {error}") from error


def _in_one_form(table: dict[str, Any], folder: str) -> dict[str, Any]:
    """Numbers where Compose takes them for texts, and paths from the file's own folder on."""
    found = dict(table)
    if "user" in found:
        found["user"] = _text(found["user"])
    if isinstance(found.get("labels"), dict):
        found["labels"] = {name: "" if each is None else _text(each) for name, each in found["labels"].items()}
    logging = found.get("logging")
    if isinstance(logging, dict) and isinstance(logging.get("options"), dict):
        found["logging"] = {**logging, "options": {name: _text(each) for name, each in logging["options"].items()}}
    _refuse_bare_names(found.get("environment"))
    if isinstance(found.get("env_file"), str):
        found["env_file"] = [found["env_file"]]
    for key, brought in (("env_file", _env_file), ("volumes", _volume)):
        if isinstance(found.get(key), list):
            found[key] = [brought(each, folder) if isinstance(each, str) else each for each in found[key]]
    return found


def _refuse_bare_names(environment: object) -> None:
    """Compose passes its caller's value through; here the caller is whoever happens to start the container."""
    if isinstance(environment, dict):
        pairs = [(name, "=" if value is not None else "") for name, value in environment.items()]
    else:
        pairs = [each.partition("=")[:2] for each in environment if isinstance(each, str)] if isinstance(
            environment, list) else []
    for name, sign in pairs:
        if not name:
            raise ValueError("environment holds a value without a name; write NAME=VALUE")
        if not sign:
            raise ValueError(f"environment.{name[:100]} has no value, and there is nobody's to pass through; write "
                             f"{name[:100]}=VALUE, or {name[:100]}= for an empty one, or an env_file on the node")


def _env_file(text: str, folder: str) -> str:
    if not text:
        raise ValueError("env_file is ''; it must be a file's path")
    return _below(folder, text, "env_file")


def _volume(text: str, folder: str) -> str:
    source, colon, rest = text.partition(":")
    if colon and source.startswith("."):
        text = f"{os.path.normpath(_below(folder, source, 'volumes'))}:{rest}"
    if not _VOLUME.fullmatch(text):
        raise ValueError(f"volumes holds {text[:100]!r}; it must be SOURCE:/TARGET or SOURCE:/TARGET:MODE, the source "
                         "a volume's name or a path, and the mode such as ro")
    return text


def _below(folder: str, path: str, key: str) -> str:
    """A path of the file's own folder; what is piped in has none."""
    if not os.path.isabs(path) and (folder + "/").startswith(("/dev/", "/proc/")):
        raise ValueError(f"{key} holds {path[:100]!r}, and there is no folder that this is relative to; write the "
                         "whole path")
    return os.path.join(folder, path)


def _text(value: object) -> object:
    return str(value) if _is_number(value) else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
