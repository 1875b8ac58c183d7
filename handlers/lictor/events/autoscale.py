"""The first stage of the autoscaler's check: if no service has `autoscale` in its spec, it says so and ends here.

Consul starts it every 10 s on each node. So it may cost little more than Python and json: this module, with all that it
imports, needs the standard library only. The names of the services are a note of the key events. `autoscale_round`, the
second stage, reads the specs themselves.
"""

import os
import sys
from collections.abc import Iterable, Mapping

from lictor import model
from lictor.adapters import files

NOBODY = "no service has autoscale"
_FILE = "autoscale.json"  # in the state folder
_WORD = b'"autoscale"'  # in a spec that merely mentions it, too: the second stage finds that out


def main(description: str, argv: list[str] | None = None) -> int:
    """Answer the check; returns its status. Arguments: [--state-dir DIR] [OPTIONS]."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["--state-dir"]:  # as the generated check calls it
        if read_names("".join(words[1:2])) == []:
            print(NOBODY)
            return 0
        words = words[2:]
    from lictor.events import autoscale_round, script

    return script.main(script.make_parser(description), autoscale_round.answer, words)


def note_names(state_dir: str, specs: Mapping[str, bytes]) -> None:
    """Note the services that may have `autoscale`, given the spec keys by service."""
    names: Iterable[str] = (name for name, text in specs.items() if _WORD in text and model.is_name(name))
    files.write_json(os.path.join(state_dir, _FILE), sorted(names), durable=False)


def read_names(state_dir: str) -> list[str] | None:
    """Read which services may have `autoscale`; None: no key event has noted that yet, or the note is damaged."""
    try:
        names = files.read_json(os.path.join(state_dir, _FILE))
    except OSError:
        return None
    return [str(name) for name in names] if isinstance(names, list) and all(map(model.is_name, names)) else None
