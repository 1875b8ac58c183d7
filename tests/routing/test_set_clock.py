"""An upstream that is held although the catalogue has no instance: for 60 s by whichever clock."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import clock, files
from lictor.adapters.consul.client import Client
from lictor.events import script
from lictor.model import Clock
from lictor.routing import follow, peers, route_store

NOW = 1e9
PEER, INSTANCE = peers.Peer("127.0.0.1", 8080), ("node-1", "books-1")


class Empty(Client):
    """A catalogue in which no instance is left."""

    def __init__(self) -> None: ...

    def health(self, service: str, *, consistent: bool = False) -> list[dict[str, Any]]:
        return []


@pytest.fixture
def state_dir(tmp_path: Path) -> str:
    """A routing node whose nginx serves one instance, and whose catalogue has had none for 5 s at NOW."""
    for folder in script.FOLDERS:
        os.makedirs(tmp_path / folder)
    files.write_json(str(tmp_path / "routes" / "books.json"), {
        "name": "books", "service": "books", "path": "/books", "host": "", "traffic": "healthy", "node": "node-1",
        "empty_ok": False, "removed": False})
    route_store.write_published(str(tmp_path), "books", peers.PublishedRoute(
        (PEER,), (INSTANCE,), empty_since=NOW - 5, confirmed=True,
        places=(peers.Place("reload", (peers.Location("", "/books"),)),)))
    return str(tmp_path)


@pytest.mark.parametrize("by_s", [0, 7200, -10800, 400 * 86400, -400 * 86400])
def test_it_is_emptied_after_a_minute_neither_sooner_nor_hours_later(
        state_dir: str, monkeypatch: pytest.MonkeyPatch, by_s: float) -> None:
    for passed_s in (0, 15, 30, 45, 54):
        sweep_at(state_dir, monkeypatch, by_s, passed_s)
        assert served(state_dir) == (PEER,)
    sweep_at(state_dir, monkeypatch, by_s, 61)
    assert served(state_dir) == ()


def test_a_clock_that_is_set_while_consul_is_asked_ends_no_hold(
        state_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [NOW]

    class Slow(Empty):
        def health(self, service: str, *, consistent: bool = False) -> list[dict[str, Any]]:
            now[0] = NOW + 10800
            return []

    monkeypatch.setattr(clock, "read", lambda _: Clock(now[0]))
    monkeypatch.setattr("time.time", lambda: now[0])
    follow._try_follow(state_dir, "books", None, Slow())
    assert now == [NOW + 10800] and served(state_dir) == (PEER,)


def sweep_at(state_dir: str, monkeypatch: pytest.MonkeyPatch, by_s: float, passed_s: float) -> None:
    now = NOW + by_s + passed_s
    monkeypatch.setattr(clock, "read", lambda _: Clock(now, NOW + by_s, by_s) if by_s else Clock(now))
    monkeypatch.setattr("time.time", lambda: now)
    follow._try_follow(state_dir, "books", list, Empty())


def served(state_dir: str) -> tuple[peers.Peer, ...]:
    table = json.loads(Path(state_dir, "peers", "books.json").read_text())
    found = route_store.from_table(table)
    assert found
    return found.peers
