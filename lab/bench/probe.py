"""What a user sees of one change of the catalogue: when the file says it, and whose answers come on new connections."""

import os
import re
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

_ANSWER_LIMIT_S = 5.0


class Seen(NamedTuple):
    """Moments of time.perf_counter; None: not within the limit, or not looked for."""

    file_at: float | None
    answer_at: float | None  # the first one by a new peer, or the last one by an old one


def ask(host: str, port: int, path: str) -> str:
    """Send one request on a connection of its own; the body of its answer, or "" without one, or if it is no 200."""
    try:
        with socket.create_connection((host, port), _ANSWER_LIMIT_S) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: bench\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode(errors="replace")
    except OSError:
        return ""
    head, _, body = answer.partition("\r\n\r\n")
    return body if " 200 " in head.partition("\r\n")[0] else ""


def listens(host: str, port: int) -> bool:
    with socket.socket() as connection:
        return not connection.connect_ex((host, port))


class File:
    """The file that a peer's address comes into, or goes from; read only when it is another one than before."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen = self._version()

    def changed_to(self, address: str, *, present: bool) -> bool:
        version = self._version()
        if version == self._seen:
            return False
        self._seen = version
        try:
            with open(self.path, encoding="utf-8") as file:
                return bool(re.search(rf"\b{re.escape(address)}\b(?!\.)", file.read())) == present
        except OSError:
            return False

    def _version(self) -> tuple[int, int, int]:
        try:
            found = os.stat(self.path)
            return found.st_ino, found.st_mtime_ns, found.st_size
        except OSError:
            return 0, 0, 0


def follow(port: int, path: str, file_path: str, change: Callable[[], None], peer: str, *, appears: bool,
           quiet_s: float, limit_s: float, answers: bool = True) -> Seen:
    """Send the change and ask until its end is seen: the first answer of `peer`, or none of it for `quiet_s`.

    `file_path` may be "". With `answers` false only the file is waited for.
    """
    file = File(file_path)
    address = peer.partition(":")[0]
    file_at = answer_at = None
    began = time.perf_counter()
    change()
    while (now := time.perf_counter()) - began < limit_s:
        is_written = not file_path or file_at is not None
        is_over = _is_over(now, began, answer_at, appears=appears, quiet_s=quiet_s) or not answers
        if is_over and is_written:
            return Seen(file_at, answer_at or began if answers else None)
        if not is_written and file.changed_to(address, present=appears):
            file_at = time.perf_counter()
        if answers and not (appears and is_over) and ask("127.0.0.1", port, path) == peer:
            answer_at = time.perf_counter()
    return Seen(file_at, answer_at if appears else None)


def _is_over(now: float, began: float, answer_at: float | None, *, appears: bool, quiet_s: float) -> bool:
    """Decide whether the end is seen: an answer of a peer that appears, else none for `quiet_s`."""
    return answer_at is not None if appears else now - (answer_at or began) > quiet_s
