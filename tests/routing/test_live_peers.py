"""Live mode with a real nginx and its Lua module: whom requests go to, and what survives what."""

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lictor import model
from lictor.adapters import files
from lictor.adapters.consul.client import Client as ConsulClient
from lictor.engines import registry
from lictor.events import script
from lictor.planner import observation
from lictor.reconcile import observe
from lictor.reconcile.context import Context
from lictor.routing import condition, live_peers, nginx_socket, publish, route_store, templates
from lictor.routing import nginx as lictor_nginx
from lictor.routing.condition import Condition
from lictor.spec.settings import Nginx as NginxSettings
from lictor.spec.settings import Settings

from lab.client import Client
from lab.consul import Consul
from lab.daemon import free_ports, wait_for
from lab.nginx import Nginx
from support import routed
from support.backend import Backend
from support.paths import REPOSITORY, text_of
from support.routed import children, nginx_of, published, reload_by_hand, with_nginx, workers

NAME = "books"


class Peer(ThreadingHTTPServer):
    """A backend that keeps connections: POST is cut off unanswered, and GET of .../held is answered once `free`."""

    daemon_threads, request_queue_size = True, 128

    def __init__(self) -> None:
        peer = self
        self.connections, self.free = 0, threading.Event()
        self.requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                peer.connections += 1
                super().setup()

            def do_GET(self) -> None:
                peer.requests.append(self.path)
                if self.path.endswith("held"):
                    peer.free.wait(120)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                peer.requests.append(self.path)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]

    def __enter__(self) -> "Peer":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.free.set()
        self.shutdown()
        self.server_close()


class Socket(http.client.HTTPConnection):
    def __init__(self, conf_dir: str) -> None:
        super().__init__("lictor", timeout=60)
        self.path = f"{conf_dir}/run/generation.sock"

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx) -> Settings:
    """nginx runs in live mode, and routes books, whose list it was never given."""
    for folder in script.FOLDERS:
        os.makedirs(tmp_path / "state" / folder)
    lictor_nginx.prepare(nginx.conf_dir, templates.Templates(live=True))
    with open(nginx.main_conf, encoding="utf-8") as file:
        text = file.read()
    with open(nginx.main_conf, "w", encoding="utf-8") as file:  # as users do, and the request's context is lost there
        file.write(text.replace("location = ", "error_page 504 /nginx-is-up; location = "))
    nginx.start()
    made = Settings(path=str(tmp_path / "lictor.toml"), state_dir=str(tmp_path / "state"), nginx=NginxSettings(
        mode="live", conf_dir=nginx.conf_dir, main_conf=nginx.main_conf, pid_file=nginx.pid_file))
    route(made)
    return made


@pytest.fixture
def books(settings: Settings, nginx: Nginx) -> Settings:
    """The location is there, and has no peer."""
    decide(settings)
    assert publish.publish(settings) == [NAME]
    return settings


def route(settings: Settings, **changes: object) -> None:
    route_store.write_route(settings.state_dir, NAME, {
        "name": NAME, "service": NAME, "path": "/books", "host": "", "traffic": "healthy", "node": "node-1",
        "empty_ok": False, "removed": False, **changes})


def decide(settings: Settings, *ports: int, weights: Sequence[int] = ()) -> None:
    routed.decide(settings, NAME, *ports, weights=weights)


def test_requests_do_not_wait_for_a_file_and_what_is_confirmed_is_there(books: Settings,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    order, mark = list[str](), route_store.mark

    def noted(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **fields: Any) -> Any:
            order.append(what)
            return real(*arguments, **fields)
        return call

    monkeypatch.setattr(nginx_socket, "ask", noted("nginx", nginx_socket.ask))
    monkeypatch.setattr(files, "write_atomic", noted("file", files.write_atomic))
    monkeypatch.setattr(files, "sync", noted("disk", files.sync))
    monkeypatch.setattr(route_store, "mark", noted("confirmed", mark))
    decide(books, 9001)
    order.clear()
    assert live_peers.publish(nginx_of(books), books.state_dir, NAME)
    assert order == ["nginx", "file", "disk", "nginx", "confirmed", "file"]


def test_an_nginx_that_starts_before_the_file_is_written_gets_the_peers_too(books: Settings, nginx: Nginx,
                                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    with Backend("a") as a, Backend("b") as b:
        set_peers(books, a.port)
        real = nginx_socket.ask

        def ask_and_restart(*arguments: Any, **options: Any) -> tuple[int, str]:
            monkeypatch.setattr(nginx_socket, "ask", real)
            answer = real(*arguments, **options)
            nginx.stop()
            nginx.start()
            assert who_answers(nginx) == {"a"}
            return answer

        monkeypatch.setattr(nginx_socket, "ask", ask_and_restart)
        set_peers(books, b.port)
        assert who_answers(nginx) == {"b"}


def test_peers_that_nginx_has_and_that_could_not_be_stored_are_not_confirmed(books: Settings, nginx: Nginx) -> None:
    folder = f"{nginx.conf_dir}/live"
    with Backend("a") as a:
        os.rename(folder, f"{folder}.away")
        decide(books, a.port)
        assert not live_peers.publish(nginx_of(books), books.state_dir, NAME)
        assert who_answers(nginx) == {"a"} and not published(books, NAME).confirmed
        os.rename(f"{folder}.away", folder)
        assert live_peers.publish(nginx_of(books), books.state_dir, NAME) and published(books, NAME).confirmed


def set_peers(settings: Settings, *ports: int, weights: Sequence[int] = ()) -> None:
    decide(settings, *ports, weights=weights)
    assert live_peers.publish(nginx_of(settings), settings.state_dir, NAME)


def ask(settings: Settings, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    connection = Socket(nginx_of(settings).conf_dir)
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, answer.read().decode().strip()


def in_flight(settings: Settings, port: int) -> int:
    return int(ask(settings, "GET", f"/live/{NAME}/127.0.0.1:{port}")[1])


def who_answers(nginx: Nginx) -> set[str | int]:
    answers = {nginx.get("/books") for _ in range(20)}
    return {json.loads(body)["instance"] if status == 200 else status for status, body in answers}


def add_to_location(settings: Settings, line: str) -> None:
    """The user's own template has it too."""
    template = (REPOSITORY / "templates" / "location.conf.j2").read_text()
    place = "{{ module }}_connect_timeout"
    assert place in template
    os.makedirs(settings.templates_dir, exist_ok=True)
    files.write_atomic(f"{settings.templates_dir}/location.conf.j2", template.replace(place, f"{line} {place}"))


def assert_passed_over(nginx: Nginx, began: float) -> None:
    """Since it began, each of the two workers has met the dead one, and not oftener than once a second."""
    took_s = time.monotonic() - began
    assert 1 <= len(retried(nginx)) <= 2 * (2 + took_s)


def retried(nginx: Nginx) -> list[str]:
    """Lines of the access log with two peers in them."""
    return [line for line in (files.read(f"{nginx.folder}/access.log") or "").splitlines() if ", " in line]


def test_a_list_is_set_shown_and_refused_when_it_is_older(books: Settings, nginx: Nginx) -> None:
    version = 1 + int(ask(books, "GET", "/live/books")[1].split()[0])
    with Backend("a") as a, Backend("b") as b:
        for text, status, said in (
            (f"{version}\n127.0.0.1 {a.port}\n", 200, "1 peers"), (f"{version - 1}\n", 409, str(version)),
            (f"{version}\n127.0.0.1 {a.port}", 400, "this is no list"), ("", 400, "this is no list"),
            (f"{version}\nlocalhost {a.port}\n", 400, "this is no list"), ("x\n", 400, "this is no list"),
            (f"{version}\n127.0.0.1 {a.port} 0\n", 400, "this is no list"),
            (f"{version}\n127.0.0.1 {a.port} x\n", 400, "this is no list"),
        ):
            assert ask(books, "PUT", "/live/books", text) == (status, said)
        assert ask(books, "GET", "/live/books") == (200, f"{version}\n127.0.0.1 {a.port} 0")
        assert who_answers(nginx) == {"a"}
        text = f"{version + 1}\n127.0.0.1 {b.port} 2\n127.0.0.1 {a.port}\n"
        assert ask(books, "PUT", "/live/books", text)[0] == 200 and who_answers(nginx) == {"a", "b"}
        shown = f"{version + 1}\n127.0.0.1 {b.port} 0 weight=2\n127.0.0.1 {a.port} 0"
        wait_for(lambda: ask(books, "GET", "/live/books") == (200, shown), "all requests have ended")
    for method, path, status in (("GET", "/live/other", 404), ("DELETE", "/live/books", 405), ("GET", "/live/", 404)):
        assert ask(books, method, path)[0] == status


def test_the_worker_that_takes_a_list_follows_it_at_once(books: Settings, nginx: Nginx) -> None:
    text = files.read(nginx.main_conf) or ""
    files.write_atomic(nginx.main_conf, text.replace(
        "worker_processes 2;", "worker_processes 1; timer_resolution 60s;"))
    nginx.stop()
    nginx.start()
    version = 1 + int(ask(books, "GET", "/live/books")[1].split()[0])
    with Backend("a") as a, Backend("b") as b:
        for number, backend in enumerate([a, b] * 5):  # nginx's clock stands still meanwhile
            assert ask(books, "PUT", "/live/books", f"{version + number}\n127.0.0.1 {backend.port}\n")[0] == 200
            assert json.loads(nginx.get("/books")[1])["instance"] == backend.name


def test_a_location_of_the_users_own_follows_the_list_too(books: Settings, nginx: Nginx) -> None:
    text = files.read(nginx.main_conf) or ""
    files.write_atomic(nginx.main_conf, text.replace(
        "location = ", f"location /mine {{ proxy_pass http://lictor_{NAME}; }} location = ", 1))
    nginx.send(signal.SIGHUP)
    with Backend("a") as a, Backend("b") as b:
        for each in (a, b, a):
            set_peers(books, each.port)
            wait_answers(nginx, "/mine", each.name)


def wait_answers(nginx: Nginx, path: str, name: str) -> None:
    expected = (200, f'{{"instance": "{name}", "boot": "1"}}')
    wait_for(lambda: all(nginx.get(path) == expected for _ in range(10)), name)


def test_without_peers_it_is_503_with_retry_after(books: Settings, nginx: Nginx) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port)
    for ports in ((), (9,), ()):
        set_peers(books, *ports)
        connection.request("GET", "/books")
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, answer.getheader("Retry-After")) == ((502, None) if ports else (503, "5"))


def test_a_peer_that_refuses_is_passed_over_for_a_while(books: Settings, nginx: Nginx) -> None:
    dead, = free_ports(1)
    with Backend("a") as a:
        set_peers(books, dead, a.port)
        began = time.monotonic()
        assert [nginx.get("/books")[0] for _ in range(40)] == [200] * 40
        assert_passed_over(nginx, began)  # each second one would have met it
        before = len(retried(nginx))
        wait_for(lambda: nginx.get("/books") and len(retried(nginx)) > before, "it is tried again")
        set_peers(books, dead)
        assert nginx.get("/books")[0] == 502
    wait_for(lambda: in_flight(books, dead) == in_flight(books, a.port) == 0, "nothing is in flight")


def test_what_one_that_is_passed_over_would_get_is_shared_out_by_weight(books: Settings, nginx: Nginx) -> None:
    dead, = free_ports(1)
    with Backend("a") as a, Backend("b") as b:
        set_peers(books, a.port, dead, b.port, weights=(3, 65535, 1))
        began = time.monotonic()
        answers = [nginx.get("/books") for _ in range(200)]
        assert {status for status, _ in answers} == {200}
        assert_passed_over(nginx, began)  # nearly all of them would have met it
        shares = [sum(json.loads(body)["instance"] == each.name for _, body in answers) for each in (a, b)]
        assert 140 <= shares[0] <= 160
        set_peers(books, a.port, dead, b.port, weights=(1, 65535, 3))
        answers = [nginx.get("/books") for _ in range(200)]
        assert 140 <= sum(json.loads(body)["instance"] == "b" for _, body in answers) <= 160


def test_what_a_peer_may_have_done_is_not_done_by_another(books: Settings, nginx: Nginx) -> None:
    with Peer() as one, Peer() as other:
        set_peers(books, one.port, other.port)
        connection = http.client.HTTPConnection("127.0.0.1", nginx.port)
        connection.request("POST", "/books", b"x")
        assert connection.getresponse().status == 502
        assert len(one.requests + other.requests) == 1
        wait_for(lambda: in_flight(books, one.port) == in_flight(books, other.port) == 0, "nothing is in flight")


def test_connections_to_a_peer_are_kept(books: Settings, nginx: Nginx) -> None:
    with Peer() as peer:
        set_peers(books, peer.port)
        assert {nginx.get("/books")[0] for _ in range(30)} == {200}
        assert len(peer.requests) == 30 and peer.connections < 15


def test_what_is_in_flight_is_counted_until_it_ends(books: Settings, nginx: Nginx) -> None:
    with Peer() as peer, Backend("a") as a, ThreadPoolExecutor() as pool:
        set_peers(books, peer.port)
        held = [pool.submit(nginx.get, "/books/held") for _ in range(3)]
        wait_for(lambda: in_flight(books, peer.port) == 3, "three are held")
        set_peers(books, a.port)
        assert who_answers(nginx) == {"a"}
        os.kill(nginx.pid, signal.SIGHUP)
        assert in_flight(books, peer.port) == 3
        peer.free.set()
        assert [each.result()[0] for each in held] == [200] * 3
        wait_for(lambda: in_flight(books, peer.port) == in_flight(books, a.port) == 0, "they have ended")


class Engine:
    """In place of an engine, which sees no connection: two containers of books, on the node that asks."""

    def __init__(self, connections: int | None) -> None:
        self.connections = connections

    def containers(self, service: str | None = None) -> list[model.Container]:
        return [model.Container(f"c{number}", f"{NAME}-{number}", NAME, number, "", "books:1", "", "running", 1.0, 1.0,
                                None) for number in (1, 2)]

    def in_flight(self, container: model.Container) -> int | None:
        return self.connections


@pytest.mark.parametrize(("connections", "seen"), [(0, [1, 0]), (None, [1, None]), (2, [2, 2])])
def test_a_request_that_is_not_connected_yet_holds_up_a_drain(books: Settings, nginx: Nginx, consul: Consul,
                                                              monkeypatch: pytest.MonkeyPatch, connections: int | None,
                                                              seen: list[int | None]) -> None:
    monkeypatch.setitem(registry.CONTAINER_ENGINES, "docker", Engine(connections))
    context = Context(books, ConsulClient.connect(environ=consul.environ), "node-1")
    context.client.put(f"services/{NAME}/spec", json.dumps({"name": NAME, "image": "books:1", "port": "8080",
                                                             "node": "node-1", "route": {"path": "/books"}}))
    location = (REPOSITORY / "templates" / "location.conf.j2").read_text()  # which gives up after two seconds
    assert "_connect_timeout 2s;" in location
    os.makedirs(books.templates_dir)
    files.write_atomic(f"{books.templates_dir}/location.conf.j2",
                       location.replace("_connect_timeout 2s;", "_connect_timeout 60s;"))
    assert publish.publish(books, [NAME]) == [NAME]
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, Backend("a") as a, ThreadPoolExecutor() as pool:
        deaf_port = deaf.getsockname()[1]
        for service_id, container, port in (("s1", "c1", 9), ("s2", "c1", deaf_port), ("s3", "c2", a.port)):
            context.client.register({"ID": service_id, "Name": NAME, "Address": "127.0.0.1", "Port": port,
                                      "Meta": {model.META_CONTAINER: container, model.META_ENGINE: "docker"}})
            context.client.set_maintenance(service_id, observation.drain_text(time.time(), "x"))
        set_peers(books, deaf_port)
        with socket.create_connection(deaf.getsockname()):  # the only one that it has room for
            asked = pool.submit(nginx.get, "/books")
            wait_for(lambda: in_flight(books, deaf_port) == 1, "nginx has it")
            set_peers(books, a.port)
            in_flights = observe.one(context, NAME, {}).observation.in_flight
            assert [in_flights[each] for each in ("c1", "c2")] == seen
            deaf.close()  # so that nginx is refused at its next try
            assert asked.result()[0] in (502, 504)
        wait_for(lambda: observe.one(context, NAME, {}).observation.in_flight["c1"] == connections, "it has ended")
        nginx.stop()
        asked_again, ask = list[object](), nginx_socket.ask

        def noted(*args: Any, **kwargs: Any) -> Any:
            asked_again.append(args)
            return ask(*args, **kwargs)

        monkeypatch.setattr(nginx_socket, "ask", noted)
        assert observe.one(context, NAME, {}).observation.in_flight == {"c1": connections, "c2": connections}
        assert len(asked_again) == 1  # else one that hangs would be waited for again and again


def test_subrequests_whose_end_nobody_learns_are_not_counted(books: Settings, nginx: Nginx) -> None:
    text = files.read(nginx.main_conf) or ""
    files.write_atomic(nginx.main_conf, text.replace("location = ", (
        f"location /mine {{ auth_request /asked; mirror /asked; proxy_pass http://lictor_{NAME}; }}"
        f"location = /asked {{ internal; proxy_pass http://lictor_{NAME}/books; }} location = "), 1))
    reload_by_hand(nginx)
    with Backend("a") as a:
        set_peers(books, a.port)
        assert {nginx.get(path)[0] for path in 20 * ("/mine", "/books")} == {200}
        wait_for(lambda: in_flight(books, a.port) == 0, "nothing is in flight")


def test_what_ends_as_an_error_page_is_not_in_flight(books: Settings, nginx: Nginx) -> None:
    """Its request is redirected, so another location ends it."""
    add_to_location(books, "proxy_read_timeout 100ms;")
    with Peer() as peer:
        decide(books, peer.port)
        assert publish.publish(books, [NAME]) == [NAME]
        assert nginx.get("/books/held") == (504, "up")
        wait_for(lambda: in_flight(books, peer.port) == 0, "it has ended")


def test_lists_survive_a_reload_a_restart_and_a_publication_without_nginx(books: Settings, nginx: Nginx) -> None:
    with Backend("a") as a, Backend("b") as b:
        set_peers(books, a.port)
        before = ask(books, "GET", "/live/books")
        old_workers = workers(nginx)
        os.kill(nginx.pid, signal.SIGHUP)
        wait_for(lambda: not children(nginx) & old_workers, "the old workers have ended")
        assert ask(books, "GET", "/live/books") == before and who_answers(nginx) == {"a"}
        nginx.stop()
        decide(books, a.port, b.port)
        assert not live_peers.publish(nginx_of(books), books.state_dir, NAME)
        assert not published(books, NAME).confirmed
        nginx.start()
        assert who_answers(nginx) == {"a", "b"}
        old_workers = workers(nginx)
        assert publish.publish(books) == [NAME]  # as the timer does
        assert published(books, NAME).confirmed and workers(nginx) == old_workers


def test_a_lost_state_file_and_a_clock_that_was_turned_back_do_not_block(books: Settings, nginx: Nginx) -> None:
    with Backend("a") as a:
        ask(books, "PUT", "/live/books", f"{2**52}\n")
        os.unlink(f"{nginx_of(books).conf_dir}/live/books.peers")
        set_peers(books, a.port)
        assert ask(books, "GET", "/live/books")[1].split()[0] == str(2**52 + 1) and who_answers(nginx) == {"a"}


def test_a_state_file_that_was_lost_is_written_again_by_a_sweep(books: Settings, nginx: Nginx) -> None:
    path = f"{nginx_of(books).conf_dir}/live/books.peers"
    with Backend("a") as a:
        set_peers(books, a.port)
        os.unlink(path)
        assert publish.publish(books, [NAME]) == [NAME] and str(a.port) in text_of(path)
        assert published(books, NAME).confirmed and who_answers(nginx) == {"a"}


def test_a_list_that_the_nginx_of_an_older_lictor_refuses_brings_what_can_read_it(
        books: Settings, nginx: Nginx,
) -> None:
    path = f"{nginx.conf_dir}/live.lua"
    text = text_of(path)
    with Backend("a") as a, Backend("b") as b:
        set_peers(books, a.port)
        files.write_atomic(path, text.replace(" ?(%d*)( ?%l*)\\n)", "(x?)(x?)\\n)", 1))
        old_workers = workers(nginx)
        nginx.send(signal.SIGHUP)
        wait_for(lambda: not children(nginx) & old_workers, "the old workers have ended")
        decide(books, a.port, b.port, weights=(2, 1))
        assert not live_peers.publish(nginx_of(books), books.state_dir, NAME) and who_answers(nginx) == {"a"}
        assert publish.publish(books) == [NAME] and who_answers(nginx) == {"a", "b"}
        assert text_of(path) == text


def test_the_modes_follow_each_other_and_a_location_is_reloaded(books: Settings, nginx: Nginx) -> None:
    reloaded = with_nginx(books, mode="reload")
    with Backend("a") as a, Backend("b") as b:
        set_peers(books, a.port)
        assert publish.publish(reloaded, [NAME]) == [NAME] and who_answers(nginx) == {"a"}
        assert "balancer_by_lua" not in text_of(f"{nginx.conf_dir}/upstreams/lictor_books.conf")
        decide(books, b.port)
        assert publish.publish(reloaded) == [NAME] and who_answers(nginx) == {"b"}
        lictor_nginx.prepare(nginx.conf_dir)  # as lictor init does
        assert publish.publish(books, [NAME]) == [NAME] and who_answers(nginx) == {"b"}
        generation = published(books, NAME).generation
        assert publish.publish(books, [NAME]) == []
        route(books, path="/other")
        decide(books, a.port)
        assert publish.publish(books) == [NAME]
        assert nginx.get("/books")[0] == 404 and json.loads(nginx.get("/other")[1])["instance"] == "a"
        assert published(books, NAME).generation > generation
        route(books, removed=True)
        decide(books)
        assert publish.publish(books) == [NAME] and nginx.get("/other")[0] == 404
        assert os.listdir(f"{nginx.conf_dir}/live") == []


def make_unsignalled(settings: Settings, nginx: Nginx) -> Settings:
    """lictor may not signal nginx; here it doesn't find it."""
    return with_nginx(settings, pid_file=f"{nginx.folder}/none")


def make_broken(settings: Settings, nginx: Nginx) -> Settings:
    """The user's own configuration is no good."""
    files.write_atomic(nginx.main_conf, text_of(nginx.main_conf) + "nonsense;")
    return settings


@pytest.mark.parametrize("hinder", [make_unsignalled, make_broken])
@pytest.mark.parametrize("move", ["/other", "/books"])
def test_peers_are_followed_while_other_files_wait_for_nginx(
        books: Settings, nginx: Nginx, hinder: Callable[[Settings, Nginx], Settings], move: str,
) -> None:
    main_conf = text_of(nginx.main_conf)
    with Backend("a") as a, Backend("b") as b, Backend("c") as c:
        set_peers(books, a.port)
        route(books, path=move)
        add_to_location(books, "proxy_read_timeout 7s;")
        hindered = hinder(books, nginx)
        assert publish.publish(hindered, [NAME]) == []
        set_peers(hindered, b.port)  # as an event does
        assert who_answers(nginx) == {"b"}
        decide(hindered, c.port)
        assert publish.publish(hindered, [NAME]) == [NAME]  # as a sweep does
        assert who_answers(nginx) == {"c"} and published(books, NAME).confirmed
        assert "has not confirmed its route" in condition.read(hindered).unconfirmed[NAME]
        files.write_atomic(nginx.main_conf, main_conf)
        assert publish.publish(books, [NAME]) == [NAME] and condition.read(books) == Condition()
        assert json.loads(nginx.get(move)[1])["instance"] == "c"
        assert "proxy_read_timeout 7s" in text_of(f"{nginx.conf_dir}/locations/books.conf")


def test_peers_are_followed_after_a_publication_that_was_killed(books: Settings, nginx: Nginx,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    with Backend("a") as a, Backend("b") as b:
        set_peers(books, a.port)
        route(books, path="/other")
        with monkeypatch.context() as patch:
            patch.setattr(lictor_nginx, "reload", killed)
            with pytest.raises(KeyboardInterrupt):
                publish.publish(books, [NAME])
        set_peers(books, b.port)
        assert who_answers(nginx) == {"b"}
        assert publish.publish(books, [NAME]) == [NAME] and json.loads(nginx.get("/other")[1])["instance"] == "b"


def killed(_: object) -> None:
    raise KeyboardInterrupt


def test_no_peers_are_confirmed_where_nginx_may_have_no_location(settings: Settings, nginx: Nginx) -> None:
    hindered = make_unsignalled(settings, nginx)
    with Backend("a") as a:
        decide(settings, a.port)
        for _ in range(2):
            assert publish.publish(hindered, [NAME]) == []
            assert not live_peers.publish(nginx_of(settings), settings.state_dir, NAME)
            assert nginx.get("/books")[0] == 404
        assert publish.publish(settings, [NAME]) == [NAME] and who_answers(nginx) == {"a"}
        route(settings, removed=True)
        decide(settings)
        assert publish.publish(hindered, [NAME]) == [NAME]  # as no request is sent to anyone
        assert nginx.get("/books")[0] == 503 and not published(settings, NAME).confirmed
        nginx.stop()
        nginx.start()
        route(settings)
        decide(settings, a.port)
        assert publish.publish(hindered, [NAME]) == [] and nginx.get("/books")[0] == 404
        assert publish.publish(settings, [NAME]) == [NAME] and who_answers(nginx) == {"a"}


def test_no_peers_are_confirmed_where_nginx_may_have_them_in_its_files(books: Settings, nginx: Nginx) -> None:
    with Backend("a") as a, Backend("b") as b:
        set_peers(books, a.port)
        reloaded = make_unsignalled(books, nginx)
        assert publish.publish(with_nginx(reloaded, mode="reload"), [NAME]) == []
        nginx.stop()
        nginx.start()
        decide(books, b.port)
        assert not live_peers.publish(nginx_of(books), books.state_dir, NAME) and who_answers(nginx) == {"a"}
        assert publish.publish(books, [NAME]) == [NAME] and who_answers(nginx) == {"b"}


@pytest.mark.parametrize("mode", ["reload", "live"])
def test_where_the_other_mode_is_refused_the_files_that_are_there_follow_in_their_own(
        books: Settings, nginx: Nginx, mode: str,
) -> None:
    before, after = [with_nginx(books, mode=each)
                     for each in (mode, "live" if mode == "reload" else "reload")]
    with Backend("a") as a, Backend("b") as b:
        decide(before, a.port)
        assert publish.publish(before, [NAME]) == [NAME]
        add_to_location(after, f"{{% if live == {mode != 'live'} %}} nonsense; {{% endif %}}")
        assert publish.publish(after, [NAME]) == []
        for ports, who in (((b.port,), {"b"}), ((), {503}), ((a.port, b.port), {"a", "b"})):
            decide(after, *ports)
            assert publish.publish(after) == [NAME] and who_answers(nginx) == who
            assert publish.publish(after, [NAME]) == [] and published(after, NAME).confirmed


def test_no_request_fails_while_peers_change_all_the_time(books: Settings, nginx: Nginx) -> None:
    with ExitStack() as stack:
        ports = [stack.enter_context(Backend(name)).port for name in ("a", "b", "c")]
        set_peers(books, *ports)
        before, old_workers = published(books, NAME).generation, workers(nginx)
        client = stack.enter_context(Client(nginx.port, "/books", pause_s=0.005))
        for number in range(150):
            set_peers(books, *ports[:number % 3], *ports[1 + number % 3:])
        wait_for(lambda: client.requests > 300, "there was some load")
        assert client.failures == [] and client.resets_of_reused == 0 and len(client.last_answer) == 3
    assert published(books, NAME).generation == before and workers(nginx) == old_workers
    wait_for(lambda: lictor_nginx.answered(nginx.conf_dir) == before, "nginx answers it still")
