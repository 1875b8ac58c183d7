"""Publications to a real nginx, from what is written into the state folder."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from lictor import errors
from lictor.adapters import files
from lictor.adapters.consul.answers import Catalogue
from lictor.adapters.consul.client import Client as ConsulClient
from lictor.model import Clock
from lictor.routing import (
    condition,
    follow,
    nginx_processes,
    peers,
    publish,
    route_store,
    templates,
    user_servers,
)
from lictor.routing import nginx as lictor_nginx
from lictor.routing.nginx_processes import Processes
from lictor.spec.settings import Settings

from lab.daemon import Daemon, wait_for
from lab.docker import Docker
from lab.nginx import Nginx
from support.backend import Backend
from support.paths import REPOSITORY, text_of
from support.routed import (
    HOST_TEMPLATE,
    children,
    nginx_of,
    published,
    put_route,
    reload_by_hand,
    set_up,
    with_nginx,
    workers,
)

TEMPLATE = (REPOSITORY / "templates" / "location.conf.j2").read_text()


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx) -> Settings:
    return set_up(str(tmp_path), nginx)


def put(settings: Settings, name: str, *ports: int, path: str = "", host: str = "",
        removed: bool = False) -> None:
    """And what a first decision would."""
    put_route(settings, name, path=path or f"/{name}", host=host, removed=removed)
    route_store.write_published(settings.state_dir, name, peers.PublishedRoute(
        tuple(peers.Peer("127.0.0.1", port) for port in ports),
        tuple(("node-1", f"{name}-{port}") for port in ports)))


def change_peers(settings: Settings, name: str, *ports: int) -> None:
    """What another decision leaves of a service that nginx serves already."""
    route_store.write_published(settings.state_dir, name, published(settings, name)._replace(
        peers=tuple(peers.Peer("127.0.0.1", port) for port in ports), confirmed=False))


def is_confirmed(settings: Settings, name: str) -> bool:
    return published(settings, name).confirmed


def written(nginx: Nginx) -> set[str]:
    """Every file that lictor wrote for services."""
    return {os.path.relpath(os.path.join(folder, name), nginx.conf_dir)
            for below in ("peers", "upstreams", "locations", "servers")
            for folder, _, names in os.walk(os.path.join(nginx.conf_dir, below)) for name in names}


def test_prepare_changes_nothing_the_second_time(tmp_path: Path) -> None:
    conf_dir = str(tmp_path / "lictor")
    assert lictor_nginx.prepare(conf_dir) == [f"{conf_dir}/lictor.conf"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "lictor").rglob("*")}
    assert lictor_nginx.prepare(conf_dir) == []
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "lictor").rglob("*")}
    with pytest.raises(errors.Refused, match="107 bytes"):
        lictor_nginx.prepare(str(tmp_path / ("x" * 100)))


def test_a_publication_is_served_and_confirmed_and_the_old_workers_are_gone(settings: Settings,
                                                                            nginx: Nginx) -> None:
    old_workers = workers(nginx)
    with Backend("a") as one:
        put(settings, "books", one.port)
        put(settings, "shelves")
        assert publish.publish(settings) == ["books", "shelves"]
        assert nginx.get("/books") == (200, '{"instance": "a", "boot": "1"}')
    assert nginx.get("/shelves")[0] == 503
    assert is_confirmed(settings, "books") and is_confirmed(settings, "shelves")
    generation = published(settings, "books").generation
    wait_for(lambda: lictor_nginx.answered(nginx.conf_dir) == generation, "nginx answers it")
    wait_for(lambda: not children(nginx) & old_workers, "the old workers have ended")
    assert publish.publish(settings) == []


def test_nginx_is_asked_first_about_what_is_new_to_it_and_not_about_other_peers(settings: Settings, nginx: Nginx,
                                                                                tmp_path: Path) -> None:
    asked, binary = tmp_path / "asked", tmp_path / "nginx-that-tells"
    peers_too = f"cat {nginx.conf_dir}/run/peers/* >> {asked}"
    binary.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n{peers_too}\nexec nginx "$@"\n')
    binary.chmod(0o755)
    settings = with_nginx(settings, binary=str(binary), reload_min_interval_s=0.2)
    with Backend("a") as one, Backend("b") as two:
        for ports, times in (((one.port,), 1), ((two.port,), 1), ((one.port, two.port), 1), ((), 1), ((two.port,), 1)):
            put(settings, "books", *ports)
            assert publish.publish(settings) == ["books"]
            assert asked.read_text().count("check.conf") == times, ports
        assert asked.read_text().count(f"server 127.0.0.1:{one.port} max_fails=0;") == 1  # the peers were staged
        assert os.listdir(f"{nginx.conf_dir}/run/peers") == []
        assert nginx.get("/books") == (200, '{"instance": "b", "boot": "1"}')


def test_an_empty_service_answers_503_with_retry_after(settings: Settings, nginx: Nginx) -> None:
    put(settings, "books")
    publish.publish(settings)
    answer = subprocess.run(["curl", "-si", nginx.url + "/books"], capture_output=True, text=True).stdout
    assert " 503 " in answer and "\nRetry-After: 5" in answer


def make_clash(nginx: Nginx) -> str:
    """The user has a location of his own, /nginx-is-up/x, which only the whole configuration shows; the text before."""
    with open(nginx.main_conf, encoding="utf-8") as file:
        text = file.read()
    with open(nginx.main_conf, "w", encoding="utf-8") as file:
        file.write(text.replace("location = ", "location = /nginx-is-up/x { return 204; } location = "))
    return text


def test_what_nginx_refuses_is_rolled_back_and_blocks_no_other(settings: Settings, nginx: Nginx,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    put(settings, "books", 8001)
    publish.publish(settings)
    before = {path: text_of(f"{nginx.conf_dir}/{path}") for path in written(nginx)}
    put(settings, "books", 8002)
    put(settings, "clash", 8003, path="/nginx-is-up/x")
    text = make_clash(nginx)
    assert publish.publish(settings) == ["books"]
    assert "outcome=rolled-back" in (log := capsys.readouterr().err) and "duplicate location" in log
    assert not is_confirmed(settings, "clash")
    assert written(nginx) == set(before)
    assert "127.0.0.1:8002" in text_of(f"{nginx.conf_dir}/peers/books.conf")
    with open(nginx.main_conf, "w", encoding="utf-8") as file:
        file.write(text)
    assert publish.publish(settings) == []
    assert publish.publish(settings, ["books", "clash"]) == ["clash"]  # as the timer does, once the cause is gone


def move_to_clash(settings: Settings, nginx: Nginx, name: str, host: str) -> None:
    """The route is moved to where the user has a location of his own, which only the whole configuration shows."""
    if host:
        template = f"{settings.templates_dir}/server.conf.j2"
        text = text_of(template)
        files.write_atomic(template, text.replace("server {", "server { location = /taken { return 204; }"))
    else:
        make_clash(nginx)
    put_route(settings, name, path="/taken" if host else "/nginx-is-up/x", host=host)


def move_to_nonsense(settings: Settings, nginx: Nginx, name: str, host: str) -> None:
    """The route is moved, and its template is no good any more, but for the earlier one."""
    files.write_atomic(f"{settings.templates_dir}/location.conf.j2", "{% if path == '/y' %}x{% endif %}" + TEMPLATE)
    put_route(settings, name, path="/y", host=host)


@pytest.mark.parametrize("host", ["", "books.example.com"])
@pytest.mark.parametrize("move", [move_to_clash, move_to_nonsense])
@pytest.mark.parametrize("counts", [(0, 1, 2, 0), (1, 0, 2)])
def test_where_a_route_is_refused_the_earlier_one_becomes_empty_and_comes_back(
        settings: Settings, nginx: Nginx, host: str, move: Callable[[Settings, Nginx, str, str], None],
        counts: tuple[int, ...],
) -> None:
    with Backend("a") as a, Backend("b") as b:
        ports = a.port, b.port
        put(settings, "books", *ports[:counts[0]], host=host)
        assert publish.publish(settings) == ["books"]
        move(settings, nginx, "books", host)
        assert publish.publish(settings, ["books"]) == []
        for count in counts[1:]:
            change_peers(settings, "books", *ports[:count])
            assert publish.publish(settings) == ["books"] and is_confirmed(settings, "books")
            assert {nginx.get("/books", host=host)[0] for _ in range(4)} == {200 if count else 503}
            text = text_of(f"{nginx.conf_dir}/peers/books.conf")
            assert [f":{port} " in text for port in ports] == [number < count for number in range(2)]
        assert published(settings, "books").refusal
        put_route(settings, "books", path="/z", host=host)
        assert publish.publish(settings, ["books"]) == ["books"]
        assert nginx.get("/books", host=host)[0] == 404 and nginx.get("/z", host=host)[0] == (200 if count else 503)


def test_what_had_waited_when_a_route_was_refused_is_not_what_nginx_has_accepted(
        settings: Settings, nginx: Nginx,
) -> None:
    hindered = with_nginx(settings, pid_file=f"{nginx.folder}/none")
    with Backend("a") as a, Backend("b") as b:
        put(settings, "books", a.port)
        assert publish.publish(settings) == ["books"]
        put_route(settings, "books", path="/waits")
        assert publish.publish(hindered, ["books"]) == []
        move_to_clash(settings, nginx, "books", "")
        assert publish.publish(settings, ["books"]) == ["books"]  # the peers are
        assert '"a"' in nginx.get("/books")[1] and nginx.get("/waits")[0] == 404
        change_peers(settings, "books", b.port)
        assert publish.publish(settings) == ["books"] and '"b"' in nginx.get("/books")[1]


@pytest.mark.parametrize("moved_to", ["/books", "/moved"])
def test_where_a_template_is_refused_nobody_is_sent_to_who_has_left(settings: Settings, nginx: Nginx,
                                                                    capsys: pytest.CaptureFixture[str],
                                                                    moved_to: str) -> None:
    path = f"{settings.templates_dir}/location.conf.j2"
    with Backend("a") as a, Backend("b") as b:
        put(settings, "books", a.port)
        assert publish.publish(settings) == ["books"]
        files.write_atomic(path, TEMPLATE.replace("{{ module }}_pass", "nonsense; {{ module }}_pass"))
        put_route(settings, "books", path=moved_to)
        assert publish.publish(settings, ["books"]) == []
        for ports, status in (((), 503), ((b.port,), 200), ((), 503), ((a.port, b.port), 200)):
            change_peers(settings, "books", *ports)
            assert publish.publish(settings, ["books"]) == ["books"]
            assert {nginx.get("/books")[0] for _ in range(4)} == {status}
        capsys.readouterr()
        change_peers(settings, "books")
        assert publish.publish(settings) == ["books"] and "refused" not in capsys.readouterr().err
        files.write_atomic(path, TEMPLATE)
        assert publish.publish(settings, ["books"]) == ["books"] and nginx.get(moved_to)[0] == 503


def test_what_a_killed_one_has_swapped_in_is_taken_back_when_nginx_refuses_it(settings: Settings, nginx: Nginx,
                                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    put(settings, "books", 8001)
    publish.publish(settings)
    before = written(nginx)
    make_clash(nginx)
    put(settings, "clash", 8003, path="/nginx-is-up/x")
    with monkeypatch.context() as patch:
        patch.setattr(lictor_nginx, "reload", killed)
        with pytest.raises(KeyboardInterrupt):
            publish.publish(settings)
    assert written(nginx) > before
    change_peers(settings, "books", 8002)
    assert publish.publish(settings) == ["books"]
    assert written(nginx) == before
    lictor_nginx.validate(nginx_of(settings), nginx.main_conf)


def killed(_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("pid_file", ["nginx.pid", "none"])
def test_the_names_of_other_files_survive_a_power_cut_before_they_are_confirmed_or_left(
        settings: Settings, nginx: Nginx, monkeypatch: pytest.MonkeyPatch, pid_file: str,
) -> None:
    put(settings, "books", 8001)
    publish.publish(settings)
    synced: list[str] = []
    sync, confirm, settle = files.sync, lictor_nginx._confirm, lictor_nginx.settle

    def note_sync(paths: Iterable[str]) -> None:
        synced.extend(paths := list(paths))
        sync(paths)

    def require_synced(*arguments: Any) -> None:
        assert f"{nginx.conf_dir}/peers" in synced
        (confirm if len(arguments) > 1 else settle)(*arguments)

    monkeypatch.setattr(files, "sync", note_sync)
    monkeypatch.setattr(lictor_nginx, "_confirm", require_synced)
    change_peers(settings, "books", 8002)
    lictor_nginx.take_back(nginx.conf_dir)
    monkeypatch.setattr(lictor_nginx, "take_back", lambda _: None)
    monkeypatch.setattr(lictor_nginx, "settle", require_synced)
    assert publish.publish(with_nginx(settings, pid_file=f"{nginx.folder}/{pid_file}")) == (
        ["books"] if pid_file == "nginx.pid" else [])


def test_a_folder_that_cannot_be_made_durable_is_a_refusal_and_taken_back(settings: Settings, nginx: Nginx,
                                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    put(settings, "books", 8001)
    publish.publish(settings)
    before, sync = text_of(f"{nginx.conf_dir}/peers/books.conf"), files.sync

    def fail(paths: Iterable[str]) -> None:
        if f"{nginx.conf_dir}/peers" in paths:
            monkeypatch.setattr(files, "sync", sync)
            raise OSError(errno.EIO, "Input/output error")
        sync(paths)

    monkeypatch.setattr(files, "sync", fail)
    change_peers(settings, "books", 8002)
    assert publish.publish(settings) == [] and not is_confirmed(settings, "books")
    assert text_of(f"{nginx.conf_dir}/peers/books.conf") == before
    assert publish.publish(settings) == ["books"]


@pytest.mark.parametrize("user", [0, 1000])
def test_what_nginx_could_not_start_with_is_taken_back_while_it_is_down(settings: Settings, nginx: Nginx,
                                                                        monkeypatch: pytest.MonkeyPatch,
                                                                        user: int) -> None:
    put(settings, "books", 8001)
    publish.publish(settings)
    make_clash(nginx)
    nginx.stop()
    monkeypatch.setattr(lictor_nginx, "_CONFIRM_TIMEOUT_S", 8)  # twice over, where nginx is not asked for its reason
    monkeypatch.setattr(os, "geteuid", lambda: user)
    put(settings, "clash", 8003, path="/nginx-is-up/x")
    assert publish.publish(settings) == []
    nginx.start()
    change_peers(settings, "books", 8002)
    assert publish.publish(settings) == ["books"]


def test_who_may_not_read_the_main_configuration_waits_for_a_slow_reload(settings: Settings, nginx: Nginx,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """As the agent's user would, to whom nginx says that it may not open its pid file."""
    monkeypatch.setattr(lictor_nginx, "_ASK_WHY_AFTER_S", -1)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    put(settings, "books", 8001)
    unreadable = with_nginx(settings, main_conf=f"{nginx.folder}/none")
    assert publish.publish(unreadable) == ["books"]


@pytest.mark.parametrize(("user", "refusals"), [(0, 1), (0, 2), (1000, 1)])
def test_what_nginx_refused_is_told_again_once_its_operator_has_mended_it(settings: Settings, nginx: Nginx,
                                                                          monkeypatch: pytest.MonkeyPatch, user: int,
                                                                          refusals: int) -> None:
    """Publications wait for the one that waits for the answer to a signal, which nginx may have swallowed."""
    monkeypatch.setattr(lictor_nginx, "_ASK_WHY_AFTER_S", 0.1)
    monkeypatch.setattr(lictor_nginx, "_CONFIRM_TIMEOUT_S", 60 if user == 0 else 10)  # at half it is told again
    monkeypatch.setattr(os, "geteuid", lambda: user)
    good, hup, left = text_of(nginx.main_conf), lictor_nginx._hup, refusals

    def hup_while_it_is_broken(*arguments: Any) -> Processes:
        nonlocal left
        files.write_atomic(nginx.main_conf, f"{good}{'no_such_directive on;' * (left > 0)}")
        refused, left = text_of(f"{nginx.folder}/error.log").count("[emerg]"), left - 1
        before = hup(*arguments)
        if left >= 0:
            wait_for(lambda: text_of(f"{nginx.folder}/error.log").count("[emerg]") > refused, "nginx refuses it")
            files.write_atomic(nginx.main_conf, good)
        return before

    monkeypatch.setattr(lictor_nginx, "_hup", hup_while_it_is_broken)
    put(settings, "books")
    assert publish.publish(settings) == ["books"] and nginx.get("/books")[0] == 503


def test_a_service_whose_own_files_are_no_good_is_left_out(settings: Settings, nginx: Nginx, tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "templates" / "location.conf.j2").write_text(
        "location {{ path }} { {% if name == 'bad' %}no_such_directive on;{% endif %} return 204; }")
    (tmp_path / "templates" / "upstream.conf.j2").write_text(
        "upstream {{ 'x' if name == 'odd' else 'lictor_' + name }} { include {{ peers_file }}; }")
    for name in ("bad", "good", "odd"):
        put(settings, name)
    assert publish.publish(settings) == ["good"]
    log = capsys.readouterr().err
    assert 'service=bad outcome=refused reason="nginx refuses it: unknown directive' in log
    assert "service=odd outcome=refused" in log
    assert nginx.get("/good")[0] == 204


def test_without_nginx_the_files_wait_and_are_confirmed_once_it_runs(settings: Settings, nginx: Nginx,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    nginx.stop()
    put(settings, "books")
    assert publish.publish(settings) == []
    assert "nginx is not running" in capsys.readouterr().err
    nginx.start()
    old_workers = workers(nginx)
    assert publish.publish(settings) == ["books"]
    assert workers(nginx) == old_workers  # what it serves needed no reload


def test_a_pid_file_that_names_another_process_signals_nobody(settings: Settings, nginx: Nginx, tmp_path: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    bystander = Daemon(["sleep", "60"], str(tmp_path / "sleep.log"))
    try:
        with open(nginx.pid_file, "w", encoding="utf-8") as file:
            file.write(str(bystander.pid))
        put(settings, "books")
        assert publish.publish(settings) == []
        assert bystander.running and "names no nginx master process" in capsys.readouterr().err
    finally:
        bystander.stop()


def test_nginx_starts_again_after_a_kill_once_its_socket_is_cleaned_away(settings: Settings,
                                                                         nginx: Nginx) -> None:
    put(settings, "books")
    publish.publish(settings)
    for pid in [nginx.pid, *children(nginx)]:
        with contextlib.suppress(ProcessLookupError):  # a worker from before the publication may just end
            os.kill(pid, signal.SIGKILL)
    nginx.stop()
    leftovers = [f"{nginx.conf_dir}/run/generation.sock", f"{nginx.conf_dir}/upstreams/.x.conf.1.tmp"]
    open(leftovers[1], "w", encoding="utf-8").close()
    for path in leftovers:
        os.utime(path, (1, 1))
    cleaned: list[str] = []

    def are_cleaned() -> bool:
        cleaned.extend(lictor_nginx.clean(nginx_of(settings), Clock(time.time())))
        return len(cleaned) > 1

    wait_for(are_cleaned, "both are cleaned away")
    assert sorted(cleaned) == sorted(leftovers)
    nginx.start()
    assert lictor_nginx.clean(nginx_of(settings), Clock(time.time())) == []
    assert nginx.get("/books")[0] == 503


def test_services_of_one_host_share_a_server_and_leave_no_trace(settings: Settings, nginx: Nginx) -> None:
    with Backend("a") as one, Backend("b") as two:
        put(settings, "a", one.port, path="/x", host="books.example.com")
        put(settings, "b", two.port, path="/y", host="books.example.com")
        publish.publish(settings)
        assert '"a"' in nginx.get("/x", host="books.example.com")[1]
        assert '"b"' in nginx.get("/y", host="books.example.com")[1]
        assert nginx.get("/x")[0] == 404
        put(settings, "a", one.port, path="/z")
        put(settings, "b", removed=True)
        publish.publish(settings)
        assert '"a"' in nginx.get("/z")[1]
    assert written(nginx) == {"peers/a.conf", "upstreams/lictor_a.conf", "locations/a.conf"}


def change_nothing(settings: Settings, nginx: Nginx) -> None:
    pass


def change_main_conf(settings: Settings, nginx: Nginx) -> None:
    files.write_atomic(nginx.main_conf, text_of(nginx.main_conf) + "\n")


def change_what_it_includes(settings: Settings, nginx: Nginx) -> None:
    files.write_atomic(f"{nginx.folder}/mine/x.conf", "# nothing\n")


def change_template(settings: Settings, nginx: Nginx) -> None:
    files.write_atomic(f"{settings.templates_dir}/location.conf.j2", TEMPLATE + "\n")


def change_route(settings: Settings, nginx: Nginx) -> None:
    put_route(settings, "books", path="/y")


def refuse_until(settings: Settings, until: float) -> None:
    now = published(settings, "books")
    assert now.refusal
    route_store.write_published(settings.state_dir, "books", now._replace(refusal=now.refusal._replace(until=until)))


def let_time_pass(settings: Settings, nginx: Nginx) -> None:
    refuse_until(settings, time.time() - 1)


def turn_the_clock_back(settings: Settings, nginx: Nginx) -> None:
    refuse_until(settings, time.time() + 86400)


def test_files_change_only_when_nginx_is_not_reading_them_for_somebody_else(settings: Settings, nginx: Nginx) -> None:
    """It has read its locations when it comes to a pipe, and would answer a generation that came after them."""
    put(settings, "books", path="/books")
    assert publish.publish(settings) == ["books"]
    pipe, moved = f"{nginx.folder}/pipe.conf", f"{nginx.folder}/moved.conf"
    os.mkfifo(pipe)
    snippet = f"include {nginx.conf_dir}/lictor.conf"
    files.write_atomic(nginx.main_conf, text_of(nginx.main_conf).replace(snippet, f"include {pipe}; {snippet}"))
    nginx.send(signal.SIGHUP)
    wait_for(lambda: text_of(f"/proc/{nginx.pid}/wchan") == "wait_for_partner", "nginx waits at the pipe")
    os.rename(pipe, moved)
    files.write_atomic(pipe, "")
    go_on = threading.Timer(0.3, lambda: os.close(os.open(moved, os.O_WRONLY)))
    go_on.start()
    put_route(settings, "books", path="/moved")
    assert publish.publish(settings) == ["books"]
    go_on.join()
    assert (nginx.get("/books")[0], nginx.get("/moved")[0]) == (404, 503)


def test_nginx_is_not_given_up_while_it_reads_its_files(settings: Settings, nginx: Nginx,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits at a pipe for five times as long as it then has to answer."""
    put(settings, "books", 9001)
    assert publish.publish(settings) == ["books"]
    pipe, waits_since = f"{nginx.folder}/pipe.conf", list[float]()
    os.mkfifo(pipe)
    files.write_atomic(nginx.main_conf, text_of(nginx.main_conf).replace("http {", f"http {{ include {pipe};"))
    look = nginx_processes.is_at_work

    def let_go_after_a_second(pid_file: str) -> bool:
        if text_of(f"/proc/{nginx.pid}/wchan") == "wait_for_partner":
            waits_since.append(time.monotonic())
            if waits_since[-1] > waits_since[0] + 1.0:
                os.close(os.open(pipe, os.O_WRONLY))
        return look(pid_file)

    monkeypatch.setattr(nginx_processes, "is_at_work", let_go_after_a_second)
    for limit in ("_CONFIRM_TIMEOUT_S", "_ASK_WHY_AFTER_S"):
        monkeypatch.setattr(lictor_nginx, limit, 0.2)
    change_peers(settings, "books", 9002)
    assert publish.publish(settings) == ["books"] and is_confirmed(settings, "books")
    assert waits_since[-1] > waits_since[0] + 1.0


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize(("change", "is_tried"), [
    (change_nothing, False), (change_main_conf, True), (change_what_it_includes, True), (change_template, True),
    (change_route, True), (let_time_pass, True), (turn_the_clock_back, True)])
def test_what_was_refused_is_tried_again_when_it_may_be_accepted(settings: Settings, nginx: Nginx,
                                                                 monkeypatch: pytest.MonkeyPatch,
                                                                 capsys: pytest.CaptureFixture[str], user: int,
                                                                 change: Callable[[Settings, Nginx], None],
                                                                 is_tried: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with Backend("a") as a, Backend("b") as b:
        put(settings, "books", a.port)
        assert publish.publish(settings) == ["books"]
        # Not before: a second signal might make nginx read the earlier main_conf, and then the files of /x.
        monkeypatch.setattr(lictor_nginx, "_CONFIRM_TIMEOUT_S", 1)  # in vain
        monkeypatch.setattr(lictor_nginx, "_ASK_WHY_AFTER_S", 0)
        text = text_of(nginx.main_conf)
        files.write_atomic(nginx.main_conf, text.replace(
            "location = ", "include mine/*.conf; location = /x { return 204; } location = /y { return 204; } "
            "location = "))
        put_route(settings, "books", path="/x")
        assert publish.publish(settings, ["books"]) == [] and "rolled-back" in capsys.readouterr().err
        os.makedirs(f"{nginx.folder}/mine", exist_ok=True)
        change(settings, nginx)
        assert publish.publish(settings, ["books"]) == []
        assert ("rolled-back" in capsys.readouterr().err) is is_tried
        assert publish.publish(settings, ["books"]) == [] and "rolled-back" not in capsys.readouterr().err
        monkeypatch.setattr(lictor_nginx, "_CONFIRM_TIMEOUT_S", 60)
        change_peers(settings, "books", b.port)
        assert publish.publish(settings) == ["books"] and '"b"' in nginx.get("/books")[1]
        files.write_atomic(nginx.main_conf, text)
        assert publish.publish(settings, ["books"]) == ["books"]
        assert nginx.get("/books")[0] == 404 and not published(settings, "books").refusal


def test_a_removal_that_is_refused_is_not_tried_at_each_sweep_either(settings: Settings, nginx: Nginx,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    """The user's own location names the upstream."""
    text = text_of(nginx.main_conf)
    with Backend("a") as a:
        put(settings, "books", a.port)
        assert publish.publish(settings) == ["books"]
        files.write_atomic(nginx.main_conf, text.replace(
            "location = ", "location /mine { proxy_pass http://lictor_books; } location = "))
        put_route(settings, "books", path="/books", removed=True)
        change_peers(settings, "books")
        assert publish.publish(settings, ["books"]) == ["books"] and "rolled-back" in capsys.readouterr().err
        assert nginx.get("/books")[0] == 503
        assert publish.publish(settings, ["books"]) == [] and "rolled-back" not in capsys.readouterr().err
        assert "its removal is refused" in condition.read(settings).refused["books"]
    files.write_atomic(nginx.main_conf, text)
    assert publish.publish(settings, ["books"]) == ["books"] and written(nginx) == set()


@pytest.mark.parametrize("leaves", [{"removed": True}, {"path": "/z"}, {"path": "/z", "host": "shelves.example.com"}])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_hosts_server_stays_as_long_as_a_refused_service_has_its_location_there(
        settings: Settings, nginx: Nginx, leaves: dict[str, Any], at_once: bool,
) -> None:
    host, server = "books.example.com", f"{nginx.conf_dir}/servers/books.example.com.conf"
    with Backend("a") as a, Backend("b") as b:
        put(settings, "a", a.port, path="/x", host=host)
        put(settings, "b", b.port, path="/y", host=host)
        assert publish.publish(settings) == ["a", "b"]
        put_route(settings, "b", path="/nginx-is-up/x")
        text = make_clash(nginx)
        if not at_once:
            assert publish.publish(settings, ["b"]) == []
        put(settings, "a", a.port, **leaves)
        assert publish.publish(settings, ["a", "b"]) == ["a"]
        assert published(settings, "b").refusal and '"b"' in nginx.get("/y", host=host)[1]
        files.write_atomic(nginx.main_conf, text)
        assert publish.publish(settings, ["a", "b"]) == ["b"]
        assert '"b"' in nginx.get("/nginx-is-up/x")[1] and not os.path.exists(server)


def test_a_location_belongs_to_the_first_by_name_and_foreign_files_stay(settings: Settings, nginx: Nginx,
                                                                        capsys: pytest.CaptureFixture[str]) -> None:
    own = f"{nginx.conf_dir}/locations/mine.conf"
    with open(own, "w", encoding="utf-8") as file:
        file.write("location = /mine { return 204; }")
    put(settings, "b", path="/same")
    publish.publish(settings)
    put(settings, "a", path="/same")
    put(settings, "mine", removed=True)
    assert publish.publish(settings, ["a", "b", "mine"]) == ["a", "mine"]
    assert "service=b outcome=refused" in capsys.readouterr().err
    assert written(nginx) == {"upstreams/lictor_a.conf", "upstreams/lictor_b.conf", "locations/a.conf",
                              "locations/mine.conf", "peers/a.conf", "peers/empty/a.conf", "peers/b.conf",
                              "peers/empty/b.conf"}
    assert nginx.get("/mine")[0] == 204


@pytest.mark.parametrize("lost", ["upstreams/lictor_books.conf", "peers/books.conf", "peers/empty/books.conf"])
def test_a_file_that_was_lost_or_edited_is_mended(settings: Settings, nginx: Nginx, lost: str) -> None:
    put(settings, "books")
    publish.publish(settings)
    os.remove(f"{nginx.conf_dir}/{lost}")
    assert publish.publish(settings) == []
    assert publish.publish(settings, ["books"]) == ["books"]
    assert os.path.exists(f"{nginx.conf_dir}/{lost}")


def test_other_peers_are_one_file_and_a_sweep_compares_the_others_with_their_templates(
        settings: Settings, nginx: Nginx,
) -> None:
    path, peers_path = f"{nginx.conf_dir}/upstreams/lictor_books.conf", f"{nginx.conf_dir}/peers/books.conf"
    put(settings, "books", 9001)
    publish.publish(settings)
    edited = text_of(path).replace("upstream lictor_", "# by hand\nupstream lictor_")
    files.write_atomic(path, edited)
    change_peers(settings, "books", 9001, 9002)
    assert publish.publish(settings) == ["books"]
    assert "# by hand" in text_of(path) and "server 127.0.0.1:9002" in text_of(peers_path)
    assert publish.publish(settings, ["books"]) == ["books"]
    assert "# by hand" not in text_of(path) and "server 127.0.0.1:9002" in text_of(peers_path)
    files.write_atomic(path, edited.replace("include", "exclude"))
    change_peers(settings, "books", 9003)
    assert publish.publish(settings) == []  # nginx refuses the rest of it, so that next time the template is asked
    assert "server 127.0.0.1:9002" in text_of(peers_path)  # rolled back
    assert publish.publish(settings) == ["books"] and "server 127.0.0.1:9003" in text_of(peers_path)
    files.write_atomic(path, edited.replace(peers_path, "/dev/null"))
    change_peers(settings, "books", 9004)
    assert publish.publish(settings) == ["books"] and peers_path in text_of(path)
    assert "server 127.0.0.1:9004" in text_of(peers_path)


def test_a_users_own_upstream_stands_around_the_peers_and_is_not_asked_about_other_ones(
        settings: Settings, nginx: Nginx, tmp_path: Path,
) -> None:
    template = tmp_path / "templates" / "upstream.conf.j2"
    text = "upstream lictor_{{ name }} { least_conn; include {{ peers_file }}; keepalive 8; }"
    template.write_text(text)
    with Backend("a") as a, Backend("b") as b:
        put(settings, "books", a.port)
        assert publish.publish(settings) == ["books"] and '"a"' in nginx.get("/books")[1]
        template.write_text("nonsense")
        change_peers(settings, "books", b.port)
        assert publish.publish(settings) == ["books"] and '"b"' in nginx.get("/books")[1]
        assert "least_conn" in text_of(f"{nginx.conf_dir}/upstreams/lictor_books.conf")


def test_a_users_own_upstream_that_does_not_include_the_peers_is_refused(
        settings: Settings, nginx: Nginx, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "templates" / "upstream.conf.j2").write_text(
        "upstream lictor_{{ name }} { {% for server in servers %} server {{ server }}; {% endfor %} }")
    put(settings, "books", 9001)
    assert publish.publish(settings) == []
    assert "it must give one upstream lictor_books with `include {{ peers_file }};`" in capsys.readouterr().err


def test_peers_that_no_file_takes_any_more_are_called_frozen(
        settings: Settings, nginx: Nginx, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    """An own template of the older form, whose files hold the peers."""
    template, path = tmp_path / "templates" / "upstream.conf.j2", f"{nginx.conf_dir}/upstreams/lictor_books.conf"
    put(settings, "books", 9001)
    put(settings, "shelves", 9001)
    assert publish.publish(settings) == ["books", "shelves"]
    files.write_atomic(path, "# Written by lictor\nupstream lictor_books { server 127.0.0.1:9001; }\n")
    template.write_text("upstream lictor_{{ name }} { server 127.0.0.1:9001; }")
    for name in ("books", "shelves"):
        change_peers(settings, name, 9002)
    assert publish.publish(settings, ["books", "shelves"]) == ["shelves"]
    assert "service=books outcome=frozen" in capsys.readouterr().err
    assert condition.read(settings).refused["books"].startswith("its peers are frozen")
    publish.publish(settings, ["books"])
    assert "outcome=frozen" not in capsys.readouterr().err and "frozen" not in condition.read(
        settings).refused["shelves"]
    template.unlink()
    assert publish.publish(settings, ["books"]) == ["books"] and "books" not in condition.read(settings).refused


def damage_lock(settings: Settings, nginx: Nginx) -> None:
    os.remove(f"{settings.state_dir}/locks/route:bad.lock")
    os.mkdir(f"{settings.state_dir}/locks/route:bad.lock")


def damage_live_lock(settings: Settings, nginx: Nginx) -> None:
    os.mkdir(f"{settings.state_dir}/locks/live:bad.lock")


def damage_mark(settings: Settings, nginx: Nginx) -> None:
    os.remove(f"{settings.state_dir}/unconfirmed/bad")
    os.makedirs(f"{settings.state_dir}/unconfirmed/bad/x")


def damage_route(settings: Settings, nginx: Nginx) -> None:
    files.write_json(f"{settings.state_dir}/routes/bad.json", {
        "service": 7, "host": ["x"], "path": {}, "empty_ok": 1, "removed": None, "aliases": "x"})


def damage_published(settings: Settings, nginx: Nginx) -> None:
    table = files.read_json(f"{settings.state_dir}/peers/bad.json")
    files.write_json(f"{settings.state_dir}/peers/bad.json", {
        **table, "peers": [{"address": 7, "port": "80; }", "weight": None}], "empty_since": "x"})


def give_hostile_peers(settings: Settings, nginx: Nginx) -> None:
    route_store.write_published(settings.state_dir, "bad", published(settings, "bad")._replace(
        peers=(peers.Peer("127.0.0.1; } server {", 80),)))


def take_its_files(settings: Settings, nginx: Nginx) -> None:
    for folder in ("peers/bad.conf", "live/bad.peers"):
        os.makedirs(f"{nginx.conf_dir}/{folder}/x")


def take_one_file(settings: Settings, nginx: Nginx) -> None:
    os.makedirs(f"{nginx.conf_dir}/peers/empty/bad.conf/x")


def give_hostile_names(settings: Settings, nginx: Nginx) -> None:
    for name in ("a b", "$(x)", "UPPER", "..", "x" * 200):
        found = files.read_json(f"{settings.state_dir}/routes/bad.json")
        files.write_json(f"{settings.state_dir}/routes/{name}.json", {**found, "name": name, "service": name})
    for name in ("a b", "$(x)", "UPPER"):
        files.write_atomic(f"{settings.state_dir}/unconfirmed/{name}", "x")


def give_hostile_route(settings: Settings, nginx: Nginx) -> None:
    put_route(settings, "bad", path="/x; } server { root /etc", host="a b")


class Health(NamedTuple):
    entries: dict[str, list[dict[str, Any]]]

    def health(self, name: str, *, consistent: bool) -> list[dict[str, Any]]:
        return self.entries[name]


@pytest.mark.parametrize("mode", ["reload", "live"])
@pytest.mark.parametrize("damage", [damage_lock, damage_live_lock, damage_mark, damage_route, damage_published,
                                    give_hostile_peers, take_its_files, take_one_file, give_hostile_names,
                                    give_hostile_route])
def test_what_is_wrong_with_one_service_holds_up_no_other(settings: Settings, nginx: Nginx, mode: str,
                                                          damage: Callable[[Settings, Nginx], None]) -> None:
    settings = with_nginx(settings, mode=mode)
    with Backend("a") as a:
        for name in ("alpha", "bad", "zeta"):
            put(settings, name, a.port)
        damage(settings, nginx)
        entries = {name: [{"Node": {"Node": "node-1"}, "Checks": [], "Service": {
            "ID": f"{name}-{a.port}", "Service": name, "Address": "127.0.0.1", "Port": a.port,
            "Meta": {"lictor-engine": "docker"}}}] for name in ("alpha", "bad", "zeta")}
        follow.sweep(settings, Catalogue(entries, {}), cast(ConsulClient, Health(entries)))
        assert is_confirmed(settings, "alpha") and is_confirmed(settings, "zeta")
        assert [nginx.get(f"/{name}")[0] for name in ("alpha", "zeta")] == [200, 200]


@pytest.mark.parametrize("mode", ["reload", "live"])
def test_a_route_that_the_users_configuration_answers_is_refused_with_its_file(
        settings: Settings, nginx: Nginx, tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str],
) -> None:
    settings = with_nginx(settings, mode=mode)
    text, site = text_of(nginx.main_conf), tmp_path / "site.conf"
    own_server = (f"server {{ listen 127.0.0.1:{nginx.port};\n server_name b.example.com; return 204; }}\n")
    with Backend("a") as a:
        put(settings, "books", a.port, path="/books")
        put(settings, "hosted", a.port, path="/", host="a.example.com")
        assert publish.publish(settings) == ["books", "hosted"]
        site.write_text(own_server)
        snippet = f"include {nginx.conf_dir}/lictor.conf"
        files.write_atomic(nginx.main_conf, text.replace(snippet, f"include {site}; {snippet}").replace(
            "location = ", "location ~ ^/own/ { return 204; } location /mine { return 204; } location = "))
        reload_by_hand(nginx)
        assert nginx.get("/mine")[0] == 204
        put_route(settings, "books", path="/own/books")
        put(settings, "new", a.port, path="/mine")
        put_route(settings, "hosted", path="/", host="b.example.com")
        assert publish.publish(settings, ["books", "hosted", "new"]) == []
        reasons = {name: (refusal := published(settings, name).refusal) and refusal.reason
                   for name in ("books", "hosted", "new")}
        line = 1 + text_of(nginx.main_conf).partition("location ~")[0].count("\n")
        assert reasons == {
            "books": f"path /own/books is answered by location ~ ^/own/ in {nginx.main_conf}:{line}, and not by this "
                     "service; take that away, or have another route",
            "hosted": f"host b.example.com is answered by the server in {site}:1, and not by this service; take that "
                      "away, or have another route",
            "new": f"path /mine is answered by location /mine in {nginx.main_conf}:{line}, and not by this service; "
                   "take that away, or have another route"}
        assert "path /own/books is answered" in "".join(condition.read(settings).refused.values())
        assert nginx.get("/books")[0] == 200 and nginx.get("/", host="a.example.com")[0] == 200
        assert nginx.get("/", host="b.example.com")[0] == 204
        files.write_atomic(nginx.main_conf, text)
        assert publish.publish(settings, ["books", "hosted", "new"]) == ["books", "hosted", "new"]
        assert [nginx.get(path)[0] for path in ("/own/books", "/mine", "/books")] == [200, 200, 404]
        assert nginx.get("/", host="b.example.com")[0] == 200


def test_a_name_that_nginx_warns_of_is_refused_though_the_configuration_cannot_be_read(
        settings: Settings, nginx: Nginx, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(user_servers, "read", lambda _: user_servers.Users([], []))
    text, snippet = text_of(nginx.main_conf), f"include {nginx.conf_dir}/lictor.conf"
    own = f"server {{ listen 127.0.0.1:{nginx.port}; server_name a.example.com c.example.com; return 204; }}"
    files.write_atomic(nginx.main_conf, text.replace(snippet, f"{own} {own.replace(' a.', ' d.')} {snippet}"))
    with Backend("a") as a:
        for name in ("a", "b"):
            put(settings, name, a.port, host=f"{name}.example.com")
        assert publish.publish(settings) == ["b"]  # whatever the user's own servers have in common
        refusal = published(settings, "a").refusal
        assert refusal and refusal.reason.startswith(
            f"host a.example.com has another server in {nginx.main_conf}, or in what it includes")
        assert "outcome=rolled-back" in capsys.readouterr().err and nginx.get("/a", host="a.example.com")[0] == 204
        assert nginx.get("/b", host="b.example.com")[0] == 200
        files.write_atomic(nginx.main_conf, text)
        assert publish.publish(settings, ["a", "b"]) == ["a"] and nginx.get("/a", host="a.example.com")[0] == 200


def test_a_name_that_one_service_may_not_have_keeps_no_other_from_their_host(settings: Settings, nginx: Nginx) -> None:
    text, snippet = text_of(nginx.main_conf), f"include {nginx.conf_dir}/lictor.conf"
    own = f"server {{ listen 127.0.0.1:{nginx.port}; server_name taken.example.com; return 204; }}"
    files.write_atomic(nginx.main_conf, text.replace(snippet, f"{own} {snippet}"))
    files.write_atomic(f"{settings.templates_dir}/server.conf.j2", HOST_TEMPLATE.format(port=nginx.port).replace(
        "{{ host }}", "{{ ([host] + aliases) | join(' ') }}"))
    host = "books.example.com"
    with Backend("a") as a:
        for name in ("first", "second"):
            put(settings, name, a.port, host=host)
        put_route(settings, "first", path="/first", host=host, aliases=["taken.example.com"])
        put_route(settings, "second", path="/second", host=host, aliases=["free.example.com"])
        publish.publish(settings, ["first", "second"])
        publish.publish(settings, ["first", "second"])  # the next sweep, at most
        assert published(settings, "first").refusal and not published(settings, "second").refusal
        assert [nginx.get("/second", host=each)[0] for each in (host, "free.example.com", "taken.example.com")] == [
            200, 200, 204]


def test_nginx_in_a_container(settings: Settings, nginx: Nginx, docker: Docker, tmp_path: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    """FROM scratch with this machine's nginx; it shares the folder and this machine's network."""
    nginx.stop()
    monkeypatch.setenv("DOCKER_HOST", docker.url)
    build_nginx(docker, str(tmp_path / "image"))
    docker.docker("run", "-d", "--name", "proxy", "--network", "host", "-v", f"{nginx.folder}:{nginx.folder}",
                  "lab-nginx", "/usr/sbin/nginx", "-c", nginx.main_conf, "-g", "daemon off;")
    wait_for(lambda: nginx.get("/nginx-is-up")[0] == 200, "nginx answers in its container")
    inside = with_nginx(settings, container="proxy", pid_file="/nonexistent")
    with Backend("a") as one:
        put(inside, "books", one.port)
        assert publish.publish(inside) == ["books"]
        wait_for(lambda: nginx.get("/books") == (200, '{"instance": "a", "boot": "1"}'),
                 "it is served, as soon as the workers from before accept nothing more, which is not to be seen")
    docker.docker("stop", "-t", "5", "proxy")
    put(inside, "books", 8001)
    assert publish.publish(inside) == []


def build_nginx(docker: Docker, folder: str) -> None:
    libraries = subprocess.run(["ldd", "/usr/sbin/nginx"], capture_output=True, text=True, check=True).stdout
    needed = ["/usr/sbin/nginx", "/etc/passwd", "/etc/group",
              *(word for word in libraries.split() if word.startswith("/"))]
    for path in needed:
        os.makedirs(folder + os.path.dirname(path), exist_ok=True)
        shutil.copy(path, folder + path)
    for path in ("/var/log/nginx", "/var/lib/nginx"):
        os.makedirs(folder + path)
    with open(f"{folder}/Dockerfile", "w", encoding="utf-8") as file:
        file.write("FROM scratch\n" + "COPY . /\n")
    docker.docker("build", "-q", "-t", "lab-nginx", folder)


def test_the_check_is_apart_from_the_live_nginx(settings: Settings, nginx: Nginx) -> None:
    """It would bind, log to, or write the pid file of, the live one if any of its own settings were missing."""
    pid = text_of(nginx.pid_file)
    text = templates.Templates().text("check.conf.j2", run_dir=f"{nginx.conf_dir}/run", upstreams=[], locations=["#"])
    lictor_nginx.check(nginx_of(settings), text)
    assert text_of(nginx.pid_file) == pid
    assert sorted(os.listdir(f"{nginx.conf_dir}/run")) == ["check", "check.conf", "check.pid", "generation.sock"]
