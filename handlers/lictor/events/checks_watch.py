"""The `checks` watch: critical checks lead to a reconcile of the services concerned."""

import json

from lictor import errors, model
from lictor.events import script
from lictor.spec import keys


def main(description: str) -> int:
    return script.main(script.make_parser(description), run)


def run(call: script.Call) -> int:
    """Handle one payload on stdin, which holds all checks that are critical at present."""
    try:
        critical = {str(check["ServiceName"]) for check in json.loads(script.read_payload()) or []}
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
