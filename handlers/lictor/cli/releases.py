"""The verbs that change what runs: deploy, rollback."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from lictor.adapters.text import one_line, printable
from lictor.cli import release_request
from lictor.cli.release_progress import Outcome, Progress, Request
from lictor.cli.session import Session
from lictor.spec import quantities

_EXIT_CODES = {"done": 0, "failed": 1, "superseded": 1, "timeout": 75, "unreachable": 75, "interrupted": 130}
_SHOWN_CONTAINERS = 3  # of a failed release: most end with the same words


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else quantities.parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _followed(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that deploy and rollback share."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="For programs: an object a line, the last the outcome."),
        click.option("--timeout", "timeout_s", metavar="DURATION", callback=_seconds,
                     help="With --wait: such as 90s or 5m. Default: by the spec, twice the deadline and a minute, or "
                          "more for many instances that are replaced one by one."),
        click.option("--wait", is_flag=True, help="Show the progress, and exit by the outcome."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("name")
@click.argument("image")
@_followed
@click.pass_obj
def deploy(session: Session, name: str, image: str, wait: bool, timeout_s: float | None, as_json: bool) -> None:
    """Release an image: write services/NAME/image. An image that failed before is tried again.

    The live instances serve on until the new ones pass, and stay if the new ones do not.

    Exit codes with --wait: 0 the image is live, 1 the release failed or is superseded, 75 the time is up or Consul does
    not answer, 130 interrupted. After 75 and 130 the release goes on.
    """
    _refuse_useless(wait, timeout_s)
    client, prefix = session.client, session.settings.prefix
    _report(session, release_request.deploy(client, prefix, name, image), wait, timeout_s, as_json)


@click.command()
@click.argument("name")
@_followed
@click.pass_obj
def rollback(session: Session, name: str, wait: bool, timeout_s: float | None, as_json: bool) -> None:
    """Go back to the release before.

    From a release under way or failed that is what is live, else what was live before. The image and what else makes a
    release go back (port, environment, check, command, volumes, resources and so on); counts, limits, route and timing
    stay. A second rollback returns to where the first began. Exit codes are deploy's.
    """
    _refuse_useless(wait, timeout_s)
    client, prefix = session.client, session.settings.prefix
    _report(session, release_request.rollback(client, prefix, name), wait, timeout_s, as_json)


def _refuse_useless(wait: bool, timeout_s: float | None) -> None:
    if timeout_s is not None and not wait:
        raise click.UsageError("--timeout goes with --wait")


def _report(session: Session, request: Request, wait: bool, timeout_s: float | None, as_json: bool) -> None:
    """Say what was requested; with --wait follow it, and exit by its outcome."""
    name, image = request.name, request.image
    if as_json:
        _print_json(request, "asked", held=request.held, **({} if wait else {"outcome": "asked"}))
    elif request.held:
        click.echo(f"{name}: {image} is requested, but on hold: {one_line(request.held)}. `lictor resume {name}` ends "
                   "that")
    else:
        click.echo(f"{name}: {image} is requested. `lictor why {name}` shows how it goes")
    if not wait:
        return
    outcome = Outcome("interrupted")
    with contextlib.suppress(KeyboardInterrupt):
        outcome = _watch(session, request, request.timeout_s if timeout_s is None else timeout_s, as_json)
    if as_json:
        _print_json(request, "outcome", outcome=outcome.kind, why=outcome.why, behind=outcome.behind,
                    foreign=outcome.foreign, unserved=outcome.unserved, last_words=outcome.last_words)
    else:
        _print_outcome(request, outcome)
    sys.exit(_EXIT_CODES[outcome.kind])


def _watch(session: Session, request: Request, timeout_s: float, as_json: bool) -> Outcome:
    shown: object = None
    outcome: Outcome | None = None
    with _display(request, timeout_s, as_json) as show:
        for progress in release_request.follow(session.client, session.settings.prefix, request, timeout_s=timeout_s):
            outcome = progress.outcome
            if outcome is None:  # a check's output holds timings, so that it alone is no news
                news = progress.stage, [(*each[:3], bool(each.detail)) for each in progress.new_instances]
                show(progress, news != shown)
                shown = news
    assert outcome, "the last look has it"
    return outcome


@contextlib.contextmanager
def _display(request: Request, timeout_s: float, as_json: bool) -> Iterator[Callable[[Progress, bool], None]]:
    """Yield what shows one look at the release: each look on a terminal, and only news on a pipe."""
    if not as_json:
        from lictor.cli import release_view

        if release_view.can_be_redrawn():
            with release_view.redrawn(request, timeout_s) as redraw:
                yield lambda progress, _: redraw(progress)
            return

    def show(progress: Progress, is_news: bool) -> None:
        if is_news and as_json:
            _print_json(request, "progress", elapsed_s=round(progress.elapsed_s, 1), stage=progress.stage,
                        instances=[each._asdict() for each in progress.new_instances])
        elif is_news:
            conditions = [f"{each.service_id} is {each.described}" for each in progress.new_instances
                          if not each.passes]
            stage = f"{request.name}: {progress.elapsed_s:.0f} s: {one_line(progress.stage)}"
            click.echo("; ".join([stage, *conditions]))
    yield show


def _print_outcome(request: Request, outcome: Outcome) -> None:
    name, image = request.name, request.image
    if outcome.kind == "done":
        click.echo(f"{name}: {image} is live")
        if outcome.behind:
            click.echo(f"warning: nginx does not list all new instances yet on {', '.join(outcome.behind)}", err=True)
        for text in outcome.unserved:
            click.echo(f"warning: nginx does not serve it as it should on {text}", err=True)
        if outcome.foreign:
            click.echo(f"warning: these serve as {name} too, and are not of {image}: {'; '.join(outcome.foreign)}. "
                       f"lictor did not start them, and leaves them alone", err=True)
        return
    goes_on = f"The release goes on; `lictor why {name}` shows how it ends"
    texts = {"failed": f"release of {image} failed: {outcome.why}",
             "superseded": f"{image} is superseded: {outcome.why}",
             "timeout": f"the time is up: {outcome.why}. {goes_on}",
             "unreachable": f"Consul does not answer: {outcome.why}. {goes_on}",
             "interrupted": f"interrupted. {goes_on}"}
    click.echo(f"lictor: {name}: {texts[outcome.kind]}", err=True)
    for container, words in list(outcome.last_words.items())[-_SHOWN_CONTAINERS:]:
        for line in words.splitlines():
            click.echo(f"    {container} | {printable(line)}", err=True)


def _print_json(request: Request, event: str, **more: Any) -> None:
    about = {"event": event, "service": request.name, "image": request.image, "release": request.release}
    click.echo(json.dumps({**about, **more}))
