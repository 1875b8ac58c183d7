"""Tables on a terminal, drawn by rich. Imported where one is drawn, as rich takes as long to load as a verb takes."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lictor.adapters.text import one_line

if TYPE_CHECKING:
    from lictor.cli.cluster_report import SetReport
    from lictor.cli.release_progress import Progress, Request
    from lictor.cli.status_report import Status


class _Terminal(Console):

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would call it a failure


# A pipe has no width of its own, and stdout may be closed.
_OUT = _Terminal(highlight=False, width=None if sys.stdout and sys.stdout.isatty() else 240)


def print_statuses(rows: "list[Status]") -> None:
    """Print a line for each service."""
    table = Table(box=None, pad_edge=False)
    has_colors = any(row.color for row in rows)
    for heading in ("SERVICE", "PASSING", "IMAGE", *(["COLOR"] if has_colors else []), "NODE", "ROUTE", "NGINX ON",
                    "STATE"):
        table.add_column(heading, no_wrap=heading in ("SERVICE", "PASSING"))  # the others wrap on a narrow terminal
    for row in rows:
        table.add_row(row.name, f"{row.passing}/{row.desired}", row.image, *([row.color or "-"] if has_colors else []),
                      row.node or row.engine, row.route, ", ".join(row.served_by) or "-", Text(one_line(row.says)))
    _OUT.print(table)


def print_members(found: "SetReport") -> None:
    """Print a line for each member of a set with state, and what its last change was."""
    table = Table(box=None, pad_edge=False)
    for heading in ("MEMBER", "ROLE", "VOTE", "BEHIND", "TERM", "ADDRESS", "STATE"):
        table.add_column(heading, no_wrap=heading == "MEMBER")
    for member in found.members:
        table.add_row(member.name, member.role or "-", "yes" if member.votes else "no", member.behind or "-",
                      str(member.term), member.address, Text(one_line(member.state)))
    if found.members:
        _OUT.print(table)
        _OUT.print(Text(f"term {found.term}; last change: {found.last_change or 'none is recorded'}"))
    _OUT.print(Text(one_line(found.says)))


def can_be_redrawn() -> bool:
    """Decide whether stdout is a terminal on which lines can be written again."""
    return _OUT.is_terminal and not _OUT.is_dumb_terminal


@contextlib.contextmanager
def redrawn(request: "Request", timeout_s: float) -> Iterator[Callable[["Progress"], None]]:
    """Yield what draws a look at the release in the place of the last one."""
    with Live(console=_OUT, auto_refresh=False, transient=True) as live:
        yield lambda progress: live.update(_view(request, progress, timeout_s), refresh=True)


def _view(request: "Request", progress: "Progress", timeout_s: float) -> Group:
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in progress.new_instances:
        table.add_row(Text(f"  {each.service_id}"), Text(each.node),
                      Text(each.described, style="green" if each.passes else "yellow"))
    return Group(Text(f"{request.image}: {one_line(progress.stage)}"), table,
                 Text(f"{progress.elapsed_s:.0f} s of at most {timeout_s:g} s", style="dim"))
