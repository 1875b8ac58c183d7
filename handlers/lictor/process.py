"""The one place that starts other programs: argv lists only, always with a time limit, or fully detached."""

import subprocess

from lictor import errors


def run(argv: list[str], *, timeout_s: float, stdin: str = "") -> str:
    """Run a program to its end and return its stdout; raises CommandFailed with both outputs otherwise."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise errors.CommandFailed(argv, None, _text(error.stdout), _text(error.stderr)) from error
    except OSError as error:
        raise errors.CommandFailed(argv, 127, "", str(error)) from error
    if done.returncode:
        raise errors.CommandFailed(argv, done.returncode, done.stdout, done.stderr)
    return done.stdout


def spawn(argv: list[str], *, log_path: str) -> int:
    """Start a program that outlives us, in a session of its own, and return its pid.

    It holds none of our descriptors: a child that kept the agent's pipe open would block the watch.
    """
    with open(log_path, "ab") as log_file:
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file, start_new_session=True, close_fds=True
        )
    return child.pid


def _text(output: object) -> str:
    return output.decode("utf-8", "replace") if isinstance(output, bytes) else str(output or "")
