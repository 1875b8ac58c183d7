"""lictor-serve, a real process, asked over HTTP by a test or by a real Consul agent; nginx follows."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lictor import errors
from lictor.adapters import files, process
from lictor.adapters.consul.payload import LONGEST_BYTES
from lictor.events import agent_config, coalesce, connection_limits, http_door, http_server, script, timer
from lictor.routing import route_store
from lictor.spec import settings

from lab.consul import Consul
from lab.daemon import Daemon, wait_for
from lab.nginx import Nginx
from support.backend import Backend
from support.paths import HANDLERS, text_of
from support.routed import Routed, payload, published


@pytest.fixture
def routed(tmp_path: Path, nginx: Nginx) -> Routed:
    return Routed(str(tmp_path), nginx, ["a", "b"])


@contextlib.contextmanager
def serving(routed: Routed, **environ: str) -> Iterator[Daemon]:
    daemon = routed.serve(**environ)
    try:
        yield daemon
    finally:
        daemon.stop()


def test_events_are_followed_and_what_is_wrong_is_refused(routed: Routed) -> None:
    with serving(routed) as daemon:
        assert routed.post("/route/a", payload("a", 9001), 7) == (200, "done\n")
        assert routed.is_confirmed("a", 9001)
        wait_for(lambda: routed.nginx.get("/a")[0] == 502, "nginx asks an instance that nobody is")
        first = published(routed.settings, "a")
        assert routed.post("/route/a", payload("a", 9001), 8) == (200, "done\n")
        before = published(routed.settings, "a")
        assert before.consul_index == 8 and before.generation == first.generation  # nothing was loaded for that
        bad = payload("a", 9002)
        for status, path, body, headers in (
            (403, "/route/a", bad, {agent_config.SECRET_HEADER: "guessed"}),
            (403, "/route/a", bad, {agent_config.SECRET_HEADER: ""}),
            (403, "/nowhere", b"", {agent_config.SECRET_HEADER: "é"}),
            (404, "/", b"", {}),
            (404, "/route/../a", bad, {}),
            (404, "/route/", bad, {}),
            (400, "/route/a", b"{", {}),
            (400, "/route/a", b"{}", {}),
            (400, "/scale", b"7", {}),
            (400, "/heal", b"", {}),
            (411, "/route/a", bad, {"Content-Length": "many"}),
            (411, "/route/a", bad, {"Content-Length": "9" * 5000}),
            (202, "/route/a", b"", {"Content-Length": str(LONGEST_BYTES + 1)}),
        ):
            assert routed.post(path, body, headers=headers)[0] == status, (path, body, headers)
        assert routed.served("a") == before
        assert daemon.log().count("A sweep reads what it hints at.") == 1
        assert text_of(routed.settings.watch.secret_file) not in daemon.log()
        assert os.stat(routed.settings.watch.secret_file).st_mode & 0o777 == 0o600


def test_strangers_are_few_and_short_and_wash_no_log_away(routed: Routed) -> None:
    """400 idle connections once delayed each event by 10 s, and each refusal was a line."""
    began = time.monotonic()
    with serving(routed) as daemon, contextlib.ExitStack() as stack:
        address = http_door.parse_address(routed.settings)
        idle = [stack.enter_context(socket.create_connection(address, timeout=150)) for _ in range(400)]
        trickling = stack.enter_context(socket.create_connection(address, timeout=150))
        assert routed.post("/route/a", payload("a", 9001), 7) == (200, "done\n")
        with contextlib.suppress(OSError):  # until it is cut
            while True:
                trickling.sendall(b"P")
                trickling.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    assert trickling.recv(1) == b""
                    break
        for each in idle:
            with contextlib.suppress(ConnectionResetError):
                assert each.recv(1) == b""
        for _ in range(100):
            assert routed.post("/alive", headers={agent_config.SECRET_HEADER: "guessed"})[0] == 403
        assert routed.post("/alive")[0] == 200
        refused = [line for line in daemon.log().splitlines() if "status=403" in line or "refused" in line]
        assert 1 <= len(refused) <= 1 + (time.monotonic() - began) // 60  # a line a minute
        assert all("count=" in line for line in refused)


def test_as_many_slow_ones_as_are_handled_at_once_hold_up_no_other_for_long(
        routed: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on = threading.Event()
    monkeypatch.setattr(http_server, "_AT_ONCE", 2)
    monkeypatch.setattr(http_server, "_SLOT_WAIT_S", 0.05)
    monkeypatch.setattr(connection_limits, "_HEADER_S", 60.0)  # on a starved machine, a header may take that long
    monkeypatch.setattr(http_server.Server, "sweep", lambda *_: (202 if going_on.wait(60) else 500, "slow"))
    with http_server.Server(script.Call(routed.settings, None, argparse.Namespace())) as server:
        listening = threading.Thread(target=server.serve_forever)
        listening.start()
        statuses: list[int] = []
        slow = [threading.Thread(target=lambda: statuses.append(routed.post("/sweep")[0])) for _ in range(3)]
        for each in slow:
            each.start()
        wait_for(lambda: in_flight(routed) >= 3, "three are under way")
        assert routed.post("/alive")[0] == 200
        going_on.set()
        for each in slow:
            each.join(60)
        server.shutdown()
        listening.join(60)
    assert statuses == [202, 202, 202]
    free = 0
    while server.connections._slots.acquire(blocking=False):
        free += 1
    assert free == 2


def test_a_request_that_no_thread_can_be_had_for_takes_no_slot(
        routed: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_AT_ONCE", 2)
    with http_server.Server(script.Call(routed.settings, None, argparse.Namespace())) as server:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", _refuse)
            for _ in range(3):
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    server.process_request(object(), ("127.0.0.1", 1))
        slots = server.connections._slots
        assert slots.acquire(blocking=False) and slots.acquire(blocking=False)
        server._threads.clear()  # type: ignore[attr-defined]


def test_a_request_that_trickles_has_a_limit_and_one_that_takes_long_to_answer_has_none(
        routed: Routed, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived, going_on = threading.Event(), threading.Event()
    monkeypatch.setattr(connection_limits, "_HEADER_S", 60.0)

    def sweep(*_: object) -> tuple[int, str]:
        arrived.set()
        return (202 if going_on.wait(60) else 500), "slow"

    monkeypatch.setattr(http_server.Server, "sweep", sweep)
    with http_server.Server(script.Call(routed.settings, None, argparse.Namespace())) as server:
        listening = threading.Thread(target=server.serve_forever, args=(0.05,))
        listening.start()
        statuses: list[int] = []
        slow = threading.Thread(target=lambda: statuses.append(routed.post("/sweep")[0]))
        slow.start()
        assert arrived.wait(60)
        server.connections._arrival_s = 0.3
        with socket.create_connection(http_door.parse_address(routed.settings), timeout=60) as trickling:
            trickling.sendall(b"POST /sweep HTTP/1.1\r\n")
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    trickling.sendall(b"X: y\r\n")
                    threading.Event().wait(0.05)
            with contextlib.suppress(ConnectionResetError):
                assert trickling.recv(1) == b""
        going_on.set()
        slow.join(60)
        server.shutdown()
        listening.join(60)
    assert statuses == [202]


def _refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_slow_service_holds_up_no_other_and_its_newest_news_wins(routed: Routed,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, as each piece of news has to have come in before the next one is sent."""
    monkeypatch.setattr(connection_limits, "_HEADER_S", 60.0)
    monkeypatch.setattr(script.Call, "reconcile", lambda *_: None)
    answers: dict[int, tuple[int, str]] = {}

    def post(port: int) -> threading.Thread:
        news = payload("a", port)
        thread = threading.Thread(target=lambda: answers.update({port: routed.post("/route/a", news, port)}))
        thread.start()
        return thread

    with http_server.Server(script.Call(routed.settings, None, argparse.Namespace())) as server:
        listening = threading.Thread(target=server.serve_forever)
        listening.start()
        with files.locked(route_store.lock_path(routed.state_dir, "a")):
            posts = [post(9001)]
            wait_for(lambda: "a" in server.turns._running, "the first has come in")
            posts.append(post(9002))
            wait_for(lambda: server.turns._waiting.get("a"), "the second has come in")
            assert routed.post("/route/b", payload("b", 9009))[0] == 200 and routed.is_confirmed("b", 9009)
            posts.append(post(9003))
            wait_for(lambda: 9002 in answers, "the second need not wait any more")
            server.shutdown()
        for each in posts:
            each.join()
        listening.join()
    assert answers == {9001: (200, "done\n"), 9002: (202, "there is newer\n"), 9003: (200, "done\n")}
    assert routed.is_confirmed("a", 9003)


def test_what_is_under_way_is_done_before_it_ends(routed: Routed) -> None:
    answers: list[tuple[int, str]] = []
    news = threading.Thread(target=lambda: answers.append(routed.post("/route/a", payload("a", 9001))))
    with serving(routed) as daemon:
        with files.locked(route_store.lock_path(routed.state_dir, "a")):
            news.start()
            wait_for(lambda: waits_for_a_lock(daemon.pid), "the news has come in")
            daemon.send(signal.SIGTERM)
        news.join()
        assert answers == [(200, "done\n")] and daemon.process.wait(150) == 0 and routed.is_confirmed("a", 9001)


def waits_for_a_lock(pid: int) -> bool:
    lines = [line.split() for line in text_of("/proc/locks").splitlines()]
    return any(words[1] == "->" and words[5] == str(pid) for words in lines)


def in_flight(routed: Routed) -> int:
    """The connections that lictor-serve has accepted: established, with its address as the local one."""
    port = f":{int(routed.settings.watch.address.rpartition(':')[2]):04X}"
    lines = [line.split() for line in (files.read("/proc/net/tcp") or "").splitlines()[1:]]
    return sum(line[1].endswith(port) and line[3] == "01" for line in lines)


def test_systemd_is_told(routed: Routed, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(30)
        with serving(routed, NOTIFY_SOCKET=str(tmp_path / "notify")):
            assert {channel.recv(100), channel.recv(100)} == {b"READY=1", b"WATCHDOG=1"}


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd is not installed")
def test_it_serves_on_the_socket_that_systemd_holds(routed: Routed) -> None:
    """systemd-socket-activate listens from the start, and turns into what it is to start at the first connection."""
    address = routed.settings.watch.address
    daemon = Daemon(["systemd-socket-activate", "--listen", address, *(f"--setenv={name}" for name in routed.environ),
                     *process.handler_argv("lictor-serve")],
                    f"{routed.folder}/serve.log", routed.environ)
    try:
        wait_for(lambda: "Listening on" in daemon.log(), "the port is taken")
        assert "action=serve" not in daemon.log()
        assert routed.post("/route/a", payload("a", 9001))[0] == 200 and routed.is_confirmed("a", 9001)
    finally:
        daemon.stop()
    assert "outcome=stopped" in daemon.log()


def test_settings_are_read_again_when_they_change_and_bad_ones_are_not_taken(routed: Routed) -> None:
    path = routed.settings.path
    sound = files.read(path) or ""
    with serving(routed) as daemon:
        files.write_atomic(path, sound.replace("250ms", "1ms"))
        wait_for(lambda: "the old settings stay" in daemon.log(), "it is refused")
        files.write_atomic(path, sound.replace('door = "http"', 'door = "script"'))
        wait_for(lambda: "end lictor serve for that" in daemon.log(), "so is a door without a secret")
        assert routed.post("/alive", headers={agent_config.SECRET_HEADER: ""})[0] == 403
        files.write_atomic(path, sound.replace("250ms", "1s"))
        wait_for(lambda: "has been read again" in daemon.log(), "it is taken")
        daemon.send(signal.SIGHUP)
        wait_for(lambda: daemon.log().count("has been read again") >= 2, "it is taken once more")
        assert routed.post("/route/a", payload("a", 9001))[0] == 200
        files.write_atomic(routed.settings.watch.secret_file, http_door.make_secret())
        wait_for(lambda: routed.post("/alive")[0] == 200, "so is another secret")


def test_the_others_are_told_without_another_process_of_what_this_node_only_routes(routed: Routed) -> None:
    path = f"{routed.state_dir}/routes/a.json"
    files.write_json(path, {**files.read_json(path), "acts": False})
    with serving(routed) as daemon:
        assert routed.post("/route/a", payload("a", 9001))[0] == routed.post("/route/b", payload("b", 9001))[0] == 200
        wait_for(lambda: "action=serving service=a outcome=failed" in daemon.log(), "Consul is away for lictor-serve")
        wait_for(lambda: os.path.exists(f"{routed.state_dir}/locks/b.again"), "a process has come for the other")
        assert not os.path.exists(f"{routed.state_dir}/locks/a.again")


def test_what_is_resident_is_what_routing_takes() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys; from lictor.events import http_server, script; print(*sys.modules)"],
        cwd=HANDLERS,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"click", "docker", "jinja2", "rich", "tenacity", "yaml", "lictor.planner.plan",
                "lictor.events.keys_watch"} & set(told)
    assert {"consul", "lictor.routing.publish"} <= set(told)


def test_another_door_and_a_taken_port_end_it(routed: Routed) -> None:
    call = script.Call(routed.settings, None, argparse.Namespace(page=False))
    with pytest.raises(errors.Refused, match='watch.door is \'script\''):
        http_server.run(call._replace(settings=settings.Settings()))
    with serving(routed), pytest.raises(OSError, match="in use"):
        http_server.run(call)


def test_what_is_requested_during_a_run_is_merged_into_the_next() -> None:
    begun, gate = list[set[int]](), threading.Semaphore(0)

    def start(what: set[int]) -> Callable[[], object]:
        begun.append(what)
        return gate.acquire

    coalescer = coalesce.Coalescer[set[int]](start, set.union)
    for number in range(4):
        coalescer.request({number})
        wait_for(lambda: begun, "the first has begun")
    gate.release()
    wait_for(lambda: len(begun) == 2, "the others follow together")
    coalescer.request({4})
    coalescer.flush()
    gate.release()
    assert begun == [{0}, {1, 2, 3}, {4}]


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[Consul]:
    """Not started. It keeps its data, as a dev agent loses what was registered when it is reloaded."""
    (tmp_path / "consul").mkdir()
    agent = Consul(str(tmp_path / "consul"), keep_data=True)
    try:
        yield agent
    finally:
        agent.stop(signal.SIGKILL)


def test_an_agent_with_http_watches_is_followed_and_its_timer_when_nobody_serves(
        tmp_path: Path, nginx: Nginx, consul: Consul) -> None:
    routed = Routed(str(tmp_path), nginx, [], consul=consul.address, config_dir=consul.config_dir)
    with serving(routed) as daemon, Backend("one") as one, Backend("two") as two:
        static = agent_config.static(routed.settings, [], process.handler_argv, http_door.read_secret(routed.settings))
        for check in agent_config.checks(static):
            check["interval"] = "1s"
        files.write_atomic(
            os.path.join(consul.config_dir, agent_config.STATIC_FILE), agent_config.text(static), mode=0o600
        )
        consul.start(env=routed.environ)
        consul.register({"Name": "books", "ID": "one", "Address": "127.0.0.1", "Port": one.port,
                         "Meta": {"lictor-engine": "docker"}})
        consul.put("services/books/spec", json.dumps({
            "name": "books", "engine": "none", "port": 8080, "route": {"path": "/books"},
            "release": {"strategy": "rolling"}}))
        wait_for(lambda: who_answers(nginx) == {"one"}, "the key leads to the first")
        written = Path(consul.config_dir, agent_config.ROUTES_FILE)
        wait_for(lambda: "http_handler_config" in written.read_text(), "and to a watch")
        assert written.stat().st_mode & 0o777 == 0o640
        consul.register({"Name": "books", "ID": "two", "Address": "127.0.0.1", "Port": two.port,
                         "Meta": {"lictor-engine": "docker"}})
        wait_for(lambda: who_answers(nginx) == {"one", "two"}, "the watch leads to the second")
        told = '{"instances": [["node-1", "one"], ["node-1", "two"]]}'
        wait_for(lambda: consul.get("lictor/nodes/books/node-1") == told, "the others are told")
        wait_for(lambda: consul.passing("lictor"), "the timer answers")
        wait_for(lambda: not misses_in_two_sweeps(routed), "sweeps are started through it", 60)
        daemon.stop(signal.SIGKILL)
        before = misses(routed)
        wait_for(lambda: misses(routed) > before, "the timer misses it")
        consul.request("PUT", "/v1/agent/service/deregister/one")
        wait_for(lambda: who_answers(nginx) == {"two"}, "the timer converges by itself")


def misses(routed: Routed) -> int:
    return routed.log().count("without lictor-serve")


def misses_in_two_sweeps(routed: Routed) -> int:
    """How often the timer misses lictor-serve while two more sweeps end. On a starved machine it may be late."""
    before = misses(routed)
    for _ in range(2):
        last = timer.read(routed.settings)
        wait_for(lambda: timer.read(routed.settings) != last, "a sweep ends")  # noqa: B023
    return misses(routed) - before


def who_answers(nginx: Nginx) -> set[str]:
    return {json.loads(body)["instance"] for status, body in (nginx.get("/books") for _ in range(6)) if status == 200}
