"""Clients that stay at one instance by their cookie, in both modes, with a real nginx."""

import http.client
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import files
from lictor.routing import publish
from lictor.spec.route import Route
from lictor.spec.settings import Settings

from lab.daemon import free_ports, wait_for
from lab.nginx import Nginx
from support.backend import Backend
from support.modes import in_both_modes
from support.paths import REPOSITORY
from support.routed import decide, published, put_route, set_up, with_nginx

NAME, COOKIE = "books", "SHELF"
CLIENTS, REQUESTS = 50, 200


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str) -> Settings:
    return with_nginx(set_up(str(tmp_path), nginx), mode=mode)


@pytest.fixture
def instances() -> Iterator[list[Backend]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Backend(name)) for name in "abc"]


def publish_with(node: Settings, *some: Backend, weights: tuple[int, ...] = (), **options: Any) -> list[str]:
    put_route(node, NAME, path="/books", options=Route("/books", **{"sticky": COOKIE, **options}).options)
    decide(node, NAME, *(each.port for each in some), weights=weights)
    return publish.publish(node, [NAME])


def ask(nginx: Nginx, cookie: str | None = None, path: str = "/books/a",
        headers: Mapping[str, str] = {}) -> tuple[int, str, str | None]:
    """Ask with this value of the cookie; returns the status, the instance that answered, and the Set-Cookie."""
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)
    try:
        sent = {"Cookie": f"other=1; {COOKIE}={cookie}; SHELF2=x"} if cookie is not None else {}
        connection.request("GET", path, headers={**headers, **sent})
        answer = connection.getresponse()
        body = answer.read()
        instance = json.loads(body)["instance"] if answer.status == 200 else ""
        return answer.status, instance, answer.getheader("Set-Cookie")
    finally:
        connection.close()


def value_of(set_cookie: str | None) -> str:
    assert set_cookie and set_cookie.startswith(f"{COOKIE}=")
    return set_cookie.removeprefix(f"{COOKIE}=").partition(";")[0]


def come_in(nginx: Nginx) -> list[str]:
    """New clients; returns the values of their cookies."""
    return [value_of(ask(nginx)[2]) for _ in range(CLIENTS)]


def places(nginx: Nginx, clients: list[str]) -> dict[str, str]:
    """Where each client is answered; no answer is an error, or sets another cookie."""
    found = {each: ask(nginx, each) for each in clients}
    assert {(status, cookie) for status, _, cookie in found.values()} == {(200, None)}
    return {each: instance for each, (_, instance, _) in found.items()}


@in_both_modes
def test_a_client_stays_and_only_those_of_an_instance_that_leaves_move(settings: Settings, nginx: Nginx,
                                                                      instances: list[Backend]) -> None:
    a, b, c = instances
    assert publish_with(settings, a, b, c) == [NAME]
    clients = come_in(nginx)
    first = places(nginx, clients)
    assert {*first.values()} == {"a", "b", "c"}
    for number in range(REQUESTS):
        client = clients[number % CLIENTS]
        assert ask(nginx, client, f"/books/{number}")[1] == first[client]

    assert publish_with(settings, a, c) == [NAME]
    wait_for(lambda: {*places(nginx, clients).values()} == {"a", "c"}, "b is left")
    second = places(nginx, clients)
    assert {each: second[each] for each in clients if first[each] != "b"} == {
        each: first[each] for each in clients if first[each] != "b"}
    assert {second[each] for each in clients if first[each] == "b"} == {"a", "c"}  # not all to one

    assert publish_with(settings, a, b, c) == [NAME]
    wait_for(lambda: places(nginx, clients) == first, "all are where they were")
    with Backend("d") as d:
        assert publish_with(settings, d, c, b, a) == [NAME]
        wait_for(lambda: "d" in places(nginx, clients).values(), "the new one has its share")
        third = places(nginx, clients)
        assert {each: place for each, place in third.items() if place != "d"}.items() <= first.items()
        assert 1 <= Counter(third.values())["d"] <= CLIENTS // 2


@in_both_modes
def test_the_users_of_an_instance_that_refuses_are_served_by_others_and_come_back(
        settings: Settings, nginx: Nginx, instances: list[Backend]) -> None:
    a, b, c = instances
    publish_with(settings, a, b, c)
    clients = come_in(nginx)
    first = places(nginx, clients)
    b.server.shutdown()
    b.server.server_close()
    meanwhile = places(nginx, clients)
    assert {each: place for each, place in meanwhile.items() if first[each] != "b"}.items() <= first.items()
    assert {meanwhile[each] for each in clients if first[each] == "b"} == {"a", "c"}
    again = Backend("b", port=b.port)
    with again:
        wait_for(lambda: places(nginx, clients) == first, "its users have come back")


@pytest.mark.parametrize("mode", ["live"])
def test_live_mode_passes_over_an_instance_that_refuses(settings: Settings, nginx: Nginx,
                                                        instances: list[Backend]) -> None:
    """Each of the two workers meets it once a second at most, and not with each request of its users."""
    dead, = free_ports(1)
    put_route(settings, NAME, path="/books", options={"sticky": COOKIE})
    decide(settings, NAME, instances[0].port, dead)
    publish.publish(settings, [NAME])
    clients, began = come_in(nginx), time.monotonic()
    for _ in range(4):
        assert {*places(nginx, clients).values()} == {"a"}
    met = [line for line in (files.read(f"{nginx.folder}/access.log") or "").splitlines() if ", " in line]
    assert 1 <= len(met) <= 2 * (3 + time.monotonic() - began)


@in_both_modes
def test_the_cookie_is_set_once_for_the_path_and_only_a_sound_value_is_taken(
        settings: Settings, nginx: Nginx, instances: list[Backend]) -> None:
    publish_with(settings, instances[0])
    _, _, given = ask(nginx)
    value = value_of(given)
    assert given == f"{COOKIE}={value}; Path=/books; HttpOnly; SameSite=Lax"
    assert len(value) == 32 and value != value_of(ask(nginx)[2])
    assert ask(nginx, value)[2] is None
    for hostile in ("", "x", "a" * 31, "a" * 33, "A" * 32, value + "\\", f'"{value}"', "../" * 10, "g" * 32, "$host",
                    "a" * 4000, "\xe4" * 32, f"{value} x", f"{value[:31]};"):
        status, instance, again = ask(nginx, hostile)
        assert (status, instance) == (200, "a") and value_of(again) not in (value, hostile), hostile
    trusting = with_nginx(settings, trusted_proxies=("127.0.0.0/8",))
    publish_with(trusting, instances[0])
    wait_for(lambda: str(ask(nginx, headers={"X-Forwarded-Proto": "https"})[2]).endswith("; SameSite=Lax; Secure"),
             "it is for https only where the request came by that")
    assert str(ask(nginx)[2]).endswith("; SameSite=Lax")


@in_both_modes
def test_other_options_hold_for_new_and_old_clients_alike(settings: Settings, nginx: Nginx) -> None:
    """nginx's `if` has a location of its own, which has to have all that is around it."""
    class Told(Backend):
        def make_body(self, headers: Any) -> bytes:
            return json.dumps({"instance": headers["X-Forwarded-Prefix"] + headers["X-Env"]}).encode()

    with Told("a") as told:
        publish_with(settings, told, strip=True, request_headers={"X-Env": "prod"})
        value = value_of(ask(nginx)[2])
        for cookie in (None, value):
            assert ask(nginx, cookie)[:2] == (200, "/booksprod")
        publish_with(settings, told, strip=True, allow=["203.0.113.7"])
        wait_for(lambda: [ask(nginx, cookie)[0] for cookie in (None, value)] == [403, 403], "nobody else may ask")
        publish_with(settings)
        wait_for(lambda: [ask(nginx, cookie)[0] for cookie in (None, value)] == [503, 503], "there is no instance")


@in_both_modes
def test_an_instance_has_as_many_users_as_its_weight_says(settings: Settings, nginx: Nginx,
                                                          instances: list[Backend]) -> None:
    a, b, _ = instances
    for weights in ((3, 1), (49149, 16383)):  # more than nginx could make points of
        publish_with(settings, a, b, weights=weights)
        wait_for(lambda: 0.6 < sum(ask(nginx)[1] == "a" for _ in range(REQUESTS)) / REQUESTS < 0.9, f"{weights} hold")


@in_both_modes
def test_an_upstream_template_of_the_user_s_without_the_hash_is_refused(settings: Settings, nginx: Nginx, mode: str,
                                                                       instances: list[Backend]) -> None:
    shipped = (REPOSITORY / "templates" / "upstream.conf.j2").read_text()
    own = shipped.replace("hash $lictor_sticky consistent", "ip_hash").replace(
        '{{ ", ngx.var.lictor_sticky" if sticky }}', "")
    assert own != shipped
    assert publish_with(settings, instances[0], sticky="") == [NAME]
    files.write_atomic(f"{settings.templates_dir}/upstream.conf.j2", own)
    publish_with(settings, instances[0])
    refusal = published(settings, NAME).refusal
    said = "has no `hash $lictor_sticky consistent`" if mode == "reload" else 'lictor.balance("books", ngx.var.lictor_'
    assert refusal and refusal.reason.startswith("templates/upstream.conf.j2: ") and said in refusal.reason
    assert ask(nginx) == (200, "a", None)


@in_both_modes
def test_a_server_that_does_not_include_the_location_is_no_error(nginx: Nginx, tmp_path: Path, mode: str,
                                                                instances: list[Backend]) -> None:
    text = files.read(nginx.main_conf) or ""
    files.write_atomic(nginx.main_conf, text.replace(f"include {nginx.conf_dir}/locations/*.conf;", ""))
    settings = with_nginx(set_up(str(tmp_path), nginx), mode=mode)
    assert publish_with(settings, instances[0]) == [NAME]
