"""The registrar as a process of its own, beside a real agent and a real engine."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.consul import Consul
from lab.daemon import Daemon, wait_for
from lab.docker import Docker
from support.paths import HANDLERS
from support.registrar import Start, heartbeat


@pytest.fixture
def start(consul: Consul, docker: Docker, tmp_path: Path) -> Iterator[Start]:
    """Starts a registrar, with options, that compares three times a second."""
    started: list[Daemon] = []
    settings = tmp_path / "lictor.toml"
    settings.write_text(f'state_dir = "{tmp_path}/state"\nnginx = false\n')

    def launch(*options: str) -> Daemon:
        began = time.time()
        argv = [sys.executable, str(HANDLERS / "lictor-registrar"), "--config", str(settings), "--resync", "0.3"]
        log_path = str(tmp_path / f"registrar-{len(started)}.log")
        started.append(Daemon([*argv, *options], log_path, {**consul.environ, **docker.environ}))
        wait_for(lambda: heartbeat(tmp_path)["at"] > began, "the registrar has compared")
        return started[-1]

    try:
        yield launch
    finally:
        for each in started:
            each.stop()
