"""The route of a service: the requests that nginx passes to it, and how. Pure."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from lictor.spec.locations import ANY_HOST, MATCHES, explain_own_clash, is_alias, is_host, is_path
from lictor.spec.plain_tables import require_networks, require_one_of
from lictor.spec.quantities import Duration, Memory

MOST_ROUTES = 20  # of one service
_MOST_ALIASES = 50
_MOST_OPTIONS = 50  # of one list or table
HEADER = re.compile("[A-Za-z][A-Za-z0-9-]{0,63}", re.ASCII)
# Text for nginx stands in quotes; in these it has no way to write a $ that begins no variable.
VALUE = re.compile(r"[ !#%-\[\]-~]{0,2000}", re.ASCII)
TLS = (True, False, "redirect")
_SHARED = ("scheme", "server_name", "insecure", "sticky")  # of all routes of a service
SCHEMES = ("http", "https", "grpc")
COOKIE = re.compile("[A-Za-z0-9_]{1,64}", re.ASCII)  # of the names of cookies those that nginx has a variable for
_FLAGS = ("true", "false", "yes", "no", "on", "off")
SETTING = re.compile("[a-z][a-z0-9_]{0,63}", re.ASCII)
SETTING_VALUE = re.compile("[A-Za-z0-9 ._~:/@,=+*%-]{0,200}", re.ASCII)  # a template may have it without quotes
# Headers that say where a message ends or whose it is, and those that nginx itself sets for lictor.
_OWN_HEADERS = re.compile(
    "connection|content-length|expect|forwarded|front-end-https|host|keep-alive|lictor-.*|proxy.*|te|trailer|"
    "transfer-encoding|upgrade|x-forwarded-.*|x-original-.*|x-real-ip|x-rewrite-url")
RESPONSE_HEADERS = (
    "Access-Control-Allow-Credentials", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Max-Age", "Cache-Control",
    "Content-Security-Policy", "Content-Security-Policy-Report-Only", "Cross-Origin-Embedder-Policy",
    "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Permissions-Policy", "Referrer-Policy",
    "Strict-Transport-Security", "Timing-Allow-Origin", "Vary", "X-Content-Type-Options", "X-Frame-Options",
    "X-Permitted-Cross-Domain-Policies", "X-Powered-By", "X-Robots-Tag", "X-XSS-Protection")
# What people write where a host stands, and what helps, the most telling one first.
_MISTAKES = (
    (r"\s|[\x00-\x1f]", "without white space"),
    (r"[a-z+]+://", "without http:// before it"),
    (r"~", "not a regular expression"),
    (r"[/?#@]", "without a path, which has its own key"),
    (r"\]?:\d*\Z", "without a port: where nginx listens is no matter of the route"),
    (r"[^\x00-\x7f]", "in ASCII, as xn--..., which is how browsers ask for it"),
    (r"\*", "without *; aliases may hold such as *.example.com or www.example.*"),
    (r"\A\.", "without a dot before it; aliases may hold such as *.example.com"),
    (r"\.\Z", "without the dot at its end"),
    (r"\.\.", "with a single dot between its parts"),
    (r"[A-Z]", "in lower case"),
    (r"(?:\A|\.)-|-(?:\.|\Z)", "without - at the begin or end of a part"),
    (r"[^.]{64}", "of parts with at most 63 characters"),
    (r".{201}", "with at most 200 characters"),
)


class Route(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The requests that nginx passes to the service."""

    SHORT: ClassVar[str] = "a path, or "
    path: str
    host: str = ""
    match: str = MATCHES[0]
    aliases: list[str] = []
    scheme: str = SCHEMES[0]  # by which an instance is asked
    server_name: str = ""  # which an instance's certificate has to have; "": the host
    insecure: bool = False  # any certificate of an instance is taken
    sticky: str = ""  # the cookie by which a client's requests go to one instance
    strip: bool = False  # the path is taken off before the request is passed on
    timeout: Duration | None = None  # how long an instance may be silent; None: as nginx has it
    max_body: Memory | None = None  # of a request; 0: any. None: as nginx has it
    wait: Duration | None = None  # at most so long for an instance that serves; None: not at all
    allow: list[str] = []  # addresses and networks of clients; []: all of them
    request_headers: dict[str, str] = {}  # "": such a header of the client's is dropped
    response_headers: dict[str, str] = {}  # "": such a header of the instance's is dropped
    settings: dict[str, str] = {}  # for templates of the user's
    tls: bool | str = False  # the host is served by TLS too; "redirect": plain requests are sent on to it

    def __post_init__(self) -> None:
        if not is_path(self.path):
            raise ValueError(f"path is {self.path[:100]!r}; it must begin with a slash and hold only letters, digits "
                             "and ._~- between slashes")
        if self.path.split("/")[1] == ".well-known":
            raise ValueError(f"path is {self.path[:100]!r}; it must not be in /.well-known, as certificates are given "
                             "to whoever answers there")
        require_one_of("match", self.match, MATCHES)
        require_one_of("scheme", self.scheme, SCHEMES)
        if self.host and not is_host(self.host):
            raise ValueError(f"host is {self.host[:100]!r}; it must be a host name, {_hint(self.host)}")
        if self.aliases and self.host in ("", ANY_HOST):
            raise ValueError(f"aliases holds {self.aliases[0][:100]!r}; it must be empty without a named host")
        if len(self.aliases) > _MOST_ALIASES:
            raise ValueError(f"aliases holds {len(self.aliases)}; it must be at most {_MOST_ALIASES}")
        for each in self.aliases:
            if not is_alias(each):
                raise ValueError(f"aliases holds {each[:100]!r}; it must be a host name, {_hint(each)}")
        self._check_tls()
        require_options(self.options)

    def _check_tls(self) -> None:
        """Take a file's flag, which is a text, for what it says; raise ValueError for any other text."""
        given = {"true": True, "false": False}.get(str(self.tls).lower(), self.tls)
        if given not in TLS:
            raise ValueError(f"tls is {str(given)[:100]!r}; it must be true, false or redirect")
        if given and self.host in ("", ANY_HOST):
            raise ValueError(f"tls is {str(given).lower()}; it must be false without a named host: your own server "
                             "block speaks TLS then")
        msgspec.structs.force_setattr(self, "tls", given)

    @property
    def table(self) -> dict[str, Any]:
        """Its entry in routes/NAME.json."""
        return {"path": self.path, "host": self.host, "match": self.match, "aliases": self.aliases,
                "options": self.options}

    @property
    def tls_name(self) -> str:
        """The name that an instance is asked for by TLS, and whose certificate it has to have; "": none."""
        is_host = self.scheme == "https" and _is_server_name(self.host)
        return self.server_name or (self.host if is_host else "")

    @property
    def options(self) -> dict[str, Any]:
        """Options of how requests are passed on, ready for JSON; {}: all of it is as usual."""
        networks = []
        for each in self.allow:
            try:
                networks.append(str(ipaddress.ip_network(each, strict=False)))
            except ValueError:  # `require_options` says so
                networks.append(each)
        scheme = "" if self.scheme == SCHEMES[0] else self.scheme
        amounts = {"timeout": self.timeout, "max_body": self.max_body, "wait": self.wait}
        others = {"scheme": scheme, "server_name": self.tls_name, "insecure": self.insecure, "sticky": self.sticky,
                  "strip": self.strip, "allow": networks, "request_headers": self.request_headers,
                  "response_headers": self.response_headers, "settings": self.settings, "tls": self.tls}
        return {**{key: value for key, value in amounts.items() if value is not None},
                **{key: value for key, value in others.items() if value}}


def list_routes(given: Route | list[Route] | None) -> list[Route]:
    """List the routes of a service, a single one of which may stand without a list."""
    return [given] if isinstance(given, Route) else given or []


def check_routes(given: Route | list[Route] | None) -> None:
    """Raise ValueError for a list of no routes or too many, and for routes that claim the same."""
    if isinstance(given, list) and not 1 <= len(given) <= MOST_ROUTES:
        raise ValueError(f"route holds {len(given)}; it must be within 1..{MOST_ROUTES}")
    _require_shared(list_routes(given))
    if clash := explain_own_clash([each.table for each in list_routes(given)]):
        raise ValueError(clash)


def _require_shared(routes: Sequence[Route]) -> None:
    """Raise ValueError for routes of one service that ask its instances otherwise, as they share one upstream."""
    for key in _SHARED:
        values = {repr(each.tls_name if key == "server_name" else getattr(each, key)): None for each in routes}
        if len(values) > 1:
            raise ValueError(f"route has the {key} {' and '.join(values)[:200]}; all routes of a service must have the "
                             "same, as they share one upstream of nginx's")


def require_options(options: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the key, for an option that must not reach a configuration of nginx's."""
    for key in ("allow", "request_headers", "response_headers", "settings"):
        if len(given := options.get(key) or ()) > _MOST_OPTIONS:
            raise ValueError(f"{key} holds {len(given)}; it must be at most {_MOST_OPTIONS}")
    _require_scheme(options)
    _require_sticky(options.get("sticky"), options)
    require_networks("allow", options.get("allow") or ())
    for name, value in (options.get("settings") or {}).items():
        if not SETTING.fullmatch(name):
            raise ValueError(f"settings holds {name[:100]!r}; its keys must be of a-z, 0-9 and _, such as hash_key")
        if not SETTING_VALUE.fullmatch(value):
            raise ValueError(f"settings.{name} is {value[:100]!r}; it must be at most 200 letters, digits, spaces and "
                             "._~:/@,=+*%-")
    for key in ("request_headers", "response_headers"):
        names = [name.lower() for name in options.get(key) or ()]
        if len({*names}) < len(names):
            raise ValueError(f"{key} holds a name twice, in other letters: {', '.join(sorted(names))[:100]}")
        for name, value in (options.get(key) or {}).items():
            _require_header(key, name, value)


def _require_scheme(options: Mapping[str, Any]) -> None:
    scheme, name, insecure = options.get("scheme", SCHEMES[0]), options.get("server_name"), options.get("insecure")
    require_one_of("scheme", scheme, SCHEMES)
    if name and not _is_server_name(name):
        raise ValueError(f"server_name is {name[:100]!r}; it must be a host name in lower case, such as "
                         "books.internal, and no address, as nginx verifies names only")
    if scheme != "https" and (name or insecure):
        raise ValueError(f"{'server_name' if name else 'insecure'} is for scheme https, and scheme is {scheme}")
    if scheme == "https" and not (name or insecure):
        raise ValueError("server_name is missing; with scheme https and without a named host it must be the name in "
                         "the instances' certificate, as they are asked by address. insecure: true takes any "
                         "certificate")
    if scheme == "grpc" and options.get("wait") is not None:
        raise ValueError(f"wait is {options['wait']:g}s; with scheme grpc it must be left out, as a stream that has "
                         "begun cannot be sent again")
    if scheme == "grpc" and options.get("strip"):
        raise ValueError("strip is true; with scheme grpc it must be false, as the path names the method")


def _require_sticky(cookie: Any, options: Mapping[str, Any]) -> None:
    if cookie and (not COOKIE.fullmatch(cookie) or cookie.lower() in _FLAGS):
        raise ValueError(f"sticky is {cookie[:100]!r}; it must be the name of a cookie, of at most 64 letters, digits "
                         "and _, such as SHOP")
    if cookie and options.get("scheme") == "grpc":
        raise ValueError(f"sticky is {cookie!r}; with scheme grpc it must be empty, as clients of gRPC keep no cookies")


def _is_server_name(text: str) -> bool:
    """Tell whether it is a host's name, and neither its address nor _."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return text != ANY_HOST and is_host(text)
    return False


def _require_header(key: str, name: str, value: str) -> None:
    if key == "request_headers" and (not HEADER.fullmatch(name) or _OWN_HEADERS.fullmatch(name.lower())):
        raise ValueError(f"request_headers holds {name[:100]!r}; it must be a header's name, and none that nginx sets "
                         "or ends a message by, such as Host or X-Forwarded-For")
    if key == "response_headers" and name not in RESPONSE_HEADERS:
        raise ValueError(f"response_headers holds {name[:100]!r}; it must be one of {', '.join(RESPONSE_HEADERS)}")
    if not VALUE.fullmatch(value):
        raise ValueError(f"{key}.{name} is {value[:100]!r}; it must be ASCII without control characters, quotes (\"), "
                         "$ and backslashes, and at most 2000 characters")


def parse_label(text: str) -> Route:
    """Parse PATH or HOST/PATH, as the label of a container has it; raises ValueError saying what is allowed."""
    host, slash, path = text.partition("/")
    if not slash or "://" in text:
        raise ValueError(f"route is {text[:100]!r}; it must be a path such as /shop, or a host before it, as in "
                         "shop.example.com/shop")
    return Route(f"/{path}", host)


def _hint(text: str) -> str:
    return next((hint for pattern, hint in _MISTAKES if re.search(pattern, text)), "of letters, digits, - and _")
