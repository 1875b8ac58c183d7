"""Each nginx from Debian 11's on takes all that lictor writes, without a warning, and does what it says."""

import contextlib
import http.client
import json
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest

from lictor.adapters import files
from lictor.routing import nginx as lictor_nginx
from lictor.routing import nginx_mode, publish, route_store, sides
from lictor.routing.nginx_mode import Mode
from lictor.routing.peers import Peer
from lictor.routing.traffic import meter
from lictor.spec.quantities import Duration
from lictor.spec.route import Route
from lictor.spec.settings import AUTO, Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from support.backend import Backend
from support.certificates import Authority
from support.paths import REPOSITORY
from support.releases import SUITES, WITH_BALANCER, binary_of
from support.routed import decide, nginx_of, published, put_route, with_nginx
from support.secured import instance, issue, make_node

SECURED, CALLED = "tls.example.com", "grpc.example.com"
OPTIONS: dict[str, Any] = {
    "strip": True, "timeout": 60.0, "max_body": 1000, "allow": ["127.0.0.0/8", "2001:db8::/32"],
    "request_headers": {"X-Env": "test", "Cookie": ""}, "settings": {"zone": "slow"},
    "response_headers": {"X-Frame-Options": "DENY", "X-Powered-By": ""}}
ROUTES = {
    "plain": Route("/plain"), "exact": Route("/exact", match="exact"), "options": Route("/options", **OPTIONS),
    "root": Route("/", host="a.example.com", aliases=["*.example.org", "b.example.com"]),
    "any": Route("/books", host="_"), "tried": Route("/tried"),
    "secured": Route("/", host=SECURED, tls="redirect"), "called": Route("/", host=CALLED, tls=True, scheme="grpc"),
    "verified": Route("/verified", scheme="https", server_name="books.internal"),
    "unverified": Route("/unverified", scheme="https", insecure=True), "stayed": Route("/stayed", sticky="SHELF"),
    "waits": Route("/waits", wait=Duration(0.1))}  # in live mode only
# Whatever is measured is so by Lua, by Lua in live mode, or by a log.
WAYS = [("reload", "lua"), ("live", "lua"), ("reload", "log")]
KINDS = [(suite, *way) for suite in SUITES for way in WAYS if suite in WITH_BALANCER or way[0] == "reload"]
SHIPPED = {path.name for kind in ("conf", "lua") for path in (REPOSITORY / "templates").glob(f"*.{kind}.j2")} - {
    "agent-drop-in.conf.j2", "nginx-drop-in.conf.j2"}  # systemd's
OF_LIVE_MODE = {"live.lua.j2", "in_flight.lua.j2", "waiting.lua.j2"}
in_each = pytest.mark.parametrize(("suite", "mode", "way"), KINDS, ids=["-".join(each) for each in KINDS])


@pytest.fixture
def nginx_binary(suite: str) -> str:
    return binary_of(suite)


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str, way: str) -> Settings:
    """A node whose servers of hosts are made by lictor's own template, on port 80 of this process's network."""
    if way == "log":
        nginx.load_no_modules()
    given = with_nginx(make_node(str(tmp_path), nginx, mode), trusted_proxies=("127.0.0.0/8",))
    Path(given.templates_dir, "upstream.conf.j2").write_text(
        '{% extends "shipped/upstream.conf.j2" %} {# `settings` are for it #}')
    return given


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The templates that came with lictor and are read."""
    names, get_source = set[str](), jinja2.PackageLoader.get_source

    def get(loader: jinja2.PackageLoader, environment: jinja2.Environment, name: str) -> Any:
        found = get_source(loader, environment, name)
        names.add(name)
        return found
    monkeypatch.setattr(jinja2.PackageLoader, "get_source", get)
    return names


def get(address: str, path: str, host: str) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


def measure(given: Settings, name: str, *ignored: str) -> None:
    found = files.read_json(f"{given.state_dir}/routes/{name}.json")
    route_store.write_route(given.state_dir, name, {**found, "measure": True, "ignore": ignored})


def try_canary(given: Settings, name: str, live: Backend, canary: Backend) -> None:
    found = files.read_json(f"{given.state_dir}/routes/{name}.json")
    route_store.write_route(given.state_dir, name, {**found, "canary": {"service": f"{name}-green", "share": 0.5}})
    route_store.write_published(given.state_dir, name, published(given, name)._replace(
        peers=sides.share_out([Peer("127.0.0.1", live.port)], [Peer("127.0.0.1", canary.port)], 0.5)))


def await_answer(backend: Backend, *asked: str) -> None:
    wait_for(lambda: f'"{backend.name}"' in get(*asked)[1], f"{backend.name} answers {asked}")


def await_by_tls(backend: Backend, authority: Authority) -> None:
    wait_for(lambda: instance(authority.ask(SECURED).body) == backend.name, f"{backend.name} answers by TLS")


@in_each
def test_all_that_is_written_is_taken_without_a_warning_and_served(
        settings: Settings, nginx: Nginx, tmp_path: Path, mode: str, way: str, rendered: set[str]) -> None:
    routes = {name: route for name, route in ROUTES.items() if mode == "live" or route.wait is None}
    authority = Authority(str(tmp_path / "authority"))
    for host in (SECURED, CALLED):
        issue(settings, authority, host)
    with Backend("a") as first, Backend("b") as second:
        for backend, other in ((first, second), (second, first)):
            for name, route in routes.items():
                put_route(settings, name, **route.table)
                decide(settings, name, backend.port)
            measure(settings, "plain", "/plain/health")
            measure(settings, "tried")
            try_canary(settings, "tried", backend, other)
            assert sorted(publish.publish(settings)) == sorted(routes)
            assert lictor_nginx.validate(nginx_of(settings), nginx.main_conf) == []
            own = f"127.0.0.1:{nginx.port}"
            for asked in ((own, "/plain", "x"), (own, "/exact", "x"), (own, "/options/a", "x"), (own, "/stayed", "x"),
                          ("127.0.0.1", "/", "a.example.com"), ("127.0.0.1", "/", "c.example.org"),
                          ("127.0.0.1", "/books", "no.example.net")):
                await_answer(backend, *asked)
            await_answer(backend, own, "/tried", "x")
            await_answer(other, own, "/tried", "x")
            await_by_tls(backend, authority)
            if "waits" in routes:
                await_answer(backend, own, "/waits", "x")
        assert get(own, "/options", "x")[2]["X-Frame-Options"] == "DENY"
        wait_for(lambda: meter.count(nginx_of(settings), settings.state_dir, 0.0), "it is counted")
    decide(settings, "plain")
    publish.publish(settings)
    wait_for(lambda: get(own, "/plain", "x")[0] == 503, "there is no instance")
    unused = set() if way == "lua" else {"traffic.lua.j2", "answers.lua.j2"}
    assert rendered == SHIPPED - unused - (set() if mode == "live" else OF_LIVE_MODE)
    assert re.findall(r"\[(?:warn|error|crit|alert|emerg)\].*", files.read(f"{nginx.folder}/error.log") or "") == []


@pytest.mark.parametrize(("suite", "mode", "way"), [(suite, AUTO, "lua") for suite in SUITES])
def test_the_mode_is_live_where_the_lua_module_has_what_that_needs(settings: Settings, suite: str) -> None:
    found = nginx_mode.choose(settings)
    if suite in WITH_BALANCER:
        assert found == Mode("live", "nginx has its Lua module")
    else:
        assert found.name == "reload" and "there is no ngx.balancer, a part of lua-resty-core" in found.why


@pytest.mark.parametrize(("suite", "mode", "way", "expected"), [("testing", "live", "lua", "b"),
                                                                ("testing", "reload", "lua", "a")])
def test_a_worker_of_before_that_keeps_a_client_asks_the_peers_of_now_in_live_mode_only(
        settings: Settings, nginx: Nginx, expected: str) -> None:
    """Therefore lictor does not set keepalive_min_timeout: in mode reload it would outlive a drain."""
    files.write_atomic(nginx.main_conf, (files.read(nginx.main_conf) or "").replace(
        "http {", "http { keepalive_min_timeout 300s;"))
    kept = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)

    def ask() -> tuple[str, str | None]:
        kept.request("GET", "/books")
        answer = kept.getresponse()
        return json.loads(answer.read())["instance"], answer.getheader("Connection")
    with Backend("a") as first, Backend("b") as second, contextlib.closing(kept):
        put_route(settings, "books", path="/books")
        decide(settings, "books", first.port)
        assert publish.publish(settings) == ["books"] and ask() == ("a", "keep-alive")
        put_route(settings, "other", path="/other")
        decide(settings, "other", first.port)
        assert publish.publish(settings) == ["other"]
        decide(settings, "books", second.port)
        assert publish.publish(settings) == ["books"] and ask() == (expected, "close")


def test_the_routes_above_ask_for_all_that_a_route_can() -> None:
    """A key that is new needs a value above: it may be in the way of another nginx."""
    asked = {key for key in Route.__struct_fields__ for route in ROUTES.values()
             if getattr(route, key) != getattr(Route("/"), key)}
    assert asked == {*Route.__struct_fields__}
