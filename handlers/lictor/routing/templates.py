"""Templates of nginx's configuration, which users may override; and a second look at the text that they give, because
nginx itself accepts whatever a hostile value would smuggle in."""

import functools
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jinja2

from lictor import errors, model
from lictor.adapters import files
from lictor.routing.conf import options as route_options
from lictor.routing.conf import parser, peer_files, service_files
from lictor.routing.conf.service_files import Measured
from lictor.routing.traffic.counts import LOG_FORMAT
from lictor.spec.locations import EXACT, is_alias, is_host, is_path, locations
from lictor.spec.settings import Nginx

if TYPE_CHECKING:
    from lictor.routing.tls.hosts import Tls

HEADER = peer_files.MARK + ", and written anew without asking; what it says is decided by templates/{template}.\n"

_METHODS = {"zone", "least_conn", "ip_hash", "hash", "random"}  # by which nginx itself chooses a server
_BALANCING = _METHODS | {"keepalive", "keepalive_requests", "keepalive_time", "keepalive_timeout"}
# Headers in which proxies describe a request that they pass on. Only those of the setting trusted_proxies are believed.
_FORWARDED = (  # some applications believe X-Original-URL more than the path, and so leave their route by it
    "Forwarded", "Front-End-Https", "X-Original-URL", "X-Original-Host", "X-Rewrite-URL", *(
        f"X-Forwarded-{each}" for each in ("Host", "Port", "Prefix", "Protocol", "Scheme", "Server", "Ssl")))


_DUMP_PATH = "traffic/socket.conf"
_DUMP = peer_files.MARK + ".\nlocation = /traffic { content_by_lua_block { package.loaded.lictor_traffic.dump(); } }\n"
_LOG = peer_files.MARK + """, for servers with an access_log of their own.
access_log {conf_dir}/traffic/access.log lictor_traffic buffer=64k flush=1s if=$lictor_counts;
"""
_LEAST_MIB, _SERVICES_A_MIB = 4, 12  # a service has nine slots at a time, and the fullest one takes 8 KiB
_HAS_IPV6 = os.path.exists("/proc/net/if_inet6")  # else nginx could not start where it has to listen on it


class Templates:
    """The templates in force: those in the user's folder, else those that came with lictor."""

    def __init__(self, folder: str = "", *, live: bool = False, trusted_proxies: Sequence[str] = (),
                 trusted_ca: str = Nginx().trusted_ca, acme_webroot: str = "", ipv6: bool = _HAS_IPV6,
                 lua_modules: Sequence[str] | None = None) -> None:
        """`lua_modules`: what nginx loads so that requests can be counted in Lua; None: they are logged instead."""
        self.live, self._folder = live, folder
        self.lua = lua_modules is not None
        self._counting: tuple[tuple[str, Measured], str] = ("", ()), ""
        ours = jinja2.PackageLoader("lictor.routing", "default_templates")  # in a checkout a link to templates/
        users = [jinja2.FileSystemLoader(folder)] if folder else []
        self._environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader([*users, ours, jinja2.PrefixLoader({"shipped": ours})]),  # to be extended
            undefined=jinja2.StrictUndefined,
            trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
        self._environment.globals.update(live=live, ipv6=ipv6, trusted_proxies=trusted_proxies, forwarded=_FORWARDED,
                                         lua=self.lua, modules=lua_modules or (), trusted_ca=trusted_ca,
                                         acme_webroot=acme_webroot)

    def text(self, template: str, **values: Any) -> str:
        """Render a file of nginx's, with a header; raises Refused, naming the template, when it can't be rendered."""
        return HEADER.format(template=template) + self.render(template, **values)

    def render(self, template: str, **values: Any) -> str:
        """Render just what the template says; raises Refused, naming the template, when it can't be rendered."""
        try:
            return self._environment.get_template(template).render(**values)
        except errors.Refused as error:
            raise errors.Refused(f"templates/{template}: {error}") from error
        except Exception as error:  # whatever a template of the user's does is that one's failure
            raise errors.Refused(f"templates/{template}: {type(error).__name__}: {error}") from error

    def shared(self, conf_dir: str) -> dict[str, str]:
        """Render the files that all services need; by path below conf_dir."""
        names = ["lictor.conf", "live.lua"] if self.live else ["lictor.conf"]
        return {name: self.text(f"{name}.j2", conf_dir=conf_dir) for name in names}

    def traffic(self, conf_dir: str, measured: Measured) -> dict[str, str | None]:
        """Render what counts the requests of the measured services, each with the paths that it ignores, by path below
        conf_dir; None: the file has to go."""
        sound = tuple((name, paths) for name, paths in measured if model.is_name(name) and all(map(is_path, paths)))
        if not sound:
            return dict.fromkeys((service_files.COUNTS, service_files.LOG, _DUMP_PATH))
        if self._counting[0] != (conf_dir, sound):  # it is the same for each of the services
            self._counting = (conf_dir, sound), self.text("traffic.conf.j2", conf_dir=conf_dir, measured=sound,
                                                          log_format=LOG_FORMAT, dictionary_mib=_mib_for(len(sound)))
        return {service_files.LOG: None if self.lua else _LOG.format(conf_dir=conf_dir),
                service_files.COUNTS: self._counting[1], _DUMP_PATH: _DUMP if self.lua else None}

    def upstream(self, name: str, conf_dir: str, options: Sequence[Mapping[str, Any]] = ()) -> str:
        """Render upstreams/lictor_NAME.conf, given the options of each of its routes; raises Refused if it has other
        servers than the file of its peers."""
        if not model.is_name(name):
            raise errors.Refused(f"upstream {name[:100]!r} must not reach a configuration")
        path = service_files.peers_path(conf_dir, name)
        sticky = next((each["sticky"] for each in options if each.get("sticky")), "")  # all have the same
        expected, servers = [["include", path]], "include {{ peers_file }};"
        if self.live:
            expected, servers = _servers_of_live(name, sticky)
        rule = f"for {name} it must give one upstream lictor_{name} with `{servers}`"
        try:
            text = self.text("upstream.conf.j2", name=name, peers_file=path, sticky=sticky,
                             settings=route_options.Shared(each.get("settings", {}) for each in options))
        except errors.Refused as error:
            raise errors.Refused(f"{error}; {rule}") from error
        (head, directives), *more = _blocks(text, "upstream.conf.j2", only=["upstream"])
        found = [words for words in directives if words[0] not in _BALANCING]
        if more or head != ["upstream", f"lictor_{name}"] or sorted(found) != sorted(expected):
            raise errors.Refused(f"templates/upstream.conf.j2: {rule}, and only directives of balancing and keepalive "
                                 f"beside; it gives {' '.join(head)} with {[' '.join(words) for words in found]}")
        if self.live:
            _require_no_method(directives)
        elif sticky:
            _require_hash(directives)
        return text

    def location(self, name: str, path: str, match: str, conf_dir: str, ignored: Sequence[str] | None = None,
                 options: Mapping[str, Any] = {}, *, by_side: bool = False) -> str:
        """Render the locations that nginx takes requests at; raises Refused for a hostile path, or another location.

        `ignored`: paths whose requests are not counted; None: the service is not measured. `options` are the route's.
        `by_side`: they count once more, for the side that they ask first; a file names the canary's peers.
        """
        for each in [path, *(ignored or ())]:
            if not is_path(each):
                raise errors.Refused(f"path {each[:100]!r} must not reach a configuration")
        places = locations(path, match)
        again = f"@lictor_wait_{name}.{zlib.crc32(places[0].encode()):08x}"  # a server may have several of a service
        empty_file, canary_file = _make_patterns(conf_dir, name, by_side=by_side)
        variables = route_options.make_variables(options)
        text = self.text("location.conf.j2", name=name, path=path, locations=places, empty_file=empty_file,
                         ignored=ignored, again=again, canary_file=canary_file, **variables)
        blocks = _blocks(text, "location.conf.j2", only=["location"])
        route_options.require_rendered(variables, [directives for head, directives in blocks if head[-1] != again])
        route_options.require_rendered(  # Lua takes the path off there
            {**variables, "strip": False}, [directives for head, directives in blocks if head[-1] == again])
        self._require_reader(options)
        self._require_wait(name, variables["wait"], text)
        _require_included(canary_file, text)
        for head, _ in blocks:
            is_at_path = head[1:] == ["=", path] if match == EXACT else head[-1] in (path, places[-1])
            if not is_at_path and head[1:] != [again]:
                raise errors.Refused(f"templates/location.conf.j2: location {' '.join(head[1:])} is not at "
                                     f"{' or '.join(places)}")
        if self.live and f"://lictor_{name}" in text and "lictor.leave()" not in text:
            raise errors.Refused("templates/location.conf.j2: in live mode it needs what the one that came with lictor "
                                 "has for that, log_by_lua_block { lictor.leave(); } above all")
        return text

    def _require_wait(self, name: str, wait: float | None, text: str) -> None:
        """Raise Refused for a wait that nobody would carry out."""
        if wait is None:
            return
        if not self.live:
            raise errors.Refused(f"route.wait is {wait:g}s; it must be left out while this node's nginx is in mode "
                                 "reload, as only mode live lets requests wait")
        if text.count(f'lictor.wait("{name}"') < 2:
            raise errors.Refused("templates/location.conf.j2: route.wait is given, and it does not call lictor.wait. "
                                 "The template that came with lictor shows where that stands")

    def _require_reader(self, options: Mapping[str, Any]) -> None:
        """Raise Refused for settings that no template reads: those that came with lictor have no use for any."""
        if not options.get("settings"):
            return
        own = [os.path.join(self._folder or "/", each) for each in ("location.conf.j2", "upstream.conf.j2")]
        if not any("settings" in (files.read(path) or "") for path in own):
            raise errors.Refused("route.settings are for a template of yours, and neither "
                                 f"{' nor '.join(own)} has them")

    def server(self, host: str, aliases: Sequence[str], folder: str, tls: "Tls | None" = None, *,
               is_grpc: bool = False) -> str:
        """Render the server of a host, which includes the locations in `folder`; raises Refused for a hostile host, for
        a template without the TLS that is asked for, and for one that takes no calls of gRPC although it should."""
        if not (is_host(host) and all(map(is_alias, aliases))):
            raise errors.Refused(f"host {' '.join([host, *aliases])[:100]!r} must not reach a configuration")
        text = self.text("server.conf.j2", host=host, aliases=aliases, folder=folder, tls=tls)
        blocks = _blocks(text, "server.conf.j2", only=["server"])
        names = [words for _, directives in blocks for words in directives if words[0] == "server_name"]
        if not {word for words in names for word in words}.issuperset(aliases):
            raise errors.Refused("templates/server.conf.j2: it must give the `aliases` of the host to a server_name")
        words = [each for _, directives in blocks for each in directives]
        if tls:
            _require_tls(words, redirects=tls.redirects)
        if is_grpc and not any("http2" in each for each in words):
            raise errors.Refused(f"route.scheme is grpc, and the server of {host} takes no HTTP/2, by which clients of "
                                 "gRPC ask. It needs `tls: true`, or have the route without a host, in a server of "
                                 "yours that has http2")
        return text

    def default_server(self, tls: "Tls | None" = None) -> str | None:
        """Render the server for requests that name no host of lictor's; `tls`: that of any host, None if none has it.
        None if the user has an own template for the servers of hosts, which may listen elsewhere, and none for this
        one."""
        host, default = (self._folder and os.path.exists(os.path.join(self._folder, each))
                         for each in ("server.conf.j2", "default.conf.j2"))
        if host and not default:
            return None
        text = self.text("default.conf.j2", tls=tls)
        _blocks(text, "default.conf.j2", only=["server"])
        return text


@functools.lru_cache(maxsize=2)
def _templates(folder: str, live: bool, trusted_proxies: tuple[str, ...], trusted_ca: str, acme_webroot: str,
               lua_modules: tuple[str, ...] | None, _folder_ns: int) -> Templates:
    return Templates(folder, live=live, trusted_proxies=trusted_proxies, trusted_ca=trusted_ca,
                     acme_webroot=acme_webroot, lua_modules=lua_modules)


def templates(folder: str, nginx: Nginx, *, live: bool, lua_modules: tuple[str, ...] | None = None) -> Templates:
    """Return the Templates of the last call unless a file has come or gone since; an edited one is read again."""
    return _templates(folder, live, nginx.trusted_proxies, nginx.trusted_ca, nginx.acme_webroot, lua_modules,
                      files.modified_ns(folder))


def _make_patterns(conf_dir: str, name: str, *, by_side: bool) -> tuple[str, str]:
    """Make patterns of the files that are there while a service has no peer, and while it has a canary ("" unless
    `by_side`): to nginx it is no error if none matches. It reads the whole folder for each, which hardly has a file."""
    empty, canary = (f"{conf_dir}/{path[:-1]}[{path[-1]}]"
                     for path in (peer_files.empty_path(name), peer_files.canary_path(name)))
    return empty, canary if by_side else ""


def _require_included(canary_file: str, text: str) -> None:
    """Raise Refused for a location that does not count the requests to a canary apart, as it should."""
    if canary_file not in text:
        raise errors.Refused("templates/location.conf.j2: requests to a canary are counted apart, and it does not "
                             "include canary_file. The template that came with lictor shows where that stands")


def _require_tls(directives: Sequence[Sequence[str]], *, redirects: bool) -> None:
    """Raise Refused if the servers do not speak TLS, or do not send plain requests on: a template of the user's may be
    older."""
    listens = any(words[0] == "listen" and "ssl" in words for words in directives)
    if not (listens and {"ssl_certificate", "ssl_certificate_key"} <= {words[0] for words in directives}):
        raise errors.Refused("templates/server.conf.j2: route.tls is given, and no server has `listen ... ssl` with "
                             "ssl_certificate and ssl_certificate_key. The template that came with lictor shows them")
    if redirects and not any(words[0] == "return" and "https://" in words[-1] for words in directives):
        raise errors.Refused("templates/server.conf.j2: route.tls is redirect, and no server has `return ... https://`")


def _servers_of_live(name: str, sticky: str) -> tuple[list[list[str]], str]:
    """Return the servers of an upstream in live mode, as directives and as text. nginx wants one, and never asks it."""
    call = f'lictor.balance("{name}"{", ngx.var.lictor_sticky" if sticky else ""})'
    return ([["server", peer_files.NO_PEER], ["balancer_by_lua_block"], call.split()],
            f"server {peer_files.NO_PEER}; balancer_by_lua_block {{ {call}; }}")


def _require_no_method(directives: Iterable[Sequence[str]]) -> None:
    """Raise Refused for a directive by which nginx itself would choose a server, of an upstream in live mode."""
    ignored = sorted({words[0] for words in directives} & _METHODS)
    if ignored:
        raise errors.Refused(f"templates/upstream.conf.j2: live mode chooses the peer itself and would ignore "
                             f"{' and '.join(ignored)}; leave it out, or have mode reload in [nginx]")


def _require_hash(directives: Sequence[Sequence[str]]) -> None:
    """Raise Refused unless nginx chooses a server by the cookie, of an upstream in reload mode."""
    if ["hash", "$lictor_sticky", "consistent"] not in directives:
        raise errors.Refused("templates/upstream.conf.j2: route.sticky is given, and the upstream has no `hash "
                             "$lictor_sticky consistent`. The template that came with lictor shows where it stands")


def _mib_for(services: int) -> int:
    """Size nginx's dictionary of counts. It grows by doubling, as one of another size begins empty."""
    return max(_LEAST_MIB, 1 << (-(-services // _SERVICES_A_MIB) - 1).bit_length())


def _blocks(text: str, template: str, *, only: Iterable[str]) -> list[tuple[list[str], list[list[str]]]]:
    """Return the outermost blocks, each with its head and the directives inside; raises Refused for anything else."""
    blocks: list[tuple[list[str], list[list[str]]]] = []
    words: list[str] = []
    depth = 0
    for token in _tokens(text, template):
        if token not in "{};":
            words.append(token)
            continue
        is_in_place = bool(words) != (token == "}") and (depth or token == "{" and words[0] in only)
        if not is_in_place:
            raise errors.Refused(f"templates/{template}: stray {' '.join([*words, token])!r:.100}")
        if words and depth:
            blocks[-1][1].append(words)
        elif words:
            blocks.append((words, []))
        words, depth = [], depth + {"{": 1, ";": 0, "}": -1}[token]
    if depth or words or not blocks:
        raise errors.Refused(f"templates/{template}: it must give nothing but {' or '.join(only)} blocks, closed")
    return blocks


def _tokens(text: str, template: str) -> Iterator[str]:
    try:
        yield from (token for token, _ in parser.tokens(text))
    except ValueError as error:
        raise errors.Refused(f"templates/{template}: {error}") from error
