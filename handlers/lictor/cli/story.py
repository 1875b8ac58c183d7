"""The verbs that tell what happened: why, replay."""

import datetime
import json
import sys
import time
from typing import Any

import click

from lictor import errors
from lictor.adapters.text import format_time, one_line, printable
from lictor.cli import vantage
from lictor.cli.session import Session
from lictor.planner import replay, service_state
from lictor.reconcile import act, history, observe, responsibility
from lictor.reconcile.autoscale.look import read_desired
from lictor.reconcile.context import Context
from lictor.reconcile.status import status_report
from lictor.spec import quantities

_SHOWN_RECORDS = 10  # about as many as a terminal has room for, with what was seen


def _parse_since(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """Parse a duration before now, or a time."""
    if text is None:
        return None
    try:
        return time.time() - quantities.parse_duration(text)
    except ValueError:
        return _parse_time(text.strip(), datetime.datetime.now().astimezone())


def _parse_time(text: str, now: datetime.datetime) -> float:
    """Parse a date, with a time or without, or a time of the last 24 hours; by this machine's clock, if no zone is
    given."""
    try:
        if ":" not in text[:3]:
            return datetime.datetime.fromisoformat(text).timestamp()
        of_day = datetime.time.fromisoformat(text)
        found = datetime.datetime.combine(now.date(), of_day)
        found = found if of_day.tzinfo else found.astimezone()
        return (found if found <= now else found - datetime.timedelta(days=1)).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise click.BadParameter(f"{text!r:.100} is neither a duration, such as 10m, nor a time, such as 14:30 or "
                                 "2026-01-31T14:30") from error


@click.command()
@click.argument("name")
@click.option("-n", "count", type=click.IntRange(min=0), metavar="N",
              help=f"The last N records. Default: the last {_SHOWN_RECORDS}, but all with --since or --json.")
@click.option("--since", "since", metavar="TIME", callback=_parse_since,
              help="Records of the last 10m, say, or since 14:30 or 2026-01-31T14:30.")
@click.option("--json", "as_json", is_flag=True, help="For programs: the records, and what is decided now.")
@click.pass_obj
def why(session: Session, name: str, count: int | None, since: float | None, as_json: bool) -> None:
    """Tell a service's story.

    It holds what was observed, decided and done, and what is deliberately not done now. The records are in Consul, so
    that any machine tells them. What stands ahead is told on a node that acts for the service.
    """
    context = session.context
    story = read(context, name)
    if not story["history"] and not _exists(context, name):
        raise errors.Refused(f"there is no service {name[:100]!r}; `lictor status` lists them")
    found = [each for each in story["history"] if since is None or each["at"] >= since]
    if count is None and since is None and not as_json:
        count = _SHOWN_RECORDS
    shown = found if count is None else found[len(found) - min(count, len(found)):]
    if as_json:
        click.echo(json.dumps({**story, "history": shown}, indent=2))
        return
    if len(shown) < len(found):
        click.echo(f"{len(found) - len(shown)} earlier records; `lictor why {name} -n {len(found)}` tells them too")
    elif story["history"] and not found:
        click.echo(f"no record since {format_time(since or 0.0)}")
    click.echo("\n".join([*map(status_report.describe_record, shown), *_describe_now(story)]))


def _describe_now(story: dict[str, Any]) -> list[str]:
    actions = [status_report.describe_action("now", action) for action in story["now"]]
    return [*([one_line(f"now: {story['seen']}")] if story["seen"] else []), *(actions or ["now: nothing to do"])]


def read(context: Context, name: str) -> dict[str, Any]:
    """Read a service's story: its records, oldest first (history), its present observation in words (seen), and the
    actions decided on it (now). If this machine cannot decide, `now` has one of the kind "unknown", which says who
    can."""
    records = history.read(context.client, name)
    desired, seen = None, ""
    try:
        desired = read_desired(context, name)
        if elsewhere := vantage.explain_elsewhere(context, desired):
            raise errors.Unavailable(elsewhere)
        reading = observe.one(context, name, {})
        acts_here = responsibility.acts_here(context, desired)
        seen = act.describe_reading(reading) if acts_here else (
            f"from {context.node}, {len(reading.observation.instances)} registered instances")
        row = next((row for row in status_report.read_status(context) if row.name == name), None)
        now = status_report.complete(status_report.decide_now(context, name), row)
        if [each["kind"] for each in now] == ["none"] and not acts_here and vantage.describe_actor(desired):
            now = [vantage.make_unknown(name, desired, f"this is {context.node}")]
    except (errors.LictorError, OSError) as error:  # Docker, or the state folder: the records need neither
        now = [vantage.make_unknown(name, desired, str(error))]
    return {"service": name, "history": records, "seen": seen, "now": now}


def _exists(context: Context, name: str) -> bool:
    """Tell whether the service has a key, a state, or a route by labels."""
    return bool(context.client.keys(f"{context.settings.prefix}{name}/")
                or context.client.get(f"{service_state.KEY_PREFIX}{name}")
                or observe.by_labels(read_desired(context, name), context).spec)


class _Records(click.File):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            raise click.BadParameter(f"{error.message}; `lictor why NAME --json | lictor replay -` takes a service's "
                                     "records", ctx, param) from error


@click.command("replay")
@click.argument("file", type=_Records(encoding="utf-8"), metavar="FILE|-")
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
def replay_(file: Any, as_json: bool) -> None:
    """Decide again upon recorded observations.

    Says of each recorded decision whether this version decides the same. FILE holds what `lictor why NAME --json`
    printed, or one record of it. Nothing is carried out, and neither Consul nor Docker is asked. Values of environment
    variables are not in the records.

    Exit codes: 0 all are the same, 1 some are different, or cannot be told.
    """
    try:
        text = file.read()
    except OSError as error:
        raise errors.Refused(f"{file.name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise errors.Refused(f"{file.name}: is no text in UTF-8") from error
    story = replay.replay(text, file.name)
    if as_json:
        click.echo(json.dumps([each._asdict() for each in story.replayed], indent=2))
    else:
        for each in story.replayed:
            click.echo(_describe_replayed(each))
        click.echo(_sum_up(story))
    sys.exit(0 if story.count(replay.SAME) == len(story.replayed) else 1)


def _describe_replayed(found: replay.Replayed) -> str:
    head = f"{format_time(found.at)}  {found.service}  {found.verdict}"
    if found.verdict == replay.SAME:
        return printable(f"{head}: {found.then}")
    why = f": {found.why}" if found.why else ""
    lines = [f"{head}{why}", *([f"    then: {found.then}"] if found.then else []),
             *(f"    now:  {line}" for line in found.now),
             *(["    now:  nothing to do"] if found.verdict == replay.DIFFERENT and not found.now else [])]
    return "\n".join(map(printable, lines))


def _sum_up(story: replay.Story) -> str:
    counts = ", ".join(f"{story.count(verdict)} {verdict}" for verdict in replay.VERDICTS)
    rest = f"; {story.undecided} more records tell of no decision: of input, or of an end" if story.undecided else ""
    return f"{len(story.replayed)} decisions: {counts}{rest}"
