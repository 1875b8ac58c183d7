"""One HTTP exchange with a time limit that holds whatever the other side does. It knows no proxies and no redirects."""

import contextlib
import datetime
import email.utils
import http.client
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from email.message import Message
from typing import NamedTuple

from lictor import errors, model
from lictor.adapters.text import describe_error

_LIMIT_BYTES = 1024 * 1024
_LONGEST_BYTES = 64 * 1024 * 1024
_LATER = (408, 425, 429)  # and 5xx: the same request may be answered otherwise later


class Endpoint(NamedTuple):
    """The server of an exchange. If `socket_path` is set, it is a unix socket, and `host` only stands in a header."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str = ""  # the name that the server's certificate must have; "": none is asked for
    socket_path: str = ""

    def __str__(self) -> str:
        if self.socket_path:
            return f"unix://{self.socket_path}"
        return f"{'https' if self.tls else 'http'}://{model.host_port(self.host, self.port)}"


class Answer(NamedTuple):
    """The headers and body of an answer, whatever its status."""

    status: int
    headers: Message
    body: bytes


class NotSent(errors.Unavailable):
    """A request that was not sent, as there was no connection: nothing has happened."""


class NobodyListens(NotSent):
    """The server is not running, or not there."""


Reader = Callable[[http.client.HTTPResponse], bytes]


def read_start(response: http.client.HTTPResponse) -> bytes:
    """Read the beginning of a body; the rest is left unread."""
    return response.read(_LIMIT_BYTES)


def read_end(response: http.client.HTTPResponse) -> bytes:
    """Read a whole body, and keep its end."""
    kept = b""
    while chunk := response.read(65536):
        kept = (kept + chunk)[-_LIMIT_BYTES:]
    return kept


def read_whole(response: http.client.HTTPResponse) -> bytes:
    """Read a body that is of no use unless it is whole; raises Unavailable for any other, Overlong for one too long."""
    body = response.read(_LONGEST_BYTES + 1)
    if len(body) > _LONGEST_BYTES:
        raise errors.Overlong(f"an answer of more than {_LONGEST_BYTES} bytes")
    expected = response.headers["Content-Length"]
    if expected is not None and expected != str(len(body)):
        raise errors.Unavailable(f"an answer cut off after {len(body)} of {expected} bytes")
    return body


def exchange(method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout_s: float,
             read: Reader = read_start) -> Answer:
    """Ask for a URL; raises Unavailable if there is no answer, Overlong if it takes too long, Refused if the server's
    certificate is not trusted."""
    parts = urllib.parse.urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    host = parts.hostname or ""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return exchange_with(Endpoint(host, parts.port or (443 if tls else 80), tls, host), method, target,
                         headers=headers, body=body, timeout_s=timeout_s, read=read)


def exchange_with(endpoint: Endpoint, method: str, target: str, *, headers: Mapping[str, str], body: bytes | None,
                  timeout_s: float, connect_timeout_s: float | None = None, read: Reader = read_start) -> Answer:
    """Ask an endpoint; errors are those of `exchange`.

    All is done in a thread that can be left behind: a name's look-up and an answer that trickles in obey no time limit.
    """
    connection = _Connection(endpoint, connect_timeout_s or timeout_s, timeout_s)
    given_up = threading.Event()
    outcome: list[Answer | Exception] = []

    def converse() -> None:
        try:
            with contextlib.closing(connection):
                outcome.append(_converse(connection, method, target, headers, body, given_up, read))
        except TimeoutError:
            pass  # as it is for a thread that is left behind
        except Exception as error:  # raised again below, in the caller's thread
            outcome.append(error)

    thread = threading.Thread(target=converse, name="http", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not outcome:
        given_up.set()
        with contextlib.suppress(OSError):  # it may be done just now
            connection.end()
        raise errors.Overlong(f"no answer within {timeout_s:g} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def refuse_failure(answer: Answer, output: str = "") -> None:
    """Raise Unavailable for an answer that may be another later, and Refused for any other that is not 2xx.

    `output` is the readable part of the answer's body.
    """
    if 200 <= answer.status < 300:
        return
    text = f"the answer is {answer.status}, and 2xx was expected; redirects are not followed"
    text += f"; it says: {output}" if output else ""
    if answer.status in _LATER or answer.status >= 500:
        raise errors.Unavailable(text, after_s=_retry_after_s(answer.headers.get("Retry-After", "")))
    raise errors.Refused(text)


class _Connection(http.client.HTTPConnection):
    def __init__(self, endpoint: Endpoint, connect_timeout_s: float, timeout_s: float) -> None:
        super().__init__(endpoint.host, endpoint.port)
        self._endpoint, self._connect_timeout_s, self._timeout_s = endpoint, connect_timeout_s, timeout_s
        self.default_port = 443 if endpoint.tls else 80  # the Host header names any other
        self._opened: socket.socket | None = None  # unlike `sock`, still known while a body is read

    def connect(self) -> None:
        if self._endpoint.socket_path:
            self._opened = socket.socket(socket.AF_UNIX)
            self._opened.settimeout(self._connect_timeout_s)
            self._opened.connect(self._endpoint.socket_path)
        else:
            self._opened = socket.create_connection((self.host, self.port), self._connect_timeout_s)
        if self._endpoint.tls:
            name = self._endpoint.server_name or None
            self._opened = self._endpoint.tls.wrap_socket(self._opened, server_hostname=name)
        self._opened.settimeout(self._timeout_s)
        self.sock = self._opened

    def end(self) -> None:
        """Let the other thread, which waits for this connection, fail."""
        if self._opened:
            self._opened.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        super().close()
        if self._opened:
            self._opened.close()


def _converse(connection: _Connection, method: str, target: str, headers: Mapping[str, str], body: bytes | None,
              given_up: threading.Event, read: Reader) -> Answer:
    try:
        connection.connect()
    except ssl.SSLCertVerificationError as error:
        raise errors.Refused(str(error)) from error
    except (ConnectionRefusedError, FileNotFoundError) as error:  # the latter of a unix socket
        raise NobodyListens(describe_error(error)) from error
    except OSError as error:
        raise NotSent(describe_error(error)) from error
    if given_up.is_set():  # the caller knows by now that there was no answer, and may have acted on it
        raise NotSent("the time is over")
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a server may refuse a long body half-way
            connection.request(method, target, body, {**headers, "Connection": "close"})
        with connection.getresponse() as response:
            return Answer(response.status, response.headers, read(response))
    except TimeoutError:
        raise
    except http.client.HTTPException as error:  # its text is the server's, which knows what we sent
        raise errors.Unavailable(f"no HTTP answer: {type(error).__name__}") from error
    except OSError as error:
        raise errors.Unavailable(describe_error(error)) from error


def _retry_after_s(value: str) -> float:
    """Read seconds, or a date; 0 if it is neither."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value)
        return max(0.0, (at - datetime.datetime.now(datetime.UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
