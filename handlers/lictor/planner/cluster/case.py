"""The case that one decision is about: what was seen, what is kept, and what is believed of it. Pure."""

from typing import NamedTuple

from lictor.planner.cluster.actions import Act, GiveVote, Leave, Restart, TakeVote
from lictor.planner.cluster.kept import Kept
from lictor.planner.cluster.observation import Seen, Slot
from lictor.planner.cluster.quorum import has_majority
from lictor.planner.cluster.view import Member, View

REPLACE_AFTER_S = 300.0  # a copy of the data costs more than to wait for a host's restart


class Case(NamedTuple):
    """All that the steps of a decision go by."""

    seen: Seen
    kept: Kept
    view: View
    size: int  # the desired number of members, as far as they are of use

    @property
    def staying(self) -> list[Member]:
        return [member for member in self.view.members if not self.is_gone(member)]

    @property
    def gone(self) -> list[Member]:
        return [member for member in self.view.members if self.is_gone(member)]

    @property
    def catching_up(self) -> Member | None:
        """The newcomer that has a seat, has not caught up, and may still do so."""
        return next((member for member in self.staying if not member.votes and not member.is_healthy), None)

    @property
    def unseated(self) -> list[Slot]:
        """The places with a container that the configuration does not name; those of another set are left alone."""
        seated = {seat.address for seat in self.view.configuration.seats}
        return [slot for slot in self.seen.slots if slot.container_id and slot.address not in seated
                and slot.name not in self.view.others]

    def slot(self, number: int) -> Slot:
        return next(slot for slot in self.seen.slots if slot.number == number)

    def is_gone(self, member: Member) -> bool:
        """Tell whether a member is to be replaced: its disk is lost, or it has been ill for long."""
        if member.condition == "lost":
            return True
        since = self.kept.ill_since.get(member.name, 0.0)
        return bool(since) and self.seen.clock.now - since >= REPLACE_AFTER_S

    def keeps_majority(self, act: Act) -> bool:
        """Tell whether a majority of the voters is healthy once the act is done; only a single voter restarts without.
        """
        voters = {seat.address for seat in self.view.configuration.seats if seat.votes}
        healthy = {member.seat.address for member in self.view.members if member.is_healthy}
        match act:
            case GiveVote(address=address):
                voters |= {address}
            case Leave(address=address) | TakeVote(address=address):
                voters -= {address}
            case Restart(number=number) if voters not in ({self.slot(number).address}, set()):
                healthy -= {self.slot(number).address}
            case _:
                return True
        return has_majority(len(healthy & voters), len(voters))

    def release_for(self, slot: Slot) -> str:
        """Choose what a stopped member is started as: as it was, if that has ever been healthy; a release that a person
        took back is not tried again."""
        proven = self.kept.proven
        if not slot.release and proven:
            return proven[-1]
        return slot.release if slot.release in proven else self.seen.release
