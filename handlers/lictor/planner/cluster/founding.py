"""The first member, and the making of the set: once, and never where anything says that a set exists. Pure."""

from lictor.planner.actions import Hold, Wait
from lictor.planner.cluster import newcomer, words
from lictor.planner.cluster.actions import Action, Initiate, Start
from lictor.planner.cluster.case import Case
from lictor.planner.cluster.observation import NEW, Slot


def found(case: Case) -> Action | None:
    """Start the first member on an empty volume, and make a set of it."""
    seen, kept = case.seen, case.kept
    if case.view.exists or kept.set_id:
        return None
    signs = _signs(case)
    if signs:
        return Hold("", words.describe_unknown_set(signs, seen))
    known = [slot for slot in seen.slots if slot.number == kept.joining]
    slot = next(iter(known or (slot for slot in seen.slots if slot.is_free)), None)
    if slot is None:
        return Hold("", f"no room: {seen.service} has no free number. No set is made.")
    return _bring_up(case, slot)


def _bring_up(case: Case, slot: Slot) -> Action:
    seen, report = case.seen, case.seen.reports.get(slot.name)
    if seen.traits.is_added_first and slot.has_never_run:
        return _initiate(case, slot)
    if case.kept.founder and not report:
        return Wait(slot.name, f"new: {slot.name} was to make the set, and gives no answer yet. Nothing else is done "
                               "before it does.")
    if report and report.role == NEW and slot.release == seen.release:
        return _initiate(case, slot)
    if slot.container_id:
        return newcomer.tend(case, slot, "The set is made of it then.")
    return Start(slot.name, f"new: nothing says that a set of {seen.service} exists. {slot.name} is started on an "
                            "empty volume, to make one.", slot.number, seen.release, slot.is_blank)


def _initiate(case: Case, slot: Slot) -> Initiate:
    return Initiate(slot.name, f"new: {slot.name} has an empty volume, and nothing says that a set of "
                               f"{case.seen.service} exists. A set is made of it, once.", slot.number,
                    case.seen.release, slot.address)


def _signs(case: Case) -> list[str]:
    """List what says that a set may exist. Of the newcomer that is known to be one, its own volume is no sign."""
    seen, kept = case.seen, case.kept
    signs = [*seen.traces]
    signs += [f"{name} answers as a member of another set" for name in case.view.others]
    if kept.seated:
        signs.append(f"{words.members(len(kept.seated))} stand in the state")
    for slot in seen.slots:
        is_newcomer = slot.number == kept.joining
        if slot.volume == "unknown" or slot.status == "unknown":
            signs.append(f"the volume of {slot.name} cannot be seen")
        elif not is_newcomer and not slot.is_free:
            signs.append(f"{slot.name} has {'a container' if slot.container_id else 'a volume that is not empty'}")
        elif is_newcomer and not _is_founder_known(slot, case):
            signs.append(f"{slot.name} was to make the set, and has been started anew since")
    return signs


def _is_founder_known(slot: Slot, case: Case) -> bool:
    """Tell whether the member that was to make the set is the same one as then, has never run, or may still answer."""
    has_answered = not slot.container_id or slot.name in case.seen.reports
    return case.kept.founder in ("", slot.incarnation) or slot.has_never_run or not has_answered
