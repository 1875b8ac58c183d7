"""The circuit breaker: it opens when an unhealthy instance should be replaced and a budget is spent.

The budgets (of the service, and of the fleet in the key lictor/budget) count replacements of running containers. The
breaker closes after 10 minutes in which all is as desired, or by `lictor resume`; until then one replacement is tried
every half hour, if the budgets allow it.
"""

from collections.abc import Iterable

import msgspec

from lictor import model
from lictor.planner.actions import Obstacle
from lictor.planner.observation import Observation, Reservation
from lictor.planner.service_state import Breaker

KEY = "lictor/budget"
TRY_AGAIN_S = 1800.0
CLOSES_AFTER_S = 600.0
_KEPT_S = 86_400.0  # longer than any `per` that makes sense, so that the key does not grow for ever


def decode(text: bytes | None) -> tuple[Reservation, ...]:
    """Decode the reservations; a key that is absent or damaged holds none."""
    try:
        return tuple(msgspec.json.decode(text or b"[]", type=list[Reservation]))
    except (ValueError, RecursionError):
        return ()


def encode(reservations: Iterable[Reservation], now: float) -> bytes:
    """Encode the reservations of the last day."""
    return msgspec.json.encode([entry for entry in reservations if abs(now - entry.at) < _KEPT_S])


def obstacle(observation: Observation) -> Obstacle | None:
    """Say why no running instance may be replaced now; None: one may."""
    breaker, spent = observation.state.breaker, _spent(observation)
    if breaker is None:
        return Obstacle(spent) if spent else None
    tries = [entry.at for entry in observation.reservations
             if entry.service == observation.desired.name and breaker.opened_at < entry.at <= observation.now]
    next_try = max([breaker.opened_at, *tries]) + TRY_AGAIN_S
    if observation.now >= next_try and not spent:
        return None
    minutes = max(next_try - observation.now, 0) / 60
    return Obstacle(f"the breaker is open, as {breaker.why}; the next try is in {minutes:.0f} min, or after "
                    f"`lictor resume {observation.desired.name}`", next_try)


def advance(observation: Observation, *, due: str, is_well: bool) -> Breaker | None:
    """Open the breaker if a replacement is due by a reliable judgement (`due` says which) and a budget is spent; close
    it after a while in which all is well."""
    breaker, now = observation.state.breaker, observation.now
    if breaker is None:
        spent = _spent(observation) if due else ""
        return Breaker(now, f"{spent}, and {due}") if spent else None
    if breaker.well_since and observation.clock.age_s(breaker.well_since) >= CLOSES_AFTER_S and is_well:
        return None
    return Breaker(observation.began_at(breaker.opened_at), breaker.why,
                   observation.since(breaker.well_since or now) if is_well else 0.0)


def count_used(reservations: Iterable[Reservation], clock: model.Clock, per_s: float) -> int:
    """Count the replacements within a time. One far in the future was written by a wrong clock, and does not count."""
    return sum(abs(clock.now - clock.translated(entry.at)) < per_s for entry in reservations)


def _spent(observation: Observation) -> str:
    """Say which budget is spent; "": none."""
    heal, rules = observation.spec.heal, observation.rules
    own = [entry for entry in observation.reservations if entry.service == observation.desired.name]
    for words, reservations, limit, per_s in (
            ("its", own, heal.budget, heal.per), ("the fleet's", observation.reservations, rules.budget, rules.per_s)):
        used = count_used(reservations, observation.clock, per_s)
        if used >= limit:
            return f"{words} budget is spent: {used} of {limit} replaced within {per_s / 60:g} min"
    return ""
