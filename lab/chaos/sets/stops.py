"""The verdict on containers that somebody else than we ended. Pure."""

from collections.abc import Sequence

from lab.chaos.sets.timeline import Round
from lab.chaos.sets.verdict import gives_up_majority, seat_at
from lab.chaos.timeline import Deed, Event
from lab.chaos.verdict import Life, lives


def stops(events: Sequence[Event], deeds: Sequence[Deed], rounds: Sequence[Round]) -> list[str]:
    """List members that were ended while they were configured, but to start them anew while a majority stayed."""
    everyone = lives(events, deeds)
    violations = []
    for life in everyone:
        seat = seat_at(rounds, number_of(life.name), life.left) if life.left is not None else None
        if life.left is None or seat is None:
            continue
        what = f"{life.name} ({life.container[:12]}) was ended at {life.left:.3f}, while it was a member"
        if not any(_is_anew(other, life) for other in everyone):
            violations.append(f"{what}, and it was not started again")
        elif why := gives_up_majority(rounds, seat, life.left):
            violations.append(f"{what}: {why}")
    return violations


def number_of(name: str) -> int:
    return int(name.rpartition("-")[2])


def _is_anew(other: Life, life: Life) -> bool:
    return other.name == life.name and life.left is not None and other.started > life.left
