"""The user that runs the handlers, with its groups and environment: as the process has them that starts handlers, or,
while none runs, as the agent's unit says. It is root who looks."""

import contextlib
import glob
import json
import os
import pwd
import re
from typing import NamedTuple

from lictor import errors
from lictor.adapters import files, process
from lictor.adapters.process import User
from lictor.cli.setup import detect, unit_files
from lictor.spec.settings import DEFAULT_PATH, Settings

_CAP_KILL = 5  # its bit, of <linux/capability.h>
_UNITS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"  # systemd's own, for units
_TIMEOUT_S = 120.0


class HandlersUser(NamedTuple):
    """Who runs the handlers, as `place` shows: a process, or a unit whose process does not run."""

    name: str
    user: User
    environ: dict[str, str]
    may_signal: bool  # any process
    place: str
    proc: str = ""  # the process's folder below /proc

    def run(self, argv: list[str]) -> process.Output:
        """Run a program as a handler would be; raises CommandFailed."""
        return process.run_as(self.user, argv, timeout_s=_TIMEOUT_S, environ=self.environ)

    def find_read_only(self, folders: list[str]) -> list[str]:
        """List the folders that are read-only for the process, be it by its unit's ProtectSystem alone."""
        found = []
        for folder in folders if self.proc else []:
            with contextlib.suppress(OSError):  # that it is not there is another test's matter
                if os.statvfs(f"{self.proc}/root{folder}").f_flag & os.ST_RDONLY:
                    found.append(folder)
        return found


def find(settings: Settings, root: str = "/") -> HandlersUser | None:
    """Find who runs the handlers of these settings; None if neither a process nor a unit of theirs is known."""
    root = root.rstrip("/")
    for folder in _find_processes(settings, root):
        with contextlib.suppress(OSError, KeyError, ValueError):  # it has just ended
            return _read_process(folder)
    return _read_unit(settings, root)


def describe_failure(error: errors.CommandFailed) -> str:
    """Say in a line why a program could not be run, or what it said last."""
    if error.code is None:
        return f"{error.argv[0]} did not end within {_TIMEOUT_S:.0f} s"
    lines = [line for line in error.stderr.splitlines() if line.strip()] or [f"exit code {error.code}"]
    return re.sub(r"^\[Errno \d+\] (.+): '(.+)'$", r"\2: \1", lines[-1])


def list_agents(settings: Settings, root: str = "/") -> list[str]:
    """List the folders below /proc of the agents that load the configuration of these settings."""
    return [folder for folder, argv in detect.list_agents(root) if settings.watch.config_dir in _config_dirs(argv)]


def _find_processes(settings: Settings, root: str) -> list[str]:
    if settings.watch.door == "script":
        return list_agents(settings, root)
    options = ["--config", settings.path] if settings.path not in ("", DEFAULT_PATH) else []
    return [folder for folder, argv in detect.list_processes(root)
            if os.path.basename(argv[1] if argv[1:] else "") == "lictor-serve" and argv[2:][:len(options)] == options]


def _config_dirs(argv: list[str]) -> set[str]:
    words = " ".join(argv)
    return {os.path.normpath(each) for each in re.findall(r"-config-dir[= ](/\S*)", words)}


def _read_process(folder: str) -> HandlersUser:
    status = dict(line.split(":", 1) for line in (files.read(f"{folder}/status") or "").splitlines())
    uid, gid = (int(status[key].split()[1]) for key in ("Uid", "Gid"))  # the effective ones
    pairs = [each.partition("=") for each in (files.read(f"{folder}/environ") or "").split("\0") if each]
    name = _name(uid)
    return HandlersUser(name, User(uid, gid, tuple(map(int, status["Groups"].split()))),
                        {key: value for key, _, value in pairs}, bool(int(status["CapEff"], 16) >> _CAP_KILL & 1),
                        f"process {os.path.basename(folder)}", folder)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"


def _read_unit(settings: Settings, root: str) -> HandlersUser | None:
    """Read who the agent's unit would run as, with what `lictor init` put beside it."""
    node = detect.detect(root)
    if not node.agent_user or node.consul_dir != settings.watch.config_dir:
        return None
    drop_ins = "\n".join(files.read(path) or "" for path in glob.glob(
        f"{root}/etc/systemd/system/{node.agent_unit}.d/*.conf"))
    account = pwd.getpwnam(node.agent_user)
    groups = detect.list_groups(account, re.findall(r"^SupplementaryGroups=(.*)", drop_ins, re.MULTILINE))
    return HandlersUser(node.agent_user, User(account.pw_uid, account.pw_gid, groups), _read_environment(root),
                        "CAP_KILL" in drop_ins, f"{node.agent_unit}, which does not run now")


def _read_environment(root: str) -> dict[str, str]:
    environ = {"PATH": _UNITS_PATH}
    for line in (files.read(root + unit_files.ENVIRONMENT) or "").splitlines():
        name, is_set, value = line.partition("=")
        with contextlib.suppress(ValueError):
            environ |= {name: str(json.loads(value))} if is_set else {}
    return environ
