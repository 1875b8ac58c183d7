"""The command `lictor` that people type."""

import importlib
import os
from typing import Any

import click

import lictor
from lictor.cli.session import Explained, Session
from lictor.cli.shell import hints
from lictor.cli.shell.completion import ServiceName
from lictor.spec import settings

VERBS = {
    "specs.verbs": ("apply", "validate", "schema"),
    "services": ("remove", "scale", "hold", "resume"),
    "releases": ("deploy", "rollback"),
    "status": ("status", "plan"),
    "story": ("why", "replay"),
    "autoscale": ("autoscale",),
    "instances.verbs": ("logs", "exec"),
    "node": ("init", "doctor", "watches", "serve"),
}


class Verbs(Explained):
    """The verbs, each in a module that is imported when the verb is used, or its help is shown."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(verb for verbs in VERBS.values() for verb in verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for name, verbs in VERBS.items():
            if cmd_name in verbs:
                module = importlib.import_module(f"lictor.cli.{name}")
                return _completing(next(each for each in vars(module).values()
                                        if isinstance(each, click.Command) and each.name == cmd_name))
        return None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        word = args[0]
        if not ctx.resilient_parsing and not word.startswith("-") and self.get_command(ctx, word) is None:
            raise click.UsageError(hints.explain(word, self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


def _completing(verb: click.Command) -> click.Command:
    """Let shells complete the verb's NAME."""
    for parameter in verb.params:
        if isinstance(parameter, click.Argument) and parameter.name == "name":
            parameter.type = ServiceName()
    return verb


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lictor.__version__)
@click.option("--config", "config_path", metavar="FILE",
              help=f"Settings; else $LICTOR_CONFIG, else {settings.DEFAULT_PATH}.")
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
      lictor deploy books-service books-service:2.0 --wait
      lictor status                    how all services are; lictor why books-service tells its story
      lictor logs books-service -f     what its containers on this node print

    Exit codes: 0 done or nothing to do, 1 refused or failed for good, 2 usage, 3 `plan` has something to do,
    75 try again later, 130 interrupted, 141 the reader of the output has gone.

    With --json, a failure prints nothing on stdout, and one line on stderr.
    """
    ctx.obj = Session(config_path or os.environ.get("LICTOR_CONFIG", ""), token_file)
