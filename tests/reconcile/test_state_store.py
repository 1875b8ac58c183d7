"""The states of services in a real Consul: absent, damaged, and changed by another writer."""

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from lictor import errors
from lictor.adapters import tally
from lictor.adapters.consul.client import Client
from lictor.planner.service_state import Breaker, Failure, Release, State
from lictor.reconcile.other_clocks import OtherClocks
from lictor.reconcile.state_store import StateStore, Stored

from lab.consul import Consul

KEY = "lictor/state/books"
OPEN = State(breaker=Breaker(1.0, "too many were replaced"))


@pytest.fixture
def client(consul: Consul) -> Client:
    return Client.connect(environ=consul.environ)


def test_a_key_that_is_absent_or_damaged_is_a_fresh_state(client: Client) -> None:
    store = StateStore(client)
    assert store.read("books") == Stored(State(), 0)
    client.put(KEY, "[" * 50_000)
    state, index = store.read("books", consistent=True)
    assert state == State() and index > 0


def test_a_state_is_written_only_over_the_one_that_was_read(client: Client) -> None:
    store = StateStore(client)
    store.write("books", OPEN, 0)
    state, index = store.read("books")
    assert state == OPEN
    for other in (0, index - 1):
        with pytest.raises(errors.Conflict, match=KEY):
            store.write("books", State(), other)
        with pytest.raises(errors.Conflict):
            client.commit([store.writing("books", State(), other)])
    client.commit([store.writing("books", State(), index)])
    assert store.read("books").state == State()


def test_all_states_are_read_at_once_by_service(client: Client) -> None:
    store = StateStore(client)
    assert store.read_all() == {}
    for name in ("books", "carts"):
        store.write(name, OPEN, 0)
    assert {name: stored.state for name, stored in store.read_all().items()} == {"books": OPEN, "carts": OPEN}


LIVE, FAILED = Release(live_release="a"), Failure("b", "books:2", "it exits", 1.0)


@pytest.mark.parametrize(("before", "after", "outcome"), [
    (Release(), LIVE, "done"),  # the first one
    (LIVE, replace(LIVE, live_release="b"), "done"),
    (LIVE, LIVE, ""),
    (LIVE, Release(), ""),  # the state was lost
    (LIVE, replace(LIVE, failed=FAILED), "failed"),
    (replace(LIVE, failed=FAILED), replace(LIVE, failed=replace(FAILED, at=2.0, why="its last words")), ""),
    (replace(LIVE, failed=FAILED), replace(LIVE, failed=replace(FAILED, release="c")), "failed"),
    (replace(LIVE, failed=FAILED), LIVE, ""),
    (replace(LIVE, failed=FAILED), Release(live_release="b"), "done"),
])
def test_a_release_that_has_ended_is_counted_once_it_is_written(client: Client, tmp_path: Path, before: Release,
                                                                after: Release, outcome: str) -> None:
    (tmp_path / "locks").mkdir()
    tally.keep(str(tmp_path))
    try:
        store = StateStore(client)
        with pytest.raises(errors.Conflict):
            store.write("books", State(release=after), 7, before=State(release=before))
        store.write("books", State(release=after), 0, before=State(release=before))
    finally:
        tally.keep("")
    assert tally.read(str(tmp_path)).counts == ({("releases", "books", outcome): 1} if outcome else {})


@pytest.mark.parametrize("skew_s", [0.0, -3 * 3600.0, 7200.0, 10 * 365 * 86_400.0])
def test_times_of_a_node_with_another_clock_are_read_by_this_ones(client: Client, tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch,
                                                                  skew_s: float) -> None:
    """Each write is told from the look before by Consul's own index; the two nodes write in turn."""
    now, stores = time.time(), dict[str, StateStore]()
    for node in ("node-1", "node-2"):
        (tmp_path / node).mkdir()
        stores[node] = StateStore(client, clocks=OtherClocks(str(tmp_path / node), node))

    def at(node: str) -> float:
        monkeypatch.setattr("time.time", lambda: now + (skew_s if node == "node-2" else 0.0))
        return time.time()

    at("node-1")
    stores["node-1"].write("books", OPEN, 0)
    stores["node-1"].read_all()
    stores["node-1"].write("carts", State(breaker=Breaker(at("node-1") - 60, "x")), 0)
    for node in ("node-2", "node-1", "node-2", "node-1"):
        began_at = at(node) - 60
        state, index = stores[node].read_all()["carts"]
        assert state.breaker and abs(state.breaker.opened_at - began_at) < 10
        assert stores[node].read("carts").state == state
        stores[node].write("carts", state, index)
