"""State folder of the routing node: routes/NAME.json (the route that the keys ask for), peers/NAME.json (what its nginx
serves, or is about to), and a lock on both. The commonest event imports it, so it imports the standard library only."""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lictor import model
from lictor.adapters import files
from lictor.adapters.consul.payload import HINT
from lictor.routing import peers
from lictor.routing.peers import Decision, Endpoint, Location, Peer, Place, PublishedRoute, Refusal, peer

_LISTENERS = "listeners.json"
_FIELDS = {"service": str, "routes": list, "empty_ok": bool, "removed": bool, "traffic": str, "node": str,
           "needs_consent": bool, "measure": bool, "ignore": list}
_LATER_FIELDS = {"traffic": "healthy", "node": "", "needs_consent": False, "measure": False, "ignore": [],
                 "canary": None}
_ROUTE_FIELDS = {"host": str, "path": str, "match": str, "aliases": list, "options": dict}
_LATER_ROUTE_FIELDS = {"match": "prefix", "aliases": [], "options": {}}
_parsed: dict[str, tuple[tuple[int, int, int] | None, dict[str, Any] | None]] = {}  # routes, with their stamps


def names(state_dir: str) -> list[str]:
    """List the services that this node knows a route of, removed ones included."""
    try:
        found = os.listdir(os.path.join(state_dir, "routes"))
    except FileNotFoundError:  # no handler has run here yet
        return []
    return sorted(name for each in found if each.endswith(".json") and model.is_name(name := each[:-5]))


def route(state_dir: str, name: str) -> dict[str, Any] | None:
    """Read routes/NAME.json; None if the service is not known here, or the file is damaged. A sweep asks half a dozen
    times for each, so that a file that is the same is not parsed again."""
    path = _route_path(state_dir, name)
    stamp = _stamp(path)
    parsed_stamp, parsed = _parsed.get(path, (None, None))
    if stamp is None or stamp != parsed_stamp:
        parsed = _sound_route(files.read_json(path))
        _parsed[path] = stamp, parsed
    return parsed and {**parsed}


def _sound_route(found: Any) -> dict[str, Any] | None:
    """Return what was stored with all that later versions store; None if it is damaged."""
    table = {**_LATER_FIELDS, **_with_routes(found)} if isinstance(found, dict) else {}
    is_sound = _has(table, _FIELDS) and table["routes"] and all(_has(each, _ROUTE_FIELDS) for each in table["routes"])
    return table if is_sound and peers.is_canary(table["canary"]) else None


def _has(table: dict[str, Any], fields: Mapping[str, type]) -> bool:
    return all(type(table.get(field)) is kind for field, kind in fields.items())


def _with_routes(table: dict[str, Any]) -> dict[str, Any]:
    """Return a stored table with a list of routes; an earlier version had one route, and that among the rest."""
    if "routes" not in table:
        only = {field: table[field] for field in _ROUTE_FIELDS if field in table}
        table = {**{field: value for field, value in table.items() if field not in only}, "routes": [only]}
    routes = table["routes"]
    return {**table, "routes": [{**_LATER_ROUTE_FIELDS, **each} if type(each) is dict else {} for each in routes]
            if type(routes) is list else None}


def published(state_dir: str, name: str) -> PublishedRoute | None:
    """Read peers/NAME.json; None if nothing was ever decided, or the file is damaged."""
    return from_table(files.read_json(_published_path(state_dir, name)))


def write_published(state_dir: str, name: str, published: PublishedRoute) -> None:
    """Write peers/NAME.json. If a power cut takes it, the next sweep decides again and compares nginx's files.

    If nginx has not confirmed it all, the mark unconfirmed/NAME is there before.
    """
    if not published.confirmed or len(published.places) > 1:
        _leave_mark(state_dir, name)
    files.write_json(_published_path(state_dir, name), as_table(published), durable=False)


def write_route(state_dir: str, name: str, route: dict[str, Any]) -> None:
    """Write routes/NAME.json, and before it the mark unconfirmed/NAME."""
    with files.locked(lock_path(state_dir, name)):
        _leave_mark(state_dir, name)
        files.write_json(_route_path(state_dir, name), route)


def unconfirmed(state_dir: str) -> list[str]:
    """List the services of which nginx may not have confirmed all: a publication reads these only. A mark that was
    lost is a sweep's to find, which looks at every service."""
    try:
        return [name for name in os.listdir(os.path.join(state_dir, "unconfirmed")) if model.is_name(name)]
    except FileNotFoundError:  # no handler of this version has run here yet
        return []


def remove_mark(state_dir: str, name: str, mode: str) -> None:
    """Remove the mark of a service, unless something of it is unconfirmed, or another process is at work on it just
    now: a slow one must not hold up the publication of others."""
    with files.locked(lock_path(state_dir, name), wait=False) as is_held:
        found, latest = route(state_dir, name), published(state_dir, name)
        if is_held and (not found or latest and latest.confirmed and is_settled(found, mode, latest)):
            files.remove(_mark_path(state_dir, name))


def as_table(published: PublishedRoute) -> dict[str, Any]:
    """Return the stored form: each record by its fields' names."""
    refusal = published.refusal
    return {**published._asdict(), "peers": [each._asdict() for each in published.peers],
            "places": [each and _place_table(each) for each in published.places],
            "refusal": refusal and {**refusal._asdict(), "place": refusal.place and _place_table(refusal.place)}}


def from_table(table: Any) -> PublishedRoute | None:
    """Read the record of a stored form; None if that is absent or damaged."""
    try:
        ids = {key: tuple((node, service_id) for node, service_id in {"canary": (), **table}[key])
               for key in ("instances", "ailing", "canary")}
        refusal: Any = table["refusal"] and Refusal(**table["refusal"])
        found = PublishedRoute(**{
            **table, **ids, "peers": tuple(Peer(**each) for each in table["peers"]),
            "places": tuple(map(_stored_place, table["places"])),
            "refusal": refusal and refusal._replace(place=_stored_place(refusal.place))})
        return found if peers.is_sound(found) else None
    except (TypeError, KeyError, ValueError):
        return None


def note(state_dir: str, name: str, published: PublishedRoute, index: int) -> None:
    """Write the decision upon an event with this index of Consul's."""
    index = published.consul_index if index == HINT else index
    write_published(state_dir, name, published._replace(consul_index=index))


def note_unchanged(state_dir: str, name: str, published: PublishedRoute, decision: Decision, index: int) -> None:
    """Write that an event changes nothing. If it is older than the last one, the next older one is no newer for it."""
    note(state_dir, name, published._replace(empty_since=None, ailing=decision.ailing),
         max(index, published.consul_index))


def mark(state_dir: str, name: str, decided: PublishedRoute, **fields: object) -> None:
    """Write how far the publication of a decision is. If another decision was written since, nothing is confirmed."""
    with files.locked(lock_path(state_dir, name)):
        latest = published(state_dir, name)
        if latest:
            is_other = (latest.peers, latest.instances) != (decided.peers, decided.instances)
            confirmed = {"confirmed": False} if is_other and "confirmed" in fields else {}
            write_published(state_dir, name, latest._replace(**{**fields, **confirmed}))  # type: ignore[arg-type]


def place(route: dict[str, Any], mode: str) -> Place | None:
    """Name the files that the route needs besides its peers; None: none."""
    return None if route["removed"] else Place(
        mode, tuple(_location(each) for each in route["routes"]), tuple(route["ignore"]) if route["measure"] else None,
        by_side=route["measure"] and route["canary"] is not None and mode == "reload")  # live mode's lists tell sides


def _location(route: dict[str, Any]) -> Location:
    return Location(route["host"], route["path"], route["match"], tuple(route["aliases"]),
                    json.dumps(route["options"], sort_keys=True) if route["options"] else "")


def routes_at(place: Place) -> list[dict[str, Any]]:
    """Return the routes that the files of a place were made for, as routes/NAME.json has them."""
    return [{**each._asdict(), "options": json.loads(each.options or "{}")} for each in place.locations]


def is_settled(route: dict[str, Any], mode: str, published: PublishedRoute) -> bool:
    """Whether nginx has confirmed the files that the route needs, and nothing was put in their place since."""
    return published.places == (place(route, mode),)


def mode_served(published: PublishedRoute) -> str:
    """Return the mode of the files that nginx may be serving; "" if they differ in it, or there may be none."""
    modes = {each.mode if each else "" for each in published.places}
    return modes.pop() if len(modes) == 1 else ""


def is_refused(route: dict[str, Any], mode: str, published: PublishedRoute) -> bool:
    """Whether the files of the route were refused, so that those of an earlier one have to follow the catalogue."""
    return published.refusal is not None and published.refusal.place == place(route, mode)


def is_frozen(published: PublishedRoute) -> bool:
    """Decide whether nginx cannot be given the peers that were decided: the files that it confirmed take none."""
    place = published.places[0]
    return bool(published.refusal and published.refusal.is_frozen and place and not published.confirmed)


def is_only_routed(state_dir: str, name: str) -> bool:
    """Whether it is certain that this node starts and stops nothing for the service, and tells its engine nothing."""
    found = route(state_dir, name)
    return found is not None and found.get("acts") is False


def names_without_host(state_dir: str) -> list[str]:
    """List the services that are routed by their paths alone, in the user's own servers."""
    return [name for name in names(state_dir) if (found := route(state_dir, name)) and not found["removed"]
            and not all(each["host"] for each in found["routes"])]


def is_labelled(route: dict[str, Any]) -> bool:
    """Tell whether the labels of containers ask for the route, and no spec."""
    return route.get("labelled") is True


def forget(state_dir: str, name: str) -> None:
    """Remove both files of a service that is not routed any more."""
    with files.locked(lock_path(state_dir, name)):
        for path in (_route_path(state_dir, name), _published_path(state_dir, name), _mark_path(state_dir, name)):
            files.remove(path)


def write_listeners(state_dir: str, listeners: Iterable[tuple[str, int]]) -> None:
    """Write where this node's nginx listens: address ("" is every one of IPv4, "::" of IPv6) and port."""
    files.write_json(os.path.join(state_dir, _LISTENERS), sorted(listeners), durable=False)


def own_endpoints(state_dir: str, instances: Iterable[model.Instance]) -> set[Endpoint]:
    """Find the addresses and ports of instances on which this node's nginx listens itself."""
    found_at = listeners(state_dir)
    ports, found = {port for _, port in found_at}, set[Endpoint]()
    for each in instances:
        if type(each.port) is int and each.port in ports:  # which is rare
            with contextlib.suppress(ValueError):
                address, port, *_ = peer(each)
                everywhere = "::" if ":" in address else ""
                if (address, port) in found_at or (everywhere, port) in found_at and _is_local(address):
                    found.add((address, port))
    return found


def listeners(state_dir: str) -> set[Endpoint]:
    """Read where this node's nginx listens, as `write_listeners` wrote it."""
    try:
        return {(address, port) for address, port in files.read_json(os.path.join(state_dir, _LISTENERS)) or ()}
    except (TypeError, ValueError):  # damaged; the next sweep writes it anew
        return set()


def _is_local(address: str) -> bool:
    """Decide whether the address is one of this machine's. To bind it shows nothing where ip_nonlocal_bind is set, as
    beside keepalived."""
    if ":" in address:
        import socket

        return socket.inet_pton(socket.AF_INET6, address).hex() in (files.read("/proc/net/if_inet6") or "").split()
    table = files.read("/proc/net/fib_trie") or ""
    return address.startswith("127.") or bool(
        re.search(rf"\|-- {re.escape(address)}\n(?:\s+/.*\n)*?\s+/32 host LOCAL", table))


def lock_path(state_dir: str, name: str) -> str:
    """Return the path of the lock on both files. Its holder must not wait for a publication, which takes it too."""
    return os.path.join(state_dir, "locks", f"route:{name}.lock")  # no service's name has a colon


def _stamp(path: str) -> tuple[int, int, int] | None:
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_ino, found.st_mtime_ns, found.st_size
    return None


def _place_table(place: Place) -> dict[str, Any]:
    return {**place._asdict(), "locations": [each._asdict() for each in place.locations]}


def _stored_place(table: Any) -> Place | None:
    if not table:
        return None
    if "locations" not in table:  # an earlier version had one location, and that among the rest
        only = {field: value for field, value in table.items() if field not in Place._fields}
        table = {**{field: value for field, value in table.items() if field not in only}, "locations": [only]}
    ignored, locations = table.get("ignored"), table["locations"]
    return Place(**{**table, "locations": tuple(
        Location(**{**each, "aliases": tuple(each["aliases"])}) for each in locations),
        "ignored": None if ignored is None else tuple(ignored)})


def _leave_mark(state_dir: str, name: str) -> None:
    os.close(files.open_own(_mark_path(state_dir, name), os.O_WRONLY))


def _mark_path(state_dir: str, name: str) -> str:
    return os.path.join(state_dir, "unconfirmed", name)


def _route_path(state_dir: str, name: str) -> str:
    return os.path.join(state_dir, "routes", f"{name}.json")


def _published_path(state_dir: str, name: str) -> str:
    return os.path.join(state_dir, "peers", f"{name}.json")
