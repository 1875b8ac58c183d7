"""This node's nginx follows the catalogue: from what was seen to a decision, and to a publication.

The commonest event changes nothing and should cost little more than Python and json, so whatever only a change needs
is imported where it is used.
"""

import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from lictor import errors, model
from lictor.adapters import files
from lictor.adapters.consul import payload
from lictor.adapters.consul.payload import HINT, Payload
from lictor.routing import peers, route_store
from lictor.spec.settings import Settings

_PATIENCE_S = 5.0


class Catalog(Protocol):
    """What this module asks of a catalog.Catalog."""

    def health(self, service: str, *, consistent: bool = False) -> list[dict[str, Any]]: ...


def event(settings: Settings, token_file: str | None, name: str, seen: Payload,
          consul_index: int) -> tuple[list[str], bool]:
    """Follow what an event saw of a service; which services nginx has just confirmed, and whether it serves this one
    as it was decided."""
    _log_skipped(name, seen.skipped)
    follow = functools.partial(_follow, settings.state_dir, name, seen.instances, consul_index,
                               lambda: _connect(token_file))
    try:
        is_news = follow()
    except errors.Unavailable:  # just now a leader is elected, say: until the next event or sweep would be long
        from lictor.adapters import retry

        is_news = retry.unavailable(follow, timeout_s=_PATIENCE_S)
    if not is_news:
        return [], True
    confirmed = _publish_peers(settings, name) or _publish(settings)
    now = route_store.served(settings.state_dir, name)
    return confirmed, bool(now and now.confirmed)


def refresh(settings: Settings, names: Iterable[str], catalog: Catalog) -> list[str]:
    """Route these services again, whose routes/NAME.json may be new; returns which are confirmed now. What fails is
    logged, and left to the timer."""
    if not settings.nginx:
        return []
    suspects = list(names)
    for name in suspects:
        _try_follow(settings.state_dir, name, None, catalog)
    return _publish(settings, suspects)


def sweep(settings: Settings, entries: Mapping[str, list[dict[str, Any]]], catalog: Catalog) -> None:
    """Mend what events missed, holds that ran out, and what isn't confirmed.

    `entries`: payload entries of all instances by name in the catalogue. What fails is logged, and left to the next.
    """
    if settings.nginx:
        known = route_store.names(settings.state_dir)
        for name in known:
            service = (route_store.route(settings.state_dir, name) or {}).get("service", name)
            _try_follow(settings.state_dir, name, entries.get(service, []), catalog)
        _publish(settings, known)


def _try_follow(state_dir: str, name: str, entries: list[dict[str, Any]] | None, catalog: Catalog) -> None:
    """Follow by a fresh read, or by `entries`, which may be some moments old."""
    try:
        seen = None if entries is None else payload.instances(entries).instances
        _follow(state_dir, name, seen, HINT, lambda: catalog)
    except errors.LictorError as error:
        from lictor.adapters import log

        log.event("route", service=name, outcome="failed", reason=error)


def _follow(state_dir: str, name: str, seen: Sequence[model.Instance] | None, index: int,
            connect: Callable[[], Catalog]) -> bool:
    """Decide, and note what is to be served; returns whether there is something to publish."""
    from lictor.adapters import log

    with files.locked(route_store.lock_path(state_dir, name)):
        route, now = route_store.route(state_dir, name), route_store.served(state_dir, name)
        if route is None:
            log.event("route", service=name, outcome="ignored", reason="lictor-scale has not brought its route yet")
            return False
        decision = _decide(name, route, now, seen, index, connect)
        if now is None or decision.kind == "publish":
            log.event("route", service=name, outcome="publish", peers=len(decision.peers), reason=decision.reason)
            now = (now or peers.Served((), ()))._replace(
                peers=decision.peers, instances=decision.instances, ailing=decision.ailing, consul_index=0,
                empty_since=None, confirmed=False)
            route_store.note(state_dir, name, now, index)
        elif decision.kind == "hold":
            if now.empty_since is None:
                log.event("route", service=name, outcome="hold", peers=len(now.peers), reason=decision.reason)
            route_store.note(state_dir, name, now._replace(empty_since=now.empty_since or time.time()), index)
        else:
            route_store.note_unchanged(state_dir, name, now, decision, index)
        return not now.confirmed


def _decide(name: str, route: dict[str, Any], now: peers.Served | None, seen: Sequence[model.Instance] | None,
            index: int, connect: Callable[[], Catalog]) -> peers.Decision:
    """Decide on what was seen, and on a consistent read where that is too old, or too little to be believed."""
    decision = peers.decide(route, now, seen or [], now_s=time.time(), certain=False)
    is_late = now is not None and index < now.consul_index and decision.kind != "unchanged"
    if not route["removed"] and (seen is None or is_late or decision.kind == "confirm"):
        again = payload.instances(connect().health(route["service"], consistent=True))
        _log_skipped(name, again.skipped)
        decision = peers.decide(route, now, again.instances, now_s=time.time(), certain=True)
    if decision.kind != "unchanged" or index != HINT:
        _log_skipped(name, decision.refused)
    return decision


def _publish_peers(settings: Settings, name: str) -> list[str]:
    """What a change of peers alone needs in live mode, whatever the number of services."""
    if settings.nginx is None or settings.nginx.mode != "live":
        return []
    from lictor.routing import live_peers

    return [name] if live_peers.publish(settings.nginx, settings.state_dir, name) else []


def _publish(settings: Settings, suspects: Iterable[str] = ()) -> list[str]:
    from lictor.routing import publish

    return publish.publish(settings, suspects)


def _connect(token_file: str | None) -> Catalog:
    from lictor.adapters.consul.client import Client

    return Client.connect(token_file=token_file)


def _log_skipped(name: str, reasons: Iterable[str]) -> None:
    from lictor.adapters import log

    for reason in reasons:
        log.event("route", service=name, outcome="skipped", reason=reason)


