"""Tables of plain text. In a pipe a row is one line, however long. On a terminal what has no room stands below its row.
"""

import os
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lictor.adapters.text import one_line

if TYPE_CHECKING:
    from lictor.cli.cluster_report import SetReport
    from lictor.cli.page.service import Page
    from lictor.reconcile.status.instances import InstanceRow
    from lictor.reconcile.status.status_report import Status

_GAP = "  "
_TIED = "\xa0"  # a blank at which no line is broken; none of the cells has one
_NARROWEST = 20  # that a sentence is wrapped to
_USUAL_WIDTH = 80  # of a terminal that does not know its own, such as a serial line


def print_statuses(rows: "list[Status]") -> None:
    """Print a line for each service."""
    has_colors = any(row.color for row in rows)
    print_table(
        ["SERVICE", "PASSING", "IMAGE", *(["COLOR"] if has_colors else []), "NODE", "ROUTE", "NGINX ON", "STATE"],
        [[row.name, f"{row.passing}/{row.desired}", row.images, *([row.color or "-"] if has_colors else []),
          row.node or row.engine, _shorten(row.routes), ", ".join(row.served_by) or "-", row.says] for row in rows])


def _shorten(routes: Sequence[str]) -> str:
    """Show the first route, and how many there are beside it."""
    return f"{routes[0]} +{len(routes) - 1}" if routes[1:] else "".join(routes)


def print_members(found: "SetReport") -> None:
    """Print a line for each member of a set with state, and what its last change was."""
    if found.members:
        print_table(
            ["MEMBER", "ROLE", "VOTE", "BEHIND", "TERM", "ADDRESS", "STATE"],
            [[member.name, member.role or "-", "-" if member.votes is None else "yes" if member.votes else "no",
              member.behind or "-", str(member.term or "-"), member.address or "-", member.state]
             for member in found.members])
        _print(one_line(f"term {found.term}; last change: {found.last_change or 'none is recorded'}"))
    _print(one_line(found.says))


def print_page(page: "Page") -> None:
    """Print all that there is to see of one service."""
    print_statuses([page.row])
    for problem in page.row.problems:
        _print(one_line(f"refused: {problem}"))
    if page.members:
        print_members(page.members)
    _print_instances(page.instances)
    for heading, lines in (("release", [page.release]), ("url", page.urls), ("nginx", [page.nginx]),
                           ("event", page.events)):
        for line in filter(None, lines):
            _print(one_line(f"{heading}: {line}"))


def _print_instances(rows: "list[InstanceRow]") -> None:
    if not rows:
        return
    counts, weighs = any(row.in_flight is not None for row in rows), len({row.weight for row in rows}) > 1
    print_table(
        ["INSTANCE", "NODE", "ADDRESS", "NGINX ON", *(["WEIGHT"] if weighs else []), *(["IN FLIGHT"] if counts else []),
         "CONDITION"],
        [[row.service_id, row.node, row.address, ", ".join(row.nginx_on) or "-", *([str(row.weight)] if weighs else []),
          *(["-" if row.in_flight is None else str(row.in_flight)] if counts else []), row.condition] for row in rows])


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their headings; the last column is a sentence."""
    is_terminal = sys.stdout and sys.stdout.isatty()  # it may be closed
    width = os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL_WIDTH if is_terminal else None
    for line in lay_out(headings, [[one_line(cell) for cell in row] for row in rows], width):
        _print(line)


def lay_out(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Lay out the lines. Columns that have no room in `width` (None: there is no limit) stand below each row with their
    headings, and the last one, which is a sentence, below the rows in which it has none."""
    widths = [max(map(len, cells)) for cells in zip(headings, *rows, strict=True)]
    *columns, last = range(len(headings))
    inline = _choose_inline(widths, columns, width)
    if width is None:
        return [_join(row, inline, widths, row[last]) for row in (headings, *rows)]
    below = [column for column in columns if column not in inline]
    room = 0 if below else width - sum(widths[column] + len(_GAP) for column in inline)
    has_sentences = any(len(row[last]) <= room for row in rows) and len(headings[last]) <= room
    lines = [_join(headings, inline, widths, headings[last] if has_sentences else "")]
    for row in rows:
        is_inline = len(row[last]) <= room
        lines += [_join(row, inline, widths, row[last] if is_inline else ""),
                  *_fold([(headings[each], row[each]) for each in below], width),
                  *_wrap("" if is_inline else row[last], width)]
    return lines


def _wrap(sentence: str, width: int) -> list[str]:
    return textwrap.wrap(sentence, max(width, _NARROWEST), initial_indent=_GAP, subsequent_indent=_GAP,
                         break_long_words=False, break_on_hyphens=False)


def _print(line: str) -> None:
    """Print a line in the terminal's own encoding, which click replaces where it is too small."""
    print(line, flush=True)


def _choose_inline(widths: Sequence[int], columns: Sequence[int], width: int | None) -> list[int]:
    """Choose the columns that have room beside each other, from left to right; the first always has."""
    inline, used = [columns[0]], widths[columns[0]]
    for column in columns[1:]:
        if width is None or used + len(_GAP) + widths[column] <= width:
            inline.append(column)
            used += len(_GAP) + widths[column]
    return inline


def _join(cells: Sequence[str], inline: Sequence[int], widths: Sequence[int], last: str) -> str:
    return _GAP.join([*(f"{cells[column]:<{widths[column]}}" for column in inline), last]).rstrip()


def _fold(pairs: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Put as many pairs of heading and value into a line as it has room for."""
    lines: list[str] = []
    for pair in (f"{heading}{_TIED}{value}" for heading, value in pairs if value):
        if lines and len(lines[-1]) + len(_GAP) + len(pair) <= width:
            lines[-1] += _GAP + pair
        else:
            lines += _wrap(pair, width)
    return [line.replace(_TIED, " ") for line in lines]
