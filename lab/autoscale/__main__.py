"""Run twenty loads through lictor's autoscaler, the HPA's formula and a pair of thresholds, in simulated time.

Prints moves, instance minutes and late seconds (more than 5 of 100 answers were slower than the target) of each, as
means of three seeds, and their totals by seed. A rival that is cheaper because it is late for longer is told. Exit code
1: one is better without that.

With --real it is a load test of lictor's alone, on the real Consul, nginx and Docker: --real --help says more.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import NamedTuple

from lab.autoscale.planners import Hpa, Ours, Thresholds
from lab.autoscale.shapes import SHAPES
from lab.autoscale.simulator import Outcome, Planner, Shape, run

PLANNERS: dict[str, Callable[[Shape], Planner]] = {"lictor": Ours, "HPA": Hpa, "thresholds": Thresholds}
MEASURES = ("moves", "instance min", "late s")
_LATE = MEASURES.index("late s")
_SEEDS = (1, 2, 3)


class Totals(NamedTuple):
    """The sums of one planner over shapes, or their means over seeds."""

    moves: float
    instance_min: float
    late_s: float


def measure(case: tuple[int, str]) -> list[Outcome]:
    """Run one shape with a seed through all planners."""
    seed, name = case
    shape = next(each for each in SHAPES if each.name == name)
    return [run(shape, make(shape), seed) for make in PLANNERS.values()]


def total(outcomes: Sequence[Sequence[Outcome]]) -> list[Totals]:
    """Add the outcomes of each planner."""
    return [Totals(sum(each.moves for each in column), sum(each.instance_min for each in column),
                   sum(each.late_s for each in column)) for column in zip(*outcomes, strict=True)]


def mean(outcomes: Sequence[Sequence[Outcome]], of: int) -> list[Totals]:
    """Take the mean of each planner's outcomes over so many seeds."""
    return [Totals(*(value / of for value in each)) for each in total(outcomes)]


def better(totals: Sequence[Totals]) -> list[tuple[str, str, bool]]:
    """Name each other planner and total in which it is better than the first; and whether it pays with being late."""
    names, ours = list(PLANNERS), totals[0]
    return [(names[number], measure, other.late_s > ours.late_s)
            for number, other in enumerate(totals) for at, measure in enumerate(MEASURES)
            if round(other[at], 6) < round(ours[at], 6)]


def explain(name: str, seed: int) -> None:
    """Print each decision of lictor's autoscaler about one shape."""
    shape = next(each for each in SHAPES if each.name == name)
    planner = Ours(shape)
    outcome = run(shape, planner, seed)
    print("\n".join(planner.reasons), outcome.counts, sep="\n")


def main(argv: list[str] | None = None) -> int:
    """Print the table, or the decisions about one shape; or run the load test."""
    words = sys.argv[1:] if argv is None else argv
    if "--real" in words:
        from lab.autoscale import real

        return real.main([word for word in words if word != "--real"])
    given = _arguments(words)
    names = given.shape or [shape.name for shape in SHAPES]
    seeds = given.seed or _SEEDS
    if given.explain:
        for name in names:
            explain(name, seeds[0])
        return 0
    cases = list(product(seeds, names))
    with ProcessPoolExecutor(given.processes) as pool:
        outcomes = dict(zip(cases, pool.map(measure, cases), strict=True))
    totals = mean(list(outcomes.values()), len(seeds))
    lost = better(totals)
    print("\n".join([*_tabulate(names, seeds, outcomes), _line("all", totals),
                     *([_describe(totals, *each) for each in lost] or ["lictor is best or equal in each total"])]))
    return 0 if all(is_late for _, _, is_late in lost) else 1


def _tabulate(names: Sequence[str], seeds: Sequence[int],
              outcomes: Mapping[tuple[int, str], Sequence[Outcome]]) -> Iterator[str]:
    yield f"{'':32}" + "".join(f"{name:>28}" for name in PLANNERS)
    yield f"{'':32}" + f"{'moves  inst. min   late s':>28}" * len(PLANNERS)
    for name in names:
        yield _line(name, mean([outcomes[seed, name] for seed in seeds], len(seeds)))
    for seed in seeds:
        yield _line(f"all, seed {seed}", total([outcomes[seed, name] for name in names]))


def _arguments(words: list[str]) -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="scripts/bench autoscale", description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("shape", nargs="*", help="only these; all twenty if none is named")
    options.add_argument("--explain", action="store_true", help="print each decision of lictor's, with the first seed")
    options.add_argument("--seed", type=int, action="append", help=f"may be given again; {_SEEDS} if none is given")
    options.add_argument("--processes", type=int, default=os.cpu_count())
    given = options.parse_args(words)
    if unknown := set(given.shape) - {shape.name for shape in SHAPES}:
        options.error(f"there is no shape {', '.join(sorted(unknown))}")
    return given


def _describe(totals: Sequence[Totals], name: str, measure: str, is_late: bool) -> str:
    ours, other = totals[0], totals[list(PLANNERS).index(name)]
    at = MEASURES.index(measure)
    text = f"{name} is better in {measure}: {other[at]:.0f}, and not {ours[at]:.0f}"
    return f"{text}. It is late for {other[_LATE]:.0f} s, and not {ours[_LATE]:.0f} s" if is_late else text


def _line(name: str, totals: Sequence[Totals]) -> str:
    return f"{name:32}" + "".join(f"{each.moves:10.0f} {each.instance_min:8.0f} {each.late_s:8.0f}" for each in totals)


if __name__ == "__main__":
    raise SystemExit(main())
