"""The registrar's heartbeat, as a crash, a hand or another version may leave it."""

from pathlib import Path

import pytest

from lictor.adapters import heartbeat

REFUSAL = '{"container": "a", "reason": "b", "cause": "labels"}'


def test_what_was_written_is_read(tmp_path: Path) -> None:
    made = heartbeat.make({heartbeat.Refusal("web", "no port", "labels")}, registered=1, trouble="", dead=("c1",))
    heartbeat.write(str(tmp_path), made)
    assert heartbeat.read(str(tmp_path)) == made and heartbeat.read_dead(str(tmp_path)) == {"c1"}


@pytest.mark.parametrize("damage", [
    "", "{", "null", "3", "[]", "{}", '{"at": 1}', '{"at": 1.0, "unknown": 1}', '{"at": 1.0, "dead": 5}',
    '{"at": 1.0, "dead": [[]]}', '{"at": 1.0, "dead": null}', '{"at": 1.0, "refusals": [1]}',
    '{"at": 1.0, "refusals": null}', '{"at": 1.0, "trouble": 5}', '{"at": 1.0, "token": null}',
    f'{{"at": 1.0, "refused": "x", "refusals": [{REFUSAL}]}}',
    f'{{"at": 1.0, "refusals": [{REFUSAL.replace(chr(34) + "b" + chr(34), "7")}]}}'])
def test_a_damaged_one_is_none(tmp_path: Path, damage: str) -> None:
    (tmp_path / "registrar.json").write_text(damage)
    assert heartbeat.read(str(tmp_path)) is None and heartbeat.read_dead(str(tmp_path)) == frozenset()
