"""The first stage of a `service` event: if nginx serves the payload already, the handler ends here.

This is the commonest event. It may cost little more than Python and json, so this module, with all that it imports,
needs the standard library only. `service_watch`, the second stage, is imported once something has changed.
"""

import os
import sys
import time

from lictor import errors
from lictor.adapters import files
from lictor.adapters.consul import payload
from lictor.routing import peers, route_store


def main(description: str, argv: list[str] | None = None) -> int:
    """Handle one `service` payload on stdin; returns an exit code. Arguments: NAME [--state-dir DIR] [OPTIONS]."""
    words = sys.argv[1:] if argv is None else argv
    text = None
    if words[1:2] == ["--state-dir"]:  # as the generated watches call it
        text = sys.stdin.buffer.read(payload.LONGEST_BYTES + 1)
        if changes_nothing(words[0], "".join(words[2:3]), text):
            return 0
    from lictor.events import service_watch

    return service_watch.main(description, words, text)


def changes_nothing(name: str, state_dir: str, text: bytes) -> bool:
    """Decide whether nginx has confirmed all that the payload asks for. Errors are left to the second stage."""
    try:
        event = payload.parse(text)
        with files.locked(route_store.lock_path(state_dir, name)):
            route, published = route_store.route(state_dir, name), route_store.published(state_dir, name)
            if not route or not published or not published.confirmed or event.skipped:
                return False
            own = route_store.own_endpoints(state_dir, event.instances)
            decision = peers.decide(route, published, event.instances, now_s=time.time(), certain=False, own=own)
            if decision.kind != "unchanged" or decision.refused:
                return False
            consul_index = payload.index(os.environ.get("CONSUL_INDEX", ""))
            route_store.note_unchanged(state_dir, name, published, decision, consul_index)
            return True
    except (errors.Refused, OSError):
        return False
