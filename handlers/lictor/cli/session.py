"""The session of one command: its options, connections on demand, and the end of a command that fails."""

import dataclasses
import functools
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from lictor import errors
from lictor.adapters.text import describe_error, one_line
from lictor.spec.settings import Settings, load_settings

if TYPE_CHECKING:
    from lictor.adapters.consul.client import Client
    from lictor.reconcile.context import Context

_PIPE_CLOSED = 128 + signal.SIGPIPE
_INTERRUPTED = 128 + signal.SIGINT


@dataclasses.dataclass
class Session:
    """The options in front of the verb; settings are read and connections made by the verbs that need them."""

    config_path: str
    token_file: str | None

    @functools.cached_property
    def settings(self) -> Settings:
        return load_settings({"LICTOR_CONFIG": self.config_path} if self.config_path else {})

    @property
    def client(self) -> "Client":
        from lictor.adapters.consul.client import Client

        return Client.connect(token_file=self.token_file)

    @property
    def context(self) -> "Context":
        from lictor.reconcile.context import connect

        return connect(self.settings, self.token_file)


class Explained(click.Group):
    """A group of verbs whose errors are explained."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # an old terminal cannot show every character
        with explained():
            return super().invoke(ctx)


@contextmanager
def explained() -> Iterator[None]:
    """Turn a LictorError or OSError into lines on stderr, one for each thing wrong, and an exit code."""
    try:
        yield
    except BrokenPipeError:  # the reader has seen enough: no failure of the command
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python writes at its end
        sys.exit(_PIPE_CLOSED)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except (errors.LictorError, OSError) as error:  # OSError: no rights on this node's files, or no room
        several = error.texts if isinstance(error, errors.Refused) and len(error.texts) > 1 else ()
        for each in several or [describe_error(error) if isinstance(error, OSError) else str(error)]:
            click.echo(f"lictor: {one_line(each)}", err=True)
        sys.exit(error.exit_code if isinstance(error, errors.LictorError) else errors.Unavailable.exit_code)
