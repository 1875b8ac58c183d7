"""What lictor remembers of a service between two runs, kept in the key lictor/state/NAME. Pure."""

from typing import Any

import msgspec

KEY_PREFIX = "lictor/state/"


class Deaths(msgspec.Struct, frozen=True):
    """How often the container of one number died, or would not start, since it last was well for long."""

    count: int  # one that never passed its check counts double
    last_at: float


class Breaker(msgspec.Struct, frozen=True):
    """Too many were replaced: hands off what runs, until it is well by itself or somebody says `lictor resume`."""

    opened_at: float
    why: str


class Rollout(msgspec.Struct, frozen=True):
    """A release under way: its instances come beside those that serve."""

    release: str  # its fingerprint
    began_at: float
    passing_since: float = 0.0  # since when all of its instances pass their checks; 0.0: not all do
    most: int = 0  # so many of its instances have been there at once
    moved_at: float = 0.0  # when its last one came: its deadline counts from then; 0.0: it may not go on now


class Asked(msgspec.Struct, frozen=True):
    """What an engine that counts by itself was last told of one colour."""

    replicas: int
    release: str  # "": it may be half done, so that nobody knows what runs
    at: float
    done: bool = True  # False: it has begun to do it, and how that ended is not known
    image: str = ""  # that of the release


class Failure(msgspec.Struct, frozen=True):
    """A release that failed: it is not tried again until something else is asked for, or `lictor deploy` is said."""

    release: str
    image: str
    why: str
    at: float


class State(msgspec.Struct, frozen=True):
    """Times are seconds since the epoch. Everything in it can be lost without harm: it is learnt again."""

    spec: dict[str, Any] | None = None  # the last good spec, as it stood in its key
    replicas: int | None = None  # the last good count
    image: str = ""  # the last good image
    live: dict[str, Any] | None = None  # the spec that the running containers were made from, its image resolved
    live_release: str = ""  # the fingerprint of `live`
    proven: bool = False  # whether an instance of `live` has ever passed its check
    color: str = ""  # the live colour as lictor last wrote it to its key
    previous: dict[str, Any] | None = None  # what was live before: what `lictor rollback` goes back to
    previous_release: str = ""
    switched_at: float = 0.0  # when `live` took over from `previous`
    rollout: Rollout | None = None
    failed: Failure | None = None
    asked: dict[str, Asked] = {}  # by colour, of a service whose engine counts by itself
    critical_since: dict[str, float] = {}  # container's id -> first sighting of critical, after its start-up
    passed: list[str] = []  # ids of the containers that have passed their check once
    lost: list[str] = []  # ids of the containers that were last seen not running: each is counted once
    deaths: dict[str, Deaths] = {}  # by the container's number, or by `telling`
    surplus_since: float = 0.0  # since when more run than are wanted; 0.0: no more than that
    doubt: str = ""  # why what is seen is not trusted; it ends with a consistent reading that gives no reason
    trusted_since: float = 0.0  # when the last doubt ended: from then on the grace counts anew
    trusted_by: dict[str, float] = {}  # node -> the same of a doubt that it alone had; 0.0: it has it
    breaker: Breaker | None = None
    well_since: float = 0.0  # while the breaker is open: since when all is as desired; 0.0: it is not
    told: list[str] = []  # the causes that people have been told of, each once as long as it lasts
    refused: list[str] = []  # bad inputs that stand, each recorded once


def telling(color: str) -> str:
    """Under what it is counted that the engine could not be told of a colour: no container's number looks so."""
    return f"telling {color}".rstrip()


def decode(text: bytes | None) -> State:
    """The stored state; a key that is absent or damaged means a fresh one."""
    try:
        return msgspec.json.decode(text or b"{}", type=State)
    except (ValueError, RecursionError):
        return State()


def encode(state: State) -> bytes:
    return msgspec.json.encode(state)
