"""From keys to routes and watches on one node, against a real Consul agent; what is left there may be damaged."""

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.adapters import clock, process
from lictor.adapters.consul.client import Client
from lictor.events import agent_config, keys_watch, script, survey
from lictor.planner.routes import pause
from lictor.planner.routes.pause import Pause
from lictor.routing import condition, nginx
from lictor.routing.key_cache import Key
from lictor.spec.allow import Allow
from lictor.spec.keys import known_services
from lictor.spec.locations import show
from lictor.spec.settings import Metrics, load_settings

from lab.consul import Consul
from support import handlers

SPEC = {"image": "books:1", "port": 8080, "node": "node-1", "route": {"path": "/books"},
        "replicas": {"initial": 2, "min": 0}}


class Here:
    """This node's settings and agent, and a shorthand for what a change of the keys leads to."""

    def __init__(self, consul: Consul, folder: Path) -> None:
        self.consul, self.state = consul, folder / "state"
        for each in script.FOLDERS:
            (self.state / each).mkdir(parents=True)
        path = folder / "lictor.toml"
        path.write_text(f'state_dir = "{self.state}"\n[nginx]\nconf_dir = "{folder}/nginx"\n'
                        f'pid_file = "{folder}/nginx.pid"\n[watch]\nconfig_dir = "{consul.config_dir}"\n')
        settings = load_settings({"LICTOR_CONFIG": str(path)})
        assert settings.nginx
        nginx.prepare(settings.nginx.conf_dir)
        self.call = script.Call(settings, None, argparse.Namespace())
        self.watches = Path(consul.config_dir) / agent_config.ROUTES_FILE

    def put(self, name: str, **changes: Any) -> None:
        self.consul.put(f"services/{name}/spec", json.dumps({"name": name, **SPEC, **changes}))

    def follow(self) -> set[str]:
        return keys_watch.follow(self.call, keys_watch.read_keys(Client.connect(), "services/"), None)

    def route(self, name: str) -> dict[str, Any]:
        return keys_watch.read_routes(self.call.settings)[name]

    def path(self, name: str) -> str:
        [only] = self.route(name)["routes"]
        return str(only["path"])


@pytest.fixture
def here(consul: Consul, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setattr(keys_watch, "_LEAST_RELOAD_INTERVAL_S", 0.0)
    yield Here(consul, tmp_path)
    consul.clear_files()
    consul.reload()  # its watches start handlers
    handlers.end(str(tmp_path / "lictor.toml"))


def test_a_route_follows_its_spec_and_goes_with_it(here: Here) -> None:
    here.put("books")
    assert here.follow() == {"books"} and here.follow() == set()
    here.put("books", route={"path": "/other"})
    here.follow()
    assert (here.path("books"), here.route("books")["removed"]) == ("/other", False)
    here.consul.put("services/books/spec", "{")
    here.follow()
    assert here.path("books") == "/other" and not here.route("books")["removed"]
    here.put("books", route=None)
    here.follow()
    assert here.route("books")["removed"]


def test_whether_empty_is_true_outlives_the_replicas_key(here: Here) -> None:
    here.put("books", replicas={"initial": 0})
    here.consul.put("services/books/replicas", "3")
    here.follow()
    here.consul.request("DELETE", "/v1/kv/services/books/replicas")
    here.follow()
    assert not here.route("books")["empty_ok"]  # deleting it keeps the count of 3
    here.consul.put("services/books/replicas", "0")
    here.follow()
    here.consul.put("services/books/replicas", "none")
    here.follow()
    assert here.route("books")["empty_ok"]
    here.put("books", replicas={"initial": 1, "min": 1})
    here.follow()
    assert not here.route("books")["empty_ok"]


def test_a_place_that_is_taken_is_refused_until_it_is_free(here: Here) -> None:
    here.put("books")
    here.follow()
    here.put("author")
    here.follow()
    assert keys_watch.read_routes(here.call.settings).keys() == {"books"}
    refused = condition.read(here.call.settings).refused["author"]
    assert "services/author/spec: route is /books, which is that of books" in refused
    here.put("books", route={"path": "/other"})
    assert here.follow() == {"author", "books"}
    assert (here.path("author"), here.path("books")) == ("/books", "/other")
    assert "author" not in condition.read(here.call.settings).refused and here.follow() == set()


@pytest.mark.parametrize(("engine", "services", "needs_consent"), [
    ("none", ["*"], False), ("none", ["shelves"], True), ("none", [], True), ("none", ["boo*"], False),
    ("docker", [], False)])
def test_what_the_node_does_not_route_by_itself_needs_the_consent_of_each_registration(
        here: Here, engine: str, services: list[str], needs_consent: bool,
) -> None:
    call = here.call._replace(settings=here.call.settings._replace(allow=Allow(services=tuple(services))))
    here.put("books", engine=engine, **({"node": "", "image": ""} if engine == "none" else {}))
    here.follow()
    assert not here.route("books")["needs_consent"]
    sweep(call)  # no key has changed: the next sweep sees what the node allows now
    assert here.route("books")["needs_consent"] is needs_consent
    sweep(here.call)
    assert not here.route("books")["needs_consent"]


def sweep(call: script.Call) -> None:
    with contextlib.suppress(errors.Unavailable):  # there is no Docker, which is asked last
        survey.look(call)


def test_a_node_with_metrics_measures_every_route_from_then_on(here: Here) -> None:
    without = here.call
    here.put("books", check={"http": "/health"})
    here.follow()
    assert not here.route("books")["measure"] and here.route("books")["ignore"] == []
    here.call = without._replace(settings=without.settings._replace(metrics=Metrics(textfile="/a/lictor.prom")))
    assert here.follow() == {"books"} and here.follow() == set()
    assert here.route("books")["measure"] and here.route("books")["ignore"] == ["/health"]
    here.call = without
    assert here.follow() == {"books"} and not here.route("books")["measure"]


def routed(paths: str) -> dict[str, Any]:
    """The routes of a service, given their hosts and paths."""
    return {"removed": False, "routes": [
        {"host": host, "path": f"/{path}", "match": "prefix", "aliases": []}
        for host, _, path in (each.partition("/") for each in paths.split())]}


@pytest.mark.parametrize(("before", "after", "refused"), [
    ({"b": "/x"}, {"a": "/x"}, {"a"}),  # who has had it keeps it
    ({}, {"a": "/x", "b": "/x"}, {"b"}),
    ({"b": "/x"}, {"a": "/x", "b": "/y"}, set()),  # both in one go
    ({"a": "/y", "b": "/x"}, {"a": "/x", "b": "/y"}, set()),
    ({"b": "/x", "c": "/y"}, {"a": "/x", "b": "/y"}, {"a", "b"}),  # b stays where it was
    ({"b": "/x /y"}, {"a": "/z h/x /y"}, {"a"}), ({"b": "/x /y"}, {"a": "h/x /z"}, set()),
    ({"b": "/x"}, {"b": "/x /y", "a": "/x"}, {"a"}),  # another one beside it gives up nothing
    ({"a": "/x", "b": "/y"}, {"a": "/x /y"}, {"a"}), ({"a": "/x", "b": "/y"}, {"a": "/x /y", "b": "/z"}, set()),
    ({"a": "/x", "b": "/y"}, {"a": "/x /y", "b": "/z /x"}, {"a", "b"}),
])
def test_no_two_routes_have_one_place(before: dict[str, str], after: dict[str, str], refused: set[str]) -> None:
    had, asked = ({name: routed(paths) for name, paths in each.items()} for each in (before, after))
    assert keys_watch.drop_conflicts(had, asked).keys() == refused
    places = [show(route) for each in {**had, **asked}.values() for route in each["routes"]]
    assert len(set(places)) == len(places) and not refused & asked.keys()


def test_which_route_of_a_list_is_taken_is_told() -> None:
    asked = {"a": routed("/y h/x /x")}
    assert keys_watch.drop_conflicts({"b": routed("/x h/y")}, asked) == {
        "a": "route[2] is /x, which is that of b; two routes cannot have the same"}


@pytest.mark.parametrize("damage", ["[]", "{", '{"keys": {"a": 1}}'])
def test_what_is_damaged_is_made_anew(here: Here, damage: str) -> None:
    here.put("books")
    here.follow()
    keys_watch.watch(here.call)
    for each in (here.state / "routes" / "books.json", here.state / "keys.json"):
        each.write_text(damage)
        here.follow()
        keys_watch.watch(here.call)
        assert here.path("books") == "/books"
        assert known_services(here.call.settings) == {"books"}


def test_an_agent_that_cannot_reload_delays_the_watches_alone(here: Here) -> None:
    broken = Path(here.consul.config_dir) / "other.json"
    broken.write_text("{")
    here.put("books")
    assert here.follow() == {"books"}
    with pytest.raises(errors.LictorError):
        keys_watch.watch(here.call)
    broken.unlink()
    assert here.follow() == set()
    keys_watch.watch(here.call)
    assert [each["service"] for each in json.loads(here.watches.read_text())["watches"]] == ["books"]


def test_an_agent_is_reloaded_at_once_and_then_once_in_half_a_minute_for_all(
        here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_watch, "_LEAST_RELOAD_INTERVAL_S", 30.0)
    reloads, uptime_s = list[float](), clock.uptime_s()
    monkeypatch.setattr(Client, "reload_agent", lambda _: reloads.append(uptime_s))

    def watched() -> list[str]:
        return [each["service"] for each in json.loads(here.watches.read_text())["watches"]]

    for number in range(8):
        here.put(f"books-{number}", route={"path": f"/books-{number}"})
        here.follow()
        monkeypatch.setattr(clock, "uptime_s", lambda: uptime_s + number)  # noqa: B023
        keys_watch.watch(here.call)
    assert len(reloads) == 1 and watched() == ["books-0"]
    monkeypatch.setattr(clock, "uptime_s", lambda: uptime_s + 30)
    keys_watch.watch(here.call)  # as the timer does
    assert len(reloads) == 2 and watched() == [f"books-{number}" for number in range(8)]
    here.put("another", route={"path": "/another"})
    here.follow()
    monkeypatch.setattr(clock, "uptime_s", lambda: 3.0)  # the machine was started again
    keys_watch.watch(here.call)
    assert len(reloads) == 3


@pytest.mark.parametrize(("count", "words"), [(2, ["books-0", "books-1"]), (20_000, ["--sweep"])])
def test_very_many_services_are_swept_as_no_argv_holds_their_names(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, words: list[str]) -> None:
    call = script.Call(load_settings({})._replace(state_dir=str(tmp_path)), None, argparse.Namespace())
    started = list[list[str]]()
    monkeypatch.setattr(process, "spawn_handler", lambda name, args, **_: started.append(args))
    call.reconcile([f"books-{number}" for number in range(count)])
    assert started == [words]


def test_watches_that_init_wrote_afresh_are_filled_in_again(here: Here) -> None:
    here.put("books")
    here.follow()
    keys_watch.watch(here.call)
    written = here.watches.read_text()
    here.watches.write_text(agent_config.text(agent_config.routes(here.call.settings, {}, [], process.handler_argv)))
    keys_watch.watch(here.call)
    assert here.watches.read_text() == written
    here.watches.unlink()  # as `lictor init --remove` does
    keys_watch.watch(here.call)
    assert not here.watches.exists()


def test_an_event_older_than_what_was_read_changes_nothing_back(here: Here) -> None:
    here.put("books")
    old = keys_watch.read_keys(Client.connect(), "services/")
    here.put("books", route={"path": "/other"})
    here.follow()
    assert keys_watch.follow(here.call, old, old["services/books/spec"].modify_index) == set()
    assert here.path("books") == "/other"


def test_a_late_event_and_no_right_to_read_lose_no_service(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.put("books")
    here.follow()
    keys = keys_watch.read_keys(Client.connect(), "services/")
    keys_watch.follow(here.call, keys, 1000)
    here.consul.request("DELETE", "/v1/kv/services/?recurse")  # 404, as without rights
    with pytest.raises(errors.Unavailable, match="no key below services/ can be seen"):
        keys_watch.follow(here.call, {**keys, "services/books/hold": Key(99, b"")}, 99)
    assert known_services(here.call.settings) == {"books"}


def test_a_pause_is_noted_once_and_goes_with_its_key_its_end_and_its_service(here: Here) -> None:
    waits = {"path": "/books", "wait": "5s"}

    def write(wish: Pause | None) -> pause.Record | None:
        here.consul.put("services/books/hold", pause.encode(pause.Hold("x", wish)) if wish else "x")
        here.follow()
        return pause.record_of(here.route("books"))
    here.put("books", route=waits)
    first = write(Pause(60, 5.0))
    assert first and (first.asked_at, first.obstacle) == (5.0, "") and write(Pause(60, 5.0)) == first
    here.put("books", image="books:2", route=waits)
    assert write(Pause(60, 5.0)) == first
    second = write(Pause(60, 6.0))
    assert second and second.asked_at == 6.0 and second.ends_at_uptime >= first.ends_at_uptime
    here.put("books")
    without = write(Pause(60, 6.0))
    assert without and without.obstacle.startswith("wait is missing in the route ")
    here.put("books", route=waits)
    assert write(Pause(60, 6.0)) == second
    assert write(Pause(60, 6.0, is_over=True)) is None and write(Pause(60, 7.0)) and write(None) is None
    assert write(Pause(60, 8.0))
    here.consul.put("services/books/removed", "")
    here.follow()
    assert here.route("books")["removed"] and "pause" not in here.route("books")


@pytest.mark.parametrize(("wish", "waits", "follows"), [
    (None, True, (None, "")), (Pause(60, 5.0), True, (5.0, "")), (Pause(60, 5.0, is_over=True), True, (None, "")),
    (Pause(60, 6.0), True, (6.0, "")), (Pause(60, 6.0), False, (6.0, "wait is missing in the route /books"))])
def test_a_pause_comes_and_goes_though_the_spec_is_refused(here: Here, wish: Pause | None, waits: bool,
                                                           follows: tuple[float | None, str]) -> None:
    """The route stays as it is then, and a pause is no part of the spec."""
    here.put("books", route={"path": "/books", **({"wait": "5s"} if waits else {})})
    here.consul.put("services/books/hold", pause.encode(pause.Hold("x", Pause(60, 5.0))))
    here.follow()
    before = here.route("books")
    here.put("books", route={"path": "no path"})
    here.follow()
    assert here.route("books") == before
    if wish:
        here.consul.put("services/books/hold", pause.encode(pause.Hold("x", wish)))
    else:
        here.consul.request("DELETE", "/v1/kv/services/books/hold")
    here.follow()
    record, after = pause.record_of(here.route("books")), here.route("books")
    assert (record and record.asked_at) == follows[0] and (record.obstacle if record else "").startswith(follows[1])
    assert {key: after[key] for key in after if key != "pause"} == {
        key: before[key] for key in before if key != "pause"}


@pytest.mark.parametrize(("key", "stays"), [
    ("green 10%", True), (" green 10%\n", True), ("", False), ("green 20%", False), ("blue 10%", False), ("x", False)])
def test_a_canary_ends_though_the_spec_is_refused(here: Here, key: str, stays: bool) -> None:
    here.put("books", release={"strategy": "blue-green", "canary": "10%"})
    here.consul.put("services/books/canary", "green 10%")
    here.follow()
    before = here.route("books")
    assert before["canary"] == {"service": "books-green", "share": 0.1}
    here.put("books", route={"path": "no path"})
    here.consul.put("services/books/canary", key)
    here.follow()
    assert here.route("books") == {**before, "canary": before["canary"] if stays else None}


def test_engine_none_needs_consent_for_names_that_the_node_does_not_list(here: Here) -> None:
    for name in ("vault", "shop-web"):
        here.put(name, engine="none", image="", node="", route={"path": f"/{name}"})
    here.put("books")
    here.call = here.call._replace(settings=here.call.settings._replace(allow=Allow(services=("shop-*",))))
    here.follow()
    assert {name: here.route(name)["needs_consent"] for name in ("vault", "shop-web", "books")} == {
        "vault": True, "shop-web": False, "books": False}
