"""The condition of this node's nginx as it is now: whether it answers, and what of each service it does not serve."""

import time
from collections.abc import Set
from typing import Any, NamedTuple

from lictor import errors, model
from lictor.adapters import clock, process
from lictor.planner.routes import pause
from lictor.routing import live_peers, nginx, nginx_mode, nginx_processes, nginx_socket, route_store
from lictor.routing.key_cache import read_cache
from lictor.routing.peers import PublishedRoute
from lictor.spec.locations import show
from lictor.spec.settings import Nginx, Settings

_PATIENCE_S = 5.0  # nginx may be reading its files


class Condition(NamedTuple):
    """The condition of a node's nginx; texts are for people, and those of services by name."""

    silence: str = ""  # why no change reaches nginx; "": it answers, or has nothing of lictor's to serve
    refused: dict[str, str] = {}
    unconfirmed: dict[str, str] = {}


def read(settings: Settings, unchanged: Set[str] = frozenset()) -> Condition:
    """Ask nginx, and read what of the routes it refuses, or has not confirmed; nothing of the `unchanged` services."""
    names, refused, unconfirmed = route_store.names(settings.state_dir), {**read_cache(settings).refused}, dict[
        str, str]()
    if not settings.nginx or not names:
        return Condition("", refused)
    mode, routes = nginx_mode.read(settings).name, dict[str, dict[str, Any]]()
    for name in names:
        if name not in unchanged and (published := route_store.published(settings.state_dir, name)):
            route = route_store.route(settings.state_dir, name)
            routes |= {name: route} if route else {}
            if text := _describe_frozen(name, published) or _describe_refusal(route, mode, published):
                refused[name] = text
            elif text := (_describe_unconfirmed(settings, name, route, mode, published)
                          or _describe_unpaused(settings.nginx, name, route, mode, published)):
                unconfirmed[name] = text
    silence = _describe_silence(settings.nginx) or (_describe_refused_main_conf(settings.nginx) if unconfirmed else "")
    forgotten = {} if silence else _describe_forgotten(
        settings.nginx, route_store.names_without_host(settings.state_dir))
    return Condition(silence, {**forgotten, **_describe_refused_tls(settings, routes), **refused}, unconfirmed)


def _describe_silence(settings: Nginx) -> str:
    """Say why nginx does not answer on its own socket; "" if it does."""
    path = nginx_socket.path(settings.conf_dir)
    try:
        status, answer = nginx_socket.ask(settings.conf_dir, "GET", "/generation", timeout_s=_PATIENCE_S)
    except (FileNotFoundError, ConnectionRefusedError):
        why = f"nobody listens on {path}"
    except OSError as error:
        why = f"{path}: {error}"
    else:
        if status == 200 and answer.isdigit():
            return _describe_lack_of_master(settings)
        why = f"{path}: the answer is {status} {answer!r:.100}"
    return (f"nginx does not answer: {why}. This node serves nobody, or what it had before. Is nginx running, and does "
            f"{settings.main_conf} include lictor.conf?")


def _describe_lack_of_master(settings: Nginx) -> str:
    """Say that workers serve on without the process that would take changes; that of a container is not seen here."""
    if settings.container or nginx_processes.has_master(settings.pid_file):
        return ""
    return (f"nginx takes no change: {settings.pid_file} names no master process of nginx. Its workers serve what they "
            "had. End them, and start nginx again")


def _describe_refused_main_conf(settings: Nginx) -> str:
    """Say that nginx refuses the whole of its configuration, whatever lictor adds; "" if it does not, or is not asked:
    that takes a while, and rights."""
    if not nginx.can_validate_main_conf(settings):
        return ""
    try:
        nginx.validate(settings, settings.main_conf)
    except errors.Refused as error:
        return f"nginx takes no change: {error}. It serves what it had before"
    except errors.Unavailable:
        pass
    return ""


def _describe_forgotten(settings: Nginx, names: list[str]) -> dict[str, str]:
    """Say of each service that is routed by its path alone that no server of the user's includes it; usually {}."""
    from lictor.routing import user_servers  # which other peers do without

    text = user_servers.explain_forgotten(settings, user_servers.read(settings), names) if names else ""
    return dict.fromkeys(names, text) if text else {}


def _describe_refused_tls(settings: Settings, routes: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Say of each service why its host has not the TLS that its route asks for; usually {}."""
    if not any("tls" in each["options"] for route in routes.values() for each in route["routes"]):
        return {}
    from lictor.routing.tls import hosts  # which routes without it do without

    return hosts.explain_refused(settings, routes)


def _describe_frozen(name: str, published: PublishedRoute) -> str:
    """Say that requests go to earlier peers, as neither new files nor old ones take other ones; usually ""."""
    return (f"its peers are frozen: its files are refused, and those in force do not include peers/{name}.conf. nginx "
            "goes on asking the ones it has, gone or not") if route_store.is_frozen(published) else ""


def _describe_refusal(route: dict[str, Any] | None, mode: str, published: PublishedRoute) -> str:
    if not route or not route_store.is_refused(route, mode, published):
        return ""
    is_one = len(route["routes"]) == 1
    what = "removal" if route["removed"] else f"route {show(route['routes'][0])}" if is_one else "list of routes"
    why = published.refusal and published.refusal.reason or f"{process.LOG_NAME} in the state folder says why"
    return f"its {what} is refused: {why}. nginx serves it as before"


def _describe_unpaused(settings: Nginx, name: str, route: dict[str, Any] | None, mode: str,
                       published: PublishedRoute) -> str:
    """Say why requests of a service that is paused do not wait; usually ""."""
    record = pause.record_of(route or {})
    if not record or not record.remaining_s(time.time(), clock.uptime_s()):
        return ""
    why = record.obstacle
    if mode != "live":
        why = why or f"nginx is in mode {mode}, and only mode live can let requests wait"
    elif not live_peers.lets_requests_wait(published):
        why = why or "nginx still serves files without the route's wait"
    elif published.paused != record.asked_at:
        why = why or "nginx has not confirmed it"
    if not why:
        try:
            why = "" if live_peers.paused_s(settings.conf_dir, name) else "nginx has lost it"
        except errors.Unavailable as error:
            why = str(error)
    return f"its pause is not carried out: {why}. Requests reach its instances" if why else ""


def _describe_unconfirmed(settings: Settings, name: str, route: dict[str, Any] | None, mode: str,
                          published: PublishedRoute) -> str:
    if route and route["needs_consent"] and not published.peers:
        return (f"no registration of {route['service']} consents to be routed by the tag {model.META_CONSENT}=true, "
                f"and the services of [allow] in {settings.where} do not hold {name}")
    if not published.confirmed:
        return "nginx has not confirmed its upstream"
    is_settled = not route or route_store.is_settled(route, mode, published)
    return "" if is_settled else "nginx has not confirmed its route"
