"""The command `lictor` that people type."""

import dataclasses
import functools
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
from lictor import catalog, config, doctor, errors, handler, init, observe, process, reconcile, replay, report, watches
from lictor import scale as scaling

_OUT = Console(highlight=False, width=None if sys.stdout.isatty() else 240)  # a pipe has no width of its own


@dataclasses.dataclass
class Session:
    """The options in front of the command; settings and connections are made only by the commands that need them."""

    config_path: str
    token_file: str | None

    @functools.cached_property
    def settings(self) -> config.Config:
        return config.load({"LICTOR_CONFIG": self.config_path} if self.config_path else {})

    @property
    def client(self) -> catalog.Catalog:
        return catalog.connect(token_file=self.token_file)

    @property
    def context(self) -> observe.Context:
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
@click.option("--config", "config_path", metavar="FILE",
              help=f"Settings; else $LICTOR_CONFIG, else {config.DEFAULT_PATH}.")
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
    ctx.obj = Session(config_path or os.environ.get("LICTOR_CONFIG", ""), token_file)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.pass_obj
def apply(session: Session, files: tuple[str, ...]) -> None:
    """Write service specs (YAML or JSON) to Consul. All files are checked before the first is written."""
    tables = applying.read(list(files))
    for line in applying.apply(session.client, session.settings.prefix, tables):
        click.echo(line)


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
    """Set the desired number of instances.

    It is 3, or +1 and -1 from what is desired now. What runs beyond that is drained once it has been a surplus for a
    minute, or for as long as [heal] surplus_after in the settings says.
    """
    target = applying.scale(session.client, session.settings.prefix, name, count)
    click.echo(f"{name}: {target} desired")


@main.command()
@click.argument("name")
@click.argument("why", default="by hand")
@click.pass_obj
def hold(session: Session, name: str, why: str) -> None:
    """Keep hands off a service. It is still observed and explained, and nginx still follows it."""
    applying.hold(session.client, session.settings.prefix, name, why)
    click.echo(f"{name}: held; `lictor resume {name}` ends that")


@main.command()
@click.argument("name")
@click.pass_obj
def resume(session: Session, name: str) -> None:
    """End a hold, and close the breaker.

    What the service has used of the replacement budget is given back, and starts back off no more.
    """
    ended = applying.resume(session.client, session.settings.prefix, name)
    click.echo(f"{name}: {', '.join(ended) or 'nothing was held, and no breaker open'}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
@click.pass_obj
def status(session: Session, as_json: bool) -> None:
    """Show all services. PASSING is how many pass their checks, of how many are desired."""
    rows = report.status(session.context)
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=2))
        return
    if not rows:
        click.echo("no services yet; `lictor apply FILE` makes one")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("SERVICE", "PASSING", "IMAGE", "NODE", "ROUTE", "NGINX ON", "STATE"):
        table.add_column(heading, no_wrap=heading != "STATE")
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
    known = sorted(row.name for row in report.status(context) if row.name != "?")
    actions = [action for each in ([name] if name else known) for action in report.what_now(context, each)]
    if name and name not in known and not report.needs_work(actions):
        raise _no_service(name)
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
    """Tell a service's story.

    That is what was seen, decided and done, and what is deliberately not done now.
    """
    context = session.context
    story = report.why(context, name)
    if not story["history"] and name not in [row.name for row in report.status(context)]:
        raise _no_service(name)
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


@main.command("replay")
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
        click.echo(f"{report.moment(each.at)}  {each.service}" + (f"\n    then: {each.then}" if each.then else ""))
        for line in each.now or ["nothing to do"]:
            click.echo(f"    now:  {line}")


def _no_service(name: str) -> errors.Refused:
    return errors.Refused(f"there is no service {name[:100]!r}; `lictor status` lists them")


@main.command("init")
@click.option("--remove", "removing", is_flag=True, help="Take away what init wrote, but nothing changed since.")
@click.option("--force", is_flag=True, help="Overwrite, or remove, also what was changed since.")
@click.pass_obj
def init_(session: Session, removing: bool, force: bool) -> None:
    """Prepare this node, or take that back.

    Writes settings, nginx's snippet, Consul's watches and units, and says what it did and what is left to do.
    """
    path = session.config_path or config.DEFAULT_PATH
    done = init.remove(config_path=path, force=force) if removing else init.run(
        config_path=path, token_file=session.token_file or "", force=force)
    for line in done.done:
        click.echo(line)
    if done.todo:
        click.echo("\nleft to do:")
        for number, line in enumerate(done.todo, start=1):
            click.echo(f"  {number}. {line}")


@main.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
@click.pass_obj
def doctor_(session: Session, as_json: bool) -> None:
    """Test what the handlers need here, and name remedies. Exit code 1: something is missing."""
    findings = doctor.examine(session.settings, token_file=session.token_file)
    if as_json:
        click.echo(json.dumps([each._asdict() for each in findings], indent=2))
    else:
        for each in findings:
            mark = {True: "ok  ", False: "FAIL", None: "?   "}[each.ok]
            click.echo(f"{mark} {each.name}: {each.detail}" + (f"\n     remedy: {each.remedy}" if each.remedy else ""))
    sys.exit(1 if any(each.ok is False for each in findings) else 0)


@main.command("watches")
@click.pass_obj
def watches_(session: Session) -> None:
    """Print the agent configuration that lictor writes.

    That is the static file, and the watches on routed services.
    """
    settings = session.settings
    options = handler.inherited(settings, session.token_file)
    services = {name: each["service"] for name, each in scaling.known_routes(settings).items() if not each["removed"]}
    for name, content in (
        (watches.STATIC_FILE, watches.static(settings, options, process.handler_argv)),
        (watches.ROUTES_FILE, watches.routes(settings, services, options, process.handler_argv)),
    ):
        click.echo(f"# {os.path.join(settings.watch.config_dir, name)}", err=True)
        click.echo(watches.text(content), nl=False)
