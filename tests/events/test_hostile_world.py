"""Hostile specs, states, labels, payloads and keys through every handler's own entry point: no traceback, and the good
service beside them gets all that it is to get. support/hostile.py says what is a double.

LICTOR_EXAMPLES says how many inputs there are, of which each handler has its share.
"""

import base64
import contextlib
import io
import json
import os
import random
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lictor import errors, model
from lictor.adapters import docker, docker_swarm, files, http, process
from lictor.adapters.consul.client import Client
from lictor.events import (
    agent_config,
    autoscale,
    checks_watch,
    coalesce,
    http_server,
    keys_watch,
    script,
    service_watch_fast,
    timer,
)
from lictor.planner import service_state
from lictor.planner.autoscale import kept as keeping
from lictor.reconcile import loop
from lictor.registrar import docker_events, options
from lictor.registrar import loop as registrar_loop
from lictor.routing import nginx, route_store

from lab.daemon import wait_for
from support import hostile
from support.hostile import EVIL, NODE, World, entry, mutated, text, value
from support.scene import state_of

EXAMPLES = int(os.environ.get("LICTOR_EXAMPLES", "280"))
STATE = json.loads(service_state.encode(state_of(
    spec=EVIL, live=EVIL, previous=EVIL, critical_since={"id-evil-1": 1.0}, passed_once=["id-evil-1"],
    failures={"1": service_state.Failures(3, 1.0)}, rollout=service_state.Rollout("r", 1.0),
    last_orders={"": service_state.LastOrder(1, "r", 1.0)}, by_node={NODE: 1.0})))
UNFORESEEN = re.compile("Traceback|FrameSummary|unreadable: |its route stays as it is: |unexpected: ")  # but contained
OTHER_KEYS = ("lictor/budget", "lictor/locks/evil", "lictor/history/evil/0000000000000001",
              f"lictor/nodes/evil/{NODE}", "lictor/seeds/db",
              "lictor/state/good-twin", "lictor/state/UP PER", "lictor/nodes/evil", "services/evil/instances",
              "services/", "services//spec", "services/UP PER/spec", "services/evil/spec/more",
              "services/evil-blue/spec")


class Run(NamedTuple):
    """What a handler came to."""

    code: int
    log: str


class Started:
    """A handler that was started, and has ended."""

    def wait(self, *_: object) -> int:
        return 0


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], World]]:
    """Makes worlds; the edges of lictor lead into the last one."""
    folder = str(tmp_path_factory.mktemp("hostile") / "node")
    now, prepared = list[World](), str(tmp_path_factory.mktemp("prepared"))
    nginx.prepare(prepared)

    def made() -> World:
        now[:] = [World(folder)]
        shutil.copytree(prepared, f"{folder}/nginx")
        return now[0]

    def nobody(*_: object, **__: object) -> Any:
        raise errors.Unavailable("nobody answers")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "connect", classmethod(lambda *_, **__: now[0].consul))
        patch.setattr(docker, "connect", lambda *_, **__: now[0].docker)
        patch.setattr(docker_swarm, "connect", nobody)
        patch.setattr(http, "exchange", nobody)
        patch.setattr(process, "run", nobody)
        patch.setattr(process, "spawn_handler", lambda *_, **__: Started())
        patch.setattr(timer, "PATIENCE_S", 0.0)  # as none of them records anything
        patch.setattr(nginx, "validate", lambda *_: [])
        patch.setattr(nginx, "turn_in_s", lambda _: 0.0)
        patch.setattr(nginx, "reload", lambda given: nginx._stamped(given.conf_dir))
        patch.setattr(nginx, "answered", nginx._stamped)
        patch.setattr(files, "sync", lambda _: None)
        patch.setattr(loop, "_POLL_S", 0.03)
        patch.setattr(loop, "_PATIENCE_S", 0.02)
        patch.setattr(http_server, "_ANNOUNCE_EVERY_S", 0.0)
        yield made


def call(world: World, main: Callable[[str], int], *words: str, stdin: bytes = b"") -> Run:
    """Call a handler's main function as its script does."""
    stderr, given_stdin = io.StringIO(), io.TextIOWrapper(io.BytesIO(stdin))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(stderr):
        patch.setattr(sys, "argv", ["lictor-handler", *words])
        patch.setattr(sys, "stdin", given_stdin)
        patch.setenv("LICTOR_CONFIG", world.settings.path)
        patch.setenv("CONSUL_INDEX", str(world.consul.index))
        code = main("")
    run = Run(code, stderr.getvalue())
    assert run.code in (0, 1, 2, 75) and not UNFORESEEN.search(run.log), run.log
    return run


def add_hostile(world: World, r: random.Random) -> None:
    """Put a hostile service beside the good one: its keys, its state, its containers and registrations."""
    put = world.consul.set
    if r.random() < 0.9:
        put("services/evil/spec", text(r, EVIL))
    for key in r.sample(("image", "replicas", "color", "canary", "hold", "removed"), r.choice((0, 0, 1, 2))):
        put(f"services/evil/{key}", str(value(r)).encode("utf-8", "surrogatepass"))
    if r.random() < 0.7:
        put("lictor/state/evil", text(r, STATE))
    for key in r.sample(OTHER_KEYS, r.choice((0, 1, 3))):
        tables: tuple[Any, ...] = EVIL, STATE, {"instances": [[NODE, "x"]]}, [{"service": "evil", "at": 1.0}]
        put(key, text(r, r.choice(tables)))
    for number in range(r.choice((0, 1, 2))):
        labels = {model.LABEL_SERVICE: "evil", model.LABEL_NUMBER: "1", model.LABEL_RELEASE: "r",
                  "SERVICE_NAME": "evil", "SERVICE_8080_CHECK_HTTP": "/health", "lictor.container": "evil-1",
                  "lictor.engine": "docker"}
        names = (*labels, "signal", "SERVICE_TAGS", "SERVICE_ID", "SERVICE_9_ID", model.LABEL_TASK_NAME, *hostile.TEXTS)
        labels |= {r.choice(names): r.choice(hostile.TEXTS) for _ in range(r.choice((0, 1, 3)))}
        world.docker.add(f"id-evil-{number}", r.choice(("evil-1", *hostile.TEXTS)), labels)
        world.consul.entries.append(mutated(r, entry("evil", f"evil-{number}", {
            model.META_CONTAINER: f"id-evil-{number}"}, r.choice(("passing", "critical"))), texts_only=True))
        route = r.choice(r.choice((("/wild", "/good", "wild.example.com/"), hostile.TEXTS)))
        world.consul.entries.append(mutated(r, entry("wild", f"wild-{number}", {
            model.META_ENGINE: "engine", model.META_ROUTE: route}), texts_only=True))


def keys_payload(world: World) -> bytes:
    """The payload of the watch on keys, as Consul makes it."""
    return json.dumps([{"Key": key, "ModifyIndex": each.modify_index, "Value": base64.b64encode(each.value).decode()}
                       for key, each in world.consul.tree("services/").items()]).encode()


def good_is_served(world: World) -> bool:
    published = route_store.published(world.settings.state_dir, "good")
    return bool(published and published.confirmed and published.peers)


def sweep(world: World, r: random.Random) -> None:
    call(world, timer.main, "--sweep")
    assert good_is_served(world) and "id-good-2" in world.docker.containers
    assert call(world, timer.main).code in (0, 1, 2)


def reconcile(world: World, r: random.Random) -> None:
    call(world, timer.main, "evil", "good")
    assert "id-good-2" in world.docker.containers


def scale(world: World, r: random.Random) -> None:
    call(world, keys_watch.main, stdin=text(r, [{"Key": "services/evil/spec", "ModifyIndex": 3, "Value": "e30="}]))
    call(world, keys_watch.main, stdin=keys_payload(world))
    assert route_store.route(world.settings.state_dir, "good") and good_is_served(world)


def heal(world: World, r: random.Random) -> None:
    call(world, checks_watch.main, stdin=text(r, entry("evil", "evil-1", {}, "critical")["Checks"]))
    assert call(world, checks_watch.main, stdin=json.dumps(entry("good", "g", {})["Checks"]).encode()).code == 0


def route(world: World, r: random.Random) -> None:
    call(world, keys_watch.main, stdin=keys_payload(world))
    folder = world.settings.state_dir
    payload = text(r, [entry("evil", "evil-1", {model.META_CONTAINER: "x"})])
    name = r.choice(("evil", "good", *hostile.TEXTS)).replace("\0", "")  # no argument holds that
    call(world, service_watch_fast.main, name, "--state-dir", folder, stdin=payload)
    good = json.dumps([entry("good", "a", {model.META_CONTAINER: "id-good-1", model.META_ENGINE: "engine"})]).encode()
    assert call(world, service_watch_fast.main, "good", "--state-dir", folder, stdin=good).code == 0
    assert good_is_served(world)


def serve(world: World, r: random.Random) -> None:
    """One connection after the other, each handled as by the thread that lictor-serve starts for it."""
    call(world, keys_watch.main, stdin=keys_payload(world))
    payload = text(r, r.choice(([entry("evil", "evil-1", {})], entry("evil", "evil-1", {}, "critical")["Checks"],
                                [{"Key": "services/evil/spec", "ModifyIndex": 3, "Value": "e30="}])))
    name = r.choice(("evil", "good", *hostile.TEXTS))
    path = r.choice((f"/route/{name}", "/scale", "/heal", "/sweep", "/alive", name))
    good = json.dumps([entry("good", "a", {model.META_CONTAINER: "id-good-1", model.META_ENGINE: "engine"})]).encode()
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), http_server.Server(world.serving()) as server:
        secret = server.secret.decode()
        headers = {agent_config.SECRET_HEADER: secret, "X-Consul-Index": str(value(r)),
                   "Content-Length": str(len(payload)), **({r.choice((agent_config.SECRET_HEADER, "Content-Length",
                   "X-Consul-Index", "Host", *hostile.TEXTS)): str(value(r))} if r.random() < 0.3 else {})}
        answer = ask(server, path, headers, payload)
        assert not answer or re.match(rb"HTTP/1\.0 (200|202|4\d\d|5\d\d) |<!DOCTYPE", answer), answer
        heads = {agent_config.SECRET_HEADER: secret, "Content-Length": str(len(good))}
        assert ask(server, "/route/good", heads, good).startswith(b"HTTP/1.0 200 ")
        work: list[coalesce.Coalescer[Any]] = [server.follow_ups, *server.handlers.values()]
        wait_for(lambda: not any(each._is_busy for each in work), "nothing is under way", every_s=0.005)
    assert good_is_served(world)
    assert not UNFORESEEN.search(stderr.getvalue()) and "serve outcome=failed" not in stderr.getvalue(), (
        stderr.getvalue())


def ask(server: http_server.Server, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Send one request to lictor-serve, and read to the end of its answer."""
    head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {each}\r\n" for name, each in headers.items())
    client, accepted = socket.socketpair()
    with client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
        client.sendall(head.encode("utf-8", "surrogatepass") + b"\r\n" + body)
        client.shutdown(socket.SHUT_WR)
        server.connections.begin(accepted)
        server.process_request_thread(accepted, ("127.0.0.1", 1))
        with contextlib.suppress(ConnectionResetError):  # it did not read all
            return b"".join(iter(lambda: client.recv(65536), b""))
    return b""


def register(world: World, r: random.Random) -> None:
    """The registrar's one round; its main function waits for events, so the round is called by itself."""
    for each in [each for each in world.docker.containers.values() if each["Id"] != "id-good-1"]:
        each["Config"]["ExposedPorts"] = {r.choice(hostile.TEXTS): {} for _ in range(r.choice((0, 1, 2)))}
        name, given, alone = (r.choice(hostile.TEXTS) for _ in range(3))
        each["Config"]["Env"] = [f"SERVICE_{name}={given}", alone]
        world.docker.containers[each["Id"]] = {**mutated(r, each, texts_only=True), "Id": each["Id"]}
    world.consul.entries = [each for each in world.consul.entries if r.random() < 0.5]
    world.consul.deregister(f"{NODE}:id-good-1")
    for folder in ("", *script.FOLDERS):
        files.make_folder(os.path.join(world.settings.state_dir, folder))
    arguments = options.parser("").parse_args([])
    registrar = registrar_loop.Registrar(script.Call(world.settings, None, arguments))
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        registrar._attempt(registrar._compare)
    assert any(each["Service"]["Service"] == "good" for each in world.consul.entries), stderr.getvalue()
    assert not UNFORESEEN.search(stderr.getvalue()), stderr.getvalue()
    event = {"Action": "kill", "Actor": {"ID": "x", "Attributes": {"signal": "15"}}}
    labels = {r.choice(("signal", "lictor.service", "name")): r.choice(hostile.TEXTS)}
    docker_events._message({**event, "Actor": {"ID": "x", "Attributes": labels}})


def scale_by_response_time(world: World, r: random.Random) -> None:
    """The good service is looked at, whatever stands in the other's keys, and in its own of lictor's."""
    put, at = world.consul.set, time.time() // 10 * 10
    asked = {"autoscale": {"p95": "250ms", "window": "1m", "ignore": ["/x"]}}
    put("services/good/spec", json.dumps({**hostile.GOOD, **asked}).encode())
    put("services/evil/spec", r.choice((text(r, {**EVIL, **asked}), json.dumps({**EVIL, **asked}).encode())))
    slices = [{"at": at - 10 * number, "seconds": 10.0, "times": {"40": 90, "200": 10}, "begun": 100, "busy_s": 9.0}
              for number in range(1, 9)]
    kept = json.loads(keeping.encode(keeping.Kept(node=NODE, at=at, settled_at=at - 100, replicas=1, own_index=3)))
    for name in ("good", "evil"):
        put(f"lictor/nodes/{name}/{NODE}", text(r, {"instances": [[NODE, "x"]]}))
        put(f"lictor/traffic/{name}/{NODE}", r.choice((text(r, {"slices": slices}), json.dumps(
            {"slices": slices}).encode())))
        if r.random() < 0.7:
            put(f"lictor/autoscale/{name}", text(r, kept))
    before = world.consul.index
    call(world, autoscale.main)
    written = world.consul.kv["lictor/autoscale/good"]
    assert written.modify_index > before and keeping.decode(written.value).node == NODE


HANDLERS = (sweep, reconcile, scale, heal, route, serve, register, scale_by_response_time)


@pytest.mark.parametrize("handler", HANDLERS)
def test_nothing_hostile_ends_a_handler_nor_holds_up_another_service(
        handler: Callable[[World, random.Random], None], edges: Callable[[], World]) -> None:
    @given(st.integers(0, 2**64))
    @settings(max_examples=-(-EXAMPLES // len(HANDLERS)), deadline=None, database=None,
              suppress_health_check=list(HealthCheck))
    def test(seed: int) -> None:
        r, world = random.Random(seed), edges()
        add_hostile(world, r)
        handler(world, r)

    test()


def test_the_good_service_alone_gets_all_that_it_is_to_get(edges: Callable[[], World]) -> None:
    """Else the tests above would say nothing."""
    for handler in HANDLERS[:-1]:  # the last one only decides how many it is to have
        world = edges()
        assert not good_is_served(world) and "id-good-2" not in world.docker.containers
        handler(world, random.Random(1))
    assert Path(world.settings.state_dir).is_dir()
