"""The settings of this node: /etc/lictor/lictor.toml, or the file that LICTOR_CONFIG names."""

import os
import tomllib
from typing import Any, NamedTuple

from lictor import errors
from lictor.spec import delegation_settings, settings_reader

DEFAULT_PATH = "/etc/lictor/lictor.toml"
MODES = ("reload", "live")
DOORS = ("script", "http")
LEAST_RELOAD_INTERVAL_S = 0.15  # a HUP that comes before the last one's old workers were told to go delays both


class Nginx(NamedTuple):
    """`[nginx]`: where this node's nginx is, and the folder below which everything is lictor's."""

    mode: str = "reload"
    conf_dir: str = "/etc/nginx/lictor"
    main_conf: str = "/etc/nginx/nginx.conf"
    binary: str = "/usr/sbin/nginx"
    pid_file: str = "/run/nginx.pid"
    container: str = ""  # set: nginx runs in this container, which mounts conf_dir at the same path
    reload_min_interval_s: float = 0.25  # so long at least between two reloads; changes that come meanwhile share one


class Watch(NamedTuple):
    """`[watch]`: how events come in, and the agent's config folder that holds the generated watches."""

    door: str = "script"
    config_dir: str = "/etc/consul.d"
    address: str = "127.0.0.1:8899"  # where lictor-serve listens when the door is http
    secret_file: str = "/etc/lictor/secret"  # what the agent has to know to be heard there


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


class Settings(NamedTuple):
    """The whole file; `path` is where it was read ("" when there is none and the defaults hold)."""

    path: str = ""
    prefix: str = "services/"
    state_dir: str = "/var/lib/lictor"
    nginx: Nginx | None = Nginx()  # None: this node runs no nginx and routes nothing
    watch: Watch = Watch()
    heal: Heal = Heal()
    notify: Notify | None = None  # None: nobody is told
    command: delegation_settings.Command | None = None  # None: this node does not act for services whose engine that is
    webhook: delegation_settings.Webhook | None = None

    @property
    def templates_dir(self) -> str:
        """Where the user's own templates may be; "" when only the defaults hold."""
        return os.path.join(os.path.dirname(self.path), "templates") if self.path else ""


def load_settings(environ: Any = os.environ) -> Settings:
    """Read the settings; a missing default file means the defaults, a missing named one is refused."""
    path = os.path.abspath(environ.get("LICTOR_CONFIG") or DEFAULT_PATH)  # handlers start others in another folder
    try:
        with open(path, "rb") as file:
            return parse_settings(tomllib.load(file), path)
    except FileNotFoundError as error:
        if path == DEFAULT_PATH:
            return Settings()
        raise errors.Refused(f"there is no file {path}, which --config or LICTOR_CONFIG names") from error
    except (OSError, ValueError) as error:  # no TOML, or no UTF-8
        raise errors.Refused(f"{path}: {error}") from error


def parse_settings(table: dict[str, Any], path: str = "") -> Settings:
    """Turn the parsed file into settings; an unknown key or a value of the wrong kind is refused by name."""
    settings_reader.know(table, Settings._fields[1:], path, "")
    nginx = None if table.get("nginx") is False else _nginx(table.get("nginx", {}), path)
    settings = Settings(
        path=path,
        nginx=nginx,
        watch=_watch(settings_reader.table(table, "watch", path), path),
        heal=_heal(settings_reader.table(table, "heal", path), path),
        notify=_notify(settings_reader.table(table, "notify", path), path),
        command=delegation_settings.command(settings_reader.table(table, "command", path), path)
        if "command" in table
        else None,
        webhook=delegation_settings.webhook(settings_reader.table(table, "webhook", path), path)
        if "webhook" in table
        else None,
        **settings_reader.texts(table, ("prefix", "state_dir"), path, ""),
    )
    if not settings.prefix.endswith("/") or settings.prefix.startswith(("/", "lictor/")):
        raise errors.Refused(f"{path}: prefix is {settings.prefix!r}; it must end with a slash, not begin with one, "
                             "and lie outside lictor/")
    settings_reader.absolute(settings.state_dir, path, "state_dir")
    return settings


def _nginx(table: Any, path: str) -> Nginx:
    if not isinstance(table, dict):
        raise errors.Refused(f"{path}: nginx is {table!r}; it must be a table, or false on a node without nginx")
    interval, text_keys = "reload_min_interval", tuple(key for key in Nginx._fields if key != "reload_min_interval_s")
    settings_reader.know(table, (*text_keys, interval), path, "nginx.")
    values: dict[str, Any] = {**settings_reader.texts(table, text_keys, path, "nginx.")}
    if interval in table:
        values["reload_min_interval_s"] = settings_reader.seconds(table[interval], path, f"nginx.{interval}")
    nginx = Nginx(**values)
    if nginx.reload_min_interval_s < LEAST_RELOAD_INTERVAL_S:
        raise errors.Refused(f"{path}: nginx.{interval} is {table[interval]!r}; it must be at least "
                             f"{1000 * LEAST_RELOAD_INTERVAL_S:.0f}ms, which nginx needs for one reload")
    settings_reader.allow(nginx.mode, MODES, path, "nginx.mode")
    settings_reader.absolute(nginx.conf_dir, path, "nginx.conf_dir")
    return nginx


def _watch(table: dict[str, Any], path: str) -> Watch:
    settings_reader.know(table, Watch._fields, path, "watch.")
    watch = Watch(**settings_reader.texts(table, Watch._fields, path, "watch."))
    settings_reader.allow(watch.door, DOORS, path, "watch.door")
    settings_reader.absolute(watch.config_dir, path, "watch.config_dir")
    settings_reader.absolute(watch.secret_file, path, "watch.secret_file")
    settings_reader.loopback(watch.address, path, "watch.address")
    return watch


def _heal(table: dict[str, Any], path: str) -> Heal:
    settings_reader.know(table, tuple(field.removesuffix("_s") for field in Heal._fields), path, "heal.")
    budget = table.get("budget", Heal().budget)
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 0:
        raise errors.Refused(f"{path}: heal.budget is {budget!r}; it must be a whole number, 0 or more")
    return Heal(budget, **{f"{key}_s": settings_reader.seconds(value, path, f"heal.{key}", zero=key != "per")
                           for key, value in table.items() if key != "budget"})


def _notify(table: dict[str, Any], path: str) -> Notify | None:
    settings_reader.know(table, ("url", "token_file", "command"), path, "notify.")
    notify = Notify(settings_reader.words(table.get("command", []), path, "notify.command"),
                    **settings_reader.texts(table, ("url", "token_file"), path, "notify."))
    if notify.url:
        settings_reader.url(notify.url, path, "notify.url", secrets="token_file")
    if notify.url and notify.command:
        raise errors.Refused(f"{path}: notify.command and notify.url are both set; only one of them is allowed")
    if notify.token_file and not notify.url:
        raise errors.Refused(f"{path}: notify.token_file is {notify.token_file!r}; it is allowed with notify.url only")
    if notify.token_file:
        settings_reader.absolute(notify.token_file, path, "notify.token_file")
    return notify if notify.command or notify.url else None
