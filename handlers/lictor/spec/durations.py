"""Durations, written as Compose writes them. Pure, and cheap to import: the settings use it too."""

import re

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?", re.ASCII)


def seconds(text: object) -> float:
    """500ms, 2s, 1m30s or 1h in seconds; raises ValueError saying what is allowed, also for what is no text."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) and text else None
    if not match:
        raise ValueError(f"{text!r} is no duration; write it such as 500ms, 2s, 1m30s or 1h")
    hours, minutes, whole, milliseconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + whole + milliseconds / 1000
