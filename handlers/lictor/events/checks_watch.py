"""The `checks` watch: critical checks lead to a reconcile of the services concerned.

Many events say that no check is critical any more. Such an event may cost little more than Python, so this module, with
all that it imports, needs the standard library only. `script`, the second stage, is imported once a check is critical.
"""

import json
import sys
from typing import TYPE_CHECKING

from lictor import errors, model
from lictor.adapters.consul import payload

if TYPE_CHECKING:
    from lictor.events.script import Call

_NOTHING = (b"[]", b"null")


def main(description: str) -> int:
    """Handle one payload on stdin, which holds all checks that are critical at present."""
    text = None if sys.argv[1:2] in (["-h"], ["--help"]) or sys.stdin.isatty() else (
        sys.stdin.buffer.read(payload.LONGEST_BYTES + 1))
    if text is not None and text.strip() in _NOTHING:
        return 0
    from lictor.events import script

    return script.main(script.make_parser(description), lambda call: run(call, script.read_payload(text)))


def run(call: "Call", text: str) -> int:
    """Have the services reconciled of which a check is critical."""
    from lictor.spec import keys

    try:
        critical = {str(check["ServiceName"]) for check in json.loads(text) or []}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise errors.Refused(f"stdin holds no checks payload of a Consul watch: {error!r}") from error
    names = services_behind(critical, keys.known_services(call.settings))
    if names:
        call.reconcile(names)
    return 0


def services_behind(catalog_names: set[str], services: set[str]) -> list[str]:
    """Name lictor's services behind names in the catalogue: such a name is the service's, or ends with a colour."""
    return sorted(name for name in services
                  if any(model.catalog_name(name, color) in catalog_names for color in ("", *model.COLORS)))
