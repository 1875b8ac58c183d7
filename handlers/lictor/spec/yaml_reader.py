"""YAML (and so JSON) as a person writes it: each scalar stays the text that was written, and nothing is lost silently.

PyYAML's own reading follows YAML 1.1, to which 33:33 is 2013, 0755 is 493, 1.10 is 1.1 and `no` is false.
"""

import contextlib
import re
from typing import Any

import yaml

from lictor import errors

_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_NULLS = ("", "~", "null", "Null", "NULL")
_MERGE = "<<"
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_MOST_VALUES = 10_000  # no spec has nearly as many


def read(text: str, path: str) -> dict[str, Any]:
    """Return a table of texts, lists, tables and None; raises Refused that names `path`, the line or key, and what is
    wrong."""
    try:
        loader = yaml.BaseLoader(text)
        loader.name = path  # for the marks of its errors
        top = loader.get_single_node()
        table = _Values().read(top, "") if top else None
        if not isinstance(table, dict):
            raise ValueError("holds no keys; it must hold those of a service, as name: books")
        return table
    except yaml.reader.ReaderError as error:
        where = f"{path}: line {text.count(chr(10), 0, error.position) + 1}"
        raise errors.Refused(f"{where} holds {chr(error.character)!r}, which YAML does not allow") from error
    except yaml.YAMLError as error:
        raise errors.Refused(f"{path}: {explain(error)}") from error
    except ValueError as error:
        raise errors.Refused(f"{path}: {error}") from error
    except RecursionError as error:
        raise errors.Refused(f"{path}: is nested too deeply, or holds itself") from error


def explain(error: yaml.YAMLError) -> str:
    """Say what is wrong, and where; PyYAML itself would repeat the line, which may hold a secret."""
    problem = ", ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", None))))
    mark = getattr(error, "problem_mark", None)
    where = f' in "{mark.name}", line {mark.line + 1}, column {mark.column + 1}' if mark else ""
    return re.sub("(?<=alias )'.*'", "...", problem or type(error).__name__) + where


class _Values:
    """The values of one file. All are counted: a few lines of aliases to aliases can stand for more than fits into
    memory."""

    def __init__(self) -> None:
        self._count = 0

    def read(self, node: yaml.Node, key: str) -> Any:
        self._count += 1
        if self._count > _MOST_VALUES:
            raise ValueError(f"holds more than {_MOST_VALUES} values, each alias counted as what it stands for")
        if node.tag not in _TAGS:
            raise _error(f"{key or 'it'} has the tag {node.tag!r}; write the value without a tag", node)
        if isinstance(node, yaml.MappingNode):
            return self._table(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, key) for item in node.value]
        assert isinstance(node, yaml.ScalarNode)
        return None if node.style is None and node.value in _NULLS else _text(node, f"{key} holds")

    def _table(self, node: yaml.MappingNode, key: str) -> dict[str, Any]:
        table: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for name_node, value_node in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                raise _error(f"{key or 'it'} holds a key that is no text", name_node)
            name = _text(name_node, f"{key or 'it'} holds the key")
            below = f"{key}.{name}" if key else name
            if name in table:
                raise _error(f"{below[:100]} stands twice", name_node)
            value = self.read(value_node, below)
            if name == _MERGE and name_node.style is None:
                merged |= self._merged(value, value_node)
            else:
                table[name] = value
        return {**merged, **table}

    def _merged(self, value: Any, node: yaml.Node) -> dict[str, Any]:
        tables = value if isinstance(value, list) else [value]
        if not all(isinstance(table, dict) for table in tables):
            raise _error(f"{_MERGE} is not followed by a table", node)
        return {name: below for table in reversed(tables) for name, below in table.items()}


def _text(node: yaml.ScalarNode, what: str) -> str:
    text = str(node.value)
    with contextlib.suppress(UnicodeDecodeError):  # JSON writes a character beyond 16 bits as two halves
        text = text.encode("utf-16", "surrogatepass").decode("utf-16")
    if _NOT_TEXT.search(text):
        raise ValueError(f"{what} {text[:100]!r}; it must be text that UTF-8 can hold, without a zero byte")
    return text


def _error(text: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)
