"""Reconciling a service whose containers more than one node may start: what the lock in Consul is for."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor import model
from lictor.adapters.consul import lock
from lictor.adapters.consul.client import Client
from lictor.engines import registry
from lictor.events import script
from lictor.planner import service_state
from lictor.reconcile import history, loop, observe
from lictor.reconcile.context import Context
from lictor.spec import service_spec
from lictor.spec.quantities import Duration
from lictor.spec.settings import Heal, Settings

from lab.consul import Consul
from lab.daemon import wait_for

SPEC: dict[str, Any] = {"name": "books", "image": "books:1", "node": "node-1", "replicas": {"initial": 2}}
STATE = f"{service_state.KEY_PREFIX}books"


class Cluster:
    """An engine that several nodes share, in memory, for our own protocol.

    It keeps what the real ones do: what was started is there for everybody from then on, each with an id of its own,
    and stays until it is removed; one that is gone already is removed without a word. What it leaves out on purpose:
    a name that is taken is not refused, so that what is started twice runs twice. It has no ports and no logs.

    `on_look` and `on_start` are called after what was looked up is known, and after one was started.
    """

    def __init__(self, *, fenced: bool) -> None:
        self.FENCED = fenced
        self.there: list[model.Container] = []
        self.started: list[str] = []
        self.on_look: Callable[[], object] = lambda: None
        self.on_start: Callable[[], object] = lambda: None
        self._ids = itertools.count(1)

    def containers(self, service: str | None = None) -> list[model.Container]:
        found = [each for each in self.there if service in (None, each.service)]
        self.on_look()
        return found

    def start(self, spec: service_spec.Spec, *, number: int, color: str, release: str,
              gated: bool = False) -> model.Container:
        name, now = f"{model.catalog_name(spec.name, color)}-{number}", time.time()
        made = model.Container(f"c{next(self._ids)}", name, spec.name, number, color, spec.image, release, "running",
                               now, now, None)
        self.there.append(made)
        self.started.append(name)
        self.on_start()
        return made

    def remove(self, container: model.Container, *, grace_s: float) -> None:
        self.there = [each for each in self.there if each.id != container.id]

    def in_flight(self, container: model.Container) -> int | None:
        return None

    def logs(self, container: model.Container, *, lines: int) -> str:
        return ""


@pytest.fixture
def contexts(consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Context]]:
    """Two that may both act: of one name, as `docker` services belong to one node, but with no lock file in common."""
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    monkeypatch.setattr(lock, "_LOCK_DELAY_S", 1)
    consul.put("services/books/spec", json.dumps(SPEC))
    made = []
    for name in ("one", "other"):
        for each in script.FOLDERS:
            (tmp_path / name / each).mkdir(parents=True)
        settings = Settings(state_dir=str(tmp_path / name), nginx=None, heal=Heal(surplus_after_s=Duration(0.1)))
        made.append(Context(settings, Client.connect(), "node-1"))
    yield made
    assert consul.request("GET", f"/v1/kv/{lock.LOCKS}?keys") is None
    assert consul.request("GET", "/v1/session/list?consistent") == []


def share(monkeypatch: pytest.MonkeyPatch, *, fenced: bool) -> Cluster:
    cluster = Cluster(fenced=fenced)
    monkeypatch.setitem(registry.CONTAINER_ENGINES, "docker", cluster)
    return cluster


def converge_at_once(contexts: list[Context], cluster: Cluster) -> None:
    """Both decide on the same observation, before either acts; what is remembered already keeps none of them back."""
    reading = observe.one(contexts[0], "books", {})
    contexts[0].client.put(STATE, service_state.encode(reading.observation.state))
    barrier, met = threading.Barrier(len(contexts), timeout=60), threading.local()

    def meet() -> None:
        if not getattr(met, "once", False):
            met.once = True
            barrier.wait()

    cluster.on_look = meet
    threads = [threading.Thread(target=loop.converge, args=(each, "books")) for each in contexts]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def records(context: Context) -> list[tuple[str, str]]:
    return [(each["container"], each["outcome"]) for each in history.read(context.client, "books")]


def test_two_at_once_start_nothing_twice(contexts: list[Context], monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = share(monkeypatch, fenced=True)
    converge_at_once(contexts, cluster)
    assert cluster.started == ["books-1", "books-2"]
    assert records(contexts[0]) == [("books-1", "done"), ("books-2", "done")]


def test_without_the_lock_they_would(contexts: list[Context], monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = share(monkeypatch, fenced=False)
    monkeypatch.setattr(loop, "_FRESH_S", 3600.0)  # however slow the other one is
    converge_at_once(contexts, cluster)
    assert sorted(cluster.started) == ["books-1", "books-1", "books-2", "books-2"]


@pytest.mark.parametrize(("lost_on", "started"), [("on_look", []), ("on_start", ["books-1"])])
def test_who_loses_the_lock_on_the_way_does_no_more(lost_on: str, started: list[str], contexts: list[Context],
                                                    consul: Consul, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = share(monkeypatch, fenced=True)

    def lose() -> None:  # as when its time has run out
        for each in consul.request("GET", "/v1/session/list?consistent"):
            consul.request("PUT", f"/v1/session/destroy/{each['ID']}")

    setattr(cluster, lost_on, lose)
    loop.converge(contexts[0], "books")
    assert cluster.started == started
    assert records(contexts[0]) == [(each, "started") for each in started]
    assert bool(consul.get(STATE)) == bool(started)
    setattr(cluster, lost_on, lambda: None)

    def taken_over() -> bool:
        loop.converge(contexts[1], "books")
        return len(cluster.there) == 2
    wait_for(taken_over, "the lock delay is over, and the other one goes on", 60)
    assert cluster.started == ["books-1", "books-2"]
    entry = contexts[1].client.get(STATE)
    assert entry and service_state.decode(entry.value).healing.failures == {}  # a lost lock is no start that failed
