"""Options of a route in the text of its locations: what a template gives, and what one that is older leaves out."""

from typing import Any

import pytest

from lictor import errors
from lictor.routing.conf import options, parser
from lictor.routing.templates import Templates

CONF_DIR = "/etc/nginx/lictor"
ALL: dict[str, Any] = {
    "strip": True, "timeout": 75.0, "max_body": 0, "allow": ["10.0.0.0/8", "::1/128"], "request_headers": {"X-Env": ""},
    "response_headers": {"Vary": "", "Cache-Control": "no-store"}}

MADE = options.make_variables(ALL)


def location(given: dict[str, Any], *, live: bool = False) -> str:
    return Templates(live=live).location("books", "/books", "prefix", CONF_DIR, None, given)


@pytest.mark.parametrize("live", [True, False])
def test_both_locations_have_what_each_option_asks_for(live: bool) -> None:
    for each in parser.directives(location(ALL, live=live)):
        lines = [" ".join(line.words) for line in each.block or ()]
        for expected in (
                "proxy_pass http://lictor_books/", "proxy_set_header X-Forwarded-Prefix /books",
                "client_max_body_size 0", "allow 10.0.0.0/8", "allow ::1/128", "deny all", "proxy_read_timeout 75000ms",
                "proxy_send_timeout 75000ms", "proxy_set_header X-Env ", "proxy_hide_header Vary",
                "proxy_hide_header Cache-Control", "add_header Cache-Control no-store always"):
            assert lines.count(expected) == 1, expected
        assert not [line for line in lines if line.startswith("add_header Vary")]


def directives(given: dict[str, Any]) -> list[list[str]]:
    (_, *_), other = parser.directives(location(given))
    return [line.words for line in other.block or ()]


SECURE = {"scheme": "https", "server_name": "books.internal"}


def test_how_instances_are_asked() -> None:
    lines = [" ".join(words) for words in directives(SECURE)]
    assert "proxy_pass https://lictor_books" in lines
    for line in ("verify on", "name books.internal", "server_name on", "trusted_certificate /etc/ssl/certs/"
                 "ca-certificates.crt", "protocols TLSv1.2 TLSv1.3"):
        assert f"proxy_ssl_{line}" in lines
    lines = [" ".join(words) for words in directives({"scheme": "https", "insecure": True})]
    assert "proxy_pass https://lictor_books" in lines and not [line for line in lines if "verify" in line]
    grpc = directives({**ALL, "strip": False, "scheme": "grpc"})
    assert ["client_body_timeout", "75000ms"] in grpc  # of a stream
    assert ["grpc_pass", "grpc://lictor_books"] in grpc and not [words for words in grpc if "proxy_" in words[0]]
    plain = directives({**ALL, "strip": False})
    names = {words[0].removeprefix("grpc_") for words in grpc}
    assert {words[0].removeprefix("proxy_") for words in plain} - names == {"http_version"}


@pytest.mark.parametrize(("given", "blocks", "said"), [
    (SECURE, [["proxy_pass", "http://u"]], "route.scheme is given, and the location has no `proxy_ssl_verify on`"),
    (SECURE, [["proxy_pass", "http://u"], ["proxy_ssl_verify", "on"]], "route.server_name is given, and the location "
     "has no `proxy_ssl_name books.internal`"),
    ({"scheme": "https", "insecure": True}, [["proxy_pass", "http://u"]], "the URL of proxy_pass does not begin with "
     "https://"),
    ({"scheme": "grpc"}, [["proxy_pass", "http://u"]], "the URL of grpc_pass does not begin with grpc://"),
    ({"sticky": "SHELF"}, [["proxy_pass", "http://u"], ["add_header", "Set-Cookie", "$lictor_set_cookie"]],
     "route.sticky is given, and the location has no `set .lictor_sticky .cookie_SHELF`"),
    ({"sticky": "SHELF"}, [["proxy_pass", "http://u"], ["set", "$lictor_sticky", "$cookie_SHELF"]],
     "route.sticky is given, and the location has no `add_header Set-Cookie .lictor_set_cookie`"),
    ({"scheme": "grpc", "timeout": 1.0}, [["grpc_pass", "grpc://u"], ["proxy_read_timeout", "1000ms"]],
     "route.timeout is given, and the location has no `grpc_read_timeout 1000ms`")])
def test_a_template_that_asks_otherwise_is_refused(given: dict[str, Any], blocks: list[list[str]], said: str) -> None:
    made = options.make_variables(given)
    options.require_rendered(made, [directives(given)])
    with pytest.raises(errors.Refused, match=said):
        options.require_rendered(made, [blocks])


@pytest.mark.parametrize("live", [True, False])
def test_without_options_a_location_has_no_line_of_theirs(live: bool) -> None:
    text = location({}, live=live)
    for word in ("client_max_body_size", "allow", "deny", "proxy_read_timeout", "proxy_hide_header", "lictor_books/"):
        assert word not in text


LINES = {"strip": ["proxy_pass", "http://u/"], "timeout": ["proxy_read_timeout", "75000ms"],
         "max_body": ["client_max_body_size", "0"], "allow": ["allow", "10.0.0.0/8"],
         "request_headers.X-Env": ["proxy_set_header", "X-Env", '""'],
         "response_headers.Vary": ["proxy_hide_header", "Vary"],
         "response_headers.Cache-Control": ["add_header", "Cache-Control", "no-store"]}
FIXED = [["deny", "all"], ["allow", "::1/128"]]


@pytest.mark.parametrize("option", LINES)
def test_a_template_that_leaves_an_option_out_is_refused(option: str) -> None:
    options.require_rendered(MADE, [[*LINES.values(), *FIXED]])
    others = [*FIXED, *(words for name, words in LINES.items() if name != option)]
    older = [*others, [*LINES[option][:-1], "other"]]  # as a template with a value of its own has it
    for blocks in ([others], [older], [[*LINES.values(), *FIXED], [*others, ["proxy_pass", "http://u"]]]):
        with pytest.raises(errors.Refused, match=rf"templates/location.conf.j2: route.{option} is given, and "):
            options.require_rendered(MADE, blocks)
    options.require_rendered(options.make_variables({}), [others])


def test_a_list_of_clients_that_is_open_at_its_end_is_refused() -> None:
    for line in FIXED:
        others = [words for words in (*LINES.values(), *FIXED) if words != line]
        with pytest.raises(errors.Refused, match="route.allow is given, and the location has no `"):
            options.require_rendered(MADE, [others])


def test_a_location_that_passes_nothing_on_needs_no_option_beside_one_that_does() -> None:
    options.require_rendered(MADE, [[["return", "301", "/books/"]], [*LINES.values(), *FIXED]])
    with pytest.raises(errors.Refused, match="route.timeout is given"):
        options.require_rendered(MADE, [[["return", "301", "/books/"]]])


@pytest.mark.parametrize("given", [
    {"allow": ["all; }"]}, {"request_headers": {"X": "$host"}}, {"response_headers": {"Server": "x"}}, {"allow": 1},
    {"settings": {"a": "b;"}}, {"timeout": "1; }"}, {"max_body": "1; }"}, {"request_headers": ["X"]}, {"allow": [1]},
    {"scheme": "http://x; }"}, {"scheme": "https"}, {"scheme": "https", "server_name": "a;}"}, {"scheme": ["https"]},
    {"scheme": "https", "server_name": ["a"]}, {"server_name": "a.internal"}, {"scheme": "grpc", "strip": True},
    {"sticky": "a; }"}, {"sticky": "a-b"}, {"sticky": ["a"]}, {"sticky": 1}, {"scheme": "grpc", "sticky": "A"},
    {"wait": "1); os.exit("}, {"wait": 0}, {"wait": float("nan")}, {"wait": 61},
    {"timeout": 1e308}, {"timeout": float("inf")}, {"max_body": float("inf")}, {"allow": ["fe80::1%eth0"]},
    {"allow": ["fe80::1%x;allow all;#"]}])
def test_a_damaged_or_hostile_option_reaches_no_configuration(given: dict[str, Any]) -> None:
    with pytest.raises(errors.Refused, match="must not reach a configuration"):
        location(given)
