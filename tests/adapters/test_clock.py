"""The node's clock: that it was set is told from two readings, noted by the timer, and heeded by all meanwhile."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import clock, files


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A clock that was noted an hour ago. Both clocks stand still: a starved process may read one well after the other.
    """
    now, uptime_s = time.time(), clock.uptime_s()
    monkeypatch.setattr("time.time", lambda: now)
    monkeypatch.setattr(clock, "uptime_s", lambda: uptime_s)
    clock.note(str(tmp_path))
    found: dict[str, Any] = files.read_json(str(tmp_path / "clock.json"))
    found["set_at"] -= 3600
    (tmp_path / "clock.json").write_text(json.dumps(found))
    return found


@pytest.mark.parametrize(("changes", "is_set", "by_s"), [
    ({}, False, 0), ({"started_at": 1.9}, False, 0), ({"started_at": -1.9}, False, 0),
    ({"started_at": 7200}, True, -7200), ({"started_at": -10800}, True, 10800), ({"boot": "another"}, True, 0),
])
def test_a_set_clock_is_heeded_at_once_and_noted_and_logged_once(
        tmp_path: Path, noted: dict[str, Any], changes: dict[str, Any], is_set: bool, by_s: int,
        capsys: pytest.CaptureFixture[str]) -> None:
    for key, change in changes.items():
        noted[key] = noted[key] + change if key == "started_at" else change
    (tmp_path / "clock.json").write_text(json.dumps(noted))
    began_at = time.time() - 1
    for _ in range(2):  # who only reads takes it for set just now
        seen = clock.read(str(tmp_path))
        assert (seen.set_at == seen.now) is is_set and round(seen.set_by) == by_s
    for _ in range(2):
        seen = clock.note(str(tmp_path))
        assert (seen.set_at >= began_at + 1) is is_set and round(seen.set_by) == by_s
    assert clock.read(str(tmp_path)).set_at == clock.note(str(tmp_path)).set_at
    lines = capsys.readouterr().err.splitlines()
    assert lines == ([f"action=clock outcome=set by_s={by_s} "
                      'reason="the node\'s clock was set. Waits under way begin anew."'] if by_s else [])


@pytest.mark.parametrize("damage", ["", "[]", "{", '{"boot": 1}', '{"boot": "x", "started_at": "noon"}', "[" * 9999,
                                    f'{{"boot": "x", "started_at": 1{"0" * 400}, "set_at": 1, "set_by": 1}}'])
def test_without_a_sound_note_nothing_is_known_of_a_set(tmp_path: Path, damage: str) -> None:
    (tmp_path / "clock.json").write_text(damage)
    seen = clock.read(str(tmp_path))
    assert (seen.set_at, seen.set_by) == (0.0, 0.0) and abs(seen.now - time.time()) < 60
    first = clock.note(str(tmp_path))
    assert first.set_at == first.now and clock.read(str(tmp_path)).set_at == first.set_at


def test_a_state_folder_that_cannot_be_written_hurries_nothing(tmp_path: Path) -> None:
    seen = clock.note(str(tmp_path / "gone"))
    assert seen.set_at == seen.now
