"""The second stage of a `service` event: this node's nginx follows the payload."""

import os
import sys
from collections.abc import Callable

from lictor import errors, model
from lictor.adapters import clock, process
from lictor.adapters.consul import payload
from lictor.events import script
from lictor.routing import follow


def main(description: str, words: list[str], text: bytes | None) -> int:
    """Handle the payload `text`, or else the one on stdin; returns an exit code."""
    def run(call: script.Call) -> int:
        body = sys.stdin.buffer.read(payload.LONGEST_BYTES + 1) if text is None else text
        return handle(call, call.arguments.name, body, payload.index(os.environ.get("CONSUL_INDEX", "")),
                      call.reconcile, process.started_at_s(os.getpid()))

    options = script.make_parser(description)
    options.add_argument("name", metavar="NAME", help="the service, as in services/NAME/spec")
    options.add_argument("--state-dir", metavar="DIR", help="state_dir of the settings: if it is the first option, the "
                                                            "settings are read only when something changed")
    return script.main(options, run, words)


def handle(call: script.Call, name: str, text: bytes, consul_index: int,
           reconcile: Callable[[list[str]], object], began_s: float | None = None) -> int:
    """Follow one payload, by whichever door it came; returns an exit code.

    `reconcile` gets the services that nginx has just confirmed. The event came `began_s` after the machine's start;
    None: now.
    """
    if not model.is_name(name):
        raise errors.Refused(f"NAME is {name[:100]!r}; {model.NAME_RULE}")
    if call.settings.nginx is None:
        raise errors.Refused(f"{call.settings.path} says that this node has no nginx; remove this watch")
    confirmed, is_served = follow.event(call.settings, call.token_file, name, payload.parse(text), consul_index,
                                        clock.uptime_s() if began_s is None else began_s)
    if confirmed:
        reconcile(confirmed)
    return 0 if is_served else errors.Unavailable.exit_code
