"""More members: stopped ones are started again, newcomers start, join without a vote, and get one. Pure."""

from lictor.planner.actions import Hold, Wait
from lictor.planner.cluster import newcomer, words
from lictor.planner.cluster.actions import Action, Add, GiveVote, Start
from lictor.planner.cluster.case import Case
from lictor.planner.cluster.observation import NEW, Slot
from lictor.planner.cluster.quorum import voters_of


def start_stopped(case: Case) -> Start | None:
    """Start a member again that has ended, with its data. That is no change of the set, so it needs no majority: after
    a power cut it is what brings the majority back. One whose data is gone is not started."""
    for slot in case.seen.slots:
        if slot.has_ended and slot.volume == "used" and _is_member(slot, case):
            state = slot.status or "without a container"
            return Start(slot.name, f"stopped: {slot.name} is {state}, and has its data. It is started again.",
                         slot.number, case.release_for(slot), False)
    return None


def _is_member(slot: Slot, case: Case) -> bool:
    """Tell whether a stopped instance is a member: by the primary's word, else by what is kept, as a stale member may
    name former ones. If neither is known, each container may be one."""
    kept, member = case.kept, next((member for member in case.view.members if member.slot == slot), None)
    if case.view.primary or case.view.exists and not kept.seated:
        return member is not None and member.condition != "lost"
    return slot.number in (kept.joining, *kept.seated) or not kept.seated and bool(slot.container_id)


def grow(case: Case) -> Action | None:
    """Bring a newcomer to its seat, one at a time."""
    view, late = case.view, case.catching_up
    if late and late.slot.has_never_run:
        return Start(late.name, f"joining: {late.name} is a member without a vote, and has no data yet. It is started "
                                "on an empty volume.", late.slot.number, case.seen.release, True)
    if len(case.staying) >= case.size or len(view.members) > case.size:
        return None
    if case.gone and case.seen.release not in case.kept.proven:
        return Hold(case.gone[0].name, f"on hold: {words.describe_unwell(case.gone)}, and no member of the desired "
                                       "release has been healthy yet. None is replaced by one of that release.")
    if case.gone and not case.seen.traits.grows_first:
        return None
    if late:
        return Wait(late.name, f"joining: {late.evidence}. The next step comes when {late.name} has caught up.")
    why = (f"replacing: {words.describe_unwell(case.gone)}" if case.gone else
           f"growing: {words.members(len(view.members))} of {case.size}")
    return _bring_up(case, why)


def _bring_up(case: Case, why: str) -> Action:
    """Add a newcomer that is there, or wait for it, or begin with another."""
    seen = case.seen
    ready = next((slot for slot in case.unseated if slot.name in seen.reports
                  and seen.reports[slot.name].role == NEW and slot.release == seen.release), None)
    if ready:
        return _add(case, ready, why)
    waiting = next((slot for slot in case.unseated if slot.number == case.kept.joining), None)
    if waiting:
        return newcomer.tend(case, waiting, "It is added to the configuration then.")
    free = next((slot for slot in seen.slots if slot.is_free and slot.number not in case.kept.seated), None)
    if free is None:
        return Hold("", f"{why}. There is no free number.")
    if seen.traits.is_added_first:
        return _add(case, free, why)
    return Start(free.name, f"{why}. {free.name} is started on an empty volume.", free.number, seen.release, True)


def _add(case: Case, slot: Slot, why: str) -> Add:
    return Add(slot.name, f"{why}. {slot.name} joins without a vote, until it has caught up.", slot.number,
               slot.address, case.view.configuration)


def give_vote(case: Case) -> GiveVote | None:
    """Give a vote to a member that has caught up. From an odd number on, votes are given in pairs if they can be."""
    view, traits = case.view, case.seen.traits
    missing = voters_of(case.size, traits) - sum(member.votes for member in case.staying)
    ready = [member for member in case.staying if member.is_healthy and not member.votes]
    makes_even = view.voters % 2 == 1 and missing >= 2 and len(ready) < 2
    if missing <= 0 or not ready or makes_even and traits.has_spares:
        return None
    return GiveVote(ready[0].name, f"caught up: {ready[0].name} has the data, and {voters_of(case.size, traits)} "
                                   "voters are desired. It gets its vote.", ready[0].slot.number, ready[0].seat.address,
                    view.configuration)
