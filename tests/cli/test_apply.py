"""Writing specs while others write the same keys: the real Consul."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lictor import errors
from lictor.adapters.consul.client import Client
from lictor.cli import apply, service_keys
from lictor.reconcile.context import Context
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

    def later(client: Client, operations: list[dict[str, dict[str, object]]]) -> None:
        if left:
            left.pop()(client)
        commit(client, operations)

    monkeypatch.setattr(Client, "commit", later)


def written(context: Context, **changes: object) -> str:
    return "".join(apply.apply(context, [("books.yaml", {**BOOKS, **changes})]))


@pytest.mark.parametrize(("happens", "told"), [
    (lambda client: client.delete(OWN, recurse=True), "; new"),  # the removal of the former books comes to its end
    (lambda client: client.put(f"{OWN}spec", client.get(f"{OWN}spec").value + b" "), "; updated"),
    (lambda client: client.put(f"{OWN}spec", b"{"), "; new"),  # by hand, and no spec
])
def test_a_spec_is_written_though_its_keys_change_meanwhile(
        context: Context, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Client], None], told: str) -> None:
    written(context)
    service_keys.remove(context.client, "services/", "books")
    before_the_first_write(monkeypatch, happens)
    assert told in written(context)
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


def test_a_set_that_an_environment_names_and_that_is_none_is_told(context: Context) -> None:
    """Also one that is no set, or was removed; not one that is applied together with it."""
    table = {**BOOKS, "environment": {"DB": "{seeds:db}"}}
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
