"""Records of nested input, by msgspec: errors name the key, what was given and what is allowed. Pure.

A record checks its own values in `__post_init__`. An error that it raises begins with the name of the key.
"""

import collections
import copy
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from lictor import errors
from lictor.spec import plain_tables, quantities
from lictor.spec.input import problems
from lictor.spec.input.problems import Path, Problem, dotted

Record = TypeVar("Record", bound=msgspec.Struct)

# Texts, not compiled: few of the processes that import this module have an error to explain.
_UNKNOWN_KEY = "(?s)Object contains unknown field `(.*)`"
_MISSING_KEY = "Object missing required field `(.*)`"
_WRONG_KIND = "Expected `.*`, got `(.*)`"
_MOST_PROBLEMS = 100  # of one file: more help nobody
_STEP = r"\[[0-9]+\]|\[\.\.\.\]|[^.\[\]]+"  # of a path as msgspec writes it
_JSON_NAMES = {dict: "object", list: "array", type(None): "null"}  # of Python's types, in msgspec's words
_SECRET_KINDS = {str: "a text", int: "a number", float: "a number"}
_KINDS = {inspect.StrType: "a string", inspect.IntType: "a whole number", inspect.FloatType: "a number",
          inspect.BoolType: "true or false", inspect.ListType: "a list"}


def convert(table: object, kind: type[Record], where: str, *, strict: bool = True,
            secret: tuple[str, ...] = (), synonyms: Mapping[str, str] = {}) -> Record:
    """Convert a parsed file or key into a record; raises Refused that begins with `where`, for what is wrong first.

    Unless `strict`, all scalars are texts, and are taken for the numbers and flags that the record wants. Of values
    below the keys `secret`, the kind alone is told. `synonyms` names the keys that people mean by others.
    """
    try:
        return msgspec.convert(table, kind, dec_hook=quantities.convert, strict=strict)
    except msgspec.ValidationError as error:
        raise errors.Refused(f"{where}: {_explain(str(error), table, kind, secret, synonyms).text}") from error


def collect(table: Any, kind: type[Record], broken: set[Path], *, stand_ins: Mapping[Path, Any] = {},
            last: Path = (), secret: tuple[str, ...] = (),
            synonyms: Mapping[str, str] = {}) -> tuple[Record | None, list[Problem]]:
    """Convert a file's table, whose scalars are texts, as `convert` does; returns all that is wrong.

    What is wrong is left out, or replaced by its stand-in, and the rest is converted again. The record is that of the
    rest, and None if that makes none. Problems of keys in `broken` are known; what is found is added there. A wrong
    key `last` is the last one told, as others depend on it.
    """
    table, found = copy.deepcopy(table), list[Problem]()
    for path in broken & stand_ins.keys():
        _put_aside(table, path, stand_ins)
    for _ in range(_MOST_PROBLEMS):
        try:
            return msgspec.convert(table, kind, dec_hook=quantities.convert, strict=False), found
        except msgspec.ValidationError as error:
            problem = _explain(str(error), table, kind, secret, synonyms)
            if not any(problems.overlap(problem.path, path) for path in broken):
                found.append(problem)
            broken.add(problem.path)
            if problem.meant in stand_ins and functools.reduce(_below, problem.meant, table) is None:
                broken.add(problem.meant)
                _put_aside(table, problem.meant, stand_ins)
            if problem.path == last or not _put_aside(table, problem.path, stand_ins):
                break
    return None, found


def _put_aside(table: Any, path: Path, stand_ins: Mapping[Path, Any]) -> bool:
    """Replace the value at a path by its stand-in, or take it out. If there is no such value, what is above it goes."""
    for length in range(len(path), 0, -1):
        holder: Any = functools.reduce(_below, path[:length - 1], table)
        if path[:length] in stand_ins and isinstance(holder, dict) and holder.get(
                path[length - 1]) != stand_ins[path[:length]]:
            holder[path[length - 1]] = stand_ins[path[:length]]
            return True
        if isinstance(holder, dict) and path[length - 1] in holder:  # not an item of a list: the others would move up
            del holder[path[length - 1]]
            return True
    return False


def _below(value: Any, step: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(str(step))
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None


def _explain(text: str, table: object, record: type[msgspec.Struct], secret: tuple[str, ...],
             synonyms: Mapping[str, str]) -> Problem:
    """Put msgspec's error about a `table` that is to be a `record` into words for its author."""
    problem, _, place = text.partition(" - at `$")
    steps = re.findall(_STEP, place.rstrip("`"))
    top = inspect.type_info(record)
    kind = functools.reduce(_type_below, steps, top)
    keys, unknown, missing = _keys(kind), re.fullmatch(_UNKNOWN_KEY, problem), re.fullmatch(_MISSING_KEY, problem)
    path = _resolve(table, steps, lambda found: isinstance(found, dict) and (
        unknown is None or unknown[1] in found) and (missing is None or missing[1] not in found))
    below = f"{dotted(path)}." if path else ""
    if unknown:
        name, elsewhere = unknown[1], {} if path else {**_deeper_keys(top), **synonyms}
        meant = problems.find_alike(name, keys)
        return Problem((*path, name), f"unknown key {below}{name}{problems.describe_unknown(name, keys, elsewhere)}",
                       meant=(*path, meant) if meant else ())
    if missing:
        return Problem((*path, missing[1]), f"{below}{missing[1]} is missing; it must be {_allowed(keys[missing[1]])}")
    if wrong := re.fullmatch(_WRONG_KIND, problem):
        return _explain_kind([*_walk(table, steps)], wrong[1], kind, secret)
    if named := _named_first(problem, kind):
        return Problem((*path, *named), below + problem)
    return Problem(path, f"{dotted(path)}: {problem}" if path else problem)


def _resolve(table: object, steps: list[str], is_meant: Callable[[object], bool]) -> Path:
    """Find the first key that a path of msgspec's may mean: [...] stands for any key of a table."""
    paths = [*_walk(table, steps)]
    return next((path for path, found in paths if is_meant(found)), paths[0][0] if paths else tuple(steps))


def _explain_kind(values: list[tuple[Path, object]], wrong: str, kind: inspect.Type,
                  secret: tuple[str, ...]) -> Problem:
    """Explain the one of these values, or the first one, whose kind is wrong."""
    path, given = next((pair for pair in values if _json_name(pair[1]) == wrong), values[0])
    hidden = _SECRET_KINDS.get(type(given)) if path and path[0] in secret else None
    shown = hidden or plain_tables.show(given)
    return Problem(path, f"{dotted(path) or 'it'} is {shown}; it must be {_allowed(kind)}")


def _named_first(problem: str, kind: inspect.Type) -> Path:
    """Find the key that an error of a record begins with, such as that of max in "replicas.max is 9"."""
    path = list[str | int]()
    for step in re.findall(_STEP, re.split(r"[^A-Za-z0-9_.\[\]]", problem, maxsplit=1)[0]):
        is_place = path and re.fullmatch(r"\[[0-9]+\]", step)
        if not is_place and step not in _keys(kind):
            break
        path.append(int(step[1:-1]) if is_place else step)
        kind = _type_below(kind, step)
    return tuple(path)


def _deeper_keys(kind: inspect.Type) -> dict[str, str]:
    """List the keys one level down that only one table has, each with its whole name."""
    names = [(name, key) for key, below in _keys(kind).items() for name in _keys(below)]
    count = collections.Counter(name for name, _ in names)
    return {name: f"{key}.{name}" for name, key in names if count[name] == 1}


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
            return f"{getattr(kind.cls, 'SHORT', '')}a table with the keys {', '.join(_keys(kind))}"
        case inspect.ListType(item_type=inspect.StrType()) | inspect.VarTupleType(item_type=inspect.StrType()):
            return "a list of strings"
        case inspect.ListType(item_type=inspect.StructType()):
            return "a list of them"
        case inspect.CustomType(cls=cls) if issubclass(cls, quantities.Duration):
            return "a duration such as 1m30s"
    return _KINDS.get(type(kind), "a table")


def _walk(value: Any, steps: list[str], path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Yield the values at a path, each with the path that leads to it."""
    if not steps:
        yield path, value
    elif steps[0] == "[...]":
        for key, below in value.items() if isinstance(value, dict) else ():
            yield from _walk(below, steps[1:], (*path, key))
    elif steps[0].startswith("[") and isinstance(value, list):
        place = int(steps[0][1:-1])
        yield from _walk(value[place], steps[1:], (*path, place))
    elif isinstance(value, dict) and steps[0] in value:
        yield from _walk(value[steps[0]], steps[1:], (*path, steps[0]))


def _json_name(value: object) -> str:
    return _JSON_NAMES.get(type(value), type(value).__name__)
