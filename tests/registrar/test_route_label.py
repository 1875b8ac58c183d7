"""Tables: the route that a container's label asks for, as Consul is told of it; labels are hostile."""

from typing import Any

import pytest

from lictor import model
from lictor.registrar import registration

OPTIONS = registration.Options(host="vm", engine="E1")
NAMED = {"SERVICE_NAME": "shop"}
OWN = {"lictor.engine": "docker", "lictor.service": "shop", "lictor.number": "1", "lictor.container": "shop-1",
       "lictor.registers": "SERVICE_NAME", **NAMED}


def register(labels: dict[str, str], ports: tuple[str, ...] = ("8080/tcp",), env: tuple[str, ...] = (),
             image: dict[str, Any] | None = None, **options: Any) -> tuple[list[str | None], list[str]]:
    """Return the route of each registration, and what is told of the container."""
    bindings = {port: [{"HostIp": "127.0.0.1", "HostPort": str(32768 + n)}] for n, port in enumerate(ports)}
    container = {
        "Id": "c0ffee", "Name": "/shop-1", "State": {"Status": "running"}, "HostConfig": {"NetworkMode": "default"},
        "Config": {"Image": "shop:1", "Labels": labels, "Env": list(env), "ExposedPorts": {}},
        "NetworkSettings": {"Ports": bindings, "Networks": {}}}
    found, told = registration.registrations(container, OPTIONS._replace(**options), image=image)
    return [each.definition["Meta"].get(model.META_ROUTE) for each in found], told


@pytest.mark.parametrize(("text", "route"), [
    ("/shop", "/shop"), ("/", "/"), ("/shop/", "/shop/"), (" /shop\n", "/shop"), ("/~a/b.c_d", "/~a/b.c_d"),
    ("shop.example.com/", "shop.example.com/"), ("shop.example.com/cart", "shop.example.com/cart"), ("_/a", "_/a"),
])
def test_a_named_container_is_registered_with_its_route(text: str, route: str) -> None:
    assert register({**NAMED, "lictor.route": text}) == ([route], [])


@pytest.mark.parametrize(("text", "said"), [
    ("shop", "route is 'shop'; it must be a path such as /shop, or a host before it"),
    ("http://a/b", "route is 'http://a/b'; it must be a path"),
    ("/x; return 200", "path is '/x; return 200'; it must begin with a slash and hold only letters, digits"),
    ("{", "route is '{'"), ("/{", "path is '/{'"), ("/a\n/b", "path is '/a\\n/b'"), ("/a b", "path is '/a b'"),
    ("/" + "a" * 300, f"path is '/{'a' * 99}'; it must begin"), ("a" * 300 + "/", "host is 'aaa"), ("//a", "path is"),
    ("/../etc", "path is '/../etc'"), ("/$host", "path is '/$host'"), ("/%2e", "path is"), ("/ä", "path is '/ä'"),
    ("/.well-known/a", "it must not be in /.well-known"), ("shop.example.com:80/a", "without a port"),
    ("Shop/a", "host is 'Shop'; it must be a host name, in lower case"), ("a b/c", "without white space"),
    ("*.a/b", "host is '*.a'"), ("~^a/b", "not a regular expression"), ("a;b/c", "host is 'a;b'"),
    ("/\\ud800", "path is '/\\\\ud800'"), ("a\\0/b", "host is 'a\\\\0'"),
])
def test_a_hostile_label_gets_no_route_and_one_line_that_says_why(text: str, said: str) -> None:
    found, told = register({**NAMED, "lictor.route": text})
    assert found == [None] and len(told) == 1  # it is registered all the same
    assert told[0].startswith(f"lictor.route: {said}") or said in told[0]
    assert told[0].endswith(". It gets no route") and told[0].isprintable() and len(told[0]) < 400


@pytest.mark.parametrize(("labels", "ports", "routes", "said"), [
    ({}, ("8080/tcp",), [None], "no TCP port of the container is registered by a SERVICE_NAME"),
    ({"SERVICE_NAME": "Shop"}, ("8080/tcp",), [None], "SERVICE_NAME is 'Shop'; it must be 1 to 63 of a-z"),
    (NAMED, ("8080/tcp", "9090/tcp"), [None, None],
     "2 ports have a SERVICE_NAME (shop-8080, shop-9090), and a route is that of one. Name one port only, as by"),
    (NAMED, ("53/udp",), [None], "no TCP port of the container is registered by a SERVICE_NAME"),
    ({"SERVICE_8080_NAME": "shop"}, ("8080/tcp", "9090/tcp"), ["/a", None], ""),
    ({**NAMED, "SERVICE_9090_IGNORE": "1"}, ("8080/tcp", "9090/tcp"), ["/a"], ""),
    (NAMED, ("8080/tcp", "8080/udp"), ["/a", None], ""),
    ({**NAMED, "SERVICE_IGNORE": "1"}, ("8080/tcp",), [], ""),
    ({**NAMED, "lictor.route": ""}, ("8080/tcp",), [None], ""),
    ({**NAMED, "lictor.route": " "}, ("8080/tcp",), [None], ""),
])
def test_the_route_is_that_of_the_one_port_that_has_a_name(labels: dict[str, str], ports: tuple[str, ...],
                                                           routes: list[str | None], said: str) -> None:
    found, told = register({"lictor.route": "/a", **labels}, ports)
    assert found == routes and len(told) == bool(said) and said in "".join(told)


def test_a_container_of_which_nothing_is_registered_is_told_of_once() -> None:
    found, [told] = register({**NAMED, "lictor.route": "/a"}, ())
    assert found == [] and "SERVICE_NAME asked for a port, and it is not published" in told


def test_only_a_label_counts_and_only_one_of_the_containers_own() -> None:
    assert register(NAMED, env=("lictor.route=/a",)) == ([None], [])
    labels = {**NAMED, "lictor.route": "/a"}
    assert register(labels, image={"Labels": {"lictor.route": "/a"}}) == ([None], [])  # --ignore-image
    assert register(labels, image={"Labels": {"lictor.route": "/b"}}) == (["/a"], [])
    assert register({**OWN, "lictor.route": "/a"}) == ([None], [])  # lictor made it: its spec has the route


def test_nothing_else_of_a_container_becomes_a_route() -> None:
    found, told = register({**NAMED, "SERVICE_LICTOR-LABEL-ROUTE": "/a"})
    assert found == [None] and "left out" in told[0]
