"""The settings of this node: /etc/lictor/lictor.toml, or the file that LICTOR_CONFIG names."""

import os
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from lictor import errors
from lictor.spec import plain_tables
from lictor.spec.allow import Allow
from lictor.spec.quantities import Duration

if TYPE_CHECKING:
    from lictor.spec.delegation_settings import Command, Webhook

DEFAULT_PATH = "/etc/lictor/lictor.toml"
AUTO = "auto"  # live where nginx can, else reload
MODES = (AUTO, "reload", "live")
DOORS = ("script", "http")
LEAST_RELOAD_INTERVAL_S = 0.15  # a HUP delays both if the last one's old workers have not begun to quit
Argv = Annotated[tuple[str, ...], "a list of strings, first the program"]


class Nginx(NamedTuple):
    """`[nginx]`: the place of this node's nginx, and the folder below which everything is lictor's."""

    mode: str = AUTO
    conf_dir: str = "/etc/nginx/lictor"
    main_conf: str = "/etc/nginx/nginx.conf"
    binary: str = "/usr/sbin/nginx"
    pid_file: str = "/run/nginx.pid"
    container: str = ""  # set: nginx runs in this container, which mounts conf_dir at the same path
    reload_min_interval_s: Duration = Duration(0.25)  # changes that come within it share one reload
    trusted_proxies: tuple[str, ...] = ()  # addresses and networks whose X-Forwarded-* headers are passed on
    certificate: str = ""  # of each host with TLS, and what its issuer needs; {host} stands for the host
    key: str = ""
    acme_webroot: str = ""  # has the answers to challenges of certificates' issuers; "": hosts answer none
    trusted_ca: str = "/etc/ssl/certs/ca-certificates.crt"  # verifies instances of routes with scheme https

    def check(self) -> None:
        plain_tables.require_one_of("mode", self.mode, MODES)
        plain_tables.require_absolute("conf_dir", self.conf_dir)
        if self.reload_min_interval_s < LEAST_RELOAD_INTERVAL_S:
            raise ValueError(f"reload_min_interval is {1000 * self.reload_min_interval_s:g}ms; it must be at least "
                             f"{1000 * LEAST_RELOAD_INTERVAL_S:.0f}ms, which nginx needs for one reload")
        plain_tables.require_networks("trusted_proxies", self.trusted_proxies)
        if bool(self.certificate) != bool(self.key):
            given, missing = ("certificate", "key") if self.certificate else ("key", "certificate")
            raise ValueError(f"{missing} is missing; it must be given with nginx.{given}")
        for key in ("certificate", "key"):
            plain_tables.require_plain_path(key, getattr(self, key), placeholder="{host}")
        plain_tables.require_plain_path("acme_webroot", self.acme_webroot)
        plain_tables.require_absolute("trusted_ca", self.trusted_ca)


class Watch(NamedTuple):
    """`[watch]`: the way of events into lictor, and the agent's config folder that holds the generated watches."""

    door: str = "script"
    config_dir: str = "/etc/consul.d"
    address: str = "127.0.0.1:8899"  # where lictor-serve listens if the door is http
    secret_file: str = "/etc/lictor/secret"  # holds the agent's password for lictor-serve

    def check(self) -> None:
        plain_tables.require_one_of("door", self.door, DOORS)
        plain_tables.require_absolute("config_dir", self.config_dir)
        plain_tables.require_absolute("secret_file", self.secret_file)
        plain_tables.require_loopback("address", self.address)


class Heal(NamedTuple):
    """`[heal]`: the budget of the whole fleet, and the patience of lictor before it replaces or removes."""

    budget: Annotated[int, "a whole number, 0 or more"] = 5  # replacements within per_s
    per_s: Duration = Duration(600)
    surplus_after_s: Duration = Duration(60)  # a surplus must stand for so long before it is drained
    trust_after_s: Duration = Duration(30)  # no judgement so soon after the agent's start or an unreadable answer

    def check(self) -> None:
        if self.budget < 0:
            raise ValueError(f"budget is {self.budget}; it must be a whole number, 0 or more")
        if not 1 <= self.per_s <= 86_400:  # replacements are on record for a day
            raise ValueError(f"per is {self.per_s:g}s; it must be within 1s..24h")


class Notify(NamedTuple):
    """`[notify]`: the receiver of the records that a person should see, at most one of `command` and `url`."""

    url: str = ""  # gets the record by POST, as JSON; some of these URLs are as good as a password: never log one
    token_file: str = ""  # its content goes with `url` as a bearer token
    command: Argv = ()  # gets the record on stdin, as JSON

    def check(self) -> None:
        if self.command[:1] == ("",):
            raise ValueError(f"command is {[*self.command]}; it must be a list of strings, first the program")
        if self.url and self.command:
            raise ValueError("command and notify.url are both set; only one of them is allowed")
        if self.token_file and not self.url:
            raise ValueError(f"token_file is {self.token_file!r}; it is allowed with notify.url only")
        if self.url:
            plain_tables.require_url("url", self.url, secrets="token_file")
        if self.token_file:
            plain_tables.require_absolute("token_file", self.token_file)


class Metrics(NamedTuple):
    """`[metrics]`: the places where this node's numbers can be read: lictor-serve, which shows the page too, a file."""

    listen: str = ""  # address and port of lictor-serve for Prometheus and browsers
    secret_file: str = ""  # holds what they have to know; required beyond loopback
    textfile: str = ""  # for node_exporter, where nobody runs lictor-serve: each sweep writes it

    def check(self) -> None:
        if self.listen and not plain_tables.is_loopback("listen", self.listen) and not self.secret_file:
            raise ValueError(f"listen is {self.listen!r}, which is not loopback; it is allowed with "
                             "metrics.secret_file only")
        if self.secret_file:
            plain_tables.require_absolute("secret_file", self.secret_file)
        if self.secret_file and not self.listen:
            raise ValueError(f"secret_file is {self.secret_file!r}; it is allowed with metrics.listen only")
        if self.textfile:
            plain_tables.require_absolute("textfile", self.textfile)
        if self.textfile and not self.textfile.endswith(".prom"):
            raise ValueError(f"textfile is {self.textfile!r}; it must end with .prom, as node_exporter reads no other")


class Settings(NamedTuple):
    """The keys, and the path of the file that they were read from: "" if there is none and the defaults hold."""

    path: str = ""
    prefix: str = "services/"
    state_dir: str = "/var/lib/lictor"
    nginx: Nginx | None = Nginx()  # None: this node routes nothing
    watch: Watch = Watch()
    heal: Heal = Heal()
    notify: Notify | None = None  # None: nobody is notified
    metrics: Metrics | None = None  # None: nothing is counted for them
    allow: Allow = Allow()
    command: "Command | None" = None  # None: this node does not act for services with engine command
    webhook: "Webhook | None" = None

    @property
    def runs_serve(self) -> bool:
        """Tell whether lictor-serve has anything to serve on this node."""
        return self.watch.door == "http" or self.metrics is not None and bool(self.metrics.listen)

    @property
    def where(self) -> str:
        """The file, for people."""
        return self.path or DEFAULT_PATH

    @property
    def templates_dir(self) -> str:
        """The folder of the user's own templates; "" if only the defaults hold."""
        return os.path.join(os.path.dirname(self.path), "templates") if self.path else ""


_KINDS = {"prefix": str, "state_dir": str, "nginx": Annotated[Nginx, "a table, or false on a node without nginx"],
          "watch": Watch, "heal": Heal, "notify": Notify, "metrics": Metrics, "allow": Allow, "command": dict,
          "webhook": dict}


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
    except OSError as error:
        raise errors.Refused(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise errors.Refused(f"{path}: is no text in UTF-8") from error
    except ValueError as error:  # no TOML
        raise errors.Refused(f"{path}: {error}") from error


def parse_settings(table: dict[str, Any], path: str = "") -> Settings:
    """Convert the parsed file; raises Refused that names `path`, the key, what was given and what is allowed."""
    without_nginx = {"nginx": None} if table.get("nginx") is False else {}
    given = {key: value for key, value in table.items() if key not in without_nginx}
    try:
        settings = Settings(**{"path": path, **plain_tables.read_values(given, _KINDS), **without_nginx})
        _check(settings)
    except ValueError as error:
        raise errors.Refused(f"{path}: {error}") from error
    if settings.command is not None or settings.webhook is not None:
        from lictor.spec import delegation_settings  # with msgspec, which most nodes do without at an event

        settings = settings._replace(**delegation_settings.convert(table, path))
    is_notified = settings.notify and (settings.notify.url or settings.notify.command)
    is_measured = settings.metrics and (settings.metrics.listen or settings.metrics.textfile)
    return settings._replace(notify=settings.notify if is_notified else None,
                             metrics=settings.metrics if is_measured else None)


def _check(settings: Settings) -> None:
    prefix = settings.prefix
    if not prefix.endswith("/") or prefix.startswith(("/", "lictor/")):
        raise ValueError(f"prefix is {prefix!r}; it must end with a slash, not begin with one, and lie outside lictor/")
    plain_tables.require_absolute("state_dir", settings.state_dir)
