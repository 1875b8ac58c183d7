"""The route of a service: the requests that nginx passes to it. Pure."""

import re
from typing import ClassVar

import msgspec

from lictor.spec.locations import ANY_HOST, MATCHES, is_alias, is_host, is_path
from lictor.spec.plain_tables import require_one_of

_MOST_ALIASES = 50
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

    def __post_init__(self) -> None:
        if not is_path(self.path):
            raise ValueError(f"path is {self.path[:100]!r}; it must begin with a slash and hold only letters, digits "
                             "and ._~- between slashes")
        if self.path.split("/")[1] == ".well-known":
            raise ValueError(f"path is {self.path[:100]!r}; it must not be in /.well-known, as certificates are given "
                             "to whoever answers there")
        require_one_of("match", self.match, MATCHES)
        if self.host and not is_host(self.host):
            raise ValueError(f"host is {self.host[:100]!r}; it must be a host name, {_hint(self.host)}")
        if self.aliases and self.host in ("", ANY_HOST):
            raise ValueError(f"aliases holds {self.aliases[0][:100]!r}; it must be empty without a named host")
        if len(self.aliases) > _MOST_ALIASES:
            raise ValueError(f"aliases holds {len(self.aliases)}; it must be at most {_MOST_ALIASES}")
        for each in self.aliases:
            if not is_alias(each):
                raise ValueError(f"aliases holds {each[:100]!r}; it must be a host name, {_hint(each)}")


def parse_label(text: str) -> Route:
    """Parse PATH or HOST/PATH, as the label of a container has it; raises ValueError saying what is allowed."""
    host, slash, path = text.partition("/")
    if not slash or "://" in text:
        raise ValueError(f"route is {text[:100]!r}; it must be a path such as /shop, or a host before it, as in "
                         "shop.example.com/shop")
    return Route(f"/{path}", host)


def _hint(text: str) -> str:
    return next((hint for pattern, hint in _MISTAKES if re.search(pattern, text)), "of letters, digits, - and _")
