"""One logfmt line an event, on stderr; and in a file, as Consul shows its handlers' output at log level DEBUG only."""

import json
import os
import re
import sys
import time
from typing import BinaryIO

from lictor.adapters import files

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@%+,-]+", re.ASCII)
_LONGEST_VALUE = 500
_kept_in = ""
_stderr_is_kept = False


def keep(path: str) -> None:
    """Append each further line to this file too, with the time in front; stderr may be that file already."""
    global _kept_in, _stderr_is_kept
    _kept_in = path
    try:
        _stderr_is_kept = os.path.samestat(os.fstat(2), os.stat(path))
    except OSError:
        _stderr_is_kept = False


def open_kept(path: str) -> BinaryIO:
    return open(files.open_own(path, os.O_WRONLY | os.O_APPEND, 0o640), "ab")


def event(action: str, **fields: object) -> None:
    """Write `action=... key=value ...`; None fields are left out, other values are quoted where they need it."""
    pairs = [f"{key}={_value(value)}" for key, value in {"action": action, **fields}.items() if value is not None]
    line = " ".join(pairs) + "\n"
    stamped = f"at={time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}"
    try:
        sys.stderr.write(stamped if _stderr_is_kept else line)
        sys.stderr.flush()
        if _kept_in and not _stderr_is_kept:
            with open_kept(_kept_in) as file:
                file.write(stamped.encode("utf-8", "replace"))
    except OSError:
        pass  # the agent that started us may be gone, the disk full; losing a line must not lose the work


def _value(value: object) -> str:
    text = str(value)
    if len(text) > _LONGEST_VALUE:
        text = text[:_LONGEST_VALUE] + "..."
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
