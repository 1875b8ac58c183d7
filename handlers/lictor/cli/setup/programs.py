"""The programs that lictor runs, tested by running them, in the environment of whoever tests.

A program whose options are unknown is only looked for: it is the user's own, and might act whatever it is told.
"""

import os
import shutil
from collections.abc import Iterator
from functools import partial

from lictor import errors
from lictor.adapters import process
from lictor.adapters.text import one_line
from lictor.cli.setup import handlers_user, written_config
from lictor.cli.setup.findings import Probe, Remark
from lictor.engines import compose
from lictor.spec.settings import Settings

_VERSION_OPTIONS = {"nginx": "-v", **dict.fromkeys((
    "ansible", "ansible-playbook", "ansible-runner", "bash", "curl", "docker", "docker-compose", "logger", "perl",
    "python3", "salt-call", "systemctl"), "--version")}
_TIMEOUT_S = 30.0
_LONGEST = 80


def list_tests(settings: Settings) -> Iterator[Probe]:
    """List the tests of the handlers' Python, and of the programs that they run."""
    yield Probe("Python", partial(_run_handler, settings), "install lictor where the handlers' user may read it, such "
                "as /opt/lictor, and from there once more: lictor init")
    if settings.nginx and not settings.nginx.container:
        yield Probe("program nginx", partial(require, settings.nginx.binary), "correct nginx.binary in the settings")
    yield Probe("program docker", _docker, "")
    if settings.allow.projects:
        yield Probe("program compose", _compose, "install docker-compose, or Compose as a plugin of docker")


def require(word: str) -> str:
    """Run a program for its version; raises Refused if it cannot be run."""
    option = _VERSION_OPTIONS.get(os.path.basename(word))
    path = shutil.which(word)
    if not path:
        raise errors.Refused(f"{word} is not there, or may not be run. PATH is {os.environ.get('PATH', 'not set')}")
    if option is None:
        _require_interpreter(path)
        return f"{path} is there; it is not run for a test"
    try:
        output = process.run([path, option], timeout_s=_TIMEOUT_S)
    except errors.CommandFailed as error:
        raise errors.Refused(f"{path} {option} fails: {handlers_user.describe_failure(error)}") from error
    said = (output.stdout or output.stderr).strip().splitlines()
    return f"{path}: {one_line(said[0])[:_LONGEST] if said else 'it runs'}"


def _require_interpreter(path: str) -> None:
    """Test the program that a script names in its first line."""
    with open(path, "rb") as file:
        first = file.readline(256).decode("utf-8", "replace").split()
    if not first or not first[0].startswith("#!"):
        return
    words = [word for word in (first[0][2:], *first[1:]) if word and not word.startswith("-") and "=" not in word]
    program = words[1] if os.path.basename(words[0]) == "env" and words[1:] else words[0]
    if not shutil.which(program):
        raise errors.Refused(f"{path} is run by {program}, which is not there, or may not be run")


def _run_handler(settings: Settings) -> str:
    """Run a handler for its help, as the agent's configuration names it."""
    written, here = written_config.read_argv(settings, "lictor-reconcile"), process.handler_argv("lictor-reconcile")
    argv = written or here
    try:
        process.run([*argv, "--help"], timeout_s=_TIMEOUT_S)
    except errors.CommandFailed as error:
        raise errors.Refused(f"{argv[0]} cannot run handlers: {handlers_user.describe_failure(error)}") from error
    if argv != here:
        raise Remark(f"the agent runs {' '.join(argv)}, and this is {' '.join(here)}",
                     "if this is the one to run: lictor init, then restart the agent once")
    return f"{argv[0]} runs the handlers"


def _docker() -> str:
    """Test Docker's command; handlers do without it, but for Compose's plugin."""
    try:
        return require("docker")
    except errors.Refused as error:
        raise Remark(f"{error}. `lictor exec` needs it", "install Docker's command") from error


def _compose() -> str:
    return f"{' '.join(compose.find_program())} runs"
