"""The verbs that show how it is: status, plan."""

import json
import sys
import time
from typing import Any, NamedTuple, NoReturn

import click

from lictor import errors, model
from lictor.adapters import heartbeat
from lictor.adapters.text import describe_error, one_line
from lictor.cli import tables, vantage
from lictor.cli.page import service
from lictor.cli.session import Session
from lictor.events.page import troubles
from lictor.reconcile.context import Context
from lictor.reconcile.status import status_report
from lictor.reconcile.status.status_report import UNKNOWN, Status

_WATCH_S = 2.0
_SHOWN_NAMES = 5


class _Shown(NamedTuple):
    rows: list[Status]
    troubles: dict[str, list[str]]  # the nodes, by what they say
    registrar: list[str]  # of this node
    unrouted: list[str]  # names in the catalogue


@click.command()
@click.argument("name", required=False)
@click.option("-w", "--watch", "watches", is_flag=True, help="Show it again when it changes, until it is interrupted.")
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
@click.pass_obj
def status(session: Session, name: str | None, watches: bool, as_json: bool) -> None:
    """Show all services, or the page of one. PASSING is how many pass their checks, of how many are desired.

    The page has the instances with what their checks say, the live release, where this node's nginx answers, and the
    last events. Of one with state, each member is shown with its role, vote, lag and term, and what the next step
    waits for.
    """
    if watches and as_json:
        raise click.UsageError("--watch is for people; a program asks again with --json")
    if watches:
        _watch(session, name)
    shown = _read(session, name)
    if as_json:
        click.echo(json.dumps(service.as_tables(shown) if isinstance(shown, service.Page) else [
            row._asdict() for row in shown.rows], indent=2))
    else:
        _show(shown)


def _watch(session: Session, name: str | None) -> NoReturn:
    """Show what has changed: on a terminal in the place of the last one, in a pipe below it. While there is no answer,
    that is shown."""
    last: _Shown | service.Page | str | None = None
    while True:
        shown: _Shown | service.Page | str
        try:
            shown = _read(session, name)
        except errors.Unavailable as error:
            shown = f"unknown: {one_line(str(error))}"
        if shown != last:
            if sys.stdout.isatty():
                click.clear()
            _show(shown)
            last = shown
        time.sleep(_WATCH_S)


def _read(session: Session, name: str | None) -> _Shown | service.Page:
    overview = status_report.read_overview(session.context)
    if name is None:
        return _Shown(overview.rows, troubles.read(session.context, overview.rows),
                      _read_registrar(session.settings.state_dir), overview.unrouted)
    row = next((row for row in overview.rows if row.name == name), None)
    if row is None:
        raise _no_service(name)
    return service.read(session.context, row)


def _show(shown: _Shown | service.Page | str) -> None:
    if isinstance(shown, str):
        click.echo(shown)
    elif isinstance(shown, service.Page):
        tables.print_page(shown)
    else:
        _show_all(shown)


def _show_all(shown: _Shown) -> None:
    if shown.rows:
        tables.print_statuses([row for row in shown.rows if row.name != UNKNOWN])
    else:
        click.echo("no services yet; `lictor apply FILE` makes one")
    for row in shown.rows:
        for problem in row.problems:
            click.echo(f"{'not read' if row.name == UNKNOWN else 'refused'}: {one_line(problem)}")
    for text, nodes in shown.troubles.items():
        click.echo(f"{', '.join(nodes)}: {text}")
    for line in shown.registrar:
        click.echo(f"registrar: {one_line(line)}")
    if shown.unrouted:
        click.echo(one_line(f"not routed: {_describe_unrouted(shown.unrouted)}"))


def _describe_unrouted(names: list[str]) -> str:
    shown = ", ".join(name[:63] for name in names[:_SHOWN_NAMES])
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    verb = "services have" if len(names) > 1 else "service has"
    return f"{len(names)} registered {verb} neither a spec nor the label {model.LABEL_ROUTE}: {shown}{more}"


def _read_registrar(state_dir: str) -> list[str]:
    """Read what this node's registrar has to tell; [] on a node that has none."""
    try:
        beat = heartbeat.read(state_dir)
    except OSError as error:  # the folder may be the agent's user's alone, and the catalogue is everybody's to read
        return [f"unknown: {describe_error(error)}"]
    return [*beat.failures, *beat.unmet] if beat else []


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
@click.pass_obj
def plan(session: Session, name: str | None, as_json: bool) -> None:
    """Print what a reconcile would do now.

    Each action has its reason; what deliberately is not done is shown too. If CONSUL_HTTP_ADDR is another machine's
    agent, only the node that acts can tell. Exit codes: 3 there is something to do, 75 that cannot be told here.
    """
    context = session.context
    rows = {row.name: row for row in status_report.read_status(context) if row.name != UNKNOWN}
    is_own = vantage.asks_own_agent(context)
    readings = status_report.read_together(context, rows) if is_own and not name else {}
    actions = []
    for each in ([name] if name else sorted(rows)):
        decided = (status_report.decide_now(context, each, readings.get(each)) if is_own
                   else _decide_elsewhere(context, each))
        actions += status_report.complete(decided, rows.get(each))
    needs_work = status_report.needs_work(actions)
    if name and name not in rows and not needs_work:
        raise _no_service(name)
    if as_json:
        click.echo(json.dumps(actions, indent=2))
    else:
        lines = [status_report.describe_action(action["service"], action) for action in actions]
        click.echo("\n".join(lines or ["nothing to do"]))
    sys.exit(3 if needs_work else _exit_code(actions))


def _exit_code(actions: list[dict[str, Any]]) -> int:
    """Choose the exit code of a plan that has nothing to do, or does not know."""
    is_unknown = any(action["kind"] == "unknown" for action in actions)
    return errors.Unavailable.exit_code if is_unknown else 0


def _decide_elsewhere(context: Context, name: str) -> list[dict[str, Any]]:
    return vantage.list_unknown(context, name) or status_report.decide_now(context, name)


def _no_service(name: str) -> errors.Refused:
    return errors.Refused(f"there is no service {name[:100]!r}; `lictor status` lists them")
