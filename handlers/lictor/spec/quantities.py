"""Values as people write them: white space around them, shares, durations and amounts of memory as in Compose. Pure."""

import re
from collections.abc import Collection
from typing import Any

_LONGEST_H = 1_000_000  # all that compute with it, Consul and Docker included, can do so
DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?", re.ASCII)
_BLANK = " \t\r\n\u00a0\u200b\ufeff"  # the last ones come from web pages, and from editors that mark a file as UTF-8
SHARE = re.compile(r"(\d{1,3})%", re.ASCII)
MEMORY = re.compile(r"(\d{1,18})(b|k|kb|kib|m|mb|mib|g|gb|gib)?", re.ASCII)


class Duration(float):
    """Seconds, written as 30, 500ms, 2s, 1m30s or 1h."""


class ResponseTime(Duration):
    """Seconds that are mostly a part of one, and so need their unit: 250 would be taken for milliseconds."""


class Share(float):
    """A share of all, written as 10%."""


class Memory(int):
    """Bytes, written as 64m, 128MiB or 1g."""


def strip(text: str) -> str:
    """Take the white space away that stands around a value: a line end of an editor or of a shell is no part of it."""
    return text.strip(_BLANK)


def strip_all(value: Any, verbatim: Collection[str]) -> Any:
    """Strip all texts in a JSON value but those below the keys `verbatim`."""
    if isinstance(value, dict):
        return {key: each if key in verbatim else strip_all(each, verbatim) for key, each in value.items()}
    if isinstance(value, list):
        return [strip_all(each, verbatim) for each in value]
    return strip(value) if isinstance(value, str) else value


def parse_duration(text: object) -> Duration:
    """Parse a text; raises ValueError, with what is allowed, also for a value that is no text."""
    bare = strip(text) if isinstance(text, str) else str(text) if type(text) is int else ""
    if bare.isdecimal() and bare.isascii():
        bare += "s"
    match = DURATION.fullmatch(bare) if bare else None
    if not match:
        raise ValueError(f"{text!r:.100} is no duration; write it such as 500ms, 2s, 1m30s or 1h")
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    duration = Duration(hours * 3600 + minutes * 60 + seconds + milliseconds / 1000)
    if duration > _LONGEST_H * 3600:
        raise ValueError(f"{text!r:.100} is {duration / 3600:g}h; it must be at most {_LONGEST_H}h")
    return duration


def _parse_response_time(text: object) -> ResponseTime:
    if type(text) is int or isinstance(text, str) and strip(text).isdecimal():
        raise ValueError(f"{text!r:.100} has no unit; write it such as 250ms or 1s")
    return ResponseTime(parse_duration(text))


def parse_share(text: object) -> Share:
    """Parse whole percents; raises ValueError, with what is allowed."""
    match = SHARE.fullmatch(strip(text)) if isinstance(text, str) else None
    if not match:
        raise ValueError(f"{text!r:.100} is no share; write it such as 10%")
    return Share(int(match[1]) / 100)


def parse_memory(value: object) -> Memory:
    """Parse a text or a number of bytes; raises ValueError, with what is allowed."""
    match = MEMORY.fullmatch(strip(str(value)).lower())
    if isinstance(value, bool) or not match:
        raise ValueError(f"{value!r:.100} is no amount of memory; write it such as 64m, 128MiB or 1g")
    return Memory(int(match[1]) * 1024 ** " kmg".index((match[2] or " ")[0].replace("b", " ")))


def show_duration(seconds: float) -> str:
    """Write a duration as people do: 500ms, 2s, 1m30s or 1h."""
    rest, parts = round(seconds * 1000), []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def show_share(share: float) -> str:
    """Write a share as people do: 10%."""
    return f"{share * 100:.0f}%"


def show_memory(count_bytes: int) -> str:
    """Write an amount of memory in the largest unit that it is a whole number of: 128MiB, 1GiB."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count_bytes and count_bytes % size == 0:
            return f"{count_bytes // size}{unit}"
    return str(count_bytes)


def convert(kind: type, value: object) -> object:
    """Convert for msgspec (`dec_hook`), which does not know these types."""
    return {Duration: parse_duration, ResponseTime: _parse_response_time, Memory: parse_memory,
            Share: parse_share}[kind](value)
