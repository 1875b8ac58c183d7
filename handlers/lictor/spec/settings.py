"""The settings of this node: /etc/lictor/lictor.toml, or the file that LICTOR_CONFIG names."""

import os
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from lictor import errors
from lictor.spec import validation_errors
from lictor.spec.delegation_settings import Argv, Command, Webhook
from lictor.spec.quantities import Duration

DEFAULT_PATH = "/etc/lictor/lictor.toml"
MODES = ("reload", "live")
DOORS = ("script", "http")
LEAST_RELOAD_INTERVAL_S = 0.15  # a HUP delays both if the last one's old workers have not begun to quit


class Nginx(msgspec.Struct, frozen=True, forbid_unknown_fields=True,
            rename={"reload_min_interval_s": "reload_min_interval"}):
    """`[nginx]`: the place of this node's nginx, and the folder below which everything is lictor's."""

    mode: str = "reload"
    conf_dir: str = "/etc/nginx/lictor"
    main_conf: str = "/etc/nginx/nginx.conf"
    binary: str = "/usr/sbin/nginx"
    pid_file: str = "/run/nginx.pid"
    container: str = ""  # set: nginx runs in this container, which mounts conf_dir at the same path
    reload_min_interval_s: Duration = Duration(0.25)  # changes that come within it share one reload

    def __post_init__(self) -> None:
        validation_errors.require_one_of("mode", self.mode, MODES)
        validation_errors.require_absolute("conf_dir", self.conf_dir)
        if self.reload_min_interval_s < LEAST_RELOAD_INTERVAL_S:
            raise ValueError(f"reload_min_interval is {1000 * self.reload_min_interval_s:g}ms; it must be at least "
                             f"{1000 * LEAST_RELOAD_INTERVAL_S:.0f}ms, which nginx needs for one reload")


class Watch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[watch]`: the way of events into lictor, and the agent's config folder that holds the generated watches."""

    door: str = "script"
    config_dir: str = "/etc/consul.d"
    address: str = "127.0.0.1:8899"  # where lictor-serve listens if the door is http
    secret_file: str = "/etc/lictor/secret"  # holds the agent's password for lictor-serve

    def __post_init__(self) -> None:
        validation_errors.require_one_of("door", self.door, DOORS)
        validation_errors.require_absolute("config_dir", self.config_dir)
        validation_errors.require_absolute("secret_file", self.secret_file)
        validation_errors.require_loopback("address", self.address)


class Heal(msgspec.Struct, frozen=True, forbid_unknown_fields=True,
           rename={"per_s": "per", "surplus_after_s": "surplus_after", "trust_after_s": "trust_after"}):
    """`[heal]`: the budget of the whole fleet, and the patience of lictor before it replaces or removes."""

    budget: Annotated[int, msgspec.Meta(description="a whole number, 0 or more")] = 5  # replacements within per_s
    per_s: Duration = Duration(600)
    surplus_after_s: Duration = Duration(60)  # a surplus must stand for so long before it is drained
    trust_after_s: Duration = Duration(30)  # no judgement so soon after the agent's start or an unreadable answer

    def __post_init__(self) -> None:
        if self.budget < 0:
            raise ValueError(f"budget is {self.budget}; it must be a whole number, 0 or more")
        if not self.per_s:
            raise ValueError("per is 0s; it must be more than 0s")


class Notify(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[notify]`: the receiver of the records that a person should see, at most one of `command` and `url`."""

    url: str = ""  # gets the record by POST, as JSON; some of these URLs are as good as a password: never log one
    token_file: str = ""  # its content goes with `url` as a bearer token
    command: Argv = ()  # gets the record on stdin, as JSON

    def __post_init__(self) -> None:
        if self.command[:1] == ("",):
            raise ValueError(f"command is {[*self.command]}; it must be a list of strings, first the program")
        if self.url and self.command:
            raise ValueError("command and notify.url are both set; only one of them is allowed")
        if self.token_file and not self.url:
            raise ValueError(f"token_file is {self.token_file!r}; it is allowed with notify.url only")
        if self.url:
            validation_errors.require_url("url", self.url, secrets="token_file")
        if self.token_file:
            validation_errors.require_absolute("token_file", self.token_file)


_NginxOrFalse = Annotated[Nginx, msgspec.Meta(description="a table, or false on a node without nginx")]


class SettingsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The keys of the file."""

    prefix: str = "services/"
    state_dir: str = "/var/lib/lictor"
    nginx: _NginxOrFalse | None = Nginx()
    watch: Watch = Watch()
    heal: Heal = Heal()
    notify: Notify | None = None  # None: nobody is notified
    command: Command | None = None  # None: this node does not act for services with engine command
    webhook: Webhook | None = None

    def __post_init__(self) -> None:
        if not self.prefix.endswith("/") or self.prefix.startswith(("/", "lictor/")):
            raise ValueError(f"prefix is {self.prefix!r}; it must end with a slash, not begin with one, and lie "
                             "outside lictor/")
        validation_errors.require_absolute("state_dir", self.state_dir)


class Settings(SettingsFile, frozen=True, kw_only=True):
    """The keys, and the path of the file that they were read from: "" if there is none and the defaults hold."""

    path: str = ""

    @property
    def templates_dir(self) -> str:
        """The folder of the user's own templates; "" if only the defaults hold."""
        return os.path.join(os.path.dirname(self.path), "templates") if self.path else ""


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
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
    """Convert the parsed file; raises Refused that names `path`, the key, what was given and what is allowed."""
    if table.get("nginx") is False:
        table = {**table, "nginx": None}
    file = validation_errors.convert(table, SettingsFile, path)
    notify = file.notify if file.notify and (file.notify.url or file.notify.command) else None
    return Settings(**{**msgspec.structs.asdict(file), "notify": notify, "path": path})
