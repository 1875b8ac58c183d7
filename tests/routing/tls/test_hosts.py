"""TLS of hosts, on a real nginx and with real clients, in both modes."""

import os
import subprocess
from pathlib import Path

import pytest

from lictor.routing import publish, user_servers
from lictor.routing.tls import certificate
from lictor.spec.route import Route
from lictor.spec.settings import Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from support.backend import Backend
from support.certificates import Authority
from support.modes import in_both_modes
from support.routed import decide, nginx_of, put_route, put_routes, with_nginx
from support.secured import HOST, OTHER, instance, is_closed, is_rejected, issue, plain, put, refused, serve


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
        publish.publish(settings, ["books", "carts"])
        wait_for(lambda: plain(path="/carts").status == 308, "the host redirects if one of them asks for that")
        put_route(settings, "carts", path="/carts", host=HOST, removed=True, options={"tls": True})
        decide(settings, "carts")
        publish.publish(settings, ["books", "carts"])
        wait_for(lambda: authority.ask(HOST, "/carts").body.find("one") > 0, "it stays with the other one")
        assert serve(settings, "books", one.port)
        wait_for(lambda: plain().status == 200 and is_closed(), "it goes with the last one")


@in_both_modes
def test_each_host_of_a_service_has_the_tls_that_its_routes_ask_for(settings: Settings, nginx: Nginx,
                                                                    authority: Authority) -> None:
    issue(settings, authority, HOST)
    routes = [Route("/a", HOST), Route("/b", HOST, tls="redirect"), Route("/c", OTHER), Route("/d")]

    def statuses() -> list[int]:
        return [plain(path="/a").status, plain(path="/b").status, plain(OTHER, "/c").status, nginx.get("/d")[0]]

    with Backend("one") as one:
        decide(settings, "books", one.port)
        put_routes(settings, "books", *(each.table for each in routes))
        assert publish.publish(settings, ["books"]) == ["books"]
        wait_for(lambda: statuses() == [308, 308, 200, 200], "one host sends on to TLS, and the others have none")
        assert [authority.ask(HOST, path).status for path in ("/a", "/b", "/c")] == [200, 200, 404]
        assert is_rejected(authority, OTHER) and not refused(settings)
        put_routes(settings, "books", *(each.table for each in [*routes[:2], Route("/c", OTHER, tls=True)]))
        assert publish.publish(settings, ["books"]) == ["books"]
        missing = certificate.of_host(nginx_of(settings), OTHER).certificate
        assert refused(settings)["books"].startswith(f"its tls is refused: certificate {missing}: No such file")
        wait_for(lambda: statuses() == [308, 308, 200, 404], "the other one is served all the same")
        issue(settings, authority, OTHER)
        publish.publish(settings, ["books"])
        wait_for(lambda: authority.ask(OTHER, "/c").status == 200, "it has TLS once there is a certificate")
        assert not refused(settings)


def encrypt(path: str) -> None:
    subprocess.run(["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", path, "-out", path], check=True,
                   capture_output=True)
