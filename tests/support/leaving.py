"""The commands of scripts/ that start whole worlds, and have to take them down again."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from lab.daemon import wait_for
from lab.leftovers import processes_naming
from support import isolation


class Ended(NamedTuple):
    code: int
    output: str


def run(*argv: object, timeout_s: float, outside: bool = False) -> Ended:
    """Run a command to its end, if `outside` then in the machine's own network. It leaves no file, process, mount or
    bridge behind."""
    words = [str(each) for each in argv]
    folder = tempfile.mkdtemp(prefix="leaving-", dir="/tmp")  # short: a socket's path may have 107 bytes
    running = subprocess.Popen(isolation.outside(*words) if outside else words, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, "TMPDIR": folder})
    try:
        output, _ = running.communicate(timeout=timeout_s)
    finally:
        running.terminate()
        running.wait(60)
        left = os.listdir(folder)
        shutil.rmtree(folder)
    assert left == [], output
    wait_for(lambda: not processes_naming(folder), f"its processes have ended, which said: {output}")
    assert folder not in Path("/proc/self/mounts").read_text(), output
    show_bridge = ["ip", "link", "show", f"lictor{running.pid}"]
    shown = subprocess.run(isolation.outside(*show_bridge) if outside else show_bridge, capture_output=True)
    assert shown.returncode == 1, output
    return Ended(running.returncode, output)
