"""This node's build of nginx, as far as TLS is a matter of its version and modules."""

import functools
import re
from typing import NamedTuple

from lictor import errors
from lictor.adapters import files
from lictor.routing import nginx
from lictor.spec.settings import Nginx

_VERSION = re.compile(r"version: [^/\s]+/(\d+)\.(\d+)\.(\d+)", re.ASCII)
_HTTP2_IS_A_DIRECTIVE = (1, 25, 1)  # before, it is a word behind `listen`, of which later ones warn
_CAN_REJECT = (1, 19, 4)


class Build(NamedTuple):
    """The way to HTTP/2, and whether a handshake for an unknown host can be rejected."""

    http2: str  # "listen": a word behind it; "directive"; "": without the module
    rejects: bool


def read(settings: Nginx) -> Build:
    """Ask nginx; raises Refused if it has no TLS, Unavailable if it does not say."""
    changed_ns = 0 if settings.container else files.modified_ns(settings.binary)
    return _read(settings, changed_ns)


@functools.lru_cache(maxsize=2)  # a resident asks once
def _read(settings: Nginx, _changed_ns: int) -> Build:
    return parse(nginx.describe_build(settings))


def parse(text: str) -> Build:
    """Read what `nginx -V` prints; raises Refused if it was built without TLS, Unavailable if that is not told."""
    found = _VERSION.search(text)
    if not found:
        raise errors.Unavailable(f"nginx does not tell its version: {text[:100]!r}")
    if "--with-http_ssl_module" not in text:
        raise errors.Refused("nginx was built without TLS (--with-http_ssl_module)")
    version = tuple(map(int, found.groups()))
    way = "directive" if version >= _HTTP2_IS_A_DIRECTIVE else "listen"
    return Build(way if "--with-http_v2_module" in text else "", version >= _CAN_REJECT)
