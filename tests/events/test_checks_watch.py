"""The handler of the watch on critical checks: what it loads, and when it has services reconciled."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lictor.adapters import files
from lictor.events import checks_watch, script

from support.paths import HANDLERS

CRITICAL = [{"ServiceName": "books-blue", "Status": "critical"}, {"ServiceName": "", "Status": "critical"}]


@pytest.mark.parametrize(("given", "is_ready"), [
    (b"[]\n", True), (b"null", True), (b" [] ", True), (b"", False), (b"[ ", False),
    (json.dumps(CRITICAL).encode(), False)])
def test_what_tells_of_nothing_critical_loads_nothing(given: bytes, is_ready: bool, tmp_path: Path) -> None:
    files.write_atomic(f"{tmp_path}/lictor.toml", f'state_dir = "{tmp_path}/state"\n')
    code = (f"import sys; sys.path.insert(0, {str(HANDLERS)!r}); from lictor.events import checks_watch\n"
            "checks_watch.main(''); print('loaded', *sys.modules)")
    done = subprocess.run([sys.executable, "-I", "-c", code, "--config", f"{tmp_path}/lictor.toml"], input=given,
                          capture_output=True, check=True)
    loaded = done.stdout.decode().rpartition("loaded ")[2].split()
    assert "json" in loaded and ("argparse" not in loaded) == is_ready
    assert is_ready == (not (tmp_path / "state").exists())


@pytest.mark.parametrize(("given", "code", "reconciled"), [
    (b"[]", 0, []), (b"null\n", 0, []), (b" \n[]\n", 0, []), (json.dumps(CRITICAL).encode(), 0, [["books"]]),
    (json.dumps(CRITICAL[1:]).encode(), 0, []), (b"", 1, []), (b"{}", 0, []), (b"[1]", 1, []), (b"[" * 9999, 1, []),
    (b"\xff", 1, [])])
def test_the_services_behind_critical_checks_are_reconciled(
        given: bytes, code: int, reconciled: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_atomic(f"{tmp_path}/lictor.toml", f'state_dir = "{tmp_path}/state"\n')
    asked: list[list[str]] = []
    monkeypatch.setattr("lictor.spec.keys.known_services", lambda _: {"books", "carts"})
    monkeypatch.setattr(script.Call, "reconcile", lambda _, names: asked.append(names))
    monkeypatch.setattr(sys, "argv", ["lictor-heal", "--config", f"{tmp_path}/lictor.toml"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert (checks_watch.main(""), asked) == (code, reconciled)


def test_help_does_not_wait_for_a_payload(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["lictor-heal", "--help"])
    with pytest.raises(SystemExit) as ended:
        checks_watch.main("What it is for.")
    assert not ended.value.code and "What it is for." in capsys.readouterr().out
