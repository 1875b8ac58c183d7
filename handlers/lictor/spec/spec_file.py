"""A spec as a person writes it into a file (YAML or JSON): read strictly, and brought into the one form that is stored.

A spec that could never work is refused, with words that help.
"""

import json
import os
from typing import Any

import msgspec

from lictor import errors
from lictor.spec import limits, service_spec, yaml_reader
from lictor.spec.quantities import Duration, Memory, strip


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
        limits.require_workable(spec)
    except ValueError as error:
        raise errors.Refused(f"{path}: {error}") from error
    stored: dict[str, Any] = _apply_types(table, spec)
    return {**stored, "port": int(table["port"])} if str(table.get("port")).isdecimal() else stored


def _apply_types(given: Any, converted: Any) -> Any:
    if isinstance(converted, msgspec.Struct):
        return {key: _apply_types(value, getattr(converted, key)) for key, value in given.items()}
    return converted if isinstance(converted, int | float) and not isinstance(converted, Duration | Memory) else given


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
    limits.require_volume(text)
    return text


def _below(folder: str, path: str, key: str) -> str:
    """Resolve a path from the file's own folder on; a spec that is piped in has none."""
    if not os.path.isabs(path) and (folder + "/").startswith(("/dev/", "/proc/")):
        raise ValueError(f"{key} holds {path[:100]!r}, and there is no folder that this is relative to; write the "
                         "whole path")
    return os.path.join(folder, path)
