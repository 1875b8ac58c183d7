"""Observations for the planner's tests: one container for each word, numbered from 1, the lowest number the oldest."""

from typing import Any

import msgspec

from lictor import model
from lictor.planner import desired, observation
from lictor.planner.observation import Reservation
from lictor.planner.service_state import State

NOW = 1_000_000.0
_MOST_READ = 1000
SPEC: dict[str, Any] = {
    "name": "books", "image": "books:1", "port": 8080, "node": "node-1", "check": {"http": "/health"},
    "replicas": {"min": 0, "max": 9}, "heal": {"grace": "10s"}, "drain": "30s"}


def state_of(**fields: Any) -> State:
    """A state from its fields, whichever group each is in: no two groups have a field of one name."""
    groups = {name: type(group) for name, group in msgspec.structs.asdict(State()).items() if group is not None}
    given = {name: {each: fields.pop(each) for each in group.__struct_fields__ if each in fields}
             for name, group in groups.items()}
    return State(**{name: groups[name](**values) for name, values in given.items()}, **fields)


def fields_of(state: State) -> dict[str, Any]:
    """The fields of a state without their groups, as `state_of` takes them."""
    groups = {name: group for name, group in msgspec.structs.asdict(state).items() if name != "breaker"}
    return {"breaker": state.breaker, **{name: value for group in groups.values()
                                         for name, value in msgspec.structs.asdict(group).items()}}


def wanted(replicas: int, keys: dict[str, bytes] | None = None, spec: dict[str, Any] | None = None) -> desired.Desired:
    text = msgspec.json.encode({**SPEC, **(spec or {})})
    return desired.desired("books", {"spec": text, "replicas": str(replicas).encode(), **(keys or {})}, State())


_READ: dict[tuple[tuple[tuple[str, bytes], ...], bytes], desired.Desired] = {}


def read_once(keys: dict[str, bytes], state: State) -> desired.Desired:
    """The desired state of the service `books`. A small world asks for it each second, and it seldom is another one."""
    key = (tuple(keys.items()), msgspec.json.encode((state.last_good, state.release)))  # nothing else of it is read
    if key not in _READ:
        if len(_READ) > _MOST_READ:
            _READ.clear()
        _READ[key] = desired.desired("books", keys, state)
    return _READ[key]


RELEASE = wanted(1).release


def scene(replicas: int, *conditions: str, keys: dict[str, bytes] | None = None, spec: dict[str, Any] | None = None,
          reserved: str = "", **fields: Any) -> observation.Observation:
    """A consistent reading in which a surplus has stood for long. The containers that `reserved` names, one digit a
    number, are being replaced. Words say how each is.

    passing, warning, critical (since now), unhealthy (longer than the grace), maintenance (by hand), gone, draining;
    `young` was started 5 s ago, `never` has not passed yet, `late` has drained for longer than allowed;
    unregistered, vanished (was registered once), absent (a number without a container).
    """
    containers, instances = [], []
    critical_since, passed = {}, []
    for number, condition in enumerate(conditions, start=1):
        if condition == "absent":
            continue
        name, container_id, service_id = f"books-{number}", f"c{number}", f"s{number}"
        started_at = NOW - (5 if "young" in condition else 5000 - number)
        status = "exited" if condition.startswith("gone") else "running"
        containers.append(model.Container(container_id, name, "books", number, "", "books:1", RELEASE, status,
                                          started_at, started_at, 137 if status == "exited" else None))
        if "never" not in condition and "young" not in condition and "unregistered" not in condition:
            passed.append(container_id)
        if condition in ("unregistered", "unregistered young", "vanished") or status == "exited":
            continue
        if condition.startswith("unhealthy"):
            critical_since[container_id] = NOW - 20 + number / 10
        began = int(NOW - 31 if "late" in condition else NOW - 1)
        maintenance = f"{observation.DRAINING}{began}: scale" if "draining" in condition else (
            "by hand" if condition == "maintenance" else None)
        health = condition.split()[0] if condition.startswith(("passing", "warning")) else "critical"
        instances.append(model.Instance("node-1", service_id, "books", "127.0.0.1", 32000 + number, health, True,
                                        maintenance, container_id))
    remembered = state_of(**{"critical_since": critical_since, "passed_once": passed, "live_is_proven": True,
                          "live": SPEC, "surplus_since": NOW - 1000, **fields.pop("state", {})})
    reservations = tuple(Reservation("books", f"c{digit}", NOW - 30) for digit in reserved)
    defaults = {"certain": True, "reservations": reservations}
    return observation.Observation(NOW, wanted(replicas, keys, spec), tuple(containers), tuple(instances),
                                   state=remembered, **{**defaults, **fields})
