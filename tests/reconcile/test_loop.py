"""One node's reconciling at its edges: what another did meanwhile, what is damaged, what cannot be done."""

import contextlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lictor import errors, model
from lictor.adapters import files
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import PlainWriter
from lictor.engines import docker as docker_engine
from lictor.events import script
from lictor.planner import actions, breaker, desired, observation, service_state
from lictor.reconcile import act, history, loop, observe, responsibility
from lictor.reconcile.context import Context
from lictor.reconcile.fleet_reader import FleetReader
from lictor.routing import announce
from lictor.spec import service_spec
from lictor.spec.allow import Allow
from lictor.spec.delegation_settings import Command
from lictor.spec.quantities import Duration
from lictor.spec.settings import Heal, Settings

from lab.consul import Consul
from lab.daemon import wait_for
from lab.docker import Docker
from support.scene import state_of

SPEC: dict[str, Any] = {"name": "books", "image": "books-service:1.0", "node": "node-1"}
PLAIN = service_spec.parse_spec(SPEC, "")


@pytest.fixture
def context(consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    for each in script.FOLDERS:
        (tmp_path / "state" / each).mkdir(parents=True)
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    settings = Settings(state_dir=str(tmp_path / "state"), nginx=None, heal=Heal(surplus_after_s=Duration(0.1)))
    return Context(settings, Client.connect(), "node-1")


@pytest.fixture
def engine(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Docker:
    for name, value in docker.environ.items():
        monkeypatch.setenv(name, value)
    return docker


def put(context: Context, **changes: Any) -> None:
    context.client.put("services/books/spec", json.dumps({**SPEC, **changes}))


def with_allowed(context: Context, **bounds: Any) -> Context:
    return context._replace(settings=context.settings._replace(allow=Allow(**bounds)))


def step(context: Context, reading: observe.Reading) -> bool:
    return loop._step(context, reading, PlainWriter(context.client), True)


def told(context: Context) -> list[str]:
    return [f"{each['kind']} {each.get('container', '')} {each['outcome']}"
            for each in history.read(context.client, "books")]


def test_a_service_without_a_port_is_brought_up_and_down(context: Context, engine: Docker) -> None:
    put(context, replicas={"initial": 2})
    loop.converge(context, "books")
    assert engine.containers("status=running") == ["books-1", "books-2"]
    context.client.put("services/books/removed", "")
    context.client.put("services/books/instances", "2")  # another program's
    context.client.put("lictor/seeds/books", "10.0.0.5:1")
    loop.converge(context, "books")
    assert engine.containers() == [] and context.client.get("lictor/seeds/books") is None
    assert context.client.tree("services/books/").keys() == {"services/books/removed", "services/books/instances"}
    assert context.client.get("lictor/state/books") is None


def test_what_is_applied_again_while_it_is_forgotten_stays(context: Context) -> None:
    put(context)
    with pytest.raises(errors.Conflict):
        loop._forget(context, "books")
    assert context.client.tree("services/books/").keys() == {"services/books/spec"}


def test_one_that_cannot_be_removed_keeps_no_other_from_being_started(
        context: Context, engine: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise errors.Refused("it is left alone")

    put(context, replicas={"initial": 1})
    labels = {"service": "books", "number": "9", "engine": "docker", "container": "books-9"}
    engine.docker("create", "--name", "books-9", *(f"--label=lictor.{key}={value}" for key, value in labels.items()),
                  "books-service:1.0")
    monkeypatch.setattr(docker_engine, "remove", refuse)
    monkeypatch.setattr(loop, "_FRESH_S", 3600.0)  # both acts are of one look, however long the first one takes
    reading = observe.one(context, "books", {})
    assert [each.kind for each in reading.actions] == ["remove", "start"]
    with pytest.raises(errors.Refused, match="it is left alone"):
        step(context, reading)
    assert engine.containers("status=running") == ["books-1"]
    assert sorted(told(context)) == ["remove books-9 failed", "start books-1 done"]


def test_what_was_seen_long_ago_is_looked_at_again_before_the_second_act(context: Context,
                                                                         engine: Docker) -> None:
    put(context, replicas={"initial": 2})
    reading = observe.one(context, "books", {})
    stale = reading._replace(observation=reading.observation._replace(now=reading.observation.now - 6))
    assert step(context, stale)
    assert engine.containers() == ["books-1"]


def test_an_env_file_that_cannot_be_read_is_a_failed_start_with_its_reason(context: Context, engine: Docker,
                                                                           tmp_path: Path) -> None:
    context = with_allowed(context, env_files=(f"{tmp_path}/*", str(tmp_path)))
    put(context, env_file=str(tmp_path))
    with pytest.raises(errors.Refused, match="env_file .* cannot be read on this node"):
        loop.converge(context, "books")
    (record,) = history.read(context.client, "books")
    assert record["outcome"] == "failed" and str(tmp_path) in record["detail"]
    entry = context.client.get("lictor/state/books")
    assert entry and service_state.decode(entry.value).healing.failures["1"].count == 2


@pytest.mark.parametrize("live", [{"name": "other", "image": "x"}, {"name": "books", "imagee": "x"}, {}, None])
def test_a_damaged_memory_of_what_runs_gives_way_to_the_spec(context: Context, live: dict[str, Any]) -> None:
    wanted = desired.desired("books", {"spec": json.dumps(SPEC).encode()}, service_state.State())
    assert act.live_spec(observation.Observation(0.0, wanted, state=state_of(live=live))) == PLAIN


def test_only_names_of_services_become_paths(context: Context) -> None:
    with pytest.raises(errors.Refused, match="NAME is '../x'"):
        loop.run(context.settings, None, ["../x"])


def test_no_services_name_is_that_of_a_lock_of_our_own(context: Context) -> None:
    ours = set(os.listdir(os.path.join(context.settings.state_dir, "locks")))
    announce.tell(context.client, context.settings.state_dir, context.node, [])
    ours |= set(os.listdir(os.path.join(context.settings.state_dir, "locks")))
    assert ours and not [each for each in ours if model.is_name(each.removesuffix(".lock"))]


def test_who_finds_the_lock_taken_leaves_word(context: Context, engine: Docker) -> None:
    lock = os.path.join(context.settings.state_dir, "locks", "books.lock")
    with files.locked(lock):
        put(context, replicas={"initial": 1})
        loop.converge(context, "books")
        assert engine.containers() == []
    assert os.path.exists(lock.replace(".lock", ".again"))
    threads = [threading.Thread(target=loop.converge, args=(context, "books")) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    wait_for(lambda: engine.containers("status=running") == ["books-1"], "one is there")
    assert told(context) == ["start books-1 done"]
    assert not os.path.exists(lock.replace(".lock", ".again"))


def test_what_nginx_serves_is_unknown_when_nodes_cannot_be_seen_or_a_word_is_damaged(context: Context) -> None:
    found = [model.Instance("node-1", "s1", "books", "127.0.0.1", 80, "passing", True, None, "c1")]
    wait_for(context.client.alive_nodes, "the node is alive")
    wanted = desired.desired("books", {"spec": json.dumps(SPEC).encode()}, service_state.State())
    assert FleetReader(context).served(wanted, found) == (frozenset(), ())
    context.client.put("lictor/nodes/books/node-1", '{"instances": 3}')
    assert FleetReader(context).served(wanted, found) == (frozenset({("node-1", "s1")}), ())
    with pytest.raises(errors.Unavailable, match="not among the nodes that are alive"):
        FleetReader(context._replace(node="node-9")).served(wanted, found)


def test_a_container_is_judged_by_its_own_nodes_registration_alone(context: Context, consul: Consul,
                                                                   engine: Docker) -> None:
    put(context, port=8080)
    reconcile_once = observe.one(context, "books", {})
    step(context, reconcile_once)
    (container,) = observe.one(context, "books", {}).observation.containers
    consul.request("PUT", "/v1/catalog/register", {"Node": "evil", "Address": "10.0.0.9", "Service": {
        "Service": "books", "ID": "evil", "Meta": {"lictor-container": container.id}},
        "Check": {"Name": "x", "CheckID": "x", "ServiceID": "evil", "Status": "critical"}})
    assert observe.one(context, "books", {}).observation.instances == ()


def register(consul: Consul, container: model.Container, status: str) -> None:
    """What the registrar would do, with a check that says `status`."""
    consul.register({"ID": container.name, "Name": "books", "Port": 8080, "Address": "127.0.0.1",
                     "Meta": {"lictor-container": container.id}, "Check": {"TTL": "600s"}})
    consul.request("PUT", f"/v1/agent/check/update/service:{container.name}", {"Status": status})
    wait_for(lambda: [each["Status"] for each in consul.request("GET", "/v1/health/checks/books?consistent")
                      if each["ServiceID"] == container.name] == [status], f"it is {status}")


def ill(context: Context, consul: Consul) -> model.Container:
    """The only container, which has passed its check, and fails it now."""
    put(context, port=8080, heal={"grace": "0s"})
    step(context, observe.one(context, "books", {}))
    (container,) = observe.one(context, "books", {}).observation.containers
    for status in ("passing", "critical"):
        register(consul, container, status)
        assert not step(context, observe.one(context, "books", {}))
    return container


def starts(reading: observe.Reading) -> list[str]:
    return [each.container for each in reading.actions if each.kind == "start"]


def test_a_replacement_that_was_reserved_and_not_begun_is_made_once(context: Context, consul: Consul,
                                                                    engine: Docker) -> None:
    container = ill(context, consul)
    reserved = observation.Reservation("books", container.id, observe.one(context, "books", {}).observation.now)
    context.client.put(breaker.KEY, breaker.encode([reserved], reserved.at))
    reading = observe.settled(context, "books", {})
    assert starts(reading) == ["books-2"] and step(context, reading)
    assert starts(observe.settled(context, "books", {})) == []
    for each in observe.one(context, "books", {}).observation.containers[1:]:
        register(consul, each, "passing")
    loop.converge(context, "books")
    assert engine.containers() == ["books-2"]
    assert told(context) == ["start books-1 done", "start books-2 done", "drain books-1 done", "remove books-1 done"]


def test_a_budget_that_another_took_from_meanwhile_is_no_start_that_failed(context: Context, consul: Consul,
                                                                           engine: Docker) -> None:
    ill(context, consul)
    reading = observe.settled(context, "books", {})
    assert starts(reading) == ["books-2"]
    other = observation.Reservation("other", "c1", reading.observation.now)
    context.client.put(breaker.KEY, breaker.encode([other], other.at))
    with pytest.raises(errors.Conflict, match="lictor/budget changed since this was decided"):
        step(context, reading)
    entry = context.client.get("lictor/state/books")
    assert entry and service_state.decode(entry.value).healing.failures == {}
    assert starts(observe.settled(context, "books", {})) == ["books-2"]


@pytest.mark.parametrize("content", ["pipe", "long", "folder", "link"])
def test_an_env_file_is_a_short_regular_file_within_what_the_node_allows(
        context: Context, engine: Docker, tmp_path: Path, content: str) -> None:
    (tmp_path / "env").mkdir()
    path = tmp_path / "env" / "books"
    make: dict[str, Callable[[], object]] = {
        "pipe": lambda: os.mkfifo(path), "long": lambda: path.write_text("A=1\n" * 20_000), "folder": path.mkdir,
        "link": lambda: path.symlink_to("/etc/hostname")}
    make[content]()
    context = with_allowed(context, env_files=(f"{tmp_path}/env/*",))
    put(context, env_file=str(path), replicas={"initial": 1})
    if content == "link":
        loop.converge(context, "books")
        assert "env_file is" in observe.one(context, "books", {}).observation.desired.problems[0]
    else:
        with pytest.raises(errors.Refused, match="env_file .* cannot be read on this node"):
            loop.converge(context, "books")
    assert engine.containers() == []


REFUSED: list[dict[str, Any]] = [{"volumes": ["/:/host"]}, {"networks": ["host"]}, {"env_file": "/etc/hostname"}]


@pytest.mark.parametrize("asked", REFUSED, ids=str)
def test_a_spec_that_the_node_does_not_allow_leaves_the_last_good_one_in_force(
        context: Context, engine: Docker, asked: dict[str, Any]) -> None:
    put(context, replicas={"initial": 1}, **asked)
    loop.converge(context, "books")
    assert engine.containers() == []  # there was none
    put(context, replicas={"initial": 1})
    loop.converge(context, "books")
    assert engine.containers() == ["books-1"]
    put(context, replicas={"initial": 1}, **asked)
    loop.converge(context, "books")
    reading = observe.one(context, "books", {})
    [problem] = reading.observation.desired.problems
    assert problem.startswith("services/books/spec: ") and "of [allow] in /etc/lictor/lictor.toml" in problem
    assert any(problem in each["reason"] for each in history.read(context.client, "books"))
    engine.docker("rm", "-f", "books-1")
    loop.converge(context, "books")
    assert engine.containers("status=running") == ["books-1"]  # healed from the last good spec
    assert json.loads(engine.docker("inspect", "books-1"))[0]["HostConfig"]["Binds"] in (None, [])


@pytest.mark.parametrize("asked", REFUSED, ids=str)
def test_a_state_that_was_tampered_with_starts_nothing_that_the_node_does_not_allow(
        context: Context, engine: Docker, asked: dict[str, Any]) -> None:
    put(context, replicas={"initial": 1})
    loop.converge(context, "books")
    stored = service_state.decode(context.client.get("lictor/state/books").value)  # type: ignore[union-attr]
    live = {**SPEC, **asked}
    release = replace(stored.release, live=live, live_is_proven=True,
                      live_release=desired.fingerprint(service_spec.parse_spec(live, "")))
    context.client.put("lictor/state/books", service_state.encode(replace(stored, release=release)))
    engine.docker("rm", "-f", "books-1")
    with pytest.raises(errors.Refused, match=r"books: (volumes|networks|env_file) is .* of \[allow\] in"):
        act.Executor(context, observe.one(context, "books", {}), PlainWriter(context.client)).carry_out(
            actions.Start("books-1", "it is gone", 1, "", release.live_release))
    assert engine.containers() == []
    assert any(problem.startswith("the live spec: ")
               for problem in observe.one(context, "books", {}).observation.desired.problems)


@pytest.mark.parametrize("changes", [{"name": "carts"}, {"engine": "swarm"}, {"engine": "none"}], ids=str)
def test_a_state_s_previous_spec_is_the_service_s_own_or_none(
        context: Context, engine: Docker, changes: dict[str, Any]) -> None:
    put(context, replicas={"initial": 1})
    reading = observe.one(context, "books", {})
    previous = {**SPEC, "command": ["/bin/busybox", "false"], **changes}
    release = replace(reading.observation.state.release, previous=previous, previous_release="r0")
    act.Executor(context, reading._replace(observation=reading.observation.with_state(release=release)),
                 PlainWriter(context.client)).carry_out(actions.Start("books-1", "it is gone", 1, "", "r0"))
    assert engine.containers("status=running") == ["books-1"]


def test_a_removed_service_asks_for_nothing_any_more(context: Context, engine: Docker, tmp_path: Path) -> None:
    allowing = with_allowed(context, mounts=(str(tmp_path),))
    put(allowing, replicas={"initial": 1}, volumes=[f"{tmp_path}:/data"])
    loop.converge(allowing, "books")
    assert engine.containers("status=running") == ["books-1"]
    loop.converge(context, "books")  # on hold: it runs on
    assert engine.containers("status=running") == ["books-1"]
    context.client.put("services/books/removed", "")
    loop.converge(context, "books")
    def is_gone() -> bool:
        loop.converge(context, "books")
        return engine.containers() == []
    wait_for(is_gone, "it is gone")


@pytest.mark.parametrize(("services", "removed", "lines"), [
    (("b*",), False, ["books 1"]), (("other",), False, []), (("other",), True, []), (("books",), True, ["books 0"])])
def test_a_program_is_told_only_of_services_that_the_node_lists(
        context: Context, tmp_path: Path, services: tuple[str, ...], removed: bool, lines: list[str]) -> None:
    script_text = f"echo $0 $1 >> {tmp_path}/told"
    context = context._replace(settings=context.settings._replace(
        command=Command(("sh", "-c", script_text, "{name}", "{replicas}")), allow=Allow(services=services)))
    put(context, engine="command", node="", replicas={"initial": 1})
    if removed:
        stored = state_of(last_orders={"": service_state.LastOrder(1, "r", 1.0)})
        context.client.put("lictor/state/books", service_state.encode(stored))
        context.client.put("services/books/removed", "")
    reading = observe.one(context, "books", {}, certain=True)
    with contextlib.suppress(errors.Refused):
        if responsibility.acts_here(context, reading.observation.desired):
            step(context, reading)
    assert (tmp_path / "told").exists() == bool(lines)
    assert not lines or (tmp_path / "told").read_text().splitlines() == lines
