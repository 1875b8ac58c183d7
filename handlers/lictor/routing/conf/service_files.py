"""Files below conf_dir that a service needs, and the ones of its earlier routes that have to go.

peers/NAME.conf, peers/empty/NAME.conf, peers/canary/NAME.conf; upstreams/lictor_NAME.conf, which includes the first;
locations/NAME.conf for its routes without a host; for each host servers/HOST.d/NAME.conf, servers/HOST.conf and
DEFAULT_SERVER. While a service is measured, traffic/http.conf and traffic/socket.conf.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lictor import errors
from lictor.adapters import files
from lictor.routing.conf import peer_files
from lictor.routing.peers import Peer

if TYPE_CHECKING:
    from lictor.routing.templates import Templates
    from lictor.routing.tls.hosts import Tls

DEFAULT_SERVER = "servers/-default.conf"  # before every host's, none of which begins with -
COUNTS = "traffic/http.conf"  # counts the requests of measured services
LOG = "traffic/log.conf"  # has nginx write them down instead, where it has no Lua module
_STAGED = "run/peers"  # below conf_dir
Measured = tuple[tuple[str, tuple[str, ...]], ...]  # services with the paths that they ignore


class ConfFiles(NamedTuple):
    """Texts by path below conf_dir; None: the file has to go. `upstream` and `locations` are those of them that nginx
    has to check, and `servers` are those of its hosts; there are none if they stay as they are."""

    files: dict[str, str | None]
    upstream: str = ""
    locations: tuple[str, ...] = ()
    servers: Mapping[str, str] = {}

    def is_in_place(self, conf_dir: str) -> bool:
        return all(_is_written(conf_dir, path, text) for path, text in self.files.items())

    def is_new_to_nginx(self, conf_dir: str) -> bool:
        """Whether more than the peers differs from what is there, and has been accepted."""
        return any(not _is_written(conf_dir, path, text) for path, text in self.files.items()
                   if not path.startswith("peers/"))


class Routes(NamedTuple):
    """The routes of each service of this node by name; those that stand at a host and path, slash or not, each with its
    service; the other names of each host, and the services that are measured."""

    by_name: Mapping[str, dict[str, Any]]
    by_place: dict[tuple[str, str], list[tuple[str, dict[str, Any]]]]
    aliases: dict[str, set[str]]
    measured: Measured


def measured_of(by_name: Mapping[str, dict[str, Any]]) -> Measured:
    """List the services whose requests are counted."""
    return tuple((name, tuple(route["ignore"])) for name, route in sorted(by_name.items())
                 if route["measure"] and not route["removed"])


def routes_of(by_name: Mapping[str, dict[str, Any]], earlier: Mapping[str, Sequence[dict[str, Any]]] = {}) -> Routes:
    """Sort the routes. `earlier` are those in force of the services whose present ones are refused: hosts have their
    other names by these."""
    found = Routes(by_name, {}, {}, measured_of(by_name))
    for name, service in by_name.items():
        present = [] if service["removed"] else service["routes"]
        for route in present:
            found.by_place.setdefault((route["host"], route["path"].rstrip("/")), []).append((name, route))
        for route in earlier.get(name, present):
            found.aliases.setdefault(route["host"], set()).update(route["aliases"])
    return found


def desired(conf_dir: str, templates: "Templates", routes: Routes, name: str, peers: tuple[Peer, ...],
            secured: "Mapping[str, Tls]") -> ConfFiles:
    """Render the files of a service, with TLS of the hosts that have it. Raises Refused if the route or a template is
    no good."""
    route = routes.by_name[name]
    if route["removed"]:
        return ConfFiles({**_ours(conf_dir, [f"upstreams/lictor_{name}.conf", *_locations(conf_dir, name)]),
                          **peer_files.no_peers(name), f"live/{name}.peers": None,
                          **_counting(conf_dir, templates, routes, route)})
    upstream = templates.upstream(name, conf_dir, [each["options"] for each in route["routes"]])
    texts = peer_files.no_peers(name) if templates.live else peer_files.peers(name, peers, upstream)
    texts[f"upstreams/lictor_{name}.conf"] = upstream
    texts.update(_counting(conf_dir, templates, routes, route))
    locations, sharing = _rendered_locations(conf_dir, templates, routes, name)
    texts.update(locations)
    servers = {host: _server(conf_dir, templates, routes, name, host, secured.get(host))
               for host in sorted({each["host"] for each in route["routes"]} - {""})}
    texts.update({f"servers/{host}.conf": text for host, text in servers.items()})
    if servers:
        texts[DEFAULT_SERVER] = templates.default_server(next(iter(secured.values()), None))
    for other in sharing:  # the others' files of the same location would make nginx refuse this one's
        texts.update(_ours(conf_dir, [path for path in _locations(conf_dir, other) if path not in texts]))
    return ConfFiles(texts, upstream, tuple(locations.values()), servers)


def _rendered_locations(conf_dir: str, templates: "Templates", routes: Routes,
                        name: str) -> tuple[dict[str, str], set[str]]:
    """Render the files of a service's locations, one for each host and one for the routes without any; and list the
    services with such a location, of which it is the first. Raises Refused, naming the route."""
    from lictor.spec.locations import blame, keyed, show  # with its patterns, which other peers do without

    service, texts, sharing = routes.by_name[name], dict[str, str](), set[str]()
    ignored = service["ignore"] if service["measure"] else None
    by_side = ignored is not None and service["canary"] is not None and not templates.live
    for key, route in keyed(service["routes"]):
        try:
            others = _sharing(routes, route)
            if others[0] != name:
                raise errors.Refused(f"route {show(route)} is that of {others[0]}")
            text = templates.location(name, route["path"], route["match"], conf_dir, ignored, route["options"],
                                      by_side=by_side)
        except errors.Refused as error:
            raise errors.Refused(blame(key, error)) from error
        path = f"servers/{route['host']}.d/{name}.conf" if route["host"] else f"locations/{name}.conf"
        # The header stands in the first line of each.
        texts[path] = f"{texts[path]}{text.partition(chr(10))[2]}" if path in texts else text
        sharing.update(others)
    return texts, sharing


def _server(conf_dir: str, templates: "Templates", routes: Routes, name: str, host: str, tls: "Tls | None") -> str:
    """Render the server of a host of this service."""
    present = [each for each in routes.by_name[name]["routes"] if each["host"] == host]
    own = {alias for each in present for alias in each["aliases"]}
    return templates.server(host, sorted({*routes.aliases.get(host, ()), *own} - {host}),
                            os.path.join(conf_dir, "servers", f"{host}.d"), tls,
                            is_grpc=any(each["options"].get("scheme") == "grpc" for each in present))


def _counting(conf_dir: str, templates: "Templates", routes: Routes, route: dict[str, Any]) -> dict[str, str | None]:
    """Return the files that count requests. They come with the services that are measured, so that no other is
    refused for them, and go with the last one."""
    if route["measure"] and not route["removed"]:
        return templates.traffic(conf_dir, routes.measured)
    is_last = not routes.measured and os.path.exists(os.path.join(conf_dir, COUNTS))
    return templates.traffic(conf_dir, ()) if is_last else {}


def _is_written(conf_dir: str, path: str, text: str | None) -> bool:
    try:
        return files.read(os.path.join(conf_dir, path)) == text
    except OSError:  # it is no file, say
        return False


def _sharing(routes: Routes, route: dict[str, Any]) -> list[str]:
    """List the services with a location that this route has too, its own among them."""
    from lictor.spec.locations import locations  # as above

    own = set(locations(route["path"], route["match"]))
    return sorted(name for name, other in routes.by_place[route["host"], route["path"].rstrip("/")]
                  if not own.isdisjoint(locations(other["path"], other["match"])))


def other_peers(conf_dir: str, name: str, peers: tuple[Peer, ...]) -> ConfFiles | None:
    """Return the files of other peers; None if the upstream of the service is not in place, or a peer is refused."""
    try:
        upstream = files.read(os.path.join(conf_dir, f"upstreams/lictor_{name}.conf")) or ""
        return ConfFiles(peer_files.peers(name, peers, upstream)) if peers_path(conf_dir, name) in upstream else None
    except (errors.Refused, OSError):
        return None


def peers_path(conf_dir: str, name: str) -> str:
    """Return the path of the file that the upstream of a service includes."""
    return os.path.join(conf_dir, "peers", f"{name}.conf")


def staged(conf_dir: str, some: Iterable[ConfFiles]) -> tuple[list[str], dict[str, str]]:
    """Return upstreams to check, which include staged peers instead of those in force; and these, by path."""
    upstreams, staged_peers = [], {}
    for each in some:
        upstreams.append(each.upstream.replace(os.path.join(conf_dir, "peers/"), os.path.join(conf_dir, _STAGED, "")))
        for path, text in each.files.items():
            if text and os.path.dirname(path) == "peers":
                staged_peers[path.replace("peers", _STAGED, 1)] = text
    return upstreams, staged_peers


def merged(conf_dir: str, some: Iterable[ConfFiles]) -> dict[str, str | None]:
    """Merge the files of several services: a file that one service needs stays, though another one left it, and a
    host's server goes with the last location in its folder."""
    found: dict[str, str | None] = {}
    for each in some:
        found.update({path: text for path, text in each.files.items() if text or path not in found})
    found.update(_ours(conf_dir, _empty_servers(conf_dir, found)))
    if not _has_servers(conf_dir, found):
        found.update(_ours(conf_dir, [DEFAULT_SERVER]))
    return found


def _empty_servers(conf_dir: str, changes: Mapping[str, str | None]) -> Iterator[str]:
    """Yield the servers of hosts that lose their last location."""
    going = {path for path, text in changes.items() if text is None and path.startswith("servers/") and ".d/" in path}
    for folder in {os.path.dirname(path) for path in going}:
        server = f"{folder.removesuffix('.d')}.conf"
        staying = {f"{folder}/{each}" for each in os.listdir(os.path.join(conf_dir, folder))} - going
        if not staying and server not in changes:
            yield server


def _has_servers(conf_dir: str, changes: Mapping[str, str | None]) -> bool:
    """Decide whether a host has a server once the changes are made."""
    present = {f"servers/{each}": "" for each in os.listdir(os.path.join(conf_dir, "servers"))}
    return any(text is not None for path, text in {**present, **changes}.items()
               if os.path.dirname(path) == "servers" and path.endswith(".conf") and path != DEFAULT_SERVER)


def _locations(conf_dir: str, name: str) -> list[str]:
    """List where the location of a service may be, whatever its route was."""
    hosts = [f"servers/{each}" for each in os.listdir(os.path.join(conf_dir, "servers")) if each.endswith(".d")]
    return [f"{folder}/{name}.conf" for folder in ("locations", *hosts)]


def _ours(conf_dir: str, paths: Iterable[str]) -> dict[str, str | None]:
    """Return the files among these that lictor wrote: they have to go."""
    return {path: None for path in paths
            if (files.read(os.path.join(conf_dir, path)) or "").startswith(peer_files.MARK)}
