"""What lictor remembers of a service between two runs, kept in the key lictor/state/NAME. Pure."""

from typing import Any

import msgspec

KEY_PREFIX = "lictor/state/"


class State(msgspec.Struct, frozen=True):
    """Times are seconds since the epoch. Everything in it can be lost without harm: it is learnt again."""

    spec: dict[str, Any] | None = None  # the last good spec, as it stood in its key
    replicas: int | None = None  # the last good count
    image: str = ""  # the last good image
    live: dict[str, Any] | None = None  # the spec that the running containers were made from, its image resolved
    proven: bool = False  # whether an instance of `live` has ever passed its check
    critical_since: dict[str, float] = {}  # service ID -> first sighting of critical
    passed: list[str] = []  # ids of the containers that have passed their check once
    lost: list[str] = []  # ids of the containers that were last seen not running: each is counted once
    failures: int = 0  # how many died, or never passed, since the service was last well for long
    failed_at: float = 0.0
    refused: list[str] = []  # bad inputs that stand, each recorded once


def decode(text: bytes | None) -> State:
    """The stored state; a key that is absent or damaged means a fresh one."""
    try:
        return msgspec.json.decode(text or b"{}", type=State)
    except (ValueError, RecursionError):
        return State()


def encode(state: State) -> bytes:
    return msgspec.json.encode(state)
