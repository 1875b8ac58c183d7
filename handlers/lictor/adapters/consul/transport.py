"""Requests to Consul, each with a time limit, whose answers are read by a callback."""

import urllib.parse
from collections.abc import Callable, Sequence
from email.message import Message
from typing import Any, NamedTuple, TypeVar

from lictor import errors
from lictor.adapters import http
from lictor.adapters.consul.environment import Environment, Source
from lictor.adapters.text import one_line

T = TypeVar("T")

_LONGEST_SHOWN = 200
_RIGHTS = {  # the first that fits the path; for errors of a Consul that does not name the right itself
    "/v1/kv/": "key", "/v1/txn": "key", "/v1/session/": "session", "/v1/health/service/": "service",
    "/v1/agent/service": "service", "/v1/agent/check": "service", "/v1/agent/": "agent", "/v1/": "node",
}
_KINDS = {  # answers with status 500 that are no fault of Consul's
    "invalid session": errors.Conflict,
    "does not have associated TTL": errors.Refused,
}


class Gone(Exception):
    """Raised by a callback: an object that the request names is not there any more."""


class Response(NamedTuple):
    """An answer in the form that python-consul's callbacks take; its status is 200 or 404."""

    code: int
    headers: Message
    body: str


class _Denied(errors.Refused):
    """A request that the token does not allow, or whose token is gone."""


class Client:
    """An HTTP client; every request is a connection of its own, so threads may share one client.

    Raises errors.Unavailable, Refused or Conflict for anything but a 200 or a 404 that the callback can read.
    """

    def __init__(self, source: Source, *, timeout_s: float) -> None:
        self.source, self.timeout_s = source, timeout_s

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
        """Do nothing: no connection is kept open."""

    def _ask(self, method: str, callback: Callable[[Response], T], path: str,
             params: Sequence[tuple[str, Any]] | None, data: str | bytes | None, timeout_s: float = 0) -> T:
        try:
            return self._ask_once(self.source.current(), method, callback, path, params, data, timeout_s)
        except _Denied:
            if not self.source.read_again():
                raise
        return self._ask_once(self.source.current(), method, callback, path, params, data, timeout_s)

    def _ask_once(self, environment: Environment, method: str, callback: Callable[[Response], T], path: str,
                  params: Sequence[tuple[str, Any]] | None, data: str | bytes | None, timeout_s: float) -> T:
        target = _encode_path(path)
        request = f"{method} {target} of {environment.endpoint}"
        if params:
            target += "?" + urllib.parse.urlencode(params)
        body = data.encode() if isinstance(data, str) else data
        try:
            answer = http.exchange_with(
                environment.endpoint, method, target, headers=environment.headers, body=body or None,
                timeout_s=(timeout_s or self.timeout_s) + _blocking_s(dict(params or ())),
                connect_timeout_s=self.timeout_s, read=http.read_whole)
        except errors.LictorError as error:
            kind = errors.Overlong if isinstance(error, errors.Overlong) else errors.Unavailable
            hint = ". Is the agent running?" if isinstance(error, http.NobodyListens) else ""
            raise kind(f"{request}: {_quote(environment, str(error))}{hint}") from error
        if answer.status not in (200, 404):
            raise _error(environment, request, method, path, answer)
        try:
            return callback(Response(answer.status, answer.headers, answer.body.decode()))
        except Gone as error:
            raise errors.Conflict(f"{request}: it is gone: {_quote(environment, answer.body)}") from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise errors.Unavailable(f"{request}: {answer.status}, but not Consul's answer: "
                                     f"{_quote(environment, answer.body)}") from error


def _error(environment: Environment, request: str, method: str, path: str, answer: http.Answer) -> errors.LictorError:
    output = f"{answer.status} {_quote(environment, answer.body)}"
    if answer.status == 403 or answer.status == 409 and b"ermission denied" in answer.body:  # 409: a transaction
        area = next(area for prefix, area in _RIGHTS.items() if path.startswith(prefix))
        right = f"{area}:{'read' if method == 'GET' else 'write'}"
        return _Denied(f"{request}: permission denied, the token needs {right}: {output}")
    return _error_kind(answer.status, output)(f"{request}: {output}")


def _quote(environment: Environment, what: str | bytes) -> str:
    text = what.decode("utf-8", "replace") if isinstance(what, bytes) else what
    for secret in environment.headers.values():
        text = text.replace(secret.removeprefix("Basic "), "...")
    text = one_line(text)
    return text[:_LONGEST_SHOWN] + "..." if len(text) > _LONGEST_SHOWN else text or "nothing"


def _error_kind(status: int, output: str) -> type[errors.LictorError]:
    if status == 409:
        return errors.Conflict
    if status == 500:
        return next((kind for text, kind in _KINDS.items() if text in output), errors.Unavailable)
    return errors.Refused if 400 <= status < 500 and status != 429 else errors.Unavailable


def _encode_path(path: str) -> str:
    segments = path.split("/")[1:]
    if "." in segments or ".." in segments or "" in segments[:-1]:
        # A proxy on the way that resolves them would ask for another key.
        raise errors.Refused(f"{path!r} is no path: a part of it is empty, '.' or '..'")
    try:
        return urllib.parse.quote(path)
    except UnicodeEncodeError as error:
        raise errors.Refused(f"{path!r} is no path: it is no text") from error


def _blocking_s(params: dict[str, Any]) -> float:
    """Return how long Consul may hold a blocking read: the wait that the request names, and a sixteenth more."""
    return int(params["wait"].removesuffix("ms")) / 1000 * 17 / 16 if "wait" in params else 0
