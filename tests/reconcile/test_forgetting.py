"""Keys of a service that was removed long ago go; keys that may still be wanted stay."""

import json
from pathlib import Path

import pytest

from lictor import model
from lictor.adapters.consul.client import Client
from lictor.events import keys_watch
from lictor.reconcile import forgetting
from lictor.reconcile.context import Context
from lictor.spec.settings import Settings

from lab.consul import Consul

NOW = 2_000_000_000.0
DAY_S = 86_400.0


@pytest.fixture
def context(consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    return Context(Settings(state_dir=str(tmp_path), nginx=None), Client.connect(), "node-1")


def put_service(consul: Consul, name: str, *keys: str, days: float, state: bool = False) -> None:
    """A service whose last record is so many days old, with these keys below services/."""
    consul.put(f"lictor/history/{name}/{int((NOW - days * DAY_S - 9) * 1e6):016d}", "{}")
    consul.put(f"lictor/history/{name}/{int((NOW - days * DAY_S) * 1e6):016d}", "{}")
    consul.put(f"lictor/nodes/{name}/node-1", "[]")
    consul.put(f"lictor/seeds/{name}", "10.0.0.5:1")
    for key in keys:
        consul.put(f"services/{name}/{key}", "")
    if state:
        consul.put(f"lictor/state/{name}", "{}")


def look(context: Context, now: float = NOW) -> set[str]:
    """Forget, and return the services of which a record is left."""
    forgetting.forget_removed(context, keys_watch.read_keys(context.client, "services/"), model.Clock(now))
    return {key.split("/")[2] for key in context.client.keys("lictor/history/")}


def test_only_services_that_were_removed_long_ago_are_forgotten(consul: Consul, context: Context) -> None:
    put_service(consul, "old", "removed", days=31)
    put_service(consul, "vanished", days=31)  # nobody removed it, and not even its state is left
    put_service(consul, "recent", "removed", days=29)
    put_service(consul, "again", "removed", "spec", days=31)
    put_service(consul, "foreign", "removed", "instances", days=31)  # another program's key may mean something to it
    put_service(consul, "held", days=31, state=True)
    consul.put("lictor/history/damaged/x", "{}")
    assert look(context) == {"recent", "again", "foreign", "held", "damaged"}
    left = set(context.client.keys("lictor/nodes/")) | set(context.client.keys("services/"))
    assert not {key for key in left if "/old/" in key or "/vanished/" in key}
    assert context.client.keys("lictor/seeds/") == [f"lictor/seeds/{name}" for name in (
        "again", "foreign", "held", "recent")]
    assert context.client.keys("services/recent/") == ["services/recent/removed"]


YEARS_S = 10 * 365 * DAY_S


@pytest.mark.parametrize(("skew_s", "offset_s"), [
    (0.0, 0.0), (-3 * 3600.0, 0.0), (7200.0, 0.0), (YEARS_S, 0.0), (-YEARS_S, 0.0), (-YEARS_S, YEARS_S), (-NOW, 0.0)])
def test_thirty_days_count_by_the_clock_of_the_node_that_looks(
        consul: Consul, context: Context, skew_s: float, offset_s: float) -> None:
    """Whatever the clock of the node says that removed the service, and whether it is known to be another."""
    put_service(consul, "other", days=29)
    look(context, NOW - DAY_S)
    Path(context.settings.state_dir, "other_clocks.json").write_text(json.dumps({
        "boot": "", "uptime_s": 0.0, "at": 0.0, "index": 1, "offsets": {"node-2": offset_s}}))
    at = max(NOW - 60 + skew_s, 0.0)
    consul.put(f"lictor/history/books/{int(at * 1e6 + 1):016d}", json.dumps({"at": at, "node": "node-2"}))
    for day in (0.1, 1.2, 10.0, 20.0, 29.5):
        assert "books" in look(context, NOW + day * DAY_S)
    assert "books" not in look(context, NOW + 31.5 * DAY_S)


def test_it_looks_once_a_day_whatever_stands_in_its_file(consul: Consul, context: Context) -> None:
    put_service(consul, "first", "removed", days=31)
    assert look(context) == set()
    put_service(consul, "second", "removed", days=31)
    assert look(context, NOW + DAY_S / 2) == {"second"}
    Path(context.settings.state_dir, "forgotten.json").write_text(json.dumps({"at": "never"}))
    assert look(context, NOW + DAY_S / 2) == set()
    damages: list[object] = [[], {"at": 1e12}, {"at": -1.0}, {"at": NOW - 2 * DAY_S, "index": "x", "removed": [1]},
                             {"at": NOW - 2 * DAY_S, "index": 0, "removed": {"third": ["x"]}}]
    for damage in damages:
        put_service(consul, "third", "removed", days=31)
        Path(context.settings.state_dir, "forgotten.json").write_text(json.dumps(damage))
        assert look(context) == set()
