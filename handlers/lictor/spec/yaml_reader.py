"""YAML (and so JSON) as a person writes it: each scalar stays the text that was written, and nothing is lost silently.

PyYAML's own reading follows YAML 1.1, to which 33:33 is 2013, 0755 is 493, 1.10 is 1.1 and `no` is false.
"""

import contextlib
import re
from typing import Any, NamedTuple

import yaml

from lictor import errors
from lictor.spec.input.problems import Lines, Path, Problem, dotted

_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_NULLS = ("", "~", "null", "Null", "NULL")
_MERGE = "<<"
_UNREADABLE: Any = object()
_HINTS = {  # behind what PyYAML says
    "mapping values are not allowed here": ": put quotes around a value with ': ' in it, and indent keys alike",
    "'\\t' that cannot start any token": ": indent with blanks",
    "'%' that cannot start any token": ": put quotes around a value that begins with it",
    "'@' that cannot start any token": ": put quotes around a value that begins with it",
    "'`' that cannot start any token": ": put quotes around a value that begins with it",
}
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_MOST_VALUES = 10_000  # no spec has nearly as many


class Document(NamedTuple):
    """What a file holds: a table of texts, lists, tables and None. What could not be read is left out."""

    table: dict[str, Any]
    lines: Lines
    problems: list[Problem]


def read(text: str, path: str) -> Document:
    """Read a file; raises Refused that names `path`, the line, and what is wrong if there is no table at all."""
    try:
        loader = yaml.BaseLoader(_without_tabs(text))
        loader.name = path  # for the marks of its errors
        top, values = loader.get_single_node(), _Values()
        table = values.read(top, ()) if top else None
        if not isinstance(table, dict):
            raise errors.Refused(f"{path}: holds no keys; it must hold those of a service, as name: books")
        return Document(table, values.lines, values.problems)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise errors.Refused(f"{path}:{line}: holds {chr(error.character)!r}, which YAML does not allow") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise errors.Refused(f"{path}:{line}: {_describe(error)}") from error
    except ValueError as error:
        raise errors.Refused(f"{path}: {error}") from error
    except RecursionError as error:
        raise errors.Refused(f"{path}: is nested too deeply, or holds itself") from error


def _without_tabs(text: str) -> str:
    """Put blanks in the place of tabs between JSON's words: YAML knows none there."""
    if not text.lstrip().startswith("{") or "\t" not in text:
        return text
    return re.sub(r'"(?:[^"\\]|\\.)*"|\t', lambda match: " " if match[0] == "\t" else match[0], text)


def explain(error: yaml.YAMLError) -> str:
    """Say what is wrong, and where; PyYAML itself would repeat the line, which may hold a secret."""
    mark = getattr(error, "problem_mark", None)
    where = f' in "{mark.name}", line {mark.line + 1}, column {mark.column + 1}' if mark else ""
    return _describe(error) + where


def _describe(error: yaml.YAMLError) -> str:
    problem = ", ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", None))))
    help_ = next((hint for found, hint in _HINTS.items() if found in problem), "")
    return re.sub("(?<=alias )'.*'", "...", problem or type(error).__name__) + help_


class _Values:
    """The values of one file, the lines of their keys, and what is wrong with them.

    All values are counted: a few lines of aliases to aliases can stand for more than fits into memory.
    """

    def __init__(self) -> None:
        self.lines, self.problems = Lines(), list[Problem]()
        self._count = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        if self._count > _MOST_VALUES:
            raise ValueError(f"holds more than {_MOST_VALUES} values, each alias counted as what it stands for")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node.tag not in _TAGS:
            return self._refuse(path, f"has the tag {node.tag!r}; write the value without a tag")
        if isinstance(node, yaml.MappingNode):
            return self._table(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = [self.read(item, (*path, place)) for place, item in enumerate(node.value)]
            return [item for item in items if item is not _UNREADABLE]
        assert isinstance(node, yaml.ScalarNode)
        return None if node.style is None and node.value in _NULLS else self._text(node, path, "holds")

    def _table(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        table: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for name_node, value_node in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                self._refuse(path, "holds a key that is no text", line)
                continue
            name = self._text(name_node, path, "holds the key", line)
            below = (*path, name)
            if name is _UNREADABLE or name in table:
                if name in table:
                    self.problems.append(Problem((), f"{dotted(below)[:100]} stands twice", line))
                continue
            self.lines[below] = line
            value = self.read(value_node, below)
            if name == _MERGE and name_node.style is None:
                merged |= self._merged(value, below)
            elif value is not _UNREADABLE:
                table[name] = value
        return {**merged, **table}

    def _merged(self, value: Any, path: Path) -> dict[str, Any]:
        tables = value if isinstance(value, list) else [value]
        if not all(isinstance(table, dict) for table in tables):
            self._refuse(path[:-1], f"holds {_MERGE} without a table behind it", self.lines.of(path))
            return {}
        return {name: below for table in reversed(tables) for name, below in table.items()}

    def _text(self, node: yaml.ScalarNode, path: Path, what: str, line: int = 0) -> Any:
        text = str(node.value)
        with contextlib.suppress(UnicodeDecodeError):  # JSON writes a character beyond 16 bits as two halves
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        if _NOT_TEXT.search(text):
            return self._refuse(
                path, f"{what} {text[:100]!r}; it must be text that UTF-8 can hold, without a zero byte", line)
        return text

    def _refuse(self, path: Path, text: str, line: int = 0) -> Any:
        """Note what is wrong with a key. The same value is read again where an alias stands for it."""
        self.problems.append(Problem(path, f"{dotted(path)[:100] or 'it'} {text}", line))
        return _UNREADABLE
