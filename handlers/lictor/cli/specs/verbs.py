"""The verbs for spec files: apply, validate, schema."""

import json

import click

from lictor.adapters.text import one_line
from lictor.cli.session import Session
from lictor.cli.specs import apply as specs
from lictor.cli.specs import files as spec_files
from lictor.cli.specs import validate as validation

_STDIN = "/dev/stdin"


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE|-...")
@click.option("--dry-run", is_flag=True, help="Say what it would change, and write nothing.")
@click.option("--as", "name", metavar="NAME", help="Apply the one FILE under this name instead of its own.")
@click.option("--host", metavar="HOST", help="With --as: the host of its route, instead of its own.")
@click.pass_obj
def apply(session: Session, files: tuple[str, ...], dry_run: bool, name: str | None, host: str | None) -> None:
    """Write service specs (YAML or JSON) to Consul. All files are checked before the first is written; - is stdin.

    Says of each key what it was and is, and which change is a release: that replaces the instances. Values that may be
    secrets are not shown.

    With --as and --host one FILE serves several customers. Each is a service of its own, with keys, containers, colour,
    count and route by its name. Whatever else the FILE names, such as volumes, they share.

    \b
      lictor apply books.yaml --as acme-books --host acme.example.com
    """
    if name is not None and len(files) > 1:
        raise click.UsageError("--as takes exactly one FILE")
    if host is not None and name is None:
        raise click.UsageError("--host goes with --as")
    if host == "":
        raise click.UsageError("--host is empty; without it the route keeps its own host")
    tables = spec_files.read(list(map(_path, files)), name=name, host=host)
    for line in specs.apply(session.context, tables, dry_run=dry_run):
        click.echo(one_line(line))
    if dry_run:
        click.echo("dry run: nothing is written", err=True)




@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE|-...")
def validate(files: tuple[str, ...]) -> None:
    """Check service specs (YAML or JSON) without Consul; - is stdin.

    All that is wrong is told at once, each with its line. Also says what the files alone cannot tell; `lictor apply
    --dry-run` asks Consul too.
    """
    for line in validation.validate(spec_files.read(list(map(_path, files)))):
        click.echo(one_line(line))


@click.command()
def schema() -> None:
    """Print the JSON schema of a spec file, for completion and checks in an editor.

    \b
      lictor schema > ~/lictor.schema.json
      # yaml-language-server: $schema=/home/me/lictor.schema.json     (first line of the spec)
    """
    from lictor.spec.input import schema as spec_schema  # with the page that describes the keys

    click.echo(json.dumps(spec_schema.make(), indent=2, ensure_ascii=False))


def _path(given: str) -> str:
    return _STDIN if given == "-" else given
