"""Options of a container that a spec may give beside its image, command and volumes. Pure.

None of them gives a container more than it has without: no key makes it privileged, or opens the node to it.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from lictor.spec.plain_tables import require_one_of
from lictor.spec.quantities import Memory

if TYPE_CHECKING:
    from lictor.spec.service_spec import Spec

MOST_PROCESSES = 4096  # of a container, whatever its spec says
PULL_POLICIES = ("missing", "always", "never")
LIMITS = ("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
          "rttime", "sigpending", "stack")
# What a spec has if it says nothing: such a container is made as by a version that did not know the key.
UNUSED: dict[str, Any] = {
    "tmpfs": [], "ulimits": {}, "extra_hosts": [], "init": False, "healthcheck": None, "security_opt": [],
    "shm_size": Memory(0), "dns": [], "sysctls": {}, "hostname": "", "working_dir": "", "pids_limit": MOST_PROCESSES,
    "group_add": [], "pull_policy": PULL_POLICIES[0]}
MADE_OF = {key: unused for key, unused in UNUSED.items() if key != "pull_policy"}
SECURITY = ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true")  # none of which loosens anything
NOT_OF_SWARM = ("security_opt", "pull_policy")

TMPFS = re.compile(r"(?P<path>/[^:,]*)(?::(?P<options>[a-z]+(?:=[A-Za-z0-9%]+)?(?:,[a-z]+(?:=[A-Za-z0-9%]+)?)*))?")
HOST_NAME = re.compile(r"(?=.{1,63}\Z)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)
SYSCTL = re.compile(r"(?:net\.[\w./-]+|kernel\.(?:msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|"
                     r"fs\.mqueue\.\w+)", re.ASCII)
GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,31}", re.ASCII)


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A limit of the kernel for each process; -1 is none."""

    SHORT: ClassVar[str] = "a whole number, or "

    soft: int
    hard: int


def listed(value: str | list[str]) -> list[str]:
    """Take a text for a list of one."""
    return [value] if isinstance(value, str) else list(value)


def table(values: Mapping[str, object] | list[str]) -> dict[str, str]:
    """Take a list of NAME=VALUE for a table."""
    if isinstance(values, list):
        return dict(pair.partition("=")[::2] for pair in values)
    return {key: str(value) for key, value in values.items()}


def hosts(values: dict[str, str] | list[str]) -> dict[str, str]:
    """Read `extra_hosts`, whose items are NAME:ADDRESS or NAME=ADDRESS."""
    if isinstance(values, dict):
        return values
    return table([re.sub("[=:]", "=", pair, count=1) for pair in values])


def ulimits(values: Mapping[str, Limit]) -> list[dict[str, Any]]:
    """Make the Engine API's form."""
    return [{"Name": name, "Soft": limit.soft, "Hard": limit.hard} for name, limit in values.items()]


def mounts(tmpfs: str | list[str]) -> dict[str, str]:
    """Read `tmpfs`: each path with its options."""
    return {each.partition(":")[0]: each.partition(":")[2] for each in listed(tmpfs)}


def check_options(spec: "Spec") -> None:
    """Raise ValueError that begins with the key for what Docker does not take, or what would give more than is due."""
    _check_places(spec)
    _check_names(spec)
    for name, limit in spec.ulimits.items():
        require_one_of(f"ulimits.{name[:100]}", name, LIMITS)
        soft, hard = limit.soft, limit.hard
        if min(soft, hard) < -1 or hard != -1 and not 0 <= soft <= hard:
            raise ValueError(f"ulimits.{name} is {soft}, at most {hard}; the soft limit must not be above the hard "
                             "one, and -1 is none")
    for each in listed(spec.security_opt):
        if each not in SECURITY:
            raise ValueError(f"security_opt holds {each[:100]!r}; it must be no-new-privileges, which each container "
                             "of lictor has. A spec cannot loosen the node's own profiles")
    if not 1 <= spec.pids_limit <= MOST_PROCESSES:
        raise ValueError(f"pids_limit is {str(spec.pids_limit)[:100]}; it must be within 1..{MOST_PROCESSES}")
    require_one_of("pull_policy", spec.pull_policy, PULL_POLICIES)
    for key in NOT_OF_SWARM if spec.engine == "swarm" else ():
        if getattr(spec, key) != UNUSED[key]:
            raise ValueError(f"{key} is for engine docker; Swarm has nothing of the kind")


def _check_places(spec: "Spec") -> None:
    for each in listed(spec.tmpfs):
        if not TMPFS.fullmatch(each):
            raise ValueError(f"tmpfs holds {each[:100]!r}; it must be such as /run or /tmp:size=64m,mode=1777")
    if spec.working_dir and not re.fullmatch(r"/[^\0\n]{0,254}", spec.working_dir):
        raise ValueError(f"working_dir is {spec.working_dir[:100]!r}; it must be an absolute path")


def _check_names(spec: "Spec") -> None:
    for name, address in hosts(spec.extra_hosts).items():
        if not HOST_NAME.fullmatch(name) or not (address == "host-gateway" or _is_address(address)):
            raise ValueError(f"extra_hosts holds {f'{name}:{address}'[:100]!r}; it must be such as db:10.0.0.5")
    for address in listed(spec.dns):
        if not _is_address(address):
            raise ValueError(f"dns holds {address[:100]!r}; it must be IP addresses")
    for name in table(spec.sysctls):
        if not SYSCTL.fullmatch(name):
            raise ValueError(f"sysctls holds {name[:100]!r}; it must be one that each container has of its own: net.*, "
                             "fs.mqueue.*, or one of kernel.msg*, kernel.sem and kernel.shm*")
    if spec.hostname and not HOST_NAME.fullmatch(spec.hostname):
        raise ValueError(f"hostname is {spec.hostname[:100]!r}; it must be a host name with at most 63 characters")
    for group in spec.group_add:
        if not GROUP.fullmatch(str(group)):
            raise ValueError(f"group_add holds {str(group)[:100]!r}; it must be names or numbers of groups")


def _is_address(text: str) -> bool:
    import ipaddress  # few specs have any, and each handler imports this module

    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False
