"""Spec files by themselves: `lictor validate` asks nobody."""

import json
from pathlib import Path

import click.testing
import pytest

from lictor.adapters import http
from lictor.cli import main

from support.paths import REPOSITORY

BOOKS = "name: books\nimage: books:1\nport: 8080\nroute: /books\n"


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "exchange_with", None)


def validate(*words: str, given: str = "") -> click.testing.Result:
    return click.testing.CliRunner().invoke(main.main, ["--config", "/nowhere.toml", "validate", *words], input=given)


def file(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.mark.parametrize(("text", "unchecked"), [
    (BOOKS, "the present spec and count, other services and their routes, the image books:1"),
    ("name: books\nengine: none\n", "the present spec, other services"),
    ("name: books\nengine: command\nimage: b:1\n", "the present spec and count, other services, [command] in the "
     "settings, the image b:1"),
    ("name: books\nengine: compose\nproject: {folder: /srv/b}\nimage: b:1\nnode: n1\n", "the present spec and count, "
     "other services, the node n1, the Compose file in /srv/b, [allow] in the settings, the image b:1"),
    ("name: books\nimage: b:1\nenv_file: /etc/env\nvolumes: ['data:/data']\n", "the present spec and count, other "
     "services, the env files, [allow] in the settings, the image b:1"),
])
def test_a_valid_file_is_told_with_what_was_not_checked(tmp_path: Path, text: str, unchecked: str) -> None:
    done = validate(path := file(tmp_path, "books.yaml", text))
    assert (done.exit_code, done.stdout) == (0, (
        f"{path}: books is valid. Not checked, as only Consul and the nodes know it: {unchecked}\n"))


def test_all_that_is_wrong_with_all_files_is_told(tmp_path: Path) -> None:
    paths = [file(tmp_path, "a.yaml", f"{BOOKS}drain: soon\nhots: a\n"), file(tmp_path, "b.yaml", BOOKS),
             file(tmp_path, "c.json", json.dumps({"name": "c"}, indent=1)), str(tmp_path / "none"), str(tmp_path)]
    (tmp_path / "e.yaml").write_bytes(b"name: e\nimage: \xff\n")
    done = validate(*paths, str(tmp_path / "e.yaml"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert [line.replace(f"{tmp_path}", "") for line in done.stderr.splitlines()] == [
        "lictor: /a.yaml:5: drain: 'soon' is no duration; write it such as 500ms, 2s, 1m30s or 1h",
        "lictor: /a.yaml:6: unknown key hots; did you mean route.host?",
        "lictor: /c.json:1: image is missing; it must be an image's name such as books-service:1.0",
        "lictor: /none: No such file or directory", "lictor: : Is a directory",
        "lictor: /e.yaml:2: is no text in UTF-8"]


def test_files_are_compared_with_each_other(tmp_path: Path) -> None:
    paths = [file(tmp_path, "a.yaml", BOOKS), file(tmp_path, "b.yaml", BOOKS),
             file(tmp_path, "c.yaml", BOOKS.replace("name: books", "name: other"))]
    done = validate(*paths)
    assert done.exit_code == 1 and [line.partition(".yaml: ")[2] for line in done.stderr.splitlines()] == [
        "name is 'books', as in another of these files",
        "route is /books, which is that of books; two routes cannot have the same"]


def test_a_file_may_be_piped_in_and_without_any_the_usage_is_wrong(monkeypatch: pytest.MonkeyPatch,
                                                                   tmp_path: Path) -> None:
    from lictor.cli.specs import verbs

    monkeypatch.setattr(verbs, "_STDIN", file(tmp_path, "stdin", BOOKS))
    assert validate("-").exit_code == 0
    assert validate().exit_code == 2


@pytest.mark.parametrize("other", ["books-service.yaml", "books-with-database.yaml"])
def test_all_examples_are_valid_together(other: str) -> None:
    """But for these two, which are the same service."""
    done = validate(*(str(path) for path in sorted((REPOSITORY / "examples").rglob("*.yaml")) if path.name != other))
    assert done.exit_code == 0, done.stderr
