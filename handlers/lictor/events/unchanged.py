"""Services that a sweep need not look at again: of all that its last look at them rested on, nothing has changed.

Only a service that is routed, with no node to act for it (engine none), is left out, and only if that look found
nothing to do, to wait for, or to tell of it: nginx has confirmed its route and peers, its files were as they should be,
and neither time nor an engine can make it another. These inputs are compared; whichever changes ends the rest:

of the service:  its keys, and the entries of the catalogue with their node and checks (by ModifyIndex);
                 peers/NAME.json, and its files below conf_dir (by inode, time and size); that it has no state, and no
                 unconfirmed mark
of all services: the specs, as one may look like another (by ModifyIndex); all routes, as they share hosts and paths;
                 nginx's files that belong to no service; certificates and keys of hosts that TLS is asked for; the
                 user's own servers; the settings, templates and mode of nginx; where it listens; containers that are
                 dead; this node's name; lictor itself

A sweep that looks at all, every few minutes, bounds what this may miss.
"""

import functools
import json
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import lictor
from lictor import model, routing
from lictor.adapters import files, heartbeat, log
from lictor.adapters.consul.answers import Catalogue
from lictor.reconcile.context import Context
from lictor.reconcile.observe import Reading
from lictor.routing import nginx, nginx_mode, refusal_backoff, route_store, user_servers
from lictor.routing.key_cache import Key
from lictor.routing.tls import certificate, hosts
from lictor.routing.user_servers import Server
from lictor.spec.settings import Nginx

_FILE = "unchanged.json"  # in the state folder
_FULL_EVERY_S = 240.0
_OF_A_SERVICE = (  # below conf_dir, and servers/HOST.d
    "upstreams", "peers", "peers/empty", "peers/canary", "locations", "live")
_NOT_COMPARED = ("generation.conf", nginx.RUN)  # change with each publication


class Memory:
    """Notes of sweeps on the services that they found to be at rest: by name the inputs, as a checksum."""

    def __init__(self, context: Context, keys: Mapping[str, Key], catalogue: Catalogue) -> None:
        self._context, self._keys, self._catalogue = context, keys, catalogue
        self._state_dir = context.settings.state_dir
        self._path = os.path.join(self._state_dir, _FILE)

    @functools.cached_property
    def unchanged(self) -> frozenset[str]:
        """The services that need no look; none if that cannot be told. Read once the routes follow their keys, as files
        are compared as of then."""
        try:
            noted = _read(self._path)
            if noted["common"] != self._common or not 0 <= time.time() - noted["full_at"] < _FULL_EVERY_S:
                return frozenset()
            return frozenset(name for name, inputs in noted["services"].items() if self._inputs.get(name) == inputs)
        except Exception as error:  # of any kind: what a look would find must not be left out for it
            log.event("sweep", outcome="looks at all", reason=f"what has changed is unknown: {error!r:.200}")
            return frozenset()

    def keep(self, readings: Mapping[str, Reading], in_place: Set[str], lines: Iterable[str]) -> None:
        """Note the services that are at rest. `in_place` are those whose files nginx was found to have as they should
        be; `lines` are what there is to tell, each of the service that it begins with."""
        mentioned = {line.partition(":")[0] for line in lines}
        found = {name for name, each in readings.items()
                 if name in in_place and _is_at_rest(each) and self._waits_for_nothing(name)}
        noted = _read(self._path)
        files.write_json(self._path, {
            "common": self._common, "full_at": noted["full_at"] if self.unchanged else time.time(),
            "services": {name: self._inputs[name] for name in sorted((found | self.unchanged) - mentioned)
                         if name in self._inputs},
        }, durable=False)

    @functools.cached_property
    def _stamps(self) -> dict[str, list[tuple[str, int, int, int]]]:
        """The stamps of files, by service; those of "" are of no service's own."""
        settings, found = self._context.settings, dict[str, list[tuple[str, int, int, int]]]()
        names = set(route_store.names(self._state_dir))
        for folder, in_common in (("routes", True), ("peers", False)):
            for path, stamp in _stamp_below(os.path.join(self._state_dir, folder)):
                found.setdefault("" if in_common else path.removesuffix(".json"), []).append((path, *stamp))
        for path, stamp in _stamp_below(settings.nginx.conf_dir) if settings.nginx else ():
            owner = _owner(path)
            found.setdefault(owner if owner in names else "", []).append((path, *stamp))
        return found

    @functools.cached_property
    def _common(self) -> str:
        settings, prefix = self._context.settings, self._context.settings.prefix
        about_nginx = [
            refusal_backoff.circumstances(settings, settings.nginx), nginx_mode.read(settings),
            [_describe_server(each) for each in user_servers.read(settings.nginx).servers],
            sorted(route_store.listeners(self._state_dir)), _stamp_certificates(self._state_dir, settings.nginx),
        ] if settings.nginx else []
        own = [lictor.__file__, os.path.join(os.path.dirname(routing.__file__), "default_templates")]
        return _checksum([
            repr(settings), self._context.node, sorted(heartbeat.read_dead(self._state_dir)), files.stamp(own),
            about_nginx, sorted(self._stamps.get("", ())),
            sorted((key, entry.modify_index) for key, entry in self._keys.items()
                   if key.startswith(prefix) and key.endswith(("/spec", "/removed")))])

    @functools.cached_property
    def _inputs(self) -> dict[str, str]:
        keys, prefix = dict[str, list[tuple[str, int]]](), self._context.settings.prefix
        for key, entry in self._keys.items():
            name, _, rest = key.removeprefix(prefix).partition("/")
            keys.setdefault(name, []).append((rest, entry.modify_index))
        marked = set(route_store.unconfirmed(self._state_dir))
        return {name: _checksum([sorted(found), sorted(self._entries(name)), sorted(self._stamps.get(name, ()))])
                for name, found in keys.items() if name not in marked and not self._is_overlong(name)}

    def _entries(self, name: str) -> Iterator[list[Any]]:
        for each in _catalog_names(name):
            for entry in self._catalogue.entries.get(each, ()):
                node, service = entry["Node"], entry["Service"]
                yield [each, str(node.get("Node")), node.get("ModifyIndex"), service["ID"], service.get("ModifyIndex"),
                       [(str(check["CheckID"]), check.get("ModifyIndex")) for check in entry["Checks"]]]

    def _waits_for_nothing(self, name: str) -> bool:
        """Tell that neither a hold of the upstream nor a back-off of its files will end."""
        published = route_store.published(self._state_dir, name)
        return published is not None and published.empty_since is None and published.refusal is None

    def _is_overlong(self, name: str) -> bool:
        return any(each in self._catalogue.overlong for each in _catalog_names(name))


def _is_at_rest(reading: Reading) -> bool:
    """Decide whether only a change of the inputs can give the node anything to do for a service, or to tell of it."""
    seen, stored = reading.observation, reading.stored
    spec = seen.desired.spec
    return (spec is not None and spec.engine == "none" and not seen.desired.removed and not seen.desired.problems
            and not stored.modify_index and not any(each.output for each in seen.instances))


def _stamp_certificates(state_dir: str, settings: Nginx) -> dict[str, str | None]:
    """Return what tells the files of each host that TLS is asked for from others in their place."""
    services = [service for name in route_store.names(state_dir) if (service := route_store.route(state_dir, name))]
    return {host: certificate.stamp(settings, certificate.of_host(settings, host))
            for host in sorted(hosts.gather_wishes(*services))} if settings.certificate else {}


def _describe_server(server: Server) -> list[Any]:
    """Describe a server of the user's in the same words in each process: sets have no order."""
    return [sorted(each) if isinstance(each, set) else repr(each) for each in server]


def _catalog_names(name: str) -> Iterable[str]:
    return [model.catalog_name(name, color) for color in ("", *model.COLORS)]


def _read(path: str) -> dict[str, Any]:
    found = files.read_json(path)
    if isinstance(found, dict) and isinstance(found.get("services"), dict) and type(found.get("full_at")) is float:
        return {"common": None, **found}
    return {"common": None, "full_at": 0.0, "services": {}}


def _owner(path: str) -> str:
    """Return the service to whose name a path below conf_dir is made; "": to none."""
    folder, name = os.path.split(path)
    if folder in _OF_A_SERVICE or folder.startswith("servers/") and folder.endswith(".d"):
        return os.path.splitext(name)[0].removeprefix("lictor_" if folder == "upstreams" else "")
    return ""


def _stamp_below(folder: str, under: str = "") -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Yield each file's path below the folder, and what changes with its content."""
    try:
        entries = list(os.scandir(os.path.join(folder, under)))
    except OSError:
        return
    for entry in entries:
        path = os.path.join(under, entry.name)
        if path in _NOT_COMPARED:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _stamp_below(folder, path)
            continue
        try:
            found = entry.stat()
            yield path, (found.st_ino, found.st_mtime_ns, found.st_size)
        except OSError:  # it has just gone, or leads nowhere
            yield path, (0, 0, 0)


def _checksum(value: object) -> str:
    return f"{zlib.crc32(json.dumps(value).encode()):08x}"
