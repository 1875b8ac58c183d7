"""The registrar's sign of life in the state folder: it writes it, the timer and the doctor read it."""

import os
import time
from typing import Any

from lictor.adapters import files

LATE_S = 60.0
_FILE = "registrar.json"


def write(state_dir: str, **fields: object) -> None:
    """Note that the registrar is alive now; raises OSError when the disk is full."""
    files.write_json(os.path.join(state_dir, _FILE), {"at": time.time(), **fields}, durable=False)


def read(state_dir: str) -> dict[str, Any] | None:
    """The last one, `at` being seconds since the epoch; None when there is none, or it is damaged."""
    beat = files.read_json(os.path.join(state_dir, _FILE))
    return beat if isinstance(beat, dict) and isinstance(beat.get("at"), float) else None
