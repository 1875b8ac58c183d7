from typing import Any

import pytest

from lictor import errors
from lictor.spec import spec_file
from lictor.spec.locations import claims, locations


def convert(**route: Any) -> dict[str, Any]:
    return spec_file.convert({"name": "books", "image": "b:1", "port": 80, "route": {"path": "/", **route}}, "x.yaml")


@pytest.mark.parametrize("host", ["books.example.com", "a", "_", "my_app.example.com", "_dmarc.example.com", "10.0.0.1",
                                  "xn--bcher-kva.example", "a-b.c", "0", f"{'a' * 63}.b"])
def test_hosts_that_nginx_takes(host: str) -> None:
    assert convert(host=host)


@pytest.mark.parametrize(("host", "hint"), [
    ("Books.example.com", "in lower case"), ("http://books.example.com", "without http:// before it"),
    ("https://books.example.com/x", "without http:// before it"), ("books.example.com:8080", "without a port"),
    ("[::1]:80", "without a port"), ("books.example.com/api", "without a path"),
    ("books.example.com.", "without the dot"),
    ("a b", "without white space"), ("a\nb", "without white space"), ("a\tb", "without white space"),
    ("bücher.example", "in ASCII, as xn--"), ("*.example.com", "aliases may hold"), ("*", "aliases may hold"),
    (".example.com", "without a dot before it"), ("a..b", "a single dot"), ("-a.b", "without - at"),
    ("a-.b", "without - at"), ("a" * 64, "at most 63"), (".".join(["a" * 60] * 4), "at most 200"),
    ("~^www", "not a regular expression"), ("a;b", "of letters, digits"), ("$host", "of letters, digits"),
    ("user@host", "without a path"), ("a?b", "without a path"), ("[fe80::1]", "of letters"),
])
def test_each_mistake_about_a_host_has_its_own_hint(host: str, hint: str) -> None:
    with pytest.raises(errors.Refused, match="^x.yaml: route.host is .*; it must be a host name, ") as refusal:
        convert(host=host)
    assert hint in str(refusal.value) and repr(host[:100]) in str(refusal.value)


@pytest.mark.parametrize(("route", "text"), [
    ({"path": "/.well-known/acme-challenge"}, "route.path is .* must not be in /.well-known"),
    ({"path": "/.well-known"}, "must not be in /.well-known"), ({"path": "/.well-known/"}, "must not be in"),
    ({"path": "/a", "match": "regex"}, "route.match is 'regex'; this version knows prefix, exact"),
    ({"aliases": ["a.example.com"]}, "route.aliases holds 'a.example.com'; it must be empty without a named host"),
    ({"host": "_", "aliases": ["a.example.com"]}, "must be empty without a named host"),
    ({"host": "a", "aliases": ["A.b"]}, "route.aliases holds 'A.b'; it must be a host name, in lower case"),
    *[({"host": "a", "aliases": [each]}, "route.aliases holds ")
      for each in ("_", "", "*", "*.", "a.*.b", "*.*.b", "*a.b", "a.b*", "~x", "*.a; }", ".a.b", "*.A")],
    ({"host": "a", "aliases": [f"{number}.b" for number in range(51)]}, "aliases holds 51; it must be at most 50"),
])
def test_routes_that_are_refused(route: dict[str, Any], text: str) -> None:
    with pytest.raises(errors.Refused, match=text):
        convert(**route)


def test_aliases_that_nginx_takes() -> None:
    assert convert(host="a", aliases=["www.example.com", "*.example.com", "www.example.*", "my_app", "a"])


@pytest.mark.parametrize(("path", "match", "expected"), [
    ("/", "prefix", ["/"]), ("/a/b", "prefix", ["= /a/b", "/a/b/"]), ("/a/", "prefix", ["/a/"]),
    ("/", "exact", ["= /"]), ("/a", "exact", ["= /a"]), ("/a/", "exact", ["= /a/"])])
def test_locations_of_a_path(path: str, match: str, expected: list[str]) -> None:
    assert [*locations(path, match)] == expected


@pytest.mark.parametrize(("one", "other", "is_clash"), [
    ({}, {}, True), ({"path": "/a"}, {"path": "/a/"}, True), ({"path": "/a"}, {"path": "/ab"}, False),
    ({"path": "/a"}, {"path": "/a/b"}, False), ({"path": "/a", "match": "exact"}, {"path": "/a"}, True),
    ({"path": "/a", "match": "exact"}, {"path": "/a/"}, False), ({"path": "/", "match": "exact"}, {}, False),
    ({"host": "x"}, {}, False), ({"host": "x"}, {"host": "x"}, True),
    ({"host": "x"}, {"host": "x", "path": "/a"}, False),
    ({"host": "x", "aliases": ["y"]}, {"host": "y", "path": "/a"}, True),
    ({"host": "x", "aliases": ["z"]}, {"host": "y", "aliases": ["z"]}, True),
    ({"host": "x", "aliases": ["z"]}, {"host": "x", "aliases": ["z"], "path": "/a"}, False),
    ({"host": "x", "aliases": ["*.y"]}, {"host": "a.y"}, False),
])
def test_no_two_services_claim_the_same(one: dict[str, Any], other: dict[str, Any], is_clash: bool) -> None:
    defaults = {"path": "/", "host": "", "match": "prefix", "aliases": []}
    owners = dict(claims("one", {**defaults, **one}))
    assert any(owners.get(claim, owner) != owner for claim, owner in claims("other", {**defaults, **other})) is is_clash
