"""Removed services are forgotten: 30 days after the last record of one, no key of lictor's is about it any more."""

import os
from collections.abc import Iterator, Mapping

from lictor import errors, model
from lictor.adapters import files, log
from lictor.adapters.consul import lock
from lictor.planner import service_state
from lictor.reconcile import history
from lictor.reconcile.context import Context
from lictor.routing import announce
from lictor.spec.key_cache import Key

_KEPT_S = 30 * 86_400.0
_EVERY_S = 86_400.0  # to list the whole history costs too much for each sweep
_FILE = "forgotten.json"  # in the state folder: when this node last looked


def forget_removed(context: Context, keys: Mapping[str, Key], now: model.Clock) -> None:
    """Delete, once a day, what belonged to services that were removed long ago; `keys` are those below the prefix.

    A service that has any key but its tombstone, or a state, is none of them.
    """
    path = os.path.join(context.settings.state_dir, _FILE)
    last = files.read_json(path)
    looked_at = last.get("at") if isinstance(last, dict) else None
    if isinstance(looked_at, float) and now.age_s(looked_at) < _EVERY_S:
        return
    for name in _find_overdue(context, keys, now):
        try:
            _forget(context, name, keys.get(f"{context.settings.prefix}{name}/removed"))
        except errors.LictorError as error:  # it was applied again, say; the next look is tomorrow's
            log.event("forget", service=name, outcome="failed", reason=error)
    files.write_json(path, {"at": now.now}, durable=False)


def _find_overdue(context: Context, keys: Mapping[str, Key], now: model.Clock) -> Iterator[str]:
    newest: dict[str, int] = {}
    for key in context.client.keys(history.KEY_PREFIX):
        name = key.removeprefix(history.KEY_PREFIX).partition("/")[0]
        newest[name] = max(newest.get(name, 0), history.record_id(key))
    present = {key.removeprefix(context.settings.prefix).partition("/")[0] for key in keys
               if not key.endswith("/removed")}
    for name, record_id in newest.items():
        if model.is_name(name) and name not in present and record_id and now.age_s(record_id / 1e6) > _KEPT_S:
            yield name


def _forget(context: Context, name: str, tombstone: Key | None) -> None:
    client = context.client
    if client.get(f"{service_state.KEY_PREFIX}{name}"):
        return
    if tombstone:
        client.delete(f"{context.settings.prefix}{name}/removed", cas=tombstone.modify_index)
    for prefix in (announce.PREFIX, history.KEY_PREFIX):
        client.delete(f"{prefix}{name}/", recurse=True)
    client.delete(f"{lock.LOCKS}{name}")
    log.event("forget", service=name, outcome="done", reason="it was removed more than 30 days ago")
