"""Text of other programs and people: cut to the end, without our secrets, and safe for a terminal. Pure."""

import json
import time
from collections.abc import Iterable

_LINES = 20
_CHARACTERS = 4000


def last_lines(text: str, *, secrets: Iterable[str] = ()) -> str:
    """Keep the last lines, short enough for a record; each of `secrets` in them is replaced."""
    lines = [line.rstrip() for line in hide(text, secrets).splitlines() if line.strip()]
    return "\n".join(lines[-_LINES:])[-_CHARACTERS:]


def hide(text: str, secrets: Iterable[str]) -> str:
    """Replace each of `secrets`, also where a program has escaped it, the longest one first."""
    for secret in sorted(secrets, key=len, reverse=True):
        for form in (secret, json.dumps(secret)[1:-1]):
            text = text.replace(form, "...") if form else text
    return text


def describe_error(error: OSError) -> str:
    """Describe what the system refuses in its own words, without their number."""
    if not error.strerror:
        return str(error) or repr(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def printable(line: str) -> str:
    """Replace what would move a terminal's cursor or colour its text: a check's output may hold anything."""
    return "".join(character if character.isprintable() else "?" for character in line.expandtabs())


def one_line(text: str) -> str:
    """Fold white space, line ends included, into single blanks, and make the rest printable."""
    return printable(" ".join(text.split()))


def format_time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
