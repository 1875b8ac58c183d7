"""Requests that wait for an instance, as `wait` of a route says, with a real nginx in live mode."""

import http.client
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import files
from lictor.routing import condition, live_peers, publish
from lictor.spec.quantities import Duration
from lictor.spec.route import Route
from lictor.spec.settings import Settings

from lab.daemon import Daemon, free_ports, wait_for
from lab.nginx import Nginx
from support.paths import REPOSITORY
from support.routed import decide, nginx_of, put_route, put_routes, set_up, with_nginx
from support.waiting import NAME, Instance, ask, results, wait_until_waited, wait_until_waiting, waiting

_MOST = 1000


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx) -> Settings:
    return with_nginx(set_up(str(tmp_path), nginx), mode="live")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as made:
        yield made


def route(settings: Settings, *ports: int, wait: float = 60, **options: Any) -> list[str]:
    put_route(settings, NAME, path="/books", options=Route("/books", wait=Duration(wait), **options).options)
    decide(settings, NAME, *ports)
    return publish.publish(settings, [NAME])


def set_peers(settings: Settings, *ports: int) -> None:
    decide(settings, NAME, *ports)
    assert live_peers.publish(nginx_of(settings), settings.state_dir, NAME)


@pytest.mark.parametrize("is_listed", [True, False], ids=["refused", "none"])
def test_requests_wait_for_the_next_instance_with_their_bodies(settings: Settings, nginx: Nginx, is_listed: bool,
                                                               pool: ThreadPoolExecutor) -> None:
    port, = free_ports(1)
    body = "x" * 2_000_000
    assert route(settings, *[port] * is_listed, max_body=4_000_000) == [NAME]
    asked = [pool.submit(ask, nginx, "/books/a?b=%2F"), pool.submit(ask, nginx, "/books", body)]
    wait_until_waiting(settings, 2)
    with Instance(port) as instance:
        if not is_listed:
            set_peers(settings, port)
        assert results(asked) == [(200, "GET /books/a?b=%2F "), (200, f"POST /books {body}")]
        assert len(instance.asked) == 2 and waiting(settings) == 0
        assert ask(nginx)[0] == 200
        wait_until_waited(settings, served=2)


def test_a_path_that_is_taken_off_is_taken_off_after_a_wait_too(settings: Settings, nginx: Nginx,
                                                                pool: ThreadPoolExecutor) -> None:
    port, = free_ports(1)
    route(settings, port, strip=True)
    asked = [pool.submit(ask, nginx, f"/books{more}") for more in ("", "/books/x?y", "/a b".replace(" ", "%20"))]
    wait_until_waiting(settings, 3)
    with Instance(port):
        assert [text for _, text in results(asked)] == ["GET / ", "GET /books/x?y ", "GET /a%20b "]


def test_each_route_of_a_service_waits_by_its_own_options(settings: Settings, nginx: Nginx,
                                                          pool: ThreadPoolExecutor) -> None:
    """They share a server; two of them even a path."""
    port, = free_ports(1)
    wait = Duration(60)
    routes = [Route("/books", wait=wait), Route("/shop", wait=wait, strip=True), Route("/a/", wait=wait, strip=True),
              Route("/a/", match="exact", wait=wait), Route("/none", wait=Duration(0.1)), Route("/at-once")]
    put_routes(settings, NAME, *(each.table for each in routes))
    decide(settings, NAME, port)
    assert publish.publish(settings, [NAME]) == [NAME]
    asked = [pool.submit(ask, nginx, path) for path in ("/books/x", "/shop/x", "/a/x", "/a/")]
    wait_until_waiting(settings, 4)
    assert ask(nginx, "/none") == (503, "5") and ask(nginx, "/at-once")[0] == 502
    with Instance(port):
        assert [text for _, text in results(asked)] == ["GET /books/x ", "GET /x ", "GET /x ", "GET /a/ "]


def test_after_its_time_it_is_503_with_retry_after(settings: Settings, nginx: Nginx) -> None:
    port, = free_ports(1)
    for ports in ((), (port,)):
        route(settings, *ports, wait=0.2)
        assert ask(nginx) == ask(nginx, body="x") == (503, "5")
        assert waiting(settings) == 0
    wait_until_waited(settings, refused=4)


def test_what_an_instance_may_have_done_is_not_done_again(settings: Settings, nginx: Nginx) -> None:
    port, = free_ports(1)
    with Instance(port) as instance:
        route(settings, port, wait=0.3)
        assert ask(nginx, "/books/cut", "one")[0] == 502 and instance.asked == ["one"]
        assert ask(nginx, "/books/bad") == (502, "GET /books/bad ")
        assert ask(nginx, "/books/cut") == (503, "5") and instance.asked.count("/books/cut") > 1


def test_who_comes_first_is_served_first(settings: Settings, nginx: Nginx, pool: ThreadPoolExecutor) -> None:
    text = files.read(nginx.main_conf) or ""
    files.write_atomic(nginx.main_conf, text.replace("worker_processes 2", "worker_processes 1"))
    nginx.stop()
    nginx.start()
    port, = free_ports(1)
    route(settings)
    asked = []
    for number in range(20):
        asked.append(pool.submit(ask, nginx, body=str(number)))
        wait_until_waiting(settings, number + 1)
    with Instance(port) as instance:
        set_peers(settings, port)
        assert {status for status, _ in results(asked)} == {200}
        places = [instance.asked.index(str(number)) for number in range(1, 20)]
        assert max(abs(place - number) for number, place in enumerate(places, 1)) < 20 and len(places) == 19


def test_a_client_that_leaves_waits_no_longer_and_another_one_looks(settings: Settings, nginx: Nginx,
                                                                    pool: ThreadPoolExecutor) -> None:
    port, = free_ports(1)
    route(settings)
    first = http.client.HTTPConnection("127.0.0.1", nginx.port)
    first.request("GET", "/books")
    wait_until_waiting(settings, 1)
    asked = [pool.submit(ask, nginx) for _ in range(8)]
    wait_until_waiting(settings, 9)
    first.close()
    wait_until_waiting(settings, 8)
    with Instance(port):
        set_peers(settings, port)
        assert {status for status, _ in results(asked)} == {200}
    wait_until_waited(settings, served=8, left=1)


def test_no_more_than_a_thousand_wait(settings: Settings, nginx: Nginx) -> None:
    text = files.read(nginx.main_conf) or ""
    files.write_atomic(nginx.main_conf, text.replace("worker_connections 1024", "worker_connections 4096"))
    nginx.stop()
    nginx.start()
    route(settings)
    waiters = [http.client.HTTPConnection("127.0.0.1", nginx.port) for _ in range(_MOST)]
    try:
        for each in waiters:
            each.request("GET", "/books")
        wait_until_waiting(settings, _MOST)
        assert ask(nginx) == (503, "5") and waiting(settings) == _MOST
    finally:
        for each in waiters:
            each.close()
    wait_until_waiting(settings, 0)
    wait_until_waited(settings, refused=1, left=_MOST)


def test_the_only_instance_is_killed_ten_times_and_nothing_fails_but_what_was_in_it(settings: Settings, nginx: Nginx,
                                                                                    tmp_path: Path) -> None:
    port, = free_ports(1)
    failed, answered, is_over = list[tuple[str, int]](), list[int](), threading.Event()

    def ask_on(body: str | None) -> None:
        while not is_over.is_set():
            status, _ = ask(nginx, body=body)
            if status != 200:
                failed.append(("GET" if body is None else "POST", status))
            answered.append(status)
    asking = [threading.Thread(target=ask_on, args=(body,), daemon=True) for body in (None, None, "x", "x")]
    route(settings, port)
    for each in asking:
        each.start()
    try:
        for _ in range(10):
            instance, before = start_instance(tmp_path, port), len(answered)
            wait_for(lambda: len(answered) > before + 50, "it answers")  # noqa: B023
            instance.stop(signal.SIGKILL)
            wait_until_waiting(settings, 4)
    finally:
        is_over.set()
        instance = start_instance(tmp_path, port)
        for each in asking:
            each.join(60)
        instance.stop()
    assert {*failed} <= {("POST", 502)}  # it was sent to the instance; a GET is asked again


def start_instance(folder: Path, port: int) -> Daemon:
    """Start an instance that is a process of its own, and so can be killed by force."""
    os.makedirs(folder / "instance", exist_ok=True)
    temporary = " ".join(f"{each}_temp_path {folder}/instance;" for each in (
        "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    files.write_atomic(f"{folder}/instance.conf", (
        f"daemon off; master_process off; user root; pid {folder}/instance.pid; error_log {folder}/instance.log; "
        f"events {{ }} http {{ access_log off; {temporary} "
        f'server {{ listen 127.0.0.1:{port}; location / {{ return 200 "here"; }} }} }}'))
    return Daemon(["/usr/sbin/nginx", "-c", f"{folder}/instance.conf"], f"{folder}/instance.out")


def test_a_reload_while_requests_wait_loses_none(settings: Settings, nginx: Nginx, pool: ThreadPoolExecutor) -> None:
    port, = free_ports(1)
    route(settings)
    asked = [pool.submit(ask, nginx) for _ in range(10)]
    wait_until_waiting(settings, 10)
    assert route(settings, timeout=7) == [NAME]
    with Instance(port):
        set_peers(settings, port)
        assert {status for status, _ in results(asked)} == {200}


def test_in_mode_reload_and_by_a_template_that_does_not_know_it_a_wait_is_refused(settings: Settings) -> None:
    reloaded = with_nginx(settings, mode="reload")
    assert route(reloaded, 9, wait=5) == []
    assert condition.read(reloaded).refused[NAME].startswith(
        "its route /books is refused: route.wait is 5s; it must be left out while this node's nginx is in mode reload")
    shipped = (REPOSITORY / "templates" / "location.conf.j2").read_text()
    files.write_atomic(f"{settings.templates_dir}/location.conf.j2", shipped.replace("if wait", "if false"))
    assert route(settings, 9, wait=5) == []
    assert "does not call lictor.wait" in condition.read(settings).refused[NAME]


def test_requests_whose_time_is_over_together_leave_the_workers_free(settings: Settings, nginx: Nginx,
                                                                     pool: ThreadPoolExecutor) -> None:
    """To nginx a pause of less than a millisecond is none: its clock stood still, and a worker waited for ever."""
    route(settings, wait=0.1)
    for _ in range(5):
        assert {status for status, _ in results([pool.submit(ask, nginx) for _ in range(64)])} == {503}
