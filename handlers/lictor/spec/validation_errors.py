"""What msgspec says of a table that is not as its type wants it, in words that name the key. Pure."""

import re
import typing
from typing import Any

import msgspec

_UNKNOWN_KEY = re.compile("Object contains unknown field `(.*)`", re.DOTALL)
_KINDS = re.compile("Expected `(?P<wanted>.*)`, got `(?P<given>.*)`")
_STEP = re.compile(r"\[[0-9]+\]|\[\.\.\.\]|[^.\[\]]+")
_NAMES = {"dict": "object", "list": "array", "NoneType": "null"}  # of Python's types, as JSON and msgspec call them


def explained(said: str, table: object, kind: type[msgspec.Struct]) -> str:
    """The key, what was given, and what is allowed; `said` is msgspec's text about a `table` that is to be a `kind`."""
    what, _, path = said.partition(" - at `$")
    key = path.rstrip("`").strip(".")
    unknown, kinds = _UNKNOWN_KEY.fullmatch(what), _KINDS.fullmatch(what)
    if unknown:
        return f"unknown key {f'{key}.' if key else ''}{unknown[1]}; known are {', '.join(_fields(kind, key))}"
    if not kinds or not key:
        return f"{key}: {what}" if key else what
    named, given = _given(table, key, kinds["given"])
    quoted = "str" in kinds["wanted"] and not isinstance(given, list | dict)
    keys = _fields(kind, key)
    return (f"{named} is {str(given)[:100]!r} ({kinds['given']}); it must be {kinds['wanted'].replace(' | ', ' or ')}"
            + (f" with keys of {', '.join(keys)}" if keys else "") + ("; write it in quotes" if quoted else ""))


def _fields(kind: type[msgspec.Struct], key: str) -> tuple[str, ...]:
    """The keys that are known below `key`; none where it holds no struct."""
    if not key:
        return kind.__struct_fields__
    types = [each.type for each in msgspec.structs.fields(kind) if each.name == key]
    inner = [each for one in types for each in (typing.get_args(one) or (one,)) if hasattr(each, "__struct_fields__")]
    return inner[0].__struct_fields__ if inner else ()


def _given(table: Any, key: str, kind: str) -> tuple[str, object]:
    """The first value of that kind at a path, in which [...] stands for every key, and [0] for a place."""
    found = [("", table)]
    for step in _STEP.findall(key):
        if step == "[...]":
            found = [(f"{name}.{one}", value) for name, each in found
                     for one, value in (each.items() if isinstance(each, dict) else enumerate(each))]
        elif step.startswith("["):
            found = [(f"{name}{step}", each[int(step[1:-1])]) for name, each in found]
        else:
            found = [(f"{name}.{step}", each[step]) for name, each in found]
    named, given = next((pair for pair in found if _kind(pair[1]) == kind), found[0])
    return named.lstrip("."), given


def _kind(value: object) -> str:
    return _NAMES.get(type(value).__name__, type(value).__name__)
