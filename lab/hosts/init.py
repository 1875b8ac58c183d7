"""The first process of a host: prepares the host's own mounts and name, then keeps its programs running.

It is started in namespaces of its own; when it is killed, the kernel kills everything on the host with it. A program
that ends is started again after a second, as `Restart=always` would.
"""

import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

_PAUSE_S = 1.0


def main(path: str) -> None:
    """`path` is a JSON file: `name`, `binds` (file or folder -> what stands in its place), `programs`."""
    with open(path, encoding="utf-8") as file:
        host: dict[str, Any] = json.load(file)
    os.chdir("/")
    socket.sethostname(host["name"])
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "tmpfs", "/run")
    for place, source in host["binds"].items():
        _mount("--bind", source, place)
    running = {_start(program): program for program in host["programs"]}
    while True:
        pid, _ = os.wait()  # orphans too: to bury them is the first process's duty
        ended = running.pop(pid, None)
        if ended:
            time.sleep(_PAUSE_S)
            running[_start(ended)] = ended


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def _start(program: dict[str, Any]) -> int:
    """`argv`, `env` (added to ours) and `log`, a file that is appended to."""
    argv: list[str] = program["argv"]
    return os.posix_spawnp(argv[0], argv, {**os.environ, **program["env"]}, setsid=True, file_actions=[
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, program["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ])


if __name__ == "__main__":
    main(sys.argv[1])
