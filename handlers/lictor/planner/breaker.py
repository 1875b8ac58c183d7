"""Whether one more running container may be replaced: the budget, and the breaker that opens when it is spent. Pure."""

from lictor.planner import budget
from lictor.planner.observation import Observation
from lictor.planner.self_preservation import Doubt
from lictor.planner.service_state import Breaker

TRY_AGAIN_S = 1800.0
CLOSES_AFTER_S = 600.0


def obstacle(seen: Observation) -> Doubt | None:
    """Why none may be replaced now; None: one may."""
    opened = seen.state.breaker
    if opened is None:
        return Doubt(spent(seen)) if spent(seen) else None
    tries = [each.at for each in seen.reservations
             if each.service == seen.desired.name and opened.opened_at < each.at <= seen.now]
    next_try = max([opened.opened_at, *tries]) + TRY_AGAIN_S
    if seen.now >= next_try and not spent(seen):
        return None
    return Doubt(f"the breaker is open, as {opened.why}; one more try {max(next_try - seen.now, 0) / 60:.0f} min from "
                 f"now, or after `lictor resume {seen.desired.name}`", next_try)


def spent(seen: Observation) -> str:
    """Which budget is spent; "": none."""
    spec = seen.desired.spec
    own = (spec.heal.budget, float(spec.heal.per)) if spec else (0, 0.0)
    return budget.spent(seen.reservations, seen.desired.name, seen.now, own=own,
                        fleet=(seen.rules.budget, seen.rules.per_s))


def opened(seen: Observation) -> Breaker | None:
    """The breaker as it opens when a replacement is due and no budget is left for it."""
    return Breaker(seen.now, spent(seen)) if spent(seen) else None
