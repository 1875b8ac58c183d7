"""How long is waited before the next try; nobody sleeps here, the pauses are only noted."""

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from lictor import errors
from lictor.adapters import retry


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of this thread; another one, that an earlier test left, goes on sleeping."""
    noted: list[float] = []
    own, sleep = threading.get_ident(), time.sleep
    monkeypatch.setattr(time, "sleep", lambda s: noted.append(s) if threading.get_ident() == own else sleep(s))
    return noted


def failing(*failures: Exception) -> Callable[[], str]:
    left = list(failures)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return call


def test_who_asks_for_more_time_gets_it(pauses: list[float]) -> None:
    call = failing(errors.Unavailable("a", after_s=7), errors.Unavailable("b"), errors.Conflict("c", after_s=9))
    assert retry.unavailable(call, timeout_s=20) == "done"
    assert pauses[0] == 7 and 0 <= pauses[1] <= 5 and pauses[2] == 9


def test_who_asks_for_more_than_there_is_gets_no_second_try(pauses: list[float]) -> None:
    with pytest.raises(errors.Unavailable, match="much later"):
        retry.unavailable(failing(errors.Unavailable("much later", after_s=20)), timeout_s=20)
    assert pauses == []


def test_only_what_is_asked_for_is_tried_again(pauses: list[float]) -> None:
    with pytest.raises(errors.Unavailable, match="no answer"):
        retry.unavailable(failing(errors.Unavailable("no answer")), timeout_s=20, only=errors.Conflict)
    with pytest.raises(errors.Refused, match="wrong"):
        retry.unavailable(failing(errors.Refused("wrong")), timeout_s=20)
    assert pauses == []


def test_no_pause_is_longer_than_what_is_left(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: 0.0))  # the calls themselves take none
    calls = failing(*(errors.Unavailable("busy") for _ in range(50)))
    assert retry.unavailable(calls, timeout_s=0.5) == "done"
    assert len(pauses) == 50 and max(pauses) <= 0.5
