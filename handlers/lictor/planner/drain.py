"""Those that are taken out of traffic: when an instance has drained, and may end. Pure."""

from lictor.planner import actions
from lictor.planner.actions import Action
from lictor.planner.observation import Member, Observation, drain_mark, registrations

IDLE_READS = 3  # in a row, before a drained container counts as idle


def ending(member: Member, everyone: list[Member], seen: Observation, *, then: str = "remove") -> Action:
    """What comes of one that drains: `then`, or to wait for it."""
    mark = drain_mark(member.instance)
    assert mark is not None and member.instance is not None
    (since, why), drain_s = mark, seen.desired.spec.drain if seen.desired.spec else 0.0
    in_flight = seen.in_flight.get(member.container.id)
    served = is_listed(member, seen)
    if not served and in_flight == 0 and seen.idle_reads.get(member.container.id, 0) >= IDLE_READS:
        return actions.on(then, member, f"drained: {why}")
    # Else it is worth no waiting that nginx still lists it.
    is_of_use = any(each.status != "critical" for each in registrations(member, seen))
    is_last = is_of_use and served and seen.target > 0 and not any(
        _outlasts(each, member) and is_listed(each, seen) for each in everyone)
    if seen.now >= since + drain_s and not is_last:
        return actions.on(then, member, f"drained for {drain_s:g} s, as long as allowed: {why}")
    busy = "it is the last that an nginx lists" if is_last else "an nginx still lists it" if served else (
        "it cannot be seen whether it is idle" if in_flight is None else
        f"{in_flight} connections or requests to it are open")
    return actions.on("wait", member, f"drains: {busy}")


def is_listed(member: Member, seen: Observation) -> bool:
    """Whether the nginx of a live node may send requests to it."""
    return any((each.node, each.service_id) in seen.serving for each in registrations(member, seen))


def _outlasts(other: Member, member: Member) -> bool:
    """It runs on, and is of use, when the member has gone: of those that drain, the one whose drain began last."""
    if other.instance and other.instance.status == "critical":
        return False
    began, others = drain_mark(member.instance), drain_mark(other.instance)
    if began and others and other.condition == "draining":
        return (others[0], other.container.id) > (began[0], member.container.id)
    return other.condition not in ("gone", "leaving")
