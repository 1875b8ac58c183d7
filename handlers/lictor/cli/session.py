"""What the commands share: their options, connections made when needed, and how an error of ours ends them."""

import dataclasses
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console

from lictor import catalog, config, errors, observe, reconcile

OUT = Console(highlight=False, width=None if sys.stdout.isatty() else 240)  # a pipe has no width of its own


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
