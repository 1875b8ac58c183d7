"""Run twenty loads through lictor's autoscaler, the HPA's formula and a pair of thresholds, in simulated time."""

import sys

from lab.autoscale.planners import Hpa, Ours, Thresholds
from lab.autoscale.shapes import SHAPES
from lab.autoscale.simulator import run


def main() -> int:
    """Print moves, instance minutes and late seconds of each planner for each shape."""
    only = sys.argv[1:]
    print(f"{'':32}" + "".join(f"{name:>24}" for name in ("lictor", "HPA", "thresholds")))
    for shape in SHAPES:
        if only and shape.name not in only:
            continue
        ours = Ours(shape)
        results = [run(shape, planner) for planner in (ours, Hpa(shape), Thresholds(shape))]
        print(f"{shape.name:32}" + "".join(
            f"{each.moves:6} {each.instance_min:8.0f}' {each.late_s:6}s " for each in results))
        if only:
            print("\n".join(ours.reasons), results[0].counts, results[1].counts, results[2].counts, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
