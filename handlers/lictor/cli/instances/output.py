"""The output of containers, line by line, each behind the container's name; and what they print from now on."""

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import click

from lictor import errors, model
from lictor.adapters import docker
from lictor.adapters.text import one_line, printable
from lictor.engines import own_containers

_LONGEST_LINE_BYTES = 64 * 1024  # a longer one is printed in pieces
_MOST_WAITING = 1000  # lines; a container waits for a reader that is slower
_LOOK_AGAIN_S = 1.0  # for new instances


class _Line(NamedTuple):
    container: str
    text: bytes


class _Failure(NamedTuple):
    container: str
    error: errors.LictorError


def show(containers: Iterable[model.Container], tail: int | None) -> int:
    """Print what each container has printed, one after another; returns the worst exit code."""
    client, worst = docker.connect(), 0
    listed = list(containers)
    width = max((len(each.name) for each in listed), default=0)
    for container in listed:
        try:
            for line in split_lines(client.stream_logs(container.id, tail=tail)):
                _print(_Line(container.name, line), width)
        except errors.LictorError as error:  # a container whose log driver keeps nothing hides no other's
            _print(_Failure(container.name, error), width)
            worst = max(worst, error.exit_code)
    return worst


def follow(find: Callable[[], list[model.Container]], tail: int | None) -> None:
    """Print the last lines of all containers, and what they print from now on, also new ones, until interrupted."""
    lines: queue.Queue[_Line | _Failure] = queue.Queue(_MOST_WAITING)
    readers: dict[str, tuple[float, threading.Thread]] = {}  # by container id; of which start, and what reads it
    width, is_first = 0, True
    while True:
        for container in find():
            started_at, reader = readers.get(container.id, (-1.0, None))
            if started_at == container.started_at or reader and reader.is_alive():
                continue
            width = max(width, len(container.name))
            is_again = reader is not None
            reader = threading.Thread(target=_read, args=(container, tail if is_first else None, is_again, lines),
                                      daemon=True)
            readers[container.id] = container.started_at, reader
            reader.start()
        is_first = False
        _print_waiting(lines, width)


def split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Put pieces together to lines without their ends; a line that is too long comes in pieces again."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in whole)
        if len(rest) >= _LONGEST_LINE_BYTES:
            yield rest
            rest = b""
    if rest:
        yield rest


def _read(container: model.Container, tail: int | None, is_again: bool,
          lines: "queue.Queue[_Line | _Failure]") -> None:
    """Read from its begin on, or, if the container was started again, from the end of its last run on: Docker notes a
    start only after the first words."""
    try:
        since = own_containers.ended_at(container) if is_again else 0.0
        for line in split_lines(docker.connect().stream_logs(container.id, tail=tail, since=since, follow=True)):
            lines.put(_Line(container.name, line))
    except errors.LictorError as error:
        lines.put(_Failure(container.name, error))


def _print_waiting(lines: "queue.Queue[_Line | _Failure]", width: int) -> None:
    """Print what comes until it is time to look for new instances."""
    deadline = time.monotonic() + _LOOK_AGAIN_S
    while (left_s := deadline - time.monotonic()) > 0:
        try:
            _print(lines.get(timeout=left_s), width)
        except queue.Empty:
            return


def _print(line: _Line | _Failure, width: int) -> None:
    if isinstance(line, _Failure):
        click.echo(f"lictor: {line.container}: {one_line(str(line.error))}", err=True)
        return
    text = line.text.decode("utf-8", "replace")
    is_terminal = sys.stdout and sys.stdout.isatty()  # a pipe gets what the container has printed
    click.echo(f"{line.container:<{width}} | {printable(click.unstyle(text)) if is_terminal else text}",
               color=not is_terminal)
