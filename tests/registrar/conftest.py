"""The registrar as a process of its own, beside a real agent and a real engine."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.consul import Consul
from lab.daemon import Daemon, wait_for
from lab.docker import Docker
from support import handlers
from support.paths import HANDLERS
from support.registrar import Start, heartbeat

_SELDOM = "from lictor.registrar import loop; loop._LONGEST_INTERVAL_S = 900.0; raise SystemExit(loop.main('seldom'))"


@pytest.fixture
def start(consul: Consul, docker: Docker, tmp_path: Path) -> Iterator[Start]:
    """Starts a registrar, with options, that compares three times a second; `seldom`: hardly ever after the first time,
    so that only an event can be what it heeds."""
    started: list[Daemon] = []
    settings = tmp_path / "lictor.toml"
    settings.write_text(f'state_dir = "{tmp_path}/state"\nnginx = false\n')

    def launch(*options: str, seldom: bool = False) -> Daemon:
        began = time.time()
        program, resync = (["-c", _SELDOM], "900") if seldom else ([str(HANDLERS / "lictor-registrar")], "0.3")
        argv = [sys.executable, *program, "--config", str(settings), "--resync", resync, *options]
        log_path = str(tmp_path / f"registrar-{len(started)}.log")
        started.append(Daemon(argv, log_path, {**consul.environ, **docker.environ}))

        def has_compared() -> bool:
            beat = heartbeat(tmp_path)
            return beat["at"] > began and not beat["trouble"]
        wait_for(has_compared, "the registrar has compared")
        return started[-1]

    try:
        yield launch
    finally:
        for each in started:
            each.stop()
        handlers.end(str(settings))  # that it started: they would start what the engine is just cleared of
