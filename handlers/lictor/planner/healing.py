"""Whether one that runs and is ill may be replaced now, whoever would start the other one. Pure."""

from lictor.planner import actions, breaker, self_preservation
from lictor.planner.actions import Action
from lictor.planner.observation import Member, Observation, critical_for_s


def reason(ill: Member, seen: Observation) -> str:
    return f"critical for {critical_for_s(ill, seen):.0f} s"


def obstacle(ill: Member, seen: Observation) -> Action | None:
    """What is to be said or asked first: a doubt, a consistent reading, the budget; None: it may be replaced."""
    unsure = self_preservation.doubt(seen)
    if unsure:
        return actions.held(unsure, ill, f"replace it, {reason(ill, seen)}")
    if not seen.certain:
        return actions.on("confirm", ill, f"{reason(ill, seen)}: a consistent reading has to show it too before it is "
                                         "replaced")
    spent = breaker.obstacle(seen)
    return actions.held(spent._replace(until=0.0), ill, f"replace it, {reason(ill, seen)}") if spent else None
