"""The key lictor/cluster/NAME in a real Consul: absent, damaged, written by another; and which specs it holds."""

import json

import pytest

from lictor import errors
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import PlainWriter
from lictor.planner.cluster.kept import Kept
from lictor.planner.desired import Desired, desired
from lictor.planner.service_state import State
from lictor.reconcile.cluster import record
from lictor.reconcile.cluster.record import Record, Stored

from lab.consul import Consul

SPEC = {"name": "db", "image": "etcd:1", "node": "n", "port": 2379, "volumes": ["data:/data"],
        "replicas": {"min": 1, "max": 5}, "cluster": {"kind": "etcd", "name": "db"}}
KEPT = Kept(set_id="1", seated=(1, 2), proven=("r1",), ill_since={"db-2": 3.0})


@pytest.fixture
def client(consul: Consul) -> Client:
    return Client.connect(environ=consul.environ)


def service(image: str = "etcd:1") -> Desired:
    return desired("db", {"spec": json.dumps(SPEC).encode(), "image": image.encode()}, State())


def test_what_was_written_is_read_and_only_written_over_by_who_has_read_it(client: Client) -> None:
    assert record.read(client, "db") == Stored(Record(), 0)
    first = Record("etcd", KEPT, {"r1": SPEC})
    record.write(PlainWriter(client), "db", first, 0)
    stored = record.read(client, "db", consistent=True)
    assert (stored.record, stored.trouble) == (first, "")
    for other in (0, stored.modify_index - 1):
        with pytest.raises(errors.Conflict, match="lictor/cluster/db"):
            record.write(PlainWriter(client), "db", Record(), other)


@pytest.mark.parametrize("text", ["", "x", "null", "[" * 50_000, '{"kept": 3}', '{"kept": {"seated": ["one"]}}',
                                  '{"specs": {"r1": 1}}', '{"kind": null}'])
def test_a_damaged_one_is_no_fresh_one(client: Client, text: str) -> None:
    """Who takes it for one makes a second set."""
    client.put("lictor/cluster/db", text)
    stored = record.read(client, "db")
    assert stored.record == Record() and "the key lictor/cluster/db is damaged" in stored.trouble


def test_it_holds_the_specs_that_a_member_may_be_made_of(client: Client) -> None:
    before = Record("etcd", Kept(), {each: {"image": each} for each in ("r1", "r2", "r3")})
    after = record.advanced(before, KEPT, service("etcd:9"), {"r3", "unknown"})
    assert after.specs == {"r1": {"image": "r1"}, "r3": {"image": "r3"},
                           service("etcd:9").release: {**SPEC, "image": "etcd:9"}}
    assert (after.kind, after.kept) == ("etcd", KEPT)
