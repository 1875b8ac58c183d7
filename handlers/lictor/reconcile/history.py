"""The story of each service: one record an action below lictor/history/NAME/, the newest hundred kept."""

import json
import time
from typing import Any, NamedTuple

from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import Fence
from lictor.planner import observation_codec
from lictor.planner.observation import Observation

KEY_PREFIX = "lictor/history/"
_KEPT = 100
_LONGEST_BYTES = 16_000


class Begun(NamedTuple):
    """A record that waits for its outcome."""

    key: str
    record: dict[str, Any]


def begin(catalog: Client, seen: Observation, record: dict[str, Any], *, fence: Fence | None = None) -> Begun:
    """Write what is about to be done, and what was seen, before it is done. With `fence` only who holds it can."""
    more = {"observation": observation_codec.pack(seen)}
    return _add(catalog, seen.desired.name, {"outcome": "started", **record, **more}, fence)


def finish(catalog: Client, begun: Begun, record: dict[str, Any], *, fence: Fence | None = None) -> None:
    """Complete a record with its outcome (`done` or `failed`), its `ms`, and a `detail` for people."""
    text = _text({**begun.record, **record})
    if fence is None:
        catalog.put(begun.key, text)
        return
    entry = catalog.get(begun.key)
    fence.put(begun.key, text, entry.modify_index if entry else 0)


def note(catalog: Client, name: str, record: dict[str, Any], *, seen: Observation | None = None) -> None:
    """Write something that was seen or refused, and needs no outcome."""
    more = {"observation": observation_codec.pack(seen)} if seen else {}
    _add(catalog, name, {"outcome": "noted", **record, **more}, None)


def read(catalog: Client, service: str) -> list[dict[str, Any]]:
    """The records of a service, oldest first, each `observation` as `recording.load` takes it."""
    entries = catalog.tree(f"{KEY_PREFIX}{service}/")
    return [_parsed(entry.value) for _, entry in sorted(entries.items())]


def _add(catalog: Client, service: str, record: dict[str, Any], fence: Fence | None) -> Begun:
    at = time.time()
    begun = Begun(f"{KEY_PREFIX}{service}/{int(at * 1_000_000):016d}",
                  {"at": round(at, 3), "service": service, **record})
    if fence:
        fence.put(begun.key, _text(begun.record), 0)
    else:
        catalog.put(begun.key, _text(begun.record))
    for old in sorted(catalog.keys(f"{KEY_PREFIX}{service}/"))[:-_KEPT]:
        catalog.delete(old)
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
