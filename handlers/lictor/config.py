"""The settings of this node: /etc/lictor/lictor.toml, or the file that LICTOR_CONFIG names."""

import os
import re
import tomllib
from typing import Any, NamedTuple

from lictor import durations, errors

DEFAULT_PATH = "/etc/lictor/lictor.toml"
MODES = ("reload",)
DOORS = ("script",)

_URL = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?(?:[/?][!$-~]*)?", re.ASCII)


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


class Heal(NamedTuple):
    """`[heal]`: what holds for the fleet as a whole, and how sure lictor has to be before it replaces or removes."""

    budget: int = 5  # running containers that may be replaced by judgement within per_s
    per_s: float = 600.0
    surplus_after_s: float = 60.0  # a surplus must stand for so long before it is drained
    trust_after_s: float = 30.0  # no judgement for so long after the agent's start, or an answer that was unreadable


class Notify(NamedTuple):
    """`[notify]`: who gets the records that a person should see. Exactly one of `command` and `url` is set."""

    command: tuple[str, ...] = ()  # gets the record as JSON on stdin
    url: str = ""  # the record is POSTed there as JSON; whoever knows some of these URLs may post: never log it
    token_file: str = ""  # its content goes with `url` as a bearer token


class Config(NamedTuple):
    """The whole file; `path` is where it was read ("" when there is none and the defaults hold)."""

    path: str = ""
    prefix: str = "services/"
    state_dir: str = "/var/lib/lictor"
    nginx: Nginx | None = Nginx()  # None: this node runs no nginx and routes nothing
    watch: Watch = Watch()
    heal: Heal = Heal()
    notify: Notify | None = None  # None: nobody is told


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
    nginx_table = top.pop("nginx", {})
    watch_table, heal_table, notify_table = (_table(top, key, path) for key in ("watch", "heal", "notify"))
    if nginx_table is not False and not isinstance(nginx_table, dict):
        raise errors.Refused(f"{path}: nginx is {nginx_table!r}; it must be a table, or false on a node without nginx")
    nginx = None if nginx_table is False else Nginx(**_texts(nginx_table, Nginx._fields, path, "nginx."))
    watch = Watch(**_texts(watch_table, Watch._fields, path, "watch."))
    settings = Config(
        path=path, nginx=nginx, watch=watch, heal=_heal(heal_table, path), notify=_notify(notify_table, path),
        **_texts(top, ("prefix", "state_dir"), path, "", rest=("nginx", "watch", "heal", "notify")),
    )
    _allow(path, "watch.door", watch.door, DOORS)
    if nginx:
        _allow(path, "nginx.mode", nginx.mode, MODES)
    if not settings.prefix.endswith("/") or settings.prefix.startswith(("/", "lictor/")):
        raise errors.Refused(f"{path}: prefix is {settings.prefix!r}; it must end with a slash, not begin with one, "
                             "and lie outside lictor/")
    paths = {"state_dir": settings.state_dir, "watch.config_dir": watch.config_dir}
    if nginx:
        paths["nginx.conf_dir"] = nginx.conf_dir
    if settings.notify and settings.notify.token_file:
        paths["notify.token_file"] = settings.notify.token_file
    for key, value in paths.items():
        if not os.path.isabs(value):
            raise errors.Refused(f"{path}: {key} is {value!r}; it must be an absolute path")
    return settings


def _table(top: dict[str, Any], key: str, path: str) -> dict[str, Any]:
    table = top.pop(key, {})
    if not isinstance(table, dict):
        raise errors.Refused(f"{path}: {key} is {table!r}; it must be a table")
    return table


def _heal(table: dict[str, Any], path: str) -> Heal:
    given = dict(table)
    budget = given.pop("budget", Heal().budget)
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 0:
        raise errors.Refused(f"{path}: heal.budget is {budget!r}; it must be a whole number, 0 or more")
    times: dict[str, float] = {}
    for key, value in given.items():
        if f"{key}_s" not in Heal._fields:
            known = (field.removesuffix("_s") for field in Heal._fields)
            raise errors.Refused(f"{path}: unknown key heal.{key}; known are {', '.join(known)}")
        try:
            times[f"{key}_s"] = durations.seconds(value)
        except ValueError as error:
            raise errors.Refused(f"{path}: heal.{key}: {error}") from error
    if times.get("per_s") == 0:
        raise errors.Refused(f"{path}: heal.per is {given['per']!r}; it must be more than 0s")
    return Heal(budget, **times)


def _notify(table: dict[str, Any], path: str) -> Notify | None:
    rest = {key: value for key, value in table.items() if key != "command"}
    texts = _texts(rest, ("url", "token_file"), path, "notify.", rest=("command",))
    command = table.get("command", [])
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command) or command[:1] == [""]:
        raise errors.Refused(f"{path}: notify.command is {command!r}; it must be a list of strings, first the program")
    notify = Notify(tuple(command), **texts)
    match = _URL.fullmatch(notify.url)
    if notify.url and (not match or not 1 <= int(match[1] or 1) <= 65535):
        # What stands before an @ is a password, and the path of such a URL is often as good as one.
        shown = re.sub(r"(?s)(?<=[^/][/?])[^/].*", "...", re.sub("(?s).*@", "...@", notify.url))
        raise errors.Refused(f"{path}: notify.url is {shown!r}; it must be http://HOST or https://HOST, with :PORT and "
                             "/PATH as you like, and without user:password@ (token_file is for secrets)")
    if notify.url and notify.command:
        raise errors.Refused(f"{path}: notify.command and notify.url are both set; only one of them is allowed")
    if notify.token_file and not notify.url:
        raise errors.Refused(f"{path}: notify.token_file is {notify.token_file!r}; it is allowed with notify.url only")
    return notify if notify.command or notify.url else None


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
