import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import files
from lictor.events import agent_config, keys_watch
from lictor.spec.settings import Settings, Watch

from lab.consul import Consul
from lab.daemon import wait_for
from support.paths import REPOSITORY

RECORDER = """#!/bin/sh
cat > "$0-$$.tmp"
mv "$0-$$.tmp" "$0-input$1"
"""


def installed(name: str) -> list[str]:
    return ["/opt/lictor/bin/python3", f"/opt/lictor/bin/{name}"]


@pytest.mark.parametrize(("file_name", "settings"), [
    (agent_config.STATIC_FILE, agent_config.static(Settings(), [], installed)),
    (agent_config.ROUTES_FILE, agent_config.routes(Settings(), {"books-service-blue": "books-service"}, [], installed)),
])
def test_the_example_files_are_what_is_generated(file_name: str, settings: dict[str, Any]) -> None:
    assert (REPOSITORY / "consul.d" / file_name).read_text() == agent_config.text(settings)


def test_every_handler_gets_the_options_and_absolute_paths() -> None:
    options = ["--config", "/tmp/other.toml", "--token-file", "/etc/lictor/token"]
    static = agent_config.static(Settings(), options, installed)
    routes = agent_config.routes(Settings(), {"books-green": "books"}, options, installed)
    for handler in (*static["watches"], *routes["watches"], *agent_config.checks(static)):
        assert handler["args"][-4:] == options
        assert handler["args"][1].startswith("/opt/lictor/bin/lictor-")


def test_with_the_http_door_the_watches_call_and_the_checks_stay_scripts() -> None:
    here = Settings(watch=Watch(door="http", address="127.0.0.1:7777"))
    static = agent_config.static(here, [], installed, "s3cret")
    called = [
        *static["watches"],
        *agent_config.routes(here, {"books-green": "books"}, [], installed, "s3cret")["watches"],
    ]
    assert [each["http_handler_config"]["path"] for each in called] == [
        f"http://127.0.0.1:7777/{path}" for path in ("scale", "heal", "route/books")]
    for each in called:
        assert each["handler_type"] == "http" and "args" not in each and agent_config.is_handled(here, each, "s3cret")
        assert each["http_handler_config"] | {"path": ""} == {
            "path": "", "method": "POST", "timeout": "60s", "header": {"X-Lictor-Secret": ["s3cret"]}}
        assert not agent_config.is_handled(here, each, "another") and not agent_config.is_handled(Settings(), each, "")
        assert not agent_config.is_handled(Settings(watch=Watch(door="http")), each, "s3cret")  # at another address
    assert all("args" in check for check in agent_config.checks(static))
    assert not agent_config.is_handled(here, agent_config.static(Settings(), [], installed)["watches"][0], "s3cret")


def test_both_colours_of_a_service_with_a_canary_are_watched_for_it(tmp_path: Path) -> None:
    settings = Settings(state_dir=str(tmp_path), watch=Watch(door="http"))
    (tmp_path / "routes").mkdir()
    for name, canary in (("books", {"service": "books-green", "share": 0.1}), ("shop", None)):
        files.write_json(str(tmp_path / "routes" / f"{name}.json"), {
            "name": name, "service": f"{name}-blue", "routes": [{"path": f"/{name}", "host": ""}], "empty_ok": False,
            "removed": False, "canary": canary})
    found = agent_config.routes(settings, keys_watch.read_routed_services(settings), [], installed, "s3cret")["watches"]
    assert [(each["service"], each["http_handler_config"]["path"].rpartition("/")[2]) for each in found] == [
        ("books-blue", "books"), ("books-green", "books"), ("shop-blue", "shop")]


def test_the_connection_limit_grows_with_the_watches() -> None:
    limits = [agent_config.routes(Settings(), {f"s{i}": f"s{i}" for i in range(count)}, [], installed)["limits"]
              for count in (0, 200, 300)]
    assert limits == [{"http_max_conns_per_client": limit} for limit in (1000, 1000, 1208)]


def test_order_of_the_services_does_not_change_the_bytes() -> None:
    names = {f"s{i}": f"s{i}" for i in range(20)}
    assert (agent_config.text(agent_config.routes(Settings(), names, [], installed))
            == agent_config.text(agent_config.routes(Settings(), dict(reversed(names.items())), [], installed)))


@pytest.mark.daemons
def test_an_agent_runs_the_handlers_and_outgrows_its_connection_limit_by_a_reload(tmp_path: Path) -> None:
    """The agent is started with Consul's own 200 connections, then given 250 watches."""
    consul = Consul(str(tmp_path / "consul"), config={"enable_local_script_checks": False, "limits": {}})
    static = agent_config.static(Settings(), [], recorder(tmp_path))
    for check in agent_config.checks(static):
        check["interval"] = "1s"
    write(consul, agent_config.STATIC_FILE, static)
    write(consul, agent_config.ROUTES_FILE, agent_config.routes(Settings(), {}, [], recorder(tmp_path)))
    try:
        consul.start()
        consul.put("services/books/replicas", "2")
        wait_for(lambda: "services/books/replicas" in (tmp_path / "lictor-scale-input").read_text(), "lictor-scale ran")
        wait_for(lambda: (tmp_path / "lictor-heal-input").read_text() == "[]\n", "lictor-heal ran")
        wait_for(lambda: consul.passing("lictor"), "the timer answers")

        many = {f"books-{number}-blue": f"books-{number}" for number in range(250)}
        write(
            consul,
            agent_config.ROUTES_FILE,
            agent_config.routes(Settings(state_dir="/s"), many, [], recorder(tmp_path)),
        )
        consul.reload()
        consul.register({"Name": "books-249-blue", "ID": "one", "Port": 1})
        wait_for(lambda: '"ID":"one"' in (tmp_path / "lictor-route-inputbooks-249").read_text(), "the last watch works")
        wait_for(lambda: len(list(tmp_path.glob("lictor-route-input*"))) == 250, "every watch works", 90)
    finally:
        consul.stop()


def recorder(folder: Path) -> Callable[[str], list[str]]:
    """Handlers that leave their input in `folder`, in a file named after their first argument."""
    def argv_of(name: str) -> list[str]:
        path = folder / name
        path.write_text(RECORDER)
        os.chmod(path, stat.S_IRWXU)
        return [str(path)]
    return argv_of


def write(consul: Consul, file_name: str, settings: dict[str, object]) -> None:
    with open(os.path.join(consul.config_dir, file_name), "w", encoding="utf-8") as file:
        file.write(agent_config.text(settings))
