"""logs and exec: the containers of a service that are lictor's own and on this node, by the real Docker."""

import os
import pty
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor import errors, model
from lictor.cli.instances import finding, output
from lictor.engines import docker as engine
from lictor.spec import service_spec

from lab.consul import Consul
from lab.daemon import wait_for
from lab.docker import Docker
from support.command import Command
from support.terminal import read_terminal

SAYS = "echo one; echo two; echo last; trap 'exit 0' TERM; while :; do busybox sleep 0.1; done"
BOOKS = {"name": "books", "image": "books-service:1.0", "port": "127.0.0.1::8080",
         "command": ["/bin/busybox", "sh", "-c", SAYS]}


@pytest.fixture
def lictor(consul: Consul, docker: Docker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    for key, value in docker.environ.items():
        monkeypatch.setenv(key, value)
    return Command(consul, tmp_path)


@pytest.fixture
def two(lictor: Command, docker: Docker) -> list[model.Container]:
    """Two instances; and what only looks like one."""
    docker.docker("run", "-d", "--name", "books-9", "-l", "lictor.service=books", "-l", "lictor.engine=docker",
                  "books-service:1.0", "/bin/busybox", "echo", "foreign")
    found = [start(1), start(2)]
    for each in found:
        wait_for(lambda each=each: docker.docker("logs", each.name).endswith("last"), "it has printed")  # type: ignore[misc]
    return found


class Followed:
    """A `lictor logs -f`, and the lines that it has printed so far."""

    def __init__(self, running: "subprocess.Popen[str]") -> None:
        self.running, self.lines = running, list[str]()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.running.stdout or ():
            self.lines.append(line.rstrip("\n"))

    def wait_line(self, line: str) -> None:
        wait_for(lambda: line in self.lines, f"{line} is printed")

    def stop(self) -> str:
        """End it, if it has not; returns what it had to say on stderr."""
        self.running.kill()
        self._reader.join(timeout=30)
        self.running.wait(timeout=30)
        return self.running.stderr.read() if self.running.stderr and not self.running.stderr.closed else ""


def start(number: int, **keys: Any) -> model.Container:
    return engine.start(service_spec.parse_spec({**BOOKS, **keys}, "test"), number=number, color="", release="r1")


def register(consul: Consul, node: str, container_id: str, status: str, service: str = "books") -> None:
    consul.request("PUT", "/v1/catalog/register", {
        "Node": node, "Address": "127.0.0.1",
        "Service": {"ID": container_id[:8], "Service": service, "Port": 1, "Meta": {"lictor-container": container_id}},
        "Check": {"CheckID": container_id[:8], "Name": "c", "Status": status, "ServiceID": container_id[:8]}})


def test_logs_and_exec_take_lictors_own_containers_by_their_names(two: list[model.Container], lictor: Command,
                                                                  consul: Consul, docker: Docker) -> None:
    lines = [f"books-{number} | {word}" for number in (1, 2) for word in ("one", "two", "last")]
    assert lictor("logs", "books").stdout.splitlines() == lines
    assert lictor("logs", "books", "--tail", "1").stdout.splitlines() == [lines[2], lines[5]]
    done = lictor("logs", "books-2", "--tail", "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "books-2 | last\n", "")
    exec_chooses_the_first_that_passes(two, lictor, consul)
    exec_passes_a_terminal_on(lictor)
    docker.docker("kill", "books-1")
    assert "books-1: none of its containers on this node runs: books-1 is exited" in (
        lictor("exec", "books-1", "true").stderr)
    lictor.environ["PATH"] = "/nowhere"
    done = lictor("exec", "books-2", "true")
    assert done.returncode == 1 and "exec needs the command `docker`, which is not installed here" in done.stderr


def exec_chooses_the_first_that_passes(two: list[model.Container], lictor: Command, consul: Consul) -> None:
    show = ("--", "busybox", "sh", "-c", "busybox hostname; exit 7", "-x")
    done = lictor("exec", "books", *show)
    assert (done.returncode, done.stdout.strip()) == (7, two[0].name)
    assert done.stderr == "lictor: in books-1; none of books on this node passes its check\n"
    register(consul, "node-2", two[0].id, "critical")
    register(consul, "node-2", two[1].id, "passing")
    done = lictor("exec", "books", *show)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (7, two[1].name, "lictor: in books-2\n")
    done = lictor("exec", "books-1", "busybox", "cat", given="what it is given")
    assert (done.returncode, done.stdout, done.stderr) == (0, "what it is given", "")
    address = lictor.environ["CONSUL_HTTP_ADDR"]
    lictor.environ["CONSUL_HTTP_ADDR"] = "127.0.0.1:9"
    done = lictor("exec", "books", *show)
    assert (done.returncode, done.stdout.strip()) == (7, two[0].name)
    assert done.stderr.startswith("lictor: which instances pass is unknown: ")
    lictor.environ["CONSUL_HTTP_ADDR"] = address


def exec_passes_a_terminal_on(lictor: Command) -> None:
    ours, theirs = pty.openpty()
    running = lictor.begin("exec", "books-1", "busybox", "sh", "-c", "busybox tty; exit 3", stdin=theirs, stdout=theirs)
    os.close(theirs)
    try:
        assert running.wait(timeout=150) == 3 and b"/dev/" in os.read(ours, 1000)
    finally:
        os.close(ours)


def test_what_ended_and_what_compose_made_is_among_them_and_no_log_hides_another(
        lictor: Command, docker: Docker) -> None:
    labels = {"lictor.service": "books", "lictor.engine": "compose", "lictor.number": "3", "lictor.container": "",
              "com.docker.compose.project": "p", "com.docker.compose.service": "books",
              "com.docker.compose.container-number": "1"}
    docker.docker("run", "-d", "--name", "p_books_1", *(word for key, value in labels.items()
                                                        for word in ("-l", f"{key}={value}")),
                  "books-service:1.0", "/bin/busybox", "sh", "-c",
                  "printf '\\033[31mred\\033[0m\\a\\n'; echo end; exit 3")
    start(1, logging={"driver": "none"}, command=["/bin/busybox", "sleep", "600"])
    wait_for(lambda: docker.containers("status=exited") == ["p_books_1"], "one has ended")
    done = lictor("logs", "books")
    assert done.returncode == 1 and done.stdout == "p_books_1 | \x1b[31mred\x1b[0m\a\np_books_1 | end\n"
    assert done.stderr.startswith("lictor: books-1: docker: logs of ") and len(done.stderr.splitlines()) == 1
    code, lines = read_terminal(lambda theirs: lictor.begin("logs", "books-3", stdout=theirs), 80)
    assert (code, lines) == (0, ["p_books_1 | red?", "p_books_1 | end"])


@pytest.fixture
def followed(two: list[model.Container], lictor: Command) -> Iterator[Followed]:
    found = Followed(lictor.begin("logs", "books", "-f", "--tail", "1"))
    try:
        yield found
    finally:
        found.stop()


def test_logs_are_followed_over_new_instances_until_interrupted_or_unread(followed: Followed, lictor: Command,
                                                                          docker: Docker) -> None:
    def print_in(name: str, text: str) -> None:
        docker.docker("exec", name, "busybox", "sh", "-c", f"echo {text} > /proc/1/fd/1")

    followed.wait_line("books-1 | last")
    followed.wait_line("books-2 | last")
    print_in("books-1", "more")
    followed.wait_line("books-1 | more")
    docker.docker("restart", "-t", "5", "books-1")
    followed.wait_line("books-1 | one")
    start(3)
    followed.wait_line("books-3 | one")
    theirs, ours = os.pipe()
    unread = Followed(lictor.begin("logs", "books", "-f", stdout=ours))
    os.close(ours)
    assert os.read(theirs, 1)
    os.close(theirs)  # its reader has seen enough
    print_in("books-2", "and more")
    followed.wait_line("books-2 | and more")
    assert unread.running.wait(timeout=150) == 141 and unread.stop() == ""
    followed.running.send_signal(signal.SIGINT)
    assert followed.running.wait(timeout=150) == 130 and followed.stop() == ""
    assert sorted(followed.lines[:2]) == ["books-1 | last", "books-2 | last"]
    assert [followed.lines.count(f"books-{number} | one") for number in (1, 2, 3)] == [1, 0, 1]


@pytest.mark.parametrize(("words", "code", "said"), [
    (("logs", "carts"), 1, "carts: no container that lictor made for it is on this machine; node-2 has instances. Run"),
    (("logs", "carts-4"), 1, "carts-4: no container that lictor made for it is on this machine; node-2 has instances"),
    (("exec", "nobody", "sh"), 1, "nobody: no container that lictor made for it is on this machine, and the catalogue"),
    (("exec", "books-9", "sh"), 1, "books-9: no container that lictor made for it is on this machine"),  # a foreign one
    (("logs", "--privileged"), 2, "No such option"),
    (("logs", "--", "--privileged"), 1, "NAME is '--privileged'; it must be 1 to 63 of"),
    (("logs", "books;reboot"), 1, "NAME is 'books;reboot'; it must be"),
    (("exec", "../books", "sh"), 1, "NAME is '../books'; it must be"),
    (("exec", "books"), 2, "Missing argument"), (("exec", "books", "--"), 2, "Missing argument"),
    (("exec", "--privileged", "books", "sh"), 2, "No such option"), (("logs", "books", "--tail", "-1"), 2, "--tail"),
])
def test_what_is_not_here_is_refused_with_the_nodes_that_have_it(lictor: Command, consul: Consul, docker: Docker,
                                                                 words: tuple[str, ...], code: int, said: str) -> None:
    docker.docker("create", "--name", "books-9", "-l", "lictor.service=books", "-l", "lictor.engine=docker",
                  "books-service:1.0")
    register(consul, "node-2", "f" * 64, "passing", "carts-green")
    done = lictor(*words)
    assert (done.returncode, done.stdout) == (code, "") and said in done.stderr


@pytest.mark.usefixtures("two")
def test_the_instances_that_are_here_are_named_where_another_one_was_meant(lictor: Command, consul: Consul) -> None:
    done = lictor("logs", "books-9")
    assert done.returncode == 1 and done.stderr == (
        "lictor: books-9: books has no such instance on this node; it has books-1 and books-2\n")
    register(consul, "node-2", "f" * 64, "passing", "books-9")  # a service of that name, elsewhere
    assert "node-2 has instances. Run it there" in lictor("logs", "books-9").stderr


def test_a_machine_without_docker_names_the_nodes_too(lictor: Command, consul: Consul) -> None:
    register(consul, "node-2", "f" * 64, "passing")
    lictor.environ["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    done = lictor("exec", "books", "sh")
    assert done.returncode == 1 and done.stderr.startswith("lictor: books: docker: connect: ")
    assert done.stderr.endswith("; node-2 has instances. Run it there\n")


def container(name: str, service: str, number: int, color: str = "") -> model.Container:
    return model.Container("f" * 64, name, service, number, color, "i", "r", "running", 1.0, 1.0, None)


HERE = [container("books-1", "books", 1), container("books-2", "books", 2), container("p_books_1", "books", 3),
        container("carts-blue-1", "carts", 1, "blue"), container("carts-green-1", "carts", 1, "green"),
        container("books-2-1", "books-2", 1)]


@pytest.fixture
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "_list", lambda service: [each for each in HERE if each.service == service])


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize(("word", "found"), [
    ("books", ["books-1", "books-2", "p_books_1"]), ("books-1", ["books-1"]), ("books-3", ["p_books_1"]),
    ("books-4", []), ("books-01", []), ("books-2-1", ["books-2-1"]), ("carts-1", ["carts-blue-1", "carts-green-1"]),
    ("carts-green-1", ["carts-green-1"]), ("carts-green", []), ("green-1", []), ("-1", []), ("books-" + "9" * 99, []),
])
def test_a_word_is_a_service_or_an_instance_of_one(word: str, found: list[str]) -> None:
    assert [each.name for each in finding.find(word)] == found


@pytest.mark.usefixtures("_here")
def test_a_word_that_is_both_is_refused() -> None:
    with pytest.raises(errors.Refused, match="books-2 is a service, and also an instance of books"):
        finding.find("books-2")


@pytest.mark.parametrize(("pieces", "lines"), [
    ([], []), ([b"a"], [b"a"]), ([b"a\nb"], [b"a", b"b"]), ([b"a", b"b\n", b"\n"], [b"ab", b""]),
    ([b"a\r\nb\rc\r\n"], [b"a", b"b\rc"]), ([b"x" * 70_000, b"y\n"], [b"x" * 70_000, b"y"]),
])
def test_pieces_are_put_together_to_lines(pieces: list[bytes], lines: list[bytes]) -> None:
    assert list(output.split_lines(pieces)) == lines


def test_the_catalogue_names_some_nodes_and_counts_the_rest() -> None:
    assert [finding._join(f"n{number}" for number in range(count)) for count in (1, 2, 7)] == [
        "n0", "n0 and n1", "n0, n1, n2, n3, n4 and 2 more"]
