"""A set that another node acts for: what Consul knows of it, what that rests on, and what is not known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from lictor.adapters.consul.client import Client
from lictor.cli import cluster_report
from lictor.cli.cluster_report import MemberRow, SetReport
from lictor.planner.cluster.kept import Kept, Tries
from lictor.reconcile.cluster.record import Record
from lictor.reconcile.context import Context
from lictor.reconcile.status import status_report
from lictor.reconcile.status.status_report import Status
from lictor.spec.settings import Settings

from lab.consul import Consul
from lab.daemon import wait_for

_Read = TypeVar("_Read")
SPEC = {"name": "db", "image": "etcd:1", "node": "node-9", "port": "10.0.0.9::2379", "volumes": ["data:/data"],
        "replicas": {"initial": 3, "min": 1, "max": 5}, "cluster": {"kind": "etcd", "name": "db"}}
KEPT = Kept(set_id="1", seated=(1, 2, 3), term=4, version=0)


@pytest.fixture
def context(consul: Consul, tmp_path: Path) -> Context:
    client = Client.connect(environ=consul.environ)
    client.put("services/db/spec", json.dumps(SPEC))
    return Context(Settings(state_dir=str(tmp_path)), client, "node-1")


def keep(context: Context, kept: Kept) -> None:
    context.client.put("lictor/cluster/db", msgspec.json.encode(Record("etcd", kept, {})))


def register(consul: Consul, number: int, *tags: str, status: str = "passing", serf: str = "passing",
             meta: dict[str, str] | None = None, node: str = "node-9") -> None:
    service_id = f"host:db-{number}:{2377 + 2 * number}"
    made: dict[str, Any] = {
        "Node": node, "Address": "10.0.0.9", "SkipNodeUpdate": False,
        "Service": {"ID": service_id, "Service": "db", "Port": 2377 + 2 * number, "Tags": list(tags),
                    "Meta": {"lictor-engine": "E", "lictor-container": f"c{number}"} if meta is None else meta},
        "Checks": [{"Node": node, "CheckID": "serfHealth", "Name": "s", "Status": serf},
                   {"Node": node, "CheckID": f"check-{number}", "Name": "c", "Status": status, "ServiceID": service_id,
                    "Output": "connection refused" if status == "critical" else ""}]}
    consul.request("PUT", "/v1/catalog/register", made)


def settled(read: Callable[[], _Read]) -> _Read:
    """Register and read until two readings are the same: once a minute Consul's leader removes each node whose
    serfHealth no member of its gossip has."""
    found = [read()]

    def is_settled() -> bool:
        found.append(read())
        return found[-1] == found[-2]
    wait_for(is_settled, "two readings are the same")
    return found[-1]


def test_its_members_are_shown_by_tags_and_checks_with_what_that_rests_on(consul: Consul, context: Context) -> None:
    keep(context, KEPT)

    def read() -> SetReport | None:
        register(consul, 1, "primary")
        register(consul, 2, "secondary", status="critical")
        register(consul, 4, "primary", meta={})  # nobody but a registrar says who is primary
        register(consul, 5, "primary", node="node-8")  # it is on a node that is not the set's
        return cluster_report.read(context, "db")
    found = settled(read)
    assert found and found.members == [
        MemberRow("db-1", "primary", None, "", 0, "passing", "10.0.0.9:2379"),
        MemberRow("db-2", "secondary", None, "", 0, "critical: connection refused", "10.0.0.9:2381"),
        MemberRow("db-3", "", None, "", 0, "a member that is not in the catalogue", ""),
        MemberRow("db-4", "", None, "", 0, "passing", "10.0.0.9:2385")]
    assert found.term == 4 and found.says == (
        "by Consul's word alone: node node-9 acts for it. ROLE is the tag that its registrar set last, STATE is the "
        "check's. `lictor status db` there asks the members.")


def test_the_tag_of_a_node_that_does_not_answer_is_no_role_of_now(consul: Consul, context: Context) -> None:
    def read() -> SetReport | None:
        register(consul, 1, "primary", serf="critical")
        return cluster_report.read(context, "db")
    found = settled(read)
    assert found and found.members == [MemberRow(
        "db-1", "", None, "", 0, "unknown: node node-9 does not answer. It was primary when the node was last heard of",
        "10.0.0.9:2379")]


def test_what_the_last_sweep_of_its_node_says_of_it_is_quoted(consul: Consul, context: Context) -> None:
    output = ("books: wait books-1: no\ndb: wait db-3: joining: it copies. Next\n"
              "lictor-registrar is silent: it has written no heartbeat lately")
    consul.request("PUT", "/v1/catalog/register", {
        "Node": "node-9", "Address": "10.0.0.9", "Service": {"ID": "lictor", "Service": "lictor"},
        "Check": {"Node": "node-9", "CheckID": "lictor-reconcile", "Name": "c", "Status": "warning",
                  "ServiceID": "lictor", "Output": output}})
    found = cluster_report.read(context, "db")
    assert found and found.says.endswith(
        "Its last sweep says: db: wait db-3: joining: it copies. Next; lictor-registrar is silent: it has written no "
        "heartbeat lately")


@pytest.mark.parametrize(("tries", "says"), [
    ({"add db-3": Tries(2, 5.0, 0, "etcd: no")}, "backing off: add db-3 was tried 2 times, and failed: etcd: no"),
    ({"add db-3": Tries(1, 5.0, 1, "etcd: unhealthy")}, "not yet: add db-3 was put off: etcd: unhealthy"),
    ({"add db-3": Tries(1, 5.0)}, "converging: spec's initial count is 3"),
])
def test_the_list_quotes_what_the_next_step_failed_with(consul: Consul, context: Context, tries: dict[str, Tries],
                                                        says: str) -> None:
    keep(context, msgspec.structs.replace(KEPT, tries=tries))

    def read() -> list[Status]:
        consul.request("PUT", "/v1/catalog/register", {"Node": "node-9", "Address": "10.0.0.9", "Service": {
            "ID": "lictor", "Service": "lictor"}})
        register(consul, 1, "primary")
        return status_report.read_status(context)
    [row] = settled(read)
    assert row.says.startswith(says), row


@pytest.mark.parametrize("text", ["", "[", '{"kept": 5}'])
def test_a_damaged_key_hides_nothing_else(consul: Consul, context: Context, text: str) -> None:
    context.client.put("lictor/cluster/db", text)

    def read() -> SetReport | None:
        register(consul, 1, "primary")
        return cluster_report.read(context, "db")
    found = settled(read)
    assert found and [row.name for row in found.members] == ["db-1"]
    assert [row.name for row in status_report.read_status(context)] == ["db"]
