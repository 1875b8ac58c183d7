"""Fewer members: a vote is taken back, a member leaves the configuration, and then its instance ends. Pure."""

from lictor.planner.actions import Wait
from lictor.planner.cluster import words
from lictor.planner.cluster.actions import Action, Drain, Leave, Stop, TakeVote
from lictor.planner.cluster.case import Case
from lictor.planner.cluster.observation import NEW, Slot
from lictor.planner.cluster.quorum import voters_of
from lictor.planner.cluster.view import Member

_WORST_FIRST = ("lost", "ill", "doubtful", "behind", "healthy")


def retire(case: Case) -> Action | None:
    """End the instance of a former member, which the committed configuration of a healthy majority does not name; and
    a newcomer that is not needed any more."""
    seen = case.seen
    is_short = len(case.staying) < case.size
    for slot in case.unseated:
        report = seen.reports.get(slot.name)
        is_new = report.role == NEW if report else slot.number == case.kept.joining
        if slot.status == "removing" or slot.status == "unknown" or is_new and is_short:
            continue
        if slot.is_registered and not slot.draining_since and not slot.is_stopped:
            return Drain(slot.name, f"left: the configuration does not name {slot.name}. It is taken out of traffic.",
                         slot.number)
        until = seen.clock.since(slot.draining_since) + seen.drain_s
        if slot.is_registered and slot.in_flight != 0 and seen.clock.now < until and not slot.is_stopped:
            return Wait(slot.name, f"draining: {slot.name} has {_connections(slot)}. It is stopped then.", until=until)
        return Stop(slot.name, f"left: the configuration does not name {slot.name}. It is stopped; its volume stays.",
                    slot.number)
    return None


def expel(case: Case) -> Leave | None:
    """Have a voter leave whose instance belongs to another set by now, before anything else is changed: MongoDB takes
    no configuration in which such a one votes."""
    member = next((each for each in case.view.members if each.votes and each.name in case.view.others), None)
    return Leave(member.name, f"{member.condition}: {member.evidence}. {member.name} leaves the configuration; its "
                              "container is left alone.", member.slot.number, member.seat.address,
                 case.view.configuration) if member else None


def take_vote(case: Case) -> TakeVote | None:
    """Take a vote back that makes the number of voters even."""
    view, traits = case.view, case.seen.traits
    voters = [member for member in view.members if member.votes and member.name != view.primary]
    if not traits.has_spares or len(view.members) > case.size or view.voters <= voters_of(case.size, traits):
        return None
    member = min(voters, key=_worst_first)
    return TakeVote(member.name, f"even: {view.voters} voters bear no more failures than {view.voters - 1}. "
                                 f"{member.name} stays as a spare without a vote.", member.slot.number,
                    member.seat.address, view.configuration)


def shrink(case: Case) -> Action | None:
    """Have a member leave that is more than desired: the worst one, then a spare, then the newest; not the primary. One
    that is gone leaves before it is replaced, if its kind takes no newcomer otherwise."""
    view, late = case.view, case.catching_up
    if len(view.members) <= case.size and (not case.gone or case.seen.traits.grows_first):
        return None
    others = [member for member in view.members if member.name != view.primary]
    member = min(others, key=lambda member: (not case.is_gone(member), *_worst_first(member)))
    if late and case.is_gone(member):
        return Wait(late.name, f"joining: {late.evidence}. {member.name} leaves when {late.name} has caught up.")
    state = f"{member.condition}: {member.evidence}" if not member.is_healthy else (
        f"shrinking: {words.members(len(view.members))}, and {case.size} desired")
    return Leave(member.name, f"{state}. {member.name} leaves the configuration; its container runs on until that is "
                              "committed.", member.slot.number, member.seat.address, view.configuration)


def _worst_first(member: Member) -> tuple[int, bool, int]:
    return _WORST_FIRST.index(member.condition), member.votes, -member.slot.number


def _connections(slot: Slot) -> str:
    return "connections that cannot be seen" if slot.in_flight is None else f"{slot.in_flight} connections"
