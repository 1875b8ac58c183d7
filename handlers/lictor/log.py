"""One logfmt line an event, on stderr; and in a file, as Consul shows what its handlers say at log level DEBUG only."""

import json
import os
import re
import sys

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@%+,-]+", re.ASCII)
_LONGEST_VALUE = 500
_kept_in = ""


def keep(path: str) -> None:
    """From now on append each line to this file too, unless stderr is that file already."""
    global _kept_in
    try:
        _kept_in = "" if os.path.samestat(os.fstat(2), os.stat(path)) else path
    except OSError:
        _kept_in = path


def event(action: str, **fields: object) -> None:
    """Write `action=... key=value ...`; None fields are left out, other values are quoted where they need it."""
    pairs = [f"{key}={_value(value)}" for key, value in {"action": action, **fields}.items() if value is not None]
    line = " ".join(pairs) + "\n"
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
        if _kept_in:
            with open(_kept_in, "a", encoding="utf-8") as file:
                file.write(line)
    except OSError:
        pass  # the agent that started us may be gone, the disk full; losing a line must not lose the work


def _value(value: object) -> str:
    text = str(value)
    if len(text) > _LONGEST_VALUE:
        text = text[:_LONGEST_VALUE] + "..."
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
