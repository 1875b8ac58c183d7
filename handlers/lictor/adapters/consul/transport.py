"""python-consul (or py-consul, which has the same import name) on an HTTP client that is safe to rely on.

Both libraries' own clients wait for ever, put the token into the query, and obey proxies and redirects.
"""

import contextlib
import http.client
import socket
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import consul
import consul.base

from lictor import errors
from lictor.adapters.consul import environment
from lictor.adapters.text import one_line

T = TypeVar("T")

_LONGEST_BODY_BYTES = 64 * 1024 * 1024
_LONGEST_SHOWN = 200
_RIGHTS = {  # the first that fits the path; for errors of a Consul that does not name the right itself
    "/v1/kv/": "key", "/v1/txn": "key", "/v1/session/": "session", "/v1/health/service/": "service",
    "/v1/agent/service": "service", "/v1/agent/check": "service", "/v1/agent/": "agent", "/v1/": "node",
}
_KINDS = {  # what Consul answers with a 500 though it is no fault of its own
    "invalid session": errors.Conflict,
    "does not have associated TTL": errors.Refused,
}


class _NoEnvironment:
    """For the libraries, in place of `os`: consul_settings reads the variables, and python-consul would fail on every
    form of CONSUL_HTTP_ADDR but host:port. To unset it meanwhile would be seen by other threads."""

    @staticmethod
    def getenv(_name: str, default: str | None = None) -> str | None:
        return default


consul.base.os = _NoEnvironment


class Response(NamedTuple):
    """What the library's callbacks take. Only 200 and 404 get so far."""

    code: int
    headers: http.client.HTTPMessage
    body: str


class Client:
    """The library's HTTP hooks; every request is a connection of its own, so threads may share one client.

    Raises errors.Unavailable, Refused or Conflict for anything but a 200 or a 404 that the callback can read.
    """

    def __init__(self, settings: environment.Settings, *, timeout_s: float) -> None:
        self._settings, self._timeout_s = settings, timeout_s

    def get(self, callback: Callable[[Response], T], path: str, params: Sequence[tuple[str, Any]] | None = None,
            data: str | bytes | None = "", **_: object) -> T:
        return self._ask("GET", callback, path, params, data)

    def put(self, callback: Callable[[Response], T], path: str, params: Sequence[tuple[str, Any]] | None = None,
            data: str | bytes | None = "", *, timeout_s: float = 0, **_: object) -> T:
        return self._ask("PUT", callback, path, params, data, timeout_s)

    def post(self, callback: Callable[[Response], T], path: str, params: Sequence[tuple[str, Any]] | None = None,
             data: str | bytes | None = "", **_: object) -> T:
        return self._ask("POST", callback, path, params, data)

    def delete(self, callback: Callable[[Response], T], path: str, params: Sequence[tuple[str, Any]] | None = None,
               data: str | bytes | None = "", **_: object) -> T:
        return self._ask("DELETE", callback, path, params, data)

    def close(self) -> None:
        """Nothing is kept open."""

    def _ask(self, method: str, callback: Callable[[Response], T], path: str,
             params: Sequence[tuple[str, Any]] | None, data: str | bytes | None, timeout_s: float = 0) -> T:
        target = _quoted(path)
        asked = f"{method} {target} of {self._settings.address}"
        if params:
            target += "?" + urllib.parse.urlencode(params)
        body = data.encode() if isinstance(data, str) else data
        status, headers, answer = self._exchange(asked, method, target, body or None,
                                                 (timeout_s or self._timeout_s) + _held_s(dict(params or ())))
        if status not in (200, 404):
            raise self._refusal(asked, method, path, status, answer)
        try:
            return callback(Response(status, headers, answer.decode()))
        except consul.NotFound as error:
            raise errors.Conflict(f"{asked}: it is gone: {self._shown(answer)}") from error
        except (consul.ConsulException, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise errors.Unavailable(f"{asked}: {status}, but not Consul's answer: {self._shown(answer)}") from error

    def _exchange(self, asked: str, method: str, target: str, body: bytes | None,
                  timeout_s: float) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = _Connection(self._settings, self._timeout_s, timeout_s)
        deadline = time.monotonic() + timeout_s
        try:
            connection.connect()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # too long a body is refused half-way
                connection.request(method, target, body, {**self._settings.headers, "Connection": "close"})
            with connection.getresponse() as response:
                return response.status, response.headers, _body(response, deadline)
        except TimeoutError as error:
            raise errors.Unavailable(f"{asked}: no answer within {timeout_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise errors.Unavailable(f"{asked}: {self._shown(str(error) or repr(error))}") from error
        finally:
            connection.close()

    def _refusal(self, asked: str, method: str, path: str, status: int, body: bytes) -> errors.LictorError:
        said = f"{status} {self._shown(body)}"
        if status == 403 or status == 409 and b"ermission denied" in body:  # a transaction is denied with a 409
            area = next(area for prefix, area in _RIGHTS.items() if path.startswith(prefix))
            right = f"{area}:{'read' if method == 'GET' else 'write'}"
            return errors.Refused(f"{asked}: permission denied, the token needs {right}: {said}")
        kind: type[errors.LictorError] = errors.Unavailable
        if status == 409:
            kind = errors.Conflict
        elif 400 <= status < 500 and status != 429:
            kind = errors.Refused
        elif status == 500:
            kind = next((each for text, each in _KINDS.items() if text in said), errors.Unavailable)
        return kind(f"{asked}: {said}")

    def _shown(self, what: str | bytes) -> str:
        text = what.decode("utf-8", "replace") if isinstance(what, bytes) else what
        for secret in self._settings.headers.values():
            text = text.replace(secret.removeprefix("Basic "), "...")
        text = one_line(text)
        return text[:_LONGEST_SHOWN] + "..." if len(text) > _LONGEST_SHOWN else text or "nothing"


class Consul(consul.Consul):  # type: ignore[misc]
    """The library's endpoints on our client. No token reaches the library: the client sends it, in a header."""

    http: Client

    def __init__(self, client: Client) -> None:
        self._client = client
        super().__init__()
        self.token = None

    def http_connect(self, *_: object) -> Client:
        """The hook of py-consul."""
        return self._client

    connect = http_connect  # the hook of python-consul


class _Connection(http.client.HTTPConnection):
    def __init__(self, settings: environment.Settings, connect_timeout_s: float, read_timeout_s: float) -> None:
        super().__init__(settings.address.host, settings.address.port)
        self._settings, self._connect_timeout_s, self._read_timeout_s = settings, connect_timeout_s, read_timeout_s

    def connect(self) -> None:
        address = self._settings.address
        if address.socket_path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self._connect_timeout_s)
            self.sock.connect(address.socket_path)
        else:
            self.sock = socket.create_connection((address.host, address.port), self._connect_timeout_s)
        if self._settings.tls:
            self.sock = self._settings.tls.wrap_socket(self.sock, server_hostname=self._settings.server_name)
        self.sock.settimeout(self._read_timeout_s)


def _body(response: http.client.HTTPResponse, deadline: float) -> bytes:
    chunks = []
    size = 0
    while chunk := response.read1(65536):
        chunks.append(chunk)
        size += len(chunk)
        if size > _LONGEST_BODY_BYTES:
            raise http.client.HTTPException(f"an answer of more than {_LONGEST_BODY_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    expected = response.headers["Content-Length"]
    if expected is not None and expected != str(size):
        raise http.client.HTTPException(f"an answer cut off after {size} of {expected} bytes")
    return b"".join(chunks)


def _quoted(path: str) -> str:
    segments = path.split("/")[1:]
    if "." in segments or ".." in segments or "" in segments[:-1]:
        # Whoever resolves them on the way would ask for another thing than we meant.
        raise errors.Refused(f"{path!r} cannot be asked for: a part of it is empty, '.' or '..'")
    try:
        return urllib.parse.quote(path)
    except UnicodeEncodeError as error:
        raise errors.Refused(f"{path!r} cannot be asked for: it is no text") from error


def _held_s(params: dict[str, Any]) -> float:
    """How long Consul may hold a blocking read: the wait in milliseconds that was asked for, and a sixteenth more."""
    return int(params["wait"].removesuffix("ms")) / 1000 * 17 / 16 if "wait" in params else 0
