"""An observation as plain data, and back: what the history keeps, and `lictor replay` decides upon again. Pure."""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from lictor import errors, model
from lictor.planner import budget, service_state
from lictor.planner.desired import Desired
from lictor.planner.observation import Observation, Observer
from lictor.spec import service_spec, settings

T = TypeVar("T", bound=tuple[Any, ...])

_UNPACKED_AT_MOST_BYTES = 4_000_000


def export(seen: Observation) -> dict[str, Any]:
    """JSON types only. Values of environment variables are left out: records are shown and sent around."""
    remembered = msgspec.to_builtins(seen.state)
    return {
        **seen._asdict(),
        "desired": {**seen.desired._asdict(), "spec": None, "table": _discreet(seen.desired.table)},
        "containers": [each._asdict() for each in seen.containers],
        "instances": [each._asdict() for each in seen.instances],
        "serving": sorted(list(each) for each in seen.serving),
        "in_flight": dict(seen.in_flight), "idle_reads": dict(seen.idle_reads),
        "state": {**remembered, "spec": _discreet(seen.state.spec), "live": _discreet(seen.state.live),
                  "previous": _discreet(seen.state.previous)},
        "observer": seen.observer._asdict(),
        "reservations": [each._asdict() for each in seen.reservations],
        "rules": msgspec.structs.asdict(seen.rules),
    }


def load(table: object) -> Observation:
    """What `export` gave; raises Refused when it is something else."""
    try:
        fields: dict[str, Any] = msgspec.convert(table, dict[str, Any])
        wanted = fields["desired"]
        spec = service_spec.parse_spec(wanted["table"], "spec") if wanted["table"] else None
        return _tuple(Observation, {
            **fields,
            "desired": _tuple(Desired, {**wanted, "spec": spec}),
            "containers": tuple(_tuple(model.Container, each) for each in fields["containers"]),
            "instances": tuple(_tuple(model.Instance, each) for each in fields["instances"]),
            "serving": frozenset((str(node), str(service_id)) for node, service_id in fields["serving"]),
            "state": msgspec.convert(fields["state"], service_state.State),
            "observer": _tuple(Observer, fields["observer"]),
            "reservations": tuple(_tuple(budget.Reservation, each) for each in fields["reservations"]),
            "rules": settings.Heal(**fields["rules"]),
        })
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise errors.Refused(f"this is no observation as lictor records it: {error!r}") from error


def pack(seen: Observation) -> str:
    """The export in as few characters as a key of Consul's has room for."""
    return base64.b64encode(zlib.compress(json.dumps(export(seen)).encode(), 9)).decode()


def unpack(text: object) -> dict[str, Any] | None:
    """None for what `pack` did not make."""
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(str(text), validate=True), _UNPACKED_AT_MOST_BYTES)
        found = json.loads(data)
    except (zlib.error, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _tuple(kind: type[T], table: Mapping[str, Any]) -> T:
    """A named tuple from its fields by name, each of the type that it should have."""
    fields, defaults = kind._fields, kind._field_defaults  # type: ignore[attr-defined]
    if table.keys() - set(fields):
        raise ValueError(f"unknown in {kind.__name__}: {', '.join(sorted(table.keys() - set(fields)))}")
    made: T = msgspec.convert([table[each] if each in table else defaults[each] for each in fields], kind)
    return made


def _discreet(table: dict[str, Any] | None) -> dict[str, Any] | None:
    if not table or not table.get("environment"):
        return table
    given = table["environment"]
    given = given if isinstance(given, list | dict) else [given]  # what is remembered may be damaged
    names = [str(each).partition("=")[0] for each in given]
    return {**table, "environment": dict.fromkeys(names, "(left out)")}
