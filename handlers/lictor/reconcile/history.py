"""The story of each service: one record an action below lictor/history/NAME/, the newest hundred kept."""

import json
import time
from typing import Any, NamedTuple

from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import PlainWriter, Writer
from lictor.planner import observation_codec
from lictor.planner.observation import Observation

KEY_PREFIX = "lictor/history/"
_KEPT = 100
_LONGEST_BYTES = 16_000


class Begun(NamedTuple):
    """A record that waits for its outcome."""

    key: str
    record: dict[str, Any]


def begin(client: Client, writer: Writer, observation: Observation, record: dict[str, Any]) -> Begun:
    """Write what is about to be done, and the observation behind it, before it is done."""
    more = {"observation": observation_codec.pack(observation)}
    return _add(client, writer, observation.desired.name, {"outcome": "started", **record, **more})


def finish(writer: Writer, begun: Begun, record: dict[str, Any]) -> None:
    """Complete a record with its outcome (`done` or `failed`), its `ms`, and a `detail` for people."""
    writer.put(begun.key, _text({**begun.record, **record}))


def note(client: Client, name: str, record: dict[str, Any], *,
         observation: Observation | None = None) -> None:
    """Write something that was seen or refused, and needs no outcome."""
    more = {"observation": observation_codec.pack(observation)} if observation else {}
    _add(client, PlainWriter(client), name, {"outcome": "noted", **record, **more})


def read(client: Client, service: str) -> list[dict[str, Any]]:
    """The records of a service, oldest first, each `observation` as `recording.load` takes it."""
    entries = client.tree(f"{KEY_PREFIX}{service}/")
    return [_parsed(entry.value) for _, entry in sorted(entries.items())]


def _add(client: Client, writer: Writer, service: str, record: dict[str, Any]) -> Begun:
    at = time.time()
    begun = Begun(f"{KEY_PREFIX}{service}/{int(at * 1_000_000):016d}",
                  {"at": round(at, 3), "service": service, **record})
    writer.put(begun.key, _text(begun.record))
    for old in sorted(client.keys(f"{KEY_PREFIX}{service}/"))[:-_KEPT]:
        client.delete(old)
    return begun


def _parsed(value: bytes) -> dict[str, Any]:
    """What stands in KV may be damaged; what `begin` always writes is there, and `at` and `ms` are sane numbers."""
    damaged = {"at": 0.0, "outcome": "damaged"}
    try:
        record = {**damaged, **json.loads(value)}
        numbers = (record["at"], record.get("ms", 0))
        if not all(type(each) in (int, float) and 0 <= each < 1e11 for each in numbers):
            return damaged
    except (ValueError, TypeError, RecursionError):
        return damaged
    observation = observation_codec.unpack(record.pop("observation", None))
    return {**record, **({"observation": observation} if observation else {})}


def _text(record: dict[str, Any]) -> str:
    """Texts are cut, and an observation of very many instances is left out, so that the record has room."""
    text = json.dumps(record)
    if len(text) > _LONGEST_BYTES:
        record = {key: value[:1000] if isinstance(value, str) and key != "observation" else value
                  for key, value in record.items()}
        text = json.dumps(record)
    if len(text) > _LONGEST_BYTES:
        text = json.dumps({key: value for key, value in record.items() if key != "observation"})
    return text
