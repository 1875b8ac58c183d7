"""A paused service: with a real nginx in live mode, all of its requests wait as `wait` of the route says."""

import http.client
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import clock, files
from lictor.planner.routes.pause import Record
from lictor.routing import condition, live_peers, publish, route_store
from lictor.spec.quantities import Duration
from lictor.spec.route import Route
from lictor.spec.settings import Settings

from lab.daemon import free_ports, wait_for
from lab.nginx import Nginx
from support.paths import REPOSITORY
from support.routed import decide, nginx_of, reload_by_hand, set_up, with_nginx
from support.waiting import NAME, Instance, ask, results, wait_until_waiting, waiting

ASKED_AT = 1790000000.5


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx) -> Settings:
    return with_nginx(set_up(str(tmp_path), nginx), mode="live")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as made:
        yield made


def put(settings: Settings, pause: Record | None, *routes: Route) -> None:
    """Write the route as lictor-scale does, and publish it."""
    route_store.write_route(settings.state_dir, NAME, {
        "name": NAME, "service": NAME, "routes": [each.table for each in routes or [
            Route("/books", wait=Duration(60))]], "traffic": "healthy", "node": "node-1",
        "empty_ok": False, "removed": False, **({"pause": pause._asdict()} if pause else {})})
    publish.publish(settings, [NAME])


def paused(for_s: float, uptime_for_s: float | None = None, asked_at: float = ASKED_AT) -> Record:
    return Record(asked_at, time.time() + for_s, clock.uptime_s() + (for_s if uptime_for_s is None else uptime_for_s))


def left_s(settings: Settings) -> int:
    return live_peers.paused_s(nginx_of(settings).conf_dir, NAME)


def route(settings: Settings, port: int) -> None:
    """Route an instance without a pause, and see that it answers."""
    put(settings, None)
    decide(settings, NAME, port)
    publish.publish(settings, [NAME])


def test_all_requests_wait_although_an_instance_serves_until_the_pause_is_called_off(
        settings: Settings, nginx: Nginx, pool: ThreadPoolExecutor) -> None:
    port, = free_ports(1)
    with Instance(port) as instance:
        route(settings, port)
        assert ask(nginx)[0] == 200 and left_s(settings) == 0
        put(settings, paused(60))
        asked = [pool.submit(ask, nginx, "/books", str(number) if number % 2 else None) for number in range(40)]
        wait_until_waiting(settings, 40)
        assert instance.asked == ["/books"] and 0 < left_s(settings) <= 60
        published = route_store.published(settings.state_dir, NAME)
        assert published and published.confirmed and published.paused == ASKED_AT
        put(settings, None)
        assert {status for status, _ in results(asked)} == {200}
        assert len(instance.asked) == 41 and waiting(settings) == left_s(settings) == 0
        published = route_store.published(settings.state_dir, NAME)
        assert published and published.paused == 0


@pytest.mark.parametrize(("for_s", "uptime_for_s"), [(0.5, 0.5), (0.5, 300.0), (300.0, 0.5)],
                         ids=["both", "clock", "uptime"])
def test_nginx_ends_a_pause_by_itself_by_whichever_clock_comes_first(
        settings: Settings, nginx: Nginx, pool: ThreadPoolExecutor, for_s: float, uptime_for_s: float) -> None:
    port, = free_ports(1)
    with Instance(port):
        route(settings, port)
        put(settings, paused(for_s, uptime_for_s))
        asked = [pool.submit(ask, nginx) for _ in range(10)]
        assert {status for status, _ in results(asked)} == {200}
        assert left_s(settings) == 0


def test_a_list_that_outlived_both_clocks_pauses_nothing(settings: Settings, nginx: Nginx) -> None:
    """A machine without a battery for its clock was started: both times of the file are far off then."""
    port, = free_ports(1)
    with Instance(port):
        route(settings, port)
        published = route_store.published(settings.state_dir, NAME)
        assert published
        live_peers._set(nginx_of(settings).conf_dir, NAME, live_peers._lines(published.peers, paused(700)))
        assert ask(nginx)[0] == 200 and left_s(settings) == 0


def test_after_its_wait_a_request_is_answered_503_while_the_pause_goes_on(settings: Settings, nginx: Nginx) -> None:
    port, = free_ports(1)
    with Instance(port) as instance:
        route(settings, port)
        put(settings, paused(60), Route("/books", wait=Duration(0.2)))
        assert ask(nginx) == ask(nginx, body="x") == (503, "5") and instance.asked == []


def test_requests_in_flight_go_on_and_a_body_that_comes_slowly_does_not_pass_the_pause(
        settings: Settings, nginx: Nginx) -> None:
    port, = free_ports(1)
    with Instance(port) as instance:
        route(settings, port)
        slow = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=60)
        slow.putrequest("POST", "/books")
        slow.putheader("Content-Length", "4")
        slow.endheaders()
        slow.send(b"sl")
        wait_for(lambda: ask(nginx)[0] == 200, "nginx has read the head of the slow one, too")
        put(settings, paused(60))
        slow.send(b"ow")
        wait_until_waiting(settings, 1)
        assert "slow" not in instance.asked
        put(settings, None)
        answer = slow.getresponse()
        assert (answer.status, answer.read()) == (200, b"POST /books slow")
        slow.close()


def test_a_request_that_an_instance_is_answering_is_not_cut(settings: Settings, nginx: Nginx,
                                                            pool: ThreadPoolExecutor) -> None:
    port, = free_ports(1)
    go_on = threading.Event()
    with Instance(port) as instance:
        handler: Any = instance.server.RequestHandlerClass
        answer = handler.do_GET

        def do_get(self: Any) -> None:
            go_on.wait(60)
            answer(self)
        handler.do_GET = do_get
        route(settings, port)
        asked = pool.submit(ask, nginx)
        at = route_store.published(settings.state_dir, NAME)
        assert at

        def in_flight() -> int:
            return live_peers.requests_at_peer(nginx_of(settings).conf_dir, NAME, at.peers[0])
        wait_for(lambda: in_flight() == 1, "the request is at its instance")
        put(settings, paused(60))
        late = pool.submit(ask, nginx)
        wait_until_waiting(settings, 1)
        assert in_flight() == 1
        go_on.set()
        assert asked.result()[0] == 200 and not late.done()
        put(settings, None)
        assert late.result()[0] == 200


def test_a_pause_outlives_reloads_and_other_peers(settings: Settings, nginx: Nginx, pool: ThreadPoolExecutor) -> None:
    first, second = free_ports(2)
    with Instance(first) as one, Instance(second) as other:
        route(settings, first)
        put(settings, paused(60))
        asked = [pool.submit(ask, nginx) for _ in range(10)]
        wait_until_waiting(settings, 10)
        reload_by_hand(nginx)
        decide(settings, NAME, second)
        assert live_peers.publish(nginx_of(settings), settings.state_dir, NAME)
        late = pool.submit(ask, nginx)
        wait_until_waiting(settings, 11)
        put(settings, None)
        assert {status for status, _ in results([*asked, late])} == {200} and one.asked == [] != other.asked


def test_nginx_started_anew_holds_on_and_a_pause_that_is_over_is_not_revived(settings: Settings, nginx: Nginx,
                                                                             pool: ThreadPoolExecutor) -> None:
    port, = free_ports(1)
    with Instance(port) as instance:
        route(settings, port)
        put(settings, paused(60))
        nginx.stop()
        nginx.start()
        asked = pool.submit(ask, nginx)
        wait_until_waiting(settings, 1)
        assert instance.asked == []
        put(settings, paused(-1))
        assert asked.result()[0] == 200 and "paused" not in (
            files.read(f"{nginx_of(settings).conf_dir}/live/{NAME}.peers") or "")


def test_while_requests_wait_that_were_woken_a_new_pause_holds_them(settings: Settings, nginx: Nginx,
                                                                    pool: ThreadPoolExecutor) -> None:
    """A pause that begins anew, with the first one called off in between, loses none."""
    port, = free_ports(1)
    with Instance(port):
        route(settings, port)
        for asked_at in range(1, 6):
            put(settings, paused(60, asked_at=float(asked_at)))
            asked = [pool.submit(ask, nginx) for _ in range(50)]
            wait_until_waiting(settings, 50)
            put(settings, None)
            put(settings, paused(60, asked_at=asked_at + 0.5))
            put(settings, None)
            assert {status for status, _ in results(asked)} == {200}


@pytest.mark.parametrize(("mode", "obstacle", "said"), [
    ("live", "", ""),
    ("live", "wait is missing in the route /", "is not carried out: wait is missing in the route /. Requests reach "),
    ("reload", "", "is not carried out: nginx is in mode reload, and only mode live can let requests wait. Requests "),
])
def test_a_pause_that_nobody_carries_out_is_told(settings: Settings, mode: str, obstacle: str, said: str) -> None:
    given = with_nginx(settings, mode=mode)
    wait = Duration(60) if mode == "live" else None
    put(given, paused(60)._replace(obstacle=obstacle), Route("/books", wait=wait))
    decide(given, NAME, 9)
    publish.publish(given, [NAME])
    told = condition.read(given)
    assert told.refused == {} and told.silence == ""
    assert said in told.unconfirmed.get(NAME, "") and bool(told.unconfirmed) == bool(said)
    assert bool(left_s(given)) == (not said)


def test_a_pause_that_nginx_has_lost_is_told(settings: Settings) -> None:
    put(settings, paused(60))
    decide(settings, NAME, 9)
    publish.publish(settings, [NAME])
    assert condition.read(settings).unconfirmed == {}
    published = route_store.published(settings.state_dir, NAME)
    assert published
    live_peers._set(nginx_of(settings).conf_dir, NAME, live_peers._lines(published.peers, None))
    assert "nginx has lost it" in condition.read(settings).unconfirmed[NAME]
    publish.publish(settings, [NAME])
    assert condition.read(settings).unconfirmed == {}


@pytest.mark.parametrize("before", [None, Route("/books")], ids=["files that wait", "files that do not"])
def test_only_files_that_let_requests_wait_are_paused(settings: Settings, nginx: Nginx, tmp_path: Path,
                                                      before: Route | None) -> None:
    """What nginx serves counts, not what is asked for: a template is refused, say."""
    port, = free_ports(1)
    with Instance(port):
        put(settings, None, *filter(None, [before]))
        decide(settings, NAME, port)
        publish.publish(settings, [NAME])
        shipped = (REPOSITORY / "templates" / "location.conf.j2").read_text()
        files.write_atomic(f"{tmp_path}/templates/location.conf.j2", f"{shipped}\nno_such_directive;")
        put(settings, paused(60))
        published = route_store.published(settings.state_dir, NAME)
        assert published and published.refusal
        assert (published.paused, bool(left_s(settings))) == ((0, False) if before else (ASKED_AT, True))
        if before:
            assert ask(nginx)[0] == 200  # it was 502
        os.remove(f"{tmp_path}/templates/location.conf.j2")
        publish.publish(settings, [NAME])
        assert left_s(settings) and condition.read(settings).unconfirmed == {}
