"""What was learned of the load that an instance of a release bears. Pure.

Load is requests a second, and requests in progress, of one instance. Response time tells which load is too much; its
ratio to the target does not tell how many instances are needed, as it grows slowly first and then steeply.

The highest load at which the target held only rises, but for one case: the target broke below it, and more instances
mended that, twice within a while. A disturbance that load does not explain teaches nothing, as it may pass by itself.
"""

import math
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

BROKEN_FOR_S = 86400.0
MARGIN = 0.8  # the share of a known-good load that an instance is planned to have
_MOST = 1e6
_ALIKE = 0.95  # loads that differ by less are the same


Amount = Annotated[float, Meta(ge=0, le=1e12)]


class Load(msgspec.Struct, frozen=True):
    """The load of one instance."""

    rate: Amount = 0.0  # requests a second
    in_progress: Amount = 0.0


class Capacity(msgspec.Struct, frozen=True):
    """The highest load at which the target held, and the lowest at which it broke."""

    release: str = ""
    held: Load = Load()
    broke: Load = Load()
    broke_at: Amount = 0.0  # epoch seconds; 0.0: it never did


def of_release(known: Capacity, release: str, now: float) -> Capacity:
    """Forget what was learned of another release, and what broke long ago."""
    if known.release != release:
        return Capacity(release)
    return _without_broke(known) if known.broke_at > 0 and now - known.broke_at > BROKEN_FOR_S else known


def learn_held(known: Capacity, load: Load) -> Capacity:
    """Learn that the target held at a load. If it broke at that load before, load was not why."""
    held = Load(max(known.held.rate, load.rate), max(known.held.in_progress, load.in_progress))
    is_refuted = known.broke_at and load.rate >= _ALIKE * known.broke.rate
    return replace(_without_broke(known) if is_refuted else known, held=held)


def explains(known: Capacity, load: Load) -> bool:
    """Whether a load is why the target broke: it is not known to have held at it."""
    return load.rate >= _ALIKE * known.held.rate


def learn_broke(known: Capacity, load: Load, now: float) -> Capacity:
    """Learn that the target broke at a load that explains it."""
    before = known.broke if known.broke_at else load
    held = Load(min(known.held.rate, load.rate), known.held.in_progress)
    return replace(known, held=held, broke_at=now, broke=Load(
        min(before.rate, load.rate), min(before.in_progress, load.in_progress)))


def learn_less(known: Capacity, broke: Load, held: Load, now: float) -> Capacity:
    """Learn that an instance bears less than it did: the target broke at one load, and more instances mended it."""
    return replace(known, held=held, broke=broke, broke_at=now)


def forget_broke(known: Capacity, since: float) -> Capacity:
    """Forget what broke since a time: more instances have not mended it, so that load was not why."""
    return _without_broke(known) if known.broke_at >= since else known


def needed(known: Capacity, total: Load) -> int | None:
    """Count the instances for a load in all, by the rate: what is in progress is more when instances are slow.

    None: no load is known at which the target held.
    """
    return count_for(total.rate, known.held.rate)


def needed_in_progress(known: Capacity, total: Load) -> int | None:
    """Count them by what is in progress: clients that wait for their answers ask more when they get them sooner."""
    return count_for(total.in_progress, known.held.in_progress)


def count_for(total: float, good: float) -> int | None:
    """Count the instances that each have a margin below the good load of one."""
    return max(1, math.ceil(min(total / (MARGIN * good), _MOST) - 1e-9)) if good > 0 else None


def _without_broke(known: Capacity) -> Capacity:
    return replace(known, broke=Load(), broke_at=0.0)
