"""Servers of the user's own nginx configuration: where they listen, and what they answer that a route asks for.

nginx takes it silently if two servers of one address have one name, or a location of the user's is asked before
lictor's. The configuration is read as nginx reads it, but for what is below conf_dir. A file that cannot be read hides
its own servers only.
"""

import contextlib
import glob
import os
import re
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lictor import errors
from lictor.adapters import files
from lictor.routing import nginx
from lictor.routing.conf import parser
from lictor.routing.conf.parser import Directive
from lictor.spec.locations import EXACT, blame, keyed
from lictor.spec.settings import Nginx, Settings

Listener = tuple[str, int]  # address ("" is every one of IPv4, "::" of IPv6), port
_CONFLICT = re.compile(r'conflicting server name "([^"]+)"')  # a warning of nginx's
_LONGEST_BYTES, _MOST_FILES = 1_000_000, 1000
_LISTEN = re.compile(r"(?:(?P<address>\[[0-9a-fA-F:.]+\]|\*|\d+(?=:)|[A-Za-z0-9-]*[.A-Za-z][A-Za-z0-9.-]*)(?::|\Z))?"
                     r"(?:(?P<port>\d{1,9})(?:-(?P<last>\d{1,9}))?)?", re.ASCII)
_PORTS = range(1, 65536)
_GROUP = re.compile(r"\(\?<(?=\w)")  # the begin of a named group as PCRE has it, and Python has not
COUNTING_HOOKS = ("init_worker_by_lua", "log_by_lua")  # http takes one of each
LIVE_HOOKS = ("init_by_lua", *COUNTING_HOOKS)
_EVERYWHERE = {"*": "", "0.0.0.0": "", "localhost": "127.0.0.1"}
_DEFAULT = {"default_server", "default"}


class Server(NamedTuple):
    """A server block: its names, where it listens, where it is the default, its locations, and its file and line."""

    names: set[str]
    listeners: set[Listener]
    defaults: set[Listener]
    locations: list[Directive]
    has_lictors: bool  # it includes the locations of services without a host
    redirects: list[Directive]  # outside of any location, and so before all of them
    asks_lictors: bool  # somewhere in it are such locations, or an upstream of lictor's
    place: str


class Users(NamedTuple):
    """The servers of the user's configuration, and what of it could not be read."""

    servers: list[Server]
    unread: list[str]


def read(settings: Nginx) -> Users:
    """Read the servers of main_conf. A container's configuration may not be on this machine: then there are none."""
    reader = _Reader(settings)
    if settings.container and not os.path.exists(settings.main_conf):
        return Users([], [])
    top = reader.read_file(settings.main_conf, ())
    return Users([_server(each, settings) for http in top if http.words == ["http"] for each in http.find("server")],
                 [*reader.unread])


def find_lua(settings: Nginx, needed: tuple[str, ...] = COUNTING_HOOKS) -> tuple[tuple[str, ...], str]:
    """List the modules that main_conf loads, and say why lictor has no use of Lua there; "": it has. The Lua module
    has to be one of them, and the `needed` hooks of http have to be left to lictor."""
    if settings.container and not os.path.exists(settings.main_conf):
        return (), f"{settings.main_conf} is not on this machine"
    top = _Reader(settings).read_file(settings.main_conf, ())
    modules = tuple(each.arguments[0] for each in top if each.words[:1] == ["load_module"] and each.arguments)
    hooks = sorted(each.words[0] for http in top if http.words == ["http"] for each in http.block or ()
                   if each.words and each.words[0].startswith(needed))
    if not any("ngx_http_lua_module" in each for each in modules):
        return modules, f"{settings.main_conf} loads no Lua module (ngx_http_lua_module)"
    return modules, f"http in {settings.main_conf} has {hooks[0]}, which lictor needs" if hooks else ""


def of_text(text: str) -> list[Server]:
    """Read a rendered file of servers; raises ValueError if it is none."""
    return [_server(each) for each in parser.directives(text)]


def require_no_clash(users: Iterable[Server], service: Mapping[str, Any], servers: Mapping[str, str]) -> None:
    """Raise Refused if the user's own configuration answers what a route asks for, of which nginx says nothing.
    `servers`: the rendered servers of the routes' hosts."""
    for key, route in keyed([] if service["removed"] else service["routes"]):
        if why := explain_clash(users, route, of_text(servers.get(route["host"], ""))):
            raise errors.Refused(blame(key, f"{why}, and not by this service; take that away, or have another route"))


def explain_clash(users: Iterable[Server], route: Mapping[str, Any], own: Iterable[Server]) -> str:
    """Say which of the user's servers or locations answers what this route asks for; "" if none does. `own`: the
    servers of the route's host."""
    return next(_host_clashes(users, own), "") if route["host"] else _path_clash(users, route)


def _host_clashes(users: Iterable[Server], own: Iterable[Server]) -> Iterator[str]:
    for server in users:
        for each in own:
            names = server.names & each.names
            if names and any(_takes_from(one, other) for one in server.listeners for other in each.listeners):
                yield f"host {min(names)} is answered by the server in {server.place}"
            if server.defaults & each.defaults:
                yield f"host {min(each.names)} is answered by the default_server in {server.place}"


def _path_clash(users: Iterable[Server], route: Mapping[str, Any]) -> str:
    path, match = route["path"], route["match"]
    including = [each for each in users if each.has_lictors]
    for location in (location for server in including for location in server.locations):
        if _takes(location.arguments, path, match):
            return f"path {path} is answered by {' '.join(location.words)[:100]} in {location.place}"
    answers = [_answer(each.redirects, path, match) for each in including]
    return f"path {path} is answered by {answers[0]}" if answers and all(answers) else ""


def _answer(redirects: Iterable[Directive], path: str, match: str) -> str:
    """Say what answers all below a path, though a location is there; "" if nothing does."""
    for each in redirects:
        pattern = [*each.arguments, "/"][0]
        if each.words[0] == "return" or _takes(["~", pattern], path, match):
            return f"{' '.join(each.words)[:100]} in {each.place}"
    return ""


def explain_forgotten(settings: Nginx, users: Users, names: Sequence[str]) -> str:
    """Say that no server includes the locations of these services, which have no host; "" if one does, or may."""
    if not names or users.unread or not users.servers or any(each.asks_lictors for each in users.servers):
        return ""
    return (f"no server in {settings.main_conf} includes {settings.conf_dir}/locations/*.conf, so nobody is asked for "
            f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}. Include them "
            "in the server that users ask, and reload nginx")


def listeners(settings: Nginx, users: Iterable[Server]) -> set[Listener]:
    """List where this nginx listens, by the user's servers and lictor's."""
    servers = [*users]
    for path in glob.iglob(os.path.join(glob.escape(settings.conf_dir), "servers", "*.conf")):
        with contextlib.suppress(OSError, ValueError):
            servers += of_text(files.read(path) or "")
    return {each for server in servers for each in server.listeners} | _published(settings)


def _published(settings: Nginx) -> set[Listener]:
    """List where the container of nginx is reached on this node."""
    if not settings.container:
        return set()
    from lictor.adapters import docker  # few nginx are in a container

    try:
        ports = (docker.connect().inspect(settings.container) or {})["NetworkSettings"]["Ports"] or {}
        return {(_EVERYWHERE.get(each["HostIp"], each["HostIp"]), int(each["HostPort"]))
                for bindings in ports.values() for each in bindings or ()}
    except (errors.LictorError, KeyError, ValueError):
        return set()


def listeners_to_come(settings: Settings, *, tls: bool) -> set[Listener]:
    """List where the server of a first host will listen, if it is made by lictor's own template."""
    own = settings.templates_dir and os.path.exists(os.path.join(settings.templates_dir, "server.conf.j2"))
    return set() if own else {(address, port) for address in ("", "::") for port in ((80, 443) if tls else (80,))}


def require_names(settings: Nginx, names: Collection[str]) -> None:
    """Raise Refused if nginx warns that a server of the user's has one of these names, too: it would ignore ours."""
    for warning in nginx.validate(settings, settings.main_conf) if names else ():
        match = _CONFLICT.match(warning)
        if match and match[1] in names:
            raise errors.Refused(f"host {match[1]} has another server in {settings.main_conf}, or in what it includes: "
                                 f"nginx says {warning!r}")


class _Reader:
    """Reads a file with all that it includes in the places of the `include`s; lictor's own files are left out."""

    def __init__(self, settings: Nginx) -> None:
        self.unread: dict[str, None] = {}  # in order, and once each: many servers may include one file
        self._main_conf, self._files_left = settings.main_conf, _MOST_FILES
        self._own = os.path.join(os.path.normpath(settings.conf_dir), "")

    def read_file(self, path: str, including: tuple[str, ...]) -> list[Directive]:
        """Read a file, which the files `including` include; a file that cannot be read holds nothing."""
        self._files_left -= 1
        try:
            if path in including:
                raise ValueError(f"it includes itself, by {including[-1]}")
            if self._files_left < 0 or os.path.getsize(path) > _LONGEST_BYTES:
                raise ValueError(f"there are more than {_MOST_FILES} files, or it has more than {_LONGEST_BYTES} bytes")
            return self._expand(parser.directives(files.read(path) or "", path), (*including, path))
        except (OSError, ValueError, RecursionError) as error:
            if self._files_left >= -1:
                self._note_unread(path, error.strerror if isinstance(error, OSError) else str(error))
            return []

    def _note_unread(self, path: str, why: str | None) -> None:
        self.unread[f"unread: {path}: {why}. No host and no path of it is compared with those of routes"] = None

    def _expand(self, directives: Iterable[Directive], including: tuple[str, ...]) -> list[Directive]:
        found: list[Directive] = []
        for each in directives:
            if each.words[:1] == ["include"] and len(each.words) == 2:
                found += self._included(each, including)
            else:
                found.append(each if each.block is None else each._replace(block=self._expand(each.block, including)))
        return found

    def _included(self, include: Directive, including: tuple[str, ...]) -> list[Directive]:
        pattern = os.path.normpath(os.path.join(os.path.dirname(self._main_conf), include.arguments[0]))
        if pattern.startswith(self._own):
            return [include._replace(words=["include", pattern])]
        paths, folder = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern], os.path.dirname(pattern)
        if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):  # glob finds nothing
            self._note_unread(folder, "Permission denied")
        found: list[Directive] = []
        for path in paths:
            found += [include._replace(words=["include", path])] if path.startswith(self._own) else self.read_file(
                path, including)
        return found


def _server(server: Directive, settings: Nginx | None = None) -> Server:
    listens = [(listener, each.arguments) for each in server.find("listen") for listener in _listeners(each.arguments)]
    includes = [path for each in server.find("include") for path in each.arguments]  # of lictor's own files
    conf_dir = os.path.normpath(settings.conf_dir) if settings else ""
    return Server({name for each in server.find("server_name") for text in each.arguments for name in _names(text)},
                  {listener for listener, _ in listens} if server.find("listen") else {("", 80)},
                  {listener for listener, arguments in listens if _DEFAULT & {*arguments}}, server.find("location"),
                  any(path.startswith(f"{conf_dir}/locations/") for path in includes),
                  [*server.find("return"), *filter(_is_redirect, server.find("rewrite"))],
                  _asks(server, conf_dir), server.place)


def _asks(block: Directive, conf_dir: str) -> bool:
    """Decide whether anything of lictor's is included in a block, or an upstream of lictor's is named."""
    return any(each.words[:1] == ["include"] and each.words[-1].startswith(f"{conf_dir}/")
               and each.words[-1] != f"{conf_dir}/lictor.conf" or "://lictor_" in " ".join(each.words)
               or _asks(each, conf_dir) for each in block.block or ())


def _is_redirect(rewrite: Directive) -> bool:
    """Decide whether a `rewrite` answers, and does not only change the path."""
    _, replacement, *flag = [*rewrite.arguments, "", ""][:3]
    return flag in (["redirect"], ["permanent"]) or replacement.startswith(("http://", "https://", "$scheme"))


def _names(text: str) -> list[str]:
    """Read one of the names behind `server_name` as nginx does: in lower case, and .example.com is two names."""
    name = text if text.startswith("~") else text.lower()
    if name == "$hostname":
        return [socket.gethostname().lower()]
    return [name[1:], f"*{name}"] if name.startswith(".") else [name]


def _listeners(arguments: list[str]) -> list[Listener]:
    """Read what follows `listen`, be it a range of ports; [] for a unix socket."""
    match = _LISTEN.fullmatch("".join(arguments[:1]))
    if not match:
        return []
    address, first = _address((match["address"] or "*").strip("[]")), int(match["port"] or 80)
    ports = [port for port in range(first, min(int(match["last"] or first), _PORTS[-1]) + 1) if port in _PORTS]
    is_both = address == "::" and "ipv6only=off" in arguments
    return [(each, port) for each in (address, *[""] * is_both) for port in ports]


def _address(text: str) -> str:
    """Bring an address into the form that the catalogue's have: 127.1 and 2130706433 are 127.0.0.1, too."""
    with contextlib.suppress(OSError):
        if ":" in text:
            return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text))
        text = socket.inet_ntoa(socket.inet_aton(text))
    return _EVERYWHERE.get(text, text)


def _takes_from(users: Listener, own: Listener) -> bool:
    """Decide whether a server that listens there is asked where `own` listens: it is if it names one of the addresses
    of all. A server on loopback alone is no client's."""
    address, port = users
    is_one_of_all = own[0] == ("::" if ":" in address else "") and not (address.startswith("127.") or address == "::1")
    return users == own or port == own[1] and is_one_of_all


def _takes(location: list[str], path: str, match: str) -> bool:
    """Whether nginx asks this location of the user's for what is below the path, though lictor's is there too. If both
    are the very same, nginx itself refuses them."""
    if match == EXACT:
        return False
    *modifier, text = location
    if modifier in ([], ["^~"]):
        return text == path != "/"
    if modifier not in (["~"], ["~*"]):
        return False
    below = path.rstrip("/")
    try:
        pattern = re.compile(_GROUP.sub("(?P<", text), re.IGNORECASE if modifier == ["~*"] else 0)
        return all(pattern.search(f"{below}{some}") for some in ("/", "/x", "/lictor/7"))
    except re.error:  # PCRE has more than Python
        return False
