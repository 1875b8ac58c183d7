"""The commands that tell how things are: status, plan, why, replay."""

import json
import sys
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from lictor import errors
from lictor.cli import status_report
from lictor.cli.release_progress import printable
from lictor.cli.session import OUT, Session
from lictor.planner import replay


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
@click.pass_obj
def status(session: Session, as_json: bool) -> None:
    """Show all services. PASSING is how many pass their checks, of how many are desired."""
    rows = status_report.status(session.context)
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=2))
        return
    if not rows:
        click.echo("no services yet; `lictor apply FILE` makes one")
        return
    table = Table(box=None, pad_edge=False)
    color = ["COLOR"] if any(row.color for row in rows) else []
    for heading in ("SERVICE", "PASSING", "IMAGE", *color, "NODE", "ROUTE", "NGINX ON", "STATE"):
        table.add_column(heading, no_wrap=heading in ("SERVICE", "PASSING"))  # the others wrap where it is narrow
    for row in rows:
        table.add_row(row.name, f"{row.passing}/{row.desired}", row.image, *([row.color or "-"] if color else []),
                      row.node or row.engine, row.route, ", ".join(row.served_by) or "-", Text(printable(row.says)))
    OUT.print(table)
    for row in rows:
        for problem in row.problems:
            click.echo(f"refused: {printable(problem)}")


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
@click.pass_obj
def plan(session: Session, name: str | None, as_json: bool) -> None:
    """Print what would be done now, and what would not, with reasons. Exit code 3: there is something to do."""
    context = session.context
    known = sorted(row.name for row in status_report.status(context) if row.name != "?")
    actions = [action for each in ([name] if name else known) for action in status_report.what_now(context, each)]
    if name and name not in known and not status_report.needs_work(actions):
        raise _no_service(name)
    if as_json:
        click.echo(json.dumps(actions, indent=2))
    else:
        for each in actions:
            click.echo(_line(each["service"], each))
        if not actions:
            click.echo("nothing to do")
    sys.exit(3 if status_report.needs_work(actions) else 0)


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs: the records, and what is decided now.")
@click.pass_obj
def why(session: Session, name: str, as_json: bool) -> None:
    """Tell a service's story.

    That is what was seen, decided and done, and what is deliberately not done now.
    """
    context = session.context
    story = status_report.why(context, name)
    if not story["history"] and name not in [row.name for row in status_report.status(context)]:
        raise _no_service(name)
    if as_json:
        click.echo(json.dumps(story, indent=2))
        return
    for record in story["history"]:
        click.echo(status_report.told(record))
    click.echo(printable(f"now: {story['seen']}"))
    for each in story["now"]:
        click.echo(_line("now", each))
    if not story["now"]:
        click.echo("now: nothing to do")


@click.command("replay")
@click.argument("file", type=click.File(encoding="utf-8"), metavar="FILE|-")
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
def replay_(file: Any, as_json: bool) -> None:
    """Decide again upon recorded observations, and print what was decided then and what this version decides.

    FILE holds what `lictor why NAME --json` printed, or one record of that. Nothing is carried out, and neither Consul
    nor Docker is asked. Values of environment variables are not in the records.
    """
    try:
        text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.Refused(f"{file.name}: {error}") from error
    replayed = replay.replay(text, file.name)
    if as_json:
        click.echo(json.dumps([each._asdict() for each in replayed], indent=2))
        return
    for each in replayed:
        click.echo(
            f"{status_report.moment(each.at)}  {each.service}" + (f"\n    then: {each.then}" if each.then else "")
        )
        for line in each.now or ["nothing to do"]:
            click.echo(f"    now:  {line}")


def _line(head: str, action: dict[str, Any]) -> str:
    return printable(f"{head}: {action['kind']} {action['container']}: {action['reason']}").replace(" : ", ": ")


def _no_service(name: str) -> errors.Refused:
    return errors.Refused(f"there is no service {name[:100]!r}; `lictor status` lists them")
