"""A spec as a person writes it into a file (YAML or JSON): read strictly, and brought into the one form that is stored.

A spec that could never work is refused here, with words that help. A spec that is in Consul already is only parsed: a
refusal of its old mistakes would leave its service alone.
"""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from lictor import errors
from lictor.spec import service_spec, yaml_reader
from lictor.spec.quantities import Duration, Memory, strip

_MODES = "ro|rw|z|Z|nocopy|r?(?:shared|slave|private)|consistent|cached|delegated"
_VOLUME = re.compile(rf"(?:(?:/[^:]*|[A-Za-z0-9][A-Za-z0-9_.-]+):)?/[^:]+(?::(?:{_MODES})(?:,(?:{_MODES}))*)?")
_LONGEST_H = 365 * 24
_LEAST_MEMORY_M, _MOST_MEMORY_G = 4, 65536  # Docker makes no smaller container, and no machine has more


def read(text: str, path: str) -> dict[str, Any]:
    """Read the table of a spec file, its scalars as texts and its paths absolute; raises Refused naming `path`."""
    table = yaml_reader.read(text, path)
    try:
        return {key: _normalize(key, value, os.path.dirname(os.path.abspath(path))) for key, value in table.items()}
    except ValueError as error:
        raise errors.Refused(f"{path}: {error}") from error


def convert(table: dict[str, Any], path: str) -> dict[str, Any]:
    """Convert a spec file's table into the one that is stored, where numbers and flags are no texts any more.

    Raises Refused for what is no spec, or one that could never work; it names `path`, the key, and what is allowed.
    """
    try:  # the reader of the stored spec is stricter than json
        table = service_spec.read_spec(json.dumps(table, allow_nan=False))
    except (ValueError, RecursionError) as error:
        raise errors.Refused(f"{path}: cannot be stored as JSON: {error}") from error
    spec = service_spec.parse_spec(table, path, strict=False)
    try:
        if spec.image and spec.engine != "none":
            service_spec.parse_image(spec.image, spec.engine)
        for key, amount in _amounts(spec, ""):
            _refuse_absurd(key, amount)
        _refuse_impossible(spec)
    except ValueError as error:
        raise errors.Refused(f"{path}: {error}") from error
    stored: dict[str, Any] = _apply_types(table, spec)
    return {**stored, "port": int(table["port"])} if str(table.get("port")).isdecimal() else stored


def _apply_types(given: Any, converted: Any) -> Any:
    if isinstance(converted, msgspec.Struct):
        return {key: _apply_types(value, getattr(converted, key)) for key, value in given.items()}
    return converted if isinstance(converted, int | float) and not isinstance(converted, Duration | Memory) else given


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


def _normalize(key: str, value: Any, folder: str) -> Any:
    """Bring a value into the form that is stored: labels without null, and paths from the file's own folder on."""
    if key == "labels" and isinstance(value, dict):
        return {name: "" if text is None else text for name, text in value.items()}
    if key == "environment":
        _refuse_bare_names(value)
    if key == "env_file" and isinstance(value, str):
        value = [value]
    if key in ("env_file", "volumes") and isinstance(value, list):
        resolve = _env_file if key == "env_file" else _volume
        return [resolve(strip(text), folder) if isinstance(text, str) else text for text in value]
    return value


def _refuse_bare_names(environment: object) -> None:
    """Refuse a name without a value. Compose passes its caller's through; here any handler may be the caller."""
    pairs: list[tuple[str, bool]] = []
    if isinstance(environment, dict):
        pairs = [(name, value is not None) for name, value in environment.items()]
    elif isinstance(environment, list):
        pairs = [(text.partition("=")[0], "=" in text) for text in environment if isinstance(text, str)]
    for name, has_value in pairs:
        if not name:
            raise ValueError("environment holds a value without a name; write NAME=VALUE")
        if not has_value:
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
    """Resolve a path from the file's own folder on; a spec that is piped in has none."""
    if not os.path.isabs(path) and (folder + "/").startswith(("/dev/", "/proc/")):
        raise ValueError(f"{key} holds {path[:100]!r}, and there is no folder that this is relative to; write the "
                         "whole path")
    return os.path.join(folder, path)
