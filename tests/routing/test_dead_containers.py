"""A container that this node's registrar knows to be dead is no peer, whatever the catalogue still says."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import files, heartbeat
from lictor.adapters.consul.client import Client
from lictor.events import script
from lictor.routing import follow


class Consul(Client):
    """Answers a consistent read as its test says."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries = entries

    def health(self, service: str, *, consistent: bool = False) -> list[dict[str, Any]]:
        return self.entries


def entry(number: int) -> dict[str, Any]:
    return {"Node": {"Node": "node-1", "Address": "10.0.0.1"}, "Checks": [],
            "Service": {"ID": f"books-{number}", "Service": "books", "Address": "", "Port": 8000 + number,
                        "Meta": {"lictor-container": f"c{number}"}}}


@pytest.mark.parametrize(("dead", "age_s", "ports"), [
    ((), 0, [8001, 8002]), (("c1",), 0, [8002]), (("c1", "c2"), 0, []), (("c3",), 0, [8001, 8002]),
    (("c1",), 90, [8001, 8002]),  # a registrar that is dead itself knows nothing of today
])
def test_who_is_dead_is_no_peer(tmp_path: Path, dead: tuple[str, ...], age_s: float, ports: list[int]) -> None:
    for folder in script.FOLDERS:
        (tmp_path / folder).mkdir()
    files.write_json(str(tmp_path / "routes" / "books.json"), {
        "name": "books", "service": "books", "path": "/books", "host": "", "traffic": "healthy", "node": "node-1",
        "empty_ok": False, "removed": False})
    entries = [entry(1), entry(2)]
    for known in ((), dead):
        heartbeat.write(str(tmp_path), heartbeat.Heartbeat(time.time() - age_s, dead=known))
        follow._try_follow(str(tmp_path), "books", lambda: entries, Consul(entries))
    served = json.loads((tmp_path / "peers" / "books.json").read_text())["peers"]
    assert sorted(peer["port"] for peer in served) == ports
