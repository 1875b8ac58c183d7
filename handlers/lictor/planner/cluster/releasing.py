"""A release of a set with state: members restart one at a time, on their volumes; the primary is the last. Pure."""

from lictor.planner.cluster.actions import Action, Restart, StepDown
from lictor.planner.cluster.case import Case
from lictor.planner.cluster.view import Member


def mend(case: Case) -> Restart | None:
    """Restart a member of another release that is ill anyway: one whose release failed, and was taken back."""
    for member in case.view.members:
        slot = member.slot
        if (member.condition == "ill" and slot.container_id and slot.status != "unknown" and slot.volume == "used"
                and slot.release != case.seen.release):
            return Restart(member.name, f"ill: {member.evidence}, and another release is desired. {member.name} is "
                                        "made anew on its volume.", slot.number, case.seen.release)
    return None


def release(case: Case) -> Action | None:
    """Restart the next member. All are healthy, and have caught up."""
    view = case.view
    outdated = [member for member in view.members if member.slot.release != case.seen.release]
    if not outdated:
        return None
    member = min(outdated, key=lambda member: (member.name == view.primary, member.votes, -member.slot.number))
    left = f"{len(outdated)} of {len(view.members)} members are of another release"
    if member.name == view.primary and (heirs := _heirs(case, member)):
        return StepDown(member.name, f"releasing: the primary is the last of the old release. It hands over to "
                                     f"{' or '.join(heirs)}, and is restarted then.", member.slot.number)
    alone = "" if view.voters > 1 or not member.votes else ", and there are no writes until it is back"
    return Restart(member.name, f"releasing: {left}. {member.name} is made anew on its volume{alone}.",
                   member.slot.number, case.seen.release)


def _heirs(case: Case, primary: Member) -> list[str]:
    return [member.name for member in case.view.members if member.votes and member != primary]
