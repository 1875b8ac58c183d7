"""What a critical check leads to: a reconcile of the services concerned, which judges by what it sees itself."""

import json

from lictor import errors, model
from lictor.adapters import process
from lictor.events import script
from lictor.spec import keys


def run(call: script.Call) -> int:
    """Handle one payload of the `checks` watch: all checks that are critical now."""
    try:
        found = {check["ServiceName"] for check in json.loads(script.payload()) or [] if check["ServiceName"]}
    except (ValueError, KeyError, TypeError) as error:
        raise errors.Refused(f"stdin holds no checks payload of a Consul watch: {error!r}") from error
    names = concerned(found, keys.services(call.settings))
    if names:
        process.spawn_handler("lictor-reconcile", [*call.inherited, *names], state_dir=call.settings.state_dir)
    return 0


def concerned(found: set[str], known: set[str]) -> list[str]:
    """The services of ours behind names in the catalogue: the name itself, or the name with a colour."""
    return sorted(name for name in known if any(model.catalog_name(name, color) in found
                                                for color in ("", *model.COLORS)))
