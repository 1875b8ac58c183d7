"""Which mode `mode = "auto"` comes to on a node, by what a real nginx loads and the templates that are there."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lictor import errors
from lictor.adapters import files
from lictor.routing import follow, nginx_mode, publish, route_store
from lictor.routing.nginx_mode import Mode
from lictor.spec.settings import AUTO, Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from support.backend import Backend
from support.routed import decide, nginx_of, published, put_route, set_up, with_nginx

NAME = "books"
HAS_LUA = Mode("live", "nginx has its Lua module")


@pytest.fixture
def auto(tmp_path: Path, nginx: Nginx) -> Settings:
    """A node that routes one service, and leaves the mode to lictor."""
    given = with_nginx(set_up(str(tmp_path), nginx), mode=AUTO)
    put_route(given, NAME, path="/books")
    return given


def edit(path: str, change: Callable[[str], str]) -> None:
    files.write_atomic(path, change(files.read(path) or ""))


def unload_lua(given: Settings) -> None:
    edit(nginx_of(given).main_conf, lambda text: text.replace("include /etc/nginx/modules-enabled", "#"))


def take_hook(given: Settings) -> None:
    edit(nginx_of(given).main_conf, lambda text: text.replace("http {", "http { log_by_lua_block { return }"))


def take_first_hook(given: Settings) -> None:
    edit(nginx_of(given).main_conf, lambda text: text.replace("http {", "http { init_by_lua_block { return }"))


def hash_peers(given: Settings) -> None:
    files.write_atomic(f"{given.templates_dir}/upstream.conf.j2",
                       "upstream lictor_{{ name }} { hash $uri; include {{ peers_file }}; }")


def is_served(given: Settings, nginx: Nginx, by: Backend, mode: str) -> bool:
    """Publish, and look at whose answer it is, and at the mode of the files that give it."""
    decide(given, NAME, by.port)
    assert publish.publish(given, [NAME]) == [NAME]
    wait_for(lambda: json.loads(nginx.get("/books")[1])["instance"] == by.name, "it answers")
    return route_store.mode_served(published(given, NAME)) == mode


@pytest.mark.parametrize(("change", "name", "why"), [
    (unload_lua, "reload", "nginx.conf loads no Lua module (ngx_http_lua_module)"),
    (take_hook, "reload", "has log_by_lua_block, which lictor needs"),
    (take_first_hook, "reload", "has init_by_lua_block, which lictor needs"),
    (hash_peers, "reload", "it must give one upstream lictor_lictor with `server 127.0.0.1:9; balancer"),
    (lambda given: None, "live", "nginx has its Lua module")])
def test_the_mode_follows_what_nginx_loads_and_templates_want(
        auto: Settings, nginx: Nginx, change: Callable[[Settings], None], name: str, why: str) -> None:
    """The files that nginx serves do, too; an event goes by what the last sweep has noted."""
    with Backend("a") as a, Backend("b") as b:
        assert nginx_mode.read(auto) == HAS_LUA and is_served(auto, nginx, a, "live")
        change(auto)
        assert nginx_mode.read(auto) == HAS_LUA
        found = nginx_mode.reconsider(auto)
        assert found.name == name and why in found.why and nginx_mode.read(auto) == found
        assert is_served(auto, nginx, b, name)


def test_a_sweep_chooses_live_again_once_nothing_stands_against_it(auto: Settings, nginx: Nginx) -> None:
    hash_peers(auto)
    with Backend("a") as a:
        assert is_served(auto, nginx, a, "reload")
        Path(auto.templates_dir, "upstream.conf.j2").unlink()
        follow.refresh(auto, [], None)  # type: ignore[arg-type]  # without a service Consul is not asked
        assert nginx_mode.read(auto) == HAS_LUA and is_served(auto, nginx, a, "live")


@pytest.mark.parametrize(("changes", "mode"), [
    ({"mode": "reload"}, Mode("reload", "the settings in /etc/lictor/lictor.toml say so")),
    ({"mode": "live"}, Mode("live", "the settings in /etc/lictor/lictor.toml say so")),
    ({"container": "web"}, Mode("reload", "what nginx loads in the container web cannot be seen from here"))])
def test_what_the_settings_say_is_not_asked_of_nginx(auto: Settings, changes: dict[str, str], mode: Mode) -> None:
    assert nginx_mode.read(with_nginx(auto, **changes)._replace(path="/etc/lictor/lictor.toml")) == mode


@pytest.mark.parametrize("text", [
    "", "[1]", '{"name": "both", "why": "", "circumstances": "", "at": 0}', '{"name": "live"}',
    '{"name": "live", "why": "", "circumstances": "", "at": "x"}'])
def test_a_damaged_note_is_made_anew(auto: Settings, text: str) -> None:
    note = f"{auto.state_dir}/nginx_mode.json"
    files.write_atomic(note, text)
    assert nginx_mode.read(auto) == HAS_LUA and json.loads(files.read(note) or "")["name"] == "live"


def test_no_answer_of_nginx_is_no_choice(auto: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next sweep asks again, and until then what was chosen before holds."""
    def is_silent(*_: object) -> None:
        raise errors.Unavailable("nginx ran out of time")
    unknown = Mode("reload", "whether live mode is possible is not known yet: nginx ran out of time")
    with monkeypatch.context() as patched:
        patched.setattr(publish, "check_live", is_silent)
        assert nginx_mode.read(auto) == unknown == nginx_mode.read(auto)
    assert nginx_mode.reconsider(auto) == HAS_LUA
    edit(nginx_of(auto).main_conf, lambda text: text.replace("http {", "http {{"))
    assert nginx_mode.reconsider(auto) == HAS_LUA  # it cannot be read
    unload_lua(auto)
    edit(nginx_of(auto).main_conf, lambda text: text.replace("http {{", "http {"))
    assert nginx_mode.reconsider(auto).name == "reload"


def test_a_choice_does_not_outlive_the_settings_nor_a_few_minutes(auto: Settings) -> None:
    elsewhere = with_nginx(auto, binary="/nowhere/nginx")
    assert nginx_mode.reconsider(elsewhere).name == "reload" and nginx_mode.reconsider(auto) == HAS_LUA
    note = f"{auto.state_dir}/nginx_mode.json"
    for age_s, expected in ((100, Mode("reload", "x")), (301, HAS_LUA), (-100, HAS_LUA)):  # the clock was set back
        table = {**json.loads(files.read(note) or ""), "name": "reload", "why": "x", "at": time.time() - age_s}
        files.write_json(note, table)
        assert nginx_mode.reconsider(auto) == expected


def test_where_it_cannot_be_noted_it_is_chosen_all_the_same(auto: Settings) -> None:
    Path(auto.state_dir, "nginx_mode.json").mkdir()
    assert nginx_mode.reconsider(auto) == HAS_LUA == nginx_mode.read(auto)
