"""The second stage of a `service` event: this node's nginx follows what the payload says."""

import argparse
import functools
import os
import sys
from collections.abc import Callable

from lictor import errors, model
from lictor.adapters import process
from lictor.adapters.consul import payload
from lictor.events import script
from lictor.routing import follow


def main(description: str, words: list[str], text: bytes | None) -> int:
    """Handle the payload `text`, else the one on stdin; an exit code."""
    def run(call: script.Call) -> int:
        given = sys.stdin.buffer.read(payload.LONGEST_BYTES + 1) if text is None else text
        return handle(call, call.arguments.name, given, payload.index(os.environ.get("CONSUL_INDEX", "")))

    return script.main(_options(description), run, words)


def handle(call: script.Call, name: str, text: bytes, consul_index: int, *,
           reconcile: Callable[[list[str]], None] | None = None) -> int:
    """Follow one payload, whichever door it came by; an exit code. `reconcile` is told which services nginx has just
    confirmed; without one a process is started for them."""
    if not model.is_name(name):
        raise errors.Refused(f"NAME is {name[:100]!r}; it must be the name of a service")
    if call.settings.nginx is None:
        raise errors.Refused(f"{call.settings.path} says that this node has no nginx; remove this watch")
    confirmed, is_served = follow.event(call.settings, call.token_file, name, payload.parse(text), consul_index)
    if confirmed:
        (reconcile or functools.partial(_reconcile, call))(confirmed)
    return 0 if is_served else errors.Unavailable.exit_code


def _options(description: str) -> argparse.ArgumentParser:
    options = script.parser(description)
    options.add_argument("name", metavar="NAME", help="the service, as in services/NAME/spec")
    options.add_argument("--state-dir", metavar="DIR", help="state_dir of the settings: if it is the first option, the "
                                                            "settings are read only when something changed")
    return options


def _reconcile(call: script.Call, names: list[str]) -> None:
    process.spawn_handler("lictor-reconcile", [*call.inherited, *names], state_dir=call.settings.state_dir)
