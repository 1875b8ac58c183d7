"""A terminal of some width, and a program that writes to it."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable


def read_terminal(begin: Callable[[int], "subprocess.Popen[str]"], columns: int) -> tuple[int, list[str]]:
    """Begin a program whose stdout is a terminal; returns its exit code, and the lines that it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    running = begin(theirs)
    os.close(theirs)
    text = b""
    try:
        with contextlib.suppress(OSError):  # so Linux says that nobody writes there any more
            while more := os.read(ours, 65536):
                text += more
    finally:
        os.close(ours)
    return running.wait(timeout=150), text.decode().splitlines()
