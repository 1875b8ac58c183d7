"""What `lictor doctor` and `lictor status` say of hosts with TLS, by what the real nginx presents."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lictor import errors
from lictor.adapters import files
from lictor.cli.page import service
from lictor.cli.setup import certificate_tests, front_door
from lictor.cli.setup.findings import Remark
from lictor.routing import publish, route_store, user_servers
from lictor.spec.route import Route
from lictor.spec.settings import Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from support import routed
from support.backend import Backend
from support.certificates import Authority
from support.routed import nginx_of, with_nginx
from support.secured import HOST, OTHER, issue, make_node, plain, put, serve

_DAY_S = 86_400.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    routed.be_patient(monkeypatch)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(str(tmp_path / "authority"))


@pytest.fixture
def node(tmp_path: Path, nginx: Nginx) -> Settings:
    return make_node(str(tmp_path), nginx)


def examine(node: Settings) -> str:
    return certificate_tests.examine(node, nginx_of(node))


def test_a_host_whose_certificate_is_presented_is_well(node: Settings, authority: Authority) -> None:
    assert not certificate_tests.is_needed(node, nginx_of(with_nginx(node, certificate="", acme_webroot="")))
    issue(node, authority, HOST, "*.example.com")
    with Backend("one") as one:
        serve(node, "books", one.port, tls=True, aliases=["www.example.com", "*.example.com"])
        assert examine(node) == "hosts with TLS: 1; nginx presents a certificate for each"


@pytest.mark.parametrize(("change", "days", "kind", "text"), [
    (lambda _, __: None, 4.5, Remark, f"{HOST}: its certificate ends on 20"),
    (lambda _, __: None, 6.0, errors.Refused, f"{HOST}: its certificate has expired, on 20"),
    (lambda node, authority: issue(node, authority, HOST), 0.0, Remark, f"{HOST}: nginx has not read the newer /"),
    (lambda node, _: put(node, "carts", 9, path="/carts", aliases=["www.example.com"]), 0.0, Remark,
     f"{HOST}: its certificate does not hold www.example.com"),
    (lambda node, _: put(node, "other", 9, host=OTHER, tls=True), 0.0, errors.Refused,
     f"other: its tls is refused: certificate /.*/live/{OTHER}/fullchain.pem: No such file"),
])
def test_what_is_wrong_with_a_certificate_is_told(
        node: Settings, authority: Authority, monkeypatch: pytest.MonkeyPatch,
        change: Callable[[Settings, Authority], object], days: float, kind: type[Exception], text: str) -> None:
    pair = issue(node, authority, HOST)
    authority.issue(*pair, HOST, days=5)
    with Backend("one") as one:
        serve(node, "books", one.port, tls=True)
        change(node, authority)
        now_s = time.time() + days * _DAY_S
        monkeypatch.setattr(time, "time", lambda: now_s)
        with pytest.raises(kind, match=text):
            examine(node)


def test_hosts_that_nobody_answers_for_by_tls_are_told(node: Settings, authority: Authority, nginx: Nginx) -> None:
    issue(node, authority, HOST)
    with Backend("one") as one:
        serve(node, "books", one.port, tls=True)
        wait_for(lambda: plain().status == 200, "it is served")
        route_store.write_listeners(node.state_dir, user_servers.listeners(nginx_of(node), []))
        assert front_door.examine(node, nginx_of(node)) == "1 of 1 routes are reached by their paths and hosts"
        route_store.write_listeners(node.state_dir, {("", 80)})
        with pytest.raises(errors.Refused, match="no location of lictor's answers for books.example.com/"):
            front_door.examine(node, nginx_of(node))
        nginx.stop()
        with pytest.raises(errors.Refused, match=f"nginx presents no certificate for {HOST}: port 443: .*refused"):
            examine(node)


def test_a_template_that_answers_no_challenge_is_told(node: Settings, authority: Authority) -> None:
    issue(node, authority, HOST)
    files.write_atomic(os.path.join(node.templates_dir, "server.conf.j2"),
                       "server { listen 80; server_name {{ host }}; include {{ folder }}/*.conf; }")
    with Backend("one") as one:
        assert serve(node, "books", one.port, tls=True) == ["books"]
        with pytest.raises(errors.Refused, match="route.tls is given, and no server has `listen ... ssl`.*plain HTTP; "
                                                 f"{HOST}: templates/server.conf.j2 has no location for /.well-known/"):
            examine(node)


def test_status_names_the_url_that_a_host_has(node: Settings, authority: Authority) -> None:
    def urls(name: str, host: str) -> list[str]:
        seen: Any = SimpleNamespace(desired=SimpleNamespace(name=name, spec=SimpleNamespace(
            routes=[Route("/", host), Route("/a")])))
        return service._list_urls(SimpleNamespace(settings=node), seen)  # type: ignore[arg-type]

    issue(node, authority, HOST)
    with Backend("one") as one:
        put(node, "other", one.port, host=OTHER)
        serve(node, "books", one.port, tls=True)
        route_store.write_listeners(node.state_dir, user_servers.listeners(nginx_of(node), []))
        own = ["http://127.0.0.1/a", "https://127.0.0.1/a"]
        assert (urls("books", HOST), urls("other", OTHER)) == (
            [f"https://{HOST}/", *own], [f"http://{OTHER}/", *own])
        put(node, "books", one.port)
        publish.publish(node, ["books"])
        route_store.write_listeners(node.state_dir, user_servers.listeners(nginx_of(node), []))
        assert urls("books", HOST) == [f"http://{HOST}/", "http://127.0.0.1/a"]
