"""What a node tells the others of its nginx, and what it takes to say it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.adapters import files, process
from lictor.adapters.consul.client import Client
from lictor.events import script
from lictor.routing import announce, peers, route_store

from lab.consul import Consul


@pytest.fixture
def state_dir(tmp_path: Path) -> str:
    for each in script.FOLDERS:
        (tmp_path / "state" / each).mkdir(parents=True)
    return str(tmp_path / "state")


def serve(state_dir: str, name: str, *ids: str, confirmed: bool = True, acts: bool = False) -> None:
    files.write_json(f"{state_dir}/routes/{name}.json", {
        "name": name, "service": name, "path": f"/{name}", "host": "", "traffic": "healthy", "node": "node-1",
        "empty_ok": False, "removed": False, "acts": acts})
    route_store.write_published(state_dir, name, peers.PublishedRoute(
        (), tuple(("node-1", each) for each in ids), confirmed=confirmed))


def told(consul: Consul, name: str) -> list[tuple[str, str]] | None:
    text = consul.get(f"lictor/nodes/{name}/node-1")
    return None if text is None else announce.pairs(text.encode())


def test_only_news_that_nginx_has_confirmed_are_told(consul: Consul, state_dir: str) -> None:
    client = Client.connect(environ=consul.environ)
    names = [f"s{number}" for number in range(150)]
    for name in names:
        serve(state_dir, name, f"{name}-1")
    serve(state_dir, "late", "late-1", confirmed=False)
    serve(state_dir, "huge", *(f"huge-{number:04}" for number in range(7_000)))  # more than a transaction holds
    consul.put("lictor/nodes/s7/node-1", "damaged")
    announce.tell(client, state_dir, "node-1", [*names, "late", "huge", "unknown"])
    assert all(told(consul, name) == [("node-1", f"{name}-1")] for name in names)
    assert told(consul, "late") is told(consul, "unknown") is None and len(told(consul, "huge") or []) == 7_000

    before = client.tree("lictor/nodes/")
    serve(state_dir, "s3")
    serve(state_dir, "s4", "s4-1", "s4-2")
    announce.tell(client, state_dir, "node-1", names)
    announce.tell(client, state_dir, "node-1", ["s5"])
    after = client.tree("lictor/nodes/")
    written = {key.split("/")[2] for key in after if after[key] != before.get(key)}
    assert written == {"s3", "s4"}
    assert told(consul, "s3") == [] and told(consul, "s4") == [("node-1", "s4-1"), ("node-1", "s4-2")]


@pytest.mark.parametrize("kind", [errors.Refused, errors.Conflict])
def test_a_key_that_cannot_be_written_keeps_no_other_from_it(kind: type[errors.LictorError], consul: Consul,
                                                             state_dir: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client.connect(environ=consul.environ)
    for name in ("books", "films", "games"):
        serve(state_dir, name, name)
    put = client.put

    def fail(operations: Any) -> None:
        raise kind("one of them")

    def write(key: str, value: bytes, **keys: Any) -> None:
        if "films" in key:
            raise kind(f"{key} may not be written")
        put(key, value, **keys)

    monkeypatch.setattr(client, "commit", fail)
    monkeypatch.setattr(client, "put", write)
    with pytest.raises(kind, match="films/node-1 may not be written"):
        announce.tell(client, state_dir, "node-1", ["books", "films", "games"])
    assert (told(consul, "books"), told(consul, "films"), told(consul, "games")) == (
        [("node-1", "books")], None, [("node-1", "games")])


@pytest.mark.parametrize("names", [["books"], ["books", "films"]])
def test_an_earlier_word_that_comes_late_is_not_the_last(names: list[str], consul: Consul, state_dir: str,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """What its sender gave up waiting for, Consul may yet commit; not between the two looks that a newer word takes."""
    client = Client.connect(environ=consul.environ)
    for each in names:
        serve(state_dir, each, "new")
    with monkeypatch.context() as patch:
        news = announce._news

        def news_then_late(*given: Any) -> dict[str, int]:
            found = news(*given)
            consul.put("lictor/nodes/books/node-1", '{"instances": [["node-1", "old"]]}')
            return found
        patch.setattr(announce, "_news", news_then_late)
        with pytest.raises(errors.Conflict):
            announce.tell(client, state_dir, "node-1", names)
    announce.tell(client, state_dir, "node-1", names)
    assert all(told(consul, each) == [("node-1", "new")] for each in names)


def test_whom_consul_does_not_answer_tells_nobody(state_dir: str, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:9")
    serve(state_dir, "books", "books-1")
    assert announce.report(state_dir, None, {"books"}) == errors.Unavailable.exit_code
    assert "action=serving service=books outcome=failed" in capsys.readouterr().err


def test_a_reconcile_of_what_is_only_routed_loads_neither_docker_nor_the_planner(consul: Consul, state_dir: str,
                                                                                 tmp_path: Path) -> None:
    (tmp_path / "lictor.toml").write_text(f'state_dir = "{state_dir}"\n')
    serve(state_dir, "books", "books-1")
    serve(state_dir, "films", "films-1", acts=True)

    def loaded(*names: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", process.handler_path("lictor-reconcile"), *names],
            check=True, capture_output=True, text=True,
            env={**os.environ, **consul.environ, "LICTOR_CONFIG": f"{tmp_path}/lictor.toml"})
        return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line}

    assert not loaded("books") & {"docker", "tenacity", "lictor.planner.plan", "lictor.reconcile.observe"}
    assert told(consul, "books") == [("node-1", "books-1")] and os.listdir(f"{state_dir}/locks") == [":served.lock"]
    assert "lictor.planner.plan" in loaded("books", "films") and told(consul, "films") == [("node-1", "films-1")]
