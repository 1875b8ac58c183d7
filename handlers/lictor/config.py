"""The settings of this node: /etc/lictor/lictor.toml, or the file that LICTOR_CONFIG names."""

import os
import tomllib
from typing import Any, NamedTuple

from lictor import errors

DEFAULT_PATH = "/etc/lictor/lictor.toml"
MODES = ("reload",)
DOORS = ("script",)


class Nginx(NamedTuple):
    """`[nginx]`: where this node's nginx is, and the folder below which everything is lictor's."""

    mode: str = "reload"
    conf_dir: str = "/etc/nginx/lictor"
    main_conf: str = "/etc/nginx/nginx.conf"
    binary: str = "/usr/sbin/nginx"
    pid_file: str = "/run/nginx.pid"
    container: str = ""  # set: nginx runs in this container, which mounts conf_dir at the same path


class Watch(NamedTuple):
    """`[watch]`: how events come in, and the agent's config folder that holds the generated watches."""

    door: str = "script"
    config_dir: str = "/etc/consul.d"


class Config(NamedTuple):
    """The whole file; `path` is where it was read ("" when there is none and the defaults hold)."""

    path: str = ""
    prefix: str = "services/"
    state_dir: str = "/var/lib/lictor"
    nginx: Nginx | None = Nginx()  # None: this node runs no nginx and routes nothing
    watch: Watch = Watch()


def load(environ: Any = os.environ) -> Config:
    """Read the settings; a missing default file means the defaults, a missing named one is refused."""
    path = environ.get("LICTOR_CONFIG") or DEFAULT_PATH
    try:
        with open(path, "rb") as file:
            return parse(tomllib.load(file), path)
    except FileNotFoundError as error:
        if path == DEFAULT_PATH:
            return Config()
        raise errors.Refused(f"LICTOR_CONFIG: there is no file {path}") from error
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise errors.Refused(f"{path}: {error}") from error


def parse(table: dict[str, Any], path: str = "") -> Config:
    """Turn the parsed file into settings; an unknown key or a value of the wrong kind is refused by name."""
    top = dict(table)
    nginx_table, watch_table = top.pop("nginx", {}), top.pop("watch", {})
    if not isinstance(watch_table, dict):
        raise errors.Refused(f"{path}: watch is {watch_table!r}; it must be a table")
    if nginx_table is not False and not isinstance(nginx_table, dict):
        raise errors.Refused(f"{path}: nginx is {nginx_table!r}; it must be a table, or false on a node without nginx")
    nginx = None if nginx_table is False else Nginx(**_texts(nginx_table, Nginx._fields, path, "nginx."))
    watch = Watch(**_texts(watch_table, Watch._fields, path, "watch."))
    settings = Config(
        path=path, nginx=nginx, watch=watch, **_texts(top, ("prefix", "state_dir"), path, "", rest=("nginx", "watch"))
    )
    _allow(path, "watch.door", watch.door, DOORS)
    if nginx:
        _allow(path, "nginx.mode", nginx.mode, MODES)
    if not settings.prefix.endswith("/") or settings.prefix.startswith(("/", "lictor/")):
        raise errors.Refused(f"{path}: prefix is {settings.prefix!r}; it must end with a slash, not begin with one, "
                             "and lie outside lictor/")
    paths = {"state_dir": settings.state_dir, "watch.config_dir": watch.config_dir}
    for key, value in ({**paths, "nginx.conf_dir": nginx.conf_dir} if nginx else paths).items():
        if not os.path.isabs(value):
            raise errors.Refused(f"{path}: {key} is {value!r}; it must be an absolute path")
    return settings


def _texts(table: dict[str, Any], known: tuple[str, ...], path: str, where: str, *,
           rest: tuple[str, ...] = ()) -> dict[str, str]:
    for key, value in table.items():
        if key not in known:
            raise errors.Refused(f"{path}: unknown key {where}{key}; known are {', '.join((*known, *rest))}")
        if not isinstance(value, str):
            raise errors.Refused(f"{path}: {where}{key} is {value!r}; it must be a string")
    return table


def _allow(path: str, key: str, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise errors.Refused(f"{path}: {key} is {given!r}; this version knows {', '.join(allowed)}")
