"""The troubles of nodes, as their last sweeps and their checks tell them."""

from collections.abc import Iterable
from typing import Any

from lictor import errors
from lictor.adapters.text import one_line
from lictor.events import agent_config, timer
from lictor.reconcile import conditions, responsibility
from lictor.reconcile.conditions import Told
from lictor.reconcile.context import Context
from lictor.reconcile.status.status_report import Status

_SHOWN_LINES = 20  # of one check


def read(context: Context, rows: list[Status]) -> dict[str, list[str]]:
    """Read what is amiss on the nodes of lictor beyond the rows: the nodes, by what they say.

    A line about a service is left out if its row says the same.
    """
    try:
        entries = context.client.health("lictor")
    except errors.Overlong as error:
        return {one_line(f"what the checks of lictor say is unknown: {error}"): []}
    told = conditions.read(context.client, responsibility.name_nodes(entries))
    silent = conditions.describe_silent(told, entries, context.node)
    troubles: dict[str, list[str]] = {}
    for node, text in silent.items():
        troubles.setdefault(text, []).append(node)
    for entry in entries:
        node = entry["Node"]["Node"]
        is_own = node == context.node  # whose agent has the words of now
        checks = _own_checks(context, entry["Service"]["ID"]) if is_own else entry["Checks"]
        for line in dict.fromkeys(map(one_line, _lines(checks, None if is_own else told.get(node), rows))):
            if not _is_in_a_row(line, rows) and not any(line == f"{each}: {text}" for each, text in silent.items()):
                troubles.setdefault(line, []).append(node)
    return troubles


def _own_checks(context: Context, service_id: str) -> list[dict[str, Any]]:
    checks = context.client.local_checks([service_id]).values()
    return [check for check in checks if check["ServiceID"] == service_id]


def _is_in_a_row(line: str, rows: list[Status]) -> bool:
    """Decide whether the rows say the same as a line, or its part behind a service's name."""
    if any(line == f"{row.name}: {problem}" for row in rows for problem in row.problems):
        return True
    name, _, text = line.partition(": ")
    says = next((row.says for row in rows if row.name == name), None)
    return any(line in row.says for row in rows) if says is None else text in says


def _lines(checks: Iterable[dict[str, Any]], told: Told | None, rows: list[Status]) -> list[str]:
    """List what a node says by its checks, and by what its last sweep has told.

    Words of another node's check may be minutes old in the catalogue. Those with which it changed its status after the
    sweep told anything are of now: no sweep could tell them.
    """
    of_services = tuple(f"{row.name}: " for row in rows)
    lines = [*told.lines, *(line for line in told.pending if not line.startswith(of_services))] if told else []
    for check in checks:
        if check["ServiceID"] and check["Status"] != "passing":
            lines += _check_lines(check, told, of_services)
    return [line for line in lines if not _is_told_again(line, told)]


def _check_lines(check: dict[str, Any], told: Told | None, of_services: tuple[str, ...]) -> list[str]:
    is_autoscalers = check["CheckID"] == agent_config.AUTOSCALE_CHECK_ID
    lines = check["Output"].splitlines()[:_SHOWN_LINES]
    if told and not is_autoscalers and check.get("ModifyIndex", 0) < told.at_index:
        return [line for line in lines if line.startswith(timer.NOT_OF_THE_SWEEP)]
    known = of_services if check["Status"] != "critical" or is_autoscalers else ()
    return [line for line in lines if not line.startswith(known)]


def _is_told_again(line: str, told: Told | None) -> bool:
    """Decide whether a check repeats, in its own words, why the sweep failed that told of it."""
    return told is not None and bool(told.failure) and told.failure in line and line not in told.lines
