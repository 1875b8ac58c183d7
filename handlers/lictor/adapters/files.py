"""Files that hold either the old or the new version, never half of one; and locks between processes."""

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lictor import errors, model

_READ_LIMIT_BYTES = 16 * 1024 * 1024
_LOCK_POLL_S = 0.2


def write_atomic(path: str, text: str, *, mode: int = 0o644, durable: bool = True) -> bool:
    """Replace `path` with `text` by a temporary file beside it; returns whether anything changed.

    `durable` also survives a power cut (fsync of file and folder).
    """
    if read(path) == text:
        return False
    write_all({path: text}, mode=mode, durable=durable)
    return True


def write_all(texts: Mapping[str, str], *, mode: int = 0o644, durable: bool = True, with_folders: bool = True) -> None:
    """Replace each path's content, in this order, by temporary files beside them.

    `durable` also survives a power cut: a file gets its name once it is on the disk. All are written before the first
    is waited for, so that many files take little longer than one. Without `with_folders` a power cut may leave the old
    content until the caller has called `sync` for the folders.
    """
    temporaries = {path: os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}.tmp")
                   for path in texts}
    try:
        for path, temporary in temporaries.items():
            descriptor = open_own(temporary, os.O_WRONLY | os.O_TRUNC, mode)
            with open(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, mode)
                file.write(texts[path])
        if durable:
            sync(temporaries.values())
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    except BaseException:
        for temporary in temporaries.values():
            remove(temporary)
        raise
    if durable and with_folders:
        sync({os.path.dirname(path) for path in texts})


def open_own(path: str, flags: int, mode: int = 0o600) -> int:
    """Open a file of lictor's, which is made if there is none; a symbolic link is not followed.

    If root makes the file, it gets the folder's owner, whose handlers have to use it too.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags)
        with contextlib.suppress(FileExistsError):  # another process was faster
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
            if os.geteuid() == 0:
                folder = os.stat(os.path.dirname(path))
                os.fchown(descriptor, folder.st_uid, folder.st_gid)
            return descriptor


def make_folder(path: str) -> None:
    """Make a folder of lictor's, unless it is there, as `open_own` makes a file; a symbolic link is Refused."""
    try:
        os.makedirs(path, mode=0o750)
    except FileExistsError:
        if os.path.islink(path) or not os.path.isdir(path):
            raise errors.Refused(f"{path} is no folder; remove it") from None
    else:
        if os.geteuid() == 0:
            parent = os.stat(os.path.dirname(path))
            os.chown(path, parent.st_uid, parent.st_gid, follow_symlinks=False)


def sync(paths: Iterable[str]) -> None:
    """Make the content of files, or the names in folders, survive a power cut."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: str) -> str | None:
    """Read a text file; None if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_READ_LIMIT_BYTES)
    except FileNotFoundError:
        return None


def read_needed(path: str, what: str) -> str:
    """Read a text file that a user has named; Refused, with `what` it is, if it cannot be read."""
    try:
        text = read(path)
    except OSError as error:
        raise errors.Refused(f"{what} {path} cannot be read on this node: {error.strerror}") from error
    if text is None:
        raise errors.Refused(f"{what} {path} is not on this node")
    return text


def read_regular(path: str, what: str, *, limit_bytes: int) -> tuple[str, str]:
    """Read a text file that a writer of keys has named; returns it with its path without symbolic links.

    Refused, with `what` it is, for what is no regular file, too long, or not to be read. A pipe holds nobody up.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise errors.Refused(f"{what} {path} cannot be read on this node: it is no regular file")
            content = file.read(limit_bytes + 1)
            real_path = os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError as error:
        raise errors.Refused(f"{what} {path} is not on this node") from error
    except OSError as error:
        raise errors.Refused(f"{what} {path} cannot be read on this node: {error.strerror}") from error
    if len(content) > limit_bytes:
        raise errors.Refused(f"{what} {path} cannot be read on this node: it is longer than {limit_bytes} bytes")
    return content.decode("utf-8", "replace"), real_path


def read_json(path: str) -> Any:
    """Read a JSON file of lictor's; None if it is absent or damaged (the caller then starts afresh)."""
    try:
        return json.loads(read(path) or "null")
    except (ValueError, RecursionError):
        return None


def write_json(path: str, value: object, *, mode: int = 0o600, durable: bool = True) -> bool:
    """Write JSON as write_atomic does; keys are sorted: equal values are equal bytes."""
    return write_atomic(path, json.dumps(value, sort_keys=True), mode=mode, durable=durable)


def touch(path: str, at_ns: int) -> None:
    """Set a file's time, in nanoseconds since the epoch; the file is made if there is none."""
    descriptor = open_own(path, os.O_WRONLY)
    try:
        os.utime(descriptor, ns=(at_ns, at_ns))
    finally:
        os.close(descriptor)


def modified_ns(path: str) -> int:
    """Return the time of a file; 0 if there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


def stamp(paths: Iterable[str]) -> list[tuple[int, int, int]]:
    """Return what changes with a file's content, for each path and for what is in it if it is a folder."""
    stamps = []
    for path in paths:
        with contextlib.suppress(OSError):
            inside = [entry.path for entry in os.scandir(path)] if os.path.isdir(path) else []
            for each in [path, *sorted(inside)]:
                status = os.stat(each)
                stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return stamps


def remove(path: str) -> bool:
    """Remove a file; returns whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


@contextlib.contextmanager
def locked(path: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive flock on `path`, which ends with the process; yields whether it is held.

    With `wait=False` it may be False.
    """
    descriptor = open_own(path, os.O_RDWR)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked_folder(path: str, *, timeout_s: float) -> Iterator[None]:
    """Hold an exclusive flock on any folder; nothing is written there.

    Raises Refused if it cannot be opened, Unavailable if another process has kept the lock for `timeout_s`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise errors.Refused(f"{path}: {error.strerror}") from error
    try:
        _wait_for_lock(descriptor, path, timeout_s)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, path: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.monotonic() >= deadline:
            raise errors.Unavailable(f"{path}: another process has kept it locked for {timeout_s:g} s")
        time.sleep(_LOCK_POLL_S)


def remove_stale_temporaries(folder: str, clock: model.Clock, *, older_than_s: float) -> list[str]:
    """Remove the temporary files of killed writers from `folder`; returns their paths."""
    stale = []
    for entry in os.scandir(folder):
        if entry.name.startswith(".") and entry.name.endswith(".tmp"):
            with contextlib.suppress(FileNotFoundError):  # its writer was faster
                if clock.age_s(entry.stat(follow_symlinks=False).st_mtime) > older_than_s and remove(entry.path):
                    stale.append(entry.path)
    return stale
