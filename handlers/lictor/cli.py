"""The command `lictor` that people type."""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.table import Table

import lictor
from lictor import apply as applying
from lictor import catalog, config, doctor, errors, init, process, reconcile, report, watches

_OUT = Console(highlight=False, soft_wrap=True)


@dataclasses.dataclass
class Session:
    """The options in front of the command; connections are made only by the commands that need them."""

    settings: config.Config
    token_file: str | None

    @property
    def client(self) -> catalog.Catalog:
        return catalog.connect(token_file=self.token_file)

    @property
    def context(self) -> reconcile.Context:
        return reconcile.connect(self.settings, self.token_file)


class Explained(click.Group):
    """Our errors become one line on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        with explained():
            return super().invoke(ctx)


@contextmanager
def explained() -> Iterator[None]:
    try:
        yield
    except errors.LictorError as error:
        click.echo(f"lictor: {error}", err=True)
        sys.exit(error.exit_code)


@click.group(cls=Explained, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lictor.__version__)
@click.option("--config", "config_path", metavar="FILE", help=f"Settings; else $LICTOR_CONFIG, else {config.DEFAULT_PATH}.")
@click.option("--token-file", metavar="FILE", help="Holds the Consul token; else $CONSUL_HTTP_TOKEN or _FILE.")
@click.pass_context
def main(ctx: click.Context, config_path: str | None, token_file: str | None) -> None:
    """Keep services at their desired number of healthy instances, with nginx following.

    Consul is found as its own command finds it: $CONSUL_HTTP_ADDR and the other CONSUL_* variables; Docker by DOCKER_*.

    \b
    A first service:
      lictor init                      prepare this node, once
      lictor apply books-service.yaml  describe it
      lictor scale books-service 3     or: consul kv put services/books-service/replicas 3
      lictor status                    how all are; lictor why books-service tells its story

    Exit codes: 0 done or nothing to do, 1 refused or failed for good, 2 usage, 3 `plan` has something to do,
    75 try again later.
    """
    environ = {**os.environ, **({"LICTOR_CONFIG": config_path} if config_path else {})}
    ctx.obj = Session(config.load(environ), token_file)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.pass_obj
def apply(session: Session, files: tuple[str, ...]) -> None:
    """Write service specs (YAML or JSON) to Consul. All files are checked before the first is written."""
    tables = applying.read(list(files))
    client = session.client
    for path, table in tables:
        click.echo(applying.apply(client, session.settings.prefix, path, table))


@main.command()
@click.argument("name")
@click.pass_obj
def remove(session: Session, name: str) -> None:
    """Drain and remove all containers of a service, and its route. Applying it again brings it back."""
    applying.remove(session.client, session.settings.prefix, name)
    click.echo(f"{name}: is being removed")


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("count", metavar="N|+N|-N")
@click.pass_obj
def scale(session: Session, name: str, count: str) -> None:
    """Set the desired number of instances: 3, or +1 and -1 from what is desired now."""
    target = applying.scale(session.client, session.settings.prefix, name, count)
    click.echo(f"{name}: {target} desired")


@main.command()
@click.argument("name")
@click.argument("why", default="by hand")
@click.pass_obj
def hold(session: Session, name: str, why: str) -> None:
    """Keep hands off a service: it is still observed and explained, and nginx still follows it."""
    applying.hold(session.client, session.settings.prefix, name, why)
    click.echo(f"{name}: held; `lictor resume {name}` ends that")


@main.command()
@click.argument("name")
@click.pass_obj
def resume(session: Session, name: str) -> None:
    """End a hold."""
    applying.resume(session.client, session.settings.prefix, name)
    click.echo(f"{name}: no longer held")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
@click.pass_obj
def status(session: Session, as_json: bool) -> None:
    """Show all services: desired and passing instances, where they run, what is the matter."""
    rows = report.status(session.context)
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=2))
        return
    if not rows:
        click.echo("no services yet; `lictor apply FILE` makes one")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("SERVICE", "PASSING", "IMAGE", "NODE", "ROUTE", "NGINX ON", "STATE"):
        table.add_column(heading)
    for row in rows:
        table.add_row(row.name, f"{row.passing}/{row.desired}", row.image, row.node or row.engine, row.route,
                      ", ".join(row.served_by) or "-", row.says)
    _OUT.print(table)
    for row in rows:
        for problem in row.problems:
            click.echo(f"refused: {problem}")


@main.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
@click.pass_obj
def plan(session: Session, name: str | None, as_json: bool) -> None:
    """Print what would be done now, and what would not, with reasons. Exit code 3: there is something to do."""
    context = session.context
    names = [name] if name else sorted(row.name for row in report.status(context) if row.name != "?")
    actions = [action for each in names for action in report.what_now(context, each)]
    if as_json:
        click.echo(json.dumps(actions, indent=2))
    else:
        for each in actions:
            click.echo(f"{each['service']}: {each['kind']} {each['container']}: {each['reason']}".replace(" : ", ": "))
        if not actions:
            click.echo("nothing to do")
    sys.exit(3 if report.needs_work(actions) else 0)


@main.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For programs: the records, and what is decided now.")
@click.pass_obj
def why(session: Session, name: str, as_json: bool) -> None:
    """Tell a service's story: what was seen, decided and done, and what is deliberately not done now."""
    story = report.why(session.context, name)
    if as_json:
        click.echo(json.dumps(story, indent=2))
        return
    for record in story["history"]:
        click.echo(report.told(record))
    click.echo(f"now: {story['seen']}")
    for each in story["now"]:
        click.echo(f"now: {each['kind']} {each['container']}: {each['reason']}".replace(" : ", ": "))
    if not story["now"]:
        click.echo("now: nothing to do")
