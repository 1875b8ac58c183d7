"""How many running containers may be replaced because of what a check says: the key lictor/budget. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

KEY = "lictor/budget"
_KEPT_S = 86_400.0  # longer than any `per` that makes sense, so that one key never grows for ever


class Reservation(NamedTuple):
    """One replacement, written before it is begun and kept whatever becomes of it."""

    service: str
    container_id: str  # the one that is replaced
    at: float


def decode(text: bytes | None) -> tuple[Reservation, ...]:
    """The reservations; a key that is absent or damaged means none."""
    try:
        return tuple(msgspec.json.decode(text or b"[]", type=list[Reservation]))
    except (ValueError, RecursionError):
        return ()


def encode(reservations: Iterable[Reservation], now: float) -> bytes:
    """Those of the last day; what lies in the future was written by a wrong clock, and counts from now."""
    return msgspec.json.encode([each._replace(at=min(each.at, now)) for each in reservations
                                if now - each.at < _KEPT_S])


def used(reservations: Iterable[Reservation], now: float, per_s: float) -> int:
    """Those of the last `per_s`; what a clock that was wrong dated far into the future must not count for ever."""
    return sum(abs(now - each.at) < per_s for each in reservations)


def spent(reservations: tuple[Reservation, ...], service: str, now: float, *, own: tuple[int, float],
          fleet: tuple[int, float]) -> str:
    """Why one more replacement of the service is too many; "": it is not. The limits are (count, seconds)."""
    for words, found, (limit, per_s) in (
        ("its", [each for each in reservations if each.service == service], own),
        ("the fleet's", list(reservations), fleet),
    ):
        count = used(found, now, per_s)
        if count >= limit:
            return f"{words} budget is spent: {count} of {limit} replaced within {per_s / 60:g} min"
    return ""
