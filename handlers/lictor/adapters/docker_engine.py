"""One Docker engine: what it tells is read here, and what changes something goes by its SDK.

The SDK takes longer to load than most handlers take, and most only look. An engine on a unix socket is read without it.
To an engine elsewhere, with its certificates and proxies, the SDK knows the way.
"""

import contextlib
import json
import os
import re
import urllib.parse
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from lictor import errors
from lictor.adapters import http

DEFAULT_SOCKET = "/var/run/docker.sock"
_NOT_IMPLEMENTED = 501  # such as reading the log of a driver that keeps none
_NOTHING = (301, 404)  # 301: with such a name it would be another path
# Docker has status 500 for most that fails in a start: the words must tell.
_REFUSED_START = re.compile(r"unable to find (?:user|group) |failed to initialize logging driver: "
                            r"(?!.*(?:dial|connect|lookup|time ?out|EOF))")


class Engine:
    """The engine that DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH name, as `docker` does.

    Every method is told `what` it is for, which stands in the errors. They are those of `docker.Client`.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, *, timeout_s: int = 30) -> None:
        self._environ, self._timeout_s = environ, timeout_s
        self._api: Any = None  # the SDK's client, whose type stubs are too incomplete to help
        path = _socket_path(environ)
        self._endpoint = http.Endpoint("docker", 0, socket_path=path) if path else None
        self._prefix = ""  # of paths: the version of the API
        if self._endpoint:
            self._prefix = f"/v{self._read_version()}"
        else:
            with self.sdk("connect"):
                pass

    @property
    def is_here(self) -> bool:
        """Whether it runs on this host, as its socket is here."""
        return self._endpoint is not None

    def read(self, what: str, *path: str, every: bool = False, **filters: Iterable[str]) -> Any:
        """Read what is at a path; Refused if there is nothing. Of a list, `every` has what does not run, too."""
        query = {"all": "1"} if every else {}
        if filters:
            query["filters"] = json.dumps({name: list(values) for name, values in filters.items()})
        status, body = self._get(what, path, query)
        return _parse(what, status, body)

    def find(self, what: str, *path: str) -> Any:
        """Read what is at a path; None if there is nothing."""
        status, body = self._get(what, path, {})
        return None if status in _NOTHING else _parse(what, status, body)

    def require_networks(self, names: Iterable[str]) -> None:
        """Raise Refused unless there is a network of exactly each name.

        The engine would also take how an id begins, and so the network of the host by another word than `host`.
        """
        for name in names:
            found = name == "default" or name.startswith("container:") or any(
                network["Name"] == name for network in self.read(f"look for network {name}", "networks", name=[name]))
            if not found:
                raise errors.Refused(f"docker: networks holds {name[:100]!r}; there is no network of this name")

    @contextlib.contextmanager
    def sdk(self, what: str, *, harmless: Container[int] = ()) -> Iterator[Any]:
        """Give the SDK's client, whose calls have deadlines. An answer whose status is `harmless` is no error."""
        from lictor.adapters import docker_sdk  # takes longer to load than most handlers take

        with docker_sdk.translate_errors(what, harmless):
            if self._api is None:
                self._api = docker_sdk.connect(self._environ, self._prefix.removeprefix("/v"), self._timeout_s)
            yield self._api

    def _read_version(self) -> str:
        found = self.read("connect", "version")
        if not isinstance(found, dict) or not isinstance(found.get("ApiVersion"), str):
            raise errors.Unavailable(f"docker: connect: {self._endpoint} is no Docker engine")
        return str(found["ApiVersion"])

    def _get(self, what: str, path: tuple[str, ...], query: Mapping[str, str]) -> tuple[int, bytes]:
        target = "".join(f"/{urllib.parse.quote(word, safe='/:')}" for word in path)
        target += f"?{urllib.parse.urlencode(query)}" if query else ""
        if self._endpoint is None:
            with self.sdk(what) as api:
                found: tuple[int, bytes] = api.fetch(target)
                return found
        try:
            answer = http.exchange_with(self._endpoint, "GET", self._prefix + target, headers={}, body=None,
                                        timeout_s=self._timeout_s, read=http.read_whole)
        except errors.Unavailable as error:
            hint = ". Is Docker running?" if isinstance(error, http.NobodyListens) else ""
            raise errors.Unavailable(f"docker: {what}: {error}{hint}") from error
        return answer.status, answer.body


def failure(what: str, status: int, reason: str) -> errors.LictorError:
    """Make the error of an answer that is no success."""
    is_refused = 300 <= status < 500 or status == _NOT_IMPLEMENTED or _REFUSED_START.search(reason)
    kind = errors.Conflict if status == 409 else errors.Refused if is_refused else errors.Unavailable
    return kind(f"docker: {what}: {reason}")


def _parse(what: str, status: int, body: bytes) -> Any:
    try:
        found = json.loads(body)
        if status == 200:
            return found
        reason = str(found["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        if status == 200:
            raise errors.Unavailable(f"docker: {what}: not an engine's answer: {body[:100]!r}") from None
        reason = f"status {status}: {body[:100]!r}"
    raise failure(what, status, reason)


def _socket_path(environ: Mapping[str, str]) -> str:
    """Find the engine's unix socket; "" if it is elsewhere, or if there are certificates to look after."""
    host, *tls = (environ.get(key, "").strip() for key in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"))
    scheme, _, path = (host or f"unix://{DEFAULT_SOCKET}").partition("://")
    return path if scheme == "unix" and os.path.isabs(path) and not any(tls) else ""
