"""What is known of the observers: the agent's age by real processes, answers that failed, nginx."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lictor.adapters import clock, files
from lictor.reconcile import observer_health
from lictor.spec.settings import Nginx, Settings

from support.paths import HANDLERS


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=str(tmp_path), nginx=None)


@pytest.fixture
def agent(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A process named consul that starts a handler which notes it, and lives until it is killed."""
    note = (f"import sys; sys.path.insert(0, {str(HANDLERS)!r}); from lictor.reconcile import observer_health; "
            "from lictor.spec.settings import Settings; "
            f"observer_health.note_agent(Settings(state_dir={settings.state_dir!r}, nginx=None))")
    program = ("import subprocess, sys, time; open('/proc/self/comm', 'w').write('consul'); "
               f"subprocess.run([sys.executable, '-c', {note!r}], check=True); print('noted', flush=True); "
               "time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_an_agents_age_is_that_of_its_process_and_one_that_has_gone_is_new(
        settings: Settings, agent: subprocess.Popen[str]) -> None:
    assert agent.stdout and agent.stdout.readline() == "noted\n"
    age_s = observer_health.agent_age_s(settings)
    assert age_s is not None and 0 <= age_s < 60
    noted = files.read_json(os.path.join(settings.state_dir, "agent.json"))
    assert noted["pid"] == agent.pid
    agent.kill()
    agent.wait()
    assert observer_health.agent_age_s(settings) == 0.0


def test_a_process_that_has_another_ones_pid_is_a_new_agent(settings: Settings) -> None:
    noted = {"pid": os.getpid(), "started_at": -1e6, "at": clock.uptime_s()}
    files.write_json(os.path.join(settings.state_dir, "agent.json"), noted)
    assert observer_health.agent_age_s(settings) == 0.0


@pytest.mark.parametrize("noted", ["{", "[]", "null", '{"pid": "x"}', '{"pid": 1, "started_at": 1.0, "at": 1.0}',
                                   '{"pid": 1, "started_at": "x", "at": 9e9}',
                                   '{"pid": 1, "started_at": null, "at": 9e9}'])
def test_what_is_damaged_or_was_noted_long_ago_says_nothing(settings: Settings, noted: str) -> None:
    Path(settings.state_dir, "agent.json").write_text(noted)
    assert observer_health.agent_age_s(settings) is None


def test_nobody_but_an_agent_is_noted(settings: Settings) -> None:
    observer_health.note_agent(settings)  # our parent is whoever runs the tests
    assert os.listdir(settings.state_dir) == []


def test_an_answer_that_could_not_be_read_is_noted_and_needs_no_room_for_that(settings: Settings) -> None:
    Path(settings.state_dir, "locks").mkdir()
    assert observer_health.unreadable_s_ago(settings, "books") is None
    observer_health.note_unreadable(settings)
    path = Path(settings.state_dir, "locks", "unreadable:")
    os.utime(path, (0, 0))
    observer_health.note_unreadable(settings)
    ago_s = observer_health.unreadable_s_ago(settings, "books")
    assert ago_s is not None and ago_s < 60 and path.stat().st_size == 0


def test_what_cannot_be_read_of_one_service_is_no_reason_to_doubt_another(settings: Settings) -> None:
    Path(settings.state_dir, "locks").mkdir()
    observer_health.note_unreadable(settings, "books")
    assert observer_health.unreadable_s_ago(settings, "books") is not None
    assert observer_health.unreadable_s_ago(settings, "carts") is None


def test_without_a_state_folder_nothing_breaks(tmp_path: Path) -> None:
    settings = Settings(state_dir=str(tmp_path / "gone"), nginx=None)
    observer_health.note_unreadable(settings)
    assert (observer_health.unreadable_s_ago(settings, "books"), observer_health.agent_age_s(settings)) == (None, None)


def test_an_nginx_that_does_not_answer_is_in_trouble_and_none_is_not(tmp_path: Path, settings: Settings) -> None:
    assert observer_health.nginx_trouble(settings) == ""
    silent = settings._replace(nginx=Nginx(conf_dir=str(tmp_path)))
    assert observer_health.nginx_trouble(silent) == "it does not answer on its own socket"
