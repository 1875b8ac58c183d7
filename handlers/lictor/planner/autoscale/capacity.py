"""What was learned of the load that an instance of a release bears, and of the moves that were made for it. Pure.

Load is requests a second, and requests in progress, of one instance. Response time tells which load is too much; its
ratio to the target does not tell how many instances are needed, as it grows slowly first and then steeply.
"""

import math

import msgspec
from msgspec.structs import replace

BROKEN_FOR_S = 86400.0
_MOST = 1e6
MARGIN = 0.8  # the share of a known-good load that an instance is planned to have


class Load(msgspec.Struct, frozen=True):
    """The load of one instance."""

    rate: float = 0.0  # requests a second
    in_progress: float = 0.0


class Capacity(msgspec.Struct, frozen=True):
    """The highest load at which the target held, and the lowest at which it broke."""

    release: str = ""
    held: Load = Load()
    broke: Load = Load()
    broke_at: float = 0.0  # epoch seconds; 0.0: it never did


def of_release(known: Capacity, release: str, now: float) -> Capacity:
    """Forget what was learned of another release, and what broke long ago."""
    if known.release != release:
        return Capacity(release)
    is_old = known.broke_at > 0 and now - known.broke_at > BROKEN_FOR_S
    return replace(known, broke=Load(), broke_at=0.0) if is_old else known


def learn_held(known: Capacity, load: Load) -> Capacity:
    """Learn that the target held at a load."""
    return replace(known, held=Load(max(known.held.rate, load.rate), max(known.held.in_progress, load.in_progress)))


def learn_broke(known: Capacity, load: Load, now: float) -> Capacity:
    """Learn that the target broke at a load. A lower one at which it held was luck, or another kind of requests."""
    before = known.broke if known.broke_at else load
    held = Load(min(known.held.rate, load.rate), min(known.held.in_progress, load.in_progress))
    return replace(known, held=held, broke_at=now, broke=Load(
        min(before.rate, load.rate), min(before.in_progress, load.in_progress)))


def needed(known: Capacity, total: Load) -> int | None:
    """Count the instances for a load in all, by the rate: what is in progress is more when instances are slow.

    None: no load is known at which the target held.
    """
    return _count(total.rate, known.held.rate)


def needed_in_progress(known: Capacity, total: Load) -> int | None:
    """Count them by what is in progress: clients that wait for their answers ask more when they get them sooner."""
    return _count(total.in_progress, known.held.in_progress)


def _count(total: float, good: float) -> int | None:
    return max(1, math.ceil(min(total / (MARGIN * good), _MOST) - 1e-9)) if good else None
