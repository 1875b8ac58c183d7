"""The verbs that change what is desired: remove, scale, hold, resume."""

import math

import click

from lictor import errors
from lictor.adapters.text import one_line
from lictor.cli import service_keys
from lictor.cli.session import Session
from lictor.planner.routes.pause import DEFAULT_S, parse_length
from lictor.spec import quantities

_CONFIRM_S = 15.0


@click.command()
@click.argument("name")
@click.pass_obj
def remove(session: Session, name: str) -> None:
    """Drain and remove all containers of a service, and its route. A new `apply` brings it back.

    The volumes of a set with state stay; what is printed names them, and says how to delete them.
    """
    from lictor.cli import cluster_report

    context = session.context
    click.echo(f"{name}: {service_keys.remove(context.client, session.settings.prefix, name)}")
    rest = cluster_report.describe_rest(context, service_keys.read_service(
        context.client, session.settings.prefix, name))
    if rest:
        click.echo(rest)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("count", metavar="N|+N|-N")
@click.pass_obj
def scale(session: Session, name: str, count: str) -> None:
    """Set the desired number of instances.

    It is 3, say, or +1 and -1 from the present one. Surplus instances are drained after a minute, or after what [heal]
    surplus_after in the settings says.
    """
    click.echo(f"{name}: {service_keys.scale(session.client, session.settings.prefix, name, count)}")


def _length(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else parse_length(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _duration(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else quantities.parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.argument("name")
@click.argument("why", required=False)
@click.option("--pause", "pauses", is_flag=True, help="Let all requests wait in nginx, as the routes' `wait` says.")
@click.option("--for", "for_s", metavar="DURATION", callback=_length,
              help="With --pause: when it ends by itself, within 1s..10m. Default: 60s.")
@click.option("--timeout", "timeout_s", metavar="DURATION", callback=_duration,
              help="With --pause: how long the command waits for nginx and for requests in flight. Default: 15s.")
@click.pass_obj
def hold(session: Session, name: str, why: str | None, pauses: bool, for_s: float | None,
         timeout_s: float | None) -> None:
    """Keep hands off a service. It is still observed and explained, and nginx still follows it.

    With --pause, requests that come wait in nginx, so that an instance can be restarted by hand. Requests in flight go
    on to their end, and the command waits for that. A pause ends by `lictor resume`, or after its time; the hold stays
    then.

    Exit codes with --pause: 0 each nginx has confirmed it and nothing is in flight, 1 it is refused or was called off,
    75 the time is up or Consul does not answer, 130 interrupted. After 75 and 130 the pause stands.
    """
    if not pauses and (for_s is not None or timeout_s is not None):
        raise click.UsageError(f"{'--timeout' if for_s is None else '--for'} goes with --pause")
    if pauses:
        _pause(session, name, why, DEFAULT_S if for_s is None else for_s,
               _CONFIRM_S if timeout_s is None else timeout_s)
        return
    ended = service_keys.hold(session.client, session.settings.prefix, name, "by hand" if why is None else why)
    click.echo(f"{name}: on hold{ended}; `lictor resume {name}` ends that")


def _pause(session: Session, name: str, why: str | None, for_s: float, timeout_s: float) -> None:
    """Pause, and show how far that is until it is done; raises what ends the command otherwise."""
    from lictor.cli import pause

    context = session.context
    asked = pause.ask(context, name, why, for_s)
    for node in asked.lost:
        click.echo(f"warning: {one_line(node)} does not answer. If nginx serves there, no request waits", err=True)
    shown: object = None
    for progress in pause.follow(context, asked, timeout_s=timeout_s):
        news = sorted(progress.held), progress.in_flight
        if progress.held and news != shown:
            click.echo(f"{name}: paused on {one_line(', '.join(sorted(progress.held)))}; {progress.in_flight} requests "
                       "are in flight at instances")
            shown = news
    failure = pause.describe_end(asked, progress)
    if failure:
        raise (errors.Unavailable if progress.is_standing else errors.Refused)(failure)
    click.echo(f"{name}: all requests wait, each for {asked.wait_s:g} s at most; the pause ends by itself "
               f"{math.ceil(for_s)} s after it began. `lictor resume {name}` ends it")


@click.command()
@click.argument("name")
@click.pass_obj
def resume(session: Session, name: str) -> None:
    """End a hold, close the breaker, end the back-off.

    What the service has used of the replacement budget is given back.
    """
    ended = service_keys.resume(session.client, session.settings.prefix, name)
    click.echo(f"{name}: {', '.join(ended) or 'no hold, open breaker or back-off to end'}")
