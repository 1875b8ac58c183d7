"""The command `lictor` where things are not as they should be: bad input, a narrow terminal, no rights, no reader."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lictor import errors
from lictor.cli import session
from lictor.cli.setup import init
from lictor.events import script
from lictor.spec.settings import load_settings

from lab.consul import Consul
from support.command import Command

BOOKS = {"name": "books-service", "image": "registry.example.com/team/books-service:1.0", "port": 8080,
         "route": {"path": "/api/v1/books", "host": "books.example.com"}}


@pytest.fixture
def lictor(consul: Consul, tmp_path: Path) -> Command:
    return Command(consul, tmp_path)


def test_nothing_moves_the_cursor_of_a_terminal(lictor: Command) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    lictor("hold", "books-service", "a\nb\x1b[31mred")
    for words in (("status",), ("deploy", "books-service", "books:2")):
        said = lictor(*words).stdout
        assert "\x1b" not in said and "a b?[31mred" in said, words


def test_a_spec_may_be_piped_in(lictor: Command) -> None:
    assert lictor("apply", "-", given=json.dumps(BOOKS)).returncode == 0
    assert [each["name"] for each in lictor.status()] == ["books-service"]
    refused = lictor("apply", "-", given=json.dumps({**BOOKS, "env_file": "books.env"}))
    assert refused.returncode == 1 and "write the whole path" in refused.stderr


@pytest.mark.parametrize(("asked", "said"), [
    ({"volumes": ["/:/host"]}, "volumes is '/:/host'; this node does not allow it: list '/' in mounts of [allow] in"),
    ({"networks": ["host"]}, "networks is 'host'; this node does not allow it"),
    ({"volumes": ["/:/host"], "node": "node-2"}, ""), ({"volumes": ["data:/d"]}, ""),
])
def test_what_this_node_would_not_do_is_told_by_apply_and_stands_in_status(
        lictor: Command, consul: Consul, asked: dict[str, Any], said: str) -> None:
    consul.request("PUT", "/v1/catalog/register", {"Node": "node-2", "Address": "10.0.0.2"})
    applied = lictor("apply", "-", given=json.dumps({**BOOKS, **asked}))
    assert applied.returncode == 0 and ("but refused: " + said in applied.stdout if said else "refused" not in
                                        applied.stdout)
    [row] = lictor.status()
    assert (said in " ".join(row["problems"])) and bool(row["problems"]) == bool(said)


def test_who_has_no_rights_on_this_node_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, session.explained():
        raise PermissionError(errno.EACCES, "Permission denied", "/var/lib/lictor/agent.json")
    assert ended.value.code == 75
    assert capsys.readouterr().err == "lictor: /var/lib/lictor/agent.json: Permission denied\n"


def test_before_a_handler_has_run_there_are_watches_without_routes(lictor: Command) -> None:
    shutil.rmtree(lictor.folder / "state")
    done = lictor("watches")
    assert done.returncode == 0 and '"keyprefix"' in done.stdout


def test_who_has_seen_enough_may_stop_reading(lictor: Command) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    theirs, ours = os.pipe()
    os.close(theirs)
    running = lictor.begin("status", stdout=ours)
    os.close(ours)
    assert running.communicate(timeout=150)[1] == "" and running.returncode == 141


def test_what_the_terminal_cannot_show_is_shown_somehow(lictor: Command) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    lictor("hold", "books-service", "bis Mönchengladbach")
    lictor.environ["PYTHONIOENCODING"] = "ascii"
    assert "bis M\\xf6nchengladbach" in lictor.begin("status").communicate(timeout=150)[0]
    done = lictor("hold", "books-service", os.fsdecode(b"\xff\xfe"))
    assert done.returncode == 1 and "it must be UTF-8" in done.stderr


def test_a_service_whose_spec_is_refused_can_be_held_and_removed(lictor: Command, consul: Consul) -> None:
    consul.put("services/books/spec", '{"name": "books", "x[red]": 1}')
    for words in (("scale", "books", "1"), ("deploy", "books", "books:2")):
        done = lictor(*words)
        assert done.returncode == 1 and "services/books/spec: " in done.stderr and "x[red]" in done.stderr, words
    assert lictor("hold", "books").returncode == 0 and lictor("resume", "books").stdout == "books: no longer held\n"
    assert lictor("remove", "books").returncode == 0 and consul.get("services/books/removed") == ""


def test_who_acts_for_a_service_is_said_also_when_nobody_does(lictor: Command) -> None:
    lictor("apply", lictor.file("jobs.json", {"name": "jobs", "engine": "command", "image": "jobs:1", "port": 80}))
    assert "a node with [command] in its settings acts for it, and this one, node-1, has none" in (
        lictor("plan", "jobs").stdout)
    done = lictor("apply", lictor.file("books.json", {**BOOKS, "node": "node-l"}))
    nobody = "nobody acts: node-l is not in Consul. If its name has changed, `lictor apply` the spec with `node: NEW"
    assert nobody in done.stdout and nobody in lictor("status").stdout
    done = lictor("plan", "books-service")
    assert done.returncode == 3 and nobody in done.stdout, done
    for verb, *more in (("scale", "3"), ("deploy", "books:2"), ("rollback",)):
        done = lictor(verb, "books-service", *more)
        assert done.returncode == 1 and nobody in done.stderr, verb


def test_a_service_moves_from_a_node_that_consul_does_not_know_and_from_no_other(lictor: Command,
                                                                                 consul: Consul) -> None:
    books = {"name": "books", "image": "books:1", "port": 8080}
    lictor("apply", lictor.file("books.json", {**books, "node": "gone"}))
    consul.request("PUT", "/v1/catalog/register", json.dumps({"Node": "lost", "Address": "10.0.0.9", "Service": {
        "ID": "books-1", "Service": "books", "Port": 8080, "Meta": {"lictor-container": "c1"}}}))
    assert "gone is not in Consul; its containers run on lost" in lictor("status").stdout
    done = lictor("remove", "books")  # no node would end them
    assert done.returncode == 1 and "its containers run on lost" in done.stderr
    done = lictor("apply", lictor.file("books.json", {**books, "node": "lost"}))
    assert done.returncode == 0 and "books: node gone -> lost; but on hold: node lost does not answer" in done.stdout
    done = lictor("apply", lictor.file("books.json", {**books, "node": "node-1"}))
    assert done.returncode == 1 and "node was 'lost' and is 'node-1'; remove the service" in done.stderr
    assert "`consul force-leave -prune lost` first" in done.stderr
    consul.request("PUT", "/v1/catalog/deregister", json.dumps({"Node": "lost"}))
    assert lictor("apply", lictor.file("books.json", {**books, "node": "node-1"})).returncode == 0
    assert lictor("scale", "books", "3").stdout == "books: 3 desired\n"


@pytest.mark.parametrize(("content", "said"), [
    (b"prefix = \"\xff\"\n", "is no text in UTF-8"), (b"prefix = 1", "prefix is 1"), (None, "there is no file")])
def test_settings_that_cannot_be_read_are_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "lictor.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.Refused, match=f"{path}.*{said}" if content else f"{said} {path}"):
        load_settings({"LICTOR_CONFIG": str(path)})


def test_paths_given_from_a_folder_hold_in_every_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lictor.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    settings = load_settings({"LICTOR_CONFIG": "lictor.toml"})
    assert script.inherited(settings, "token") == [
        "--config", str(tmp_path / "lictor.toml"), "--token-file", str(tmp_path / "token")]


def test_only_root_prepares_a_node_and_others_are_told_so(tmp_path: Path) -> None:
    (tmp_path / "etc/lictor").mkdir(parents=True)
    (tmp_path / "etc/lictor/installed.json").mkdir()  # cannot be read, as little as by somebody without rights
    for of_it in (init.run, init.remove):
        with pytest.raises(errors.Refused, match="lictor init needs to be run as root"):
            of_it(root=str(tmp_path))


AWAY = {"CONSUL_HTTP_ADDR": "127.0.0.1:1", "DOCKER_HOST": "unix:///nowhere/docker.sock"}


@pytest.mark.parametrize("words", [
    ("status",), ("status", "books"), ("plan",), ("plan", "books"), ("why", "books"), ("autoscale", "books"),
    ("apply", "-"), ("remove", "books"), ("scale", "books", "3"), ("deploy", "books", "books:2"), ("rollback", "books"),
    ("hold", "books"), ("resume", "books"), ("logs", "books"), ("exec", "books", "sh"),
])
def test_where_nothing_answers_each_verb_says_so_in_a_line_and_may_be_tried_again(lictor: Command,
                                                                                  words: tuple[str, ...]) -> None:
    lictor.environ |= AWAY | {"COLUMNS": "60"}
    has_json = words[0] in ("status", "plan", "why", "autoscale")
    for further in ((), ("--json",)) if has_json else ((),):
        done = lictor(*words, *further, given=json.dumps({**BOOKS, "name": "books"}))
        assert (done.returncode, done.stdout) == (75, ""), done
        [line] = done.stderr.splitlines()
        assert line.startswith("lictor: ") and ("Is the agent running?" in line or "Is Docker running?" in line)
        assert "Errno" not in line and "\x1b" not in line


@pytest.mark.parametrize("words", [("status",), ("status", "books-service"), ("plan", "books-service"),
                                   ("why", "books-service")])
def test_in_a_pipe_nothing_is_wrapped_or_coloured_and_json_is_json(lictor: Command, words: tuple[str, ...]) -> None:
    lictor("apply", lictor.file("books.json", BOOKS))
    lictor("hold", "books-service", "until the long backup of the whole database has ended, and been tested " * 2)
    plain = lictor(*words)
    lictor.environ |= {"COLUMNS": "60", "TERM": "xterm-256color"}
    narrow = lictor(*words)
    assert [line.split() for line in narrow.stdout.splitlines()] == [line.split() for line in plain.stdout.splitlines()]
    assert "\x1b" not in narrow.stdout
    done = lictor(*words, "--json")
    assert done.returncode in (0, 3, 75) and (not done.stdout if done.returncode == 75 else json.loads(done.stdout))
