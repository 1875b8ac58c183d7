"""Words for how a canary stands: both sides' numbers, the canary's first. Pure."""

from lictor.planner.autoscale.traffic import Side
from lictor.planner.canary import comparison
from lictor.planner.service_state import Trial
from lictor.spec.quantities import show_share

_MOST = 1_000_000


def describe(trial: Trial, color: str, live_color: str) -> str:
    """Say what share it has, and what was counted of both sides."""
    return f"canary of {show_share(trial.share)}: {compare(trial, color, live_color)}"


def compare(trial: Trial, color: str, live_color: str) -> str:
    return f"{_side(color, trial.canary)}; {_side(live_color, trial.live)}"


def sureness(chance: float) -> str:
    """Say how sure a worsening is: of how many such releases chance alone makes one fail."""
    among = _MOST if chance * _MOST <= 1 else int(1 / chance)
    return f"Chance makes as much of 1 of {among:,} releases{' at most' if among == _MOST else ''}"


def _side(color: str, side: Side) -> str:
    asked, times = comparison.requests(side), comparison.times_of(side.times)
    if not asked:
        return f"{color} got no request"
    took = f", typically {_milliseconds(times.typical_s)}" if times.answers else ""
    return f"{color} got {asked} requests, {comparison.error_share(side):.2%} errors ({side.errors}){took}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
