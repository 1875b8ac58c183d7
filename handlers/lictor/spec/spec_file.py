"""A spec as a person writes it into a file (YAML or JSON): read strictly, and brought into the one form that is stored.

A spec that could never work is refused, with words that help.
"""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from lictor import errors
from lictor.spec import limits, service_spec, validation_errors, yaml_reader
from lictor.spec.input import problems, shorthands
from lictor.spec.input.problems import Lines, Path, Problem
from lictor.spec.quantities import Duration, Memory, Share, strip
from lictor.spec.route import MOST_ROUTES
from lictor.spec.service_spec import Spec

_OF_COMPOSE = {"image", "build", "extends"}  # one of which a service of a Compose file has
_SHOWN_SERVICES = 3
# Where a value is wrong, the rest is judged as if it were this one.
_STAND_INS: dict[Path, Any] = {("name",): "a", ("image",): "a", ("port",): 8080, ("route", "path"): "/",
                               ("project", "folder"): "/a",
                               **{("route", place, "path"): f"/~{place}" for place in range(MOST_ROUTES)}}


def load(text: str, path: str, *, name: str | None = None, host: str | None = None) -> dict[str, Any]:
    """Read a spec file into the table that is stored; raises Refused with all that is wrong, each with its line.

    `name` and `host` stand in for those in the file: the same spec, for another customer.
    """
    document = yaml_reader.read(text, path)
    folder = os.path.dirname(os.path.abspath(path))
    if foreign := _describe_foreign(document.table, folder):
        raise errors.Refused(f"{path}: {foreign}")
    table = shorthands.expand(document.table)
    found = [*document.problems, *_list_bare_names(table.get("environment"))]
    for key, value in table.items():
        try:
            table[key] = _normalize(key, value, folder)
        except ValueError as error:
            found.append(Problem((key,), str(error)))
    table = _renamed(table, name, host, path)
    return convert(table, path, found, document.lines)


def convert(table: dict[str, Any], path: str, found: Sequence[Problem] = (),
            lines: Lines | None = None) -> dict[str, Any]:
    """Convert a spec file's table into the one that is stored, where numbers and flags are no texts any more.

    Raises Refused for what is no spec, or one that could never work; it names `path`, the key, and what is allowed.
    `found` is what is known to be wrong.
    """
    try:  # the reader of the stored spec is stricter than json
        table = service_spec.read_spec(json.dumps(table, allow_nan=False))
    except (ValueError, RecursionError) as error:
        raise errors.Refused(f"{path}: cannot be stored as JSON: {error}") from error
    broken = {problem.path for problem in found if problem.path}
    spec, more = validation_errors.collect(table, Spec, broken, stand_ins=_STAND_INS, last=("engine",),
                                           secret=service_spec.SECRET, synonyms=shorthands.SYNONYMS)
    if spec:
        more += [Problem(key, text) for key, text in limits.list_unworkable(spec, is_whole=not broken)
                 if not any(problems.overlap(key, other) for other in broken)]
    problems.refuse(path, [*found, *more], lines or Lines())
    assert spec, "else there are problems"
    stored: dict[str, Any] = _apply_types(table, spec)
    return {**stored, "port": int(table["port"])} if str(table.get("port")).isdecimal() else stored


def _describe_foreign(table: dict[str, Any], folder: str) -> str:
    """Say of which other program a file is; "" if it may be a spec."""
    services = table.get("services", table if "name" not in table else None)
    if not isinstance(services, dict) or not services or not all(isinstance(each, dict) for each in services.values()):
        return ""
    if "services" not in table and not all(each.keys() & _OF_COMPOSE for each in services.values()):
        return ""
    names = ", ".join([*services][:_SHOWN_SERVICES]) + (", ..." if len(services) > _SHOWN_SERVICES else "")
    project = f"project: {{folder: {'...' if _is_piped(folder) else folder}}}"
    return (f"this is a Compose file, with {names[:100]}. A spec is about one service. With `engine: compose` and "
            f"`{project}` it runs one of such a file (docs/engines.md)")


def _renamed(table: dict[str, Any], name: str | None, host: str | None, path: str) -> dict[str, Any]:
    changes: dict[str, Any] = {} if name is None else {"name": name}
    if host is not None:
        route = table.get("route")
        if isinstance(route, list):
            raise errors.Refused(f"{path}: route is a list; a host ({host[:100]!r}) is for one, as route: {{path: /}}")
        if not isinstance(route, dict):
            raise errors.Refused(f"{path}: route is missing; a host ({host[:100]!r}) needs one, as route: {{path: /}}")
        changes["route"] = {**route, "host": host}
    return {**table, **changes}


def _apply_types(given: Any, converted: Any) -> Any:
    if isinstance(converted, msgspec.Struct):
        names = dict(zip(converted.__struct_encode_fields__, converted.__struct_fields__, strict=True))
        return {key: _apply_types(value, getattr(converted, names[key])) for key, value in given.items()}
    if isinstance(converted, dict) and isinstance(given, dict):
        return {key: _apply_types(value, converted[key]) for key, value in given.items()}
    if isinstance(converted, list) and isinstance(given, list):
        return [_apply_types(*pair) for pair in zip(given, converted, strict=True)]
    has_unit = isinstance(converted, Duration | Memory | Share)
    return converted if isinstance(converted, int | float) and not has_unit else given


def _normalize(key: str, value: Any, folder: str) -> Any:
    """Bring a value into the form that is stored: labels without null, and paths from the file's own folder on."""
    if key == "labels" and isinstance(value, dict):
        return {name: "" if text is None else text for name, text in value.items()}
    if key == "env_file" and isinstance(value, str):
        value = [value]
    if key in ("env_file", "volumes") and isinstance(value, list):
        resolve = _env_file if key == "env_file" else _volume
        return [resolve(strip(text), folder) if isinstance(text, str) else text for text in value]
    return value


def _list_bare_names(environment: object) -> Iterator[Problem]:
    """List names without a value. Compose passes its caller's through; here any handler may be the caller."""
    pairs: list[tuple[str | int, str, bool]] = []
    if isinstance(environment, dict):
        pairs = [(name, name, value is not None) for name, value in environment.items()]
    elif isinstance(environment, list):
        pairs = [(place, text.partition("=")[0], "=" in text) for place, text in enumerate(environment)
                 if isinstance(text, str)]
    for step, name, has_value in pairs:
        if not name:
            yield Problem(("environment", step), "environment holds a value without a name; write NAME=VALUE")
        elif not has_value:
            yield Problem(("environment", step), (
                f"environment.{name[:100]} has no value, and there is nobody's to pass through; write "
                f"{name[:100]}=VALUE, or {name[:100]}= for an empty one, or an env_file on the node"))


def _env_file(text: str, folder: str) -> str:
    if not text:
        raise ValueError("env_file is ''; it must be a file's path")
    return _below(folder, text, "env_file")


def _volume(text: str, folder: str) -> str:
    source, colon, rest = text.partition(":")
    if colon and source.startswith("."):
        text = f"{os.path.normpath(_below(folder, source, 'volumes'))}:{rest}"
    return text


def _below(folder: str, path: str, key: str) -> str:
    """Resolve a path from the file's own folder on; a spec that is piped in has none."""
    if not os.path.isabs(path) and _is_piped(folder):
        raise ValueError(f"{key} holds {path[:100]!r}, and there is no folder that this is relative to; write the "
                         "whole path")
    return os.path.join(folder, path)


def _is_piped(folder: str) -> bool:
    return f"{folder}/".startswith(("/dev/", "/proc/"))
