"""A release on a terminal, drawn by rich in the place of the last look. Imported where one is drawn, as rich takes as
long to load as a verb takes. It heeds NO_COLOR."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lictor.adapters.text import one_line
from lictor.cli.release_progress import Progress, Request


class _Terminal(Console):

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would call it a failure


_OUT = _Terminal(highlight=False)


def can_be_redrawn() -> bool:
    """Decide whether stdout is a terminal on which lines can be written again."""
    return _OUT.is_terminal and not _OUT.is_dumb_terminal


@contextlib.contextmanager
def redrawn(request: Request, timeout_s: float) -> Iterator[Callable[[Progress], None]]:
    """Yield what draws a look at the release in the place of the last one."""
    with Live(console=_OUT, auto_refresh=False, transient=True) as live:
        yield lambda progress: live.update(_view(request, progress, timeout_s), refresh=True)


def _view(request: Request, progress: Progress, timeout_s: float) -> Group:
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in progress.new_instances:
        table.add_row(Text(f"  {each.service_id}"), Text(each.node),
                      Text(each.described, style="green" if each.passes else "yellow"))
    return Group(Text(f"{request.image}: {one_line(progress.stage)}"), table,
                 Text(f"{progress.elapsed_s:.0f} s of at most {timeout_s:g} s", style="dim"))
