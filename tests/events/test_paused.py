"""The end of a pause on a node: what it told goes, and the hold key says that the pause is over."""

import argparse
from pathlib import Path

import pytest

from lictor.events import paused, script
from lictor.planner.routes import pause
from lictor.planner.routes.pause import Hold, Pause, Record
from lictor.routing import route_store
from lictor.spec.settings import Settings

from lab.consul import Consul

PAUSE = Pause(60.0, 1790000000.5)
TEXT = pause.encode(Hold("kernel", PAUSE))


@pytest.mark.parametrize(("text", "is_taken_off"), [
    (TEXT, True), (f" \n{TEXT}\n", True), (f"\ufeff{TEXT}", True), (TEXT.replace("kernel", "\\ud800"), True),  # by hand
    (pause.encode(Hold("kernel", PAUSE._replace(asked_at=5.0))), False), ("kernel", False), ('{"pause": 5}', False)])
def test_a_pause_is_taken_off_its_key_as_everybody_reads_it(consul: Consul, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch, text: str,
                                                            is_taken_off: bool) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    for each in script.FOLDERS:
        (tmp_path / each).mkdir()
    route_store.write_route(str(tmp_path), "books", {
        "name": "books", "service": "books", "routes": [{"path": "/", "host": "", "options": {"wait": 5}}],
        "traffic": "healthy", "node": "node-1", "empty_ok": False, "removed": False,
        "pause": Record(PAUSE.asked_at, 1.0, 1.0)._asdict()})  # over
    consul.put("services/books/hold", text)
    consul.put(f"lictor/paused/books/{consul.node}", "{}")
    assert paused.follow(script.Call(Settings(state_dir=str(tmp_path)), None, argparse.Namespace()), ["books"]) == 0
    assert consul.get(f"lictor/paused/books/{consul.node}") is None
    after = consul.get("services/books/hold") or ""
    assert (after == text) is not is_taken_off
    if is_taken_off:
        assert pause.parse(after).pause == PAUSE._replace(is_over=True)
