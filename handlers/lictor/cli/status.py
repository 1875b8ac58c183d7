"""The verbs that show how it is: status, plan."""

import json
import sys

import click

from lictor import errors
from lictor.adapters import heartbeat
from lictor.adapters.text import describe_error, one_line
from lictor.cli import status_report, tables
from lictor.cli.session import Session
from lictor.cli.status_report import UNKNOWN


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
@click.pass_obj
def status(session: Session, name: str | None, as_json: bool) -> None:
    """Show all services, or the page of one. PASSING is how many pass their checks, of how many are desired.

    The page has the instances with what their checks say, the live release, where this node's nginx answers, and the
    last events. Of one with state, each member is shown with its role, vote, lag and term, and what the next step
    waits for.
    """
    if name:
        _show_one(session, name, as_json=as_json)
        return
    rows = status_report.read_status(session.context)
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=2))
        return
    if rows:
        tables.print_statuses([row for row in rows if row.name != UNKNOWN])
        for row in rows:
            for problem in row.problems:
                click.echo(f"{'not read' if row.name == UNKNOWN else 'refused'}: {one_line(problem)}")
    else:
        click.echo("no services yet; `lictor apply FILE` makes one")
    from lictor.cli.page import troubles

    for text, nodes in troubles.read(session.context, rows).items():
        click.echo(f"{', '.join(nodes)}: {text}")
    for line in _read_registrar(session.settings.state_dir):
        click.echo(f"registrar: {one_line(line)}")


def _show_one(session: Session, name: str, *, as_json: bool) -> None:
    from lictor.cli.page import service

    rows = status_report.read_status(session.context)
    row = next((row for row in rows if row.name == name), None)
    if row is None:
        raise _no_service(name)
    page = service.read(session.context, row)
    if as_json:
        click.echo(json.dumps([service.as_table(page)], indent=2))
        return
    tables.print_page(page)


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

    Each action has its reason; what deliberately is not done is shown too. Exit code 3: there is something to do.
    """
    context = session.context
    rows = {row.name: row for row in status_report.read_status(context) if row.name != UNKNOWN}
    actions = [action for each in ([name] if name else sorted(rows)) for action in (
        *status_report.decide_now(context, each), *status_report.list_unserved(rows.get(each)))]
    needs_work = status_report.needs_work(actions)
    if name and name not in rows and not needs_work:
        raise _no_service(name)
    if as_json:
        click.echo(json.dumps(actions, indent=2))
    else:
        lines = [status_report.describe_action(action["service"], action) for action in actions]
        click.echo("\n".join(lines or ["nothing to do"]))
    sys.exit(3 if needs_work else 0)


def _no_service(name: str) -> errors.Refused:
    return errors.Refused(f"there is no service {name[:100]!r}; `lictor status` lists them")
