"""The command `lictor` against a real Consul: what it writes, what it refuses, and how it ends."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from lictor.adapters import heartbeat
from lictor.cli import main, status
from lictor.planner import desired
from lictor.spec import service_spec

from lab.consul import Consul
from support.command import Command
from support.paths import HANDLERS, REPOSITORY

BOOKS = {"name": "books", "image": "books:1", "port": 8080, "route": {"path": "/books"}, "replicas": {"max": 5}}


@pytest.fixture
def lictor(consul: Consul, tmp_path: Path) -> Command:
    return Command(consul, tmp_path)


def test_apply_writes_the_spec_its_node_and_its_image_and_keeps_both_later(lictor: Command, consul: Consul) -> None:
    assert lictor("apply", lictor.file("books.json", BOOKS)).returncode == 0
    assert json.loads(consul.get("services/books/spec") or "") == {**BOOKS, "node": "node-1"}
    assert consul.get("services/books/image") == "books:1"
    consul.put("services/books/image", "books:2")  # a release by CI
    done = lictor("apply", lictor.file("books.json", {**BOOKS, "drain": "5s"}))
    assert done.stdout == "books: drain 30s -> 5s; the key services/books/image wins: books:2\n"
    assert consul.get("services/books/image") == "books:2"  # the spec's own image has not changed
    assert lictor("apply", lictor.file("books.json", {**BOOKS, "image": "books:3"})).returncode == 0
    assert consul.get("services/books/image") == "books:3"
    assert json.loads(consul.get("services/books/spec") or "")["node"] == "node-1"
    consul.put("services/books/replicas", "2")
    done = lictor("apply", lictor.file("books.json", {**BOOKS, "image": "books:3", "replicas": {"initial": 4}}))
    assert done.stdout == ("books: replicas.initial 1 -> 4; replicas.max 5 -> 10; 2 stay desired: "
                           "replicas.initial counts at first only, and `lictor scale books 4` changes it\n")


def test_apply_reads_yaml_as_the_readme_shows_it(lictor: Command, consul: Consul) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    example = readme.split("```yaml\n")[1].split("```")[0]
    done = lictor("apply", lictor.file("books-service.yaml", example))
    assert (done.returncode, done.stdout) == (0, "books-service: new on node-1\n")


@pytest.mark.parametrize(("second", "said"), [
    ("name: [", "second.yaml:1: "),
    ("- a\n- b", "it must hold those of a service"),
    ({**BOOKS, "name": "other", "replica": {}}, "second.yaml:1: unknown key replica; did you mean replicas?"),
    ({**BOOKS, "name": "other", "image": "a b"}, "image is 'a b'"),
    ({**BOOKS, "name": "other"}, "route is /books, which is that of books"),
    ({**BOOKS}, "name is 'books', as in another of these files"),
])
def test_one_bad_file_and_nothing_is_written(lictor: Command, consul: Consul, second: object, said: str) -> None:
    done = lictor("apply", lictor.file("first.json", BOOKS), lictor.file("second.yaml", second))
    assert done.returncode == 1 and said in done.stderr and len(done.stderr.splitlines()) == 1
    assert consul.request("GET", "/v1/kv/services/?keys") is None


@pytest.mark.parametrize(("other", "said"), [
    ({**BOOKS, "name": "other"}, "route is /books, which is that of books"),
    ({**BOOKS, "name": "other", "route": ["/", "/books"]}, "other.json: route[1] is /books, which is that of books"),
    ({**BOOKS, "name": "books-blue", "route": {"path": "/"}}, ""),
    ({"name": "books", "release": {"strategy": "blue-green"}}, "release.strategy was 'rolling' and is 'blue-green'"),
    ({"name": "books", "node": "node-2"}, "node was 'node-1' and is 'node-2'; remove the service, wait until"),
])
def test_what_would_take_another_services_place_is_refused(lictor: Command, other: dict[str, Any], said: str) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    done = lictor("apply", lictor.file("other.json", {**BOOKS, **other}))
    assert (done.returncode, said in done.stderr) == (1 if said else 0, True)


def test_one_file_serves_several_customers_who_have_nothing_in_common(lictor: Command, consul: Consul) -> None:
    blue_green = {**BOOKS, "release": {"strategy": "blue-green"}}
    file = lictor.file("books.json", blue_green)
    lictor("apply", file)  # its route has no host, and does not stand in the others' way
    for customer in ("acme", "zenith"):
        words = ("apply", file, "--as", f"{customer}-books", "--host", f"{customer}.example.com")
        assert lictor(*words).stdout == f"{customer}-books: new on node-1\n"
        assert json.loads(consul.get(f"services/{customer}-books/spec") or "") == {
            **blue_green, "name": f"{customer}-books", "node": "node-1",
            "route": {"path": "/books", "host": f"{customer}.example.com"}}
    lictor("scale", "acme-books", "3")
    consul.put("services/zenith-books/color", "green")
    lictor("deploy", "zenith-books", "books:2")
    keys = ("name", "desired", "desired_image", "color", "routes")
    shown = [tuple(each[key] for key in keys) for each in lictor.status()]
    assert shown == [
        ("acme-books", 3, "books:1", "blue", ["acme.example.com/books"]), ("books", 1, "books:1", "blue", ["/books"]),
        ("zenith-books", 1, "books:2", "green", ["zenith.example.com/books"])]
    specs = [service_spec.parse_spec(json.loads(consul.get(f"services/{name}/spec") or ""), "")
             for name in ("books", "acme-books", "zenith-books")]
    assert [name for spec in specs for name in desired.catalog_names(spec)] == [
        "books-blue", "books-green", "acme-books-blue", "acme-books-green", "zenith-books-blue", "zenith-books-green"]


@pytest.mark.parametrize(("words", "code", "said"), [
    (("--as", "acme", "--host", "acme.example.com"), 1, "route is acme.example.com/books, which is that of taken"),
    (("--as", "acme"), 1, "route is /books, which is that of books"),
    (("--as", ""), 1, "name is ''; it must be 1 to 63 of"),
    (("--as", "acme", "--host", "Acme"), 1, "host is 'Acme'; it must be a host name, in lower case"),
    (("--as", "acme", "--host", ""), 2, "--host is empty"),
    (("--host", "acme.example.com"), 2, "--host goes with --as"),
    (("--as", "acme", "second.json"), 2, "--as takes exactly one FILE"),
])
def test_under_another_name_the_same_rules_hold(lictor: Command, consul: Consul, words: tuple[str, ...], code: int,
                                                said: str) -> None:
    for name, route in (("books", {"path": "/books"}), ("taken", {"path": "/books", "host": "acme.example.com"})):
        consul.put(f"services/{name}/spec", json.dumps({**BOOKS, "name": name, "route": route, "node": "node-1"}))
    done = lictor("apply", lictor.file("books.json", BOOKS), *words)
    assert done.returncode == code and said in done.stderr
    assert consul.get("services/acme/spec") is None


def test_a_host_needs_a_route(lictor: Command) -> None:
    file = lictor.file("mails.json", {"name": "mails", "image": "mails:1"})
    done = lictor("apply", file, "--as", "acme", "--host", "a.b")
    assert done.returncode == 1 and "route is missing; a host ('a.b') needs one" in done.stderr


def test_counts_are_absolute_or_relative_and_stay_within_bounds(lictor: Command, consul: Consul) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    for count, stored in (("3", "3"), ("+2", "5"), ("-4", "1")):
        assert lictor("scale", "books", count).stdout == f"books: {stored} desired\n"
        assert consul.get("services/books/replicas") == stored
    for count in ("6", "+5", "-2", "three", "1e1", "+", "٣"):
        done = lictor("scale", "books", count)
        assert done.returncode == 1 and "services/books/replicas: is " in done.stderr and "within 0..5" in done.stderr
    assert consul.get("services/books/replicas") == "1"
    assert lictor("scale", "nobody", "1").returncode == 1


def test_hold_resume_remove_and_apply_again(lictor: Command, consul: Consul) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    assert lictor("hold", "books", "until Monday").returncode == 0
    assert consul.get("services/books/hold") == "until Monday"
    assert lictor.status()[0]["says"] == "on hold: the hold key is set (until Monday)"
    assert lictor("resume", "books").returncode == 0
    assert consul.get("services/books/hold") is None
    assert lictor("remove", "books").returncode == 0
    assert lictor.status() == [] and lictor("scale", "books", "1").returncode == 1
    lictor("apply", lictor.file("books.json", BOOKS))
    assert consul.request("GET", "/v1/kv/services/books/removed") is None


def test_status_shows_what_is_refused(lictor: Command, consul: Consul) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    consul.put("services/books/replicas", "many")
    consul.put("services/bad name/replicas", "1")
    consul.put("services/books/colour", "1")
    consul.put("services/carts/spec", json.dumps({**BOOKS, "name": "carts", "node": "n", "heal": {"per": "0s"}}))
    consul.put("services/yaml/spec", "name: yaml")
    consul.put("services/mails/replicas", "1")
    text = lictor("status").stdout
    for line in ("refused: services/books/replicas: is 'many'; it must be a whole number within 0..5",
                 "not read: 'services/bad name/replicas': 'bad name' is no service's name; it must be 1 to 63 of a-z",
                 "refused: services/carts/spec: heal.per is 0s; it must be within 1s..24h",
                 "refused: services/yaml/spec: is no JSON (JSON is malformed: ",
                 "not read: 'services/books/colour': not lictor's. It reads services/NAME/KEY",
                 "refused: services/mails/spec: is missing; use `lictor apply FILE`"):
        assert line in text
    refused = {heartbeat.Refusal("web", "not registered: its label", "labels"),
               heartbeat.Refusal("db", "taken", "catalogue")}
    heartbeat.write(str(lictor.folder / "state"),
                    heartbeat.make(refused, engine="E", registered=1, trouble="403", token=""))
    text = lictor("status").stdout
    for line in ("in trouble: 403", "db: taken", "1 not as labels ask, such as web: not registered: its label"):
        assert f"registrar: {line}" in text


def test_who_may_not_read_the_state_folder_is_told_so_and_sees_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(state_dir: str) -> None:
        raise PermissionError(13, "Permission denied", f"{state_dir}/registrar.json")

    monkeypatch.setattr(heartbeat, "read", read)
    assert status._read_registrar("/state") == ["unknown: /state/registrar.json: Permission denied"]


def test_exit_codes_tell_usage_refusal_and_try_later_apart(lictor: Command, consul: Consul) -> None:
    assert lictor("status", "--jason").returncode == 2
    assert lictor("apply", "no-such-file.yaml").returncode == 1
    lictor.environ["CONSUL_HTTP_ADDR"] = "127.0.0.1:9"
    done = lictor("status")
    assert done.returncode == 75 and "127.0.0.1:9: Connection refused. Is the agent running?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_service_that_nobody_has_heard_of_is_refused_everywhere(lictor: Command) -> None:
    for words in (("why", "nobody"), ("plan", "nobody"), ("scale", "nobody", "3"), ("hold", "nobody")):
        done = lictor(*words)
        assert done.returncode == 1 and "there is no service 'nobody'" in done.stderr, words


def test_a_service_whose_name_is_nearly_right_is_named(lictor: Command) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    done = lictor("scale", "boks", "3")
    assert done.stderr == ("lictor: there is no service 'boks'; did you mean books? `lictor status` lists them, "
                           "`lictor apply FILE` makes one\n")


def test_help_names_every_command_and_each_has_help_of_its_own(lictor: Command) -> None:
    text = lictor("--help").stdout
    for word in ("init", "apply", "remove", "scale", "deploy", "rollback", "hold", "resume", "status", "plan", "why",
                 "logs", "exec", "replay", "doctor", "watches"):
        assert f"\n  {word} " in text
        assert lictor(word, "--help").returncode == 0


@pytest.mark.parametrize(("module", "verbs"), main.VERBS.items())
def test_each_verb_of_a_module_is_found(module: str, verbs: tuple[str, ...]) -> None:
    defined = {each.name for each in vars(importlib.import_module(f"lictor.cli.{module}")).values()
               if isinstance(each, click.Command)}
    assert defined == set(verbs)
    assert all(main.Verbs().get_command(click.Context(main.main), verb) for verb in verbs)
    assert main.Verbs().get_command(click.Context(main.main), "no-such-verb") is None


@pytest.mark.parametrize("verb", ["scale", "deploy", "status", "watches", "doctor"])
def test_a_verb_is_ready_without_the_libraries_that_take_long_to_load(verb: str) -> None:
    code = (f"import sys; sys.path.insert(0, {str(HANDLERS)!r}); from lictor.cli.main import main\n"
            f"try: main([{verb!r}, '--help'])\nexcept SystemExit: print('loaded', *sys.modules)")
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = done.rpartition("\nloaded ")[2].split()
    assert "click" in loaded and not {"consul", "docker", "jinja2", "requests", "rich", "tenacity"} & set(loaded)


def test_watches_prints_what_the_agent_is_given(lictor: Command) -> None:
    route = {"service": "books-blue", "host": "", "path": "/books", "empty_ok": False, "removed": False}
    (lictor.folder / "state/routes/books.json").write_text(json.dumps(route))
    done = lictor("watches")
    decoder = json.JSONDecoder()
    static, end = decoder.raw_decode(done.stdout)
    routes, _ = decoder.raw_decode(done.stdout[end:].lstrip())
    assert [each["type"] for each in static["watches"]] == ["keyprefix", "checks"]
    assert [each["service"] for each in routes["watches"]] == ["books-blue"]
