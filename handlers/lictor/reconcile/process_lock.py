"""Who works on a service: one process of this node at a time. Whoever comes meanwhile leaves a marker, upon which that
one looks once more. Imported by handlers that start often, so it imports little."""

import os
from contextlib import AbstractContextManager

from lictor.adapters import files


def leave_marker(state_dir: str, name: str) -> None:
    os.makedirs(os.path.join(state_dir, "locks"), mode=0o750, exist_ok=True)
    with open(_marker_path(state_dir, name), "ab"):
        pass  # empty, so that a full disk has room for it


def take_marker(state_dir: str, name: str) -> bool:
    """Before looking: what changes from now on will have a new one. Returns whether there was one."""
    return files.remove(_marker_path(state_dir, name))


def is_marked(state_dir: str, name: str) -> bool:
    return os.path.exists(_marker_path(state_dir, name))


def lock(state_dir: str, name: str) -> AbstractContextManager[bool]:
    """False: somebody has it, and will see a marker that was left before."""
    return files.locked(os.path.join(state_dir, "locks", f"{name}.lock"), wait=False)


def is_left_to_another(state_dir: str, name: str) -> bool:
    """Whether somebody is at work on it already, who now looks once more."""
    leave_marker(state_dir, name)
    with lock(state_dir, name) as is_ours:
        return not is_ours


def _marker_path(state_dir: str, name: str) -> str:
    return os.path.join(state_dir, "locks", f"{name}.again")
