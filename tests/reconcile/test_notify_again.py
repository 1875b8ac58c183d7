"""A notification that did not get through is sent again, once in a run, as long as its cause lasts; recorded once."""

from typing import Any

import pytest

from lictor.adapters.consul.lock import PlainWriter
from lictor.planner import next_state
from lictor.planner.service_state import Breaker, State
from lictor.reconcile import history, loop, notify
from lictor.reconcile.context import Context
from lictor.reconcile.observe import Reading
from lictor.reconcile.state_store import StateStore
from lictor.spec.settings import Settings

from support.hostile import NODE, FakeConsul
from support.scene import scene


def test_one_that_did_not_get_through_is_sent_again_and_recorded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    consul, sent = FakeConsul(), list[dict[str, Any]]()
    context, states = Context(Settings(), consul, NODE), StateStore(consul)
    answers = [False, False, True]

    def send(_: Settings, record: dict[str, Any]) -> bool:
        sent.append(record)
        return answers.pop(0)

    monkeypatch.setattr(notify, "send", send)
    seen = scene(1, "unhealthy", state={"breaker": Breaker(1.0, "x")})
    states.write("books", State(breaker=seen.state.breaker, release=seen.state.release), 0)
    for is_first, count, pending in ((True, 1, ["breaker"]), (False, 1, ["breaker"]), (True, 2, ["breaker"]),
                                     (True, 3, []), (True, 3, [])):
        stored = states.read("books")
        state, _ = next_state.step(seen._replace(state=stored.state))
        loop._step(context, Reading(seen._replace(state=state), stored, ()), PlainWriter(consul), is_first)
        kept = states.read("books").state.notified
        assert (len(sent), kept.pending, kept.causes) == (count, pending, ["breaker"])
    assert [each["kind"] for each in history.read(consul, "books")] == ["breaker"]


def test_it_ends_with_its_cause() -> None:
    seen = scene(1, "passing", state={"causes": ["breaker"], "pending": ["breaker"]})
    assert next_state.advance(seen).notified.pending == []
