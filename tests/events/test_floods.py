"""Keys, instances and payloads that are more than one answer may hold: whoever wrote them, the other services go on."""

import argparse
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.adapters import files, http
from lictor.adapters.consul import parts, payload
from lictor.adapters.consul.client import Client
from lictor.cli import service_keys
from lictor.events import checks_watch, keys_watch, script, service_watch_fast, survey, timer
from lictor.events.page import troubles
from lictor.reconcile import observe
from lictor.reconcile.context import Context
from lictor.reconcile.status import status_report
from lictor.spec import settings

from lab.consul import Consul

LIMIT_BYTES = 200_000  # of an answer, in the place of 64 MiB
SPEC = {"image": "books:1", "port": 8080, "node": "node-2", "route": None}


@pytest.fixture
def call(consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> script.Call:
    """A node without nginx and Docker, and the services books and carts, of which another node runs an instance each.

    An answer may be shorter than the real limit, and one transaction reads fewer keys, in proportion.
    """
    consul.request("PUT", "/v1/catalog/register", {"Node": "node-2", "Address": "10.0.0.2"})
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    monkeypatch.setattr(http, "_LONGEST_BYTES", LIMIT_BYTES)
    monkeypatch.setattr(parts, "AT_ONCE", 3)
    for each in script.FOLDERS:
        (tmp_path / "state" / each).mkdir(parents=True)
    for name in ("books", "carts"):
        consul.put(f"services/{name}/spec", json.dumps({"name": name, **SPEC}))
        register(consul, name, "node-2", name)
    return script.Call(settings.Settings(state_dir=str(tmp_path / "state"), nginx=None), None, argparse.Namespace())


def register(consul: Consul, name: str, node: str, service_id: str, output: str = "") -> None:
    consul.request("PUT", "/v1/catalog/register", {
        "Node": node, "Address": "10.0.0.2", "Service": {"Service": name, "ID": service_id, "Port": 80},
        "Check": {"CheckID": f"service:{service_id}", "ServiceID": service_id, "Name": "x", "Status": "passing",
                  "Output": output}})


def keys(pattern: str) -> Callable[[Consul], None]:
    def flood(consul: Consul) -> None:
        for number in range(8):
            consul.put(pattern.format(number), "x" * 40_000)
    return flood


def instances(name: str) -> Callable[[Consul], None]:
    def flood(consul: Consul) -> None:
        for number in range(8):
            register(consul, name, f"node-{number + 3}", f"{name}-{number}", "x" * 40_000)
    return flood


KEYS, STATES, INSTANCES = "keys below services/: ", "keys below lictor/state/: ", "instances of all services: "
FLOODS = {  # each with what a sweep reads in parts because of it, and the service of which it is the problem
    "services/junk/{}": (keys, KEYS, ""),
    "services/{}": (keys, KEYS, ""),
    "services/books/junk/{}": (keys, KEYS, ""),
    "services/books/spec/{}": (keys, KEYS, ""),
    "services/junk{}/spec": (keys, KEYS, "junk"),
    "lictor/state/junk/{}": (keys, STATES, ""),
    "lictor/state/junk{}": (keys, STATES, "junk"),
    "lictor/nodes/junk/{}": (keys, "", ""),
    "lictor/nodes/books/{}": (keys, "", ""),
    "lictor/history/books/{:016d}": (keys, "", ""),
    "lictor/junk/{}": (keys, "", ""),
    "junk": (instances, INSTANCES, ""),
    "books": (instances, INSTANCES, "books"),
    "lictor": (instances, INSTANCES, ""),
}


@pytest.mark.parametrize("what", FLOODS)
def test_a_flood_is_the_trouble_of_what_it_is_about(
        consul: Consul, call: script.Call, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    flood, in_parts, told = FLOODS[what]
    context = Context(call.settings, Client.connect(), "node-1")
    calm = {row.name: row for row in status_report.read_status(context)}
    assert calm.keys() == {"books", "carts"} and survey.look(call).problems == []
    flood(what)(consul)
    capsys.readouterr()
    summary = survey.look(call)
    too_long = [each for each in summary.trouble if each.startswith("too long: ")]
    assert len(too_long) == capsys.readouterr().err.count('outcome="in parts"') == bool(in_parts)
    assert all(in_parts in each for each in too_long)
    assert {problem.rstrip("0123456789: ")[:len(told)] for problem in summary.problems} == {told} - {""}
    timer.record(call.settings, summary)
    assert survey.look(call)._replace(at=summary.at) == summary and "in parts" not in capsys.readouterr().err
    rows = {row.name: row for row in status_report.read_status(context)}
    assert rows["carts"] == calm["carts"]
    assert told == "books" or rows["books"] == calm["books"]
    assert told != "books" or rows["books"].says == "unreadable"
    assert troubles.read(context, list(rows.values())).keys() <= {
        each for each in troubles.read(context, []) if "is unknown: " in each}
    service_keys.read_service(context.client, "services/", "books")
    assert observe.one(context, "carts", {}).observation.desired.problems == ()
    assert (Path(call.settings.state_dir) / "keys.json").stat().st_size < 10_000
    assert keys_watch.follow(call, keys_watch.read_keys(context.client, "services/"), None) == set()


def test_an_own_key_that_goes_while_its_tree_is_read_is_none(consul: Consul, call: script.Call,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    keys("services/junk/{}")(consul)
    client = Client.connect()
    listed = [*client.keys("services/"), "services/gone/spec"]
    monkeypatch.setattr(Client, "keys", lambda *_: listed)
    read = keys_watch.read_keys(client, "services/")
    assert read.keys() == {*listed} - {"services/gone/spec"}
    assert json.loads(read["services/carts/spec"].value)["name"] == "carts" and not read["services/junk/1"].value


def test_an_agent_that_does_not_answer_is_asked_about_no_service_one_by_one(
        consul: Consul, call: script.Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    def late(_: Client, name: str = "") -> Any:
        asked.append(name)
        if name != "consul":
            raise errors.Overlong("no answer within 5 s")

    for method in ("_in_bulk", "health", "leader"):
        monkeypatch.setattr(Client, method, late)
    with pytest.raises(errors.Overlong):
        Client.connect().everything(observe.catalog_names(["books", "carts"]))
    assert asked == ["", "consul", "lictor", ""]


@pytest.mark.parametrize(("main", "words"), [
    (keys_watch.main, []), (checks_watch.main, []), (service_watch_fast.main, ["books"]),
    (service_watch_fast.main, ["books", "--state-dir", "/nowhere"])])
def test_a_sweep_takes_the_place_of_a_payload_that_is_too_long(
        tmp_path: Path, main: Callable[[str], int], words: list[str], monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    started = list[tuple[str, ...]]()
    files.write_atomic(f"{tmp_path}/lictor.toml", f'state_dir = "{tmp_path}/state"\n')
    monkeypatch.setattr(script.Call, "spawn", lambda _, *given: started.append(given))
    monkeypatch.setattr(payload, "LONGEST_BYTES", 1000)
    monkeypatch.setattr(sys, "argv", ["lictor-handler", *words])
    monkeypatch.setenv("LICTOR_CONFIG", f"{tmp_path}/lictor.toml")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[" + b" " * 1000 + b"]")))
    assert main("") == 0
    assert started == [("lictor-reconcile", "--sweep")]
    assert capsys.readouterr().err.count("A sweep reads what it hints at.") == 1
