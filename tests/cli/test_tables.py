"""Tables are readable at any width: on a narrow terminal, on a wide one, and in a pipe."""

import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.cli import tables

from lab.consul import Consul
from support.command import Command
from support.terminal import read_terminal

HEADINGS = ["SERVICE", "PASSING", "IMAGE", "NODE", "STATE"]
LONG = "converging: replicas key is 3. books-1 on node-1 is critical: 404 Not Found"
ROWS = [["books", "3/3", "books:1", "node-1", "as desired"], ["carts", "0/1", "carts:1.0", "node-2", LONG]]
WIDE_IMAGE = [["books", "3/3", "registry.example.com/team/books:1", "node-1", "as desired"]]


@pytest.mark.parametrize(("rows", "width", "lines"), [
    (ROWS, None, ["SERVICE  PASSING  IMAGE      NODE    STATE",
                  "books    3/3      books:1    node-1  as desired",
                  f"carts    0/1      carts:1.0  node-2  {LONG}"]),
    (ROWS, 60, ["SERVICE  PASSING  IMAGE      NODE    STATE",
                "books    3/3      books:1    node-1  as desired",
                "carts    0/1      carts:1.0  node-2",
                "  converging: replicas key is 3. books-1 on node-1 is",
                "  critical: 404 Not Found"]),
    (ROWS, 36, ["SERVICE  PASSING  IMAGE      NODE",
                "books    3/3      books:1    node-1",
                "  as desired",
                "carts    0/1      carts:1.0  node-2",
                "  converging: replicas key is 3.",
                "  books-1 on node-1 is critical: 404",
                "  Not Found"]),
    (WIDE_IMAGE, 40, ["SERVICE  PASSING  NODE",
                      "books    3/3      node-1",
                      "  IMAGE registry.example.com/team/books:1",  # no value is cut
                      "  as desired"]),
    ([["books", "0/1", "books:1 (desired: registry.example.com/team/books:2)", "node-1", "x"]], 40, [
        "SERVICE  PASSING  NODE", "books    0/1      node-1", "  IMAGE books:1 (desired:",
        "  registry.example.com/team/books:2)", "  x"]),
    (ROWS[:1], 3, ["SERVICE", "books", "  PASSING 3/3", "  IMAGE books:1", "  NODE node-1", "  as desired"]),
    ([], 60, ["SERVICE  PASSING  IMAGE  NODE"]),
])
def test_what_has_no_room_stands_below_its_row(rows: list[list[str]], width: int | None, lines: list[str]) -> None:
    assert tables.lay_out(HEADINGS, rows, width) == lines


WORDS = st.text("abc-./:", min_size=1, max_size=30)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS, st.lists(WORDS, max_size=12).map(" ".join)), max_size=5),
       st.none() | st.integers(1, 130))
def test_nothing_is_left_out_and_no_line_is_longer_than_a_value_needs(
        rows: list[tuple[str, ...]], width: int | None) -> None:
    lines = tables.lay_out(HEADINGS[:2] + HEADINGS[3:], rows, width)
    words = [word for line in lines for word in line.split()]
    for row in rows:
        assert all(word in words for cell in row for word in cell.split())
    if width is None:
        assert len(lines) == 1 + len(rows)
    else:
        longest = max([len(word) for word in words], default=0) + len("  PASSING ")
        assert all(len(line) <= max(width, longest, 20) for line in lines)


BOOKS = {"name": "books-service", "image": "registry.example.com/team/books-service:1.0", "port": 8080,
         "route": {"path": "/api/v1/books", "host": "books.example.com"}}


@pytest.fixture
def lictor(consul: Consul, tmp_path: Path) -> Command:
    command = Command(consul, tmp_path)
    command("apply", command.file("books.json", BOOKS))
    command("hold", "books-service", "until Monday, as the database is moved to another machine, and nobody may write")
    return command


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_narrow_terminal_shows_what_matters(lictor: Command, columns: int, no_color: str) -> None:
    lictor.environ["NO_COLOR"] = no_color
    code, lines = read_terminal(lambda theirs: lictor.begin("status", stdout=theirs), columns)
    assert code == 0 and lines[0].startswith("SERVICE        PASSING  ")
    assert lines[1].startswith("books-service  0/1      ") and max(map(len, lines)) <= columns
    assert "\x1b" not in "".join(lines)
    assert "on hold: the hold key is set (until Monday, as" in " ".join(" ".join(lines).split())


def test_in_a_pipe_a_row_is_one_line(lictor: Command) -> None:
    heads, row = lictor("status").stdout.splitlines()
    assert heads.endswith("  STATE") and row.endswith("and nobody may write)") and len(row) > 200


def test_a_watch_shows_what_changes_until_it_is_interrupted(lictor: Command, consul: Consul) -> None:
    running = lictor.begin("status", "--watch", "books-service")
    try:
        assert running.stdout
        lines = iter(running.stdout.readline, "")
        assert any("on hold: the hold key is set" in line for line in lines)
        lictor("resume", "books-service")
        assert any(line.startswith("books-service") and "on hold" not in line for line in lines)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == 130
    finally:
        running.kill()
        running.communicate()
    assert lictor("status", "--watch", "--json").returncode == 2


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_release_on_a_terminal_has_colors_only_if_they_are_welcome(lictor: Command, consul: Consul,
                                                                     no_color: str) -> None:
    lictor("resume", "books-service")
    consul.request("PUT", "/v1/catalog/register", {"Node": "node-2", "Address": "127.0.0.1", "Service": {
        "ID": "books-1", "Service": "books-service", "Port": 8080,
        "Meta": {"lictor-container": "c1", "lictor-image": "books:2"}}})
    lictor.environ |= {"NO_COLOR": no_color, "TERM": "xterm"}
    for limit in ("1s", "10s", "100s"):  # until it has looked at the release before the time is over
        code, lines = read_terminal(lambda theirs, limit=limit: lictor.begin(  # type: ignore[misc]
            "deploy", "books-service", "books:2", "--wait", "--timeout", limit, stdout=theirs), 80)
        text = "\n".join(lines)
        if "passes" in text:
            break
    assert code == 75 and "passes" in text and ("\x1b[32m" in text) == (not no_color)
