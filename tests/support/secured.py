"""Hosts with TLS on a node of `support.routed`: they are published, asked by clients, and told of."""

import contextlib
import http.client
import json
import os
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lictor.adapters import files
from lictor.routing import condition, publish
from lictor.routing.tls import certificate
from lictor.spec.route import Route
from lictor.spec.settings import Settings

from lab.nginx import Nginx
from support.certificates import Authority
from support.routed import decide, nginx_of, put_route, set_up, with_nginx

HOST, OTHER = "books.example.com", "other.example.com"


def make_node(folder: str, nginx: Nginx, mode: str = "reload") -> Settings:
    """Set up a node whose hosts have lictor's own template, so that they listen on the ports of the web."""
    given = set_up(folder, nginx)
    os.unlink(os.path.join(given.templates_dir, "server.conf.j2"))
    return with_nginx(given, mode=mode, certificate=f"{folder}/live/{{host}}/fullchain.pem",
                      key=f"{folder}/live/{{host}}/privkey.pem", acme_webroot=f"{folder}/acme")


def issue(node: Settings, authority: Authority, *names: str) -> certificate.Pair:
    """Issue the certificate of a host, the first of the names, where the settings say."""
    pair = certificate.of_host(nginx_of(node), names[0])
    authority.issue(*pair, *names)
    return pair


def put(node: Settings, name: str, port: int, *, host: str = HOST, path: str = "/",
        aliases: Sequence[str] = (), **options: Any) -> None:
    put_route(node, name, path=path, host=host, aliases=[*aliases], options=Route(path, host, **options).options)
    decide(node, name, port)


def serve(node: Settings, name: str, port: int, **route: Any) -> list[str]:
    """Publish a service, as its event does; returns what nginx has confirmed."""
    put(node, name, port, **route)
    return publish.publish(node, [name])


class Plain(NamedTuple):
    """An answer without TLS; `place` is where it sends the client on to."""

    status: int
    place: str
    body: str


def plain(host: str = HOST, path: str = "/", method: str = "GET") -> Plain:
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, b"x" if method == "POST" else None, {"Host": host})
        answer = connection.getresponse()
        return Plain(answer.status, answer.getheader("Location", ""), answer.read().decode())


def refused(node: Settings) -> Mapping[str, str]:
    return condition.read(node).refused


def is_rejected(authority: Authority, host: str) -> bool:
    """Tell whether nginx presents nothing at all to a client that asks for this host by TLS."""
    try:
        authority.ask(host)
    except ssl.SSLCertVerificationError:
        return False
    except (ssl.SSLError, ConnectionError):
        return True
    return False


def instance(body: str) -> str:
    return str(json.loads(body)["instance"])


def is_closed() -> bool:
    """Tell whether nobody listens where TLS is spoken."""
    try:
        http.client.HTTPConnection("127.0.0.1", 443, timeout=60).connect()
    except ConnectionRefusedError:
        return True
    return False


def reloads(nginx: Nginx) -> int:
    """Count how often nginx was told to read its files."""
    return (files.read(f"{nginx.folder}/error.log") or "").count("signal 1 (SIGHUP) received")
