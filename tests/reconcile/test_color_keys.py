"""The keys of the colours on a real Consul: each changes with the state or not at all, and never over another write."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lictor import errors
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import PlainWriter
from lictor.planner import service_state
from lictor.planner.actions import Try
from lictor.planner.service_state import Rollout, State, Trial
from lictor.reconcile.release.color_keys import ColorKeys
from lictor.reconcile.state_store import StateStore

from lab.consul import Consul
from support.release_scene import BLUE_GREEN, NEW, release_of, world
from support.scene import NOW

SPEC: dict[str, Any] = {**BLUE_GREEN, "route": {"path": "/books"},
                        "release": {**BLUE_GREEN["release"], "canary": "10%"}}
CREW = ("1 books:1 blue passing", "1 books:2 green passing")
FOLDER = "services/books/"
TRY = Try("books-green", "all pass", "green", 0.1)


@pytest.fixture
def client(consul: Consul) -> Client:
    return Client.connect(environ=consul.environ)


def keys(client: Client, *, on_trial: bool, canary: str = "") -> ColorKeys:
    """The keys as they stand in Consul, and an observation of them."""
    trial = Trial(0.1, NOW - 100, NOW - 20) if on_trial else None
    seen = world(SPEC, NEW, *CREW, replicas=1, keys={"canary": canary.encode()} if canary else {},
                 state={"rollout": Rollout(release_of(SPEC, NEW), NOW - 200, NOW - 100, 1, trial=trial)})
    writer, states = PlainWriter(client), StateStore(client)
    states.write("books", seen.state, 0)
    client.put(f"{FOLDER}color", b"blue")
    if canary:
        client.put(f"{FOLDER}canary", canary.encode())
    return ColorKeys(client, writer, states, seen._replace(state=states.read("books").state), FOLDER)


def standing(client: Client) -> tuple[str, str, State]:
    color, canary = (client.get(f"{FOLDER}{which}") for which in ("color", "canary"))
    return (color.value.decode() if color else "", canary.value.decode() if canary else "",
            StateStore(client).read("books").state)


def test_a_canary_begins_with_its_key_and_the_state(client: Client) -> None:
    found = keys(client, on_trial=False)
    assert found.give_share(TRY) == "green 10% of the requests"
    color, canary, state = standing(client)
    assert (color, canary) == ("blue", "green 10%")
    assert state.release.rollout and state.release.rollout.trial == Trial(0.1, NOW, NOW)


def test_a_switch_takes_the_canarys_key_away(client: Client) -> None:
    found = keys(client, on_trial=True, canary="green 10%")
    assert found.switch("green") == "green is live"
    color, canary, state = standing(client)
    assert (color, canary, state.release.color, state.release.rollout) == ("green", "", "green", None)


def test_a_key_is_taken_away_alone(client: Client) -> None:
    found = keys(client, on_trial=False, canary="green 10%")
    before = standing(client)[2]
    assert found.take_share() == "blue has all requests"
    assert standing(client) == ("blue", "", before)


def test_the_live_colours_key_is_put_back_beside_a_canary(client: Client) -> None:
    found = keys(client, on_trial=True, canary="green 10%")
    before = standing(client)[2]
    assert found.switch("blue") == "blue is live"
    assert standing(client) == ("blue", "green 10%", before)


ACTS: dict[str, Callable[[ColorKeys], str]] = {
    "try": lambda found: found.give_share(TRY), "switch": lambda found: found.switch("green"),
    "recall": lambda found: found.take_share()}


@pytest.mark.parametrize(("act", "changed"), [
    ("try", "services/books/canary"), ("try", "lictor/state/books"), ("switch", "services/books/color"),
    ("switch", "lictor/state/books"), ("recall", "services/books/canary")])
def test_what_was_written_meanwhile_stays(client: Client, act: str, changed: str) -> None:
    found = keys(client, on_trial=act != "try", canary="" if act == "try" else "green 10%")
    state = found.observation.state
    other = msgspec.structs.replace(state, release=msgspec.structs.replace(state.release, switched_at=5.0))
    client.put(changed, service_state.encode(other) if "state" in changed else b"red")
    before = standing(client)
    with pytest.raises(errors.Conflict):
        ACTS[act](found)
    assert standing(client) == before
