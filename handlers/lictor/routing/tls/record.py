"""Record of this node's certificates in the state folder: which files nginx has confirmed, and what was tried since."""

import os
from typing import NamedTuple

from lictor.adapters import files
from lictor.spec import plain_tables

_FILE = "certificates.json"


class Record(NamedTuple):
    """By host: the stamps of the files that nginx has read, and when it was last asked what it presents. Times are
    epoch seconds."""

    confirmed: dict[str, str] = {}
    asked: dict[str, float] = {}
    reread_at: float = 0.0
    refused: str = ""  # why nginx did not take the files that it was last told to read; "": it did
    refused_stamps: str = ""
    refused_at: float = 0.0


def read(state_dir: str) -> Record:
    """Read the record; an empty one if there is none, or it is damaged."""
    try:
        found = plain_tables.read_record(files.read_json(os.path.join(state_dir, _FILE)), Record)
    except ValueError:
        return Record()
    is_sound = all(type(each) is str for each in found.confirmed.values()) and all(
        type(each) is float for each in found.asked.values())
    return found if is_sound else Record()


def write(state_dir: str, record: Record) -> None:
    files.write_json(os.path.join(state_dir, _FILE), record._asdict(), durable=False)
