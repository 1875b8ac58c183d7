"""The view of a set: whose word counts, what configuration is in force, and how each member is. Pure.

A primary's word counts if no member has a newer configuration, and a majority of the voters is healthy by their own
word and by the primary's. As these know its term and no later one, no other primary has a majority. A member is one of

- healthy: it says so, has the configuration in force, has caught up, and the primary sees it;
- behind: it answers, and is on its way: it starts, copies data, or has an older configuration;
- doubtful: its own word and the primary's contradict each other;
- ill: it gives no answer, and the primary does not see it either;
- lost: it has a vote, and its disk does not have the data that it voted for. It must not run under that seat again.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

from lictor.planner.cluster.kept import Kept
from lictor.planner.cluster.observation import NEW, PRIMARY, REMOVED, SECONDARY, Configuration, Report, Seat, Seen, Slot
from lictor.planner.cluster.quorum import has_majority


class Member(NamedTuple):
    """A seat of the configuration in force, its place, and its condition with the evidence."""

    seat: Seat
    slot: Slot
    condition: str
    evidence: str

    @property
    def name(self) -> str:
        return self.slot.name

    @property
    def votes(self) -> bool:
        return self.seat.votes

    @property
    def is_healthy(self) -> bool:
        return self.condition == "healthy"


class View(NamedTuple):
    """What is believed of a set."""

    exists: bool = False  # a member says that it belongs to the set
    configuration: Configuration = Configuration()  # the primary's; if nobody's word counts, the newest
    primary: str = ""  # the member whose word counts; "": nobody's does
    trouble: str = ""  # why nobody's does
    contradiction: str = ""  # what only a person can decide
    members: tuple[Member, ...] = ()
    strangers: tuple[Seat, ...] = ()  # seats at addresses that are none of the service's
    others: tuple[str, ...] = ()  # names that belong to another set by their own word
    term: int = 0

    @property
    def voters(self) -> int:
        return sum(seat.votes for seat in self.configuration.seats)

    @property
    def healthy_voters(self) -> int:
        return sum(member.votes and member.is_healthy for member in self.members)


def look(seen: Seen, kept: Kept) -> View:
    """Judge what the members say."""
    known = {slot.name for slot in seen.slots}
    reports = {name: report for name, report in sorted(seen.reports.items()) if name in known and report.set_id}
    others = tuple(name for name, report in reports.items() if kept.set_id not in ("", report.set_id))
    own = {name: report for name, report in reports.items() if name not in others}
    if len({report.set_id for report in own.values()}) > 1:
        told = ", ".join(f"{name} is of {report.set_id}" for name, report in own.items())
        return View(True, _newest(own), contradiction=f"the members are of several sets: {told}")
    return _judge(own, others, seen, kept) if own else View(others=others)


def _judge(own: Mapping[str, Report], others: tuple[str, ...], seen: Seen, kept: Kept) -> View:
    """Judge the words of one set's members."""
    primary, trouble = _primary(own, seen)
    configuration = own[primary].configuration if primary else _newest(own)
    members, strangers = _members(configuration, own, others, primary, seen)
    view = View(True, configuration, primary, trouble, "", members, strangers, others,
                own[primary].term if primary else 0)
    if primary and not has_majority(view.healthy_voters, view.voters):
        return view._replace(primary="", trouble=f"{primary} says that it is primary, and "
                                                 f"{view.healthy_voters} of {view.voters} voters are healthy")
    if primary and configuration.is_committed and (view.term < kept.term or configuration.version < kept.version):
        return view._replace(primary="", contradiction=(
            f"{primary} knows term {view.term} and version {configuration.version}, and lictor has seen term "
            f"{kept.term} and version {kept.version}: the disks are older than that"))
    return view


def _primary(own: Mapping[str, Report], seen: Seen) -> tuple[str, str]:
    """Find the primary whose word may count, else say why there is none."""
    latest = max((report.term for report in own.values() if report.role == PRIMARY), default=-1)
    names = [name for name, report in own.items() if report.role == PRIMARY and report.term == latest]
    if len(names) != 1:
        return "", (f"{' and '.join(names)} both say that they are primary in term {latest}" if names else
                    "no member says that it is primary")
    [name] = names
    primary = own[name]
    addresses = {slot.name: slot.address for slot in seen.slots}
    seated = {seat.address: seat for seat in primary.configuration.seats}
    seat = seated.get(addresses[name])
    if not seat or not seat.votes:
        return "", f"{name} says that it is primary, and has no vote in its own configuration"
    for other, report in own.items():
        if report.configuration.is_newer(primary.configuration):
            return "", f"{name} says that it is primary, and {other} has a newer configuration"
    return name, ""


def _newest(own: Mapping[str, Report]) -> Configuration:
    configurations = [report.configuration for report in own.values()]
    return functools.reduce(lambda one, other: other if other.is_newer(one) else one, configurations)


def _members(configuration: Configuration, own: Mapping[str, Report], others: tuple[str, ...], primary: str,
             seen: Seen) -> tuple[tuple[Member, ...], tuple[Seat, ...]]:
    members, strangers = [], []
    for seat in configuration.seats:
        slot = seen.slot(seat.address)
        if slot is None:
            strangers.append(seat)
            continue
        is_seen = own[primary].peers.get(seat.address) if primary and primary != slot.name else None
        report = seen.reports.get(slot.name)
        condition, evidence = (
            _lost(seat, slot, report, slot.name in others)
            or _answering(slot, report, is_seen, configuration, primary, seen) if report
            else _lost(seat, slot, None, False) or _silent(slot, is_seen, seen))
        members.append(Member(seat, slot, condition, evidence))
    return tuple(sorted(members, key=lambda member: member.slot.number)), tuple(strangers)


def _lost(seat: Seat, slot: Slot, report: Report | None, is_other: bool) -> tuple[str, str] | None:
    """Judge whether the disk under a seat is another one. A seat without a vote may still get its first data."""
    if is_other:
        return "lost", "it says that it belongs to another set"
    if not seat.votes:
        return None
    if report and report.role == NEW:
        return "lost", "it has a vote, and says that it belongs to no set"
    if slot.is_blank and not report:
        return "lost", f"its volume is {'gone' if slot.volume == 'none' else 'empty'}"
    return None


def _answering(slot: Slot, report: Report, is_seen: bool | None, configuration: Configuration, primary: str,
               seen: Seen) -> tuple[str, str]:
    if report.role == REMOVED or report.role == PRIMARY and slot.name != primary:
        return "doubtful", f"it says that it is {report.role}"
    if primary and report.term > seen.reports[primary].term:
        return "doubtful", f"it knows of an election later than the primary's, in term {report.term}"
    if primary and report.term < seen.reports[primary].term:
        return "behind", f"it knows of no election later than that of term {report.term}"
    if is_seen is False:
        return "doubtful", f"it says that it is {report.role}, and the primary does not see it"
    if report.role not in (PRIMARY, SECONDARY):
        return "behind", "it has not joined yet" if report.role == NEW else f"it says that it is {report.role}"
    if not report.configuration.is_same(configuration):
        return "behind", f"its configuration is that of version {report.configuration.version}"
    if not report.behind <= seen.traits.most_behind:
        return "behind", f"it is {report.behind:g} {seen.traits.lag_unit} behind"
    return "healthy", f"it is {report.role}"


def _silent(slot: Slot, is_seen: bool | None, seen: Seen) -> tuple[str, str]:
    why = seen.silences.get(slot.name, "")
    cause = f" ({why})" if why else ""
    if is_seen:
        return "doubtful", f"the primary sees it, and it gives lictor no answer{cause}"
    return "ill", f"it gives no answer{cause}"
