"""Whether one that runs and is ill may be replaced now, whoever would start the other one. Pure."""

from lictor import action, breaker, doubt
from lictor.action import Action
from lictor.observation import Member, Observation, critical_for_s


def reason(ill: Member, seen: Observation) -> str:
    return f"critical for {critical_for_s(ill, seen):.0f} s"


def obstacle(ill: Member, seen: Observation) -> Action | None:
    """What is to be said or asked first: a doubt, a consistent reading, the budget; None: it may be replaced."""
    unsure = doubt.doubt(seen)
    if unsure:
        return action.held(unsure, ill, f"replace it, {reason(ill, seen)}")
    if not seen.certain:
        return action.on("confirm", ill, f"{reason(ill, seen)}: a consistent reading has to show it too before it is "
                                         "replaced")
    spent = breaker.obstacle(seen)
    return action.held(spent._replace(until=0.0), ill, f"replace it, {reason(ill, seen)}") if spent else None
