"""The words for a set with state: how it is, and what a person has to do when its majority is lost. Pure."""

from collections.abc import Sequence

from lictor.planner.cluster.kept import KEY_PREFIX, Kept
from lictor.planner.cluster.observation import Seen
from lictor.planner.cluster.view import Member, View


def describe(view: View, seen: Seen) -> str:
    """Describe a set that has nothing to be done."""
    primary = f", {view.primary} is primary" if view.primary else ""
    spares = sum(not member.votes for member in view.members)
    without = f", {members(spares)} without a vote" if spares else ""
    text = f"as desired: {members(len(view.members))}{without}{primary}."
    return f"{text} {describe_others(view)}" if view.others else text


def describe_members(view: View) -> str:
    """Describe each member in one line for people."""
    if not view.members:
        return "No member says that it belongs to a set"
    told = [f"{member.name} {member.condition}{'' if member.votes else ' without a vote'}: {member.evidence}"
            for member in view.members]
    return f"{view.primary or 'nobody'} is primary in term {view.term}. Members: {'; '.join(told)}"


def describe_others(view: View) -> str:
    """Describe instances of the service that hold the data of another set."""
    return (f"{' and '.join(view.others)} {'says' if len(view.others) == 1 else 'say'} that it belongs to another set, "
            "and is left alone.")


def describe_unwell(among: Sequence[Member]) -> str:
    return "; ".join(f"{member.name} is {member.condition}: {member.evidence}" for member in among)


def describe_lost_majority(view: View, seen: Seen) -> str:
    """Describe what is left of a set, and the way that its manual gives to go on without the rest."""
    survivors = [member for member in view.members if member.slot.name in seen.reports
                 and member.condition in ("healthy", "behind", "doubtful")]
    seats = view.configuration.seats
    places = [(seats.index(member.seat), member) for member in survivors]
    named = [seen.traits.survivor.format(index=index, address=member.seat.address, name=member.name)
             for index, member in sorted(places, key=lambda place: place[0])]
    head = (f"majority lost: {sum(member.votes for member in survivors)} of {view.voters} voters answer "
            f"({describe_unwell([member for member in view.members if member not in survivors])}). lictor changes "
            "nothing until a majority answers again.")
    if not survivors:
        return head
    names = ", ".join(member.name for member in survivors)
    return (f"{head} If the others are lost for good, writes that only they have are lost too; to go on with {names}: "
            f"{seen.traits.recovery.format(survivors=', '.join(named))}")


def describe_unknown_set(signs: Sequence[str], seen: Seen) -> str:
    return (f"unknown: no member says that it belongs to a set, and {'; '.join(signs)}. No set is made: bring back what"
            f" has the data; if there is none, remove those volumes and the key {KEY_PREFIX}{seen.service}.")


def describe_failure(kept: Kept) -> str:
    """Describe the next step, if it has failed; usually "". Also known to nodes that do not act."""
    failed = [(tries.last_at, what) for what, tries in kept.tries.items() if tries.why]
    return describe_tries(kept, max(failed)[1]) if failed else ""


def describe_tries(kept: Kept, what: str) -> str:
    """Describe how an act fared, as a state and its cause."""
    tries = kept.tries[what]
    if tries.why and tries.not_yet == tries.count:
        return f"not yet: {what} was put off: {tries.why}"
    times = f"{tries.count} time{'' if tries.count == 1 else 's'}"
    return f"backing off: {what} was tried {times}, and failed: {tries.why}" if tries.why else (
        f"begun: {what} was begun {times}, and no end or effect of it is seen yet")


def members(count: int) -> str:
    return f"{count} member{'' if count == 1 else 's'}"
