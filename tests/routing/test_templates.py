import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.routing import templates as render
from lictor.routing.conf import peer_files
from lictor.routing.peers import Peer
from lictor.spec.settings import Nginx

from support.paths import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "data" / "nginx"
PEERS = [Peer("127.0.0.1", 32768), Peer("10.0.0.7", 8080, 3), Peer("fd00::1", 8080)]
CONF_DIR = "/etc/nginx/lictor"
TEMPLATES = render.Templates(ipv6=True)


@pytest.mark.parametrize(("file_name", "text"), [
    ("lictor.conf", TEMPLATES.text("lictor.conf.j2", conf_dir="/etc/nginx/lictor")),
    ("upstream.conf", TEMPLATES.upstream("books-service", CONF_DIR)),
    ("peers.conf", peer_files.peers("books-service", PEERS)["peers/books-service.conf"]),
    ("peers-empty.conf", peer_files.peers("books-service", [])["peers/books-service.conf"]),
    ("peers.empty", peer_files.peers("books-service", [])["peers/empty/books-service.conf"]),
    ("location.conf", TEMPLATES.location("books-service", "/api/v1/books", "prefix", CONF_DIR)),
    ("server.conf", TEMPLATES.server("books.example.com", ["*.example.org"],
                                     "/etc/nginx/lictor/servers/books.example.com.d")),
    ("default.conf", TEMPLATES.default_server()),
    ("traffic.conf", TEMPLATES.traffic("/etc/nginx/lictor", (("books-service", ("/health", "/")), ("plain", ())))[
        "traffic/http.conf"]),
])
def test_golden_configurations(file_name: str, text: str) -> None:
    assert text == (GOLDEN / file_name).read_text()


@pytest.mark.parametrize("live", [False, True])
def test_few_maps_are_read_at_each_reload(live: bool) -> None:
    """One takes nginx a millisecond, however little it holds; a geo that holds a constant takes next to nothing."""
    text = render.Templates(live=live).text("lictor.conf.j2", conf_dir=CONF_DIR)
    assert text.count("\nmap ") <= 3


HOSTILE = ["x; } server { root /etc; } location /y", "x {", "x }", "x;", "$uri", "../x", "x\n}", "x y", '"x"', "x#",
           "ｘ", "x" * 10_000, "\\", "x\0"]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_is_rendered(text: str) -> None:
    given: Any = text
    attempts: list[Callable[[], object]] = [
        lambda: TEMPLATES.upstream(text, CONF_DIR), lambda: peer_files.peers("books", [Peer(text, 80)]),
        lambda: peer_files.peers("books", [Peer("10.0.0.1", given)]),
        lambda: peer_files.peers("books", [Peer("10.0.0.1", 80, given)]),
        lambda: TEMPLATES.location("books", "/" + text, "exact", CONF_DIR),
        lambda: TEMPLATES.server(text, [], "/d"), lambda: TEMPLATES.server("a", [text], "/d")]
    for attempt in attempts:
        with pytest.raises(errors.Refused):
            attempt()


@pytest.mark.parametrize(("template", "body"), [
    ("upstream.conf.j2", "upstream other { include {{ peers_file }}; }"),
    ("upstream.conf.j2", "upstream lictor_{{ name }} { server 10.0.0.9:80; }"),
    ("upstream.conf.j2", "upstream lictor_{{ name }} { least_conn; }"),
    ("upstream.conf.j2", "upstream lictor_{{ name }} { include {{ peers_file }}; server 10.0.0.9:80; }"),
    ("upstream.conf.j2", "upstream lictor_{{ name }} { include {{ peers_file }}; include /etc/x; }"),
    ("upstream.conf.j2", "upstream lictor_{{ name }} { include {{ peers_file }}; include {{ peers_file }}; }"),
    ("upstream.conf.j2", "upstream lictor_{{ name }} { include {{ peers_file }} x; }"),
    ("upstream.conf.j2", "upstream lictor_{{ name }} { include {{ peers_file }}; } server { root /etc; }"),
    ("upstream.conf.j2", "upstream lictor_{{ name }} { include {{ peers_file }}; } upstream x { server 10.0.0.9:80; }"),
    ("upstream.conf.j2", "upstream lictor_{{ name }} { include {{ peers_file }};"),
    ("upstream.conf.j2", "{% for x in servers %}{% endfor %}"), ("upstream.conf.j2", "{% for x in servers %}"),
    ("upstream.conf.j2", "{{ unknown }}"), ("upstream.conf.j2", ""),
    ("location.conf.j2", "location /other { return 200; }"),
    ("location.conf.j2", "proxy_pass http://lictor_{{ name }};"),
    ("location.conf.j2", "location {{ path }} { return 200; } } server { listen 81;"),
    ("location.conf.j2", "location ~ {{ path }}.* { return 204; }"),
    *(("location.conf.j2", f"location {each} {{ {{{{ 1 // 0 }}}} }}") for each in ("/books", "{{ path }}")),
    ("server.conf.j2", "upstream x { server 10.0.0.1:80; }"),
    ("server.conf.j2", "server { listen 1; server_name {{ host }}; include {{ folder }}/*.conf; }"),
])
def test_a_users_template_that_gives_something_else_is_refused_by_name(template: str, body: str,
                                                                       tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / template).write_text(body)
    templates = render.Templates(str(tmp_path / "templates"))
    with pytest.raises(errors.Refused, match=template):
        {"upstream": lambda: templates.upstream("books", CONF_DIR),
         "location": lambda: templates.location("books", "/books", "prefix", CONF_DIR),
         "server": lambda: templates.server("a.example.com", ["b.example.com"], "/d")}[template.partition(".")[0]]()


@pytest.mark.parametrize("method", ["hash $uri consistent", "ip_hash", "least_conn", "random two", "zone x 64k"])
def test_live_mode_refuses_what_it_would_ignore(method: str, tmp_path: Path) -> None:
    own = tmp_path / "upstream.conf.j2"
    for live, servers in ((False, "include {{ peers_file }};"),
                          (True, 'server 127.0.0.1:9; balancer_by_lua_block { lictor.balance("{{ name }}"); }')):
        own.write_text(f"upstream lictor_{{{{ name }}}} {{ {method}; {servers} keepalive 8; }}")
        templates = render.Templates(str(tmp_path), live=live)
        refusal: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if live:
            refusal = pytest.raises(errors.Refused, match=f"would ignore {method.split()[0]}; leave it out, or")
        with refusal:
            templates.upstream("books", CONF_DIR)


def test_a_users_template_wins_over_ours(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "location.conf.j2").write_text(
        'location {{ path }} { if ($arg_x = "a;}{") { return 403; } proxy_pass http://lictor_{{ name }}; }')
    templates = render.Templates(str(tmp_path / "templates"))
    assert 'if ($arg_x = "a;}{")' in templates.location("books", "/books", "prefix", CONF_DIR)
    assert templates.upstream("books", CONF_DIR) == TEMPLATES.upstream("books", CONF_DIR)


@pytest.mark.parametrize(("template", "block", "text", "replaced"), [
    ("location", "more", "gzip on;", set()), ("upstream", "balancing", "least_conn;", set()),
    ("server", "more", "location = /robots.txt { return 404; }", set()), ("server", "listen", "listen 81;", {"listen"}),
    ("location", "retries", "proxy_next_upstream off;", {"proxy_next_upstream", "proxy_next_upstream_timeout"}),
    ("upstream", "keepalive", "keepalive 8;", {"keepalive", "keepalive_timeout"})])
def test_a_users_template_may_fill_a_block_of_ours_and_nothing_else_is_lost(
        template: str, block: str, text: str, replaced: set[str], tmp_path: Path) -> None:
    def render_with(body: str) -> list[str]:
        (tmp_path / f"{template}.conf.j2").write_text(
            f'{{% extends "shipped/{template}.conf.j2" %}}{{% block {block} %}}\n{body}\n{{% endblock %}}')
        return lines_of(render.Templates(str(tmp_path), ipv6=True))

    def lines_of(templates: render.Templates) -> list[str]:
        made = {"location": lambda: templates.location("books", "/books", "prefix", CONF_DIR),
                "upstream": lambda: templates.upstream("books", CONF_DIR),
                "server": lambda: templates.server("a.example.com", [], "/d")}[template]()
        return [line.strip() for line in made.splitlines() if line.strip()]
    ours, filled = lines_of(TEMPLATES), render_with(text)
    assert render_with("{{ super() }}") == ours and {line for line in filled if line not in ours} == {text}
    assert {line.split()[0] for line in ours if line not in filled} == replaced
    for broken in ("} map $a $b { default 1;", "} upstream x { server 10.0.0.9:80;", "}", "{"):
        with pytest.raises(errors.Refused, match=f"{template}.conf.j2"):
            render_with(broken)


def test_templates_that_are_kept_are_read_again_when_they_change(tmp_path: Path) -> None:
    folder = tmp_path / "templates"

    def said() -> str:
        return kept().text("server.conf.j2", host="x", aliases=[], folder="/y", tls=None)

    def kept() -> render.Templates:
        return render.templates(str(folder), Nginx(), live=False)
    ours = said()
    folder.mkdir()
    os.utime(folder, ns=(1, 1))
    assert said() == ours and kept() is kept()
    own = folder / "server.conf.j2"
    own.write_text("server { listen 1; }")
    assert said().endswith("server { listen 1; }")
    own.write_text("server { listen 2; }")
    os.utime(own, ns=(2, 2))
    assert said().endswith("server { listen 2; }")


@pytest.mark.parametrize(("match", "body", "is_taken"), [
    ("prefix", "location {{ path }} { return 204; }", True),
    ("exact", "location {{ path }} { return 204; }", False),
    ("exact", "location = {{ path }} { return 204; }", True),
    ("prefix", "location ^~ {{ path }}/ { return 204; }", True),
])
def test_a_users_location_may_be_of_the_older_form_unless_it_would_take_more_than_was_asked(
        match: str, body: str, is_taken: bool, tmp_path: Path,
) -> None:
    (tmp_path / "location.conf.j2").write_text(body)
    refusal = contextlib.nullcontext() if is_taken else pytest.raises(errors.Refused, match="is not at = /books")
    with refusal:
        render.Templates(str(tmp_path)).location("books", "/books", match, CONF_DIR)


@pytest.mark.parametrize(("own", "is_there"), [((), True), (("server",), False), (("server", "default"), True)])
def test_a_server_for_other_hosts_stands_beside_lictors_own_servers_only(own: tuple[str, ...], is_there: bool,
                                                                         tmp_path: Path) -> None:
    for each in own:
        (tmp_path / f"{each}.conf.j2").write_text("server { listen 1; }")
    assert bool(render.Templates(str(tmp_path)).default_server()) is is_there


def test_without_ipv6_no_server_listens_on_it() -> None:
    plain = render.Templates(ipv6=False)
    assert "[::]" not in plain.server("a", [], "/d") and "[::]" not in (plain.default_server() or "[::]")
