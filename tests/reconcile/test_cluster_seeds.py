"""The keys lictor/seeds/NAME in a real Consul, and containers of a real Docker whose environment they fill."""

import json
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import PlainWriter
from lictor.events import script
from lictor.planner import desired, service_state
from lictor.planner.actions import Wait
from lictor.reconcile import history, loop, observe
from lictor.reconcile.cluster import seeds
from lictor.reconcile.context import Context
from lictor.spec import service_spec
from lictor.spec.settings import Settings

from lab.consul import Consul
from lab.docker import Docker

SPEC: dict[str, Any] = {"name": "books", "image": "books-service:1.0", "node": "node-1",
                        "environment": {"DB": "{seeds:db}", "JSON": '{"a": {}}'}}
KEY = "lictor/seeds/db"


@pytest.fixture
def context(consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    for each in script.FOLDERS:
        (tmp_path / "state" / each).mkdir(parents=True)
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    return Context(Settings(state_dir=str(tmp_path / "state"), nginx=None), Client.connect(), "node-1")


@pytest.fixture
def engine(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Docker:
    for name, value in docker.environ.items():
        monkeypatch.setenv(name, value)
    return docker


def index(client: Client) -> int:
    entry = client.get(KEY)
    return entry.modify_index if entry else 0


def tell(client: Client, due: str) -> int:
    """Look and tell; returns the key's index."""
    seeds.tell(PlainWriter(client), "db", seeds.look(client, "db", due))
    return index(client)


def test_a_list_is_written_when_it_is_another_one(context: Context) -> None:
    client = context.client
    assert tell(client, "") == 0  # it is not known
    first = tell(client, "h:1")
    assert first and tell(client, "h:1") == first and tell(client, "") == first
    second = tell(client, "h:1,h:2")
    assert second > first and seeds.read_all(client) == {"db": b"h:1,h:2"}
    before = seeds.look(client, "db", "h:3")
    client.put(KEY, "by another")
    with pytest.raises(errors.Conflict, match=KEY):
        seeds.tell(PlainWriter(client), "db", before)
    assert tell(client, "h:3") > second  # whoever wrote to it: the node that acts for the set knows
    seeds.forget(client, "db")
    seeds.forget(client, "db")
    assert client.get(KEY) is None


def environment(engine: Docker, name: str) -> dict[str, str]:
    listed = json.loads(engine.docker("inspect", "--format", "{{json .Config.Env}}", name))
    return dict(each.partition("=")[::2] for each in listed)


def test_a_start_waits_for_the_list_and_is_filled_by_it_alone(context: Context, engine: Docker) -> None:
    """To wait is no failure, and other members make no release."""
    client = context.client
    client.put("services/books/spec", json.dumps(SPEC))
    for text, why in ((None, "db has no member yet"), ("", "db has no member yet"), (
            "10.0.0.5:1\nPATH=/evil", f"the key {KEY} holds '10.0.0.5:1\\nPATH=/evil'; it must be 1 to 50")):
        if text is not None:
            client.put(KEY, text)
        loop.converge(context, "books")
        [wait] = observe.one(context, "books", {}).actions
        assert isinstance(wait, Wait) and wait.reason.startswith(f"waiting: {why}"), wait
        assert wait.reason.endswith(". Would start books-1 (1 is the last good count, 0 run).")
    assert engine.containers() == [] and history.read(client, "books") == []
    state = client.get("lictor/state/books")
    assert state and not service_state.decode(state.value).healing.failures

    client.put(KEY, "10.0.0.5:2379,10.0.0.5:2381")
    loop.converge(context, "books")
    found = environment(engine, "books-1")
    assert (found["DB"], found["JSON"]) == ("10.0.0.5:2379,10.0.0.5:2381", '{"a": {}}')
    release = engine.docker("inspect", "--format", '{{index .Config.Labels "lictor.release"}}', "books-1")
    assert release == desired.fingerprint(service_spec.parse_spec(SPEC, ""))

    for text in ("10.0.0.5:2383", None):
        client.put(KEY, text) if text else client.delete(KEY)
        assert observe.one(context, "books", {}).actions == ()


def test_a_list_that_goes_before_the_start_is_no_failure_either(context: Context, engine: Docker,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    context.client.put("services/books/spec", json.dumps(SPEC))
    context.client.put(KEY, "h:1")
    reading = observe.one(context, "books", {})
    context.client.delete(KEY)
    with pytest.raises(errors.Conflict, match="waiting: db has no member yet"):
        loop._step(context, reading, PlainWriter(context.client), True)
    state = context.client.get("lictor/state/books")
    assert state and not service_state.decode(state.value).healing.failures and engine.containers() == []
