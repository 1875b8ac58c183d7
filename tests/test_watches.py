import os
import stat

import pytest

from conftest import REPOSITORY
from lab.consul import Consul
from lab.daemon import wait_for
from lictor import watches
from lictor.config import Config, Watch

RECORDER = """#!/bin/sh
cat > "$0-$$.tmp"
mv "$0-$$.tmp" "$0-input$1"
"""


def installed(name: str) -> list[str]:
    return ["/opt/lictor/bin/python3", f"/opt/lictor/bin/{name}"]


@pytest.mark.parametrize(("file_name", "settings"), [
    (watches.STATIC_FILE, watches.static(Config(), [], installed)),
    (watches.ROUTES_FILE, watches.routes(Config(), {"books-service": "books-service-blue"}, [], installed)),
])
def test_the_example_files_are_what_is_generated(file_name, settings):
    assert (REPOSITORY / "consul.d" / file_name).read_text() == watches.text(settings)


def test_every_handler_gets_the_options_and_absolute_paths():
    options = ["--config", "/tmp/other.toml", "--token-file", "/etc/lictor/token"]
    static = watches.static(Config(), options, installed)
    routes = watches.routes(Config(), {"books": "books-green"}, options, installed)
    for handler in (*static["watches"], *routes["watches"], static["service"]["check"]):
        assert handler["args"][-4:] == options
        assert handler["args"][1].startswith("/opt/lictor/bin/lictor-")


def test_with_the_http_door_the_watches_call_and_the_timer_stays_a_script():
    here = Config(watch=Watch(door="http", address="127.0.0.1:7777"))
    static = watches.static(here, [], installed, "s3cret")
    called = [*static["watches"], *watches.routes(here, {"books": "books-green"}, [], installed, "s3cret")["watches"]]
    assert [each["http_handler_config"]["path"] for each in called] == [
        f"http://127.0.0.1:7777/{path}" for path in ("scale", "heal", "route/books")]
    for each in called:
        assert each["handler_type"] == "http" and "args" not in each and watches.is_handled(here, each, "s3cret")
        assert each["http_handler_config"] | {"path": ""} == {
            "path": "", "method": "POST", "timeout": "60s", "header": {"X-Lictor-Secret": ["s3cret"]}}
        assert not watches.is_handled(here, each, "another") and not watches.is_handled(Config(), each, "")
        assert not watches.is_handled(Config(watch=Watch(door="http")), each, "s3cret")  # at another address
    assert "args" in static["service"]["check"]
    assert not watches.is_handled(here, watches.static(Config(), [], installed)["watches"][0], "s3cret")


def test_the_connection_limit_grows_with_the_watches():
    limits = [watches.routes(Config(), {f"s{i}": f"s{i}" for i in range(count)}, [], installed)["limits"]
              for count in (0, 200, 300)]
    assert limits == [{"http_max_conns_per_client": limit} for limit in (1000, 1000, 1208)]


def test_order_of_the_services_does_not_change_the_bytes():
    names = {f"s{i}": f"s{i}" for i in range(20)}
    assert (watches.text(watches.routes(Config(), names, [], installed))
            == watches.text(watches.routes(Config(), dict(reversed(names.items())), [], installed)))


def test_an_agent_runs_the_handlers_and_outgrows_its_connection_limit_by_a_reload(consul: Consul, tmp_path):
    """The agent is started with Consul's own 200 connections, then given 250 watches."""
    consul.stop()
    consul = Consul(str(tmp_path / "consul"), config={"enable_local_script_checks": False, "limits": {}})
    static = watches.static(Config(), [], recorder(tmp_path))
    static["service"]["check"]["interval"] = "1s"
    write(consul, watches.STATIC_FILE, static)
    write(consul, watches.ROUTES_FILE, watches.routes(Config(), {}, [], recorder(tmp_path)))
    try:
        consul.start()
        consul.put("services/books/replicas", "2")
        wait_for(lambda: "services/books/replicas" in (tmp_path / "lictor-scale-input").read_text(), "lictor-scale ran")
        wait_for(lambda: (tmp_path / "lictor-heal-input").read_text() == "[]\n", "lictor-heal ran")
        wait_for(lambda: consul.passing("lictor"), "the timer answers")

        many = {f"books-{number}": f"books-{number}-blue" for number in range(250)}
        write(consul, watches.ROUTES_FILE, watches.routes(Config(state_dir="/s"), many, [], recorder(tmp_path)))
        consul.reload()
        consul.register({"Name": "books-249-blue", "ID": "one", "Port": 1})
        wait_for(lambda: '"ID":"one"' in (tmp_path / "lictor-route-inputbooks-249").read_text(), "the last watch works")
        wait_for(lambda: len(list(tmp_path.glob("lictor-route-input*"))) == 250, "every watch works")
    finally:
        consul.stop()


def recorder(folder):
    """Handlers that leave their input in `folder`, in a file named after their first argument."""
    def argv_of(name: str) -> list[str]:
        path = folder / name
        path.write_text(RECORDER)
        os.chmod(path, stat.S_IRWXU)
        return [str(path)]
    return argv_of


def write(consul: Consul, file_name: str, settings: dict[str, object]) -> None:
    with open(os.path.join(consul.config_dir, file_name), "w", encoding="utf-8") as file:
        file.write(watches.text(settings))
