"""The command `lictor` against a real Consul: what it writes, what it refuses, and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.consul import Consul

BOOKS = {"name": "books", "image": "books:1", "port": 8080, "route": {"path": "/books"}, "replicas": {"max": 5}}


class Command:
    """Runs `lictor` with a settings file of its own."""

    def __init__(self, consul: Consul, folder: Path) -> None:
        self.folder = folder
        settings = folder / "lictor.toml"
        settings.write_text(f'state_dir = "{folder}/state"\n[nginx]\nconf_dir = "{folder}/nginx"\n')
        os.makedirs(folder / "state" / "routes")
        self.environ = {**os.environ, **consul.environ, "LICTOR_CONFIG": str(settings)}

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([f"{sys.prefix}/bin/lictor", *words], capture_output=True, text=True, timeout=60,
                              env=self.environ, stdin=subprocess.DEVNULL)

    def file(self, name: str, content: object) -> str:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def status(self) -> list[dict[str, Any]]:
        return list(json.loads(self("status", "--json").stdout))


@pytest.fixture
def lictor(consul: Consul, tmp_path: Path) -> Command:
    return Command(consul, tmp_path)


def test_apply_writes_the_spec_its_node_and_its_image_and_keeps_both_later(lictor: Command, consul: Consul) -> None:
    assert lictor("apply", lictor.file("books.json", BOOKS)).returncode == 0
    assert json.loads(consul.get("services/books/spec") or "") == {**BOOKS, "node": "node-1"}
    assert consul.get("services/books/image") == "books:1"
    consul.put("services/books/image", "books:2")  # a release by CI
    done = lictor("apply", lictor.file("books.json", {**BOOKS, "drain": "5s"}))
    assert done.stdout == "books: applied on node-1; updated; the key services/books/image wins: books:2\n"
    assert consul.get("services/books/image") == "books:2"  # the spec's own image has not changed
    assert lictor("apply", lictor.file("books.json", {**BOOKS, "image": "books:3"})).returncode == 0
    assert consul.get("services/books/image") == "books:3"
    assert json.loads(consul.get("services/books/spec") or "")["node"] == "node-1"


def test_apply_reads_yaml_as_the_readme_shows_it(lictor: Command, consul: Consul) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    example = readme.split("```yaml\n")[1].split("```")[0]
    done = lictor("apply", lictor.file("books-service.yaml", example))
    assert (done.returncode, done.stdout) == (0, "books-service: applied on node-1; new\n")


@pytest.mark.parametrize(("second", "said"), [
    ("name: [", "second.yaml: "),
    ("- a\n- b", "must hold a service's keys"),
    ({**BOOKS, "name": "other", "replica": {}}, "unknown field `replica`; known are name, "),
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
    ({**BOOKS, "name": "books-blue", "route": {"path": "/"}}, ""),
    ({"name": "books", "release": {"strategy": "blue-green"}}, "release.strategy was 'rolling' and is 'blue-green'"),
    ({"name": "books", "node": "node-2"}, "node was 'node-1' and is 'node-2'; remove the service, wait until"),
])
def test_what_would_take_another_services_place_is_refused(lictor: Command, other: dict[str, Any], said: str) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    done = lictor("apply", lictor.file("other.json", {**BOOKS, **other}))
    assert (done.returncode, said in done.stderr) == (1 if said else 0, True)


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
    assert lictor.status()[0]["says"] == "held: the hold key is set (until Monday)"
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
    consul.put("services/mails/replicas", "1")
    text = lictor("status").stdout
    for line in ("refused: services/books/replicas: is 'many'; it must be a whole number within 0..5",
                 "refused: 'services/bad name/replicas': 'bad name' is no service's name",
                 "refused: services/mails/spec: is missing; use `lictor apply FILE`"):
        assert line in text


def test_exit_codes_tell_usage_refusal_and_try_later_apart(lictor: Command, consul: Consul) -> None:
    assert lictor("status", "--jason").returncode == 2
    assert lictor("apply", "no-such-file.yaml").returncode == 1
    lictor.environ["CONSUL_HTTP_ADDR"] = "127.0.0.1:9"
    done = lictor("status")
    assert done.returncode == 75 and "127.0.0.1:9" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_service_that_nobody_has_heard_of_is_refused_everywhere(lictor: Command) -> None:
    for words in (("why", "nobody"), ("plan", "nobody"), ("scale", "nobody", "3"), ("hold", "nobody")):
        done = lictor(*words)
        assert done.returncode == 1 and "there is no service 'nobody'" in done.stderr, words


def test_help_names_every_command_and_each_has_help_of_its_own(lictor: Command) -> None:
    text = lictor("--help").stdout
    for word in ("init", "apply", "remove", "scale", "hold", "resume", "status", "plan", "why", "doctor", "watches"):
        assert f"\n  {word} " in text
        assert lictor(word, "--help").returncode == 0


def test_watches_prints_what_the_agent_is_given(lictor: Command) -> None:
    route = {"service": "books-blue", "host": "", "path": "/books", "empty_ok": False, "removed": False}
    (lictor.folder / "state/routes/books.json").write_text(json.dumps(route))
    done = lictor("watches")
    decoder = json.JSONDecoder()
    static, end = decoder.raw_decode(done.stdout)
    routes, _ = decoder.raw_decode(done.stdout[end:].lstrip())
    assert [each["type"] for each in static["watches"]] == ["keyprefix", "checks"]
    assert [each["service"] for each in routes["watches"]] == ["books-blue"]
