"""The commands that change what runs: deploy, rollback."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lictor.cli import release_request
from lictor.cli.release_progress import Asked, Newcomer, Outcome, Progress, printable
from lictor.cli.session import OUT, Session
from lictor.spec import durations

_EXIT_CODES = {"done": 0, "failed": 1, "superseded": 1, "timeout": 75, "unreachable": 75, "interrupted": 130}
_SHOWN_CONTAINERS = 3  # of those that failed: they mostly say the same


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else durations.seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _followed(command: Callable[..., None]) -> Callable[..., None]:
    """The options that deploy and rollback share."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="For programs: an object a line, the last the outcome."),
        click.option("--timeout", "timeout_s", metavar="DURATION", callback=_seconds,
                     help="With --wait: such as 90s or 5m. Else by the spec: twice the deadline and a minute, or more "
                          "for many instances that are replaced one by one."),
        click.option("--wait", is_flag=True, help="Show how it goes, and exit by the outcome."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("name")
@click.argument("image")
@_followed
@click.pass_obj
def deploy(session: Session, name: str, image: str, wait: bool, timeout_s: float | None, as_json: bool) -> None:
    """Release an image: write services/NAME/image. One that failed before is tried again.

    What is live serves on until the new instances pass, and goes on if they do not.

    Exit codes with --wait: 0 it is live, 1 it failed or something newer is asked for, 75 the time ran out or Consul is
    out of reach, 130 interrupted. In the last two cases the release goes on.
    """
    _refuse_useless(wait, timeout_s)
    client, prefix = session.client, session.settings.prefix
    _tell(session, release_request.deploy(client, prefix, name, image), wait, timeout_s, as_json)


@click.command()
@click.argument("name")
@_followed
@click.pass_obj
def rollback(session: Session, name: str, wait: bool, timeout_s: float | None, as_json: bool) -> None:
    """Go back: from a release under way or failed to what is live, else to what was live before.

    The image and what else makes a release go back (port, environment, check, command, volumes, resources and so on);
    counts, limits, route and timing stay. Done once more it returns to where it came from. Exit codes are deploy's.
    """
    _refuse_useless(wait, timeout_s)
    client, prefix = session.client, session.settings.prefix
    _tell(session, release_request.rollback(client, prefix, name), wait, timeout_s, as_json)


def _refuse_useless(wait: bool, timeout_s: float | None) -> None:
    if timeout_s is not None and not wait:
        raise click.UsageError("--timeout goes with --wait")


def _tell(session: Session, asked: Asked, wait: bool, timeout_s: float | None, as_json: bool) -> None:
    if as_json:
        _print_json(asked, "asked", held=asked.held, **({} if wait else {"outcome": "asked"}))
    else:
        more = f"but it is held: {printable(asked.held)}; `lictor resume {asked.name}` ends that" if asked.held else (
            f"`lictor why {asked.name}` tells how it goes")
        click.echo(f"{asked.name}: {asked.image} is asked for; {more}")
    if not wait:
        return
    outcome = Outcome("interrupted")
    with contextlib.suppress(KeyboardInterrupt):
        outcome = _watch(session, asked, asked.timeout_s if timeout_s is None else timeout_s, as_json)
    if as_json:
        _print_json(asked, "outcome", outcome=outcome.kind, why=outcome.why, behind=outcome.behind,
                    last_words=outcome.last_words)
    else:
        _tell_outcome(asked, outcome)
    sys.exit(_EXIT_CODES[outcome.kind])


def _watch(session: Session, asked: Asked, timeout_s: float, as_json: bool) -> Outcome:
    told: object = None
    outcome: Outcome | None = None
    with _shown(asked, timeout_s, as_json) as show:
        for now in release_request.follow(session.client, session.settings.prefix, asked, timeout_s=timeout_s):
            outcome = now.outcome
            if outcome is None:
                news = now.stage, [(*each[:3], bool(each.detail)) for each in now.newcomers]  # outputs hold timings
                show(now, news != told)
                told = news
    assert outcome, "the last look has it"
    return outcome


@contextlib.contextmanager
def _shown(asked: Asked, timeout_s: float, as_json: bool) -> Iterator[Callable[[Progress, bool], None]]:
    """How to show one look at it, and whether it is news: always on a terminal, on a pipe what is news only."""
    if not as_json and OUT.is_terminal and not OUT.is_dumb_terminal:
        with Live(console=OUT, auto_refresh=False, transient=True) as live:
            yield lambda now, _: live.update(_view(asked, now, timeout_s), refresh=True)
        return

    def show(now: Progress, is_news: bool) -> None:
        if is_news and as_json:
            _print_json(asked, "progress", elapsed_s=round(now.elapsed_s, 1), stage=now.stage,
                        instances=[each._asdict() for each in now.newcomers])
        elif is_news:
            click.echo("; ".join([f"{asked.name}: {now.elapsed_s:.0f} s: {now.stage}",
                                  *(f"{each.service_id} is {_matter(each)}" for each in now.newcomers
                                    if each.condition != "passes")]))
    yield show


def _view(asked: Asked, now: Progress, timeout_s: float) -> Group:
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in now.newcomers:
        table.add_row(Text(f"  {each.service_id}"), Text(each.node),
                      Text(_matter(each), style="green" if each.condition == "passes" else "yellow"))
    return Group(Text(f"{asked.image}: {now.stage}"), table,
                 Text(f"{now.elapsed_s:.0f} s of at most {timeout_s:g} s", style="dim"))


def _matter(newcomer: Newcomer) -> str:
    return f"{newcomer.condition}: {newcomer.detail}" if newcomer.detail else newcomer.condition


def _tell_outcome(asked: Asked, outcome: Outcome) -> None:
    name, image = asked.name, asked.image
    if outcome.kind == "done":
        click.echo(f"{name}: {image} is live")
        if outcome.behind:
            click.echo(f"warning: nginx does not list all new instances yet on {', '.join(outcome.behind)}", err=True)
        return
    goes_on = f"the release goes on; `lictor why {name}` tells how it ends"
    says = {"failed": f"release of {image} failed: {outcome.why}",
            "superseded": f"{image} is superseded: {outcome.why}",
            "timeout": f"the time is up ({outcome.why}); {goes_on}", "unreachable": f"{outcome.why}; {goes_on}",
            "interrupted": goes_on}
    click.echo(f"lictor: {name}: {says[outcome.kind]}", err=True)
    for container, words in list(outcome.last_words.items())[-_SHOWN_CONTAINERS:]:
        for line in words.splitlines():
            text = "".join(each if each.isprintable() else "?" for each in line.expandtabs())
            click.echo(f"    {container} | {text}", err=True)


def _print_json(asked: Asked, event: str, **more: Any) -> None:
    about = {"event": event, "service": asked.name, "image": asked.image, "release": asked.release}
    click.echo(json.dumps({**about, **more}))
