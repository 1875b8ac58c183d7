"""The figures as tables that people read."""

from collections.abc import Mapping, Sequence
from typing import Any

from lab.bench.limits import Verdict

_OUTCOMES = {True: "holds", False: "FAILS", None: "not measured"}


def tell(parts: Mapping[str, Sequence[Mapping[str, Any]]], skipped: Sequence[str], verdicts: Sequence[Verdict]) -> None:
    for part, rows in parts.items():
        if rows:
            print(f"\n{part}")
            _table(rows)
    if skipped:
        print("\nnot measured")
        for line in skipped:
            print(f"  {line}")
    if verdicts:
        print("\nlimits")
        _table([{"": _OUTCOMES[each.holds], "limit": each.what, "value": each.value,
                 "at most": each.at_most, "at least": each.at_least} for each in verdicts])


def _table(rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, *([_text(row.get(key)) for key in columns] for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for number, line in enumerate(lines):
        cells = [cell.rjust(width) if number and _is_number(rows[number - 1].get(key)) else cell.ljust(width)
                 for cell, width, key in zip(line, widths, columns, strict=True)]
        print(f"  {'  '.join(cells)}".rstrip())


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))
