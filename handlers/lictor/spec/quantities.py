"""Durations and amounts of memory in a spec, written as Compose writes them. Pure."""

import re

from lictor.spec import durations

_MEMORY = re.compile(r"(\d+)(b|k|kb|kib|m|mb|mib|g|gb|gib)?", re.ASCII)


class Duration(float):
    """Seconds, written as Compose writes them: 500ms, 2s, 1m30s, 1h."""


class Memory(int):
    """Bytes, written as Compose writes them: 64m, 128MiB, 1g."""


def convert(kind: type, value: object) -> object:
    """What msgspec asks of a type that it does not know; raises ValueError saying what is allowed."""
    if kind is Duration:
        return Duration(durations.seconds(value))
    if kind is Memory:
        match = _MEMORY.fullmatch(str(value).lower())
        if isinstance(value, bool) or not match:
            raise ValueError(f"{value!r} is no amount of memory; write it such as 64m, 128MiB or 1g")
        return Memory(int(match[1]) * 1024 ** " kmg".index((match[2] or " ")[0].replace("b", " ")))
    raise ValueError(f"{value!r} cannot be a {kind.__name__}")
