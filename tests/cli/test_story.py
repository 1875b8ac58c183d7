"""why and replay, as people and programs run them: from any machine, and never a word that nobody knows to be so."""

import datetime
import json
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from lictor.cli import story
from lictor.cli.main import main
from lictor.planner import observation_codec

from lab.consul import Consul
from support.command import Command
from support.scene import scene

BOOKS = {"name": "books", "image": "books:1", "port": 8080, "replicas": {"max": 5}}
HOUR = 3600.0


@pytest.fixture
def lictor(consul: Consul, tmp_path: Path) -> Command:
    """A machine without Docker; books has 30 records, one an hour, the last of a minute ago."""
    command = Command(consul, tmp_path)
    command.environ["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    command("apply", command.file("books.json", BOOKS))
    for number in range(1, 31):
        record(consul, number, time.time() - 60 - HOUR * (30 - number))
    return command


def record(consul: Consul, number: int, at: float, **more: Any) -> None:
    consul.put(f"lictor/history/books/{number:016d}", json.dumps({
        "at": at, "service": "books", "outcome": "done", "node": "node-1", "kind": "start",
        "container": f"books-{number}", "reason": "x", **more}))


def told(text: str) -> list[str]:
    """The containers of the records that are told, without the name of their service."""
    return [line.split("  start books-")[1].split(":")[0] for line in text.splitlines() if "  start books-" in line]


def numbers(first: int) -> list[str]:
    return [str(number) for number in range(first, 31)]


@pytest.mark.parametrize(("words", "first", "more"), [
    ((), 21, "20 earlier records; `lictor why books -n 30` tells them too"), (("-n", "2"), 29, "28 earlier records"),
    (("-n", "0"), 31, "30 earlier records"), (("-n", "99"), 1, ""), (("--since", "150m"), 28, ""),
    (("--since", "150m", "-n", "1"), 30, "2 earlier records; `lictor why books -n 3`"),
    (("--since", "2020-01-31"), 1, ""),
    (("--since", "10s"), 31, "no record since 20"),
])
def test_the_last_records_are_told_or_those_since_a_time(lictor: Command, words: tuple[str, ...], first: int,
                                                         more: str) -> None:
    done = lictor("why", "books", *words)
    assert done.returncode == 0, done.stderr
    assert told(done.stdout) == numbers(first) and done.stdout.startswith(more)
    assert bool(more) == ("  start books-" not in done.stdout.splitlines()[0])


def test_programs_get_all_records_or_those_that_they_ask_for(lictor: Command) -> None:
    for words, first in (((), 1), (("-n", "3"), 28), (("--since", "150m"), 28)):
        found = json.loads(lictor("why", "books", "--json", *words).stdout)
        assert list(found) == ["service", "history", "seen", "now"]
        assert [each["container"] for each in found["history"]] == [f"books-{number}" for number in numbers(first)]


def ahead(lictor: Command) -> str:
    done = lictor("why", "books", "-n", "1")
    assert done.returncode == 0 and told(done.stdout) == ["30"], done
    assert "nothing to do" not in done.stdout
    return done.stdout.splitlines()[-1]


def test_the_story_is_told_where_docker_is_not(lictor: Command) -> None:
    assert ahead(lictor).startswith("now: unknown: node node-1 alone can say what stands ahead: docker: ")
    [unknown] = json.loads(lictor("why", "books", "--json").stdout)["now"]
    assert (unknown["kind"], unknown["container"]) == ("unknown", "") and "docker: connect: " in unknown["reason"]


@pytest.mark.parametrize(("changes", "who"), [
    ({"node": "node-2"}, "node node-2"), ({"engine": "command"}, "a node with [command] in its settings"),
])
def test_the_story_is_told_on_a_node_that_does_not_act(lictor: Command, consul: Consul, changes: dict[str, str],
                                                       who: str) -> None:
    consul.request("PUT", "/v1/catalog/register", {"Node": "node-2", "Address": "10.0.0.2"})
    lictor("apply", lictor.file("books.json", {**BOOKS, **changes, "name": "books"}), "--as", "carts")
    consul.put("lictor/history/carts/0000000000000001", json.dumps({"at": 1.0, "outcome": "done", "kind": "start"}))
    done = lictor("why", "carts")
    assert done.returncode == 0 and "  start: " in done.stdout
    assert done.stdout.splitlines()[-1] == f"now: unknown: {who} alone can say what stands ahead: this is node-1"


def test_what_is_known_everywhere_is_said_everywhere(lictor: Command, consul: Consul) -> None:
    lictor("apply", lictor.file("mails.json", {"name": "mails", "engine": "none", "route": {"path": "/m"}}))
    assert lictor("why", "mails").stdout.splitlines()[-1] == (
        "now: none: its engine is none: lictor only routes it")
    lictor("apply", lictor.file("far.json", {**BOOKS, "name": "far", "node": "node-9"}))
    assert "now: nobody: nobody acts: node-9 is not in Consul" in lictor("why", "far").stdout
    assert lictor("why", "nobody").returncode == 1


NOW = datetime.datetime(2026, 3, 10, 14, 0, tzinfo=datetime.UTC)


@pytest.mark.parametrize(("text", "found"), [
    ("13:30", "2026-03-10T13:30"), ("14:30", "2026-03-09T14:30"), ("13:30:05", "2026-03-10T13:30:05"),
    ("2026-01-31", "2026-01-31"), ("2026-01-31T14:30", "2026-01-31T14:30"), ("2026-01-31 14:30", "2026-01-31T14:30"),
])
def test_a_time_is_of_this_machine_s_clock(text: str, found: str) -> None:
    local = datetime.datetime.fromisoformat(found).timestamp()
    assert story._parse_time(text, NOW.astimezone()) == local


@pytest.mark.parametrize(("text", "found"), [
    ("2026-01-31T14:30Z", "2026-01-31T14:30+00:00"), ("13:30+01:00", "2026-03-10T13:30+01:00"),
    ("13:30Z", "2026-03-10T13:30+00:00"),
])
def test_a_time_may_name_its_zone(text: str, found: str) -> None:
    assert story._parse_time(text, NOW) == datetime.datetime.fromisoformat(found).timestamp()


@pytest.mark.parametrize("text", ["", "soon", "25:00", "2026-13-01", "10", "-5m", "1e9", "14:30 or so", "1:30"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is neither a duration, such as 10m, nor a time, such as 14:30"):
        story._parse_time(text, NOW)


def test_replay_says_of_each_record_how_it_is_and_exits_by_it(lictor: Command) -> None:
    decided = {"at": 1e6, "kind": "start", "container": "books-2", "reason": "replicas key is 2, 1 run",
               "service": "books", "observation": observation_codec.export(scene(2, "passing"))}
    line = "start books-2: replicas key is 2, 1 run"
    same = lictor("replay", "-", given=json.dumps({"history": [decided, {"kind": "refused"}]}))
    assert (same.returncode, same.stderr) == (0, "")
    first, summary = same.stdout.splitlines()
    assert first.endswith(f"  books  same: {line}")
    assert summary == ("1 decisions: 1 same, 0 different, 0 cannot be told; "
                       "1 more records tell of no decision: of input, or of an end")
    others = [decided, {**decided, "container": "books-3"}, {**decided, "observation": {}}]
    done = lictor("replay", "-", given=json.dumps(others))
    assert done.returncode == 1 and [each[10:] for each in done.stdout.splitlines()][1:4] == [
        f"{first[10:].split('  same')[0]}  different", "start books-3: replicas key is 2, 1 run", line]
    assert "books  cannot be told: this is no observation" in done.stdout
    assert done.stdout.endswith("\n3 decisions: 1 same, 1 different, 1 cannot be told\n")
    listed = json.loads(lictor("replay", "-", "--json", given=json.dumps(others)).stdout)
    assert [each["verdict"] for each in listed] == ["same", "different", "cannot be told"]
    assert lictor("replay", "-", given=json.dumps(others[2:])).returncode == 1  # what is not known is not all right
    assert lictor("replay", "-", given="[").returncode == 1


def test_who_names_a_service_to_replay_is_told_where_its_records_are() -> None:
    done = CliRunner().invoke(main, ["replay", "no-such-file"])
    assert done.exit_code == 2 and "`lictor why NAME --json | lictor replay -` takes a service's records" in done.output
