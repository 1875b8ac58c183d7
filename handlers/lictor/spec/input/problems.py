"""What is wrong with a file: each with the place of its key, and in words. Pure."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from lictor import errors

_FEW = 14
_ALIKE = 0.7

Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """Something wrong. `path` leads to the key; () is the whole file. `line` is for what is not on the key's own.

    `meant` is the key for which an unknown one was written, if that is clear.
    """

    path: Path
    text: str
    line: int = 0
    meant: Path = ()


class Lines(dict[Path, int]):
    """The lines on which keys and items of lists stand, from 1 on."""

    def of(self, path: Path) -> int:
        """Find the line of a key, or of what it stands in; 0: unknown."""
        return next((self[path[:length]] for length in range(len(path), -1, -1) if path[:length] in self), 0)


def refuse(where: str, problems: Iterable[Problem], lines: Lines) -> None:
    """Raise Refused if there are problems: all of them, by lines."""
    placed = sorted({(each.line or lines.of(each.path), each.text): None for each in problems},
                    key=lambda place: place[0])
    if placed:
        raise errors.Refused(*(f"{where}{f':{line}' if line else ''}: {text}" for line, text in placed))


def overlap(path: Path, other: Path) -> bool:
    """Whether one of the keys is the other, or below it."""
    shorter = min(len(path), len(other))
    return path[:shorter] == other[:shorter]


def find_alike(name: str, known: Iterable[str]) -> str:
    """Find the name that is most like this one; "" if none is."""
    import difflib  # late: few processes have an error to explain

    return next(iter(difflib.get_close_matches(name, [*known], 1, _ALIKE)), "")


def describe_unknown(name: str, known: Iterable[str], elsewhere: Mapping[str, str] = {}, *,
                     words: str = "known are") -> str:
    """Say, behind an unknown key or value, which one may be meant, and which are known unless these are many.

    `elsewhere` holds what may be meant by names that are nowhere near.
    """
    names = [*known]
    meant = elsewhere.get(name) or find_alike(name, names) or elsewhere.get(
        find_alike(name, [each for each in elsewhere if each[:1] == name[:1]]), "")
    listed = f"{words} {', '.join(names)}"
    if not meant:
        return f"; {listed}"
    return f"; did you mean {meant}?{f' {listed[0].upper()}{listed[1:]}' if len(names) <= _FEW else ''}"


def dotted(path: Path) -> str:
    """Write a path as in messages: volumes[0], route.path."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
