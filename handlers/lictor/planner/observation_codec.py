"""Observations as plain data, by name, and back: the history keeps them, and `lictor replay` decides on them again."""

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from lictor import errors, model
from lictor.planner.desired import Desired
from lictor.planner.observation import Observation, Observer, Reservation, SchedulerView
from lictor.planner.routes.pause import Pause
from lictor.planner.service_state import State
from lictor.spec import service_spec, settings

T = TypeVar("T")

_STATE = "state_before"  # earlier versions recorded the one after it, as "state"
_LEFT_OUT = "(left out)"
_UNPACKED_AT_MOST_BYTES = 4_000_000


def export(observation: Observation) -> dict[str, Any]:
    """Make JSON types, without values that may be secrets: records are shown and sent around."""
    table: dict[str, Any] = _plain(observation)
    desired, state = table["desired"], table.pop("state")
    return {
        **table,
        "desired": {**desired, "spec": None, "table": _discreet(desired["table"])},
        "serving": sorted(table["serving"]),
        _STATE: {**state, "last_good": {**state["last_good"], "spec": _discreet(state["last_good"]["spec"])},
                  "release": {**state["release"], "live": _discreet(state["release"]["live"]),
                              "previous": _discreet(state["release"]["previous"])}}}


def load(table: object) -> Observation:
    """Load what `export` gave; raises Refused for anything else."""
    try:
        fields: dict[str, Any] = msgspec.convert(table, dict[str, Any])
        if "state" in fields and _STATE not in fields:
            raise errors.Refused("an earlier version recorded it, with the state after the decision alone")
        desired, scheduler, state = fields["desired"], fields.get("scheduler"), fields.pop(_STATE)
        spec = service_spec.parse_spec(desired["table"], "spec") if desired["table"] else None
        pause = desired.get("pause")
        return _record(Observation, {
            **fields,
            "desired": _record(Desired, {**desired, "spec": spec, "pause": pause and _record(Pause, pause)}),
            "containers": tuple(_record(model.Container, entry) for entry in fields["containers"]),
            "instances": tuple(_record(model.Instance, entry) for entry in fields["instances"]),
            "foreign": tuple(_record(model.Instance, entry) for entry in fields.get("foreign", ())),
            "serving": frozenset((str(node), str(service_id)) for node, service_id in fields["serving"]),
            "state": msgspec.convert(state, State, str_keys=True),
            "observer": _record(Observer, fields["observer"]),
            "reservations": tuple(msgspec.convert(entry, Reservation) for entry in fields["reservations"]),
            "rules": _record(settings.Heal, fields["rules"]),
            "scheduler": scheduler and _record(SchedulerView, {**scheduler, "groups": tuple(
                _record(model.Group, entry) for entry in scheduler["groups"])})})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise errors.Refused(f"this is no observation as lictor records it: {error!r}") from error


def pack(observation: Observation) -> str:
    """Pack the export into as few characters as a key of Consul's has room for."""
    return base64.b64encode(zlib.compress(json.dumps(export(observation)).encode(), 9)).decode()


def unpack(text: object) -> dict[str, Any] | None:
    """Unpack what `pack` gave; None for anything else."""
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(str(text), validate=True), _UNPACKED_AT_MOST_BYTES)
        found = json.loads(data)
    except (zlib.error, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _plain(value: Any) -> Any:
    """Turn records, by their fields' names, and collections into JSON types."""
    if isinstance(value, msgspec.Struct):
        return _plain(msgspec.structs.asdict(value))
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple | frozenset) else value


def _record(kind: type[T], table: Mapping[str, Any]) -> T:
    """Make a named tuple from its fields by name, each of the type that it should have."""
    fields, defaults = kind._fields, kind._field_defaults  # type: ignore[attr-defined]
    if table.keys() - set(fields):
        raise ValueError(f"unknown in {kind.__name__}: {', '.join(sorted(table.keys() - set(fields)))}")
    values = [table[field] if field in table else defaults[field] for field in fields]
    return msgspec.convert(values, kind, str_keys=True, dec_hook=lambda duration, seconds: duration(seconds))


def _discreet(table: dict[str, Any] | None) -> dict[str, Any] | None:
    """Leave out the values of a spec that may be secrets, and keep their names."""
    if not table:
        return table
    found: dict[str, Any] = {
        key: _names_alone(value) if key in ("environment", "labels") else _LEFT_OUT for key, value in table.items()
        if key in ("environment", "labels", "command", "entrypoint") and value}
    logging = table.get("logging")
    if isinstance(logging, dict) and logging.get("options"):
        found["logging"] = {**logging, "options": _names_alone(logging["options"])}
    return {**table, **found}


def _names_alone(given: Any) -> dict[str, str]:
    given = given if isinstance(given, list | dict) else []  # a remembered one may be damaged
    return dict.fromkeys([str(entry).partition("=")[0] for entry in given], _LEFT_OUT)
