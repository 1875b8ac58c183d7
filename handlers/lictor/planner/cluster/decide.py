"""The decision about a set with state: the one thing to do next, if any, and why. Pure.

Up: a newcomer starts on an empty volume, is added without a vote, catches up, and gets its vote. Down: a member leaves
the configuration, that is committed, its instance drains and stops; its volume stays. A member that is gone is replaced
upwards first. A release restarts one member at a time, the primary last, after it has stepped down.

Never: a member of the configuration is stopped, but for a restart that leaves a majority; a majority of healthy voters
is given up; a set is made where one may exist; two things are under way at once; a configuration is forced.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from lictor import errors
from lictor.planner.actions import Confirm, Hold, Wait
from lictor.planner.cluster import founding, growing, learning, leaving, releasing, words
from lictor.planner.cluster import kept as memory
from lictor.planner.cluster.actions import Act, Action, Add, Initiate, Start
from lictor.planner.cluster.case import Case
from lictor.planner.cluster.kept import Kept
from lictor.planner.cluster.observation import Seen
from lictor.planner.cluster.quorum import has_majority, members_of
from lictor.planner.cluster.view import look

ELECTION_S = 60.0  # an election takes up to 12 s, and a member's start some more


class Decision(NamedTuple):
    """The action (None: there is nothing to do), its reason, and what is to be kept before it is carried out."""

    action: Action | None
    reason: str
    kept: Kept


def decide(seen: Seen, kept: Kept) -> Decision:
    """Decide on one set."""
    view = look(seen, kept)
    kept = learning.advance(kept, seen, view)
    case = Case(seen, kept, view, members_of(seen.size, seen.traits))
    found = next((action for step in STEPS if (action := step(case))), None)
    if isinstance(found, Act):
        return _permit(found, case._replace(kept=memory.keep_why_of(kept, _name_of(found))))
    return Decision(found, found.reason if found else words.describe(view, seen), memory.keep_why_of(kept, ""))


def note_failure(kept: Kept, act: Act, error: errors.LictorError) -> Kept:
    """Note why an act failed that was decided on, after the decision was kept."""
    return memory.note_failure(kept, _name_of(act), error)


def _name_of(act: Act) -> str:
    return f"{act.kind} {act.container}"


def _permit(act: Act, case: Case) -> Decision:
    """Let an act pass that nothing stands against."""
    seen, kept, what = case.seen, case.kept, _name_of(act)
    would = f"Would {what} ({act.reason})"
    is_urgent = isinstance(act, Start) and case.view.exists and not case.view.primary
    stop: Hold | Wait | Confirm | None = None
    if seen.held or seen.doubt:
        stop = Hold(act.container, f"on hold: {seen.held or seen.doubt}. {would}")
    elif seen.clock.now < (until := memory.retry_at(kept, what, is_urgent=is_urgent)):
        stop = Wait(act.container, f"{words.describe_tries(kept, what)}. It is tried again in "
                                   f"{math.ceil(until - seen.clock.now)} s. {would}", until=until)
    elif not case.keeps_majority(act):
        stop = Hold(act.container, f"on hold: no majority of the voters would be healthy then. {would}")
    elif not seen.certain:
        stop = Confirm(act.container, f"unconfirmed: a consistent reading has to show it too. {would}")
    if stop:
        return Decision(stop, stop.reason, kept)
    kept = memory.note_try(kept, what, seen.clock.now)
    if isinstance(act, Start | Initiate) and (isinstance(act, Initiate) or act.is_blank) or isinstance(act, Add):
        kept = replace(kept, joining=act.number)
    if isinstance(act, Initiate):
        kept = replace(kept, founder=case.slot(act.number).incarnation)
    return Decision(act, act.reason, kept)


def _require_members(case: Case) -> Hold | None:
    return Hold("", "on hold: no member is desired, and a set has at least one. Nothing is stopped.") if (
        case.size < 1) else None


def _heed_contradiction(case: Case) -> Hold | None:
    """Leave to a person what the members' own words do not decide."""
    why = case.view.contradiction
    return Hold("", f"on hold: {why}. Nothing is changed until that is over; if it is meant so, remove the key "
                    f"{memory.KEY_PREFIX}{case.seen.service}.") if why else None


def _wait_for_majority(case: Case) -> Hold | Wait | None:
    """Keep hands off a set without a primary, and say how long that may take, or what a person can do."""
    view, seen, until = case.view, case.seen, case.kept.headless_since + ELECTION_S
    if view.primary:
        return None
    state = f"no primary: {view.trouble or 'no member answers'}"
    if seen.clock.now < until:
        return Wait("", f"{state}. An election may take a while.", until=until)
    answering = sum(member.votes and member.name in seen.reports and member.condition != "lost"
                    for member in view.members)
    if view.exists and not has_majority(answering, view.voters):
        return Hold("", words.describe_lost_majority(view, seen))
    return Hold("", f"{state}. Nothing is changed until there is one.")


def _settle(case: Case) -> Hold | Wait | None:
    """Wait until the last change is committed; leave a configuration alone that names what is not ours."""
    configuration, strangers = case.view.configuration, case.view.strangers
    if not configuration.is_committed:
        return Wait("", f"changing: version {configuration.version} of the configuration is not committed yet. Nothing "
                        "else is changed meanwhile.")
    if strangers:
        named = ", ".join(seat.address for seat in strangers)
        return Hold("", f"on hold: the configuration names {named}, which is no address of an instance of "
                        f"{case.seen.service}. No member is changed until a person has removed it there.")
    return None


def _wait_for_unwell(case: Case) -> Wait | None:
    """Say what the next step waits for."""
    unwell = [member for member in case.view.members if not member.is_healthy]
    return Wait(unwell[0].name, f"unwell: {words.describe_unwell(unwell)}. Nothing else is changed until all members "
                                "are healthy, or one is replaced.") if unwell else None


STEPS: tuple[Callable[[Case], Action | None], ...] = (
    _require_members, _heed_contradiction, growing.start_stopped, founding.found, _wait_for_majority, _settle,
    releasing.mend, leaving.retire, leaving.expel, growing.give_vote, leaving.take_vote, growing.grow, leaving.shrink,
    _wait_for_unwell, releasing.release)
