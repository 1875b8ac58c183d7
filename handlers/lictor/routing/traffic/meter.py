"""Meter of this node: what its nginx counted of each measured service goes to lictor/traffic/NAME/NODE.

Slices are kept in traffic/NAME.json of the state folder, as nginx itself keeps the last minute only.
"""

import os
from collections.abc import Iterable, Iterator

import msgspec

from lictor import errors, model
from lictor.adapters import files, log
from lictor.adapters.consul import transactions
from lictor.adapters.consul.client import Client
from lictor.adapters.text import describe_error
from lictor.planner.autoscale.traffic import is_slot
from lictor.routing import announce, nginx_socket, route_store, sides
from lictor.routing.traffic import access_log, counts, windows
from lictor.routing.traffic.counts import Counted
from lictor.routing.traffic.windows import Kept, Totals
from lictor.spec.settings import Nginx, Settings

PREFIX = "lictor/traffic/"  # and then SERVICE/NODE
_FOLDER = "traffic"  # in the state folder
_TIMEOUT_S = 2.0
_LOST_FOR_S = 60.0  # so long it is told
_OK, _UNKNOWN = 200, 404


def tell(client: Client, settings: Settings, node: str, now: float) -> None:
    """Write what was counted of the measured services, and take away what was written of others. Raises the first
    failure at last; if nginx does not answer, the keys stay as they are: no data is no data."""
    state_dir = settings.state_dir
    known = {name[:-len(".json")] for name in os.listdir(os.path.join(state_dir, _FOLDER)) if name.endswith(".json")}
    measured = set(_measured(state_dir)) if settings.nginx else set()
    if not measured and not known:
        return
    with files.locked(os.path.join(state_dir, "locks", ":traffic.lock"), wait=False) as is_held:
        if not is_held:  # another process is telling it
            return
        failures = [*_forget(client, state_dir, node, {name for name in known - measured if model.is_name(name)})]
        if measured and settings.nginx:
            failures += _tell(client, node, _advance(settings.nginx, state_dir, measured, now))
        elif not measured:
            access_log.forget(state_dir)
    if failures:
        raise failures[0]


def count(nginx: Nginx, state_dir: str, now: float) -> Counted | None:
    """Ask nginx, or read its log, for what it has counted; None if it counts nothing yet. Raises Unavailable if nginx
    does not answer."""
    try:
        status, text = nginx_socket.ask(nginx.conf_dir, "GET", "/traffic", timeout_s=_TIMEOUT_S)
    except OSError as error:
        raise errors.Unavailable(f"nginx does not answer on {nginx_socket.path(nginx.conf_dir)}: "
                                 f"{describe_error(error)}") from error
    if status == _OK:
        found = counts.read_dump(text)
        return found._replace(until=min(found.until, now)) if found else None
    logged = access_log.read(nginx.conf_dir, state_dir, now) if status == _UNKNOWN else None
    return Counted(logged[0], now - access_log.BEHIND_S, logged[1]) if logged else None


def read_totals(state_dir: str) -> dict[str, Totals]:
    """Read what this node's nginx has counted in all, by service."""
    found = {name: _read_kept(state_dir, name) for name in sorted(_measured(state_dir))}
    return {name: kept.totals for name, kept in found.items() if kept}


def behind_s(settings: Settings) -> float:
    """Give the time after which nginx has told a request that ended: its log is written some time later."""
    return access_log.BEHIND_S if settings.nginx and os.path.exists(access_log.path(settings.nginx.conf_dir)) else 0.0


def _measured(state_dir: str) -> Iterator[str]:
    for name in route_store.names(state_dir):
        route = route_store.route(state_dir, name)
        if route and route["measure"] and not route["removed"]:
            yield name


def _advance(nginx: Nginx, state_dir: str, measured: Iterable[str], now: float) -> dict[str, bytes]:
    """Keep what was counted since; returns the values of the keys that change, by service."""
    found = count(nginx, state_dir, now)
    if not found:
        return {}
    if found.lost_at > now - _LOST_FOR_S:
        log.event("traffic", outcome="failed", reason="nginx lost counts of requests: its dictionary lictor_traffic is "
                                                      "full. What it counted before is not used")
    values = {}
    for name in sorted(measured):
        try:
            before, slots = _read_kept(state_dir, name), found.by_name.get(name, {})
            kept = windows.advance(before, slots, found.since, found.until, by_side=_is_by_side(state_dir, name))
            if kept == before:  # told by another sweep or round in this slot
                continue
            files.write_atomic(_kept_path(state_dir, name), msgspec.json.encode(kept).decode(), mode=0o600,
                               durable=False)
            values[name] = windows.encode(kept.slices)
        except OSError as error:  # of its file
            log.event("traffic", service=name, outcome="failed", reason=error)
    return values


def _is_by_side(state_dir: str, name: str) -> bool:
    """Tell whether there is a canary, and nginx counts it: its files may be refused."""
    route, published = route_store.route(state_dir, name), route_store.published(state_dir, name)
    return bool(route and route["canary"] and published and sides.counts_by_side(published))


def _tell(client: Client, node: str, values: dict[str, bytes]) -> Iterator[errors.LictorError]:
    """Write the keys; yields what failed. A batch that is refused is written key by key. If Consul does not answer,
    that is the end: each further try would take its time too, and the autoscaler's check has ten seconds."""
    texts = {f"{PREFIX}{name}/{node}": value for name, value in values.items()}
    for batch in announce.batches(texts):
        try:
            if len(batch) > 1:
                client.commit([transactions.set_key(key, value) for key, value in batch])
                continue
        except errors.LictorError as error:
            if isinstance(error, errors.Unavailable):
                yield error
                return
        for key, value in batch:
            try:
                client.put(key, value)
            except errors.LictorError as error:
                yield error
                if isinstance(error, errors.Unavailable):
                    return


def _forget(client: Client, state_dir: str, node: str, names: Iterable[str]) -> Iterator[errors.LictorError]:
    for name in sorted(names):
        try:
            client.delete(f"{PREFIX}{name}/{node}")
            files.remove(_kept_path(state_dir, name))
        except errors.LictorError as error:
            yield error
            if isinstance(error, errors.Unavailable):
                return


def _read_kept(state_dir: str, name: str) -> Kept | None:
    try:
        kept = msgspec.json.decode(files.read(_kept_path(state_dir, name)) or "null", type=Kept)
    except (msgspec.DecodeError, RecursionError):
        return None
    return kept if all(map(is_slot, kept.slices)) else None


def _kept_path(state_dir: str, name: str) -> str:
    return os.path.join(state_dir, _FOLDER, f"{name}.json")
