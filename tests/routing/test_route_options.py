"""How nginx passes requests on, as the keys of a route say, in both modes."""

import http.client
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lictor.adapters import files
from lictor.routing import publish, route_store
from lictor.spec.route import Route
from lictor.spec.settings import Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from support.echo import OWN_HEADERS, Echo
from support.modes import in_both_modes
from support.paths import REPOSITORY
from support.routed import decide, put_route, set_up, with_nginx

NAME = "books"


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    sent: dict[str, Any]  # to the instance, if it answered


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str) -> Settings:
    return with_nginx(set_up(str(tmp_path), nginx), mode=mode)


def publish_with(node: Settings, port: int, **options: Any) -> list[str]:
    """Publish the route with these options, as the spec has them, and one instance."""
    put_route(node, NAME, path="/books", options=Route("/books", **options).options)
    decide(node, NAME, port)
    return publish.publish(node, [NAME])


def refusal_of(node: Settings) -> str:
    published = route_store.published(node.state_dir, NAME)
    return published.refusal.reason if published and published.refusal else ""


def ask(nginx: Nginx, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)
    try:
        connection.request("POST" if body else "GET", target, body or None, headers or {})
        answer = connection.getresponse()
        text = answer.read()
        return Answer(answer.status, answer.getheaders(), json.loads(text) if text.startswith(b"{") else {})
    finally:
        connection.close()


def of_instance(answer: Answer) -> list[tuple[str, str]]:
    """The headers that are not nginx's own."""
    return sorted(each for each in answer.headers if each[0] not in ("Server", "Date", "Connection"))


@in_both_modes
def test_each_option_does_what_it_says_and_goes_when_it_is_taken_away(settings: Settings, nginx: Nginx) -> None:
    """A worker of before may take one more request, so each effect is waited for."""
    client = {"X-Env": "client", "Cookie": "c=1", "X-Forwarded-Prefix": "/no"}
    with Echo() as echo:
        def serve(shows: Callable[[], bool], **options: Any) -> None:
            assert publish_with(settings, echo.port, **options) == [NAME]
            wait_for(shows, f"nginx does what {options} says")

        def status(body: bytes = b"", target: str = "/books") -> int:
            return ask(nginx, target, body).status

        serve(lambda: status() == 200)
        before = ask(nginx, "/books/a?x=1", headers=client)
        assert before.sent["path"] == "/books/a?x=1" and before.sent["headers"]["X-Env"] == "client"
        assert "X-Forwarded-Prefix" not in before.sent["headers"] and of_instance(before) == sorted(
            [*OWN_HEADERS.items(), ("Content-Length", dict(before.headers)["Content-Length"])])

        serve(lambda: ask(nginx, "/books").sent["path"] == "/", strip=True)
        assert [ask(nginx, target).sent["path"] for target in ("/books/a?x=1", "/books/", "/books?y")] == [
            "/a?x=1", "/", "/?y"]
        assert ask(nginx, "/books", headers=client).sent["headers"]["X-Forwarded-Prefix"] == "/books"

        serve(lambda: status(b"x" * 1001) == 413, max_body=1000)
        assert status(b"x" * 1000) == 200
        serve(lambda: status(b"x" * 3_000_000) == 200, max_body=0)

        serve(lambda: status(target="/books/silent") == 504, timeout=1.0)
        serve(lambda: status() == 403, allow=["203.0.113.7", "2001:db8::/32"])
        serve(lambda: status() == 200, allow=["127.9.9.9/8"])

        value = "a 'b'; {c} # <d> %20 *"
        serve(lambda: ask(nginx, "/books", headers=client).sent["headers"]["X-Env"] == value,
              request_headers={"X-Env": value, "Cookie": ""})
        assert "Cookie" not in ask(nginx, "/books", headers=client).sent["headers"]

        policy = "default-src 'self'; img-src *"
        serve(lambda: "X-Powered-By" not in dict(ask(nginx, "/books").headers), response_headers={
            "X-Frame-Options": "DENY", "Content-Security-Policy": policy, "X-Powered-By": ""})
        for target in ("/books", "/books/broken"):
            answer = ask(nginx, target)
            assert answer.status == (500 if target.endswith("/broken") else 200) and of_instance(answer) == sorted([
                ("Cache-Control", "no-store"), ("Content-Length", dict(answer.headers)["Content-Length"]),
                ("Content-Security-Policy", policy), ("X-Frame-Options", "DENY")])

        decide(settings, NAME)
        publish.publish(settings, [NAME])
        wait_for(lambda: status() == 503, "there is no instance")
        assert {("X-Frame-Options", "DENY"), ("Retry-After", "5")} < {*ask(nginx, "/books").headers}

        serve(lambda: ask(nginx, "/books/a?x=1", headers=client).sent == before.sent)
        assert of_instance(ask(nginx, "/books/a?x=1", headers=client)) == of_instance(before)


@in_both_modes
def test_a_template_of_the_user_s_that_leaves_an_option_out_is_refused(settings: Settings, nginx: Nginx) -> None:
    """The service goes on as it was, and the reason says what is missing."""
    shipped = (REPOSITORY / "templates" / "location.conf.j2").read_text()
    older = shipped.replace("client_max_body_size", "# client_max_body_size")
    assert older != shipped
    files.write_atomic(f"{settings.templates_dir}/location.conf.j2", older)
    with Echo() as echo:
        assert publish_with(settings, echo.port) == [NAME]
        assert publish_with(settings, echo.port, max_body=1000) in ([], [NAME])  # its peers, by the earlier files
        assert refusal_of(settings).startswith(
            "templates/location.conf.j2: route.max_body is given, and the location has no `client_max_body_size 1000`")
        assert ask(nginx, "/books", b"x" * 1001).status == 200
        files.write_atomic(f"{settings.templates_dir}/location.conf.j2", shipped)
        assert publish_with(settings, echo.port, max_body=1000) == [NAME]
        wait_for(lambda: ask(nginx, "/books", b"x" * 1001).status == 413, "the option is in force")


@in_both_modes
def test_settings_reach_templates_of_the_user_s_and_are_refused_without_any(settings: Settings, nginx: Nginx) -> None:
    with Echo() as echo:
        shipped = (REPOSITORY / "templates" / "location.conf.j2").read_text()
        publish_with(settings, echo.port, settings={"zone": "slow"})
        assert "route.settings are for a template of yours" in refusal_of(settings)
        files.write_atomic(f"{settings.templates_dir}/location.conf.j2", shipped)
        publish_with(settings, echo.port, settings={"zone": "slow"})
        assert "has them" in refusal_of(settings)  # nor has this one
        files.write_atomic(f"{settings.templates_dir}/location.conf.j2", shipped.replace(
            "    proxy_http_version", '    add_header X-Zone "{{ settings.zone }}" always;\n    proxy_http_version'))
        assert publish_with(settings, echo.port, settings={"zone": "slow"}) == [NAME]
        wait_for(lambda: dict(ask(nginx, "/books").headers).get("X-Zone") == "slow", "the template has the setting")
