"""Other programs: argv lists only, always with a time limit, or fully detached."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

from lictor import errors
from lictor.adapters import files, log

CalledOff = Callable[[], str]  # the reason to stop a program that runs; "": it may go on
LOG_NAME = "lictor.log"  # in the state folder: the output of detached handlers
_LOG_LIMIT_BYTES = 10_000_000
_LOG_LOCK = ":log.lock"  # no service's name has a colon
_LOOK_EVERY_S = 0.5
_OWN_SECRETS = ("CONSUL_HTTP_TOKEN", "CONSUL_HTTP_AUTH", "CONSUL_HTTP_TOKEN_FILE")
_LEASH = [sys.executable, "-I", "-S", os.path.join(os.path.dirname(os.path.abspath(__file__)), "leash.py")]


class Output(NamedTuple):
    """The outputs of a program that succeeded."""

    stdout: str
    stderr: str


class User(NamedTuple):
    """The user, the group and the further groups of a process."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def run(argv: list[str], *, timeout_s: float) -> Output:
    """Run a program to its end and return its outputs; raises CommandFailed with both if it fails.

    The program gets a session of its own: if its time runs out, all processes in it end.
    """
    return _run(argv, timeout_s=timeout_s, environ=_inherited())


def run_as(user: User, argv: list[str], *, timeout_s: float, environ: Mapping[str, str]) -> Output:
    """Run a program as `run` does, but as another user, and in its environment alone. Only root may."""
    return _run(argv, timeout_s=timeout_s, environ=environ, user=user)


def delegate(argv: list[str], *, timeout_s: float, stdin: str = "", environ: Mapping[str, str] | None = None,
             called_off: CalledOff | None = None) -> Output:
    """Have another tool act, as `run`, with `environ` added to its environment.

    If `called_off` gives a reason, all its processes end, with a Conflict. So they do if this process is killed.
    """
    leash, held = os.pipe2(os.O_CLOEXEC)  # the end that is held here closes when this process ends
    try:
        return _run(argv, timeout_s=timeout_s, stdin=stdin, environ={**_inherited(), **(environ or {})},
                    called_off=called_off, leash=leash)
    finally:
        os.close(leash)
        os.close(held)


def _inherited() -> dict[str, str]:
    """Return this process's environment without lictor's secrets, which are no other program's business."""
    return {name: value for name, value in os.environ.items() if name not in _OWN_SECRETS}


def _run(argv: list[str], *, timeout_s: float, environ: Mapping[str, str], stdin: str = "",
         called_off: CalledOff | None = None, leash: int | None = None, user: User | None = None) -> Output:
    rights: dict[str, Any] = {}
    if user:
        rights = {"user": user.uid, "group": user.gid, "extra_groups": user.groups, "cwd": "/"}
    try:
        child = subprocess.Popen(argv if leash is None else [*_LEASH, str(leash), *argv], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                                 start_new_session=True, env=environ, pass_fds=() if leash is None else (leash,),
                                 **rights)
    except OSError as error:
        raise errors.CommandFailed(argv, 127, "", str(error)) from error
    with child:
        try:
            stdout, stderr = _communicate(child, stdin, timeout_s, called_off)
        except subprocess.TimeoutExpired as error:
            raise errors.CommandFailed(argv, None, _text(error.stdout), _text(error.stderr)) from error
        finally:
            if child.returncode is None:  # it was not waited for, so that its number is still its own
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
    if child.returncode:
        raise errors.CommandFailed(argv, child.returncode, stdout, stderr)
    return Output(stdout, stderr)


def handler_path(name: str) -> str:
    """Find a handler script: beside the package in a checkout, else among the commands of this Python."""
    beside_package = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), name)
    return beside_package if os.path.exists(beside_package) else os.path.join(sys.prefix, "bin", name)


def handler_argv(name: str) -> list[str]:
    """Return the argv that starts a handler with this very Python, and so with its libraries."""
    return [sys.executable, handler_path(name)]


def spawn_handler(name: str, args: list[str], *, state_dir: str, stdin: bytes = b"",
                  environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a handler that outlives this process, in a session of its own; it logs to LOG_NAME. `environ` is added.

    It inherits no descriptors: a child that kept the agent's pipe open would block the watch.
    """
    with _open_log(state_dir) as log_file, open(os.memfd_create("stdin"), "w+b") as given:
        given.write(stdin)
        given.seek(0)
        return subprocess.Popen([*handler_argv(name), *args], stdin=given, stdout=log_file, stderr=log_file,
                                start_new_session=True, close_fds=True, cwd="/", env={**os.environ, **(environ or {})})


def start_dependent(name: str, args: list[str]) -> subprocess.Popen[bytes]:
    """Start a handler that ends with this process: its stdin, which it reads, ends then."""
    return subprocess.Popen([*handler_argv(name), *args], stdin=subprocess.PIPE, start_new_session=True, cwd="/")


def _open_log(state_dir: str) -> BinaryIO:
    """Open the log for a child. The first process to find it too long puts it aside; without one, nothing is lost."""
    path = os.path.join(state_dir, LOG_NAME)
    try:
        if _size(path) > _LOG_LIMIT_BYTES:
            with files.locked(os.path.join(state_dir, "locks", _LOG_LOCK)):
                if _size(path) > _LOG_LIMIT_BYTES:
                    os.replace(path, f"{path}.1")
        return log.open_kept(path)
    except OSError as error:  # a log that cannot be written is no reason to start nothing
        log.event("log", outcome="failed", reason=error)
        return open(os.devnull, "ab")


def _size(path: str) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def _communicate(child: subprocess.Popen[str], stdin: str, timeout_s: float,
                 called_off: CalledOff | None) -> tuple[str, str]:
    if called_off is None:
        return child.communicate(stdin, timeout=timeout_s)
    given: str | None = stdin
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return child.communicate(given, timeout=min(_LOOK_EVERY_S, max(deadline - time.monotonic(), 0.0)))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise
            given, why = None, called_off()
            if why:
                raise errors.Conflict(why) from None


def _text(output: object) -> str:
    return output.decode("utf-8", "replace") if isinstance(output, bytes) else str(output or "")


def started_at_s(pid: int) -> float | None:
    """Read when a process was started, in seconds since the machine was; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK")
