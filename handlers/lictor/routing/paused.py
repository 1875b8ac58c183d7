"""lictor/paused/NAME/NODE: the nginx of a node lets all requests of a service wait. It says for which pause, how many
wait, and how many are at instances still. It is there as long as nginx says so."""

import json
from collections.abc import Container, Mapping
from typing import NamedTuple

from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.planner.routes.pause import Pause

PREFIX = "lictor/paused/"  # and then SERVICE/NODE
_MOST_REQUESTS = 10**9


class Told(NamedTuple):
    """What the nginx of a node has confirmed."""

    asked_at: float  # tells the pause from others
    waiting: int
    in_flight: int


def key(name: str, node: str) -> str:
    return f"{PREFIX}{name}/{node}"


def encode(told: Told) -> str:
    return json.dumps(told._asdict())


def read(client: Client, name: str, alive: Container[str]) -> dict[str, Told]:
    """Read by node what those of them tell that answer."""
    return _decode_all(client.tree(f"{PREFIX}{name}/"), alive).get(name, {})


def of_pause(told: Mapping[str, Told], pause: Pause) -> dict[str, tuple[int, int]]:
    """Return by node how many requests wait, and how many are in flight, by this very pause."""
    return {node: (each.waiting, each.in_flight) for node, each in told.items() if each.asked_at == pause.asked_at}


def read_all(client: Client, alive: Container[str]) -> dict[str, dict[str, Told]]:
    """Read the same of all services, by service."""
    return _decode_all(client.tree(PREFIX), alive)


def _decode_all(tree: Mapping[str, Entry], alive: Container[str]) -> dict[str, dict[str, Told]]:
    found = dict[str, dict[str, Told]]()
    for path, entry in sorted(tree.items()):
        name, _, node = path.removeprefix(PREFIX).partition("/")
        told = _decode(entry.value)
        if told and node in alive:
            found.setdefault(name, {})[node] = told
    return found


def _decode(value: bytes) -> Told | None:
    """Read what a node tells; None for anything that lictor did not write."""
    try:
        found = Told(**json.loads(value))
        is_sound = type(found.asked_at) is float and all(
            type(each) is int and 0 <= each <= _MOST_REQUESTS for each in (found.waiting, found.in_flight))
        return found if is_sound else None
    except (ValueError, TypeError, RecursionError):
        return None
