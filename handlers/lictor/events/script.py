"""The common part of the handler scripts: their options, the state folder, and errors that become exit codes."""

import argparse
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from lictor import errors, model
from lictor.adapters import files, log, process, tally
from lictor.adapters.consul import payload
from lictor.reconcile import process_lock
from lictor.routing import route_store
from lictor.spec.settings import DEFAULT_PATH, Settings, load_settings

FOLDERS = ("routes", "peers", "unconfirmed", "traffic", "locks")
MOST_NAMES = 500  # in one argv
_HELP_WIDTH = 78  # as on a terminal with 80 columns


class Call(NamedTuple):
    """The call of a handler: its settings, token file and arguments."""

    settings: Settings
    token_file: str | None
    arguments: argparse.Namespace

    def spawn(self, handler: str, *words: str, stdin: bytes = b"",
              environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a handler that outlives this process, with the same settings and token."""
        return process.spawn_handler(handler, [*inherited(self.settings, self.token_file), *words],
                                     state_dir=self.settings.state_dir, stdin=stdin, environ=environ)

    def sweep(self, instead_of: payload.TooLong) -> int:
        """Start a sweep in the place of an event; returns an exit code."""
        log.event("sweep", outcome="started", reason=f"{instead_of}. A sweep reads what it hints at.")
        self.spawn("lictor-reconcile", "--sweep")
        return 0

    def reconcile(self, names: Collection[str]) -> subprocess.Popen[bytes] | None:
        """Start a reconcile of these services; of very many, a sweep, which observes all of them at once.

        Events come in swarms, so that no process is started for a service on which another one works. None: for none.
        """
        if len(names) > MOST_NAMES:
            return self.spawn("lictor-reconcile", "--sweep")
        due = [name for name in sorted(names) if not self.leaves_to_another(name)]
        return self.spawn("lictor-reconcile", *due) if due else None

    def leaves_to_another(self, name: str) -> bool:
        """Leave a service to the process that works on it, and looks once more; False: there is none.

        Of a service that this node only routes, other nodes are told by whoever hears of it first.
        """
        state_dir = self.settings.state_dir
        return model.is_name(name) and not route_store.is_only_routed(state_dir, name) and (
            process_lock.is_left_to_another(state_dir, name))


def inherited(settings: Settings, token_file: str | None) -> list[str]:
    """Give the options by which another handler has the same settings and token."""
    words = ["--config", settings.path] if settings.path not in ("", DEFAULT_PATH) else []
    return words + (["--token-file", os.path.abspath(token_file)] if token_file else [])


def make_parser(description: str) -> argparse.ArgumentParser:
    """Make an argument parser with the options that every handler has. If no width were given, argparse would load
    shutil with all that compresses archives, for each event."""
    formatter = functools.partial(argparse.RawDescriptionHelpFormatter, width=_HELP_WIDTH)
    options = argparse.ArgumentParser(description=description, formatter_class=formatter)
    options.add_argument("--config", metavar="FILE", help=f"settings; else $LICTOR_CONFIG, else {DEFAULT_PATH}")
    options.add_argument("--token-file", metavar="FILE", help="holds the Consul token; else $CONSUL_HTTP_TOKEN[_FILE]")
    return options


def main(options: argparse.ArgumentParser, run: Callable[[Call], int], argv: list[str] | None = None) -> int:
    """Parse the arguments and run; an error becomes one log line and the error's exit code."""
    arguments = options.parse_args(argv)
    try:
        settings = load_settings({**os.environ, **({"LICTOR_CONFIG": arguments.config} if arguments.config else {})})
        for folder in ("", *FOLDERS):
            files.make_folder(os.path.join(settings.state_dir, folder))
        log.keep(os.path.join(settings.state_dir, process.LOG_NAME))
        tally.keep(settings.state_dir if settings.metrics else "")
        call = Call(settings, arguments.token_file, arguments)
        try:
            return run(call)
        except payload.TooLong as error:
            return call.sweep(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (errors.LictorError, OSError) as error:  # OSError: no room in the state folder, or no rights there
        log.event(options.prog.removeprefix("lictor-"), outcome="failed", reason=error)
        return error.exit_code if isinstance(error, errors.LictorError) else errors.Unavailable.exit_code
    except Exception as error:  # a fault of lictor's: one line says where, as nobody sees a traceback of the agent's
        import traceback

        log.event(options.prog.removeprefix("lictor-"), outcome="failed", reason=repr(error),
                  at=traceback.extract_tb(error.__traceback__)[-1])
        return errors.Unavailable.exit_code


def read_payload(text: bytes | None = None) -> str:
    """Decode what a first stage has read, or else read what the watch wrote to stdin; raises Refused on a terminal, and
    TooLong."""
    if text is None:
        if sys.stdin.isatty():
            raise errors.Refused("stdin is a terminal; a Consul watch pipes its payload in")
        text = sys.stdin.buffer.read(payload.LONGEST_BYTES + 1)
    payload.require_length(len(text))
    return text.decode("utf-8", "replace")
