"""What has to be removed when the lab goes down, and what is worth reading before that."""

import contextlib
import glob
import os
import shutil
import signal
import time

from lab.bench import processes
from lab.daemon import wait_for

_CGROUPS_LIMIT_S = 60.0
_TAIL_BYTES = 1500


def remove_cgroups(name: str) -> None:
    """In every hierarchy, version 1 or 2; the kernel holds them for a moment after their last process."""
    deadline = time.monotonic() + _CGROUPS_LIMIT_S
    while found := [*glob.glob(f"/sys/fs/cgroup/{name}"), *glob.glob(f"/sys/fs/cgroup/*/{name}")]:
        for top in found:
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    if time.monotonic() > deadline:
                        raise
        time.sleep(0.02)


def remove_folder(folder: str, *, last: str) -> None:
    """Its entry `last` goes last, so that an interrupted removal can be told from a folder of somebody else."""
    for entry in sorted(os.listdir(folder), key=lambda name: name == last):
        path = os.path.join(folder, entry)
        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    os.rmdir(folder)


def end_processes(folder: str) -> None:
    """Those whose command line has a path below `folder`, and their children."""
    for pid in processes_naming(folder):
        for each in [*processes.children(pid), pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
    wait_for(lambda: not processes_naming(folder), f"no process of {folder} is left")


def processes_naming(folder: str) -> dict[int, str]:
    """Find the processes whose command line has a path below `folder`: pid -> command line."""
    found = {}
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                words = file.read().split("\0")
        except OSError:
            continue
        if any(folder in word for word in words):
            found[pid] = " ".join(words)
    return found


def last_words(folder: str) -> str:
    """Read the ends of all hosts' logs."""
    texts = []
    for path in sorted(glob.glob(os.path.join(folder, "host-*", "*.log"))):
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - _TAIL_BYTES))
            texts.append(f"--- {path}\n{file.read().decode(errors='replace')}")
    return "\n".join(texts)
