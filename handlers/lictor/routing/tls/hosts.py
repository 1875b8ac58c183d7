"""TLS of each host: what its routes ask for, and what this node can give.

A wish that cannot be met is refused, and nothing else of the route: the host is served by plain HTTP then. That is so
too if the files of a certificate have been no good for a minute: nginx itself could not start with them, nor take any
change.
"""

import glob
import os
from collections.abc import Callable, Mapping, Set
from typing import TYPE_CHECKING, Any, NamedTuple

from lictor import errors
from lictor.adapters import files
from lictor.routing.tls import build, certificate, record
from lictor.routing.tls.build import Build
from lictor.routing.tls.certificate import Pair
from lictor.spec.locations import is_host
from lictor.spec.settings import Nginx, Settings

if TYPE_CHECKING:
    from lictor.routing.templates import Templates

REDIRECT = "redirect"
Service = Mapping[str, Any]  # with its routes, as routes/NAME.json holds it


class Tls(NamedTuple):
    """TLS of a host's server: the paths of its certificate and key, and whether plain requests are sent on to it."""

    certificate: str
    key: str
    redirects: bool
    build: Build


class Verdict(NamedTuple):
    """TLS that a host has, and why it is not the one that its routes ask for; "": it is."""

    tls: Tls | None
    why: str = ""


def without_wishes(service: Service) -> dict[str, Any]:
    """Return the same routes by plain HTTP."""
    return {**service, "routes": [
        {**route, "options": {key: value for key, value in route["options"].items() if key != "tls"}}
        for route in service["routes"]]}


def gather_wishes(*services: Service) -> dict[str, bool | str]:
    """Gather what the routes of services ask for, by host: it has TLS if one of them asks for it, and redirects if one
    does."""
    wishes = dict[str, bool | str]()
    for route in (route for service in services if not service["removed"] for route in service["routes"]):
        host, wish = route["host"], route["options"].get("tls", False)
        if host and wish:
            wishes[host] = wish if wish == REDIRECT else wishes.get(host, wish)
    return wishes


def is_in_force(conf_dir: str, host: str) -> bool:
    """Decide whether the server of a host has TLS, by its file."""
    return "ssl_certificate " in (files.read(server_path(conf_dir, host)) or "")


def list_in_force(conf_dir: str) -> list[str]:
    """List the hosts whose servers have TLS, by their files."""
    found = glob.iglob(server_path(glob.escape(conf_dir), "*"))
    names = sorted(os.path.basename(path).removesuffix(".conf") for path in found)
    return [host for host in names if is_host(host) and is_in_force(conf_dir, host)]


def server_path(conf_dir: str, host: str) -> str:
    """Return the path of the file of a host's server."""
    return os.path.join(conf_dir, "servers", f"{host}.conf")


class Hosts:
    """The hosts with TLS, for as long as one publication takes. Making it raises Unavailable if nginx does not tell
    what it can. `refused` are services that nginx did not accept: no host has what only they ask for."""

    def __init__(self, settings: Settings, make_templates: "Callable[[], Templates]", routes: Mapping[str, Service],
                 refused: Set[str] = frozenset()) -> None:
        assert settings.nginx
        self._settings, self._nginx, self._make_templates = settings, settings.nginx, make_templates
        self._decided = dict[tuple[str, bool | str], Verdict]()
        self._confirmed = record.read(settings.state_dir).confirmed
        self._build, self._lack = Build("", False), f"certificate and key in [nginx] of {settings.where} are not set"
        if self._nginx.certificate and gather_wishes(*routes.values()):
            self._build, self._lack = self._read_build()
        self._wishes = gather_wishes(*(service for name, service in routes.items() if name not in refused))
        self.secured: Mapping[str, Tls] = {
            host: tls for host, wish in self._wishes.items() if (tls := self.decide(host, wish).tls)}

    def _read_build(self) -> tuple[Build, str]:
        try:
            return build.read(self._nginx), ""
        except errors.Refused as error:
            return self._build, str(error)

    def secure(self, service: Service) -> Mapping[str, Tls]:
        """Return TLS of the hosts that have it, or will have it if nginx accepts the routes of this service."""
        news = {host: self.decide(host, wish).tls for host, wish in gather_wishes(service).items()
                if self._wishes.get(host) not in (wish, REDIRECT)}
        return {**self.secured, **{host: tls for host, tls in news.items() if tls}}

    def decide(self, host: str, wish: bool | str) -> Verdict:
        """Decide what a host gets of its wish."""
        if (host, wish) not in self._decided:
            self._decided[host, wish] = self._decide(host, wish)
        return self._decided[host, wish]

    def _decide(self, host: str, wish: bool | str) -> Verdict:
        if self._lack:
            return Verdict(None, self._lack)
        pair = certificate.of_host(self._nginx, host)
        tls, why = Tls(*pair, wish == REDIRECT, self._build), self._explain_unusable(host, pair)
        if why and not (is_in_force(self._nginx.conf_dir, host) and certificate.is_being_changed(pair)):
            return Verdict(None, why)
        try:
            self._require_template(host, tls)
        except errors.Refused as error:
            return Verdict(None, str(error))
        return Verdict(tls, why)

    def _explain_unusable(self, host: str, pair: Pair) -> str:
        """Say why nginx would refuse the files; those that it has confirmed are not read again."""
        stamp = certificate.stamp(self._nginx, pair)
        if stamp and self._confirmed.get(host) == stamp:
            return ""
        return certificate.explain_unusable(self._nginx, pair)

    def _require_template(self, host: str, tls: Tls) -> None:
        """Raise Refused if a template of the user's does not make of it what is asked for."""
        folder = self._settings.templates_dir
        if folder and os.path.exists(os.path.join(folder, "server.conf.j2")):
            self._make_templates().server(host, [], os.path.join(self._nginx.conf_dir, "servers", f"{host}.d"), tls)


def explain_unseen(settings: Nginx, service: Service) -> str:
    """Say, behind nginx's refusal, that only nginx could read a certificate or key; "" if this process can too."""
    unseen = (certificate.find_unseen(certificate.of_host(settings, host)) for host in gather_wishes(service))
    path = next(filter(None, unseen), "") if settings.certificate else ""
    return f". This user may not read {path}; nginx's error log says whether that file is to blame" if path else ""


def explain_refused(settings: Settings, routes: Mapping[str, Service]) -> dict[str, str]:
    """Say of each service why this node does not give a host the TLS that a route of it asks for."""
    wishes = gather_wishes(*routes.values())
    if not wishes or not settings.nginx:
        return {}
    try:
        hosts = Hosts(settings, lambda: _make_templates(settings), routes)
        why = {host: hosts.decide(host, wish).why for host, wish in wishes.items()}
    except errors.Unavailable as error:
        why = dict.fromkeys(wishes, str(error))
    conf_dir, found = settings.nginx.conf_dir, dict[str, str]()
    for name, service in routes.items():
        if host := next((host for host in gather_wishes(service) if why[host]), ""):
            now = "goes on with the certificate that it has read" if is_in_force(conf_dir, host) else (
                "serves it by plain HTTP")
            found[name] = f"its tls is refused: {why[host]}. nginx {now}"
    return found


def _make_templates(settings: Settings) -> "Templates":
    from lictor.routing import templates  # with Jinja2, which few ask for

    assert settings.nginx
    return templates.templates(settings.templates_dir, settings.nginx, live=False)
