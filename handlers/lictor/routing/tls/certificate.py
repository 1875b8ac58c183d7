"""Certificates and keys in this node's files: which belong to a host, and whether nginx could use them.

Handlers often run as a user who may not look at keys. What they cannot see is no reason to refuse anything: nginx,
whose master is root, has the last word then.
"""

import contextlib
import os
import ssl
import stat
import time
from collections.abc import Iterable
from typing import NamedTuple

from lictor.routing.tls import leaf
from lictor.spec.settings import Nginx

_AT_WORK_S = 60.0  # certbot changes one file after the other, and an operator does
_LONGEST_BYTES = 1 << 20


class Pair(NamedTuple):
    """Paths of a host's certificate, with what its issuer needs, and of its key."""

    certificate: str
    key: str


def of_host(settings: Nginx, host: str) -> Pair:
    """Name the files of a host; its name was validated."""
    return Pair(*(path.replace("{host}", host) for path in (settings.certificate, settings.key)))


def stamp(settings: Nginx, pair: Pair) -> str | None:
    """Return what tells the files from others in their place, also behind symbolic links; "" if one is missing, and
    None if they cannot be seen, as in a container."""
    if settings.container:
        return None
    stamps = []
    for path in pair:
        try:
            found = os.stat(path)
            stamps.append(f"{found.st_ino} {found.st_mtime_ns} {found.st_size}")
        except PermissionError:
            return None
        except OSError:
            return ""
    return " ".join(stamps)


def explain_unusable(settings: Nginx, pair: Pair) -> str:
    """Say why nginx would refuse these files; "" if it would not, or that cannot be seen."""
    if settings.container:
        return ""
    why, unseen = "", False
    for what, path in zip(pair._fields, pair, strict=True):
        try:
            text = _read(path)
            if what == "certificate":
                leaf.of_pem(text)
        except PermissionError:
            unseen = True
        except (OSError, ValueError) as error:
            why = why or f"{what} {path}: {error.strerror if isinstance(error, OSError) else error}"
    return why or ("" if unseen else _explain_mismatch(pair))


def read_leaf(pair: Pair) -> leaf.Leaf | None:
    """Read the certificate; None if it cannot be seen, or is none."""
    try:
        return leaf.of_pem(_read(pair.certificate))
    except (OSError, ValueError):
        return None


def find_unseen(pair: Pair) -> str:
    """Find the first file that this process may not read; "" if there is none."""
    for path in pair:
        try:
            _read(path)
        except PermissionError:
            return path
        except (OSError, ValueError):
            continue
    return ""


def is_being_changed(pair: Pair) -> bool:
    """Decide whether somebody has changed, replaced or removed one of the files just now."""
    folders = [_find_folder(path) for path in pair]
    return any(abs(time.time() - each) < _AT_WORK_S for each in _changes([*pair, *folders]))


def newest_change(pair: Pair) -> float:
    """Return the time of the last change of the files and of their links, in epoch seconds."""
    return max(_changes(pair), default=0.0)


def _changes(paths: Iterable[str]) -> list[float]:
    times = []
    for path in paths:
        for look in (os.stat, os.lstat):
            with contextlib.suppress(OSError):
                times.append(look(path).st_ctime)
    return times


def _find_folder(path: str) -> str:
    """Find the folder of a file, or what is there of it."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _read(path: str) -> str:
    """Read a file; OSError for what is none. A pipe holds nobody up."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        return file.read(_LONGEST_BYTES).decode("ascii", "replace")


def _explain_mismatch(pair: Pair) -> str:
    try:
        # Without a password at hand a key that needs one is refused, and not asked for on a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pair, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None)
        if reason == "KEY_VALUES_MISMATCH":
            return f"key {pair.key} is not that of certificate {pair.certificate}"
        return f"certificate {pair.certificate} with key {pair.key}: {reason or error}"
    except OSError as error:  # another file is there by now
        return f"certificate {pair.certificate} with key {pair.key}: {error.strerror}"
    return ""
