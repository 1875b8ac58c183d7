"""Why an act on a set failed, in its key in a real Consul: kept after the act, unless somebody else has written."""

from pathlib import Path

import pytest

from lictor import errors
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import PlainWriter
from lictor.planner.cluster.actions import Start
from lictor.planner.cluster.kept import Kept, Tries
from lictor.reconcile.cluster import record, step
from lictor.reconcile.cluster.record import Record
from lictor.reconcile.context import Context
from lictor.spec.settings import Settings

from lab.consul import Consul

ACT = Start("db-3", "growing", 3, "1", True)
BEGUN = Kept(set_id="1", tries={"start db-3": Tries(2, 5.0, 1)})


@pytest.fixture
def context(consul: Consul, tmp_path: Path) -> Context:
    return Context(Settings(state_dir=str(tmp_path)), Client.connect(environ=consul.environ), "node-1")


class Late(PlainWriter):
    """A writer that is not the first one."""

    def put(self, key: str, value: str | bytes, index: int | None = None) -> None:
        raise errors.Conflict(f"{key}: another was first")


@pytest.mark.parametrize(("failure", "tries"), [
    (errors.Unavailable("no\nanswer."), Tries(2, 5.0, 1, "no answer")),
    (errors.NotYet("copies"), Tries(2, 5.0, 2, "copies")),
    (errors.Conflict("another was first"), Tries(2, 5.0, 1, "another was first")),
    (errors.Refused("x" * 1000), Tries(2, 5.0, 1, "x" * 300)),
])
def test_why_an_act_failed_is_kept(context: Context, failure: errors.LictorError, tries: Tries) -> None:
    record.write(PlainWriter(context.client), "db", Record("etcd", BEGUN, {"1": {"image": "a"}}), 0)
    step._keep_failure(context, PlainWriter(context.client), "db", ACT, failure)
    found = record.read(context.client, "db").record
    assert found.kept.tries == {"start db-3": tries} and found.specs == {"1": {"image": "a"}}


def test_if_it_cannot_be_kept_that_is_no_failure_of_its_own(context: Context) -> None:
    record.write(PlainWriter(context.client), "db", Record("etcd", BEGUN), 0)
    step._keep_failure(context, Late(context.client), "db", ACT, errors.Unavailable("no"))
    assert record.read(context.client, "db").record.kept == BEGUN
    context.client.put("lictor/cluster/db", "damaged")
    step._keep_failure(context, PlainWriter(context.client), "db", ACT, errors.Unavailable("no"))
    entry = context.client.get("lictor/cluster/db")
    assert entry and entry.value == b"damaged"
