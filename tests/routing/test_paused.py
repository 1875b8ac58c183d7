"""What nodes tell of a pause, as it is read from keys that anybody may have written."""

import json
from typing import Any

import pytest

from lictor.adapters.consul.client import Client
from lictor.planner.routes.pause import Pause
from lictor.routing import paused
from lictor.routing.paused import Told

from lab.consul import Consul

TOLD = Told(1790000000.5, 3, 2)


@pytest.fixture
def client(consul: Consul) -> Client:
    return Client.connect(environ=consul.environ)


NO_COUNT: list[Any] = [-1, True, None, "3", 1.5, 10**9 + 1, 10**400, [], {}]
NO_TIME: list[Any] = [1790000000, "1790000000.5", None, True, []]


@pytest.mark.parametrize(("changes", "is_told"), [
    ({}, True), ({"waiting": 0, "in_flight": 0}, True), ({"waiting": 10**9}, True), ({"more": 1}, False),
    *(({key: wrong}, False) for key in ("waiting", "in_flight") for wrong in NO_COUNT),
    *(({"asked_at": wrong}, False) for wrong in NO_TIME)])
def test_only_what_lictor_wrote_is_believed(consul: Consul, client: Client, changes: dict[str, Any],
                                            is_told: bool) -> None:
    """A negative number would make up for requests in flight elsewhere."""
    key = paused.key("books", "node-1")
    consul.put(key, json.dumps({**TOLD._asdict(), **changes}))
    found = paused.read(client, "books", {"node-1"})
    assert found == ({"node-1": TOLD._replace(**changes)} if is_told else {})
    assert paused.read(client, "books", {"node-2"}) == {}
    assert paused.of_pause(found, Pause(60, TOLD.asked_at + 1)) == {}


@pytest.mark.parametrize("text", ["", "null", "{", "[" * 100_000, '{"asked_at": NaN, "waiting": 1, "in_flight": 1}'])
def test_a_damaged_text_confirms_nothing(consul: Consul, client: Client, text: str) -> None:
    consul.put(paused.key("books", "node-1"), text)
    assert not paused.of_pause(paused.read(client, "books", {"node-1"}), Pause(60, TOLD.asked_at))
