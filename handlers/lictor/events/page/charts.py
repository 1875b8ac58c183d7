"""Small charts of the last minutes of a service's traffic, as points of lines. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.traffic import Slice

WIDTH, HEIGHT = 120, 28
_SLICES = 36  # six minutes
_NEWEST = 6  # of which numbers are told: a minute
_SHARES = {"p50_s": 0.5, "p95_s": 0.95}


class Chart(NamedTuple):
    """A line within WIDTH and HEIGHT; a gap splits it. `most` is what its top stands for."""

    lines: list[str]
    most: float


def describe(slices: Sequence[Slice]) -> dict[str, Any] | None:
    """Sum up the newest minute, and list what it is made of; None: nothing is counted."""
    if not slices:
        return None
    newest = traffic.add(slices[-_NEWEST:])
    return {
        "rate": round(newest.rate, 3), "error_share": round(newest.error_share, 4),
        **{key: _rounded(traffic.percentile(newest.times, share)) for key, share in _SHARES.items()},
        "slices": [{"at": each.at, "rate": round(each.rate, 3), "errors": each.failed,
                    "p95_s": _rounded(_percentile(each))} for each in slices[-_SLICES:]]}


def draw(values: Iterable[float | None]) -> Chart:
    """Draw values of equal distance, the newest at the right end; None is a gap."""
    found = list(values)[-_SLICES:]
    most = max((value for value in found if value is not None), default=0.0)
    step, lines = WIDTH / (_SLICES - 1), list[list[str]]([[]])
    for place, value in enumerate(found, start=_SLICES - len(found)):
        if value is None:
            lines.append([])
        else:
            lines[-1].append(f"{place * step:.1f},{HEIGHT - 1 - (HEIGHT - 2) * (value / most if most else 0.0):.1f}")
    return Chart([" ".join(line) for line in lines if line], most)


def _percentile(part: Slice) -> float | None:
    """Find the percentile of ten seconds; a line may be drawn of fewer answers than are decided upon."""
    total, seen = part.answers, 0
    for number in sorted(part.times):
        seen += part.times[number]
        if seen >= _SHARES["p95_s"] * total:
            return traffic.middle_s(number)
    return None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
