"""Detection of what a node has: nginx, the Consul agent and its unit, Docker."""

import contextlib
import grp
import os
import pwd
import re
import time
from collections.abc import Iterator
from typing import NamedTuple

from lictor import errors
from lictor.adapters import clock, files, process
from lictor.spec.settings import Nginx, Watch

_UNIT_FOLDERS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
_CONFIG_DIR = re.compile(r"-config-dir[= ]\"?(/[^\s\"]+)")
_PID = re.compile(r"^\s*pid\s+([^;\s]+)\s*;", re.MULTILINE)
_DESCRIPTORS = re.compile(r"^Max open files\s+(\d+)", re.MULTILINE)
_BINARIES = (Nginx().binary, "/usr/bin/nginx", "/usr/local/sbin/nginx", "/usr/local/nginx/sbin/nginx")
_MAIN_CONFS = (Nginx().main_conf, "/usr/local/nginx/conf/nginx.conf", "/usr/local/etc/nginx/nginx.conf")
_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock")


class Node(NamedTuple):
    """A node as it was found; an empty text stands for what was not found."""

    nginx: Nginx | None
    consul_dir: str
    agent_unit: str
    agent_user: str
    nginx_unit: str
    docker_group: str
    has_systemd: bool


def detect(root: str) -> Node:
    """Look below `root`; the paths in the result are without it."""
    root = root.rstrip("/")
    unit_text = _unit(root, "consul.service")
    config_dirs = _CONFIG_DIR.findall((files.read(f"{root}/etc/default/consul") or "") + unit_text)
    users = re.findall(r"^User=(\S+)", unit_text, re.MULTILINE)
    return Node(
        nginx=_nginx(root),
        consul_dir=config_dirs[0].rstrip("/") if config_dirs else Watch().config_dir,
        agent_unit="consul.service" if unit_text else "",
        agent_user=users[-1] if users and users[-1] != "root" else "",
        nginx_unit="nginx.service" if _unit(root, "nginx.service") else "",
        docker_group=_docker_group(root),
        has_systemd=os.path.isdir(f"{root}/etc/systemd/system"),
    )


def list_processes(root: str) -> Iterator[tuple[str, list[str]]]:
    """List the processes that run now: the folder of each below /proc, and its argv."""
    processes = f"{root.rstrip('/')}/proc"
    for pid in filter(str.isdigit, os.listdir(processes) if os.path.isdir(processes) else ()):
        with contextlib.suppress(OSError):  # it has just ended
            yield f"{processes}/{pid}", (files.read(f"{processes}/{pid}/cmdline") or "").rstrip("\0").split("\0")


def list_agents(root: str) -> Iterator[tuple[str, list[str]]]:
    """List the Consul agents among the processes."""
    return ((folder, argv) for folder, argv in list_processes(root)
            if os.path.basename(argv[0]) == "consul" and "agent" in argv[1:])


def read_agents_descriptors(root: str) -> list[int]:
    """Read the limit of open files of each Consul agent that runs now."""
    limits: list[int] = []
    for folder, _ in list_agents(root):
        with contextlib.suppress(OSError):  # it has just ended
            limits += map(int, _DESCRIPTORS.findall(files.read(f"{folder}/limits") or ""))
    return limits


def _unit(root: str, name: str) -> str:
    texts = [files.read(f"{root}{folder}/{name}") for folder in _UNIT_FOLDERS]
    return next((text for text in texts if text), "")


def _nginx(root: str) -> Nginx | None:
    binaries, main_confs = ([path for path in paths if os.path.exists(root + path)] for paths in (
        _BINARIES, _MAIN_CONFS))
    if not binaries or not main_confs:
        return None
    pid_files = _PID.findall(files.read(root + main_confs[0]) or "")
    return Nginx(binary=binaries[0], main_conf=main_confs[0], conf_dir=f"{os.path.dirname(main_confs[0])}/lictor",
                 pid_file=pid_files[0] if pid_files else Nginx().pid_file)


def _docker_group(root: str) -> str:
    """Find the group of Docker's socket; while Docker is not running, the group that its package makes."""
    sockets = [os.stat(root + path) for path in _SOCKETS if os.path.exists(root + path)]
    if sockets:
        names = [group.gr_name for group in grp.getgrall() if group.gr_gid == sockets[0].st_gid != 0]
    else:
        names = [group.gr_name for group in grp.getgrall() if group.gr_name == "docker"]
    return names[0] if names else ""


def read_start(folder: str) -> float:
    """Read when a process was started, in epoch seconds by the clock of now; 0 if it has ended."""
    started_at_s = process.started_at_s(int(os.path.basename(folder)))
    return 0.0 if started_at_s is None else time.time() - clock.uptime_s() + started_at_s


def list_groups(account: pwd.struct_passwd, further: list[str]) -> tuple[int, ...]:
    """List the groups that a unit's process of this account has; `further`: words of SupplementaryGroups."""
    names = {name for words in further for name in words.split()}
    return tuple({*os.getgrouplist(account.pw_name, account.pw_gid),
                  *(group.gr_gid for group in grp.getgrall() if group.gr_name in names)})


def require_own_files(folder: str) -> str:
    """Raise Refused if a file belongs to another user than its folder: who ran a handler once stops lictor's own."""
    owner = os.stat(folder).st_uid
    owners: dict[str, int] = {}
    for path in [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]:
        with contextlib.suppress(FileNotFoundError):  # handlers replace theirs all the time
            owners[path] = os.lstat(path).st_uid
    foreign = [path for path, each in owners.items() if each != owner]
    if foreign:
        raise errors.Refused(f"{foreign[0]} belongs to another user than {folder}, as do {len(foreign) - 1} more")
    return f"{len(owners)} files, all of user id {owner}"
