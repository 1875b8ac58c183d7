"""What the handler scripts share: their common options, the state folder, and errors that become exit codes."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import NamedTuple

from lictor import errors
from lictor.adapters import log, process
from lictor.spec.settings import DEFAULT_PATH, Settings, load_settings

_LONGEST_PAYLOAD = 64 * 1024 * 1024
FOLDERS = ("routes", "peers", "locks")


class Call(NamedTuple):
    """How this handler was called, and what it has to pass on to those that it starts itself."""

    settings: Settings
    token_file: str | None
    arguments: argparse.Namespace

    @property
    def inherited(self) -> list[str]:
        return inherited(self.settings, self.token_file)


def inherited(settings: Settings, token_file: str | None) -> list[str]:
    """The options that a handler is started with, so that it has the same settings and token."""
    words = ["--config", settings.path] if settings.path not in ("", DEFAULT_PATH) else []
    return words + (["--token-file", os.path.abspath(token_file)] if token_file else [])


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser with the options that every handler has."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--config", metavar="FILE", help=f"settings; else $LICTOR_CONFIG, else {DEFAULT_PATH}")
    options.add_argument("--token-file", metavar="FILE", help="holds the Consul token; else $CONSUL_HTTP_TOKEN[_FILE]")
    return options


def main(options: argparse.ArgumentParser, run: Callable[[Call], int], argv: list[str] | None = None) -> int:
    """Parse, run, and translate errors: one log line, and the error's exit code."""
    arguments = options.parse_args(argv)
    try:
        environ = {**os.environ, **({"LICTOR_CONFIG": arguments.config} if arguments.config else {})}
        settings = load_settings(environ)
        for folder in FOLDERS:
            os.makedirs(os.path.join(settings.state_dir, folder), mode=0o750, exist_ok=True)
        log.keep(os.path.join(settings.state_dir, process.LOG_NAME))
        return run(Call(settings, arguments.token_file, arguments))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except (errors.LictorError, OSError) as error:  # OSError: the state folder has no room, or we no rights there
        log.event(options.prog.removeprefix("lictor-"), outcome="failed", reason=error)
        return error.exit_code if isinstance(error, errors.LictorError) else errors.Unavailable.exit_code


def payload() -> str:
    """What the watch wrote to our stdin; on a terminal there is none."""
    if sys.stdin.isatty():
        raise errors.Refused("stdin is a terminal; a Consul watch pipes its payload in")
    text = sys.stdin.buffer.read(_LONGEST_PAYLOAD + 1)
    if len(text) > _LONGEST_PAYLOAD:
        raise errors.Refused(f"stdin holds more than {_LONGEST_PAYLOAD} bytes")
    return text.decode("utf-8", "replace")
