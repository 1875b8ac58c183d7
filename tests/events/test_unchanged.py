"""What ends the rest of a service that sweeps need not look at: a line of the table for each input. On the real Consul
and nginx."""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.adapters import files, heartbeat
from lictor.adapters.consul.client import Client
from lictor.events import keys_watch, script, survey, timer
from lictor.events.metrics import seen
from lictor.events.unchanged import Memory
from lictor.planner import service_state
from lictor.reconcile import observe
from lictor.reconcile.context import Context
from lictor.routing import nginx_processes, route_store
from lictor.spec.settings import Metrics

from lab.consul import Consul
from lab.daemon import wait_for
from lab.nginx import Nginx
from support import routed
from support.paths import text_of

BOTH = frozenset({"books", "films"})


class Node:
    """A node that routes books and films, with an instance of each on another node."""

    def __init__(self, consul: Consul, nginx: Nginx, folder: Path) -> None:
        self.consul, self.nginx, self.conf_dir = consul, nginx, nginx.conf_dir
        settings = routed.set_up(str(folder), nginx)
        self.settings = settings._replace(watch=settings.watch._replace(config_dir=consul.config_dir))
        self.state_dir, self.name = settings.state_dir, "node-1"
        for number, name in enumerate(sorted(BOTH)):
            self.put(name)
            self.register(name, 9000 + number)

    def put(self, name: str, **spec: Any) -> None:
        self.consul.put(f"services/{name}/spec", json.dumps(
            {"name": name, "engine": "none", "route": {"path": f"/{name}"}, **spec}))

    def register(self, name: str, port: int, status: str = "passing", **node: Any) -> None:
        self.consul.request("PUT", "/v1/catalog/register", {
            "Node": "apps", "Address": "10.0.0.1", "NodeMeta": {"external-node": "true"}, **node,
            "Service": {"ID": f"{name}-1", "Service": name, "Address": "10.0.0.1", "Port": port},
            "Checks": [{"CheckID": "externalNodeHealth", "Status": "passing"},
                       {"CheckID": f"{name}-1", "ServiceID": f"{name}-1", "Status": status}]})

    def deregister(self, name: str) -> None:
        self.consul.request("PUT", "/v1/catalog/deregister", {"Node": "apps", "ServiceID": f"{name}-1"})

    def memory(self) -> Memory:
        context = Context(self.settings, Client.connect(), self.name)
        return Memory(context, keys_watch.read_keys(context.client, self.settings.prefix),
                      context.client.everything(observe.catalog_names(BOTH)))

    def at_rest(self) -> frozenset[str]:
        return self.memory().unchanged

    def sweep(self) -> timer.Summary:
        return survey.look(script.Call(self.settings, None, argparse.Namespace()))

    def edit(self, path: str, text: str = "# edited\n") -> None:
        with open(os.path.join(self.conf_dir, path), "a", encoding="utf-8") as file:
            file.write(text)


@pytest.fixture
def node(consul: Consul, nginx: Nginx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    monkeypatch.setattr(Client, "reload_agent", lambda _: None)  # a dev agent would forget its registrations
    found = Node(consul, nginx, tmp_path)
    wait_for(lambda: found.sweep() and found.at_rest() == BOTH, "both are at rest", 60)
    return found


def with_nginx(node: Node, **changes: Any) -> None:
    node.settings = routed.with_nginx(node.settings, **changes)


def other_node(node: Node) -> None:
    node.name = "node-2"


def say_503(node: Node) -> None:
    os.makedirs(f"{node.conf_dir}/peers/empty", exist_ok=True)
    files.write_atomic(f"{node.conf_dir}/peers/empty/books.conf", "return 503;")


def try_canary(node: Node) -> None:
    os.makedirs(f"{node.conf_dir}/peers/canary", exist_ok=True)
    files.write_atomic(f"{node.conf_dir}/peers/canary/books.conf", "set $lictor_canary x;")


def dead_container(node: Node) -> None:
    heartbeat.write(node.state_dir, heartbeat.Heartbeat(time.time(), dead=("ab" * 32,)))


def unconfirmed(node: Node) -> None:
    files.write_atomic(f"{node.state_dir}/unconfirmed/books", "")


def other_route(node: Node) -> None:
    route = route_store.route(node.state_dir, "books")
    assert route
    files.write_json(f"{node.state_dir}/routes/books.json", {**route, "routes": [{"host": "", "path": "/other"}]})


def hold(node: Node) -> None:
    published = routed.published(node.settings, "books")
    route_store.write_published(node.state_dir, "books", published._replace(empty_since=time.time()))


def old(node: Node) -> None:
    path = f"{node.state_dir}/unchanged.json"
    files.write_json(path, {**files.read_json(path), "full_at": time.time() - 1000})


def by_another_clock(node: Node) -> None:
    path = f"{node.state_dir}/unchanged.json"
    files.write_json(path, {**files.read_json(path), "full_at": time.time() + 1000})


NONE, OTHER = frozenset[str](), frozenset({"films"})


@pytest.mark.parametrize(("what", "change", "left"), [
    ("nothing", lambda node: None, BOTH),
    ("another count", lambda node: node.consul.put("services/books/replicas", "3"), OTHER),
    ("a hold", lambda node: node.consul.put("services/books/hold", "x"), OTHER),
    ("a service without a spec", lambda node: node.consul.put("services/new/replicas", "3"), BOTH),
    ("another path", lambda node: node.put("books", route={"path": "/other"}), NONE),
    ("a service more", lambda node: node.put("new"), NONE),
    ("a tombstone", lambda node: node.consul.put("services/books/removed", "x"), NONE),
    ("no spec", lambda node: node.consul.request("DELETE", "/v1/kv/services/books/spec"), NONE),
    ("another port", lambda node: node.register("books", 9009), OTHER),
    ("a critical check", lambda node: node.register("books", 9000, "critical"), OTHER),
    ("another node's address",
     lambda node: node.register("books", 9000, Address="10.0.0.9", SkipNodeUpdate=False), NONE),
    ("no instance", lambda node: node.deregister("books"), OTHER),
    ("a file of a canary's peers", try_canary, OTHER),
    ("an edited location", lambda node: node.edit("locations/books.conf"), OTHER),
    ("an edited upstream", lambda node: node.edit("upstreams/lictor_books.conf"), OTHER),
    ("edited peers", lambda node: node.edit("peers/books.conf"), OTHER),
    ("no peers file", lambda node: os.remove(f"{node.conf_dir}/peers/books.conf"), OTHER),
    ("a 503 file", say_503, OTHER),
    ("an edited lictor.conf", lambda node: node.edit("lictor.conf"), NONE),
    ("a server more", lambda node: node.edit("servers/else.conf"), NONE),
    ("a template", lambda node: files.write_atomic(f"{node.settings.templates_dir}/location.conf.j2", "x"), NONE),
    ("the user's configuration",
     lambda node: files.write_atomic(node.nginx.main_conf, text_of(node.nginx.main_conf) + "\n"), NONE),
    ("where nginx listens", lambda node: route_store.write_listeners(node.state_dir, [("10.0.0.1", 9000)]), NONE),
    ("another mode", lambda node: with_nginx(node, mode="live"), NONE),
    ("another proxy", lambda node: with_nginx(node, trusted_proxies=("10.0.0.0/8",)), NONE),
    ("another name of the node", other_node, NONE),
    ("a dead container", dead_container, NONE),
    ("a mark", unconfirmed, OTHER),
    ("a route", other_route, NONE),
    ("a held upstream", hold, OTHER),
    ("some minutes", old, NONE),
    ("a set clock", by_another_clock, NONE),
    ("a damaged memory", lambda node: files.write_atomic(f"{node.state_dir}/unchanged.json", "{"), NONE),
    ("a strange memory", lambda node: files.write_atomic(f"{node.state_dir}/unchanged.json", '{"services": 7}'), NONE),
])
def test_whatever_a_look_rests_on_ends_the_rest(node: Node, what: str, change: Callable[[Node], object],
                                                left: frozenset[str]) -> None:
    change(node)
    assert node.at_rest() == left, what


def test_a_certificate_that_comes_is_looked_at_for_all_services(node: Node, tmp_path: Path) -> None:
    with_nginx(node, certificate=f"{tmp_path}/{{host}}.pem", key=f"{tmp_path}/{{host}}.key")
    node.put("books", route={"host": "books.example", "path": "/", "tls": True})
    wait_for(lambda: node.sweep() and node.at_rest() == OTHER, "only the one without a certificate is looked at", 60)
    files.write_atomic(f"{tmp_path}/books.example.pem", "")
    assert node.at_rest() == NONE


def test_files_that_somebody_else_edits_are_mended_and_so_is_what_no_event_told(node: Node) -> None:
    before = text_of(f"{node.conf_dir}/locations/books.conf")
    node.edit("locations/books.conf")
    node.sweep()
    assert text_of(f"{node.conf_dir}/locations/books.conf") == before
    node.register("books", 9009)
    node.sweep()
    assert [each.port for each in routed.published(node.settings, "books").peers] == [9009]
    wait_for(lambda: node.sweep() and node.at_rest() == BOTH, "both are at rest again", 60)


def test_a_service_with_a_state_is_looked_at(node: Node) -> None:
    node.consul.put(f"{service_state.KEY_PREFIX}books", "{}")
    context = Context(node.settings, Client.connect(), "node-1")
    keys = {key: each.value for key, each in keys_watch.read_keys(context.client, node.settings.prefix).items()}
    readings, _ = observe.everything(context, context.client.everything(()), keys, unchanged=BOTH)
    assert [*readings] == ["books"]


def refuse(*_: object) -> None:
    raise errors.Unavailable("nginx is not running")


@pytest.mark.parametrize("trouble", ["no instance", "refused input", "held back"])
def test_there_is_no_rest_while_there_is_something_to_tell(node: Node, trouble: str,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    if trouble == "no instance":
        node.deregister("books")
    elif trouble == "refused input":
        node.consul.put("services/books/replicas", "many")
    else:
        monkeypatch.setattr(nginx_processes, "hup", refuse)
        node.register("books", 9009)
    for _ in range(3):
        summary = node.sweep()
        assert any(text.startswith("books:") for text in (*summary.pending, *summary.problems)), summary
    assert node.at_rest() == OTHER


def test_metrics_keep_what_a_sweep_does_not_look_at(node: Node, tmp_path: Path) -> None:
    node.settings = node.settings._replace(metrics=Metrics(textfile=str(tmp_path / "lictor.prom")))
    wait_for(lambda: node.sweep() and node.at_rest() == BOTH, "both are at rest")
    node.sweep()
    found = seen.read(node.settings)
    assert found and {name: each.passing for name, each in found.services.items()} == {"books": 1, "films": 1}
