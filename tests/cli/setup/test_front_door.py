"""Requests through the front door of the real nginx: what lictor's locations answer, and what they are not asked."""

from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.cli.setup import front_door
from lictor.cli.setup.findings import Untested
from lictor.routing import peers, publish, route_store
from lictor.spec.settings import Settings

from lab.nginx import Nginx
from support.routed import decide, put_route, put_routes, set_up


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx) -> Settings:
    return set_up(str(tmp_path), nginx)


def route(settings: Settings, name: str, **fields: Any) -> None:
    """Route a service whose only instance is away."""
    put_route(settings, name, **{"path": f"/{name}", **fields})
    route_store.write_published(settings.state_dir, name, peers.PublishedRoute(
        (peers.Peer("127.0.0.1", 9),), (("node-1", name),)))


def examine(settings: Settings) -> str:
    assert settings.nginx
    return front_door.examine(settings, settings.nginx)


def change(nginx: Nginx, old: str, new: str) -> None:
    """Let the user's own configuration change, as nginx then serves it."""
    text = Path(nginx.main_conf).read_text()
    assert old in text
    nginx.stop()
    Path(nginx.main_conf).write_text(text.replace(old, new))
    nginx.start()


def test_each_route_is_asked_for_and_no_instance_is(settings: Settings, nginx: Nginx) -> None:
    with pytest.raises(Untested, match="no service is routed yet"):
        examine(settings)
    route_store.write_listeners(settings.state_dir, {("127.0.0.1", nginx.port)})
    route(settings, "books")
    route(settings, "shelves", host="shelves.example.com")
    route(settings, "carts", path="/")
    several = [{"host": "", "path": "/lists"}, {"host": "lists.example.com", "path": "/"}]
    put_routes(settings, "lists", *several)
    decide(settings, "lists", 9)
    assert publish.publish(settings) == ["books", "carts", "lists", "shelves"]
    assert nginx.get("/books")[0] == 502  # so it would be if an instance was asked
    assert examine(settings) == "5 of 5 routes are reached by their paths and hosts"
    put_routes(settings, "lists", *several, {"host": "shelves.example.com", "path": "/x"})  # not published yet
    with pytest.raises(errors.Refused, match=r"^lists: no location of lictor's answers for shelves.example.com/x "):
        examine(settings)


@pytest.mark.parametrize(("old", "new", "answer"), [
    ("include {conf_dir}/locations/*.conf;", "", "404"),  # it was forgotten
    ("include {conf_dir}/locations/*.conf;", "location / { return 301 https://example.com$request_uri; }", "301"),
])
def test_what_answers_in_the_place_of_lictors_locations_is_told(settings: Settings, nginx: Nginx, old: str, new: str,
                                                                answer: str) -> None:
    route_store.write_listeners(settings.state_dir, {("127.0.0.1", nginx.port)})
    route(settings, "books")
    assert publish.publish(settings) == ["books"]
    change(nginx, old.format(conf_dir=nginx.conf_dir), new)
    with pytest.raises(errors.Refused, match=rf"books: no location of lictor's answers for /books \(.*: {answer}\)"):
        examine(settings)


def test_routes_of_grpc_are_left_to_clients_of_grpc(settings: Settings, nginx: Nginx) -> None:
    route_store.write_listeners(settings.state_dir, {("127.0.0.1", nginx.port)})
    route(settings, "shelf", options={"scheme": "grpc"})
    assert publish.publish(settings) == ["shelf"]
    with pytest.raises(Untested, match="nginx takes calls of gRPC by HTTP/2 only"):
        examine(settings)
    route(settings, "books")
    assert publish.publish(settings) == ["books"]
    assert examine(settings) == "1 of 2 routes are reached by their paths and hosts"


def test_where_nobody_listens_is_told(settings: Settings, nginx: Nginx) -> None:
    route_store.write_listeners(settings.state_dir, {("127.0.0.1", nginx.port)})
    route(settings, "books")
    publish.publish(settings)
    nginx.stop()
    with pytest.raises(errors.Refused, match=r"\(127.0.0.1:\d+: no answer\)"):
        examine(settings)
