"""The history of each service: a record an action below lictor/history/NAME/, of which the newest hundred are kept."""

import json
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from lictor.adapters import tally
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import PlainWriter, Writer
from lictor.planner import observation_codec
from lictor.planner.observation import Observation

KEY_PREFIX = "lictor/history/"
_KEPT = 100
_DIGITS = 16  # of an id
_LONGEST_BYTES = 16_000
_LONGEST_TEXT = 1000  # of a record that would be longer


class Begun(NamedTuple):
    """A record that waits for its outcome."""

    key: str
    record: dict[str, Any]


def begin(client: Client, writer: Writer, observation: Observation, record: dict[str, Any]) -> Begun:
    """Write an intent, and the observation behind it, with the state before it, before the act."""
    packed = observation_codec.pack(observation)
    return intend(client, writer, observation.desired.name, {**record, "observation": packed})


def intend(client: Client, writer: Writer, name: str, record: dict[str, Any]) -> Begun:
    """Write an intent that rests on something else than an observation."""
    return _add(client, writer, name, {"outcome": "started", **record})


def finish(writer: Writer, begun: Begun, record: dict[str, Any]) -> None:
    """Complete a record with its outcome (`done` or `failed`), its `ms`, and a `detail` for people; and count the act,
    whether or not Consul takes the record."""
    tally.count("actions", begun.record["service"], begun.record["kind"], record["outcome"].replace(" ", "_"))
    writer.put(begun.key, _text({**begun.record, **record}))


def note(client: Client, name: str, record: dict[str, Any], *, observation: Observation | None = None) -> None:
    """Write a record that needs no outcome, such as refused input."""
    packed = {"observation": observation_codec.pack(observation)} if observation else {}
    _add(client, PlainWriter(client), name, {"outcome": "noted", **record, **packed})


def read(client: Client, service: str) -> list[dict[str, Any]]:
    """Read the records of a service, oldest first, each `observation` as `observation_codec.load` takes it."""
    return [{**_parsed(entry.value), "id": record_id(key)}
            for key, entry in sorted(client.tree(f"{KEY_PREFIX}{service}/", lambda key: record_id(key) > 0).items())]


def read_one(client: Client, service: str, record_id: int) -> tuple[dict[str, Any], int]:
    """Read one record, and the index of its key."""
    entry = client.get(f"{KEY_PREFIX}{service}/{record_id:0{_DIGITS}d}")
    return _parsed(entry.value if entry else b""), entry.modify_index if entry else 0


def record_id(key: str) -> int:
    """Read a record's id: microseconds since the epoch, or more, as it is larger than those before; 0: damaged."""
    text = key.rpartition("/")[2]
    return int(text) if text.isascii() and text.isdigit() and len(text) == _DIGITS else 0


def newest_id(client: Client, service: str) -> int:
    return _newest(client.keys(f"{KEY_PREFIX}{service}/"))


def _add(client: Client, writer: Writer, service: str, record: dict[str, Any]) -> Begun:
    """Write a record. Its id is larger than all before, whatever the clock says: else it would be the first to go."""
    at, keys = time.time(), client.keys(f"{KEY_PREFIX}{service}/")
    begun = Begun(f"{KEY_PREFIX}{service}/{max(int(at * 1_000_000), _newest(keys) + 1):0{_DIGITS}d}",
                  {"at": round(at, 3), "service": service, **record})
    writer.put(begun.key, _text(begun.record))
    for old in sorted(keys)[:1 - _KEPT]:
        client.delete(old)
    return begun


def _newest(keys: Iterable[str]) -> int:
    return max(map(record_id, keys), default=0)


def _parsed(value: bytes) -> dict[str, Any]:
    """Parse a record, which may be damaged; `at` and `outcome` are always in it, and `at` and `ms` are sane numbers."""
    damaged = {"at": 0.0, "outcome": "damaged"}
    try:
        record = {**damaged, **json.loads(value)}
        numbers = (record["at"], record.get("ms", 0))
        if not all(type(number) in (int, float) and 0 <= number < 1e11 for number in numbers):
            return damaged
    except (ValueError, TypeError, RecursionError):
        return damaged
    observation = observation_codec.unpack(record.pop("observation", None))
    return {**record, **({"observation": observation} if observation else {})}


def _text(record: dict[str, Any]) -> str:
    """Encode a record; if it is too long, texts are cut, then the observation is left out. `is_cut` tells replays."""
    text = json.dumps(record)
    if len(text) > _LONGEST_BYTES:
        short = {key: value[:_LONGEST_TEXT] if isinstance(value, str) and key != "observation" else value
                 for key, value in record.items()}
        is_cut = {"is_cut": True} if short.get("reason") != record.get("reason") else {}
        record = {**short, **is_cut}
        text = json.dumps(record)
    if len(text) > _LONGEST_BYTES:
        text = json.dumps({**{key: value for key, value in record.items() if key != "observation"}, "is_cut": True})
    return text
