"""Network namespaces, each kept by a file that it is mounted on: `ip netns` and other labs know nothing of it."""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

_CLONE_NEWNET = 0x40000000
_DEATH_LIMIT_S = 60.0
_libc = ctypes.CDLL(None, use_errno=True)


def create(path: str) -> None:
    """Make a new namespace with its loopback interface up."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    subprocess.run(["unshare", f"--net={path}", "ip", "link", "set", "lo", "up"], check=True, capture_output=True)


def remove(path: str) -> None:
    """Forget it; it ends with the last process, thread or socket in it."""
    while os.path.ismount(path):
        subprocess.run(["umount", "-l", path], check=True, capture_output=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def run(path: str, *argv: str) -> str:
    done = subprocess.run(["nsenter", f"--net={path}", *argv], capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise OSError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def enter(path: str) -> None:
    """Move the calling thread there, for good; what it starts and what it connects is there too."""
    with open(path, "rb") as namespace:
        if _libc.setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {path}")


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Move the calling thread there for the time of the block; "" is where it is anyway."""
    if not path:
        yield
        return
    with open("/proc/thread-self/ns/net", "rb") as home:
        enter(path)
        try:
            yield
        finally:
            if _libc.setns(home.fileno(), _CLONE_NEWNET):
                os.abort()  # a thread that is lost in another network would do harm there


def members(path: str) -> list[int]:
    """List the processes in it, by this machine's numbers."""
    if not os.path.ismount(path):
        return []
    wanted = os.stat(path)
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_in(pid, wanted)]


def kill_members(path: str) -> None:
    """SIGKILL them all and wait until they are dead; whoever is the first process of a host takes all others along.

    A process is held by a descriptor and looked at again before it is killed, so that a recycled number does no harm.
    """
    deadline = time.monotonic() + _DEATH_LIMIT_S
    while found := [pid for pid in members(path) if pid != os.getpid()]:
        for pid in found:
            _kill(pid, os.stat(path), deadline)
        if time.monotonic() > deadline:
            raise OSError(f"processes in {path} do not die: {found}")


def first_process(path: str) -> int:
    """Our number of the process that is number 1 to those beside it; raises ProcessLookupError where there is none."""
    for pid in members(path):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="utf-8") as file:
            numbers = next(line.split()[1:] for line in file if line.startswith("NSpid:"))
            if len(numbers) == 2 and numbers[1] == "1":
                return pid
    raise ProcessLookupError(f"nothing runs in {path}")


def _kill(pid: int, namespace: os.stat_result, deadline: float) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _is_in(pid, namespace):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def _is_in(pid: int, namespace: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/ns/net"), namespace)
    except OSError:
        return False
