"""Writing specs while others write the same keys: the real Consul."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.adapters.consul import transactions
from lictor.adapters.consul.client import Client
from lictor.cli import service_keys
from lictor.cli.specs import apply
from lictor.planner.autoscale import kept
from lictor.planner.service_state import LastGood, State
from lictor.reconcile.context import Context
from lictor.reconcile.state_store import StateStore
from lictor.spec.settings import Settings

from lab.consul import Consul

OWN = "services/books/"
BOOKS = {"name": "books", "image": "books:1.0", "engine": "docker"}


@pytest.fixture
def context(consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    client = Client.connect(environ=consul.environ)
    return Context(Settings(state_dir=str(tmp_path), nginx=None), client, client.agent().name)


def before_the_first_write(monkeypatch: pytest.MonkeyPatch, happens: Callable[[Client], None], *,
                           times: int = 1) -> None:
    """Let something happen between what `apply` reads and what it writes."""
    commit, left = Client.commit, [happens] * times

    def later(client: Client, operations: list[dict[str, dict[str, Any]]]) -> None:
        if left:
            left.pop()(client)
        commit(client, operations)

    monkeypatch.setattr(Client, "commit", later)


def written(context: Context, *, dry_run: bool = False, **changes: Any) -> str:
    return "".join(apply.apply(context, [("books.yaml", {**BOOKS, **changes})], dry_run=dry_run))


def put(context: Context, **keys: str) -> None:
    for key, value in keys.items():
        context.client.put(f"{OWN}{key}", value)


def indexes(context: Context) -> dict[str, int]:
    return {key: entry.modify_index for key, entry in context.client.tree("services/").items()}


@pytest.mark.parametrize(("happens", "told"), [
    (lambda client: client.delete(OWN, recurse=True), "books: new on "),  # the removal comes to its end
    (lambda client: client.put(f"{OWN}spec", client.get(f"{OWN}spec").value + b" "),
     "books: its removal is taken back"),
    (lambda client: client.put(f"{OWN}spec", b"{"), "books: new on "),  # by hand, and no spec
])
def test_a_spec_is_written_though_its_keys_change_meanwhile(
        context: Context, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Client], None], told: str) -> None:
    written(context)
    service_keys.remove(context.client, "services/", "books")
    before_the_first_write(monkeypatch, happens)
    assert written(context).startswith(told)
    found = service_keys.existing(context.client, "services/", "books")
    assert found.desired.spec and found.desired.spec.image == "books:1.0" and f"{OWN}removed" not in found.keys
    assert found.keys[f"{OWN}image"].value == b"books:1.0"


def test_a_service_that_another_node_has_got_meanwhile_is_not_moved(context: Context,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    before_the_first_write(monkeypatch, lambda client: client.put(
        f"{OWN}spec", json.dumps({**BOOKS, "engine": "swarm"})))
    with pytest.raises(errors.Refused, match="books.yaml: engine was 'swarm' and is 'docker'"):
        written(context)


def test_keys_that_never_rest_end_it(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "_PATIENCE_S", 0.5)
    numbers = itertools.count()
    before_the_first_write(monkeypatch, lambda client: client.put(f"{OWN}spec", str(next(numbers))), times=1000)
    with pytest.raises(errors.Conflict, match="services/books/spec"):
        written(context)


def test_what_is_unchanged_is_not_written(context: Context) -> None:
    written(context, replicas={"max": 5})
    before = indexes(context)
    assert written(context, replicas={"max": 5}) == "books: unchanged"
    assert written(context, replicas={"max": 5, "min": 0}) == "books: unchanged"
    assert indexes(context) == before


@pytest.mark.parametrize(("keys", "changes", "told"), [
    ({}, {"image": "books:2.0"}, "books: image books:1.0 -> books:2.0: a release"),
    ({"image": "books:3.0"}, {"drain": "5s"}, "books: drain 30s -> 5s; the key services/books/image wins: books:3.0"),
    ({"image": "books:3.0"}, {"image": "books:2.0"}, "books: image books:3.0 -> books:2.0: a release"),
    ({"image": "books:2.0"}, {"image": "books:2.0"}, "books: unchanged, and its key is written anew"),
    ({"replicas": "3"}, {"replicas": {"max": 3}}, "books: replicas.max 10 -> 3"),
    ({"replicas": "many"}, {"replicas": {"max": 3}},
     "books: replicas.max 10 -> 3; but refused: services/books/replicas: is 'many'; it must be a whole number within "
     "0..3"),
    ({"replicas": "20"}, {"replicas": {"max": 15}}, "books: replicas.max 10 -> 15; but refused: services/books/"
                                                    "replicas: is '20'; it must be a whole number within 0..15"),
    ({"hold": "me"}, {"drain": "5s"}, "books: drain 30s -> 5s; but on hold: the hold key is set (me)"),
    ({"spec": "{"}, {}, "books: new on node-1"),
])
def test_a_dry_run_tells_what_applying_tells_and_writes_nothing(context: Context, keys: dict[str, str],
                                                                changes: dict[str, Any], told: str) -> None:
    written(context)
    put(context, **keys)
    before = indexes(context)
    assert written(context, dry_run=True, **changes) == told and indexes(context) == before
    assert written(context, **changes) == told and indexes(context) != before


@pytest.mark.parametrize(("count", "changes", "told"), [
    ("5", {"replicas": {"max": 2}}, "replicas.max is 2, and the key services/books/replicas is 5. Use `lictor scale "
                                    "books 2` first, or let replicas.max be 5"),
    ("2", {"replicas": {"initial": 4, "min": 4}}, "replicas.min is 4, and the key services/books/replicas is 2. Use "
                                                  "`lictor scale books 4` first, or let replicas.min be 2"),
    ("2", {"replicas": {"initial": 20, "min": 20, "max": 30}}, "Use `consul kv put services/books/replicas 20` first"),
    ("5", {"replicas": {"max": 2}, "port": 8080, "route": {"path": "/b"}, "autoscale": {"p95": "1s"}},
     "replicas.max is 2, and the key"),  # the count is a person's
    ("1", {"cluster": {"kind": "etcd", "name": "e"}, "port": 2379, "volumes": ["data:/d"], "replicas": {"min": 1}},
     "replicas.max is 10; a set of etcd has at most 7 members"),
])
def test_a_spec_is_refused_that_would_have_the_count_refused(context: Context, count: str, changes: dict[str, Any],
                                                             told: str) -> None:
    written(context)
    put(context, replicas=count)
    before = indexes(context)
    for dry_run in (True, False):
        with pytest.raises(errors.Refused) as refused:
            written(context, dry_run=dry_run, **changes)
        assert str(refused.value).startswith("books.yaml: ") and told in str(refused.value)
    assert indexes(context) == before


def test_a_count_that_waits_for_its_service_is_one_too(context: Context) -> None:
    put(context, replicas="5")
    with pytest.raises(errors.Refused, match=r"replicas.max is 2, and the key services/books/replicas is 5. Use"):
        written(context, replicas={"max": 2})


def test_the_autoscaler_brings_its_own_count_within_bounds(context: Context) -> None:
    scaled: dict[str, Any] = {"port": 8080, "route": {"path": "/b"}, "autoscale": {"p95": "1s"}}
    written(context, **scaled)
    last_good = LastGood({**BOOKS, **scaled, "node": "node-1"}, 5, "books:1.0")
    StateStore(context.client).write("books", State(last_good=last_good), 0)
    context.client.commit([transactions.set_key(f"{OWN}replicas", "5"), transactions.set_key(
        f"{kept.KEY_PREFIX}books", kept.encode(kept.Kept(is_with_wish=True)))])
    assert written(context, replicas={"max": 2}, **scaled) == (
        "books: replicas.max 10 -> 2; 5 -> 2 instances desired; the autoscaler brings its count of 5 within these "
        "bounds")


def test_what_is_in_force_counts_where_the_key_cannot_be_read(context: Context) -> None:
    last_good = {**BOOKS, "image": "books:0.9", "node": "node-1"}
    StateStore(context.client).write("books", State(last_good=LastGood(last_good, 3, "books:0.9")), 0)
    put(context, spec="{")
    assert written(context) == "books: image books:0.9 -> books:1.0: a release"
    with pytest.raises(errors.Refused, match="books.yaml: engine was 'docker' and is 'swarm'"):
        put(context, spec="{")
        written(context, engine="swarm")


def test_a_strategy_or_a_set_that_a_service_has_had_stays(context: Context) -> None:
    of_a_set: dict[str, Any] = {"cluster": {"kind": "etcd", "name": "e"}, "port": 2379, "volumes": ["data:/d"],
                "replicas": {"initial": 1, "min": 1, "max": 5}}
    written(context, **of_a_set)
    StateStore(context.client).write("books", State(last_good=LastGood({**BOOKS, **of_a_set}, 1, "books:1.0")), 0)
    with pytest.raises(errors.Refused, match="books.yaml: cluster was etcd e and is etcd f; a set keeps its kind"):
        written(context, **{**of_a_set, "cluster": {"kind": "etcd", "name": "f"}})


def test_a_set_that_an_environment_names_and_that_is_none_is_told(context: Context) -> None:
    """Also one that is no set, or was removed; not one that is applied together with it."""
    table: dict[str, Any] = {**BOOKS, "environment": {"DB": "{seeds:db}"}}
    db = {"name": "db", "image": "etcd:1", "port": 2379, "volumes": ["data:/data"], "replicas": {"min": 1, "max": 5},
          "cluster": {"kind": "etcd", "name": "db"}}
    told = "; but its instances wait: there is no service db with `cluster`"

    def lines(*tables: dict[str, object]) -> list[str]:
        return [*apply.apply(context, [(f"{each['name']}.yaml", each) for each in tables])]

    assert told in written(context, **table)
    [line] = lines({**table, "environment": ["DB={seeds:db}{seeds:cache}"]})
    assert "there is no service cache and no service db with `cluster`" in line
    for order in ((table, db), (db, table)):
        assert told not in "".join(lines(*order)) and told not in written(context, **table)
        context.client.put("services/db/removed", "")
        assert told in written(context, **table)
    context.client.delete("services/db/", recurse=True)
    lines({**BOOKS, "name": "db"})
    assert told in written(context, **table)
