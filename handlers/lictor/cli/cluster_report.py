"""Sets with state for people: the members with role, vote, lag and term, the last change, and what stays of a set."""

import contextlib
from typing import NamedTuple

from lictor import errors
from lictor.adapters.text import one_line
from lictor.cli.service_keys import Existing
from lictor.cli.status_report import format_time
from lictor.engines import member_volumes
from lictor.planner.cluster.actions import KINDS_OF_ACTS
from lictor.planner.cluster.kept import KEY_PREFIX
from lictor.planner.cluster.view import Member
from lictor.reconcile import history, observe, responsibility
from lictor.reconcile.cluster.look import Look
from lictor.reconcile.context import Context


class MemberRow(NamedTuple):
    """A member as its own word, and the primary's, show it."""

    name: str
    role: str  # "" if it gives no answer
    votes: bool
    behind: str  # with its unit; "" if it is not known
    term: int
    state: str  # healthy, or what is the matter
    address: str


class SetReport(NamedTuple):
    """A set with state; no member, and the reason in `says`, on a node that does not act for it."""

    says: str
    term: int
    last_change: str
    members: list[MemberRow]


def read(context: Context, name: str) -> SetReport | None:
    """Read the report of a service's set; None if its instances form none."""
    reading = observe.settled(context, name, {})
    service = reading.observation.desired
    if not service.has_set or not service.spec:
        return None
    if reading.look is None:
        return SetReport(f"node {service.spec.node} acts for it: ask there for its members", 0, "", [])
    look = reading.look
    members = [_row(member, look) for member in look.view.members]
    return SetReport(look.decision.reason, look.view.term, _read_last_change(context, name), members)


def describe_rest(context: Context, service: Existing) -> str:
    """Say which volumes stay when a set is removed, and how a person deletes them; "" if the service has none."""
    spec, name = service.desired.spec, service.desired.name
    if not spec or not spec.cluster:
        return ""
    volumes = [f"{name}-N-data"]
    if responsibility.places_here(context, service.desired):
        with contextlib.suppress(errors.LictorError):  # the pattern says enough
            volumes = member_volumes.names(name)
    if not volumes:
        return ""
    return (f"{name}: its data stays in the volumes {', '.join(volumes)} on {spec.node}, and `lictor apply` brings the "
            f"set back with them. To delete it, `docker volume rm {' '.join(volumes)}` there, and `consul kv delete "
            f"{KEY_PREFIX}{name}`")


def _row(member: Member, look: Look) -> MemberRow:
    report = look.seen.reports.get(member.name)
    unit = look.seen.traits.lag_unit
    behind = f"{report.behind:g} {unit}" if report and report.behind != float("inf") else ""
    state = member.condition if member.is_healthy else f"{member.condition}: {member.evidence}"
    return MemberRow(member.name, report.role if report else "", member.votes, behind, report.term if report else 0,
                     state, member.seat.address)


def _read_last_change(context: Context, name: str) -> str:
    changes = [each for each in history.read(context.client, name)
               if each.get("kind") in KINDS_OF_ACTS and each["outcome"] == "done"]
    if not changes:
        return ""
    at, last = format_time(changes[-1]["at"]), changes[-1]
    return one_line(f"{at} {last['kind']} {last.get('container', '')}: {last.get('reason', '')}")
