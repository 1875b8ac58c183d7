"""`[allow]` of the settings: the bound of what a spec may ask of this node. Closed by default. Pure.

A writer of Consul's keys chooses what a spec says; only root of the node chooses this.
"""

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from lictor import errors
from lictor.spec import plain_tables

if TYPE_CHECKING:
    from lictor.spec.service_spec import Spec

_OF_THE_HOST = re.compile(r"host|none|container:.*", re.DOTALL)  # networks that no pattern allows
_VOLUME_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)


class Allow(NamedTuple):
    """The bounds. An env file or a folder that ends with /* is all that is below; * in a name is any text."""

    mounts: tuple[str, ...] = ()  # whole paths of the host; with :ro behind one it may only be read
    env_files: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()  # folders of Compose projects
    networks: tuple[str, ...] = ("*",)  # host, none and container:NAME only if they are listed by name
    services: tuple[str, ...] = ("*",)

    def check(self) -> None:
        for key in ("mounts", "env_files", "projects"):
            for path in getattr(self, key):
                plain_tables.require_absolute(key, path)
                if "*" in (path if key == "mounts" else path.removesuffix("/*")):
                    raise ValueError(f"{key} holds {path!r}; it must hold whole paths"
                                     f"{'' if key == 'mounts' else ', or /FOLDER/* for all that is below it'}")
        for path in map(_bare, self.mounts):
            for folder in self.writable:
                if folder and path.startswith(f"{folder}/"):
                    raise ValueError(f"mounts holds {path!r}, which is in {folder!r}: a container that writes there "
                                     f"could put a link in its place; list one of them, or {folder}:ro")

    @property
    def writable(self) -> list[str]:
        """The folders of the host in which a container may write, without a slash at their end."""
        return [_bare(path) for path in self.mounts if not path.endswith(":ro")]


def refusals(spec: "Spec", allow: Allow, where: str, devices: Mapping[str, str] = {},
             resolve: Callable[[str], str] = os.path.realpath) -> list[str]:
    """List what a spec asks for and this node does not allow: the key, what was given, and the setting that allows it.

    With engine none it is the name alone: instances of any other service then have to consent to be routed. `where`
    names the file of the settings. `devices` are the named volumes that stand for a path of the host, with that path.
    `resolve` follows the symbolic links of a path.
    """
    return [f"{key} is {given[:200]!r}; this node does not allow it: list {needed[:200]!r} in {setting} of [allow] in "
            f"{where}" for key, given, setting, needed in _asked(spec, devices)
            if not _is_allowed(setting, needed, allow, resolve)]


def require(spec: "Spec", allow: Allow, where: str, devices: Mapping[str, str] = {}) -> None:
    """Raise Refused for what the node does not allow: to be asked right before an engine is, of what it will get."""
    refused = refusals(spec, allow, where, devices)
    if refused:
        raise errors.Refused(f"{spec.name}: {'; '.join(refused)}")


def named_volumes(spec: "Spec") -> list[str]:
    """Name the volumes of the engine that a spec mounts."""
    sources = [volume.partition(":")[0] for volume in spec.volumes if ":" in volume]
    return [source for source in sources if _VOLUME_NAME.fullmatch(source)]


def _asked(spec: "Spec", devices: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the key, what was given, the setting that bounds it, and the entry that would allow it."""
    yield "name", spec.name, "services", spec.name
    if spec.engine == "none":
        return
    for volume in spec.volumes:
        source, colon, rest = volume.partition(":")
        if colon and (source in devices or not _VOLUME_NAME.fullmatch(source)):
            is_read_only = "ro" in rest.partition(":")[2].split(",")
            yield "volumes", volume, "mounts", devices.get(source, source) + (":ro" if is_read_only else "")
    for path in spec.env_files:
        yield "env_file", path, "env_files", path
    if spec.project:
        yield "project.folder", spec.project.folder, "projects", spec.project.folder
    for network in spec.networks:
        yield "networks", network, "networks", network


def _bare(mount: str) -> str:
    return os.path.normpath(mount.removesuffix(":ro")).rstrip("/")


def _is_allowed(setting: str, needed: str, allow: Allow, resolve: Callable[[str], str]) -> bool:
    allowed: tuple[str, ...] = getattr(allow, setting)
    if setting == "networks" and _OF_THE_HOST.fullmatch(needed):
        return needed in allowed
    if setting in ("networks", "services"):
        return any(fnmatch.fnmatchcase(needed, pattern) for pattern in allowed)
    if setting == "mounts":
        return _is_mount_allowed(needed, allowed, resolve)
    try:
        path = resolve(needed)  # a symbolic link is no way out of a tree
    except ValueError:  # no path at all: a null byte, or half a character
        return False
    # A path that a container may write is no operator's word, unless it is listed itself.
    is_containers = any(f"{path}/".startswith(f"{resolve(folder or '/').rstrip('/')}/") for folder in allow.writable)
    return any(not is_containers and path.startswith(resolve(pattern.removesuffix("/*") or "/").rstrip("/") + "/")
               if pattern.endswith("/*") else path == resolve(pattern) for pattern in allowed)


def _is_mount_allowed(needed: str, allowed: Iterable[str], resolve: Callable[[str], str]) -> bool:
    """Compare the path itself, as Docker resolves it once more: no link on the way may be the container's."""
    path, may_be_read_only = needed.removesuffix(":ro"), needed.endswith(":ro")
    listed = {each.removesuffix(":ro") for each in allowed if may_be_read_only or not each.endswith(":ro")}
    return ".." not in path.split("/") and os.path.normpath(path) in {
        *map(os.path.normpath, listed), *map(resolve, listed)}
