"""What this node has: its nginx, its Consul agent and how that is run, its Docker."""

import grp
import os
import re
from typing import NamedTuple

from lictor.adapters import files
from lictor.spec.settings import Nginx, Watch

_UNIT_FOLDERS = ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system")
_CONFIG_DIR = re.compile(r"-config-dir[= ]\"?(/[^\s\"]+)")
_PID = re.compile(r"^\s*pid\s+([^;\s]+)\s*;", re.MULTILINE)
_DESCRIPTORS = re.compile(r"^Max open files\s+(\d+)", re.MULTILINE)
_OTHER_BINARIES = ("/usr/bin/nginx", "/usr/local/sbin/nginx", "/usr/local/nginx/sbin/nginx")
_OTHER_MAINS = ("/usr/local/nginx/conf/nginx.conf", "/usr/local/etc/nginx/nginx.conf")
_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock")


class Node(NamedTuple):
    """An empty text stands for what was not found."""

    nginx: Nginx | None
    consul_dir: str
    agent_unit: str
    agent_user: str
    nginx_unit: str
    docker_group: str
    has_systemd: bool


def detect(root: str) -> Node:
    """Look below `root`; what is found is named without it."""
    root = root.rstrip("/")
    unit_text = _unit(root, "consul.service")
    settings = _CONFIG_DIR.findall((files.read(f"{root}/etc/default/consul") or "") + unit_text)
    user = re.findall(r"^User=(\S+)", unit_text, re.MULTILINE)
    return Node(
        nginx=_nginx(root),
        consul_dir=settings[0].rstrip("/") if settings else Watch().config_dir,
        agent_unit="consul.service" if unit_text else "",
        agent_user=user[-1] if user and user[-1] != "root" else "",
        nginx_unit="nginx.service" if _unit(root, "nginx.service") else "",
        docker_group=_docker_group(root),
        has_systemd=os.path.isdir(f"{root}/etc/systemd/system"),
    )


def agents_descriptors(root: str) -> list[int]:
    """How many descriptors each Consul agent may have that runs here now."""
    found: list[int] = []
    processes = f"{root.rstrip('/')}/proc"
    for pid in filter(str.isdigit, os.listdir(processes)):
        folder = f"{processes}/{pid}"
        try:
            argv = (files.read(f"{folder}/cmdline") or "").split("\0")
            if os.path.basename(argv[0]) == "consul" and "agent" in argv[1:]:
                found += map(int, _DESCRIPTORS.findall(files.read(f"{folder}/limits") or ""))
        except OSError:  # it has just ended
            continue
    return found


def _unit(root: str, name: str) -> str:
    texts = [files.read(f"{root}{folder}/{name}") for folder in _UNIT_FOLDERS]
    return next((text for text in texts if text), "")


def _nginx(root: str) -> Nginx | None:
    found = Nginx()
    binaries = [each for each in (found.binary, *_OTHER_BINARIES) if os.path.exists(root + each)]
    mains = [each for each in (found.main_conf, *_OTHER_MAINS) if os.path.exists(root + each)]
    if not binaries or not mains:
        return None
    pid_files = _PID.findall(files.read(root + mains[0]) or "")
    return Nginx(binary=binaries[0], main_conf=mains[0], conf_dir=f"{os.path.dirname(mains[0])}/lictor",
                 pid_file=pid_files[0] if pid_files else found.pid_file)


def _docker_group(root: str) -> str:
    """The group of Docker's socket; while Docker is not running, the one that its package makes."""
    sockets = [os.stat(root + each) for each in _SOCKETS if os.path.exists(root + each)]
    if sockets:
        names = [group.gr_name for group in grp.getgrall() if group.gr_gid == sockets[0].st_gid != 0]
    else:
        names = [group.gr_name for group in grp.getgrall() if group.gr_name == "docker"]
    return names[0] if names else ""
