"""The content of the key lictor/cluster/NAME: what is known of a set beside what can be seen now. Pure.

It is written before an act is carried out. If it is lost, a set that can be seen is learned again, and none is made:
a set is only made of a member whose start on an empty volume stands here.
"""

import msgspec
from msgspec.structs import replace

from lictor import errors
from lictor.planner.backoff import BACK_OFF_MAX_S, BACK_OFF_S, FORGET_FAILURES_S, LONGEST_WHY
from lictor.planner.service_state import Moment

KEY_PREFIX = "lictor/cluster/"
_MOST_PROVEN = 3
_SOON_S, _MOST_SOON = 2.0, 10


class Tries(msgspec.Struct, frozen=True):
    """The acts of one kind on one member that were begun in a row."""

    count: int
    last_at: Moment
    not_yet: int = 0  # of them that were put off by the kind, as something is still under way
    why: str = ""  # the last one failed; "": it is done, or its end is not known, or it is not the next step any more


class Kept(msgspec.Struct, frozen=True):
    """The knowledge of one set that is kept between two looks."""

    set_id: str = ""  # "": none is known to exist
    founder: str = ""  # the incarnation of the member that a set was, or is to be, made of; "": none
    joining: int = 0  # the number that was given to a newcomer; 0: none
    seated: tuple[int, ...] = ()  # the numbers in the last committed configuration
    term: int = 0  # of the last committed configuration
    version: int = 0
    proven: tuple[str, ...] = ()  # releases of which a member was healthy, the last one last
    ill_since: dict[str, Moment] = {}  # by name: ill or lost members
    headless_since: Moment = 0.0  # since when nobody's word counts; 0.0: somebody's does
    tries: dict[str, Tries] = {}  # by kind and name of the act


def note_try(kept: Kept, what: str, now: float) -> Kept:
    before = kept.tries.get(what)
    tries = replace(before, count=before.count + 1, last_at=now, why="") if before else Tries(1, now)
    return replace(kept, tries={**kept.tries, what: tries})


def note_failure(kept: Kept, what: str, error: errors.LictorError) -> Kept:
    """Note why the act failed that was begun last."""
    before = kept.tries.get(what)
    if not before:
        return kept
    why = " ".join(str(error).split())[:LONGEST_WHY].rstrip(" .")
    tries = replace(before, not_yet=before.not_yet + isinstance(error, errors.NotYet), why=why)
    return replace(kept, tries={**kept.tries, what: tries})


def keep_why_of(kept: Kept, what: str) -> Kept:
    """Forget why acts failed that are not the next step any more; `what` is the next one, if any."""
    return replace(kept, tries={each: tries if each == what else replace(tries, why="")
                                for each, tries in kept.tries.items()})


def retry_at(kept: Kept, what: str, *, is_urgent: bool = False) -> float:
    """Tell when an act may be tried again: 10 s after the first try, then after twice as long, up to 5 min.

    An urgent one is never put off for longer than 10 s. While the kind says no more than "not yet" it is after 2 s, ten
    times.
    """
    tries = kept.tries.get(what)
    if not tries:
        return 0.0
    failures = tries.count - min(tries.not_yet, _MOST_SOON)
    pause_s = min(BACK_OFF_S * 2.0 ** min(failures - 1, 30), BACK_OFF_MAX_S) if failures > 0 else _SOON_S
    return tries.last_at + (min(pause_s, BACK_OFF_S) if is_urgent else pause_s)


def prove(proven: tuple[str, ...], releases: set[str]) -> tuple[str, ...]:
    """Put releases that are healthy now behind the others."""
    return (*(each for each in proven if each not in releases), *sorted(releases))[-_MOST_PROVEN:]


def is_fresh(tries: Tries, now: float) -> bool:
    return now - tries.last_at < FORGET_FAILURES_S + BACK_OFF_MAX_S
