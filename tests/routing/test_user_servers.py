"""What the user's own configuration answers, from its text alone."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lictor.adapters import docker
from lictor.routing import conf_parser, user_servers
from lictor.spec.settings import Nginx

OWN = "server { listen 80; listen [::]:80; server_name books.example.com *.example.net; }"


@pytest.fixture
def nginx(tmp_path: Path) -> Nginx:
    for each in ("lictor/servers", "sites"):
        os.makedirs(tmp_path / each)
    return Nginx(conf_dir=str(tmp_path / "lictor"), main_conf=str(tmp_path / "nginx.conf"))


def write(nginx: Nginx, http: str) -> None:
    Path(nginx.main_conf).write_text(f"events {{}}\nstream {{ server {{ listen 25; }} }}\nhttp {{\n{http}\n}}\n")


@pytest.mark.parametrize(("text", "listener"), [
    ("80", ("", 80)), ("*:8080", ("", 8080)), ("0.0.0.0:80", ("", 80)), ("127.0.0.1:81", ("127.0.0.1", 81)),
    ("10.0.0.1", ("10.0.0.1", 80)), ("localhost:82", ("127.0.0.1", 82)), ("[::]:80", ("::", 80)),
    ("[::]:80 ipv6only=on", ("::", 80)),
    ("[::1]", ("::1", 80)), ("[fd00::1]:443 ssl", ("fd00::1", 443)), ("80 default_server", ("", 80))])
def test_where_a_server_listens(nginx: Nginx, text: str, listener: tuple[str, int]) -> None:
    write(nginx, f"server {{ listen {text}; listen unix:/run/x.sock; }}")
    assert user_servers.listeners(nginx) == {listener}


def test_listeners_are_those_of_all_files_and_of_lictors_own_servers(nginx: Nginx, tmp_path: Path) -> None:
    (tmp_path / "sites" / "a").write_text("# listen 1;\nserver { include port; }\n")
    (tmp_path / "port").write_text('listen "8001";')
    (tmp_path / "lictor" / "servers" / "x.conf").write_text("server { listen 8002; }")
    (tmp_path / "lictor" / "servers" / "y.conf").write_text("} nonsense")
    (tmp_path / "lictor" / "lictor.conf").write_text("server { listen unix:/x; }")
    write(nginx, f"include sites/*; include {nginx.conf_dir}/lictor.conf; server {{ server_name a; }}")
    assert user_servers.listeners(nginx) == {("", 8001), ("", 8002), ("", 80)}


@pytest.mark.parametrize(("ports", "found"), [
    ({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}], "443/tcp": None},
     {("", 8080), ("::", 8080)}),
    ({"80/tcp": [{"HostIp": "10.0.0.1", "HostPort": "81"}]}, {("10.0.0.1", 81)}), (None, set()), ({}, set())])
def test_the_ports_at_which_a_container_is_reached(nginx: Nginx, monkeypatch: pytest.MonkeyPatch, ports: Any,
                                                   found: set[tuple[str, int]]) -> None:
    class Engine(NamedTuple):
        def inspect(self, name: str) -> dict[str, Any] | None:
            return {"NetworkSettings": {"Ports": ports}} if name == "proxy" else None

    monkeypatch.setattr(docker, "connect", Engine)
    assert user_servers.listeners(nginx._replace(container="proxy")) == found
    assert user_servers.listeners(nginx._replace(container="gone")) == set()


@pytest.mark.parametrize("http", ["include sites/loop;", "} {", "server {", "include sites/large;"])
def test_what_cannot_be_read_says_nothing(nginx: Nginx, tmp_path: Path, http: str) -> None:
    (tmp_path / "sites" / "loop").write_text("include sites/loop;")
    (tmp_path / "sites" / "large").write_text("#" * 2_000_000)
    write(nginx, http)
    assert user_servers.read(nginx) == []
    os.remove(nginx.main_conf)
    assert user_servers.read(nginx) == []


@pytest.mark.parametrize(("server", "place"), [
    ("server { server_name books.example.com; }", 1),
    ("\n\nserver {\n listen 80;\nserver_name a books.example.com; }", 3),
    ("server { listen *:80; server_name *.example.net; }", 1),
    ("server { listen [::]:80; server_name *.example.net; }", 1),
    ("server { server_name Books.Example.COM; }", 1), ("server { server_name .example.net; }", 1),
    ("server { server_name .books.example.com; }", 1),
    ("server { listen 10.0.0.9:80; server_name books.example.com; }", 1),
    ("server { listen [fd00::9]:80; server_name books.example.com; }", 1),
    ("server { listen [::]:80 ipv6only=off; server_name books.example.com; }", 1),
    ("server { listen 10.0.0.9:81; server_name books.example.com; }", 0),
    ("server { listen [::1]:80; server_name books.example.com; }", 0), ("server { server_name .example.com; }", 0),
    ("server { server_name ~^books; }", 0),
    ("server { listen 443; server_name books.example.com; }", 0), ("server { listen 127.0.0.1:80; server_name a; }", 0),
    ("server { listen 127.0.0.1:80; server_name books.example.com; }", 0), ("server { server_name *.example.com; }", 0),
    ("server { server_name a.example.net; }", 0), ("# server { server_name books.example.com; }", 0),
    ('set $x "server { server_name books.example.com; }";', 0),
    ("init_by_lua_block { if x then y = {'server { server_name books.example.com; }'} end }", 0),
])
def test_a_host_that_a_server_of_the_users_has(nginx: Nginx, tmp_path: Path, server: str, place: int) -> None:
    (tmp_path / "sites" / "shop").write_text(server)
    write(nginx, "include sites/*;")
    route = {"host": "books.example.com", "path": "/", "match": "prefix"}
    why = user_servers.explain_clash(user_servers.read(nginx), route, user_servers.of_text(OWN))
    assert (f"is answered by the server in {tmp_path}/sites/shop:{place}" in why) if place else not why


@pytest.mark.parametrize(("listen", "is_clash"), [
    ("80 default_server", True), ("[::]:80 default_server", True), ("80", False), ("8080 default_server", False)])
def test_hosts_that_no_server_has_are_those_of_the_users_default_server(nginx: Nginx, listen: str,
                                                                        is_clash: bool) -> None:
    write(nginx, f"server {{ listen {listen}; server_name a; }}")
    own = user_servers.of_text("server { listen 80 default_server; listen [::]:80 default_server; server_name _; }")
    why = user_servers.explain_clash(user_servers.read(nginx), {"host": "_", "path": "/", "match": "prefix"}, own)
    assert ("host _ is answered by the default_server in " in why) is is_clash


@pytest.mark.parametrize(("location", "route", "is_clash"), [
    ("/books", {}, True), ("^~ /books", {}, True), ("/book", {}, False), ("/", {}, False), ("/books/1", {}, False),
    ("= /books", {}, False), ("/books/", {}, False),  # these two nginx itself refuses
    ("~ ^/books", {}, True), ("~ ^/", {}, True), ("~* ^/BOOKS/", {}, True), ("~ ^/BOOKS", {}, False),
    (r"~ \.php$", {}, False), ("~ ^/books$", {}, False), ("~ ^/other", {}, False), ("@books", {}, False),
    ("~ ^/(?<rest>books.*)$", {}, True), ("~ ^(?<!x)/(?<a>b)(?<b>ooks)", {}, True),
    ("~ ^/books", {"match": "exact"}, False), ("/books", {"match": "exact"}, False), ("~ (", {}, False),
    ("/", {"path": "/"}, False), ("~ .", {"path": "/"}, True), ("~ ^/books", {"host": "a.example.com"}, False),
])
def test_a_path_that_a_location_of_the_users_has(nginx: Nginx, location: str, route: dict[str, Any],
                                                 is_clash: bool) -> None:
    write(nginx, f"server {{ location '/books' {{ }} }}\n"
                 f"server {{\nlocation {location} {{ return 204; }} include {nginx.conf_dir}/locations/*.conf; }}")
    given = {"host": "", "path": "/books", "match": "prefix", **route}
    why = user_servers.explain_clash(user_servers.read(nginx), given, [])
    assert (f"in {nginx.main_conf}:6" in why) is is_clash, why


HTTPS = "server { listen 443; INCLUDE }"


@pytest.mark.parametrize(("servers", "is_clash"), [
    ("server { return 301 https://$host$request_uri; INCLUDE }", True), ("server { INCLUDE return 404; }", True),
    ("server { rewrite ^ https://a$request_uri permanent; INCLUDE }", True),
    ("server { rewrite ^/(.*)$ /other/$1 redirect; INCLUDE }", True),
    ("server { rewrite ^(.*) $scheme://a$1; INCLUDE }", True),
    ("server { rewrite ^/books https://a; INCLUDE }", True), ("server { rewrite ^/old https://a; INCLUDE }", False),
    ("server { rewrite ^ /index.php; INCLUDE }", False), ("server { rewrite ^/books$ /x permanent; INCLUDE }", False),
    ("server { location / { return 404; } INCLUDE }", False), ("server { if ($x) { return 403; } INCLUDE }", False),
    ("server { return 301 https://$host$request_uri; INCLUDE } " + HTTPS, False),
    ("server { return 301 https://$host$request_uri; } " + HTTPS, False), ("server { return 404; }", False),
])
def test_a_path_before_which_a_server_of_the_users_answers(nginx: Nginx, servers: str, is_clash: bool) -> None:
    write(nginx, servers.replace("INCLUDE", f"include {nginx.conf_dir}/locations/*.conf;"))
    given = {"host": "", "path": "/books", "match": "prefix"}
    why = user_servers.explain_clash(user_servers.read(nginx), given, [])
    assert why.startswith("path /books is answered by re") is is_clash, why
    assert user_servers.explain_clash(user_servers.read(nginx), {**given, "host": "a.example.com"}, []) == ""


@pytest.mark.parametrize("text", ["a", "a {", "}", "a }", "a { b }", '"', "a ${b;"])
def test_text_that_is_no_configuration(text: str) -> None:
    with pytest.raises(ValueError, match="stray|within|cannot be read"):
        conf_parser.directives(text)
