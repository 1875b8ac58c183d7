"""Connections that nginx keeps to instances, in both modes: they are used again, hold no drain, and lose no request."""

import http.client
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lictor.events import script
from lictor.routing import nginx as lictor_nginx
from lictor.routing import peers, publish, route_store, templates
from lictor.spec.settings import Nginx as NginxSettings
from lictor.spec.settings import Settings

from lab.client import Client
from lab.daemon import wait_for
from lab.nginx import Nginx
from lab.serving import Serving
from support.modes import in_both_modes
from support.routed import put_route

_PATIENCE_S = 60  # of an instance with an idle connection: longer than that of nginx, as with most servers
_BODY = b'{"instance": "books-1", "boot": "1"}'


class Instance(Serving):
    """Counts the connections that were made to it, those that are open, and whether nginx ended them."""

    def __init__(self, *, closes: bool = False) -> None:
        self.made = self.open = self.answered = self.given_up = 0
        self._lock, instance = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version, timeout = "HTTP/1.1", _PATIENCE_S

            def setup(self) -> None:
                instance._count(made=1, open=1)
                super().setup()

            def finish(self) -> None:
                super().finish()
                instance._count(open=-1)

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200)
                self.send_header("Content-Length", str(len(_BODY)))
                if closes:
                    self.send_header("Connection", "close")
                self.end_headers()
                instance._count(answered=1)
                self.wfile.write(_BODY)

            do_POST = do_GET

            def log_error(self, *_: object) -> None:
                instance._count(given_up=1)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port: int = self.server.server_address[1]

    def _count(self, **more: int) -> None:
        with self._lock:
            for key, count in more.items():
                setattr(self, key, getattr(self, key) + count)


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str) -> Settings:
    for folder in script.FOLDERS:
        os.makedirs(tmp_path / "state" / folder)
    lictor_nginx.prepare(nginx.conf_dir, templates.Templates(live=mode == "live"))
    nginx.start()
    found = Settings(state_dir=str(tmp_path / "state"), nginx=NginxSettings(
        mode=mode, conf_dir=nginx.conf_dir, main_conf=nginx.main_conf, pid_file=nginx.pid_file))
    put_route(found, "books", path="/books")
    return found


def serve(settings: Settings, *instances: Instance) -> None:
    """Have nginx ask these, and no others."""
    route_store.write_published(settings.state_dir, "books", peers.PublishedRoute(
        tuple(peers.Peer("127.0.0.1", each.port) for each in instances),
        tuple(("node-1", f"books-{each.port}") for each in instances)))
    assert publish.publish(settings, ["books"]) == ["books"]


def send(nginx: Nginx, method: str) -> str:
    """Send a request on a fresh connection; returns what failed, or ""."""
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)
    try:
        connection.request(method, "/books", body=b"one" if method == "POST" else None)
        answer = connection.getresponse()
        return "" if (answer.status, answer.read()) == (200, _BODY) else f"{method}: {answer.status}"
    except (OSError, http.client.HTTPException) as error:
        return f"{method}: {error!r}"
    finally:
        connection.close()


@contextmanager
def posting(nginx: Nginx, count: int = 3) -> Iterator[list[str]]:
    """Post all the time; gives what failed, which nobody sends again."""
    failed, is_over = list[str](), threading.Event()

    def post() -> None:
        while not is_over.wait(0.01):
            failed.extend(filter(None, [send(nginx, "POST")]))
    threads = [threading.Thread(target=post, daemon=True) for _ in range(count)]
    for each in threads:
        each.start()
    try:
        yield failed
    finally:
        is_over.set()
        for each in threads:
            each.join(30)


@in_both_modes
@pytest.mark.parametrize(("closes", "is_right"), [
    (False, lambda made: made < 30), (True, lambda made: made == 60)], ids=["kept", "closed by the instance"])
def test_a_connection_is_used_again_if_the_instance_keeps_it(settings: Settings, nginx: Nginx, closes: bool,
                                                             is_right: Callable[[int], bool]) -> None:
    with Instance(closes=closes) as instance:
        serve(settings, instance)
        assert not [failed for _ in range(30) for method in ("GET", "POST") if (failed := send(nginx, method))]
        assert is_right(instance.made), instance.made


@in_both_modes
def test_nginx_ends_an_idle_connection_before_the_instance_does(settings: Settings, nginx: Nginx) -> None:
    with Instance() as instance:
        serve(settings, instance)
        assert send(nginx, "POST") == "" and instance.made == 1
        wait_for(lambda: instance.open == 0, "nginx ends it", _PATIENCE_S / 2)
        assert instance.given_up == 0
        assert send(nginx, "POST") == "" and instance.made == 2


@in_both_modes
def test_an_instance_that_left_has_no_connection_any_more_and_no_request_fails(settings: Settings,
                                                                                nginx: Nginx) -> None:
    """As a drain is: it has left nginx, nothing is in flight at it, it ends; some clients keep their connections."""
    with Instance() as first:
        serve(settings, first)
        with posting(nginx) as failed_posts, Client(nginx.port, "/books", pause_s=0.01) as client:
            with Instance() as second:
                wait_answers(first)
                serve(settings, second)
                wait_answers(second)
                wait_for(lambda: first.open == 0, "it is drained", _PATIENCE_S / 2)
                serve(settings, second, first)
                wait_answers(first)
                serve(settings, first)
                wait_for(lambda: second.open == 0, "the other one is drained", _PATIENCE_S / 2)
            wait_answers(first)
        assert [*failed_posts, *client.failures] == []


def wait_answers(instance: Instance) -> None:
    """Wait until it has answered some more requests."""
    before = instance.answered
    wait_for(lambda: instance.answered > before + 20, "it answers")
