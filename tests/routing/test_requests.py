"""What nginx makes of a client's request before a service gets it; a real nginx with lictor's own templates."""

import http.client
import json
import os
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import files
from lictor.events import script
from lictor.routing import nginx as lictor_nginx
from lictor.routing import peers, publish, route_store, templates
from lictor.spec.settings import Nginx as NginxSettings
from lictor.spec.settings import Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from support.backend import Backend
from support.modes import in_both_modes
from support.paths import text_of
from support.routed import with_nginx


class Echo(Backend):
    """Answers with the headers that it got."""

    protocol = "HTTP/1.1"

    def make_body(self, headers: Message) -> bytes:
        return json.dumps({key.lower(): value for key, value in headers.items()}).encode()


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a service that answers with the headers that it got."""
    with Echo("echo") as server:
        yield server.port


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str) -> Settings:
    for folder in script.FOLDERS:
        os.makedirs(tmp_path / "state" / folder)
    files.write_atomic(nginx.main_conf, text_of(nginx.main_conf).replace("http {", f"http {{ root {nginx.folder};"))
    lictor_nginx.prepare(nginx.conf_dir, templates.Templates(live=mode == "live"))
    nginx.start()
    return Settings(state_dir=str(tmp_path / "state"), nginx=NginxSettings(
        mode=mode, conf_dir=nginx.conf_dir, main_conf=nginx.main_conf, pid_file=nginx.pid_file))


def put(settings: Settings, name: str, port: int, **route: Any) -> None:
    route_store.write_route(settings.state_dir, name, {
        "name": name, "service": name, "path": "/", "host": "", "traffic": "healthy", "node": "node-1",
        "empty_ok": False, "removed": False, **route})
    if not route_store.published(settings.state_dir, name):
        route_store.write_published(settings.state_dir, name, peers.PublishedRoute(
            (peers.Peer("127.0.0.1", port),), (("node-1", name),)))


def ask(address: str, port: int, path: str = "/", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address, port, timeout=60)
    connection.request("GET", path, headers={key.replace("_", "-"): value for key, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, json.loads(body) if answer.status == 200 else answer.headers.get("Location")


@in_both_modes
def test_a_path_is_itself_and_what_is_below_it(settings: Settings, nginx: Nginx, echo: int) -> None:
    put(settings, "books", echo, path="/api/v1/books")
    put(settings, "one", echo, path="/exact", match="exact")
    put(settings, "dir", echo, path="/dir/")
    assert publish.publish(settings) == ["books", "dir", "one"]
    for path, status in {
            "/api/v1/books": 200, "/api/v1/books/": 200, "/api/v1/books/1": 200, "/api/v1/books?x=1": 200,
            "/api/v1/bookshelf": 404, "/api/v1/books.json": 404, "/api/v1/books1/2": 404, "/api/v1": 404,
            "/exact": 200, "/exact?x": 200, "/exact/": 404, "/exact/1": 404, "/exactly": 404,
            "/dir/": 200, "/dir/x": 200, "/dir": 301, "/dirx": 404}.items():
        assert ask("127.0.0.1", nginx.port, path)[0] == status, path
    put(settings, "books", echo, path="/api/v1/books", match="exact")
    assert publish.publish(settings, ["books"]) == ["books"]
    assert [ask("127.0.0.1", nginx.port, f"/api/v1/books{more}")[0] for more in ("", "/1")] == [200, 404]


SAID = {"X_Forwarded_For": "6.6.6.6", "X_Forwarded_Proto": "https", "X_Forwarded_Host": "bank.example",
        "X_Forwarded_Port": "443", "X_Forwarded_Prefix": "/x", "X_Forwarded_Ssl": "on", "X_Forwarded_Server": "s",
        "X_Forwarded_Scheme": "https", "Forwarded": "for=6.6.6.6", "X_Forwarded_Protocol": "https",
        "Front_End_Https": "on", "X_Original_URL": "/admin", "X_Original_Host": "bank.example",
        "X_Rewrite_URL": "/admin", "Proxy": "http://6.6.6.6", "X_Real_IP": "6.6.6.6"}


@in_both_modes
def test_only_a_trusted_proxy_is_believed_what_it_says_of_a_request(settings: Settings, nginx: Nginx,
                                                                    echo: int) -> None:
    put(settings, "books", echo, path="/books")
    assert publish.publish(settings) == ["books"]
    _, got = ask("127.0.0.1", nginx.port, "/books", Host="books.example.com:8080", **SAID)
    names = ("x-", "forwarded", "front", "proxy", "host")
    assert {key: value for key, value in got.items() if key.startswith(names)} == {
        "host": "books.example.com:8080", "x-real-ip": "127.0.0.1", "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": "http"}
    trusting = with_nginx(settings, trusted_proxies=("127.0.0.0/8",))
    assert publish.publish(trusting, ["books"]) == ["books"]  # as the next sweep does
    _, got = ask("127.0.0.1", nginx.port, "/books", **SAID)
    assert (got["x-forwarded-for"], got["x-forwarded-proto"]) == ("6.6.6.6, 127.0.0.1", "https")
    same = {"x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-ssl", "x-forwarded-server",
            "x-forwarded-scheme", "forwarded", "x-forwarded-protocol", "front-end-https", "x-original-url",
            "x-original-host", "x-rewrite-url"}
    assert {key: got.get(key) for key in same} == {
        key: SAID[given] for given in SAID if (key := given.lower().replace("_", "-")) in same}
    assert "proxy" not in got and got["x-real-ip"] == "127.0.0.1"
    assert ask("127.0.0.1", nginx.port, "/books", X_Forwarded_Proto="gopher")[1]["x-forwarded-proto"] == "http"
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=10)
    connection.putrequest("GET", "/books")
    for address in ("6.6.6.6", "7.7.7.7, 8.8.8.8"):
        connection.putheader("X-Forwarded-For", address)
    connection.endheaders()
    assert json.loads(connection.getresponse().read())["x-forwarded-for"] == "6.6.6.6, 7.7.7.7, 8.8.8.8, 127.0.0.1"
    connection.close()
    assert "x-forwarded-host" not in ask("127.0.0.1", nginx.port, "/books")[1]


@in_both_modes
def test_no_proxy_is_trusted_any_more_though_a_service_keeps_its_files_of_before(settings: Settings, nginx: Nginx,
                                                                                 echo: int) -> None:
    for name in ("books", "shelves"):
        put(settings, name, echo, path=f"/{name}")
    assert publish.publish(with_nginx(settings, trusted_proxies=("127.0.0.0/8",))) == ["books", "shelves"]
    put(settings, "books", echo, path="/nginx-is-up", match="exact")  # the user's server has that
    assert publish.publish(settings, ["books", "shelves"]) == ["shelves"]
    for name, proto in (("books", None), ("shelves", "http")):
        status, got = ask("127.0.0.1", nginx.port, f"/{name}", **SAID)
        assert (status, got["x-forwarded-for"], got.get("x-forwarded-proto"), "x-forwarded-host" in got) == (
            200, "127.0.0.1", proto, False)


@in_both_modes
@pytest.mark.parametrize("given", ["", "x", "+", "+" * 9, "+" * 30])
def test_a_request_that_goes_round_in_a_circle_is_ended(settings: Settings, nginx: Nginx, echo: int,
                                                        given: str) -> None:
    """Two services are each other's instances, as on two nodes: what is asked for comes back by the same path."""
    put(settings, "books", echo, path="/books")
    put(settings, "circle", nginx.port, path="/circle")
    assert publish.publish(settings) == ["books", "circle"]
    assert ask("127.0.0.1", nginx.port, "/circle", Lictor_Hops=given)[0] == 508
    log, hops = os.path.join(nginx.folder, "access.log"), max(11 - given.count("+"), 1)
    wait_for(lambda: text_of(log).count("GET /circle ") >= hops, "the outermost is logged last")
    assert text_of(log).count("GET /circle ") == hops
    status, got = ask("127.0.0.1", nginx.port, "/books", Lictor_Hops=given)
    assert (status, got and got["lictor-hops"]) == ((508, None) if len(given) > 9 else (200, f"{given}+"))


@in_both_modes
@pytest.mark.parametrize(("upgrade", "is_passed"), [
    ("websocket", True), ("WebSocket", True), ("h2c", False), ("h2c, websocket", False), ("TLS/1.0", False),
    ("", False)])
def test_an_upgrade_to_anything_but_a_websocket_is_not_passed_on(settings: Settings, nginx: Nginx, echo: int,
                                                                 upgrade: str, is_passed: bool) -> None:
    put(settings, "books", echo, path="/books")
    publish.publish(settings)
    status, got = ask("127.0.0.1", nginx.port, "/books", Upgrade=upgrade, Connection="Upgrade, HTTP2-Settings",
                      HTTP2_Settings="AAMAAABkAARAAAAAAAIAAAAA")
    assert status == 200 and got.get("upgrade") == ("websocket" if is_passed else None)
    assert (got.get("connection") == "upgrade") is is_passed


@in_both_modes
def test_hosts_have_what_was_asked_for_them_and_others_have_nothing(settings: Settings, nginx: Nginx,
                                                                    echo: int) -> None:
    Path(nginx.folder, "index.html").write_text("of the http level's root")
    put(settings, "books", echo, path="/api", host="books.example.com", aliases=["www.example.org", "*.example.net"])
    put(settings, "shelves", echo, path="/shelves", host="books.example.com")
    put(settings, "other", echo, path="/", host="my_app.example.com")
    assert publish.publish(settings) == ["books", "other", "shelves"]

    def status(host: str, path: str = "/api", address: str = "127.0.0.1") -> int:
        return ask(address, 80, path, Host=host)[0]
    for host in ("books.example.com", "www.example.org", "a.example.net", "BOOKS.example.com:80"):
        assert (status(host), status(host, "/shelves"), status(host, "/"), status(host, "/index.html")) == (
            200, 200, 404, 404), host
        assert status(host, address="::1") == 200
    for host in ("unknown.example.com", "example.net", "127.0.0.1", "lictor.invalid"):
        assert (status(host), status(host, "/"), status(host, address="::1")) == (404, 404, 404), host
    put(settings, "any", echo, host="_")
    assert publish.publish(settings) == ["any"]
    assert status("unknown.example.com") == 200 and status("books.example.com", "/") == 404
    for name in ("any", "books", "other", "shelves"):
        put(settings, name, echo, host="books.example.com", removed=True)
    assert publish.publish(settings, ["any", "books", "other", "shelves"]) == ["any", "books", "other", "shelves"]
    assert not [name for name in os.listdir(f"{nginx.conf_dir}/servers") if name.endswith(".conf")]

    def is_closed() -> bool:
        try:
            status("books.example.com")
        except ConnectionRefusedError:
            return True
        return False
    wait_for(is_closed, "the last worker has closed the port, of which it tells nobody")
