"""What the user's own configuration answers, from its text alone."""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lictor import errors
from lictor.adapters import docker
from lictor.cli.setup import nginx_tests
from lictor.routing import user_servers
from lictor.routing.conf import parser
from lictor.routing.templates import Templates
from lictor.routing.tls.build import Build
from lictor.routing.tls.hosts import Tls
from lictor.spec.settings import Nginx, Settings

OWN = "server { listen 80; listen [::]:80; server_name books.example.com *.example.net; }"


@pytest.fixture
def nginx(tmp_path: Path) -> Nginx:
    for each in ("lictor/servers", "sites"):
        os.makedirs(tmp_path / each)
    return Nginx(conf_dir=str(tmp_path / "lictor"), main_conf=str(tmp_path / "nginx.conf"))


def write(nginx: Nginx, http: str) -> None:
    Path(nginx.main_conf).write_text(f"events {{}}\nstream {{ server {{ listen 25; }} }}\nhttp {{\n{http}\n}}\n")


def listeners(nginx: Nginx) -> set[user_servers.Listener]:
    return user_servers.listeners(nginx, user_servers.read(nginx).servers)


@pytest.mark.parametrize(("text", "listener"), [
    ("80", ("", 80)), ("*:8080", ("", 8080)), ("0.0.0.0:80", ("", 80)), ("127.0.0.1:81", ("127.0.0.1", 81)),
    ("10.0.0.1", ("10.0.0.1", 80)), ("localhost:82", ("127.0.0.1", 82)), ("[::]:80", ("::", 80)),
    ("[::]:80 ipv6only=on", ("::", 80)),
    ("[::1]", ("::1", 80)), ("[fd00::1]:443 ssl", ("fd00::1", 443)), ("80 default_server", ("", 80)),
    ("*", ("", 80)), ("0:8003", ("", 8003)), ("127.1:8004", ("127.0.0.1", 8004)),
    ("2130706433:8005", ("127.0.0.1", 8005)), ("0x7f.1:8006", ("127.0.0.1", 8006)), ("08007", ("", 8007)),
    ("[0:0::1]:8008", ("::1", 8008)), ("[::0]:8009", ("::", 8009)), ("[FD00::1]:443", ("fd00::1", 443)),
    ("'8010'", ("", 8010)), ("8011-8011", ("", 8011))])
def test_where_a_server_listens(nginx: Nginx, text: str, listener: tuple[str, int]) -> None:
    write(nginx, f"server {{ listen {text}; listen unix:/run/x.sock; }}")
    assert listeners(nginx) == {listener}


def test_listeners_are_those_of_all_files_and_of_lictors_own_servers(nginx: Nginx, tmp_path: Path) -> None:
    (tmp_path / "sites" / "a").write_text("# listen 1;\nserver { include port; }\n")
    (tmp_path / "port").write_text('listen "8001";')
    (tmp_path / "lictor" / "servers" / "x.conf").write_text("server { listen 8002; }")
    (tmp_path / "lictor" / "servers" / "y.conf").write_text("} nonsense")
    (tmp_path / "lictor" / "lictor.conf").write_text("server { listen unix:/x; }")
    write(nginx, f"include sites/*; include {nginx.conf_dir}/lictor.conf; server {{ server_name a; }}")
    assert listeners(nginx) == {("", 8001), ("", 8002), ("", 80)}


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
    assert listeners(nginx._replace(container="proxy")) == found
    assert listeners(nginx._replace(container="gone")) == set()


@pytest.mark.parametrize(("text", "found"), [
    ("8000-8010", {("", port) for port in range(8000, 8011)}), ("*:8000-8001 reuseport", {("", 8000), ("", 8001)}),
    ("127.0.0.1:8000-8001 default", {("127.0.0.1", 8000), ("127.0.0.1", 8001)}),
    ("[::1]:8000-8001", {("::1", 8000), ("::1", 8001)}),
    ("[::]:8000-8001 ipv6only=off", {("::", 8000), ("::", 8001), ("", 8000), ("", 8001)}),
    ("localhost:8000-8001", {("127.0.0.1", 8000), ("127.0.0.1", 8001)})])
def test_a_server_listens_at_each_port_of_a_range_as_nginx_does(nginx: Nginx, text: str,
                                                               found: set[user_servers.Listener]) -> None:
    write(nginx, f"server {{ listen {text}; }}")
    Path(nginx.main_conf).write_text(Path(nginx.main_conf).read_text().replace("stream { server { listen 25; } }", ""))
    subprocess.run(["nginx", "-t", "-q", "-e", "stderr", "-g", f"pid {nginx.conf_dir}/pid;", "-c", nginx.main_conf],
                   check=True, timeout=30)
    assert listeners(nginx) == found


@pytest.mark.parametrize("text", ["unix:/run/x.sock", "8010-8000", "0", "70000", "99999-100002", "8000-",
                                  "-8000", "$port", ":80", "::1:80", "[80", "80-90-100"])
def test_what_is_no_port_that_nginx_listens_at(nginx: Nginx, text: str) -> None:
    write(nginx, f"server {{ listen '{text}'; }}")
    assert listeners(nginx) == set()


def test_includes_that_match_nothing_nest_or_take_in_lictors_own_are_read_as_nginx_reads_them(
        nginx: Nginx, tmp_path: Path) -> None:
    (tmp_path / "sites" / "a").write_text("include sites/none*; include sites/b;")
    (tmp_path / "sites" / "b").write_text("server { listen 8001; include ./sites/../sites/c; }")
    (tmp_path / "sites" / "c").write_text(f"location = /x {{ }} include {tmp_path}/./lictor/locations/*.conf;")
    (tmp_path / "lictor" / "lictor.conf").write_text("server { listen 8002; server_name books.example.com; }")
    write(nginx, "include sites/a; include */lictor.conf; include none/*.conf;")
    [server], unread = user_servers.read(nginx)
    assert unread == [] and server.has_lictors
    assert [each.words for each in server.locations] == [["location", "=", "/x"]]
    assert server.place == f"{tmp_path}/sites/b:1"


@pytest.mark.parametrize(("http", "said"), [
    ("include sites/loop;", "sites/loop: it includes itself, by {}/sites/loop"),
    ("include sites/long;", "sites/loop: it includes itself, by {}/sites/loop"),
    ("include sites/broken;", "sites/broken: stray }} in line 2"),
    ("include sites/large;", "sites/large: there are more than 1000 files, or it has more than 1000000 bytes"),
    ("include sites/many;", "sites/a: there are more than 1000 files, or it has more than 1000000 bytes"),
    ("include sites/gone;", "sites/gone: No such file or directory"), ("include sites;", "sites: Is a directory"),
    ("include sites/deep;", "sites/deep: maximum recursion depth exceeded")])
def test_what_cannot_be_read_is_told_and_hides_no_other_server(nginx: Nginx, tmp_path: Path, http: str,
                                                              said: str) -> None:
    for name, text in {"loop": "include sites/loop;", "long": "include sites/loop;", "large": "#" * 2_000_000, "a": "",
                       "broken": "server {\n} }", "many": "include sites/a;" * 1100, "deep": "a {" * 5000 + "}" * 5000,
                       "good": "# caf\udce9\nserver { listen 8001; }"}.items():
        (tmp_path / "sites" / name).write_text(text, errors="surrogateescape")
    write(nginx, f"include sites/good; {http} server {{ listen 8002; {http} }}")
    servers, unread = user_servers.read(nginx)
    assert [each.listeners for each in servers] == [{("", 8001)}, {("", 8002)}]
    [text] = unread
    assert text.startswith(f"unread: {tmp_path}/{said.format(tmp_path)}"), text
    assert text.endswith(". No host and no path of it is compared with those of routes")


@pytest.mark.parametrize("text", ["http {\n} {", "http { server {", None])
def test_a_configuration_that_cannot_be_read_at_all_is_told(nginx: Nginx, text: str | None) -> None:
    if text:
        Path(nginx.main_conf).write_text(text)
    servers, [said] = user_servers.read(nginx)
    assert servers == []
    assert said.startswith(f"unread: {nginx.main_conf}: ")
    assert text or user_servers.read(nginx._replace(container="proxy")) == ([], [])  # it is in the container


@pytest.mark.daemons  # as it needs root
def test_what_the_agents_user_may_not_read_is_told() -> None:
    with tempfile.TemporaryDirectory() as folder:  # which others may enter, unlike those of pytest
        os.chmod(folder, 0o755)
        for name, mode in (("open", 0o755), ("closed", 0o700)):
            os.mkdir(f"{folder}/{name}")
            Path(f"{folder}/{name}/site").write_text("server { listen 8001; }")
            os.chmod(f"{folder}/{name}", mode)
        Path(f"{folder}/secret").write_text("server { listen 8002; }")
        os.chmod(f"{folder}/secret", 0o600)
        nginx = Nginx(conf_dir=f"{folder}/lictor", main_conf=f"{folder}/nginx.conf")
        Path(nginx.main_conf).write_text("http { include open/*; include closed/*; include secret; include none/*; }")
        as_root = user_servers.read(nginx)
        os.seteuid(65534)
        try:
            servers, unread = user_servers.read(nginx)
        finally:
            os.seteuid(0)
    assert len(as_root.servers) == 3 and as_root.unread == [] and [each.listeners for each in servers] == [{("", 8001)}]
    assert [each.split(". ")[0] for each in unread] == [
        f"unread: {folder}/{name}: Permission denied" for name in ("closed", "secret")]


@pytest.mark.parametrize("lua", ['ngx.say("}")', "-- }\n", "--[[ } ]]", "--[==[ }\n ]==]", "x = [[ } ]]", "x = '\\'}'",
                                 "if x then y = {'{'} end", "x = [=[ } ]] ]=] -- {\n"])
def test_braces_in_a_text_or_comment_of_lua_are_none(nginx: Nginx, lua: str) -> None:
    write(nginx, f"init_by_lua_block {{ {lua} }}\nserver {{ listen 8001; }}")
    [server], unread = user_servers.read(nginx)
    assert server.listeners == {("", 8001)} and unread == [] and server.place.endswith(f":{5 + lua.count(chr(10))}")


@pytest.mark.parametrize(("server", "place"), [
    ("server { server_name books.example.com; }", 1),
    ("\n\nserver {\n listen 80;\nserver_name a books.example.com; }", 3),
    ("server { listen *:80; server_name *.example.net; }", 1),
    ("server { listen [::]:80; server_name *.example.net; }", 1),
    ("server { server_name Books.Example.COM; }", 1), ("server { server_name .example.net; }", 1),
    ("server { server_name .books.example.com; }", 1), ("server { listen 79-81; server_name books.example.com; }", 1),
    ("server { listen 81-99; server_name books.example.com; }", 0),
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
    why = user_servers.explain_clash(user_servers.read(nginx).servers, route, user_servers.of_text(OWN))
    assert (f"is answered by the server in {tmp_path}/sites/shop:{place}" in why) if place else not why


@pytest.mark.parametrize(("listen", "is_clash"), [
    ("80 default_server", True), ("80 default", True), ("70-80 default_server", True),
    ("[::]:80 default_server", True), ("80", False), ("8080 default_server", False)])
def test_hosts_that_no_server_has_are_those_of_the_users_default_server(nginx: Nginx, listen: str,
                                                                        is_clash: bool) -> None:
    write(nginx, f"server {{ listen {listen}; server_name a; }}")
    own = user_servers.of_text("server { listen 80 default_server; listen [::]:80 default_server; server_name _; }")
    route = {"host": "_", "path": "/", "match": "prefix"}
    why = user_servers.explain_clash(user_servers.read(nginx).servers, route, own)
    assert ("host _ is answered by the default_server in " in why) is is_clash


@pytest.mark.parametrize(("server", "is_clash"), [
    ("listen 443 ssl; server_name books.example.com;", True), ("listen 443 ssl default_server; server_name a;", False),
    ("listen 10.0.0.9:443 ssl; server_name books.example.com;", True), ("listen 443 ssl; server_name a;", False),
    ("listen [::]:443 ssl http2; server_name books.example.com;", True),
    ("listen 8443 ssl; server_name books.example.com;", False)])
def test_a_host_with_tls_that_a_server_of_the_users_has(nginx: Nginx, server: str, is_clash: bool) -> None:
    write(nginx, f"server {{ {server} }}")
    tls = Tls("/c", "/k", True, Build("listen", True))
    own = user_servers.of_text(Templates(ipv6=True).server("books.example.com", [], "/d", tls))
    route = {"host": "books.example.com", "path": "/", "match": "prefix"}
    why = user_servers.explain_clash(user_servers.read(nginx).servers, route, own)
    assert ("host books.example.com is answered by the server in " in why) is is_clash, why


def test_a_first_host_listens_for_tls_too_if_it_asks_for_it(tmp_path: Path) -> None:
    settings = Settings(path=f"{tmp_path}/lictor.toml")
    assert user_servers.listeners_to_come(settings, tls=False) == {("", 80), ("::", 80)}
    assert user_servers.listeners_to_come(settings, tls=True) == {
        (address, port) for address in ("", "::") for port in (80, 443)}


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
    why = user_servers.explain_clash(user_servers.read(nginx).servers, given, [])
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
    why = user_servers.explain_clash(user_servers.read(nginx).servers, given, [])
    assert why.startswith("path /books is answered by re") is is_clash, why
    assert user_servers.explain_clash(user_servers.read(nginx).servers, {**given, "host": "a.example.com"}, []) == ""


@pytest.mark.parametrize(("servers", "asks"), [
    ("server { include OWN/locations/*.conf; }", True), ("server { include OWN/loc*/books.conf; }", True),
    ("server { location / { include OWN/locations/*.conf; } }", True), ("server { include sites/inner; }", True),
    ("server { location /x { proxy_pass http://lictor_books; } }", True), ("server { listen 81; }", False),
    ("server { listen 81; } server { if ($x) { set $y 1; } include lictor/locations/*.conf; }", True),
    ("server { include OWN/lictor.conf; }", False), ("# server { include OWN/locations/*.conf; }", False),
])
def test_a_location_without_a_host_is_asked_by_who_includes_it(nginx: Nginx, tmp_path: Path, servers: str,
                                                               asks: bool) -> None:
    (tmp_path / "sites" / "inner").write_text(f"include {nginx.conf_dir}/locations/*.conf;")
    write(nginx, servers.replace("OWN", nginx.conf_dir))
    found = user_servers.read(nginx)
    assert not found.unread and any(each.asks_lictors for each in found.servers) is asks
    refused = found.servers and not asks
    with pytest.raises(errors.Refused, match="nobody is asked for books") if refused else contextlib.nullcontext():
        nginx_tests._servers(nginx, ["books"])
    nginx_tests._servers(nginx, [])


@pytest.mark.parametrize("text", ["a", "a {", "}", "a }", "a { b }", '"', "a ${b;"])
def test_text_that_is_no_configuration(text: str) -> None:
    with pytest.raises(ValueError, match="stray|within|cannot be read"):
        parser.directives(text)
