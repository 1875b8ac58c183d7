"""The one place that starts other programs: argv lists only, always with a time limit, or fully detached."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from lictor import errors

CalledOff = Callable[[], str]  # why what is under way has to stop; "": it need not
LOG_NAME = "lictor.log"  # in the state folder: what detached handlers say
_LOG_LIMIT_BYTES = 10_000_000
_LOOK_EVERY_S = 0.5


def run(argv: list[str], *, timeout_s: float, stdin: str = "", environ: Mapping[str, str] | None = None,
        called_off: CalledOff | None = None) -> str:
    """Run a program to its end and return its stdout; raises CommandFailed with both outputs otherwise.

    It gets a session of its own: when its time runs out, all that it started there ends with it. So it does when
    `called_off` gives a reason, with a Conflict.
    """
    try:
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 errors="replace", start_new_session=True, env=environ)
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
    return stdout


def handler_path(name: str) -> str:
    """Where a handler script is: beside the package in a checkout, else among the commands of this Python."""
    beside_package = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), name)
    return beside_package if os.path.exists(beside_package) else os.path.join(sys.prefix, "bin", name)


def handler_argv(name: str) -> list[str]:
    """What starts a handler with this very Python, and so with the libraries that we have."""
    return [sys.executable, handler_path(name)]


def spawn_handler(name: str, args: list[str], *, state_dir: str, stdin: bytes = b"",
                  environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a handler that outlives us, in a session of its own; it logs to LOG_NAME. `environ` is added to ours.

    It holds none of our descriptors: a child that kept the agent's pipe open would block the watch.
    """
    log_path = os.path.join(state_dir, LOG_NAME)
    if os.path.exists(log_path) and os.path.getsize(log_path) > _LOG_LIMIT_BYTES:
        os.replace(log_path, log_path + ".1")
    with open(log_path, "ab") as log_file, open(os.memfd_create("stdin"), "w+b") as given:
        given.write(stdin)
        given.seek(0)
        return subprocess.Popen([*handler_argv(name), *args], stdin=given, stdout=log_file, stderr=log_file,
                                start_new_session=True, close_fds=True, cwd="/", env={**os.environ, **(environ or {})})


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
