"""The timer: what the check says, what a sweep costs, and what must not stop it."""

import argparse
import functools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.adapters import clock, files, heartbeat
from lictor.adapters.consul import transport
from lictor.adapters.consul.client import Client
from lictor.cli import story
from lictor.cli.page import service
from lictor.cli.setup import consul_tests, findings, nginx_tests
from lictor.cli.setup.findings import Probe
from lictor.events import script, survey, timer
from lictor.events.page import troubles
from lictor.model import JOINING, PAUSED, Clock
from lictor.planner import service_state
from lictor.planner.observation import drain_text
from lictor.planner.summary.decided import Decided, describe_view
from lictor.planner.summary.facts import gather
from lictor.planner.summary.service import Severity
from lictor.reconcile import conditions, history, observe, responsibility
from lictor.reconcile.conditions import Told
from lictor.reconcile.context import Context
from lictor.reconcile.fleet_reader import FleetReader
from lictor.reconcile.status import status_report
from lictor.routing.condition import Condition
from lictor.spec import settings
from lictor.spec.delegation_settings import Command

from lab.consul import Consul
from lab.daemon import wait_for
from support import gossip
from support.paths import HANDLERS
from support.scene import state_of

SPEC = {"image": "books:1", "port": 8080, "node": "node-2", "route": {"path": "/books"}}


@pytest.fixture
def call(consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> script.Call:
    """A node with an agent and without nginx; Docker is not asked as long as no service is this node's.

    The specs name another node of Consul.
    """
    consul.request("PUT", "/v1/catalog/register", {"Node": "node-2", "Address": "10.0.0.2"})
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    for each in script.FOLDERS:
        (tmp_path / "state" / each).mkdir(parents=True)
    return script.Call(settings.Settings(state_dir=str(tmp_path / "state"), nginx=None), None, argparse.Namespace())


@pytest.mark.parametrize(("takes_s", "said"), [
    (0.2, ("books: converging: replicas key is 3\n", timer.WARNING)),
    (None, ("1 services as desired\n", timer.PASSING))])
def test_the_check_says_what_the_sweep_finds_that_it_starts(call: script.Call, monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str], takes_s: float | None,
                                                            said: tuple[str, int]) -> None:
    """If that takes too long, it says what the one before has found."""
    well = timer.Summary(time.time(), "", 1, [], [], [], [])
    timer.record(call.settings, well)
    sweeps = list[threading.Timer]()

    def sweep(_: script.Call, *words: str) -> None:
        assert words == ("lictor-reconcile", "--sweep")
        if takes_s:
            monkeypatch.setattr(timer, "PATIENCE_S", 60)
            found = well._replace(pending=["books: converging: replicas key is 3"])
            sweeps.append(threading.Timer(takes_s, timer.record, (call.settings, found)))
            sweeps[0].start()
        else:
            monkeypatch.setattr(timer, "PATIENCE_S", 0.1)
    monkeypatch.setattr(script.Call, "spawn", sweep)
    assert (timer.answer(call), capsys.readouterr().out) == (said[1], said[0])
    for each in sweeps:
        each.join()


def put(consul: Consul, name: str, **changes: Any) -> None:
    spec = {"name": name, **SPEC, "route": {"path": f"/{name}"}, **changes}
    consul.put(f"services/{name}/spec", json.dumps(spec))


@pytest.mark.parametrize(("summary", "says", "code"), [
    (None, "unknown: no sweep has ended yet", 1),
    (timer.Summary(90.0, "", 7, [], [], [], []), "7 services as desired", 0),
    (timer.Summary(90.0, "", 7, [], [], ["books: start books-1: x"], ["no nginx"]),
     "books: start books-1: x\nno nginx", 1),
    (timer.Summary(90.0, "", 7, [], ["bad"], ["books: start"], []), "bad", 2),
    (timer.Summary(90.0, "Consul has no leader", 0, [], [], [], []),
     "unknown: no sweep has ended for 10 s, as the last one failed: Consul has no leader", 1),
    (timer.Summary(90.0, "no Docker", 0, [], ["nginx is away"], [], ["no registrar"]),
     "nginx is away\nunknown: no sweep has ended for 10 s, as the last one failed: no Docker\nno registrar", 2),
    (timer.Summary(10.0, "Consul has no leader", 0, [], [], [], []),
     "unknown: no sweep has ended for 90 s, as the last one failed: Consul has no leader", 2),
    (timer.Summary(10.0, "", 7, [], [], [], []),
     "stale: the last sweep ended 90 s ago. lictor.log in the state folder may hold the reason", 2),
])
def test_the_check_says_how_it_is(summary: timer.Summary | None, says: str, code: int) -> None:
    assert timer.judge(summary, Clock(100.0, 5.0 if summary else 90.0)) == (says, code)


WHOLE = {**timer.Summary(1.0, "", 7, [], [], [], [])._asdict()}


@pytest.mark.parametrize("damage", [
    "[]", "3", '{"at": "noon"}', '{"at": 1.0}', "{", json.dumps({**WHOLE, "services": "7"}),
    json.dumps({**WHOLE, "pending": [7]}), json.dumps({**WHOLE, "todo": "books"}), json.dumps({**WHOLE, "more": 1}),
])
def test_a_damaged_record_is_none(tmp_path: Path, damage: str) -> None:
    (tmp_path / "summary.json").write_text(damage)
    assert timer.read(settings.Settings(state_dir=str(tmp_path))) is None


def test_a_whole_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    here, summary = settings.Settings(state_dir=str(tmp_path)), timer.Summary(1.0, "", 7, ["a"], ["b"], ["c"], ["d"])
    timer.record(here, summary)
    assert timer.read(here) == summary


@pytest.mark.parametrize("event", [
    "timer", "service_watch, service_watch_fast; from lictor.routing import live_peers, publish",
])
def test_what_starts_often_needs_the_standard_library_only(event: str) -> None:
    """Consul starts these for each change and every 15 s on every node; consul and docker alone would cost 350 ms."""
    code = (f"import sys; from lictor.events import script, {event}; script.make_parser(''); "
            "script.load_settings({}); print(*sys.modules)")
    loaded = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(HANDLERS)!r}); {code}"],
                            capture_output=True, text=True, check=True).stdout.split()
    assert not {"click", "consul", "docker", "glob", "jinja2", "lictor.routing.user_servers", "msgspec", "requests",
                "rich", "shutil", "tempfile", "tenacity", "typing_extensions", "urllib3", "yaml"} & set(loaded)


def test_a_node_without_docker_only_routes_what_runs_on_a_swarm(
        consul: Consul, call: script.Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    put(consul, "books", engine="swarm", node="")
    summary = survey.look(call)
    assert summary == timer.Summary(summary.at, "", 0, [], [], [], [])
    # A registrar has been here, so the engine is only away.
    heartbeat.write(call.settings.state_dir, heartbeat.Heartbeat(time.time()))
    with pytest.raises(errors.Unavailable, match=r"nowhere|No such file"):
        survey.look(call)


REFUSALS = {heartbeat.Refusal("web", "not registered: its label", "labels"),
            heartbeat.Refusal("books-1", "its id is registered by somebody else: vm:books-1:80, without lictor-engine",
                              "catalogue")}


def test_nothing_is_as_desired_while_the_registrar_is_in_trouble(consul: Consul, call: script.Call) -> None:
    in_trouble = heartbeat.make(REFUSALS, engine="E", registered=1, trouble="403", token="")
    heartbeat.write(call.settings.state_dir, in_trouble)
    summary = survey.look(call)
    assert summary.trouble == ["lictor-registrar: in trouble: 403", "lictor-registrar: books-1: its id is registered "
                               "by somebody else: vm:books-1:80, without lictor-engine"]
    assert timer.judge(summary, clock.note(call.settings.state_dir))[1] == timer.WARNING
    beat = heartbeat.read(call.settings.state_dir)
    assert beat and beat.refused == 2 and beat.unmet == ["1 not as labels ask, such as web: not registered: its label"]
    heartbeat.write(call.settings.state_dir, heartbeat.make(set(), engine="E", registered=1, trouble="", token=""))
    assert survey.look(call).trouble == []


def test_a_sweep_asks_eleven_times_at_most_however_many_services_there_are(
        consul: Consul, call: script.Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        put(consul, f"books-{number}")
        consul.register({"Name": f"books-{number}", "Port": 80, "Check": {"TTL": "60s", "Status": "passing"}})
        consul.put(f"lictor/state/books-{number}", "{}")
    survey.look(call)
    asked, ask = list[object](), transport.Client._ask

    def noted(*args: Any, **kwargs: Any) -> Any:
        asked.append(args)
        return ask(*args, **kwargs)

    monkeypatch.setattr(transport.Client, "_ask", noted)
    survey.look(call)
    assert len(asked) <= 11


def test_bad_input_is_told_by_the_node_concerned_or_else_by_all(consul: Consul, call: script.Call) -> None:
    put(consul, "elsewhere")
    consul.put("services/elsewhere/replicas", "many")
    consul.put("services/unheard/spec", "{")
    put(consul, "routed", engine="none", image="", node="")
    consul.put("services/routed/replicas", "many")
    assert [each.split(": ")[:2] for each in survey.look(call).problems] == [
        ["routed", "services/routed/replicas"], ["unheard", "services/unheard/spec"]]


def test_what_is_damaged_or_refused_stops_no_sweep(consul: Consul, call: script.Call) -> None:
    put(consul, "books")
    put(consul, "twin", route={"path": "/books"})
    folder = Path(call.settings.state_dir)
    for name in ("registrar.json", "summary.json", "keys.json", "peers/books.json", "routes/books.json"):
        (folder / name).write_text("[1]")
    consul.put("lictor/state/books", "[" * 50_000)
    consul.put("lictor/nodes/books/node-1", "[]")
    consul.put("lictor/history/books/1", "[")
    assert survey.sweep(call) == 0
    assert timer.judge(timer.read(call.settings), Clock(time.time())) == (
        "twin: services/twin/spec: route is /books, which is that of books; two routes cannot have the same", 2)
    context = Context(call.settings, Client.connect(), "node-1")
    assert [(row.name, row.served_by) for row in status_report.read_status(context)] == [("books", []), ("twin", [])]
    assert "damaged" in status_report.describe_record(story.read(context, "books")["history"][0])


def test_what_no_rule_foresees_is_one_service_s_problem(consul: Consul, call: script.Call,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("books", "carts"):
        put(consul, name, node="")
    consul.put("lictor/state/carts", json.dumps({"last_good": {"spec": {"release": "x"}}}))
    consul.put("lictor/state/books", json.dumps({"spec": {"release": "x"}}))
    context = Context(call.settings, Client.connect(), "node-1")
    assert {row.says.partition(":")[0] for row in status_report.read_status(context)} == {"refused"}
    read = responsibility.read_desired

    def read_but_one(context: Context, name: str, *others: Any) -> Any:
        if name == "carts":
            raise KeyError("strategy\x1b")
        return read(context, name, *others)

    monkeypatch.setattr(responsibility, "read_desired", read_but_one)
    assert survey.look(call).problems[0].startswith("carts: unreadable: KeyError('strategy\\x1b').")
    assert [(row.name, row.says) for row in status_report.read_status(context)] == [
        ("books", "refused"), ("carts", "unreadable")]


def test_nodes_with_names_that_fit_no_path_stop_no_sweep(consul: Consul, call: script.Call) -> None:
    put(consul, "books")
    for name in ("..", "a/../b", "a//b", "/", "a\n"):
        consul.request("PUT", "/v1/catalog/register", {
            "Node": name, "Address": "10.0.0.9", "Service": {"Service": "books", "ID": "x"},
            "Check": {"CheckID": "serfHealth", "Name": "serf", "Status": "passing"}})
    assert survey.look(call).pending == []
    context = Context(call.settings, Client.connect(), "node-1")
    assert FleetReader(context).served(observe.one(context, "books", {}).observation.desired, []) == (frozenset(), ())


def test_a_service_without_any_key_is_held_and_still_told_of(consul: Consul, call: script.Call) -> None:
    put(consul, "other")
    spec = {"name": "books", **SPEC}
    consul.put("lictor/state/books", service_state.encode(state_of(spec=spec, replicas=2)))
    context = Context(call.settings, Client.connect(), "node-1")
    assert {row.name: row.says.split(" (")[0] for row in status_report.read_status(context)} == {
        "books": "on hold: its spec cannot be read",
        "other": "on hold: node node-2 does not answer"}


@pytest.mark.parametrize("told", [
    "", "{", "[]", '{"silence": 1}', '{"silence": "", "refused": [], "unconfirmed": {}, "lines": [], "pending": []}'])
def test_a_damaged_condition_is_none(consul: Consul, call: script.Call, told: str) -> None:
    consul.put(f"{conditions.PREFIX}node-1", told)
    assert conditions.read(Client.connect(), frozenset({"node-1"})) == {}


@pytest.mark.parametrize(("told", "says"), [
    (Told(), []),
    (Told(Condition("nginx does not answer")), ["node-1: nginx does not answer"]),
    (Told(Condition("nginx is away", {"books": "route\x1b refused"})), ["node-1: route? refused"]),
    (Told(Condition("", {}, {"books": "not confirmed"})), []),  # which is told less loudly
    (Told(Condition("", {"carts": "its route is refused"})), []),
])
def test_each_node_s_condition_is_told(consul: Consul, call: script.Call, told: Told, says: list[str]) -> None:
    context = Context(call.settings, Client.connect(), "node-1")
    conditions.tell(context, told)
    conditions.tell(context._replace(node="elsewhere"), Told(Condition("nginx does not answer")))
    found = conditions.read(context.client, frozenset({"node-1", "elsewhere"}))
    assert conditions.describe(found, "books", frozenset({"node-1"})) == says
    index = consul.request("GET", f"/v1/kv/{conditions.PREFIX}node-1")[0]["ModifyIndex"]
    conditions.tell(context, told)
    assert consul.request("GET", f"/v1/kv/{conditions.PREFIX}node-1")[0]["ModifyIndex"] == index
    assert conditions.read(context.client, frozenset({"node-2"})) == {}


def test_status_says_what_a_sweep_decided_as_long_as_the_catalogue_is_as_it_was(consul: Consul,
                                                                                call: script.Call) -> None:
    """What the acting node's Docker alone shows is told by its sweep; a later view of the catalogue has the word."""
    put(consul, "books", engine="command", node="", route=None, image="b:1")
    consul.register({"Name": "lictor", "Check": {"TTL": "1h", "Status": "passing"}})
    consul.register({"Name": "books", "ID": "b1", "Port": 80, "Meta": {"lictor-container": "c1"}})
    context = Context(call.settings, Client.connect(), "node-1")

    def row() -> status_report.Status:
        [row] = status_report.read_status(context)
        return row

    wait_for(lambda: row().says == "as desired" and row().severity == Severity.WELL, "it is well")
    seen = observe.one(context, "books", {}).observation
    registered = observe.instances(context.client.health("books"))
    view = describe_view(gather(time.time(), seen.desired, seen.state, registered))
    told = Decided(view, Severity.ATTENTION, "warn by-hand: foreign: lictor did not start it.")
    for damaged in ({"books": told._replace(severity="grave")}, {"books": 1}, [], {"books": ["a", "b"]}):  # type: ignore
        conditions.tell(context, Told()._replace(decided={}))
        key = f"{conditions.PREFIX}node-1"
        table = json.loads(consul.get(key) or "{}")
        consul.put(key, json.dumps({**table, "decided": damaged}))
        assert row().says == "as desired"
    conditions.tell(context, Told(decided={"books": told, "carts": told}))
    assert (row().says, row().severity) == (told.says, Severity.ATTENTION)
    consul.register({"Name": "books", "ID": "b2", "Port": 81, "Meta": {"lictor-container": "c2"}})
    wait_for(lambda: row().says == "converging: spec's initial count is 1", "that is another view")


def test_who_is_only_routed_and_has_no_instance_is_warned_of(consul: Consul, call: script.Call) -> None:
    put(consul, "books", engine="none", image="", node="")
    put(consul, "carts", engine="none", image="", node="", route=None)  # which is nobody's business here
    assert survey.look(call).pending == ["books: only routed: no instance passes"]
    consul.register({"Name": "books", "Port": 80})
    wait_for(lambda: survey.look(call).pending == [], "its instance is known")
    consul.put("services/books/removed", "")  # its instances are left alone, and nothing is to be done
    assert survey.look(call).pending == []


@pytest.fixture
def elsewhere(consul: Consul, call: script.Call) -> Context:
    """Another node, node-2, with the service `lictor` and a passing serfHealth; its sweep told something."""
    gossip.wait_unswept(consul)
    set_health(consul, "passing")
    context = Context(call.settings, Client.connect(), "node-2")
    conditions.tell(context, Told(outputs={"b1": "404 Not\x1b Found"}, foreign=frozenset({("node-2", "b2", "b2")})))
    return context


def set_health(consul: Consul, status: str) -> None:
    consul.request("PUT", "/v1/catalog/register", {
        "Node": "node-2", "Address": "10.0.0.2", "Service": {"ID": "lictor", "Service": "lictor"},
        "Check": {"CheckID": "serfHealth", "Name": "serf", "Status": status}})


def end_session(consul: Consul) -> None:
    """Do what Consul does a minute after the last sweep of node-2 that got through."""
    [entry] = consul.request("GET", f"/v1/kv/{conditions.PREFIX}node-2")
    consul.request("PUT", f"/v1/session/destroy/{entry['Session']}")


def test_a_node_that_tells_nothing_any_more_is_named_by_all_others(
        consul: Consul, call: script.Call, elsewhere: Context) -> None:
    put(consul, "books")
    context = elsewhere._replace(node="node-1")
    assert troubles.read(context, []) == {} and not survey.look(call).trouble
    end_session(consul)
    [(text, nodes)] = troubles.read(context, []).items()
    assert text.startswith("silent: no sweep of it has told anything") and nodes == ["node-2"]
    summary = survey.look(call)
    assert summary.pending == [f"node-2: {text}"] and not summary.trouble  # which is no trouble of this node
    assert troubles.read(elsewhere, []) == {}  # whose agent knows better
    conditions.tell(elsewhere, Told())
    assert troubles.read(context, []) == {} and not survey.look(call).pending


def test_a_node_that_is_dead_is_named_by_status_alone(consul: Consul, call: script.Call, elsewhere: Context) -> None:
    put(consul, "books")
    set_health(consul, "critical")
    assert list(troubles.read(elsewhere._replace(node="node-1"), [])) == [
        "does not answer (serfHealth): nothing is healed there, and its instances get no traffic"]
    assert not survey.look(call).trouble  # Consul's own check says it


def test_what_the_nginx_of_a_dead_node_had_is_no_service(consul: Consul, call: script.Call,
                                                         elsewhere: Context) -> None:
    put(consul, "books")
    consul.register({"Name": "books", "ID": "b1", "Port": 80, "Meta": {
        "lictor-container": "b1", "lictor-image": "books:1"}, "Check": {"TTL": "1h", "Status": "passing"}})
    consul.put("lictor/nodes/books/node-2", json.dumps({"instances": [["node-1", "b1"]]}))

    def says(health: str) -> tuple[list[str], str]:
        set_health(consul, health)  # each time: Consul removes a node that gossip does not know
        [row] = status_report.read_status(elsewhere._replace(node="node-1"))
        return row.served_by + service.read(elsewhere, row).instances[0].nginx_on, row.says

    wait_for(lambda: says("passing") == (["node-2"] * 2, "as desired"), "node-2 serves it")
    wait_for(lambda: says("critical") == ([], "no nginx serves it: node-2 did; no answer from there (serfHealth)"),
             "nobody does")


def test_what_a_sweep_elsewhere_knows_of_instances_stands_in_each_row(
        consul: Consul, call: script.Call, elsewhere: Context) -> None:
    put(consul, "books")
    for name, status, image in (("b1", "critical", "books:1"), ("b2", "passing", "books:0")):
        consul.request("PUT", "/v1/catalog/register", {
            "Node": "node-2", "Address": "10.0.0.2", "Check": {"ServiceID": name, "CheckID": name, "Status": status},
            "Service": {"ID": name, "Service": "books", "Port": 80, "Meta": {"lictor-container": name,
                                                                             "lictor-image": image}}})
    [row] = status_report.read_status(elsewhere._replace(node="node-1"))
    assert row.says == "converging: spec's initial count is 1. b1 on node-2 is critical: 404 Not? Found"
    assert (row.passing, row.registered) == (0, 1)
    consul.request("PUT", "/v1/catalog/register", {
        "Node": "node-2", "Address": "10.0.0.2", "Check": {"ServiceID": "b1", "CheckID": "b1", "Status": "passing"}})
    consul.put("lictor/nodes/books/node-2", json.dumps({"instances": [["node-2", "b1"]]}))
    [row] = status_report.read_status(elsewhere._replace(node="node-1"))
    assert row.says == ("foreign: b2 on node-2 (books:0). lictor did not start it, and leaves it alone. It may get "
                        "traffic")


def test_words_of_another_node_s_check_are_not_taken_for_new(consul: Consul, call: script.Call) -> None:
    consul.register({"Name": "lictor", "Check": {"TTL": "1h", "Status": "passing"}})
    here, elsewhere = (Context(call.settings, Client.connect(), node) for node in ("node-1", "elsewhere"))

    def says(context: Context, status: str, output: str) -> set[str]:
        consul.request("PUT", "/v1/agent/check/update/service:lictor", {"Status": status, "Output": output})
        return set(troubles.read(context, []))

    wait_for(lambda: says(here, "warning", "Docker is away") == {"Docker is away"}, "the agent here is asked")
    conditions.tell(here, Told(Condition(), ("no registrar",)))
    wait_for(lambda: says(elsewhere, "warning", "Docker is away") == {"no registrar"}, "the key is read")
    wait_for(lambda: says(elsewhere, "critical", "unwritable: no space") == {"no registrar", "unwritable: no space"},
             "what no sweep can tell is told by the check")
    conditions.tell(here, Told(Condition(), ("still no registrar",)))  # the disk is full, and sweeps get through
    assert says(elsewhere, "critical", "unwritable: no space") == {"still no registrar", "unwritable: no space"}


@pytest.mark.parametrize(("status", "told"), [
    ("passing", set()),
    ("warning", {"twin: its route is refused", "no? sweep"}),  # that books is started is what its row says
    ("critical", {"twin: its route is refused", "no? sweep", "books: start"}),
])
def test_status_tells_what_the_nodes_checks_say_beyond_the_rows(consul: Consul, call: script.Call, status: str,
                                                                told: set[str]) -> None:
    put(consul, "books")
    consul.put("services/books/replicas", "many")
    context = Context(call.settings, Client.connect(), "node-1")
    rows = status_report.read_status(context)
    consul.register({"Name": "lictor", "Check": {"TTL": "1h", "Status": "passing"}})
    consul.request("PUT", "/v1/agent/check/update/service:lictor", {"Status": status, "Output": "\n".join([
        f"books: {rows[0].problems[0]}", "twin: its route is refused", "no\x1b sweep", "books: start"])})
    wait_for(lambda: troubles.read(context, rows) == {line: ["node-1"] for line in told},
             f"what is {status} is told")


def test_a_service_of_a_node_that_consul_does_not_know_is_told_of_by_all(consul: Consul, call: script.Call) -> None:
    put(consul, "books", node="vm1")
    consul.register({"Name": "books", "Port": 8080, "Meta": {"lictor-container": "c1"}})
    put(consul, "other")
    said = "books: nobody acts: vm1 is not in Consul; its containers run on node-1. If its name has changed"
    assert [each.partition(", `lictor")[0] for each in survey.look(call).problems] == [said]
    finding = Probe("services", lambda: consul_tests.examine_services(call.settings, Client.connect()), "apply")
    assert findings.find(finding, None).detail.startswith(said)


@pytest.mark.parametrize("damage", ["", "[1]", "{", '{"command": "yes", "webhook": 1}', "[" * 100_000])
def test_what_no_node_gives_orders_for_is_told_of(consul: Consul, call: script.Call, monkeypatch: pytest.MonkeyPatch,
                                                  damage: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    consul.register({"Name": "lictor", "ID": "lictor"})
    consul.put("lictor/acts/node-1", damage)
    for engine in ("command", "webhook", "swarm"):
        put(consul, engine, engine=engine, node="")
    survey.look(call)
    assert [each.partition(" (")[0] for each in survey.look(call).problems] == [
        f"{engine}: nobody acts: no node with lictor" for engine in ("command", "swarm", "webhook")]
    told = consul.get("lictor/acts/node-1")
    assert json.loads(told or "") == {"swarm": False, "command": False, "webhook": False}
    lost = {"Node": "lost", "Address": "10.0.0.9", "Service": {"Service": "lictor"},
            "Check": {"CheckID": "serfHealth", "Name": "x", "Status": "critical"}}
    gossip.wait_unswept(consul)
    consul.request("PUT", "/v1/catalog/register", lost)
    consul.put("lictor/acts/lost", '{"command": true, "webhook": false, "swarm": false}')
    summary = survey.look(call)
    assert "command: on hold: node lost does not answer" in summary.pending and len(summary.problems) == 2
    rows = {row.name: row for row in status_report.read_status(Context(call.settings, Client.connect(), "node-1"))}
    assert rows["command"].says == "on hold: node lost does not answer" and not rows["command"].nobody
    consul.request("PUT", "/v1/catalog/deregister", {"Node": "lost"})
    consul.put("services/webhook/removed", "")  # there is no instance: nobody has to do anything
    given = call._replace(settings=call.settings._replace(command=Command(("/bin/true", "{name}", "{replicas}"))))
    assert [each.partition(":")[0] for each in survey.look(given).problems] == ["swarm"]
    assert survey.look(call).problems[0].startswith("command: nobody acts: no node with lictor (node-1) has [command]")


def test_what_of_the_users_nginx_cannot_be_read_is_told_once(consul: Consul, call: script.Call, tmp_path: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    nginx = settings.Nginx(conf_dir=str(tmp_path / "lictor"), main_conf=str(tmp_path / "nginx.conf"))
    call = call._replace(settings=call.settings._replace(nginx=nginx, watch=settings.Watch(config_dir=str(tmp_path))))
    (tmp_path / "lictor").mkdir()
    (tmp_path / "nginx.conf").write_text("events {} http { include site; }")
    (tmp_path / "site").write_text("server { listen 80; } }")
    put(consul, "books")
    said = f"unread: {tmp_path}/site: stray }} in line 1. No host and no path of it is compared with those of routes"
    for _ in range(3):
        survey.sweep(call)
        summary = timer.read(call.settings)
        assert summary and said in summary.trouble and timer.judge(
            summary._replace(problems=[]), Clock(summary.at, 0, 0))[1] == 1  # nginx does not run either
    assert capsys.readouterr().err.count("outcome=unread") == 1
    finding = findings.find(next(each for each in nginx_tests.list_tests(call.settings, nginx, None)
                                   if each.name == "nginx servers"), None)
    assert not finding.ok and finding.detail == said
    (tmp_path / "site").write_text("server { listen 80; }")
    survey.sweep(call)
    summary = timer.read(call.settings)
    assert summary and not any("unread" in each for each in summary.trouble)


def test_an_engine_that_is_only_away_is_no_news(consul: Consul, call: script.Call,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    heartbeat.write(call.settings.state_dir, heartbeat.Heartbeat(time.time()))  # so there is an engine
    survey.look(call)
    assert json.loads(consul.get("lictor/acts/node-1") or "") == {"command": False, "webhook": False}
    consul.put("lictor/acts/node-1", '{"swarm": true}')
    survey.look(call)
    assert json.loads(consul.get("lictor/acts/node-1") or "") == {"swarm": True, "command": False, "webhook": False}


def test_status_says_what_cannot_be_known_and_what_is_refused(consul: Consul, call: script.Call) -> None:
    put(consul, "portless", port=None, route=None)
    put(consul, "books")
    put(consul, "twin", route={"path": "/books"})
    consul.put("services/unheard/spec", "{")
    put(consul, "gone", engine="none", image="", node="")
    consul.put("services/gone/removed", "")
    consul.register({"Name": "gone", "Port": 80})
    rows = {row.name: row for row in status_report.read_status(Context(call.settings, Client.connect(), "node-1"))}
    assert rows.keys() == {"portless", "books", "twin", "unheard"}
    assert rows["portless"].says.startswith("unknown: it has no port, so it is not in the catalogue.")
    assert rows["unheard"].says == "refused"
    assert not rows["books"].problems  # the place is its own; the nodes' checks say what of twin's is refused


@pytest.mark.parametrize(("reasons", "says"), [
    ([PAUSED], "paused: books-1 on node-1. No traffic until `docker unpause`"),
    (["", PAUSED], "paused: books-2 on node-1. No traffic until"),
    (["update"], "maintenance: books-1 on node-1. No traf"),
    ([PAUSED] * 5, "paused: books-1 on node-1, books-2 on node-1, books-3 on node-1 and 2 more. No traffic until"),
    ([drain_text(1.0, "replicas key is 0")], "converging: "), ([JOINING], "converging: ")])
def test_what_people_took_out_of_traffic_is_called_so(consul: Consul, call: script.Call, reasons: list[str],
                                                     says: str) -> None:
    put(consul, "books")
    for number, reason in enumerate(reasons, start=1):
        service_id = f"books-{number}"
        consul.register({"Name": "books", "ID": service_id, "Port": 80, "Meta": {"lictor-container": f"c{number}"}})
        Client.connect().set_maintenance(service_id, reason)
    [row] = status_report.read_status(Context(call.settings, Client.connect(), "node-1"))
    assert row.says.startswith(says) and "by hand" not in row.says


@pytest.mark.parametrize(("spec", "begin"), [
    ({"replicas": {"initial": 2}}, "converging: spec's initial count is 2"),
    ({"engine": "none", "image": "", "node": ""}, "only routed: no instance passes")])
def test_status_quotes_the_check_that_fails(consul: Consul, call: script.Call, spec: dict[str, Any],
                                            begin: str) -> None:
    put(consul, "books", **spec)
    client = Client.connect()

    def says(text: str) -> bool:
        return status_report.read_status(Context(call.settings, client, "node-1"))[0].says == text

    for number, words in enumerate(["HTTP GET http://x/health: 404 Not Found\nbody", "b"], start=1):
        consul.register({"Name": "books", "ID": f"books-{number}", "Port": 80, "Meta": {"lictor-container": words},
                         "Check": {"TTL": "1h", "Status": "passing"}})
        client.update_ttl(f"service:books-{number}", "critical", words)
        more = ", and 1 more are" if number == 2 else ""
        said = f"{begin}. books-1 on node-1 is critical{more}: HTTP GET http://x/health: 404 Not Found"
        wait_for(functools.partial(says, said), "the catalogue knows")


@pytest.mark.parametrize(("images", "says"), [
    ([("b:1", "sha256:aa"), ("b:1", "sha256:aa")], "as desired"), ([("b:1", "sha256:aa"), ("b:1", "")], "as desired"),
    ([("b:1", "sha256:" + "a" * 64), ("b:1", "sha256:" + "b" * 64)],
     "mixed images: b:1 is not the same everywhere: sha256:aaaaaaaaaaaa on node-1, sha256:bbbbbbbbbbbb on node-1. "
     "A tag that a node has is not pulled again: release a new tag, or a digest"),
])
def test_one_tag_for_two_images_is_told_of(consul: Consul, call: script.Call, images: list[tuple[str, str]],
                                           says: str) -> None:
    put(consul, "books", engine="command", image="b:1", node="", route=None, replicas={"initial": 2})
    acting = call.settings._replace(command=Command(("true", "{name}", "{replicas}", "{image}")))
    for number, (image, image_id) in enumerate(images):
        consul.register({"Name": "books", "ID": f"b{number}", "Port": 80 + number, "Meta": {
            "lictor-container": f"c{number}", "lictor-image": image, "lictor-image-id": image_id}})
    [row] = status_report.read_status(Context(call.settings, Client.connect(), "node-1"))
    assert row.says == says
    found = survey.look(script.Call(acting, None, argparse.Namespace()))
    assert (f"books: {says}" in found.pending) == says.startswith("mixed")


def test_no_name_brings_a_line_of_its_own_into_the_check(consul: Consul, call: script.Call) -> None:
    put(consul, "books", engine="command", image="b:1", node="", route=None, replicas={"initial": 2})
    acting = call.settings._replace(command=Command(("true", "{name}", "{replicas}", "{image}")))
    for number in range(2):
        meta = {"lictor-container": f"c{number}", "lictor-image": "b\ncarts: forged", "lictor-image-id": f"{number}"}
        consul.register({"Name": "books", "ID": f"b{number}", "Port": 80 + number, "Meta": meta})
    found = survey.look(script.Call(acting, None, argparse.Namespace()))
    assert any("b carts: forged" in line for line in found.pending)
    assert not any("\n" in line for line in (*found.pending, *found.problems, *found.trouble))


def test_containers_left_on_a_node_that_the_spec_no_longer_names_are_told_of(consul: Consul,
                                                                             call: script.Call) -> None:
    put(consul, "books")
    consul.register({"Name": "books", "Port": 80, "Meta": {"lictor-container": "c1"}})
    assert survey.look(call).pending == [
        "books: stray containers: 1 here, but the spec's node is node-2. No node removes them"]


def test_keys_that_vanish_are_not_believed(consul: Consul, call: script.Call) -> None:
    put(consul, "books")
    survey.sweep(call)
    consul.request("DELETE", "/v1/kv/services/?recurse")
    with pytest.raises(errors.Unavailable, match="no key below services/ can be seen"):
        survey.sweep(call)
    assert "can be seen" in timer.judge(timer.read(call.settings), Clock(time.time()))[0]


def test_leftovers_of_killed_processes_go(call: script.Call) -> None:
    stale = Path(call.settings.state_dir) / "routes" / ".books.json.1.tmp"
    stale.write_text("")
    os.utime(stale, (0, 0))
    survey.look(call)
    assert not stale.exists()


def test_a_state_folder_that_is_full_stops_no_sweep(consul: Consul, call: script.Call,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    put(consul, "books")
    survey.sweep(call)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_json", full)
    assert survey.sweep(call) == 0


@pytest.mark.parametrize("by_s", [7200, -10800])
def test_neither_a_sweep_nor_a_heartbeat_ages_by_a_set_clock(tmp_path: Path, by_s: float) -> None:
    """Ended 30 s before the clock was set; 50 s later that is young, and 61 s later too old."""
    summary = timer.Summary(1e6 - 30, "", 7, [], [], [], [])
    for passed_s, status in ((0, 0), (50, 0), (61, 2)):
        now = Clock(1e6 + by_s + passed_s, 1e6 + by_s, by_s)
        assert timer.judge(summary, now)[1] == status and (now.age_s(1e6 - 5) <= heartbeat.LATE_S) is (status == 0)


@pytest.mark.parametrize("ahead_s", [-3600, 0, 3600, 365 * 86400])
def test_a_new_record_is_the_newest_whatever_the_clock_says(consul: Consul, call: script.Call, ahead_s: int) -> None:
    client, now_us = Client.connect(), int(time.time() * 1_000_000)
    for number in range(100):
        consul.put(f"lictor/history/books/{now_us + ahead_s * 1_000_000 + number:016d}", '{"reason": "earlier"}')
    for stray in ("x", "12", "9" * 40):
        consul.put(f"lictor/history/books/{stray}", "{}")
    before = history.newest_id(client, "books")
    for number in range(3):
        history.note(client, "books", {"kind": "refused", "reason": str(number)})
    assert [each["reason"] for each in history.read(client, "books") if each["id"] > before] == ["0", "1", "2"]
    assert len(history.read(client, "books")) == 100


def test_a_history_holds_a_hundred_records_whatever_they_are(consul: Consul, call: script.Call) -> None:
    client = Client.connect()
    for number in range(103):
        history.note(client, "books", {"kind": "refused", "reason": str(number)})
    kept = history.read(client, "books")
    assert [each["reason"] for each in kept] == [str(number) for number in range(3, 103)]


@pytest.mark.parametrize(("record", "said"), [
    ({"at": 0, "outcome": "started", "kind": "drain"}, "-> its end is not recorded"),
    ({"at": 0, "outcome": "done", "detail": "\x1b[2J\nfine"}, "| ?[2J"),
])
def test_a_record_is_told_truly_and_harmlessly(record: dict[str, Any], said: str) -> None:
    assert said in status_report.describe_record(record)
