"""The command `lictor` and the handlers, forked from a process that has imported all of lictor.

The lab and the tests start them by the hundred, and nearly all of such a start is imports. What Consul's agent starts
are whole starts.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import connection
from multiprocessing.reduction import DupFd
from typing import Any

from lictor.adapters import process

from lab.daemon import stretched

# A start also looks after all that have ended: of two threads that look at once, one would read no exit code.
_turn = threading.Lock()
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([
    "lab.forked", "lictor.cli.instances.verbs", "lictor.cli.main", "lictor.cli.node", "lictor.cli.releases",
    "lictor.cli.services", "lictor.cli.specs.verbs", "lictor.cli.status", "lictor.cli.story",
    "lictor.events.survey", "lictor.events.keys_watch",
    "lictor.reconcile.loop", "lictor.routing.announce", "lictor.routing.templates",
    # What lictor itself imports where it is used first:
    "lictor.adapters.consul.library", "lictor.cli.setup.doctor", "lictor.cli.setup.init", "lictor.engines.compose",
    "lictor.engines.docker", "lictor.engines.swarm", "lictor.engines.webhook", "rich.live", "rich.table", "tenacity"])


def lictor(words: Sequence[str], *, environ: Mapping[str, str], given: str = "",
           timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run the command `lictor` to its end; `given` is what it may read on stdin."""
    return _run([os.path.join(sys.prefix, "bin", "lictor"), *words], environ, given, timeout_s)


def handler(name: str, words: Sequence[str], *, environ: Mapping[str, str], given: str = "",
            timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a handler script to its end, as the agent does."""
    return _run([process.handler_path(name), *words], environ, given, timeout_s)


def _run(argv: list[str], environ: Mapping[str, str], given: str,
         timeout_s: float) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(given.encode())
        stdin.seek(0)
        streams = [DupFd(each.fileno()) for each in (stdin, stdout, stderr)]
        running = _forks.Process(target=_become, args=(argv, dict(environ), streams))
        with _turn:
            running.start()
        is_over = connection.wait([running.sentinel], stretched(timeout_s))
        with _turn:
            if not is_over:
                running.kill()
            running.join()
            code = running.exitcode
        if not is_over or code is None:
            raise subprocess.TimeoutExpired(argv, timeout_s)
        said = []
        for each in (stdout, stderr):
            each.seek(0)
            said.append(each.read().decode())
        return subprocess.CompletedProcess(argv, code, *said)


def _become(argv: list[str], environ: dict[str, str], streams: list[Any]) -> None:
    """Be this program from now on, in the child."""
    for number, each in enumerate(streams):
        os.dup2(each.detach(), number)
    sys.stdin = os.fdopen(0, closefd=False)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = argv
    runpy.run_path(argv[0], run_name="__main__")
