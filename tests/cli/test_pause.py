"""`lictor hold NAME --pause`, where nobody would carry it out, or not everybody."""

import json
from pathlib import Path
from typing import Any

import pytest

from lictor.planner.routes import pause
from lictor.planner.routes.pause import Hold, Pause

from lab.consul import Consul
from lab.daemon import wait_for
from support.command import Command

BOOKS: dict[str, Any] = {"name": "books", "image": "books:1", "port": 80, "route": {"path": "/", "wait": "5s"}}
SET: dict[str, Any] = {
    "name": "books", "image": "mongo:7", "port": 27017, "check": {"tcp": True}, "volumes": ["data:/data/db"],
    "replicas": {"initial": 3, "min": 1, "max": 5}, "release": {"strategy": "rolling"},
    "cluster": {"kind": "mongodb", "name": "rs0"}, "command": ["--replSet", "rs0"]}
HOLD = "services/books/hold"


@pytest.fixture
def lictor(consul: Consul, tmp_path: Path) -> Command:
    return Command(consul, tmp_path)


def serve(consul: Consul, node: str, mode: str = "", serf: str = "passing") -> None:
    """Tell what a node with nginx tells. The agent's own is there; any other one is alive as `serf` says."""
    if node != consul.node:
        consul.request("PUT", "/v1/catalog/register", {"Node": node, "Address": "10.0.0.9", "Checks": [
            {"Node": node, "CheckID": "serfHealth", "Name": "s", "Status": serf}]})
    consul.put(f"lictor/nodes/books/{node}", json.dumps({"instances": [[node, "books-1"]]}))
    if mode:
        consul.put(f"lictor/condition/{node}", json.dumps({
            "silence": "", "refused": {}, "unconfirmed": {}, "lines": [], "pending": [], "about": {"nginx": mode}}))


def confirm(consul: Consul, node: str, in_flight: int = 0) -> None:
    asked = pause.parse(consul.get(HOLD) or "").pause
    assert asked
    consul.put(f"lictor/paused/books/{node}", json.dumps({
        "asked_at": asked.asked_at, "waiting": 3, "in_flight": in_flight}))


@pytest.mark.parametrize(("spec", "nodes", "said"), [
    ({**BOOKS, "route": "/"}, {"node-1": "live"}, "services/books/spec: wait is missing in the route /; it must be "),
    ({**BOOKS, "route": [BOOKS["route"], "/shop"]}, {"node-1": "live"}, "wait is missing in the route /shop"),
    ({key: value for key, value in BOOKS.items() if key != "route"}, {"node-1": "live"}, "spec: route is missing; "),
    (SET, {"node-1": "live"}, "services/books/spec: cluster is mongodb; a set with state cannot be paused"),
    (BOOKS, {"node-1": "reload"}, "books: nginx of node-1 is in mode reload; it must be in mode live, as only that "),
    (BOOKS, {"node-1": "live", "vm-8": "reload", "vm-9": "reload"}, "nginx of vm-8, vm-9 is in mode reload; it must"),
    (BOOKS, {}, "books: no node that answers routes it, so no nginx would let its requests wait"),
])
def test_what_nobody_would_carry_out_is_refused_in_a_line(lictor: Command, consul: Consul, spec: dict[str, Any],
                                                          nodes: dict[str, str], said: str) -> None:
    assert lictor("apply", lictor.file("books.json", spec)).returncode == 0
    for node, mode in nodes.items():
        serve(consul, node, mode)
    done = lictor("hold", "books", "--pause")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert said in done.stderr and consul.get(HOLD) is None


@pytest.mark.parametrize(("words", "code", "said"), [
    (("--for", "5s"), 2, "--for goes with --pause"), (("--timeout", "5s"), 2, "--timeout goes with --pause"),
    (("--pause", "--for", "0s"), 2, "is 0s; it must be within 1s..10m"),
    (("--pause", "--for", "11m"), 2, "is 11m; it must be within 1s..10m"),
    (("--pause", "--for", "999999h"), 2, "is 999999h; it must be within 1s..10m"),
    (("--pause", "--for", "soon"), 2, "'soon' is no duration"),
    (("--pause", "--timeout", "soon"), 2, "'soon' is no duration"),
    ((pause.encode(Hold("x", Pause(60, 5.0))),), 1, "which asks for a pause; it must be words"),
    (("--pause", "\udcff"), 1, "WHY is '\\udcff'; it must be UTF-8"),
])
def test_words_that_make_no_sense_are_refused(lictor: Command, consul: Consul, words: tuple[str, ...], code: int,
                                              said: str) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    serve(consul, "node-1")
    done = lictor("hold", "books", *words)
    assert done.returncode == code and said in done.stderr and consul.get(HOLD) is None


def test_a_node_that_does_not_answer_is_named_and_not_waited_for(lictor: Command, consul: Consul) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    serve(consul, "node-1", "live")
    serve(consul, "vm-9", "reload", serf="critical")
    running = lictor.begin("hold", "books", "--pause", "--timeout", "60s")
    wait_for(lambda: consul.get(HOLD), "the key is written")
    confirm(consul, "node-1")
    out, err = running.communicate(timeout=60)
    assert running.returncode == 0 and "books: paused on node-1; 0 requests are in flight at instances" in out
    assert err == "warning: vm-9 does not answer. If nginx serves there, no request waits\n"


def test_each_node_has_to_confirm_and_what_is_in_flight_to_end(lictor: Command, consul: Consul) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    serve(consul, "node-1")
    serve(consul, "vm-9")
    running = lictor.begin("hold", "books", "--pause", "--timeout", "60s")
    wait_for(lambda: consul.get(HOLD), "the key is written")
    confirm(consul, "node-1", in_flight=2)
    assert running.stdout
    assert running.stdout.readline() == "books: paused on node-1; 2 requests are in flight at instances\n"
    confirm(consul, "vm-9", in_flight=1)
    assert running.stdout.readline() == "books: paused on node-1, vm-9; 3 requests are in flight at instances\n"
    confirm(consul, "node-1")
    assert running.stdout.readline() == "books: paused on node-1, vm-9; 1 requests are in flight at instances\n"
    confirm(consul, "vm-9")
    assert running.wait(60) == 0


def test_what_was_confirmed_of_an_earlier_pause_counts_for_nothing(lictor: Command, consul: Consul) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    serve(consul, "node-1")
    assert lictor("hold", "books", "--pause", "--timeout", "0s").returncode == 75
    confirm(consul, "node-1")
    done = lictor("hold", "books", "--pause", "--timeout", "0s")
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr.startswith("lictor: books: node-1 has not confirmed the pause, so that requests there may ")


def test_a_pause_that_is_called_off_meanwhile_is_a_failure(lictor: Command, consul: Consul) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    serve(consul, "node-1")
    running = lictor.begin("hold", "books", "--pause", "--timeout", "60s")
    wait_for(lambda: consul.get(HOLD), "the key is written")
    assert lictor("resume", "books").stdout == "books: no longer held, no longer paused\n"
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1 and "books: the pause has ended meanwhile, or somebody wrote another hold" in err


def test_the_reason_of_a_hold_stays_and_a_hold_ends_a_pause(lictor: Command, consul: Consul) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    serve(consul, "node-1")
    lictor("hold", "books", "until Monday")
    for words, why in (((), "until Monday"), (("kernel",), "kernel"), ((), "kernel")):
        lictor("hold", "books", "--pause", "--timeout", "0s", *words)
        assert pause.parse(consul.get(HOLD) or "").why == why
    assert lictor.status()[0]["says"] == (
        "paused: the hold key is set (kernel). All requests wait, for 60 s at most; node-1 has not confirmed it")
    assert lictor("hold", "books").stdout == (
        "books: on hold, and no longer paused; `lictor resume books` ends that\n")
    assert consul.get(HOLD) == "by hand"
    assert lictor("resume", "books").stdout == "books: no longer held\n"
