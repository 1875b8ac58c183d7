"""A request through the front door for each routed service, as a user would make it.

It says that it has gone round ten nginx of lictor's, so that a location of lictor's answers 508 itself: no instance is
asked. Any other answer is that of somebody else.
"""

import os
import ssl
from collections.abc import Iterator
from typing import Any, NamedTuple

from lictor import errors, model
from lictor.adapters import http
from lictor.cli.setup.findings import Untested
from lictor.routing import route_store, user_servers
from lictor.routing.tls import hosts
from lictor.routing.user_servers import Server
from lictor.spec.locations import show
from lictor.spec.settings import Nginx, Settings

_ROUND = {"Lictor-Hops": "+" * 10}
_ANSWERED_BY_LICTOR = 508
_HTTPS_EXPECTED = 400  # nginx's answer to plain HTTP where it speaks TLS
_TIMEOUT_S = 5.0
_MOST_ASKED = 50


class _Door(NamedTuple):
    host: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{model.host_port(self.address, self.port)}{f' as {self.host}' if self.host else ''}"


def examine(settings: Settings, server: Nginx) -> str:
    """Ask for each route; raises Refused, naming those that lictor's locations do not answer, and what does."""
    if server.container:
        raise Untested("nginx is in a container, so where it listens is not known here")
    if settings.templates_dir and os.path.exists(os.path.join(settings.templates_dir, "location.conf.j2")):
        raise Untested("your own location.conf.j2 need not answer such a request itself")
    routes = [*_list_routes(settings.state_dir)]
    if not routes:
        raise Untested("no service is routed yet")
    askable = [(name, route) for name, route in routes if route["options"].get("scheme") != "grpc"]
    if not askable:
        raise Untested("nginx takes calls of gRPC by HTTP/2 only, and doctor asks by HTTP/1.1")
    servers, listeners = user_servers.read(server).servers, route_store.listeners(settings.state_dir)
    asked = askable[:_MOST_ASKED]
    failed = [text for name, route in asked if (text := _ask(
        name, route, servers, listeners, tls=hosts.is_in_force(server.conf_dir, route["host"])))]
    if failed:
        raise errors.Refused("; ".join(failed))
    return f"{len(asked)} of {len(routes)} routes are reached by their paths and hosts"


def _list_routes(state_dir: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the routes that nginx has confirmed, each with its service: the first of each before any second one."""
    found = list[tuple[int, str, dict[str, Any]]]()
    for name in route_store.names(state_dir):
        route, published = route_store.route(state_dir, name), route_store.published(state_dir, name)
        if route and not route["removed"] and published and published.confirmed and any(published.places):
            found += [(place, name, each) for place, each in enumerate(route["routes"])]
    return ((name, each) for _, name, each in sorted(found, key=lambda entry: entry[:2]))


def _ask(name: str, route: dict[str, Any], servers: list[Server], listeners: set[tuple[str, int]], *,
         tls: bool) -> str:
    """Ask each door until lictor's location answers, by TLS if that is asked for; "" if it does, else what was
    answered."""
    answers = []
    for door in _doors(route, servers, listeners):
        path = route["path"]
        status = _exchange(door, path, _make_trusting_context()) if tls else _status(door, path)
        if status == _ANSWERED_BY_LICTOR:
            return ""
        answers.append(f"{door}: {status or 'no answer'}")
    asked = ", ".join(answers) or "nginx listens nowhere for it"
    return f"{name}: no location of lictor's answers for {show(route)} ({asked})"


def _doors(route: dict[str, Any], servers: list[Server], listeners: set[tuple[str, int]]) -> Iterator[_Door]:
    """List where to ask: a route with a host has a server of lictor's own, any other the user's servers."""
    if route["host"]:
        found = {(route["host"], *listener) for listener in listeners}
    else:
        found = {(host, *listener) for server in servers for listener in server.listeners
                 for host in {each for each in server.names if model.is_name(each)} or {""}}
    for host, address, port in sorted(found):
        yield _Door(host, {"": "127.0.0.1", "::": "::1"}.get(address, address), port)


def _status(door: _Door, path: str) -> int:
    """Ask, by TLS where nginx expects it; 0: nobody answers."""
    status = _exchange(door, path, None)
    return _exchange(door, path, _make_trusting_context()) or status if status == _HTTPS_EXPECTED else status


def _exchange(door: _Door, path: str, tls: ssl.SSLContext | None) -> int:
    headers = {**_ROUND, "Host": door.host or door.address}
    try:
        return http.exchange_with(http.Endpoint(door.address, door.port, tls, door.host), "GET", path, headers=headers,
                                  body=None, timeout_s=_TIMEOUT_S).status
    except errors.LictorError:
        return 0


def _make_trusting_context() -> ssl.SSLContext:
    """Make a context that takes any certificate: whose it is, is no matter here."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
