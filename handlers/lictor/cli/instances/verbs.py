"""The verbs for the instances of this node: logs, exec."""

import os
import shutil
import sys

import click

from lictor import errors
from lictor.adapters import docker
from lictor.cli.instances import finding, output
from lictor.cli.session import Session

_DOCKER = "docker"


@click.command()
@click.argument("name", metavar="NAME[-N]")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on, also by new instances.")
@click.option("--tail", "tail", type=click.IntRange(min=0), metavar="N", help="The last N lines of each. Default: all.")
@click.pass_obj
def logs(session: Session, name: str, follow: bool, tail: int | None) -> None:
    """Print the output of a service's containers.

    It is of those on this node, each line behind the container's name. NAME-N is one instance. Ended containers are
    among them until lictor removes them; their last words stay in `lictor why`. On a terminal colours are left out, and
    what would move the cursor.
    """
    found = finding.require_some(session, name)
    if follow:
        output.follow(lambda: finding.find(name), tail)
    else:
        sys.exit(output.show(found, tail))


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.argument("name", metavar="NAME[-N]")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] CMD...")
@click.pass_obj
def exec_(session: Session, name: str, command: tuple[str, ...]) -> None:
    """Run a program in one of a service's containers.

    It is the container of instance N, or the first one on this node that passes its check. The program gets stdin, and
    a terminal if there is one. The command `docker` runs it, which has to be installed. The exit code is the program's.

    \b
      lictor exec books-service sh
      lictor exec books-service-2 -- ls -l /www
    """
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise click.UsageError("Missing argument '[--] CMD...'.")
    container = finding.choose(session, name, finding.require_some(session, name))
    program = shutil.which(_DOCKER)
    if program is None:
        raise errors.Refused(f"exec needs the command `{_DOCKER}`, which is not installed here, or not in PATH")
    terminal = ["-t"] if all(each and each.isatty() for each in (sys.stdin, sys.stdout)) else []
    # The id is no option whatever the container's name is, and behind it all words are the program's.
    os.execve(program, [_DOCKER, "exec", "-i", *terminal, container.id, *words],
              {**os.environ, "DOCKER_HOST": docker.host()})
