"""Sets with state for people: the members with role, vote, lag and term, the last change, and what stays of a set."""

import contextlib
from typing import Any, NamedTuple

from lictor import errors, model
from lictor.adapters.text import format_time, one_line
from lictor.cli import vantage
from lictor.cli.service_keys import Existing
from lictor.engines import member_volumes
from lictor.events.page import troubles
from lictor.planner.cluster.actions import KINDS_OF_ACTS
from lictor.planner.cluster.kept import KEY_PREFIX
from lictor.planner.cluster.view import Member
from lictor.reconcile import history, observe, responsibility
from lictor.reconcile.cluster import record
from lictor.reconcile.cluster.look import Look
from lictor.reconcile.context import Context
from lictor.reconcile.status.instances import read_role

_REGISTRAR = "lictor-registrar"  # what a sweep says of it begins so


class MemberRow(NamedTuple):
    """A member as its own word, and the primary's, show it; on a node that cannot ask it, as Consul does."""

    name: str
    role: str  # "" if it gives no answer
    votes: bool | None  # None: it is not known
    behind: str  # with its unit; "" if it is not known
    term: int
    state: str  # healthy, or what is the matter
    address: str


class SetReport(NamedTuple):
    """A set with state; `says` tells what comes next, and why, or on what the rest rests."""

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
        return read_from_consul(context, name, service.spec.node)
    look = reading.look
    members = [_row(member, look) for member in look.view.members]
    return SetReport(look.decision.reason, look.view.term, _read_last_change(context, name), members)


def read_from_consul(context: Context, name: str, node: str) -> SetReport:
    """Read what Consul knows of a set that another node acts for. Nothing of it is a member's word of now."""
    kept = record.read(context.client, name).record.kept
    entries = [entry for entry in context.client.health(name) if entry["Node"]["Node"] == node]
    rows = {row.name: row for row in map(_row_of_entry, entries)}
    missing = (f"{name}-{number}" for number in kept.seated if f"{name}-{number}" not in rows)
    rows |= {each: MemberRow(each, "", None, "", 0, "a member that is not in the catalogue", "") for each in missing}
    said = [text for text, nodes in troubles.read(context, []).items()
            if node in nodes and text.startswith((f"{name}: ", _REGISTRAR))]
    says = (f"by Consul's word alone: node {node} acts for it. ROLE is the tag that its registrar set last, STATE is "
            f"the check's. `lictor status {name}` there asks the members.")
    return SetReport(f"{says} Its last sweep says: {'; '.join(said)}" if said else says, kept.term,
                     _read_last_change(context, name), [row for _, row in sorted(rows.items())])


def _row_of_entry(entry: dict[str, Any]) -> MemberRow:
    """Make the row of a registration. A tag of a node that does not answer is no role of now."""
    instance, role = model.instance(entry), read_role(entry)
    name = instance.service_id.split(":")[1] if instance.service_id.count(":") >= 2 else instance.service_id
    address = model.host_port(instance.address, instance.port)
    if not instance.node_alive:
        was = f". It was {role} when the node was last heard of" if role else ""
        return MemberRow(name, "", None, "", 0, f"unknown: node {instance.node} does not answer{was}", address)
    state = f"{instance.status}: {instance.output}" if instance.output else instance.status
    if instance.maintenance is not None:
        state = f"out of traffic: {instance.maintenance or 'by hand'}"
    return MemberRow(name, role, None, "", 0, state, address)


def describe_rest(context: Context, service: Existing) -> str:
    """Say which volumes stay when a set is removed, and how a person deletes them; "" if the service has none."""
    spec, name = service.desired.spec, service.desired.name
    if not spec or not spec.cluster:
        return ""
    volumes = [f"{name}-N-data"]
    if responsibility.places_here(context, service.desired) and vantage.asks_own_agent(context):
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
