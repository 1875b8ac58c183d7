"""Removed services are forgotten: 30 days after the last record of one, no key of lictor's is about it any more."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from lictor import errors, model
from lictor.adapters import files, log
from lictor.adapters.consul import lock
from lictor.planner import service_state
from lictor.planner.autoscale import kept as keeping
from lictor.planner.cluster import seeds
from lictor.reconcile import history
from lictor.reconcile.context import Context
from lictor.routing import announce, paused
from lictor.routing.key_cache import Key
from lictor.routing.traffic import meter

_KEPT_S = 30 * 86_400.0
_EVERY_S = 86_400.0  # to list the whole history costs too much for each sweep
_FILE = "forgotten.json"  # in the state folder: when this node last looked


def forget_removed(context: Context, keys: Mapping[str, Key], now: model.Clock) -> None:
    """Delete, once a day, what belonged to services that were removed long ago; `keys` are those below the prefix.

    A service that has any key but its tombstone, or a state, is none of them.
    """
    path = os.path.join(context.settings.state_dir, _FILE)
    noted = files.read_json(path)
    last = noted if isinstance(noted, dict) else {}
    looked_at = last.get("at")
    if isinstance(looked_at, float) and not now.is_late(looked_at, _EVERY_S):
        return
    look = _Look(context, last, now)
    removed = {name: look.date(name, record_id) for name, record_id in _find_removed(context, keys)}
    for name, (_, at) in removed.items():
        if now.age_s(at) <= _KEPT_S:
            continue
        try:
            _forget(context, name, keys.get(f"{context.settings.prefix}{name}/removed"))
        except errors.LictorError as error:  # it was applied again, say; the next look is tomorrow's
            log.event("forget", service=name, outcome="failed", reason=error)
    files.write_json(path, {"at": now.now, "index": look.highest_index, "removed": removed}, durable=False)


class _Look:
    """Dates the last records of removed services by this node's clock, and by what was noted at the last look."""

    def __init__(self, context: Context, last: Mapping[str, Any], now: model.Clock) -> None:
        looked_at, index, dated = (last.get(key) for key in ("at", "index", "removed"))
        self._client, self._clocks, self._now = context.client, context.clocks, now
        self._dated = dated if isinstance(dated, dict) else {}
        self._looked_at = now.since(looked_at) if isinstance(looked_at, float) else 0.0
        self._index = self.highest_index = index if isinstance(index, int) else 0

    def date(self, name: str, record_id: int) -> tuple[int, float]:
        """Find when a record was made; its node's clock may differ. Returns its id too."""
        match self._dated.get(name):
            case [id_, float(at)] if id_ == record_id:
                return record_id, self._now.since(at)
        record, index = history.read_one(self._client, name, record_id)
        self.highest_index = max(self.highest_index, index)
        earliest = self._looked_at if self._index and index > self._index else 0.0
        at = record["at"] or record_id / 1e6
        offset_s = self._clocks.offset_s(str(record.get("node", "")))
        return record_id, at + model.clock_offset_s(offset_s, at, earliest, self._now.now)


def _find_removed(context: Context, keys: Mapping[str, Key]) -> Iterator[tuple[str, int]]:
    """Find services of which nothing is left but a tombstone, each with the id of its last record."""
    newest: dict[str, int] = {}
    for key in context.client.keys(history.KEY_PREFIX):
        name = key.removeprefix(history.KEY_PREFIX).partition("/")[0]
        newest[name] = max(newest.get(name, 0), history.record_id(key))
    present = {key.removeprefix(context.settings.prefix).partition("/")[0] for key in keys
               if not key.endswith("/removed")}
    for name, record_id in newest.items():
        if model.is_name(name) and name not in present and record_id:
            yield name, record_id


def _forget(context: Context, name: str, tombstone: Key | None) -> None:
    client = context.client
    if client.get(f"{service_state.KEY_PREFIX}{name}"):
        return
    if tombstone:
        client.delete(f"{context.settings.prefix}{name}/removed", cas=tombstone.modify_index)
    for prefix in (announce.PREFIX, meter.PREFIX, paused.PREFIX, history.KEY_PREFIX):
        client.delete(f"{prefix}{name}/", recurse=True)
    for key in (f"{lock.LOCKS}{name}", f"{keeping.KEY_PREFIX}{name}", f"{seeds.KEY_PREFIX}{name}"):
        client.delete(key)
    log.event("forget", service=name, outcome="done", reason="it was removed more than 30 days ago")
