"""The start of a reconcile by a handler: none is started for a service on which another process works."""

import argparse
import os
from pathlib import Path

import pytest

from lictor.events import script
from lictor.reconcile import process_lock
from lictor.spec.settings import Settings


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The words of each process that would have been started."""
    words: list[tuple[str, ...]] = []
    monkeypatch.setattr(script.Call, "spawn", lambda _, *given: words.append(given))
    return words


def test_a_service_is_left_to_the_process_that_works_on_it(tmp_path: Path, started: list[tuple[str, ...]]) -> None:
    state_dir = str(tmp_path)
    call = script.Call(Settings(state_dir=state_dir, nginx=None), None, argparse.Namespace())
    for folder in script.FOLDERS:
        os.makedirs(tmp_path / folder)
    with process_lock.lock(state_dir, "books") as is_held:
        assert is_held
        call.reconcile({"books"})
        assert started == [] and process_lock.is_marked(state_dir, "books")  # so its holder looks once more
        call.reconcile({"books", "mails", "../x"})
        assert started == [("lictor-reconcile", "../x", "mails")]
    call.reconcile({"books"})
    assert started[1:] == [("lictor-reconcile", "books")]
    call.reconcile([f"s{number}" for number in range(501)])
    assert started[2:] == [("lictor-reconcile", "--sweep")]
