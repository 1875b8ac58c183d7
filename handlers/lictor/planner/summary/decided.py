"""The decision of the node that acts for a service, as far as the summary by catalogue and keys says too little. Pure.

A container that Docker has lost is known to that node alone. Its sweep tells what it decided, with the view of the
catalogue that it had: for another view it is out of date.
"""

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

from lictor.planner.actions import Hold, Warn, describe
from lictor.planner.summary.facts import Facts
from lictor.planner.summary.service import Severity, Summary


class Decided(NamedTuple):
    """The words of a decision, for one view of the catalogue and the keys."""

    view: str
    severity: Severity
    says: str


def describe_view(facts: Facts) -> str:
    """Make a text that is equal for equal views of a service in the catalogue and the keys."""
    registered = sorted((each.node, each.service_id, each.status, each.maintenance or "", each.node_alive)
                        for each in facts.instances)
    desired, state = facts.desired, facts.state.release
    keys = (desired.release, desired.replicas, desired.color, desired.why_held, desired.removed, state.live_release)
    return f"{zlib.crc32(repr((registered, keys)).encode()):08x}"


def add_to(summary: Summary, facts: Facts, actions: Iterable[Any]) -> Decided | None:
    """Say what a decision adds to a summary; None: nothing.

    Nothing is well while there is something to do or to know. Where the summary only says what is amiss, and not why,
    the cause is what lictor holds: its acts follow from what is amiss.
    """
    told = [each for each in actions if isinstance(each, Hold) or summary.is_well]
    if not (summary.is_well or summary.is_vague) or not told:
        return None
    first = told[0]
    severity = Severity.ATTENTION if isinstance(first, Hold | Warn) else Severity.WORKING
    return Decided(describe_view(facts), severity, describe(first.kind, first.container, first.reason))


def extend(summary: Summary, facts: Facts, decided: Iterable[Decided]) -> Summary:
    """Extend a summary by what was decided upon the same view, if that says more."""
    found = next((each for each in decided if each.view == describe_view(facts)), None)
    is_open = summary.is_well or summary.is_vague
    return Summary(found.severity, found.says) if found and is_open else summary


def list_lines(summary: Summary, facts: Facts, actions: Iterable[Any]) -> list[str]:
    """List what the check says of a service: what is decided, or else why it is not well."""
    lines = [describe(each.kind, each.container, each.reason) for each in actions]
    if not lines and facts.desired.why_held:
        lines = [f"on hold: {facts.desired.why_held}"]
    return lines or ([] if summary.is_well else [summary.says])
