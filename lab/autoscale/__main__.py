"""Run twenty loads through lictor's autoscaler, the HPA's formula and a pair of thresholds, in simulated time.

Prints moves, instance minutes and late seconds (more than 5 of 100 answers were slower than the target) of each, and
their totals. Exit code 1: lictor's total is not the best or equal in one of them.
"""

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

from lab.autoscale.planners import Hpa, Ours, Thresholds
from lab.autoscale.shapes import SHAPES
from lab.autoscale.simulator import Outcome, Planner, Shape, run

PLANNERS: dict[str, Callable[[Shape], Planner]] = {"lictor": Ours, "HPA": Hpa, "thresholds": Thresholds}
MEASURES = ("moves", "instance min", "late s")


class Totals(NamedTuple):
    """The sums of one planner over shapes."""

    moves: int
    instance_min: float
    late_s: int


def measure(name: str, seed: int = 1) -> list[Outcome]:
    """Run one shape through all planners."""
    shape = next(each for each in SHAPES if each.name == name)
    return [run(shape, make(shape), seed) for make in PLANNERS.values()]


def total(outcomes: list[list[Outcome]]) -> list[Totals]:
    """Add the outcomes of each planner over all shapes."""
    return [Totals(sum(each.moves for each in column), sum(each.instance_min for each in column),
                   sum(each.late_s for each in column)) for column in zip(*outcomes, strict=True)]


def worse(totals: list[Totals]) -> list[str]:
    """Name the totals in which another planner is better than the first."""
    return [name for number, name in enumerate(MEASURES)
            if round(totals[0][number], 6) > min(round(each[number], 6) for each in totals[1:])]


def explain(name: str, seed: int) -> None:
    """Print each decision of lictor's autoscaler about one shape."""
    shape = next(each for each in SHAPES if each.name == name)
    planner = Ours(shape)
    outcome = run(shape, planner, seed)
    print("\n".join(planner.reasons), outcome.counts, sep="\n")


def main(argv: list[str] | None = None) -> int:
    """Print the table, or the decisions about one shape."""
    options = argparse.ArgumentParser(prog="python -m lab.autoscale", description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("shape", nargs="*", help="only these; all twenty if none is named")
    options.add_argument("--explain", action="store_true", help="print each decision of lictor's")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--processes", type=int, default=os.cpu_count())
    given = options.parse_args(argv)
    names = given.shape or [shape.name for shape in SHAPES]
    if unknown := set(names) - {shape.name for shape in SHAPES}:
        options.error(f"there is no shape {', '.join(sorted(unknown))}")
    if given.explain:
        for name in names:
            explain(name, given.seed)
        return 0
    with ProcessPoolExecutor(given.processes) as pool:
        outcomes = list(pool.map(partial(measure, seed=given.seed), names))
    print(_line("", list(PLANNERS)) + "\n" + _line("", ["moves  inst. min   late s"] * len(PLANNERS)))
    for name, found in zip(names, outcomes, strict=True):
        print(_line(name, [_cells(Totals(each.moves, each.instance_min, each.late_s)) for each in found]))
    totals = total(outcomes)
    print(_line("all", [_cells(each) for each in totals]))
    lost = worse(totals)
    print(f"lictor is {'not best in ' + ', '.join(lost) if lost else 'best or equal in each total'}")
    return 1 if lost else 0


def _line(name: str, cells: list[str]) -> str:
    return f"{name:32}" + "".join(f"{cell:>28}" for cell in cells)


def _cells(of: Totals) -> str:
    return f"{of.moves:5} {of.instance_min:10.0f} {of.late_s:8}"


if __name__ == "__main__":
    raise SystemExit(main())
