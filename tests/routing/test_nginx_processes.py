"""The processes of a real nginx, and of one that is not to be seen."""

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from lictor import errors
from lictor.adapters import files
from lictor.routing import nginx as lictor_nginx
from lictor.routing import nginx_processes, nginx_socket
from lictor.spec.settings import Nginx as NginxSettings

from lab.daemon import wait_for
from lab.nginx import Nginx
from support.paths import text_of
from support.routed import children, workers


@pytest.fixture
def running(nginx: Nginx) -> Nginx:
    lictor_nginx.prepare(nginx.conf_dir)
    nginx.start()
    workers(nginx)  # it has started them all, though one is enough to answer
    return nginx


def test_no_worker_is_asked_for_a_generation_before_nginx_has_read_its_files(running: Nginx,
                                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    before, new_when_asked = children(running), []
    ask = nginx_socket.generations

    def generations(conf_dir: str, *, connections: int) -> set[int]:
        if connections > 1:  # else it is asked whether it serves them already
            new_when_asked.append(children(running) - before)
        return ask(conf_dir, connections=connections)

    monkeypatch.setattr(nginx_socket, "generations", generations)
    generation = lictor_nginx.answered(running.conf_dir)
    lictor_nginx.swap(running.conf_dir, {"peers/books.conf": "# none\n"})
    served = lictor_nginx.reload(NginxSettings(conf_dir=running.conf_dir, main_conf=running.main_conf,
                                               pid_file=running.pid_file))
    assert served != generation
    wait_for(lambda: lictor_nginx.answered(running.conf_dir) == served, "nginx answers it")
    assert new_when_asked and all(new_when_asked)


def test_workers_have_quit_when_they_take_no_requests_any_more(running: Nginx) -> None:
    nginx_processes.await_idle(running.pid_file, timeout_s=20)
    with ExitStack() as held:
        before = nginx_processes.hup(running.pid_file, held)
        assert before.master == running.pid and before.children == {*before.workers}
        assert before.await_start(timeout_s=20)
        assert children(running) - before.children
        before.quit()
        before.await_quit()
        assert not any(nginx_processes._is_titled(pid, nginx_processes._WORKER) for pid in before.workers)
    assert running.is_up()


def test_an_nginx_that_swallows_the_signal_is_waited_for_no_longer_than_was_asked(running: Nginx) -> None:
    files.write_atomic(running.main_conf, text_of(running.main_conf) + "no_such_directive on;\n")
    with ExitStack() as held:
        before = nginx_processes.hup(running.pid_file, held)
        wait_for(lambda: "[emerg]" in text_of(f"{running.folder}/error.log"), "nginx refuses it")
        assert not before.await_start(timeout_s=0.05)
        assert children(running) == before.children


def test_processes_that_are_not_to_be_seen_are_not_waited_for(running: Nginx) -> None:
    assert not nginx_processes.Processes().await_start(timeout_s=3600)  # a container's
    with ExitStack() as held:
        before = nginx_processes.hup(running.pid_file, held)
        running.stop()
        assert not before.await_start(timeout_s=3600)  # its master has ended
        before.quit()
        before.await_quit()


@pytest.mark.parametrize("text", ["", "x", "-1", "999999999", "99999999999999999999", "own"])
def test_what_is_no_nginx_gets_no_signal(text: str, tmp_path: Path) -> None:
    path = os.path.join(tmp_path, "nginx.pid")
    files.write_atomic(path, str(os.getpid()) if text == "own" else text)
    with ExitStack() as held, pytest.raises(errors.Unavailable, match="names no nginx master process"):
        nginx_processes.hup(path, held)


def test_a_process_that_has_ended_has_no_children() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert nginx_processes._children(ended.pid) == frozenset()
