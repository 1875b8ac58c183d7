import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor import errors
from lictor.spec import service_spec, spec_file
from lictor.spec.locations import MATCHES, claims, explain_own_clash, locations


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
    *[({"allow": [each]}, "route.allow holds .*; it must be IP addresses and networks")
      for each in ("", "localhost", "10.0.0.0/33", "10.0.0.1; }", "all", "*", "10.0.0.0/8 ;", "fe80::1%eth0",
                   "fe80::1%x;allow all;#")],
    ({"allow": [f"10.0.0.{number}" for number in range(51)]}, "allow holds 51; it must be at most 50"),
    *[({"request_headers": {each: "x"}}, "route.request_headers holds .*; it must be a header's name, and none that")
      for each in ("", "Host", "host", "X-Forwarded-For", "x-forwarded-proto", "Content-Length", "Connection",
                   "Upgrade", "Transfer-Encoding", "X-Real-IP", "Lictor-Hops", "Proxy", "Forwarded", "X A", "X-A;",
                   "X_A", "X-\u00e4", "X" * 65, "1A")],
    *[({"response_headers": {each: "x"}}, "route.response_headers holds .*; it must be one of Access-Control-")
      for each in ("Server", "Location", "Set-Cookie", "Content-Length", "X-Accel-Redirect", "x-frame-options", "",
                   "X-Frame-Options; add_header A")],
    *[({key: {"X-Frame-Options": each}}, f"route.{key}.X-Frame-Options is .*; it must be ASCII without control")
      for key in ("request_headers", "response_headers")
      for each in ('a"b', "$host", "a\\", "a\nb", "a\x00", "\u00e4", "x" * 2001, "a\rSet-Cookie: b", "a\tb\x7f")],
    ({"request_headers": {"X-A": "1", "x-a": "2"}}, "request_headers holds a name twice, in other letters: x-a, x-a"),
    *[({"settings": {each: "x"}}, "route.settings holds .*; its keys must be of a-z")
      for each in ("", "A", "a-b", "1")],
    *[({"settings": {"zone": each}}, "route.settings.zone is .*; it must be at most 200 letters, digits")
      for each in ("a;b", "{", "}", "$a", '"', "'", "#", "a\nb", "\\", "x" * 201)],
    ({"scheme": "h2"}, "route.scheme is 'h2'; this version knows http, https, grpc"),
    *[({"scheme": each}, f"route.scheme is '{each}'; ") for each in ("", "HTTPS", "https://", "grpcs")],
    ({"scheme": "https"}, "route.server_name is missing; with scheme https and without a named host it must be the "),
    *[({"scheme": "https", "host": each}, "route.server_name is missing") for each in ("_", "10.0.0.1")],
    *[({"scheme": "https", "server_name": each}, "route.server_name is .*; it must be a host name in lower case")
      for each in ("_", "10.0.0.1", "A.internal", "a.internal;", "$host", "*.internal", "a b", "a.internal.",
                   "\u00e4.b", "[::1]", "::1", "a\nb", "https://a.internal", "a.internal:443", "x" * 201)],
    ({"server_name": "a.internal"}, "route.server_name is for scheme https, and scheme is http"),
    ({"scheme": "grpc", "server_name": "a.internal"}, "route.server_name is for scheme https, and scheme is grpc"),
    ({"insecure": "true"}, "route.insecure is for scheme https, and scheme is http"),
    ({"scheme": "grpc", "insecure": "true"}, "route.insecure is for scheme https, and scheme is grpc"),
    ({"scheme": "grpc", "strip": "true"}, "route.strip is true; with scheme grpc it must be false"),
    ({"scheme": "grpc", "wait": "5s"}, "route.wait is 5s; with scheme grpc it must be left out"),
    *[({"sticky": each}, "route.sticky is .*; it must be the name of a cookie, of at most 64 letters, digits and _")
      for each in ("a-b", "__Host-a", "a b", "a=b", "a;", "$host", "\u00e4", "a\nb", "x" * 65, "a.b", '"', "{", "true",
                   "False", "on")],
    ({"scheme": "grpc", "sticky": "SHELF"}, "route.sticky is 'SHELF'; with scheme grpc it must be empty"),
    ({"timeout": "0s"}, "route.timeout is 0s; it must be within 1s..24h"), ({"timeout": "25h"}, "within 1s..24h"),
    ({"wait": "0s"}, "route.wait is 0s; it must be within 100ms..60s"), ({"wait": "61s"}, "within 100ms..60s"),
    ({"timeout": "fast"}, "route.timeout: 'fast' is no duration"),
    ({"max_body": "big"}, "'big' is no amount of memory"),
    ({"max_body": "1025g"}, "route.max_body is .* bytes; it must be at most 1024g, or 0 for no limit"),
    ({"max_body": "-1"}, "'-1' is no amount of memory"), ({"strip": "perhaps"}, "route.strip is 'perhaps'"),
    *[({"tls": each, **host}, f"route.tls is {each}; it must be false without a named host: your own server block")
      for each in ("true", "redirect") for host in ({}, {"host": "_"})],
    *[({"tls": each, "host": "a"}, "route.tls is .*; it must be true, false or redirect")
      for each in ("yes", "on", "1", "Redirect", "redirect; }", "$host", "none")],
])
def test_routes_that_are_refused(route: dict[str, Any], text: str) -> None:
    with pytest.raises(errors.Refused, match=text):
        convert(**route)


def test_aliases_that_nginx_takes() -> None:
    assert convert(host="a", aliases=["www.example.com", "*.example.com", "www.example.*", "my_app", "a"])


@pytest.mark.parametrize(("given", "options"), [
    ({}, {}), ({"strip": "true"}, {"strip": True}), ({"strip": "false"}, {}), ({"max_body": "0"}, {"max_body": 0}),
    ({"max_body": "1KiB"}, {"max_body": 1024}), ({"timeout": "75"}, {"timeout": 75.0}), ({"timeout": None}, {}),
    ({"wait": "5s"}, {"wait": 5.0}), ({"wait": "100ms"}, {"wait": 0.1}),
    ({"allow": ["10.1.2.3/8", "::1"]}, {"allow": ["10.0.0.0/8", "::1/128"]}), ({"allow": []}, {}),
    ({"request_headers": {"X-Env": "a b; {c} #'", "Cookie": ""}}, {
        "request_headers": {"X-Env": "a b; {c} #'", "Cookie": ""}}),
    ({"response_headers": {"Cache-Control": "no-store, max-age=0"}}, {
        "response_headers": {"Cache-Control": "no-store, max-age=0"}}),
    ({"scheme": "http"}, {}), ({"scheme": "grpc"}, {"scheme": "grpc"}),
    ({"scheme": "https", "insecure": "true"}, {"scheme": "https", "insecure": True}),
    ({"scheme": "https", "host": "books.example.com"}, {"scheme": "https", "server_name": "books.example.com"}),
    ({"scheme": "https", "host": "a.b", "server_name": "c.d"}, {"scheme": "https", "server_name": "c.d"}),
    ({"scheme": "https", "host": "10.0.0.1", "insecure": "true"}, {"scheme": "https", "insecure": True}),
    ({"host": "books.example.com"}, {}), ({"sticky": "SHELF_2"}, {"sticky": "SHELF_2"}), ({"sticky": ""}, {}),
    ({"settings": {"zone": "slow"}}, {"settings": {"zone": "slow"}}), ({"tls": "false"}, {}),
    ({"tls": "true", "host": "a"}, {"tls": True}), ({"tls": "redirect", "host": "a"}, {"tls": "redirect"})])
def test_options_are_what_differs_from_the_usual(given: dict[str, Any], options: dict[str, Any]) -> None:
    spec = service_spec.parse_spec(convert(**given), "x.yaml", strict=False)
    [route] = spec.routes
    assert route.options == options
    assert json.loads(json.dumps(route.options)) == options


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
def test_no_two_services_and_no_two_routes_of_one_claim_the_same(one: dict[str, Any], other: dict[str, Any],
                                                                 is_clash: bool) -> None:
    routes = [{"path": "/", "host": "", "match": "prefix", "aliases": [], **each} for each in (one, other)]
    owners = {claim.place: claim.owner for claim in claims("one", routes[:1])}
    clashes = [claim for claim in claims("other", routes[1:]) if owners.get(claim.place, claim.owner) != claim.owner]
    assert bool(clashes) is is_clash and {each.key for each in clashes} <= {"route"}
    assert explain_own_clash(routes).startswith("route[1] is ") is is_clash
    assert explain_own_clash(routes[:1]) == explain_own_clash([]) == ""


ROUTES = st.lists(st.builds(
    lambda path, host, match, aliases: {"path": path, "host": host, "match": match,
                                        "aliases": aliases if host else []},
    st.sampled_from(["/", "/a", "/a/", "/a/b"]), st.sampled_from(["", "a.b", "c.d"]), st.sampled_from(MATCHES),
    st.lists(st.sampled_from(["a.b", "c.d", "*.d"]), max_size=2)), min_size=1, max_size=5)


@given(ROUTES)
def test_of_routes_that_are_taken_nginx_has_each_location_and_each_name_once(routes: list[dict[str, Any]]) -> None:
    places = [(each["host"], place) for each in routes for place in locations(each["path"], each["match"])]
    hosts: dict[str, set[str]] = {}
    for each in routes:
        hosts.setdefault(each["host"], set()).update({each["host"], *each["aliases"]} - {""})
    names = [name for each in hosts.values() for name in each]
    is_sound = len({*places}) == len(places) and len({*names}) == len(names)
    try:
        spec = service_spec.parse_spec({"name": "books", "engine": "none", "route": routes}, "")
    except errors.Refused:
        assert not is_sound
    else:
        assert is_sound and [each.path for each in spec.routes] == [each["path"] for each in routes]
