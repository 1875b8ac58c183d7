"""The lock of a service between this node's processes. A process that finds it taken leaves a marker, upon which the
holder looks once more. Imported by handlers that start often, so it imports little."""

import os
from contextlib import AbstractContextManager

from lictor.adapters import files


def leave_marker(state_dir: str, name: str) -> None:
    files.make_folder(os.path.join(state_dir, "locks"))
    os.close(files.open_own(_marker_path(state_dir, name), os.O_WRONLY))  # an empty file has room on a full disk


def take_marker(state_dir: str, name: str) -> bool:
    """Remove the marker before an observation: later changes leave a new one. Returns whether there was one."""
    return files.remove(_marker_path(state_dir, name))


def is_marked(state_dir: str, name: str) -> bool:
    return os.path.exists(_marker_path(state_dir, name))


def lock(state_dir: str, name: str) -> AbstractContextManager[bool]:
    """Take the lock, or give False: then its holder sees a marker that was left before."""
    return files.locked(os.path.join(state_dir, "locks", f"{name}.lock"), wait=False)


def is_left_to_another(state_dir: str, name: str) -> bool:
    """Leave a marker, and decide whether another process holds the lock and so looks once more."""
    leave_marker(state_dir, name)
    with lock(state_dir, name) as is_ours:
        return not is_ours


def _marker_path(state_dir: str, name: str) -> str:
    return os.path.join(state_dir, "locks", f"{name}.again")
