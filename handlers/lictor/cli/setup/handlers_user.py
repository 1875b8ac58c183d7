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
    """The user that runs the handlers, as `place` shows: a process, or a unit whose process does not run."""

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
    """Find who runs the handlers of these settings; None if neither a process nor a unit of theirs is known.

    Anybody can give a process the agent's name: one counts that is root's, the unit's user's, or of whoever owns the
    agent's configuration.
    """
    root = root.rstrip("/")
    trusted = _list_trusted(settings, root)
    for folder in _find_processes(settings, root):
        with contextlib.suppress(OSError, KeyError, ValueError):  # it has just ended
            found = _read_process(folder)
            if found.user.uid in trusted:
                return found
    return _read_unit(settings, root)


def describe_failure(error: errors.CommandFailed) -> str:
    """Say in a line why a program could not be run, or what it said last."""
    if error.code is None:
        return f"{error.argv[0]} did not end within {_TIMEOUT_S:.0f} s"
    lines = [line for line in error.stderr.splitlines() if line.strip()] or [f"exit code {error.code}"]
    return re.sub(r"^\[Errno \d+\] (.+): '(.+)'$", r"\2: \1", lines[-1])


def list_agents(settings: Settings, root: str = "/") -> list[str]:
    """List the folders below /proc of the agents that load the configuration of these settings."""
    return [folder for folder, argv in detect.list_agents(root) if _config_dir(settings) in _config_dirs(argv)]


def _find_processes(settings: Settings, root: str) -> list[str]:
    if settings.watch.door == "script":
        return list_agents(settings, root)
    options = ["--config", settings.path] if settings.path not in ("", DEFAULT_PATH) else []
    return [folder for folder, argv in detect.list_processes(root)
            if os.path.basename(argv[1] if argv[1:] else "") == "lictor-serve" and argv[2:][:len(options)] == options]


def _config_dir(settings: Settings) -> str:
    return os.path.normpath(settings.watch.config_dir)


def _config_dirs(argv: list[str]) -> set[str]:
    words = " ".join(argv)
    return {os.path.normpath(each) for each in re.findall(r"-config-dir[= ](/\S*)", words)}


def _read_process(folder: str) -> HandlersUser:
    status = dict(line.split(":", 1) for line in (files.read(f"{folder}/status") or "").splitlines())
    uid, gid = (int(status[key].split()[1]) for key in ("Uid", "Gid"))  # the effective ones
    pairs = [each.partition("=") for each in (files.read(f"{folder}/environ") or "").split("\0") if each]
    may_signal = bool(int(status["CapEff"], 16) >> _CAP_KILL & 1)
    return HandlersUser(_name(uid), User(uid, gid, tuple(map(int, status["Groups"].split()))),
                        {key: value for key, _, value in pairs if key}, may_signal,
                        f"process {os.path.basename(folder)}", folder)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"


def _list_trusted(settings: Settings, root: str) -> set[int]:
    account, trusted = _find_account(settings, detect.detect(root)), {0}
    with contextlib.suppress(OSError):
        trusted.add(os.stat(root + _config_dir(settings)).st_uid)
    return trusted | ({account.pw_uid} if account else set())


def _find_account(settings: Settings, node: detect.Node) -> pwd.struct_passwd | None:
    """Find the account that the agent's unit names, by its name or its number, if the unit is of these settings."""
    if not node.agent_user or os.path.normpath(node.consul_dir) != _config_dir(settings):
        return None
    with contextlib.suppress(KeyError, OverflowError):
        by_number = node.agent_user.isdecimal()
        return pwd.getpwuid(int(node.agent_user)) if by_number else pwd.getpwnam(node.agent_user)
    return None


def _read_unit(settings: Settings, root: str) -> HandlersUser | None:
    """Read who the agent's unit would run as, with what `lictor init` put beside it."""
    node = detect.detect(root)
    account = _find_account(settings, node)
    if account is None:
        return None
    drop_ins = "\n".join(files.read(path) or "" for path in glob.glob(
        f"{root}/etc/systemd/system/{node.agent_unit}.d/*.conf"))
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
