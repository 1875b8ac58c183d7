"""The registrar's heartbeat in the state folder: the timer and the doctor read it."""

import os
import time
from typing import Any

from lictor.adapters import files

LATE_S = 60.0
_FILE = "registrar.json"


def write(state_dir: str, **fields: object) -> None:
    """Note that the registrar is alive; raises OSError if the disk is full."""
    files.write_json(os.path.join(state_dir, _FILE), {"at": time.time(), **fields}, durable=False)


def read(state_dir: str) -> dict[str, Any] | None:
    """Read the last heartbeat, `at` being seconds since the epoch; None if it is absent or damaged."""
    beat = files.read_json(os.path.join(state_dir, _FILE))
    return beat if isinstance(beat, dict) and isinstance(beat.get("at"), float) else None
