"""One logfmt line an event, on stderr: where the agent's own log and journald pick it up."""

import json
import re
import sys

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@%+,-]+", re.ASCII)
_LONGEST_VALUE = 500


def event(action: str, **fields: object) -> None:
    """Write `action=... key=value ...`; None fields are left out, other values are quoted where they need it."""
    pairs = [f"{key}={_value(value)}" for key, value in {"action": action, **fields}.items() if value is not None]
    try:
        print(" ".join(pairs), file=sys.stderr, flush=True)
    except OSError:
        pass  # the agent that started us may be gone; losing a log line must not lose the work


def _value(value: object) -> str:
    text = str(value)
    if len(text) > _LONGEST_VALUE:
        text = text[:_LONGEST_VALUE] + "..."
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
