"""The key lictor/cluster/NAME: what is kept of a set, and the specs that its members were made from.

It stays when the service is removed, as its volumes do: if the service is applied again, the set comes back with them.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.lock import Writer
from lictor.planner.cluster.kept import KEY_PREFIX, Kept
from lictor.planner.desired import Desired


class Record(msgspec.Struct, frozen=True):
    """The value of the key."""

    kind: str = ""  # of the set; "": nothing was kept yet
    kept: Kept = Kept()
    specs: dict[str, dict[str, Any]] = {}  # by release, as they stood in their key, with the image


class Stored(NamedTuple):
    """A record, the index of its key (0: there is none), and why it cannot be read, if it cannot."""

    record: Record
    modify_index: int
    trouble: str = ""


def read(client: Client, name: str, *, consistent: bool = False) -> Stored:
    return _decode(name, client.get(KEY_PREFIX + name, consistent=consistent))


def read_all(client: Client, names: Iterable[str]) -> dict[str, Stored]:
    """Read the records of these services; without any, Consul is not asked."""
    keys = {KEY_PREFIX + name: name for name in names}
    entries = client.tree(KEY_PREFIX, keys.__contains__) if keys else {}
    return {name: _decode(name, entries.get(key)) for key, name in keys.items()}


def _decode(name: str, entry: Entry | None) -> Stored:
    if entry is None:
        return Stored(Record(), 0)
    try:
        return Stored(msgspec.json.decode(entry.value, type=Record), entry.modify_index)
    except (ValueError, RecursionError) as error:
        return Stored(Record(), entry.modify_index, f"the key {KEY_PREFIX}{name} is damaged ({error!s:.200}). What is "
                      "known of the set stands there: bring it back, or remove it")


def advanced(record: Record, kept: Kept, desired: Desired, releases: set[str]) -> Record:
    """Make the next record. It holds the specs of the desired release, the proven ones, and those in use."""
    assert desired.spec and desired.spec.cluster and desired.table
    specs = {**record.specs, desired.release: desired.table}
    used = {desired.release, *kept.proven, *releases}
    return Record(desired.spec.cluster.kind, kept, {each: specs[each] for each in sorted(used & specs.keys())})


def write(writer: Writer, name: str, record: Record, modify_index: int) -> None:
    """Write a record; Conflict if the key is not the one that was read."""
    writer.put(KEY_PREFIX + name, msgspec.json.encode(record), modify_index)
