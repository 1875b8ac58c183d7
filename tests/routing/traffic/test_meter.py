"""What a real nginx counts of a service that is measured, in each of the ways, and what is told of it."""

import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.adapters import files
from lictor.adapters.consul.client import Client as ConsulClient
from lictor.events import script
from lictor.planner.autoscale import traffic
from lictor.routing import live_peers, nginx_socket, peers, publish, route_store, sides, templates
from lictor.routing import nginx as lictor_nginx
from lictor.routing.conf import service_files
from lictor.routing.traffic import access_log, counts, meter, windows
from lictor.spec.settings import Nginx as NginxSettings
from lictor.spec.settings import Settings

from lab.consul import Consul
from lab.daemon import free_ports, wait_for
from lab.nginx import Nginx
from support.paths import text_of
from support.routed import children, nginx_of, reload_by_hand

WAYS = [("reload", "lua"), ("live", "lua"), ("reload", "log"), ("live", "log")]
in_each_way = pytest.mark.parametrize(("mode", "way"), WAYS, ids=["-".join(each) for each in WAYS])
SHARE = 0.25  # of a canary
SLOW_S = 4.0  # which no answer of the instance takes, on a starved machine either
_USERS = """
    error_page 504 =200 /sorry;
    proxy_intercept_errors off;
    location = /sorry { proxy_pass http://127.0.0.1:PORT/books/ok; }
    location = /static { internal; return 200 "static"; }
    UNTOLD
    location = /outside { error_page 500 = /books/ok; proxy_pass http://127.0.0.1:PORT/books/fails;
                          proxy_intercept_errors on; }
    location = /audited { auth_request /books/ok; proxy_pass http://127.0.0.1:PORT/books/ok; }
    location = /"""
_UNTOLD = 'location = /untold { log_by_lua_block { users = true } return 200 "static"; }'


class Peer(ThreadingHTTPServer):
    """Answers by the last part of the path; .../held once it is `free`."""

    daemon_threads, request_queue_size = True, 128

    def __init__(self) -> None:
        peer = self
        self.free, self.asked = threading.Event(), Counter[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                what = self.path.rpartition("/")[2]
                length = 4 << 20 if what == "large" else 2
                peer.asked[what] += 1
                if what == "held":
                    peer.free.wait(120)
                if what == "breaks":
                    return
                self.send_response({"missing": 404, "fails": 500, "socket": 101}.get(what, 200))
                if what in ("accel", "untold"):
                    self.send_header("X-Accel-Redirect", "/static" if what == "accel" else "/untold")
                if what == "socket":
                    self.send_header("Upgrade", "websocket")
                    self.send_header("Connection", "upgrade")
                else:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                if what != "socket":
                    self.wfile.write(b"x" * length if what == "large" else b"ok")

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]


@pytest.fixture
def peer() -> Iterator[Peer]:
    yield from serve_peer()


@pytest.fixture
def tried() -> Iterator[Peer]:
    yield from serve_peer()


def serve_peer() -> Iterator[Peer]:
    made = Peer()
    threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield made
    made.free.set()
    made.shutdown()
    made.server_close()


@pytest.fixture
def read_timeout_s() -> int:
    return 60


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str, way: str, peer: Peer, read_timeout_s: int) -> Settings:
    """nginx is started; books is measured but for its health, plain is not."""
    for folder in script.FOLDERS:
        os.makedirs(tmp_path / "state" / folder)
    lictor_nginx.prepare(nginx.conf_dir, templates.Templates(live=mode == "live"))
    users = _USERS.replace("PORT", f"{peer.port}").replace("UNTOLD", _UNTOLD if way == "lua" else "")
    text = text_of(nginx.main_conf).replace("\n        location = /", users, 1)
    if way == "log" and mode == "live":
        text = text.replace("http {", "http { init_worker_by_lua_block { users = true }")
    elif way == "log":
        text = text.replace("include /etc/nginx/modules-enabled/*.conf;", "")
    files.write_atomic(nginx.main_conf, text.replace(
        "http {", f"http {{ proxy_read_timeout {read_timeout_s}s; client_max_body_size 9;"))
    nginx.start()
    made = Settings(state_dir=str(tmp_path / "state"), nginx=NginxSettings(
        mode=mode, conf_dir=nginx.conf_dir, main_conf=nginx.main_conf, pid_file=nginx.pid_file))
    put(made, "books", peer.port, measure=True, ignore=["/books/health"])
    put(made, "plain", peer.port)
    assert sorted(publish.publish(made)) == ["books", "plain"]
    return made


def put(settings: Settings, name: str, *ports: int, tried: Sequence[int] = (), **route: Any) -> None:
    """Have a service with instances at these ports, and with a canary's at those that are tried."""
    if tried:
        route |= {"canary": {"service": f"{name}-green", "share": SHARE}}
    route_store.write_route(settings.state_dir, name, {
        "name": name, "service": name, "path": f"/{name}", "host": "", "traffic": "healthy", "node": "node-1",
        "empty_ok": False, "removed": False, **route})
    before = route_store.published(settings.state_dir, name) or peers.PublishedRoute((), ())
    route_store.write_published(settings.state_dir, name, before._replace(
        peers=sides.share_out([peers.Peer("127.0.0.1", port) for port in ports],
                              [peers.Peer("127.0.0.1", port) for port in tried], SHARE),
        confirmed=False))


def total(settings: Settings, name: str = "books") -> Counter[str]:
    """Everything counted of a service, whatever its time was, and not how long it took altogether."""
    found = meter.count(nginx_of(settings), settings.state_dir, time.time())
    kinds = Counter[str]()
    for counted in (found.by_name if found else {}).get(name, {}).values():
        for what, number in counted.items():
            kinds[what.rstrip("0123456789")] += number
    del kinds[counts.BUSY]
    return kinds


def wait_total(settings: Settings, **expected: int) -> None:
    wait_for(lambda: total(settings) == expected, f"{expected} is counted")


def leave(nginx: Nginx, path: str, peer: Peer) -> None:
    """Ask, and go away once the instance has the request."""
    what = path.rpartition("/")[2]
    before = peer.asked[what]
    with socket.create_connection(("127.0.0.1", nginx.port)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_for(lambda: peer.asked[what] > before, "the instance has the request")


def be_slow() -> None:
    until = time.monotonic() + SLOW_S
    wait_for(lambda: time.monotonic() > until, "the client is slow")


def refused(nginx: Nginx, path: str) -> None:
    """Ask, and get no answer."""
    with pytest.raises((OSError, http.client.HTTPException)):
        nginx.get(path)


def upgrade(nginx: Nginx, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)
    connection.request("GET", path, headers={"Upgrade": "websocket", "Connection": "upgrade"})
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("read_timeout_s", [5])
@in_each_way
def test_each_kind_of_answer_is_counted_as_what_it_is(settings: Settings, nginx: Nginx, peer: Peer) -> None:
    assert [nginx.get(f"/books/{each}")[0] for each in ("ok", "missing", "fails", "breaks")] == [200, 404, 500, 502]
    wait_total(settings, begun=4, a=2, e=2)
    assert nginx.get("/books/accel") == (200, "static")  # nginx itself goes elsewhere
    assert nginx.get("/outside")[1] == "ok"  # and comes from elsewhere: one more that began, and its own time
    wait_total(settings, begun=6, a=4, e=2)
    leave(nginx, "/books/held", peer)
    wait_total(settings, begun=7, a=4, e=2, l=1)
    assert upgrade(nginx, "/books/socket") == 101
    wait_total(settings, begun=7, a=4, e=2, l=1, w=1)
    assert upgrade(nginx, "/books/ok") == 200  # it did not become a websocket
    wait_total(settings, begun=8, a=5, e=2, l=1, w=1)
    assert nginx.get("/books/held") == (200, "ok")  # the user's error page answers for a 504
    wait_total(settings, begun=9, a=5, e=3, l=1, w=1)
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)
    connection.request("POST", "/books/ok", b"more than nine")
    assert connection.getresponse().status == 413
    assert nginx.get("/books/ok")[0] == 200
    wait_total(settings, begun=10, a=6, e=3, l=1, w=1)  # what nginx itself refused is not there


@in_each_way
def test_without_a_peer_and_behind_one_that_is_gone(settings: Settings, nginx: Nginx, peer: Peer) -> None:
    gone, = free_ports(1)
    put(settings, "books", gone, measure=True, ignore=["/books/health"])
    publish.publish(settings)
    assert nginx.get("/books/ok")[0] == 502
    wait_total(settings, begun=1, u=1)
    put(settings, "books", gone, peer.port, measure=True, ignore=["/books/health"])
    publish.publish(settings)
    assert [nginx.get("/books/ok")[0] for _ in range(8)] == [200] * 8
    wait_for(lambda: total(settings)["a"] == 8, "all are counted")
    assert total(settings)["retries"] >= 1 and total(settings)["u"] == 1
    put(settings, "books", measure=True, ignore=["/books/health"])
    publish.publish(settings)
    assert nginx.get("/books/ok")[0] == 503
    wait_for(lambda: total(settings)["u"] == 2, "it is counted as not answered")


@pytest.mark.parametrize(("mode", "way"), [("live", "lua"), ("live", "log")])
def test_a_request_that_waits_counts_as_what_becomes_of_it(settings: Settings, nginx: Nginx, peer: Peer) -> None:
    gone, = free_ports(1)
    waits: dict[str, Any] = {"measure": True, "ignore": ["/books/health"], "options": {"wait": 0.2}}
    for number, ports in enumerate(((gone,), ()), 1):
        put(settings, "books", *ports, **waits)
        publish.publish(settings)
        assert nginx.get("/books/ok")[0] == 503
        wait_for(lambda: total(settings)["u"] == number, "it is counted as not answered")  # noqa: B023
    waits["options"] = {"wait": 60}
    put(settings, "books", gone, **waits)
    publish.publish(settings)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(nginx.get, "/books/ok")
        wait_for(lambda: live_peers.count_waiting(nginx.conf_dir, "books") == 1, "it waits")
        put(settings, "books", peer.port, **waits)
        publish.publish(settings)
        assert asked.result() == (200, "ok")
    wait_for(lambda: total(settings)["a"] == 1 and total(settings)["u"] == 2, "it is counted as an answer")


@in_each_way
def test_each_side_is_counted_apart_by_whom_a_request_asked_first(settings: Settings, nginx: Nginx, peer: Peer,
                                                                  tried: Peer, way: str) -> None:
    gone, gone_too = free_ports(2)
    measured: dict[str, Any] = {"measure": True, "ignore": ["/books/health"]}
    put(settings, "books", peer.port, tried=[tried.port], **measured)
    assert publish.publish(settings) == ["books"]
    assert [nginx.get("/books/ok")[0] for _ in range(40)] == [200] * 40
    assert [nginx.get("/books/fails")[0] for _ in range(32)] == [500] * 32
    asked = tried.asked["ok"], tried.asked["fails"]
    assert all(asked)
    apart = {"na": asked[0], "ne": asked[1], "ba": 40 - asked[0], "be": 32 - asked[1]}
    wait_total(settings, begun=72, a=40, e=32, **apart)

    for _ in range(10):  # who leaves says nothing of either side
        before = tried.asked["held"] + peer.asked["held"]
        with socket.create_connection(("127.0.0.1", nginx.port)) as client:
            client.sendall(b"GET /books/held HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for(lambda: tried.asked["held"] + peer.asked["held"] > before, "an instance has it")  # noqa: B023
    wait_total(settings, begun=82, a=40, e=32, l=10, **apart)

    put(settings, "books", peer.port, tried=[gone], **measured)
    publish.publish(settings)
    assert [nginx.get("/books/ok")[0] for _ in range(40)] == [200] * 40  # another one answers
    wait_for(lambda: total(settings)["a"] == 80, "all are counted")
    found = total(settings)
    assert found["retries"] >= 1 and found["ne"] == asked[1] + found["retries"] and found["na"] == asked[0]
    assert found["be"] == apart["be"] and found["ba"] == apart["ba"] + 40 - found["retries"]

    put(settings, "books", gone_too, tried=[tried.port], **measured)
    publish.publish(settings)
    before = tried.asked["ok"]
    assert [nginx.get("/books/ok")[0] for _ in range(40)] == [200] * 40
    wait_for(lambda: total(settings)["a"] == 120, "all are counted")
    refused_by_live, found = total(settings)["retries"] - found["retries"], total(settings)
    assert found["na"] == asked[0] + tried.asked["ok"] - before - refused_by_live  # these had asked the live side first
    assert refused_by_live and found["be"] == apart["be"] + refused_by_live  # and erred there, by the same rule

    put(settings, "books", peer.port, **measured)
    publish.publish(settings)
    assert [nginx.get("/books/ok")[0] for _ in range(20)] == [200] * 20
    wait_for(lambda: total(settings)["a"] == 140, "all are counted")
    assert (total(settings)["na"], total(settings)["ne"]) == (found["na"], found["ne"])


MEASURED = peers.Place("reload", (peers.Location("", "/books"),), ())
LIVE, BY_SIDE = MEASURED._replace(mode="live"), MEASURED._replace(by_side=True)


@pytest.mark.parametrize(("places", "tried", "is_by_side"), [
    ((BY_SIDE,), [8002], True), ((LIVE,), [8002], True), ((BY_SIDE,), [], False), ((LIVE,), [], False),
    ((MEASURED,), [8002], False), ((MEASURED, BY_SIDE), [8002], False), ((None,), [8002], False),  # refused, say
    ((LIVE._replace(ignored=None),), [8002], False)])
def test_only_what_nginx_serves_tells_that_sides_are_counted(tmp_path: Path, places: tuple[peers.Place | None, ...],
                                                             tried: list[int], is_by_side: bool) -> None:
    """Else a node that counts none of a canary's errors would look as if there were none."""
    node = Settings(state_dir=str(tmp_path))
    for each in script.FOLDERS:
        (tmp_path / each).mkdir()
    put(node, "books", 8001, tried=tried, measure=True, ignore=[])
    published = route_store.published(node.state_dir, "books")
    assert published
    route_store.write_published(node.state_dir, "books", published._replace(places=places))
    assert meter._is_by_side(node.state_dir, "books") is is_by_side


@in_each_way
def test_ignored_paths_and_other_services_are_not_counted(settings: Settings, nginx: Nginx) -> None:
    for path in ("/books/health", "/books/health/deep", "/books/health?x=1", "/plain/ok", "/nginx-is-up"):
        assert nginx.get(path)[0] == 200
    assert nginx.get("/books/healthy")[0] == 200
    wait_total(settings, begun=1, a=1)
    assert total(settings, "plain") == {}


@in_each_way
def test_once_nothing_is_measured_nothing_is_there_for_it(settings: Settings, nginx: Nginx, peer: Peer,
                                                          way: str) -> None:
    there = {path for path in os.listdir(f"{nginx.conf_dir}/traffic") if path.endswith(".conf")}
    assert there == ({"http.conf", "socket.conf"} if way == "lua" else {"http.conf", "log.conf"})
    put(settings, "books", peer.port)
    assert publish.publish(settings) == ["books"]
    assert not [path for path in os.listdir(f"{nginx.conf_dir}/traffic") if path.endswith(".conf")]
    assert "lictor_measured" not in text_of(f"{nginx.conf_dir}/locations/books.conf")
    assert nginx.get("/books/ok")[0] == 200
    assert nginx_socket.ask(nginx.conf_dir, "GET", "/traffic", timeout_s=2)[0] == 404


@pytest.mark.parametrize(("mode", "way"), WAYS[:2])
def test_requests_in_progress_are_seen_and_a_reload_loses_nothing(settings: Settings, nginx: Nginx, peer: Peer) -> None:
    assert nginx.get("/audited")[1] == "ok"  # a subrequest is none of a client's
    asking = threading.Thread(target=nginx.get, args=["/books/held"])
    asking.start()
    wait_total(settings, begun=1, open=1)
    put(settings, "plain", peer.port, path="/other")
    assert publish.publish(settings) == ["plain"]
    assert nginx.get("/books/ok")[0] == 200
    wait_total(settings, begun=2, a=1, open=1)  # the old worker tells it
    peer.free.set()
    asking.join()
    wait_total(settings, begun=2, a=2)


@pytest.mark.parametrize(("mode", "way"), WAYS[:2])
def test_what_was_in_progress_in_a_worker_that_dies_is_so_no_more(settings: Settings, nginx: Nginx, peer: Peer) -> None:
    asking = [threading.Thread(target=refused, args=[nginx, "/books/held"]) for _ in range(6)]
    for each in asking:
        each.start()
    wait_total(settings, begun=6, open=6)
    for pid in children(nginx):
        with contextlib.suppress(ProcessLookupError):  # one from before the publication may just end
            os.kill(pid, signal.SIGKILL)
    for each in asking:
        each.join()
    wait_total(settings, begun=6)
    wait_for(nginx.is_up, "nginx has new workers")
    assert nginx.get("/books/ok")[0] == 200
    wait_total(settings, begun=7, a=1)


@pytest.mark.parametrize(("mode", "way"), WAYS[:2])
def test_counting_begins_anew_with_nginx(settings: Settings, nginx: Nginx, peer: Peer) -> None:
    assert nginx.get("/books/ok")[0] == 200
    wait_total(settings, begun=1, a=1)
    began = time.time()
    nginx.stop()
    nginx.start()
    found = meter.count(nginx_of(settings), settings.state_dir, time.time())
    assert found and began <= found.since <= found.until and found.by_name == {}
    assert nginx.get("/books/ok")[0] == 200
    wait_total(settings, begun=1, a=1)


@pytest.mark.parametrize(("mode", "way"), WAYS[:2])
def test_a_request_that_ends_untold_does_not_stay_in_progress(settings: Settings, nginx: Nginx, peer: Peer) -> None:
    """The user's own log_by_lua takes the place of lictor's. nginx uses the memory of such a request again."""
    for _ in range(50):
        assert nginx.get("/books/untold")[0] == 200
    wait_for(lambda: total(settings)["begun"] == 50, "all are counted")
    assert total(settings)["open"] < 10
    assert [nginx.get("/books/ok")[0] for _ in range(20)] == [200] * 20
    wait_for(lambda: total(settings)["a"] == 20, "the others are counted")
    assert total(settings)["begun"] == 70


@pytest.mark.parametrize(("mode", "way"), WAYS[:3])
def test_windows_of_whole_slots_are_told_while_a_service_is_measured(settings: Settings, nginx: Nginx, peer: Peer,
                                                                     consul: Consul) -> None:
    client = ConsulClient.connect(environ=consul.environ)
    key = f"{meter.PREFIX}books/node-1"

    def told() -> traffic.Slice:
        nginx.get("/books/ok")
        meter.tell(client, settings, "node-1", time.time())
        found = client.get(key)
        return traffic.add(traffic.decode(found.value if found else None))

    assert told().answers == 0  # no slot is over
    wait_for(lambda: told().answers > 5, "a slot is over", 40)
    entry = client.get(key)
    assert entry and len(entry.value) <= windows.MOST_BYTES
    now = time.time()
    for _ in range(2):
        meter.tell(client, settings, "node-1", now)
        before, entry = entry, client.get(key)
    assert entry and entry == before  # what is told already is not written again
    slices = json.loads(entry.value)["slices"]
    assert all(each["at"] % 10 == 0 and each["seconds"] == 10 for each in slices)
    assert [entry for entry in client.keys(meter.PREFIX) if entry != key] == []  # plain costs nothing
    put(settings, "books", peer.port)
    meter.tell(client, settings, "node-1", time.time())
    assert client.keys(meter.PREFIX) == []
    assert [each for each in os.listdir(f"{settings.state_dir}/traffic") if not each.startswith(".")] == []


@pytest.mark.parametrize(("mode", "way"), [("reload", "log")])
def test_the_log_is_emptied_and_what_comes_then_is_counted(settings: Settings, nginx: Nginx,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "_EMPTIED_FROM_BYTES", 200)
    path = access_log.path(nginx.conf_dir)
    for asked in (5, 10, 15):
        for _ in range(5):
            assert nginx.get("/books/ok")[0] == 200
        wait_total(settings, begun=asked, a=asked)
        assert os.path.getsize(path) < 200  # the last lines may have come by themselves


@pytest.mark.parametrize(("mode", "way"), [("reload", "log")])
def test_a_log_that_is_too_long_is_no_data_until_now(settings: Settings, nginx: Nginx,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    nginx.get("/books/ok")
    wait_total(settings, begun=1, a=1)
    monkeypatch.setattr(access_log, "_MOST_READ_BYTES", 100)
    with open(access_log.path(nginx.conf_dir), "a", encoding="utf-8") as file:
        file.write("x" * 500 + "\n")
    now = time.time()
    found = access_log.read(nginx.conf_dir, settings.state_dir, now)
    assert found == (now, {})


@pytest.mark.parametrize(("mode", "way"), [("reload", "log")])
def test_the_log_is_the_agents_users_also_after_the_users_logs_were_rotated(settings: Settings, nginx: Nginx,
                                                                            peer: Peer, tmp_path: Path) -> None:
    """nginx's master is root, and the agent is not. Upon USR1, nginx gives all logs to its workers' user."""
    path, folder = access_log.path(nginx.conf_dir), f"{nginx.conf_dir}/traffic"
    put(settings, "books", peer.port)
    assert publish.publish(settings) == ["books"]
    os.remove(path)
    os.chown(folder, 1234, 5678)
    put(settings, "books", peer.port, measure=True, ignore=[])
    assert publish.publish(settings) == ["books"]
    nginx.get("/books/ok")
    wait_total(settings, begun=1, a=1)
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (1234, 5678)
    nginx.send(signal.SIGUSR1)
    nginx.get("/books/ok")
    wait_total(settings, begun=2, a=2)
    wait_for(lambda: os.stat(path).st_uid == 0, "nginx's master has heeded the signal")
    assert os.stat(path).st_gid == 5678 and stat.S_IMODE(os.stat(path).st_mode) == 0o664


@pytest.mark.parametrize(("mode", "way"), [("reload", "lua"), ("live", "lua"), ("reload", "log")])
def test_after_the_clock_was_set_back_it_counts_on(settings: Settings, nginx: Nginx) -> None:
    """Since when nginx counts is then to come: that would be no data for as long as the clock was set by."""
    now = time.time()
    assert meter.count(nginx_of(settings), settings.state_dir, now)
    ahead = now + 7200
    noted = Path(settings.state_dir, "traffic/:log.json")
    if noted.exists():
        noted.write_text(json.dumps({**json.loads(noted.read_text()), "since": ahead}))
    else:
        files.write_atomic(f"{nginx.conf_dir}/locations/set.conf", "location = /set { content_by_lua_block { "
                           f'ngx.shared.lictor_traffic:set(":since", {ahead}) ngx.print("set") }} }}')
        reload_by_hand(nginx)
        assert nginx.get("/set")[1] == "set"
    first = meter.count(nginx_of(settings), settings.state_dir, time.time())
    later = meter.count(nginx_of(settings), settings.state_dir, time.time() + 60)
    assert first and later and first.since <= time.time()
    assert later.since == first.since  # it is not now at each look


@pytest.mark.parametrize(("mode", "way"), [("reload", "lua"), ("live", "lua"), ("reload", "log")])
def test_a_slow_client_is_no_slow_instance(settings: Settings, nginx: Nginx) -> None:
    """One sends its body slowly, and another one is slow to read 4 MB."""
    with socket.create_connection(("127.0.0.1", nginx.port)) as client:
        client.sendall(b"POST /books/ok HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\na")
        be_slow()
        client.sendall(b"b")
        while client.recv(4096):
            pass
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", nginx.port))
        client.sendall(b"GET /books/large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        client.recv(1)
        be_slow()
        while client.recv(1 << 20):
            pass
    wait_total(settings, begun=2, a=2)
    found = meter.count(nginx_of(settings), settings.state_dir, time.time())
    assert found
    buckets = [each for counted in found.by_name["books"].values() for each in counts.by_bucket(counted, "a")]
    assert max(buckets) < traffic.bucket(SLOW_S)


_FILL = """location /fill { content_by_lua_block {
    local dict, now, failed = ngx.shared.lictor_traffic, ngx.now(), 0
    local slot, parts = math.floor(now / 10) * 10, {}
    for bucket = 0, ngx.var.arg_buckets or 240 do
        parts[#parts + 1] = "a" .. bucket .. " 1234567 l" .. bucket .. " 1234567"
    end
    local text = table.concat(parts, " ")
    for service = 1, tonumber(ngx.var.arg_services) do
        for back = 0, 80, 10 do
            local name = ("service-%04d-%s"):format(service, ("x"):rep(48))
            failed = failed + (dict:safe_set(name .. " " .. slot - back, text, 75) and 0 or 1)
        end
    end
    for _, length in ipairs(ngx.var.arg_exhaust and {1800, 900, 400, 150, 50, 20, 1} or {}) do
        local number, is_set = 0, true
        while is_set do
            number, is_set = number + 1, dict:safe_set("filler" .. length .. " " .. number, ("x"):rep(length), 75)
        end
    end
    ngx.print(failed, " ", dict:capacity(), " ", dict:free_space())
} }"""


def fill(nginx: Nginx, services: int, more: str = "") -> tuple[int, int, int]:
    """Have nginx's dictionary hold the fullest slots that there can be, of as many services: how many it could not
    take, its size, and what is free."""
    status, text = nginx.get(f"/fill?services={services}{more}")
    assert status == 200, text
    failed, capacity, free = map(int, text.split())
    return failed, capacity, free


@pytest.mark.parametrize(("mode", "way"), WAYS[:2])
def test_the_dictionary_has_room_for_the_fullest_slots_of_a_thousand_services(settings: Settings, nginx: Nginx) -> None:
    files.write_atomic(f"{nginx.conf_dir}/locations/fill.conf", _FILL)
    counting = f"{nginx.conf_dir}/{service_files.COUNTS}"
    made = templates.Templates(live=settings.nginx is not None and settings.nginx.mode == "live", lua_modules=())
    names = [f"service-{number:04}" for number in range(999)]
    text = made.traffic(nginx.conf_dir, tuple((name, ()) for name in ["books", *names]))[service_files.COUNTS]
    assert text
    files.write_atomic(counting, text)
    reload_by_hand(nginx)
    assert fill(nginx, 0)[1] == 128 << 20  # for a thousand services
    failed, _, free = fill(nginx, 999)
    assert failed == 0 and free > 1 << 20
    assert fill(nginx, 999, "&buckets=30")[0] == 0  # as many as a service may well have
    assert nginx.get("/books/ok")[0] == 200
    wait_for(lambda: total(settings)["a"] == 1, "a request is counted")
    found = meter.count(nginx_of(settings), settings.state_dir, time.time())
    assert found and found.lost_at == 0.0 and len(found.by_name) == 1000


@pytest.mark.parametrize(("mode", "way"), WAYS[:2])
def test_counts_that_are_lost_are_no_data(settings: Settings, nginx: Nginx, capsys: pytest.CaptureFixture[str]) -> None:
    """A dictionary that cannot take them is filled on purpose: nothing before is told as counted."""
    files.write_atomic(f"{nginx.conf_dir}/locations/fill.conf", _FILL)
    reload_by_hand(nginx)
    assert fill(nginx, 0)[1] == 4 << 20
    assert nginx.get("/books/ok")[0] == 200
    wait_total(settings, begun=1, a=1)
    failed, _, _ = fill(nginx, 200, "&exhaust=1")
    assert failed > 0
    began = time.time()

    def lost_at() -> float:
        assert nginx.get("/plain/ok")[0] == nginx.get("/books/missing")[0] - 204 == 200
        found = meter.count(nginx_of(settings), settings.state_dir, time.time())
        return found.lost_at if found and found.since == found.lost_at else 0.0

    wait_for(lambda: lost_at() >= began - 1, "nginx says that it lost counts")
    found = meter.count(nginx_of(settings), settings.state_dir, time.time())
    assert found and windows.slices(found.by_name.get("books", {}), found.since, found.until) == []
    with pytest.raises(errors.Unavailable):
        meter.tell(ConsulClient.connect(environ={"CONSUL_HTTP_ADDR": "127.0.0.1:9"}), settings, "node-1", time.time())
    assert "lost counts" in capsys.readouterr().err


@pytest.mark.parametrize("paths", [["/a b"], ["/a;"], ['/a"'], ["a"], ["/a}"]])
def test_a_hostile_path_to_ignore_reaches_no_configuration(paths: list[str]) -> None:
    made = templates.Templates(lua_modules=())
    with pytest.raises(Exception, match="must not reach a configuration"):
        made.location("books", "/books", "prefix", "/conf", paths)
    assert made.traffic("/conf", (("books", tuple(paths)),)) == dict.fromkeys(
        ("traffic/log.conf", "traffic/http.conf", "traffic/socket.conf"))
    assert service_files.measured_of({}) == ()
