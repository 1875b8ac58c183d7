"""Several routes of one service: their files, and what nginx answers by them, in both modes."""

import json
import os
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from lictor.adapters import files
from lictor.routing import condition, publish, route_store
from lictor.spec.route import Route
from lictor.spec.settings import Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from support.backend import Backend
from support.modes import in_both_modes
from support.paths import REPOSITORY, text_of
from support.routed import decide, nginx_of, published, put_routes, set_up, with_nginx

NAME = "books"
PLAIN, HOSTED = Route("/books"), Route("/", "a.example.com", aliases=["www.a.example.com"])
STRIPPED = Route("/shop", "b.example.com", strip=True)
SERVER = ("server {{ listen 127.0.0.1:{port}; server_name {{{{ ([host] + aliases) | join(' ') }}}}; "
          "include {{{{ folder }}}}/*.conf; }}")


class Echo(Backend):
    """Answers with its name, and with the prefix that nginx has taken off."""

    def make_body(self, headers: Message) -> bytes:
        return f"{self.name} {headers.get('X-Forwarded-Prefix', '-')}".encode()


@pytest.fixture
def settings(tmp_path: Path, nginx: Nginx, mode: str) -> Settings:
    made = with_nginx(set_up(str(tmp_path), nginx), mode=mode)
    files.write_atomic(f"{made.templates_dir}/server.conf.j2", SERVER.format(port=nginx.port))
    return made


@pytest.fixture
def port() -> Iterator[int]:
    with Echo("a") as backend:
        yield backend.port


def serve(settings: Settings, *routes: Route, name: str = NAME) -> list[str]:
    """Ask for these routes, none of them to take them away, and publish as lictor-scale does."""
    if routes:
        put_routes(settings, name, *(each.table for each in routes))
    else:
        table = json.loads(text_of(f"{settings.state_dir}/routes/{name}.json"))
        route_store.write_route(settings.state_dir, name, {**table, "removed": True})
    return publish.publish(settings, [name])


def answers(nginx: Nginx, *asked: str) -> list[str]:
    """What is answered to each HOST/PATH: the body, or a status that is not 200."""
    found = [nginx.get(f"/{path}", host=host) for host, _, path in (each.partition("/") for each in asked)]
    return [body if status == 200 else str(status) for status, body in found]


def written(settings: Settings) -> dict[str, str]:
    """The files of locations and hosts, each with its text."""
    conf_dir = nginx_of(settings).conf_dir
    paths = [os.path.join(folder, each) for below in ("locations", "servers")
             for folder, _, names in os.walk(f"{conf_dir}/{below}") for each in names]
    return {os.path.relpath(path, conf_dir): text_of(path) for path in paths}


def refusal_of(settings: Settings) -> str:
    refusal = published(settings, NAME).refusal
    return refusal.reason if refusal else ""


@in_both_modes
def test_each_route_is_served_by_its_own_options_changed_and_taken_away(settings: Settings, nginx: Nginx,
                                                                        port: int) -> None:
    everywhere = ("/books/1", "a.example.com/x", "www.a.example.com/x", "b.example.com/shop/1",
                  "b.example.com/store", "b.example.com/books", "a.example.com/other")

    def shows(*expected: str) -> None:
        wait_for(lambda: answers(nginx, *everywhere) == [*expected], f"nginx answers {expected}")

    with Echo("other") as other:
        decide(settings, NAME, port)
        decide(settings, "other", other.port)
        assert serve(settings, PLAIN, HOSTED, STRIPPED) == [NAME]
        assert serve(settings, Route("/other", "a.example.com"), name="other") == ["other"]
        shows("a -", "a -", "a -", "a /shop", "404", "404", "other -")
        before = written(settings)
        assert before.keys() == {
            "locations/books.conf", "servers/a.example.com.conf", "servers/a.example.com.d/books.conf",
            "servers/a.example.com.d/other.conf", "servers/b.example.com.conf", "servers/b.example.com.d/books.conf"}

        assert serve(settings, PLAIN, HOSTED, Route("/store", "b.example.com"), Route("/books", "b.example.com")) == [
            NAME]
        shows("a -", "a -", "a -", "404", "a -", "a -", "other -")
        after = written(settings)
        assert {path for path in after if after[path] != before[path]} == {"servers/b.example.com.d/books.conf"}
        assert after["servers/b.example.com.d/books.conf"].count("# Written by lictor") == 1

        decide(settings, NAME)
        assert publish.publish(settings, [NAME]) == [NAME]
        shows("503", "503", "503", "404", "503", "503", "other -")
        decide(settings, NAME, port)
        assert serve(settings, Route("/books", "b.example.com")) == [NAME]
        shows("404", "404", "404", "404", "404", "a -", "other -")
        assert written(settings).keys() == {
            "servers/a.example.com.conf", "servers/a.example.com.d/other.conf", "servers/b.example.com.conf",
            "servers/b.example.com.d/books.conf"}
        assert serve(settings) == [NAME]
        assert written(settings).keys() == {"servers/a.example.com.conf", "servers/a.example.com.d/other.conf"}


def own_server(settings: Settings, nginx: Nginx, directive: str) -> None:
    """The user's own configuration gets one more thing."""
    text, snippet = text_of(nginx.main_conf), f"include {nginx.conf_dir}/lictor.conf"
    own = f"server {{ listen 127.0.0.1:{nginx.port}; server_name taken.example.com; return 204; }}"
    changed = text.replace(snippet, f"{own} {snippet}") if not directive else text.replace(
        "location = ", f"{directive} location = ", 1)
    assert changed != text
    files.write_atomic(nginx.main_conf, changed)


@in_both_modes
@pytest.mark.parametrize(("refused", "directive", "why"), [
    (Route("/", "taken.example.com"), "", "route[3]: host taken.example.com is answered by the server in"),
    (Route("/own/x"), "location ~ ^/own/ { return 204; }", "route[3]: path /own/x is answered by location ~ ^/own/ in"),
    (Route("/x", settings={"zone": "a"}), "location /y { return 204; }", "route[3]: route.settings are for a template"),
    (Route("/nginx-is-up/x"), "location /nginx-is-up/x/ { return 204; }", "nginx refuses"),
])
def test_if_one_route_is_refused_all_stay_as_they_were(settings: Settings, nginx: Nginx, port: int, refused: Route,
                                                       directive: str, why: str) -> None:
    """The earlier routes follow the catalogue meanwhile, and their host keeps its other names."""
    decide(settings, NAME, port)
    assert serve(settings, PLAIN, HOSTED, STRIPPED) == [NAME]
    before, asked = written(settings), ("/books", "www.a.example.com/", "b.example.com/shop")
    own_server(settings, nginx, directive)
    changed = Route("/", "c.example.com"), HOSTED, STRIPPED, refused
    assert serve(settings, *changed) == []
    assert why in refusal_of(settings) and written(settings) == before
    told = condition.read(settings).refused[NAME]
    assert told.startswith("its list of routes is refused: ") and why in told
    with Echo("b") as backend:
        decide(settings, NAME, backend.port)
        assert publish.publish(settings) == [NAME]
        wait_for(lambda: answers(nginx, *asked) == ["b -", "b -", "b /shop"], "the new peer is asked by each route")
        decide(settings, "other", backend.port)
        assert serve(settings, Route("/other", "a.example.com"), name="other") == ["other"]
        wait_for(lambda: answers(nginx, "www.a.example.com/x", "www.a.example.com/other") == ["b -", "b -"],
                 "a neighbour takes no name away")
        assert serve(settings, *changed[:3]) == [NAME] and not refusal_of(settings)
        wait_for(lambda: answers(nginx, "c.example.com/", *asked) == ["b -", "404", "b -", "b /shop"],
                 "what can be served is")


@in_both_modes
def test_the_settings_of_an_upstream_are_those_that_all_routes_share(settings: Settings, nginx: Nginx,
                                                                     port: int) -> None:
    shipped = (REPOSITORY / "templates" / "upstream.conf.j2").read_text()
    own = shipped.replace("keepalive 64;", "keepalive {{ settings.idle | default(64) }};")
    assert own != shipped
    files.write_atomic(f"{settings.templates_dir}/upstream.conf.j2", own)
    decide(settings, NAME, port)
    assert serve(settings, Route("/a", settings={"idle": "7", "zone": "x"}), Route("/b", settings={"zone": "y"}),
                 Route("/c")) == [NAME]
    upstream = f"{nginx_of(settings).conf_dir}/upstreams/lictor_books.conf"
    assert "keepalive 7;" in text_of(upstream)
    serve(settings, Route("/a", settings={"idle": "7"}), Route("/b", settings={"idle": "8"}))
    assert refusal_of(settings).startswith("templates/upstream.conf.j2: settings.idle is 7 and 8 in routes of one "
                                           "service; they share an upstream, which takes one value")
    assert "keepalive 7;" in text_of(upstream) and answers(nginx, "/c") == ["a -"]


def store_as_before(settings: Settings) -> None:
    """Leave what a version with one route a service had written for this very route."""
    paths = {kind: f"{settings.state_dir}/{kind}/{NAME}.json" for kind in ("routes", "peers")}
    route, now = (json.loads(text_of(path)) for path in paths.values())
    [only] = route.pop("routes")
    files.write_json(paths["routes"], {**route, **only})
    now["places"] = [{**{key: value for key, value in place.items() if key != "locations"}, **place["locations"][0]}
                     for place in now["places"]]
    files.write_json(paths["peers"], now)


@in_both_modes
def test_what_an_earlier_version_has_stored_is_served_on_without_a_reload(settings: Settings, nginx: Nginx,
                                                                          port: int) -> None:
    decide(settings, NAME, port)
    route = Route("/shop", "a.example.com", strip=True, aliases=["b.example.com"], timeout=None, allow=["127.0.0.0/8"])
    assert serve(settings, route) == [NAME]
    before, now = written(settings), published(settings, NAME)
    store_as_before(settings)
    assert "locations" not in text_of(f"{settings.state_dir}/peers/{NAME}.json")
    assert published(settings, NAME) == now
    assert route_store.is_settled(route_store.route(settings.state_dir, NAME) or {}, nginx_of(settings).mode, now)
    assert publish.publish(settings, [NAME]) == []  # as the first sweep of the new one
    assert (written(settings), published(settings, NAME).generation) == (before, now.generation)
    assert serve(settings, route, PLAIN) == [NAME]
    wait_for(lambda: answers(nginx, "a.example.com/shop", "/books") == ["a /shop", "a -"], "another route comes")
