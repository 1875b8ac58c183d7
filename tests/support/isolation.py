"""A network of our own, so that engines and servers of test processes side by side publish no port twice."""

import ctypes
import os
import subprocess

_CLONE_NEWNET = 0x40000000  # of <linux/sched.h>; Python has os.unshare from 3.12 on
_BEFORE = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def leave() -> None:
    """From now on this thread, and the threads and processes that it starts, have only a loopback of their own."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare: no network namespace can be made")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def outside(*argv: str) -> list[str]:
    """The command, to be run in the network that was left."""
    return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{_BEFORE}", *argv]
