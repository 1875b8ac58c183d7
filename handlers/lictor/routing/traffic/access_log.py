"""The log of measured requests, where nginx has no Lua module: read from where the last reading ended, and emptied.

nginx appends to it, so that it may be cut in place. A signal to open it anew would be one for the user's logs too, and
nginx's workers may not be allowed to open it by themselves. Lines between the last reading and the cut are lost.
"""

import contextlib
import os
from typing import Any

from lictor.adapters import files
from lictor.routing.traffic import counts, windows
from lictor.routing.traffic.counts import SLOT_S, Counts

_STATE = "traffic/:log.json"  # in the state folder; no service's name has a colon
_LOG = "traffic/access.log"  # below conf_dir
_EMPTIED_FROM_BYTES = 4 << 20
_LONGEST_BYTES = 64 << 20  # then it is emptied in any case
_MOST_READ_BYTES = 16 << 20  # some hundred thousand requests
BEHIND_S = 1.5  # nginx writes what it has buffered within a second


def path(conf_dir: str) -> str:
    return os.path.join(conf_dir, _LOG)


def make(conf_dir: str) -> None:
    """Make the log before nginx does, as whose master it would be root's, and not to be emptied by the agent's user.

    When the user's logs are rotated, nginx gives it to its workers' user. Its group stays, so that may write it.
    """
    with contextlib.suppress(OSError):  # whoever reads it says so
        descriptor = files.open_own(path(conf_dir), os.O_WRONLY, 0o664)
        try:
            os.fchmod(descriptor, 0o664)  # whatever the umask is
        finally:
            os.close(descriptor)


def read(conf_dir: str, state_dir: str, now: float) -> tuple[float, Counts] | None:
    """Return since when requests are counted without a gap, and their counts; None if there is no log."""
    known = _read_state(state_dir)
    try:
        descriptor = os.open(path(conf_dir), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "r+b") as file:
        about = os.fstat(descriptor)
        size, inode = about.st_size, about.st_ino
        is_same = known is not None and known["inode"] == inode and known["offset"] <= size
        since, offset, found = (known["since"], known["offset"], known["counts"]) if known and is_same else (now, 0, {})
        since = min(since, now)  # the clock may have been set back
        if size - offset > _MOST_READ_BYTES:
            offset, since, found = size - _MOST_READ_BYTES, now, {}
        file.seek(offset)
        text = file.read(size - offset)
        whole, _, _ = text.rpartition(b"\n")
        counts.count_lines(whole.decode("ascii", "replace").splitlines(), found)
        offset += len(whole) + 1 if whole else 0
        if size >= _EMPTIED_FROM_BYTES and (os.fstat(descriptor).st_size == offset or size >= _LONGEST_BYTES):
            file.truncate(0)
            offset = 0
    found = counts.drop_before(found, now - windows.READ_S - SLOT_S)
    files.write_json(os.path.join(state_dir, _STATE), {"inode": inode, "offset": offset, "since": since,
                                                       "counts": found}, durable=False)
    return since, found


def forget(state_dir: str) -> None:
    """Forget how far the log was read."""
    files.remove(os.path.join(state_dir, _STATE))


def _read_state(state_dir: str) -> dict[str, Any] | None:
    """Read how far the log was read; None if that is unknown or damaged: counting begins anew."""
    found = files.read_json(os.path.join(state_dir, _STATE))
    try:
        return {"inode": int(found["inode"]), "offset": int(found["offset"]), "since": float(found["since"]),
                "counts": {str(name): {int(slot): {str(what): int(number) for what, number in counted.items()}
                                       for slot, counted in slots.items()} for name, slots in found["counts"].items()}}
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
