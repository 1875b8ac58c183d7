"""YAML (and so JSON) as a person writes it: nothing in it is silently lost, or taken for something else."""

import contextlib
import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from lictor import errors

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_ALLOWED = "it must be text that UTF-8 can hold, without a zero byte"
_MOST_VALUES = 10_000  # no spec has nearly as many


class _Loader(yaml.SafeLoader):
    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """JSON writes one character beyond 16 bits as two halves, which YAML leaves apart."""
        text = super().construct_scalar(node)
        with contextlib.suppress(UnicodeDecodeError):
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        return text

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """PyYAML lets the errors of Python through when 2020-13-45 looks like a date, and is none."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, KeyError, AttributeError) as error:
            raise _wrong(f"{str(node.value)[:100]!r} is no {node.tag.rpartition(':')[2]}; write it in quotes",
                         node) from error


def read(text: str, path: str, *, as_written: tuple[str, ...]) -> dict[str, Any]:
    """A table that JSON can hold; raises Refused naming `path` and what is wrong.

    Below the keys `as_written` a number is taken only if it will look the same as a text.
    """
    try:
        loader = _Loader(text)
        loader.name = path  # for the marks of its errors
        top = loader.get_single_node()
        if _values(top, {}) > _MOST_VALUES:
            raise ValueError(f"holds more than {_MOST_VALUES} values, each alias counted as what it stands for")
        _refuse_twins(top, "")
        table = loader.construct_document(top) if top else None
        if not isinstance(table, dict):
            raise ValueError(f"holds {type(table).__name__}; it must hold a service's keys, as name: books")
        _refuse_odd(table, "")
        _refuse_rewritten(top, as_written, loader)
    except yaml.reader.ReaderError as error:
        where = f"{path}: line {text.count(chr(10), 0, error.position) + 1}"
        raise errors.Refused(f"{where} holds {chr(error.character)!r}, which YAML does not allow") from error
    except yaml.YAMLError as error:
        raise errors.Refused(f"{path}: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise errors.Refused(f"{path}: {error}") from error
    except RecursionError as error:
        raise errors.Refused(f"{path}: is nested too deeply, or holds itself") from error
    return table


def _wrong(what: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


def _values(node: yaml.Node | None, known: dict[int, int]) -> int:
    """How many values it comes to: a few lines of aliases to aliases can stand for more than any memory holds."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 1  # for one that holds itself
        parts = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in node.value for each in pair]
        known[id(node)] = 1 + sum(_values(each, known) for each in parts)
    return known[id(node)]


def _refuse_twins(node: yaml.Node | None, where: str) -> None:
    """A key that stands twice has one value that is not meant."""
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _refuse_twins(each, where)
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, each in node.value:
            named = f"{where}.{key.value}" if where else str(key.value)
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _wrong(f"{named[:100]} stands twice", key)
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                seen.add(key.value)
            _refuse_twins(each, named)


def _refuse_odd(value: object, key: str) -> None:
    """What YAML knows, and JSON, as which it is stored, does not; and what no program can be told."""
    if isinstance(value, dict):
        for name, each in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{key or 'it'} holds the key {name!r}; write it in quotes")
            if _NOT_TEXT.search(name):
                raise ValueError(f"{key or 'it'} holds the key {name[:100]!r}; {_ALLOWED}")
            _refuse_odd(each, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for each in value:
            _refuse_odd(each, key)
    elif isinstance(value, float) and not math.isfinite(value) or not isinstance(value, str | int | float | None):
        raise ValueError(f"{key} holds {str(value)[:100]!r}, which YAML takes for {type(value).__name__}; write it in "
                         "quotes")
    elif isinstance(value, str) and _NOT_TEXT.search(value):
        raise ValueError(f"{key} holds {value[:100]!r}; {_ALLOWED}")


def _refuse_rewritten(top: yaml.Node | None, as_written: tuple[str, ...], loader: _Loader) -> None:
    """YAML has its own mind about numbers: 33:33 is 2013 to it, 0755 is 493, and 1.10 is 1.1."""
    for key, node in _scalars("", top):
        if key.partition(".")[0] in as_written and node.tag in _NUMBERS:
            number = loader.construct_object(node)
            if str(number) != node.value:
                raise ValueError(f"{key} holds {node.value[:100]!r}, which YAML takes for {number}; write it in quotes")


def _scalars(key: str, node: yaml.Node | None) -> Iterator[tuple[str, yaml.ScalarNode]]:
    if isinstance(node, yaml.MappingNode):
        for name, each in node.value:
            yield from _scalars(f"{key}.{name.value}" if key else name.value, each)
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _scalars(key, each)
    elif isinstance(node, yaml.ScalarNode):
        yield key, node
