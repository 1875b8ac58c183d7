"""Durations and amounts of memory, written as Compose writes them. Pure."""

import re

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?", re.ASCII)
_MEMORY = re.compile(r"(\d+)(b|k|kb|kib|m|mb|mib|g|gb|gib)?", re.ASCII)


class Duration(float):
    """Seconds, written as 500ms, 2s, 1m30s or 1h."""


class Memory(int):
    """Bytes, written as 64m, 128MiB or 1g."""


def parse_duration(text: object) -> Duration:
    """Parse a text; raises ValueError, with what is allowed, also for a value that is no text."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) and text else None
    if not match:
        raise ValueError(f"{text!r:.100} is no duration; write it such as 500ms, 2s, 1m30s or 1h")
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return Duration(hours * 3600 + minutes * 60 + seconds + milliseconds / 1000)


def parse_memory(value: object) -> Memory:
    """Parse a text or a number of bytes; raises ValueError, with what is allowed."""
    match = _MEMORY.fullmatch(str(value).lower())
    if isinstance(value, bool) or not match:
        raise ValueError(f"{value!r:.100} is no amount of memory; write it such as 64m, 128MiB or 1g")
    return Memory(int(match[1]) * 1024 ** " kmg".index((match[2] or " ")[0].replace("b", " ")))


def convert(kind: type, value: object) -> object:
    """Convert for msgspec (`dec_hook`), which does not know these types."""
    return {Duration: parse_duration, Memory: parse_memory}[kind](value)
