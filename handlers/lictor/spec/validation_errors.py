"""Records of nested input, by msgspec: errors name the key, what was given and what is allowed. Pure.

A record checks its own values in `__post_init__`. An error that it raises begins with the name of the key.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from lictor import errors
from lictor.spec import plain_tables, quantities

Record = TypeVar("Record", bound=msgspec.Struct)

# Texts, not compiled: few of the processes that import this module have an error to explain.
_UNKNOWN_KEY = "(?s)Object contains unknown field `(.*)`"
_MISSING_KEY = "Object missing required field `(.*)`"
_WRONG_KIND = "Expected `.*`, got `(.*)`"
_STEP = r"\[[0-9]+\]|\[\.\.\.\]|[^.\[\]]+"  # of a path as msgspec writes it
_JSON_NAMES = {dict: "object", list: "array", type(None): "null"}  # of Python's types, in msgspec's words
_SECRET_KINDS = {str: "a text", int: "a number", float: "a number"}
_KINDS = {inspect.StrType: "a string", inspect.IntType: "a whole number", inspect.FloatType: "a number",
          inspect.BoolType: "true or false", inspect.ListType: "a list"}


def convert(table: object, kind: type[Record], where: str, *, strict: bool = True,
            secret: tuple[str, ...] = ()) -> Record:
    """Convert a parsed file or key into a record; raises Refused that begins with `where`.

    Unless `strict`, all scalars are texts, and are taken for the numbers and flags that the record wants. Of values
    below the keys `secret`, the kind alone is told.
    """
    try:
        return msgspec.convert(table, kind, dec_hook=quantities.convert, strict=strict)
    except msgspec.ValidationError as error:
        raise errors.Refused(f"{where}: {_explain(str(error), table, kind, secret)}") from error


def _explain(text: str, table: object, record: type[msgspec.Struct], secret: tuple[str, ...]) -> str:
    """Put msgspec's error about a `table` that is to be a `record` into words for its author."""
    problem, _, path = text.partition(" - at `$")
    steps = re.findall(_STEP, path.rstrip("`"))
    kind = functools.reduce(_type_below, steps, inspect.type_info(record))
    key, keys = ".".join(steps), _keys(kind)
    below = f"{key}." if key else ""
    if unknown := re.fullmatch(_UNKNOWN_KEY, problem):
        return f"unknown key {below}{unknown[1]}; known are {', '.join(keys)}"
    if missing := re.fullmatch(_MISSING_KEY, problem):
        return f"{below}{missing[1]} is missing; it must be {_allowed(keys[missing[1]])}"
    if wrong := re.fullmatch(_WRONG_KIND, problem):
        values = [*_walk(table, steps)]
        name, given = next((pair for pair in values if _json_name(pair[1]) == wrong[1]), values[0])
        hidden = _SECRET_KINDS.get(type(given)) if steps and steps[0] in secret else None
        shown = hidden or plain_tables.show(given)
        return f"{name} is {shown}; it must be {_allowed(kind)}"
    if re.split("[. :]", problem)[0] in keys:
        return below + problem
    return f"{key}: {problem}" if key else problem


def _variants(kind: inspect.Type) -> list[inspect.Type]:
    """Split a union, without null: an author leaves a key out instead."""
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return [each for each in kinds if not isinstance(each, inspect.NoneType)]


def _bare(kind: inspect.Type) -> inspect.Type:
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _keys(kind: inspect.Type) -> dict[str, inspect.Type]:
    """List the keys of a record with their types; none where no record stands."""
    return {field.encode_name: field.type for each in map(_bare, _variants(kind))
            if isinstance(each, inspect.StructType) for field in each.fields}


def _type_below(kind: inspect.Type, step: str) -> inspect.Type:
    """Go down a key; [...] stands for every key of a table, and [0] for a place in a list."""
    for each in map(_bare, _variants(kind)):
        if isinstance(each, inspect.DictType) and step == "[...]":
            return each.value_type
        if isinstance(each, inspect.ListType | inspect.VarTupleType) and step.startswith("["):
            return each.item_type
    return _keys(kind).get(step, inspect.AnyType())


def _allowed(kind: inspect.Type) -> str:
    return " or ".join(dict.fromkeys(map(_describe, _variants(kind))))


def _describe(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata(extra_json_schema={"description": str() as description}):
            return description
        case inspect.StructType():
            return f"a table with the keys {', '.join(_keys(kind))}"
        case inspect.ListType(item_type=inspect.StrType()) | inspect.VarTupleType(item_type=inspect.StrType()):
            return "a list of strings"
        case inspect.CustomType(cls=quantities.Duration):
            return "a duration such as 1m30s"
    return _KINDS.get(type(kind), "a table")


def _walk(value: Any, steps: list[str], path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values at a path, each with the path that leads to it."""
    if not steps:
        yield path.lstrip(".") or "it", value
    elif steps[0] == "[...]":
        for key, below in value.items() if isinstance(value, dict) else ():
            yield from _walk(below, steps[1:], f"{path}.{key}")
    elif steps[0].startswith("["):
        yield from _walk(value[int(steps[0][1:-1])], steps[1:], path + steps[0])
    else:
        yield from _walk(value[steps[0]], steps[1:], f"{path}.{steps[0]}")


def _json_name(value: object) -> str:
    return _JSON_NAMES.get(type(value), type(value).__name__)
