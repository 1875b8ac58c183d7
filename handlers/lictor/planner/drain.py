"""Drains: when an instance that was taken out of traffic may end.

It ends once no nginx lists it and three readings in a row show no open connection; at the latest after `drain`. Never
ended: the last useful instance that an nginx lists, as long as the service is desired.
"""

from lictor.model import Instance
from lictor.planner.actions import Drain, Remove, Stop, Wait, wait
from lictor.planner.members import Member, registrations
from lictor.planner.observation import Observation, drain_mark

IDLE_READS = 3  # in a row, before a drained container counts as idle


def end(member: Member, everyone: list[Member], observation: Observation,
        ending: type[Stop] | type[Remove] = Remove) -> Drain | Stop | Remove | Wait:
    """End a draining member, or say what it waits for. A drain that was cut short is begun again first."""
    began_at, why = drain_mark(member.instance) or (observation.now, "")
    drain_s, is_last = observation.spec.drain, _is_last(member, everyone, observation)
    if any(is_to_be_marked(each, observation) for each in registrations(member, observation)):
        return Drain(member, why)
    if _is_idle(member, observation):
        return ending(member, f"drained: {why}")
    if observation.clock.age_s(began_at) >= drain_s and not is_last:
        return ending(member, f"drained for {drain_s:g} s, as long as allowed: {why}")
    return wait(ending(member, why), "draining", _busy(member, observation, is_last=is_last))


def are_under_way(everyone: list[Member], release: str, observation: Observation) -> bool:
    """Tell whether one that is not of the release still answers its last requests. With a scheduler that counts only
    for as long as it may take: its registration may be left over."""
    longest_s = observation.spec.drain + observation.spec.stop_grace_period
    marks = [drain_mark(member.instance) for member in everyone
             if member.condition == "draining" and member.release != release]
    return any(mark and not (observation.scheduler and observation.clock.is_late(mark[0], longest_s)) for mark in marks)


def is_to_be_marked(instance: Instance, observation: Observation) -> bool:
    """Tell whether nothing says since when it drains: it has no mark, or one of a time that no clock here had."""
    mark = drain_mark(instance)
    return mark is None or mark[0] == 0 or observation.clock.is_foreign(mark[0])


def is_listed(member: Member, observation: Observation) -> bool:
    """Tell whether the nginx of a live node may send requests to it."""
    return any((instance.node, instance.service_id) in observation.serving
               for instance in registrations(member, observation))


def _is_idle(member: Member, observation: Observation) -> bool:
    container_id = member.container.id
    return (not is_listed(member, observation) and observation.in_flight.get(container_id) == 0
            and observation.idle_reads.get(container_id, 0) >= IDLE_READS)


def _is_last(member: Member, everyone: list[Member], observation: Observation) -> bool:
    """Tell whether an nginx would be left without any useful instance; for a critical one it is not worth a wait."""
    is_useful = any(instance.status != "critical" for instance in registrations(member, observation))
    return is_useful and is_listed(member, observation) and observation.target > 0 and not any(
        _outlasts(other, member) and is_listed(other, observation) for other in everyone)


def _busy(member: Member, observation: Observation, *, is_last: bool) -> str:
    in_flight = observation.in_flight.get(member.container.id)
    if is_last:
        return "it is the last that an nginx lists"
    if is_listed(member, observation):
        return "an nginx still lists it"
    return ("it cannot be seen whether it is idle" if in_flight is None else
            f"{in_flight} connections or requests to it are open")


def _outlasts(other: Member, member: Member) -> bool:
    """Tell whether the other one is still useful when the member has gone: of two that drain, the later one is."""
    if other.instance and other.instance.status == "critical":
        return False
    mark, other_mark = drain_mark(member.instance), drain_mark(other.instance)
    if mark and other_mark and other.condition == "draining":
        return (other_mark[0], other.container.id) > (mark[0], member.container.id)
    return other.condition not in ("gone", "leaving")
