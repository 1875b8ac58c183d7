"""The state folder's files of routes: what other versions have stored is read as what it means, damage as nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from lictor.routing import route_store

COMMON = {"name": "books", "service": "books-blue", "empty_ok": False, "removed": False}
LATER = {"traffic": "healthy", "node": "", "needs_consent": False, "measure": False, "ignore": [],
         "canary": None}
CANARY = {"service": "books-green", "share": 0.1}
ROUTE = {"host": "a.example.com", "path": "/books", "match": "prefix", "aliases": [], "options": {}}
OTHER = {**ROUTE, "host": "", "match": "exact", "aliases": [], "options": {"strip": True}}


def read(folder: Path, stored: object) -> dict[str, Any] | None:
    (folder / "routes").mkdir(exist_ok=True)
    (folder / "routes" / "books.json").write_text(json.dumps(stored))
    return route_store.route(str(folder), "books")


@pytest.mark.parametrize(("stored", "routes"), [
    ({**COMMON, "host": "a.example.com", "path": "/books"}, [ROUTE]),  # as the first version wrote it
    ({**COMMON, **LATER, **OTHER}, [OTHER]), ({**COMMON, **LATER, "routes": [ROUTE, OTHER]}, [ROUTE, OTHER]),
    ({**COMMON, "routes": [{"host": "a.example.com", "path": "/books"}, OTHER]}, [ROUTE, OTHER]),
    ({**COMMON, "routes": [ROUTE], "canary": None}, [ROUTE]),
])
def test_routes_of_each_version_are_read(tmp_path: Path, stored: dict[str, Any], routes: list[dict[str, Any]]) -> None:
    assert read(tmp_path, stored) == {**COMMON, **LATER, "routes": routes}
    assert read(tmp_path, {**stored, "acts": False}) and route_store.is_only_routed(str(tmp_path), "books")


@pytest.mark.parametrize("stored", [
    None, [], COMMON, {**COMMON, **ROUTE, "path": 1}, {**COMMON, **ROUTE, "aliases": "a"}, {**COMMON, "routes": None},
    {**COMMON, "routes": []}, {**COMMON, "routes": [ROUTE, None]}, {**COMMON, "routes": [ROUTE, {"path": "/"}]},
    {**COMMON, "routes": [{**ROUTE, "options": []}]}, {**COMMON, "routes": ROUTE}, {**COMMON, "routes": "ab"},
    *({**COMMON, "routes": [ROUTE], "canary": each} for each in list[object]([
        {}, [], "books-green", 0.1, {**CANARY, "share": 0.0}, {**CANARY, "share": 0.51}, {**CANARY, "share": -0.1},
        {**CANARY, "share": 1}, {**CANARY, "share": "0.1"}, {**CANARY, "share": float("nan")}, {"share": 0.1},
        {**CANARY, "service": None}])),
])
def test_what_is_damaged_is_no_route(tmp_path: Path, stored: object) -> None:
    assert read(tmp_path, stored) is None


@pytest.mark.parametrize(("routes", "is_named"), [
    ([ROUTE], False), ([OTHER], True), ([ROUTE, OTHER], True), ([ROUTE, {**ROUTE, "path": "/"}], False)])
def test_a_service_with_a_route_in_the_users_own_servers_is_named(tmp_path: Path, routes: list[dict[str, Any]],
                                                                  is_named: bool) -> None:
    read(tmp_path, {**COMMON, "routes": routes})
    assert route_store.names_without_host(str(tmp_path)) == ["books"] * is_named
    read(tmp_path, {**COMMON, "routes": routes, "removed": True})
    assert route_store.names_without_host(str(tmp_path)) == []


def test_a_canary_is_read_and_makes_other_files_where_nginx_is_told_of_it_by_a_file(tmp_path: Path) -> None:
    routes = [read(tmp_path, {**COMMON, "routes": [ROUTE], "measure": measure, "canary": canary})
              for measure in (False, True) for canary in (None, CANARY)]
    assert [each and each["canary"] for each in routes] == [None, CANARY, None, CANARY]
    by_side = [[each and place.by_side for each in routes if each and (place := route_store.place(each, mode))]
               for mode in ("reload", "live")]
    assert by_side == [[False, False, False, True], [False] * 4]


def test_files_are_told_apart_by_what_any_of_the_routes_asks_for(tmp_path: Path) -> None:
    one = {**COMMON, **LATER, "routes": [ROUTE, OTHER]}
    place = route_store.place(one, "live")
    assert place and route_store.routes_at(place) == [{**ROUTE, "aliases": ()}, {**OTHER, "aliases": ()}]
    changes: list[dict[str, Any]] = [{"path": "/"}, {"host": "b"}, {"aliases": ["b"]}, {"options": {"max_body": 5}}]
    for change in changes:
        assert route_store.place({**one, "routes": [ROUTE, {**OTHER, **change}]}, "live") != place
    assert route_store.place({**one, "routes": [OTHER, ROUTE]}, "live") != place
