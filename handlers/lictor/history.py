"""The story of each service: one record an action below lictor/history/NAME/, the newest hundred kept."""

import json
import time
from typing import Any

from lictor.catalog import Catalog

KEY_PREFIX = "lictor/history/"
_KEPT = 100
_LONGEST_BYTES = 16_000


def begin(catalog: Catalog, service: str, record: dict[str, Any]) -> str:
    """Write what is about to be done, before it is done; returns the record's key for `finish`."""
    at = time.time()
    key = f"{KEY_PREFIX}{service}/{int(at * 1_000_000):016d}"
    catalog.put(key, _text({"at": round(at, 3), "service": service, "outcome": "started", **record}))
    for old in sorted(catalog.keys(f"{KEY_PREFIX}{service}/"))[:-_KEPT]:
        catalog.delete(old)
    return key


def finish(catalog: Catalog, key: str, record: dict[str, Any]) -> None:
    """Complete a record with its outcome (`done` or `failed`), its `ms`, and a `detail` for people."""
    entry = catalog.get(key)
    catalog.put(key, _text({**(_parsed(entry.value) if entry else {}), **record}))


def note(catalog: Catalog, service: str, record: dict[str, Any]) -> None:
    """Write something that was seen or refused, and needs no outcome."""
    begin(catalog, service, {"outcome": "noted", **record})


def read(catalog: Catalog, service: str) -> list[dict[str, Any]]:
    """The records of a service, oldest first."""
    entries = catalog.tree(f"{KEY_PREFIX}{service}/")
    return [_parsed(entry.value) for _, entry in sorted(entries.items())]


def _parsed(value: bytes) -> dict[str, Any]:
    """What stands in KV may be damaged; what `begin` always writes is there, and `at` and `ms` are sane numbers."""
    damaged = {"at": 0.0, "outcome": "damaged"}
    try:
        record = {**damaged, **json.loads(value)}
        numbers = (record["at"], record.get("ms", 0))
        return record if all(type(each) in (int, float) and 0 <= each < 1e11 for each in numbers) else damaged
    except (ValueError, TypeError, RecursionError):
        return damaged


def _text(record: dict[str, Any]) -> str:
    text = json.dumps(record)
    if len(text) > _LONGEST_BYTES:
        text = json.dumps({key: value[:1000] if isinstance(value, str) else value for key, value in record.items()})
    return text
