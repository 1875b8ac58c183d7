"""The verbs for the node itself: init, doctor, watches, serve."""

import json
import os
import sys

import click

from lictor.adapters import process
from lictor.adapters.text import one_line
from lictor.cli.session import Session
from lictor.events import agent_config, keys_watch, script
from lictor.spec.settings import DEFAULT_PATH, DOORS


@click.command("init")
@click.option("--remove", "removing", is_flag=True, help="Take away what init wrote, except files changed since.")
@click.option("--force", is_flag=True,
              help="Overwrite, or remove, files changed since too. What is overwritten is kept as FILE.bak.")
@click.option("--door", "door_kind", type=click.Choice(DOORS),
              help="How events come in: script, or http for a resident lictor-serve. Default: as the settings say.")
@click.pass_obj
def init_(session: Session, removing: bool, force: bool, door_kind: str | None) -> None:
    """Prepare this node, or take that back.

    Writes settings, nginx's snippet, Consul's watches and units, and says what it did and what is left to do. Where
    Consul and Docker are, by CONSUL_HTTP_ADDR, DOCKER_HOST and the like, it writes down for the handlers.
    """
    from lictor.cli.setup import init  # with nginx's templates, which only init and doctor need

    path = os.path.abspath(session.config_path or DEFAULT_PATH)
    report = init.remove(config_path=path, force=force) if removing else init.run(
        config_path=path, token_file=session.token_file or "", force=force, door_kind=door_kind or "")
    for line in report.done:
        click.echo(line)
    if report.todo:
        click.echo("\nleft to do:")
        for number, line in enumerate(report.todo, start=1):
            click.echo(f"  {number}. {line}")


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="For programs: a list of objects.")
@click.pass_obj
def doctor_(session: Session, as_json: bool) -> None:
    """Test what the handlers need here, and name remedies. Exit code 1: a test fails.

    If root asks, the user that runs the handlers does the tests: it may do less. A note is a remark, which fails
    nothing. The members of sets with state on this node are asked whether they reach each other.
    """
    from lictor.cli.setup import doctor
    from lictor.cli.setup.findings import FAILED, OK, REMARK, UNTESTED

    findings = doctor.examine(session.settings, token_file=session.token_file)
    if as_json:
        click.echo(json.dumps([{**finding._asdict(), "verdict": finding.verdict} for finding in findings], indent=2))
    else:
        marks = {OK: "ok  ", REMARK: "note", UNTESTED: "?   ", FAILED: "FAIL"}
        for finding in findings:
            click.echo(f"{marks[finding.verdict]} {finding.name}: {one_line(finding.detail)}")
            if finding.remedy:
                click.echo(f"     remedy: {finding.remedy}")
    sys.exit(1 if any(finding.verdict == FAILED for finding in findings) else 0)


@click.command("watches")
@click.pass_obj
def watches_(session: Session) -> None:
    """Print the agent configuration that lictor writes.

    It is the static file, and the watches on routed services.
    """
    settings, options = session.settings, script.inherited(session.settings, session.token_file)
    secret, services = f"(what {settings.watch.secret_file} holds)", keys_watch.read_routed_services(settings)
    texts = {
        agent_config.STATIC_FILE: agent_config.static(settings, options, process.handler_argv, secret),
        agent_config.ROUTES_FILE: agent_config.routes(settings, services, options, process.handler_argv, secret),
    }
    for name, content in texts.items():
        click.echo(f"# {os.path.join(settings.watch.config_dir, name)}", err=True)
        click.echo(agent_config.text(content), nl=False)


@click.command("serve")
@click.pass_obj
def serve_(session: Session) -> None:
    """Serve the events of Consul's watches over HTTP, the page and the metrics, as lictor-serve.

    Events are for [watch] door = "http", the page and the metrics for [metrics] listen. lictor init writes a unit.
    """
    words = script.inherited(session.settings, session.token_file)
    # lictor-serve needs little of what is loaded here, and its threads need no heap each.
    os.execve(sys.executable, [*process.handler_argv("lictor-serve"), *words], {**os.environ, "MALLOC_ARENA_MAX": "1"})
