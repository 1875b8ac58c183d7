"""Which files below conf_dir a service needs, what they say, and which of its earlier ones have to go.

upstreams/lictor_NAME.conf; locations/NAME.conf, or with a host servers/HOST.d/NAME.conf and servers/HOST.conf.
"""

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lictor import errors
from lictor.adapters import files
from lictor.routing import conf_text
from lictor.routing import peers as upstream

if TYPE_CHECKING:
    from lictor.routing import templates as render


class Wanted(NamedTuple):
    """`upstream` ("": there is none) and `locations` are the texts to validate; `files` says what is to be written, by
    path below conf_dir; None there means that the file has to go."""

    upstream: str
    locations: list[str]
    files: dict[str, str | None]

    def is_in_place(self, conf_dir: str) -> bool:
        return all(files.read(os.path.join(conf_dir, path)) == text for path, text in self.files.items())

    def is_new_to_nginx(self, conf_dir: str) -> bool:
        """Whether it differs in more than the peers from what is there, and has been accepted."""
        return any(conf_text.shape(files.read(os.path.join(conf_dir, path)) or "") != conf_text.shape(text or "")
                   for path, text in self.files.items())


def wanted(conf_dir: str, templates: "render.Templates", known: Mapping[str, dict[str, Any]], name: str,
           peers: tuple[upstream.Peer, ...]) -> Wanted:
    """`known`: every route of this node by name. Raises Refused when the route or a template is no good."""
    route = known[name]
    if route["removed"]:
        return Wanted("", [], {**_leftovers(conf_dir, name, set()), f"live/{name}.peers": None})
    host, path = route["host"], route["path"]
    sharing = sorted(other for other, each in known.items()
                     if not each["removed"] and (each["host"], each["path"]) == (host, path))
    if sharing[0] != name:
        raise errors.Refused(f"route {host}{path} is that of {sharing[0]}")
    is_empty = not peers and not templates.live
    location = templates.location(name, path, empty=is_empty)
    found = Wanted(templates.upstream(name, peers), [location], {})
    if is_empty:  # what would be refused once there are peers again must not take the place of what would not
        found.locations.append(templates.location(name, path, empty=False))
    found.files[f"upstreams/lictor_{name}.conf"] = found.upstream
    if host:
        found.files[f"servers/{host}.d/{name}.conf"] = location
        found.files[f"servers/{host}.conf"] = templates.server(host, os.path.join(conf_dir, "servers", f"{host}.d"))
    else:
        found.files[f"locations/{name}.conf"] = location
    for other in sharing:  # the others' files of the same location would make nginx refuse this one's
        found.files.update(_leftovers(conf_dir, other, {*found.files, f"upstreams/lictor_{other}.conf"}))
    return found


def other_peers(conf_dir: str, name: str, peers: tuple[upstream.Peer, ...]) -> Wanted | None:
    """The same for other peers of a service whose files are in place, made from those instead of from lictor's own
    templates; None where that can't be."""
    path = f"upstreams/lictor_{name}.conf"
    before = files.read(os.path.join(conf_dir, path)) or ""
    text = conf_text.with_servers(before, [conf_text.server(each) for each in peers])
    return Wanted(text, [], {path: text}) if text else None


def nobody(conf_dir: str, name: str) -> Wanted | None:
    """The same for a service that has no peer, and whose template can't be asked what to say then: 502 is better than
    who has its peers' ports next."""
    path = f"upstreams/lictor_{name}.conf"
    text = conf_text.with_nobody(files.read(os.path.join(conf_dir, path)) or "")
    return Wanted(text, [], {path: text}) if text else None


def merged(conf_dir: str, wanted: Iterable[Wanted]) -> dict[str, str | None]:
    """What is to be written for all of these at once: a file that one service needs stays, though another one left it,
    and a host's server goes with the last location in its folder."""
    found: dict[str, str | None] = {}
    for each in wanted:
        found.update({path: text for path, text in each.files.items() if text or path not in found})
    going = {path for path, text in found.items() if text is None and path.startswith("servers/")}
    for folder in {os.path.dirname(path) for path in going}:
        server = f"{folder.removesuffix('.d')}.conf"
        staying = {f"{folder}/{each}" for each in os.listdir(os.path.join(conf_dir, folder))} - going
        if not staying and server not in found and _is_ours(os.path.join(conf_dir, server)):
            found[server] = None
    return found


def _leftovers(conf_dir: str, name: str, kept: set[str]) -> dict[str, str | None]:
    """Files of an earlier route of this service."""
    hosts = [f"servers/{each}" for each in os.listdir(os.path.join(conf_dir, "servers")) if each.endswith(".d")]
    possible = {f"upstreams/lictor_{name}.conf", *(f"{folder}/{name}.conf" for folder in ("locations", *hosts))} - kept
    return {path: None for path in possible if _is_ours(os.path.join(conf_dir, path))}


def _is_ours(path: str) -> bool:
    return (files.read(path) or "").startswith(conf_text.MARK)
