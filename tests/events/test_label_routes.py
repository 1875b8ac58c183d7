"""From containers' labels, as the registrar has put them into the catalogue, to routes: sweeps on the real Consul and
nginx. A minute in which nobody asks for a route is none here."""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor import errors, model
from lictor.adapters import files
from lictor.adapters.consul.client import Client
from lictor.events import agent_config, keys_watch, label_routes, script, survey, timer
from lictor.reconcile import observe
from lictor.reconcile.context import Context
from lictor.reconcile.status import status_report
from lictor.routing import peers, route_store
from lictor.spec.allow import Allow
from lictor.spec.locations import show

from lab import forked
from lab.consul import Consul
from lab.daemon import wait_for
from lab.nginx import Nginx
from support import routed
from support.backend import Backend


class Node:
    """A node whose nginx serves; `ask` sends a request through it."""

    def __init__(self, consul: Consul, nginx: Nginx, folder: Path) -> None:
        self.consul, self.nginx = consul, nginx
        settings = routed.set_up(str(folder), nginx)
        settings = settings._replace(watch=settings.watch._replace(config_dir=consul.config_dir))
        self.call = script.Call(settings, None, argparse.Namespace())
        self.watches = Path(consul.config_dir) / agent_config.ROUTES_FILE

    def register(self, service_id: str, port: int, route: str | None, name: str = "shop") -> None:
        meta = {model.META_ENGINE: "E", **({} if route is None else {model.META_ROUTE: route})}
        self.consul.register({"ID": service_id, "Name": name, "Address": "127.0.0.1", "Port": port, "Meta": meta})
        wait_for(lambda: self.catalogued(service_id).get("Meta") == meta, "the catalogue has it", 60)

    def deregister(self, service_id: str) -> None:
        self.consul.request("PUT", f"/v1/agent/service/deregister/{service_id}")
        wait_for(lambda: not self.catalogued(service_id), "the catalogue has it no more", 60)

    def catalogued(self, service_id: str) -> dict[str, Any]:
        services: dict[str, Any] = self.consul.request("GET", "/v1/catalog/node/node-1")["Services"]
        return dict(services.get(service_id, {}))

    def put(self, name: str, **spec: Any) -> None:
        self.consul.put(f"services/{name}/spec", json.dumps({"name": name, "engine": "none", **spec}))

    def sweep(self) -> timer.Summary:
        found = survey.look(self.call)
        assert found.trouble == []
        return found

    def routes(self) -> dict[str, str]:
        return {name: show(each["routes"][0]) for name, each in keys_watch.read_routes(self.call.settings).items()
                if not each["removed"]}

    def row(self, name: str = "shop") -> status_report.Status | None:
        return next((row for row in self.overview().rows if row.name == name), None)

    def overview(self) -> status_report.Overview:
        return status_report.read_overview(self.context)

    @property
    def context(self) -> Context:
        return Context(self.call.settings, Client.connect(), "node-1")

    def ask(self, path: str) -> int:
        return self.nginx.get(path)[0]


@pytest.fixture
def node(consul: Consul, nginx: Nginx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    routed.be_patient(monkeypatch)
    monkeypatch.setenv("CONSUL_HTTP_ADDR", consul.address)
    monkeypatch.setattr(keys_watch, "_LEAST_RELOAD_INTERVAL_S", 0.0)
    monkeypatch.setattr(Client, "reload_agent", lambda _: None)  # a dev agent would forget its registrations
    return Node(consul, nginx, tmp_path)


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (label_routes, peers):
        monkeypatch.setattr(module, "EMPTY_FOR_S", 0.0)


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend("shop") as found:
        yield found


def test_a_route_comes_and_goes_with_the_labels(node: Node, backend: Backend, no_wait: None) -> None:
    node.register("a", backend.port, "/shop")
    summary = node.sweep()
    assert (summary.problems, summary.pending, node.ask("/shop"), node.ask("/shop/1")) == ([], [], 200, 200)
    assert [each["service"] for each in json.loads(node.watches.read_text())["watches"]] == ["shop"]
    assert route_store.is_only_routed(node.call.settings.state_dir, "shop")
    row = node.row()
    assert row and (row.engine, row.routes, row.passing, row.desired, row.served_by, row.says, row.problems) == (
        "none", ["/shop"], 1, 1, ["node-1"], "only routed, as its labels ask", [])
    before = (Path(node.call.settings.state_dir) / "routes" / "shop.json").stat().st_mtime_ns
    node.sweep()
    assert (Path(node.call.settings.state_dir) / "routes" / "shop.json").stat().st_mtime_ns == before
    node.deregister("a")
    node.sweep()
    assert "gone_since" in keys_watch.read_routes(node.call.settings)["shop"]
    node.register("a", backend.port, "/shop")  # as an agent that was restarted does
    node.sweep()
    assert "gone_since" not in keys_watch.read_routes(node.call.settings)["shop"] and node.ask("/shop") == 200
    node.deregister("a")
    node.sweep()
    node.sweep()
    assert (node.routes(), node.ask("/shop"), node.row()) == ({}, 404, None)
    assert json.loads(node.watches.read_text())["watches"] == []
    node.sweep()  # nginx has confirmed that it is gone: nothing is left of it
    assert route_store.names(node.call.settings.state_dir) == []
    assert node.consul.request("GET", "/v1/kv/lictor/nodes/?keys") is None


def test_a_route_without_its_labels_stays_for_a_while(node: Node, backend: Backend) -> None:
    node.register("a", backend.port, "/shop")
    node.sweep()
    node.register("a", backend.port, None)  # it is registered still, and asks for nothing
    node.sweep()
    node.sweep()
    assert node.routes() == {"shop": "/shop"} and node.ask("/shop") == 200
    path = os.path.join(node.call.settings.state_dir, "routes", "shop.json")
    table = files.read_json(path)
    files.write_json(path, {**table, "gone_since": table["gone_since"] - peers.EMPTY_FOR_S})
    node.sweep()
    assert node.routes() == {} and node.ask("/shop") == 404
    node.register("a", backend.port, "/shop")
    node.sweep()
    assert node.ask("/shop") == 200


def test_a_spec_counts_and_its_removal_lets_the_labels_count_again(node: Node, backend: Backend) -> None:
    node.register("a", backend.port, "/shop")
    node.sweep()
    node.put("shop", route={"path": "/spec"})
    assert node.sweep().pending == ["shop: lictor.route of a on node-1 is '/shop'. The spec counts, and its route is "
                                    "/spec"]
    row = node.row()
    overruled = "lictor.route of a on node-1 is '/shop'. The spec counts, and its route is /spec"
    assert row and (row.routes, row.says, node.ask("/spec"), node.ask("/shop")) == (
        ["/spec"], f"refused: {overruled}. All else is as desired", 200, 404)
    assert row.problems == [overruled]
    node.put("shop")  # it has no route at all
    node.sweep()
    row = node.row()
    assert row and node.ask("/spec") == 404 and node.routes() == {}
    assert row.problems == ["lictor.route of a on node-1 is '/shop'. The spec counts, and it has no route"]
    node.consul.put("services/shop/removed", "")
    node.sweep()
    row = node.row()
    assert node.ask("/shop") == 200 and row and row.says == "only routed, as its labels ask" and row.problems == []
    node.consul.put("services/shop/hold", "x")  # a key that is no spec
    node.sweep()
    assert node.ask("/shop") == 200


def test_a_refused_spec_is_no_reason_for_the_labels_to_count(node: Node, backend: Backend) -> None:
    node.register("a", backend.port, "/shop")
    node.consul.put("services/shop/spec", "{junk")
    node.sweep()
    row = node.row()
    assert row and row.says == "refused" and row.problems and node.routes() == {}
    desired = observe.one(node.context, "shop", {}).observation.desired  # what plan and why decide by
    assert desired.spec is None and list(desired.problems) == row.problems


def test_a_place_is_its_owners_be_it_by_label_or_by_spec(node: Node, backend: Backend) -> None:
    node.consul.register({"ID": "lictor", "Name": "lictor"})
    node.put("books", route={"path": "/books"})
    node.register("books-1", backend.port, None, "books")
    node.sweep()
    node.register("a", backend.port, "/books")
    refused = ("the route of its labels is refused: route is /books, which is that of books; two routes cannot have "
               "the same")
    assert node.sweep().problems == [f"shop: {refused}"]
    row = node.row()
    assert row and row.says == f"node-1: {refused}; only routed, as its labels ask" and row.served_by == []
    assert node.routes() == {"books": "/books"}
    node.consul.put("services/books/removed", "")
    assert node.sweep().problems == [] and node.routes() == {"shop": "/books"}
    node.put("author", route={"path": "/books"})
    assert "services/author/spec: route is /books, which is that of shop" in node.sweep().problems[0]


@pytest.mark.parametrize("route", ["/x; return 200", "{", "/a\n/b", "/" + "a" * 300, "a b/c", "/../a", "*.a/b"])
def test_a_hostile_registration_reaches_no_configuration(node: Node, backend: Backend, route: str) -> None:
    node.register("a", backend.port, route)
    node.register("b", backend.port, "/other", "other")
    assert node.sweep().problems == [] and node.routes() == {"other": "/other"} and node.ask("/other") == 200
    assert node.row() is None and node.overview().unrouted == ["shop"]


def test_only_instances_that_ask_for_it_are_exposed_where_the_node_allows_no_name(node: Node, backend: Backend) -> None:
    node.call = node.call._replace(settings=node.call.settings._replace(allow=Allow(services=())))
    node.register("inner", 9, None)
    node.register("a", backend.port, "/shop")
    node.sweep()
    published = route_store.published(node.call.settings.state_dir, "shop")
    assert published and published.instances == (("node-1", "a"),) and node.ask("/shop") == 200


def test_an_overlong_or_unreadable_catalogue_takes_no_route_away(node: Node, backend: Backend, no_wait: None,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    node.register("a", backend.port, "/shop")
    node.sweep()

    def refuse(*_: Any, **__: Any) -> Any:
        raise errors.Overlong("too long")

    with monkeypatch.context() as patched:
        patched.setattr(Client, "_in_bulk", refuse)
        node_of_shop = Client.health

        def health(self: Client, service: str, **mode: Any) -> Any:
            return refuse() if service == "shop" else node_of_shop(self, service, **mode)

        patched.setattr(Client, "health", health)
        for _ in range(3):
            survey.look(node.call)
        assert node.routes() == {"shop": "/shop"}
        patched.setattr(Client, "health", node_of_shop)  # it can be read by its name
        for _ in range(3):
            survey.look(node.call)
    assert node.routes() == {"shop": "/shop"} and node.ask("/shop") == 200
    node.consul.stop()
    with pytest.raises(errors.Unavailable):
        survey.look(node.call)
    assert node.routes() == {"shop": "/shop"}


def test_every_verb_that_tells_of_services_tells_of_it(node: Node, backend: Backend) -> None:
    for service_id, port, route, name in (("a", backend.port, "/shop", "shop"), ("b", backend.port, "/other", "shop"),
                                          ("c", 9, None, "db"), ("d", 9, None, "queue")):
        node.register(service_id, port, route, name)
    differing = "lictor.route of b on node-1 is '/other'. a on node-1 is there for longer, and keeps /shop"
    assert node.sweep().pending == [f"shop: {differing}"]
    settings = node.call.settings
    toml = Path(settings.path)
    assert settings.nginx
    toml.write_text(f'state_dir = "{settings.state_dir}"\n[nginx]\nconf_dir = "{settings.nginx.conf_dir}"\n')
    environ = {**os.environ, **node.consul.environ, "LICTOR_CONFIG": str(toml),
               "DOCKER_HOST": "unix:///nowhere/docker.sock"}

    def run(*words: str) -> tuple[int, list[str]]:
        done = forked.lictor(words, environ=environ)
        return done.returncode, (done.stdout + done.stderr).splitlines()

    code, (_, row, *lines) = run("status")
    assert code == 0 and row.split()[:2] == ["shop", "2/2"]
    assert row.endswith(f"/shop  node-1    refused: {differing}. All else is as desired")
    assert lines == [f"refused: {differing}",
                     "not routed: 2 registered services have neither a spec nor the label lictor.route: db, queue"]
    code, page = run("status", "shop")
    assert code == 0 and [line.split()[0] for line in page if "127.0.0.1:" in line and "url" not in line] == ["a", "b"]
    assert any(line.startswith("url: http://127.0.0.1:") and line.endswith("/shop") for line in page)
    said = [f"amiss: refused: {differing}. All else is as desired", "none: its engine is none: lictor only routes it"]
    assert run("plan") == run("plan", "shop") == (0, [f"shop: {each}" for each in said])
    assert run("why", "shop") == (0, ["now: from node-1, 2 registered instances", *(f"now: {each}" for each in said)])
    assert "there is no service 'shop'" in run("scale", "shop", "3")[1][0]
    assert run("why", "db")[0] == run("status", "db")[0] == 1
