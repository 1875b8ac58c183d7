"""The state of a service that is kept between two runs in the key lictor/state/NAME. Times are seconds since the epoch.

All of it can be lost without harm: it is learnt again. Each group is advanced by one step of `next_state.advance`.
"""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec.structs import replace

from lictor.planner.autoscale.traffic import Side

T = TypeVar("T")
Moment = Annotated[float, "seconds since the epoch, by the clock of the node that wrote the state; 0.0: no time"]

KEY_PREFIX = "lictor/state/"


class LastGood(msgspec.Struct, frozen=True):
    """The last valid input, which stays in force while a key is refused or gone."""

    spec: dict[str, Any] | None = None  # as it stood in its key
    replicas: int | None = None
    image: str = ""


class Trial(msgspec.Struct, frozen=True):
    """A canary: the share of the requests that the release gets first, and what was counted of both colours since."""

    share: float
    moved_at: Moment  # since when its time counts; 0.0: it stands still
    counted_until: Moment  # slices that began before are in the sums, or are of before
    used_s: float = 0.0  # of its time, when it had to stop; it goes on from there
    canary: Side = Side()
    live: Side = Side()


class Rollout(msgspec.Struct, frozen=True):
    """A release under way: its instances come beside the live ones."""

    release: str  # its fingerprint
    began_at: Moment
    passing_since: Moment = 0.0  # since when all of its instances pass their checks; 0.0: not all do
    most: int = 0  # the largest number of its instances that have stood at once
    moved_at: Moment = 0.0  # when its last instance came: its deadline counts from then; 0.0: it may not go on
    used_s: float = 0.0  # of its deadline, when it had to stop; it goes on from there
    instances: list[str] = []  # ids of its containers that a scheduler runs, as last observed
    trouble: str = ""  # why an instance of it could not be started at the last try
    trial: Trial | None = None


class Failure(msgspec.Struct, frozen=True):
    """A release that failed: it is not tried again until another is desired, or an operator deploys it again."""

    release: str
    image: str
    why: str
    at: Moment
    moved_at: Moment = 0.0  # as that of its rollout: what is still starting may do so until its deadline


class Failures(msgspec.Struct, frozen=True):
    """Failures in a row: of the containers of one number, or of one colour's orders to its scheduler."""

    count: int  # a container that never passed its check counts double
    last_at: Moment
    why: str = ""  # the last one's cause
    is_refusal: bool = False  # the engine will not accept it, however often it is tried


class LastOrder(msgspec.Struct, frozen=True):
    """The last order to a scheduler about one colour."""

    replicas: int
    release: str  # "": it may be half done, so that it is unknown what runs
    at: Moment
    done: bool = True  # False: it was begun, and its outcome is unknown
    image: str = ""  # that of the release


class Release(msgspec.Struct, frozen=True):
    """The live release, what it took over from, and the release that is to take over from it."""

    live: dict[str, Any] | None = None  # the spec that the live containers were made from, its image resolved
    live_release: str = ""  # the fingerprint of `live`
    live_is_proven: bool = False  # an instance of `live` has passed its check once
    color: str = ""  # the live colour as lictor last wrote it to its key
    previous: dict[str, Any] | None = None  # the spec that was live before: `lictor rollback` goes back to it
    previous_release: str = ""
    switched_at: Moment = 0.0  # when `live` took over from `previous`
    tried_until: Moment = 0.0  # when the last canary ended that did not take over: an nginx may list it still
    rollout: Rollout | None = None
    failed: Failure | None = None
    last_orders: dict[str, LastOrder] = {}  # by colour
    order_failures: dict[str, Failures] = {}  # by colour


class Healing(msgspec.Struct, frozen=True):
    """The history of the instances, as far as it decides on restarts and replacements."""

    critical_since: dict[str, Moment] = {}  # container id -> first sighting of critical, after its start-up
    passed_once: list[str] = []  # ids of the containers that have passed their check once
    passed_at: dict[str, float] = {}  # container id -> when it was first seen to pass after its last start
    counted_dead: list[str] = []  # ids of the containers whose end was counted as a failure
    failures: dict[str, Failures] = {}  # by the container's number
    surplus_since: Moment = 0.0  # since when more run than desired; 0.0: no more than that


class Trust(msgspec.Struct, frozen=True):
    """Doubts in what is observed. When a doubt ends, the grace of every instance counts anew."""

    doubt: str = ""  # its cause; it ends with a consistent reading that gives no reason for one
    trusted_since: Moment = 0.0  # when the last doubt ended
    by_node: dict[str, Moment] = {}  # node -> when the last doubt that only this node had ended; 0.0: it lasts


class Breaker(msgspec.Struct, frozen=True):
    """An open circuit breaker: too many instances were replaced, so none is until the service is well again."""

    opened_at: Moment
    why: str
    well_since: Moment = 0.0  # since when all is as desired; 0.0: it is not


class Notified(msgspec.Struct, frozen=True):
    """What operators were notified of: each once, as long as it lasts."""

    causes: list[str] = []
    refused: list[str] = []  # refused inputs
    pending: list[str] = []  # those of the causes of which no notification has got through yet


class Written(msgspec.Struct, frozen=True):
    """The node by whose clock the state's times are, and when it wrote them."""

    node: str = ""  # "": it is unknown
    wrote_at: float = 0.0


class State(msgspec.Struct, frozen=True):
    """All groups; no two of them have a field of one name."""

    last_good: LastGood = LastGood()
    release: Release = Release()
    healing: Healing = Healing()
    trust: Trust = Trust()
    breaker: Breaker | None = None
    notified: Notified = Notified()
    written: Written = Written()


def decode(text: bytes | None) -> State:
    """Decode the stored state; a key that is absent or damaged gives a fresh one."""
    try:
        return msgspec.json.decode(text or b"{}", type=State)
    except (ValueError, RecursionError):
        return State()


def encode(state: State) -> bytes:
    return msgspec.json.encode(state)


def shifted(record: T, by_s: float) -> T:
    """Move all times of a state, or of a part of it, to another node's clock."""
    if not isinstance(record, msgspec.Struct):
        return record
    kinds, changes = {field.name: field.type for field in msgspec.structs.fields(record)}, dict[str, Any]()
    for name, value in msgspec.structs.asdict(record).items():
        if kinds[name] is Moment:
            changes[name] = value + by_s if value else 0.0
        elif kinds[name] == dict[str, Moment]:
            changes[name] = {key: at + by_s if at else 0.0 for key, at in value.items()}
        else:
            changes[name] = ({key: shifted(each, by_s) for key, each in value.items()} if isinstance(value, dict)
                             else shifted(value, by_s))
    return replace(record, **changes)
