"""The first stage of the autoscaler's check: if no service has `autoscale` in its spec, it says so and ends here.

Consul starts it every 10 s on each node, so this module needs the standard library and the settings only. The names of
the services are a note of the key events. `autoscale_round`, the second stage, reads the specs themselves.
"""

import os
from collections.abc import Mapping

from lictor import model
from lictor.adapters import files
from lictor.events import script
from lictor.spec.keys import spec_owner
from lictor.spec.settings import Settings

NOBODY = "no service has autoscale"
_FILE = "autoscale.json"  # in the state folder
_WORD = b'"autoscale"'  # in a spec that merely mentions it, too: the second stage finds that out


def main(description: str) -> int:
    return script.main(script.make_parser(description), answer)


def answer(call: script.Call) -> int:
    """Print the check's output, and scale what this node acts for; returns the check's status."""
    names = read_names(call.settings)
    if names == []:
        print(NOBODY)
        return 0
    from lictor.events import autoscale_round

    return autoscale_round.answer(call, names)


def note_names(settings: Settings, values: Mapping[str, bytes]) -> None:
    """Note the services that may have `autoscale`, given all keys below the prefix."""
    names = sorted(name for key, value in values.items() if _WORD in value and (
        name := spec_owner(key, settings.prefix)))
    files.write_json(os.path.join(settings.state_dir, _FILE), names, durable=False)


def read_names(settings: Settings) -> list[str] | None:
    """Read which services may have `autoscale`; None: no key event has noted that yet, or the note is damaged."""
    names = files.read_json(os.path.join(settings.state_dir, _FILE))
    return [str(name) for name in names] if isinstance(names, list) and all(map(model.is_name, names)) else None
