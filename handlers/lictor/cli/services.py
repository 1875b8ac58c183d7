"""The verbs that change what is desired: remove, scale, hold, resume."""

import click

from lictor.cli import service_keys
from lictor.cli.session import Session


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


@click.command()
@click.argument("name")
@click.argument("why", default="by hand")
@click.pass_obj
def hold(session: Session, name: str, why: str) -> None:
    """Keep hands off a service. It is still observed and explained, and nginx still follows it."""
    service_keys.hold(session.client, session.settings.prefix, name, why)
    click.echo(f"{name}: on hold; `lictor resume {name}` ends that")


@click.command()
@click.argument("name")
@click.pass_obj
def resume(session: Session, name: str) -> None:
    """End a hold, close the breaker, end the back-off.

    What the service has used of the replacement budget is given back.
    """
    ended = service_keys.resume(session.client, session.settings.prefix, name)
    click.echo(f"{name}: {', '.join(ended) or 'no hold, open breaker or back-off to end'}")
