"""Totals of short-lived handlers: none is lost between processes, and one that is lost is said."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lictor.adapters import files, tally
from lictor.adapters.tally import Tally, Times

from support.paths import HANDLERS


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    os.mkdir(tmp_path / "locks")
    tally.keep(str(tmp_path))
    yield str(tmp_path)
    tally.keep("")


def test_without_metrics_nothing_is_written(folder: str) -> None:
    tally.keep("")
    tally.count("actions", "books", "start", "done")
    tally.time_taken("reload", 0.1)
    tally.forget("actions", ())
    assert tally.read(folder) == Tally() and os.listdir(folder) == ["locks"]


def test_handlers_at_once_lose_no_count_of_each_other(folder: str) -> None:
    script = ("from lictor.adapters import tally; tally.keep(%r)\n"
              "for _ in range(50): tally.count('actions', 'books', 'start', 'done'); tally.time_taken('reload', 0.3)")
    environ = {**os.environ, "PYTHONPATH": str(HANDLERS)}
    running = [subprocess.Popen([sys.executable, "-c", script % folder], env=environ) for _ in range(4)]
    assert [each.wait(60) for each in running] == [0] * 4
    found = tally.read(folder)
    assert found.counts == {("actions", "books", "start", "done"): 200} and found.since > 0
    assert sum(found.times["reload"].counts) == 200 and found.times["reload"].sum_s == pytest.approx(60)


@pytest.mark.parametrize(("seconds", "place"), [(-1.0, 0), (0.0, 0), (0.005, 0), (0.0051, 1), (10.0, 13), (10.1, 14)])
def test_a_duration_is_counted_where_prometheus_does(seconds: float, place: int) -> None:
    found = Times().plus(seconds)
    assert found.counts[place] == 1 == sum(found.counts) and found.sum_s == max(seconds, 0)


@pytest.mark.parametrize("text", [
    "", "{", "[]", "5", '{"since": 1}', '{"since": "x", "counts": {}, "times": {}}',
    '{"since": 1, "counts": {"a": -1}, "times": {}}', '{"since": 1, "counts": {"a": true}, "times": {}}',
    '{"since": 1, "counts": {}, "times": {"reload": {"counts": [1], "sum_s": 1}}}',
    '{"since": 1, "counts": {}, "times": {"reload": 5}}',
])
def test_totals_that_are_damaged_begin_anew_and_say_since_when(folder: str, text: str) -> None:
    Path(folder, "tally.json").write_text(text)
    assert tally.read(folder) == Tally()
    tally.count("reloads", "confirmed")
    found = tally.read(folder)
    assert found.counts == {("reloads", "confirmed"): 1} and found.since > 1e9


def test_what_is_known_no_more_is_forgotten(folder: str) -> None:
    for name in ("books", "gone"):
        tally.count("actions", name, "start", "done")
        tally.count("releases", name, "done")
    tally.count("reloads", "confirmed")
    tally.forget("actions", {"books"})
    assert set(tally.read(folder).counts) == {("actions", "books", "start", "done"), ("releases", "books", "done"),
                                              ("releases", "gone", "done"), ("reloads", "confirmed")}


def test_a_disk_that_takes_nothing_keeps_no_work_from_being_done(
        folder: str, capfd: pytest.CaptureFixture[str]) -> None:
    os.rmdir(os.path.join(folder, "locks"))
    files.write_atomic(os.path.join(folder, "locks"), "")
    tally.count("reloads", "confirmed")
    assert "action=tally outcome=failed" in capfd.readouterr().err
