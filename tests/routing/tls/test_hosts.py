"""TLS of hosts, on a real nginx and with real clients, in both modes."""

import contextlib
import http.client
import json
import os
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lictor.routing import condition, publish, user_servers
from lictor.routing.tls import certificate
from lictor.spec.route import Route
from lictor.spec.settings import Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from support.backend import Backend
from support.certificates import Authority
from support.modes import in_both_modes
from support.routed import decide, nginx_of, put_route, set_up, with_nginx

HOST, OTHER = "books.example.com", "other.example.com"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(str(tmp_path / "authority"))


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str) -> Settings:
    """A node whose hosts have lictor's own template, so that they listen on the ports of the web."""
    given = set_up(str(tmp_path), nginx)
    os.unlink(os.path.join(given.templates_dir, "server.conf.j2"))
    return with_nginx(given, mode=mode, certificate=f"{tmp_path}/live/{{host}}/fullchain.pem",
                      key=f"{tmp_path}/live/{{host}}/privkey.pem", acme_webroot=f"{tmp_path}/acme")


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


@in_both_modes
def test_a_host_with_tls_is_served_by_both_and_knows_of_it(settings: Settings, authority: Authority) -> None:
    issue(settings, authority, HOST, "www.example.com", "*.books.example.com")
    with Backend("one") as one:
        assert serve(settings, "books", one.port, tls=True, aliases=["www.example.com", "*.books.example.com"],
                     response_headers={"Strict-Transport-Security": "max-age=63072000"}) == ["books"]
        wait_for(lambda: plain().status == 200, "it is served without TLS")
        for host in (HOST, "www.example.com", "eu.books.example.com"):
            answer = authority.ask(host)
            assert (answer.status, instance(answer.body)) == (200, "one")
            assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"
        assert authority.ask_by_http2(HOST) == ("2", "200")
        assert not refused(settings)
        assert {("", 80), ("", 443)} <= user_servers.listeners(nginx_of(settings), [])


@in_both_modes
def test_a_redirect_keeps_method_host_and_query_and_leaves_challenges_alone(
        settings: Settings, authority: Authority, tmp_path: Path) -> None:
    issue(settings, authority, HOST, "www.example.com")
    challenges = tmp_path / "acme" / ".well-known" / "acme-challenge"
    challenges.mkdir(parents=True)
    (challenges / "token").write_text("proof")
    with Backend("one") as one:
        assert serve(settings, "books", one.port, tls="redirect", aliases=["www.example.com"])
        wait_for(lambda: plain().status == 308, "requests without TLS are sent on")
        assert plain(path="/a/b?c=%20d").place == f"https://{HOST}/a/b?c=%20d"
        assert plain("www.example.com", method="POST")[:2] == (308, "https://www.example.com/")
        assert plain(path="/.well-known/acme-challenge/token")[::2] == (200, "proof")
        assert plain(path="/.well-known/acme-challenge/other").status == 404
        assert authority.ask(HOST).status == 200
        assert serve(settings, "books", one.port)
        wait_for(lambda: plain().status == 200, "without the key it is as before")


@in_both_modes
def test_challenges_are_answered_before_there_is_a_certificate(settings: Settings, authority: Authority,
                                                               tmp_path: Path) -> None:
    """The host is served without TLS until then, and is not without a word: a sweep takes up what has come."""
    (tmp_path / "acme" / ".well-known" / "acme-challenge").mkdir(parents=True)
    (tmp_path / "acme" / ".well-known" / "acme-challenge" / "token").write_text("proof")
    with Backend("one") as one:
        assert serve(settings, "books", one.port, tls="redirect") == ["books"]
        wait_for(lambda: plain().status == 200, "it is served without TLS")
        assert plain(path="/.well-known/acme-challenge/token").body == "proof"
        missing = f"certificate {certificate.of_host(nginx_of(settings), HOST).certificate}: No such file or directory"
        assert refused(settings) == {"books": f"its tls is refused: {missing}. nginx serves it by plain HTTP"}
        issue(settings, authority, HOST)
        publish.publish(settings, ["books"])
        wait_for(lambda: plain().status == 308, "it has TLS by now")
        assert authority.ask(HOST).status == 200 and not refused(settings)


@in_both_modes
@pytest.mark.parametrize("harm", ["no settings", "no key", "no certificate", "another key", "text", "pipe", "password"])
def test_what_nginx_could_not_use_is_refused_and_the_host_served_all_the_same(
        settings: Settings, authority: Authority, harm: str) -> None:
    issue(settings, authority, OTHER)
    pair = issue(settings, authority, HOST)
    words = {"no key": f"key {pair.key}: No such file", "no certificate": f"certificate {pair.certificate}: No such",
             "no settings": f"certificate and key in [nginx] of {settings.path} are not set",
             "another key": f"key {pair.key} is not that of certificate {pair.certificate}",
             "text": f"certificate {pair.certificate}: there is no certificate in PEM form",
             "pipe": f"key {pair.key}: it is no regular file",
             "password": f"certificate {pair.certificate} with key {pair.key}: "}
    match harm:
        case "no settings":
            settings = with_nginx(settings, certificate="", key="")
        case "no key" | "no certificate":
            os.unlink(pair.key if harm == "no key" else pair.certificate)
        case "another key":
            authority.issue(f"{authority.folder}/x.pem", pair.key, HOST)
        case "text":
            Path(pair.certificate).write_text("none")
        case "pipe":
            os.unlink(pair.key)
            os.mkfifo(pair.key)
        case "password":
            encrypt(pair.key)
    with Backend("one") as one, Backend("two") as two:
        put(settings, "other", two.port, host=OTHER, tls=True)
        assert serve(settings, "books", one.port, tls=True) == ["books", "other"]
        wait_for(lambda: plain().status == 200 and plain(OTHER).status == 200, "both are served without TLS")
        assert refused(settings)["books"].startswith(f"its tls is refused: {words[harm]}")
        if harm != "no settings":
            assert authority.ask(OTHER).status == 200 and "other" not in refused(settings)
            assert is_rejected(authority, HOST)


@in_both_modes
def test_nobody_else_is_presented_the_certificate_of_a_host(settings: Settings, authority: Authority) -> None:
    issue(settings, authority, HOST)
    with Backend("one") as one, Backend("two") as two:
        put(settings, "other", two.port, host=OTHER)
        assert serve(settings, "books", one.port, tls=True) == ["books", "other"]
        wait_for(lambda: plain().status == 200 and plain(OTHER).status == 200, "both are served without TLS")
        assert authority.ask(HOST).status == 200
        assert is_rejected(authority, OTHER) and is_rejected(authority, "unknown.example.com")
        assert authority.ask(HOST, name=OTHER).status == 404, "a host without TLS has none by that of another one"
        assert authority.ask(HOST, name="unknown.example.com").status == 404


@in_both_modes
def test_two_services_of_a_host_have_the_tls_that_either_asks_for(settings: Settings, authority: Authority) -> None:
    issue(settings, authority, HOST)
    with Backend("one") as one, Backend("two") as two:
        assert serve(settings, "books", one.port) and serve(settings, "carts", two.port, path="/carts", tls=True)
        wait_for(lambda: instance(authority.ask(HOST, "/carts").body) == "two", "the one that asks has TLS")
        assert instance(authority.ask(HOST).body) == "one" and plain().status == 200
        publish.publish(settings, ["books", "carts"])  # as a sweep
        assert authority.ask(HOST).status == 200
        assert serve(settings, "books", one.port, tls="redirect")
        wait_for(lambda: plain(path="/carts").status == 308, "the host redirects if one of them asks for that")
        put_route(settings, "carts", path="/carts", host=HOST, removed=True, options={"tls": True})
        decide(settings, "carts")
        publish.publish(settings, ["books", "carts"])
        wait_for(lambda: authority.ask(HOST, "/carts").body.find("one") > 0, "it stays with the other one")
        assert serve(settings, "books", one.port)
        wait_for(lambda: plain().status == 200 and is_closed(), "it goes with the last one")


def is_closed() -> bool:
    """Tell whether nobody listens where TLS is spoken."""
    try:
        http.client.HTTPConnection("127.0.0.1", 443, timeout=60).connect()
    except ConnectionRefusedError:
        return True
    return False


def encrypt(path: str) -> None:
    subprocess.run(["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", path, "-out", path], check=True,
                   capture_output=True)
