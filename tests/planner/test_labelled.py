"""Tables: which services are routed by the labels of their containers, given what the catalogue holds."""

import json
from typing import Any

import pytest

from lictor import model
from lictor.planner.desired import desired
from lictor.planner.routes import labelled
from lictor.planner.service_state import State
from lictor.spec.route import Route


def entry(service_id: str, route: str | None = None, created: int = 5, node: str = "node-1",
          protocol: str = "") -> dict[str, Any]:
    mark = {} if route is None else {model.META_ROUTE: route}
    mark |= {model.META_PROTOCOL: protocol} if protocol else {}
    return {"Node": {"Node": node}, "Service": {"ID": service_id, "CreateIndex": created,
                                                "Meta": {model.META_ENGINE: "E", **mark}}}


def routes(entries: dict[str, list[dict[str, Any]]], *taken: str) -> dict[str, str]:
    found, told = labelled.find(entries, taken)
    assert told == []
    return {name: f"{each.route.host}{each.route.path}" for name, each in found.items()}


@pytest.mark.parametrize(("entries", "taken", "expected"), [
    ({"shop": [entry("a", "/shop")]}, (), {"shop": "/shop"}),
    ({"shop": [entry("a", "shop.example.com/")]}, (), {"shop": "shop.example.com/"}),
    ({"shop": [entry("a"), entry("b", "/shop")]}, (), {"shop": "/shop"}),  # one is enough
    ({"shop": [entry("a")]}, (), {}), ({"shop": []}, (), {}),
    ({"shop": [entry("a", "/shop")]}, ("shop",), {}),  # a spec of that name counts
    ({"shop-blue": [entry("a", "/shop")]}, ("shop", "shop-blue", "shop-green"), {}),
    ({"shop": [entry("new", "/new", 9), entry("old", "/old", 4)]}, (), {"shop": "/old"}),
    ({"shop": [entry("b", "/b"), entry("a", "/a")]}, (), {"shop": "/a"}),  # of the same age, by node and id
    ({"shop": [entry("b", "/b", node="node-2"), entry("c", "/c")]}, (), {"shop": "/c"}),
    ({"Shop": [entry("a", "/shop")], "a b": [entry("a", "/b")], "": [entry("a", "/c")]}, (), {}),
    ({"shop": [entry("a", "/x; return 200")], "other": [entry("b", "/b")]}, (), {"other": "/b"}),
    ({"shop": [entry("a", "/x\n", 1), entry("b", "/b", 2)]}, (), {"shop": "/b"}),  # a bad one holds no place
    ({"shop": [{**entry("a"), "Service": {"ID": "a", "Meta": None}}]}, (), {}),
])
def test_a_service_is_routed_as_its_oldest_registration_asks(entries: dict[str, list[dict[str, Any]]],
                                                             taken: tuple[str, ...], expected: dict[str, str]) -> None:
    assert routes(entries, *taken) == expected


@pytest.mark.parametrize("meta", [{}, {"lictor-container": "c"}])
def test_only_what_a_registrar_registered_has_a_wish(meta: dict[str, str]) -> None:
    by_hand = {"Node": {"Node": "n"}, "Service": {"ID": "a", "CreateIndex": 1, "Meta": {model.META_ROUTE: "/", **meta}}}
    assert routes({"shop": [by_hand]}) == {}


def test_who_asks_for_another_route_is_named() -> None:
    entries = {"shop": [entry("old", "/old", 1), entry("new", "/new", 2), entry("newer", "/newer", 3),
                        entry("bad", "/{", 4)]}
    bad, differing = labelled.find(entries, ())[0]["shop"].problems
    assert bad.startswith("lictor.route of bad on node-1 is '/{'. It does not count: path is '/{'; it must begin")
    assert differing == ("lictor.route of new on node-1 is '/new', and 1 more differ. old on node-1 is there for "
                         "longer, and keeps /old")


def test_a_spec_counts_and_who_asks_for_something_else_is_named() -> None:
    entries = {"shop": [entry("a", "/a"), entry("b", "/b")], "hosted": [entry("c", "a.b/c")]}

    def told(name: str, **spec: Any) -> list[str]:
        keys = {"spec": json.dumps({"name": name, "engine": "none", **spec}).encode()}
        service = desired(name, keys, State())
        assert labelled.describe_overruled(entries, service._replace(removed=True)) == ()
        return list(labelled.describe_overruled(entries, service))

    assert told("shop", route={"path": "/a"}) == [
        "lictor.route of b on node-1 is '/b'. The spec counts, and its route is /a"]
    assert told("shop") == [
        "lictor.route of a on node-1 is '/a', and 1 more differ. The spec counts, and it has no route"]
    assert told("shop", route=["/c", {"path": "/b", "host": ""}]) == [
        "lictor.route of a on node-1 is '/a'. The spec counts, and its routes are /c, /b"]
    assert told("other") == told("hosted", route={"path": "/c", "host": "a.b"}) == []
    assert labelled.describe_overruled(entries, desired("shop", {}, State())) == ()


def test_it_is_as_if_a_spec_with_the_engine_none_asked_for_it() -> None:
    service = labelled.find({"shop": [entry("a", "a.b/c")]}, ())[0]["shop"].desired
    assert service.spec and service.problems == ()
    assert (service.name, service.spec.engine, service.spec.route) == ("shop", "none", Route("/c", "a.b"))
    assert service.catalog_names == ["shop"] and not service.removed and not service.why_held


def test_what_is_registered_and_routed_nowhere_is_listed() -> None:
    entries = {"shop": [entry("a", "/shop")], "db": [entry("b")], "dns": [entry("c", protocol="udp")],
               "books": [entry("d")], "consul": [{"Node": {"Node": "n"}, "Service": {"ID": "consul", "Meta": {}}}]}
    assert labelled.unrouted(entries, {"books", "shop"}) == ["db"]


def test_a_flood_of_names_takes_no_older_ones_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "MOST", 2)
    entries = {"b": [entry("b", "/b", 1)], "a": [entry("a", "/a", 3)], "c": [entry("c", "/c", 2)]}
    found, told = labelled.find(entries, ())
    assert found.keys() == {"b", "c"}
    assert told == ["3 services have labels that ask for a route, and the 2 oldest get one. a, for one, gets none"]
