"""One HTTP exchange with a time limit that holds whatever the other side does. It knows no proxies and no redirects."""

import contextlib
import datetime
import email.utils
import http.client
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Mapping
from email.message import Message
from typing import NamedTuple

from lictor import errors

_LIMIT_BYTES = 1024 * 1024
_LATER = (408, 425, 429)  # and 5xx: the same request may be answered otherwise later


class Answer(NamedTuple):
    """A whole HTTP answer."""

    status: int
    headers: Message
    body: bytes


class NotSent(errors.Unavailable):
    """There was no connection: nothing was asked, and so nothing happened."""


def exchange(method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, timeout_s: float,
             tail: bool = False) -> Answer:
    """Raises Unavailable when there is no answer, Refused when the other side isn't who it should be.

    Of a long body the beginning is read, or with `tail` the end kept. All is done in a thread that can be left behind:
    names that are looked up and answers that trickle in obey no time limit.
    """
    connection, target = _connect(url, timeout_s)
    given_up = threading.Event()
    outcome: list[Answer | Exception] = []

    def converse() -> None:
        try:
            with contextlib.closing(connection):
                outcome.append(_converse(connection, method, target, headers, body, given_up, tail))
        except Exception as error:  # raised again below, where it is seen
            outcome.append(error)

    thread = threading.Thread(target=converse, name="http", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not outcome:
        given_up.set()
        with contextlib.suppress(OSError, AttributeError):  # it may not be connected yet, or be done just now
            connection.sock.shutdown(socket.SHUT_RDWR)
        raise errors.Unavailable(f"no answer within {timeout_s:g} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def refuse_failure(answer: Answer, said: str = "") -> None:
    """Raise Unavailable for an answer that may be another later, and Refused for any other that is not 2xx."""
    if 200 <= answer.status < 300:
        return
    text = f"the answer is {answer.status}, and 2xx was expected; redirects are not followed"
    text += f"; it says: {said}" if said else ""
    if answer.status in _LATER or answer.status >= 500:
        raise errors.Unavailable(text, after_s=_retry_after_s(answer.headers.get("Retry-After", "")))
    raise errors.Refused(text)


def _connect(url: str, timeout_s: float) -> tuple[http.client.HTTPConnection, str]:
    """The connection, which is made when it is used, and what to ask for."""
    parts = urllib.parse.urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.hostname or ""
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port or 443, timeout=timeout_s, context=tls), target
    return http.client.HTTPConnection(host, parts.port or 80, timeout=timeout_s), target


def _converse(connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str],
              body: bytes | None, given_up: threading.Event, tail: bool) -> Answer:
    try:
        connection.connect()
    except ssl.SSLCertVerificationError as error:
        raise errors.Refused(str(error)) from error
    except OSError as error:
        raise NotSent(str(error) or repr(error)) from error
    if given_up.is_set():  # whoever waited has been told that there was no answer, and may have acted on it
        raise NotSent("the time is over")
    try:
        connection.request(method, target, body, {**headers, "Connection": "close"})
        with connection.getresponse() as response:
            return Answer(response.status, response.headers, _read(response, tail=tail))
    except http.client.HTTPException as error:  # its text is the server's, which knows what we sent
        raise errors.Unavailable(f"no HTTP answer: {type(error).__name__}") from error
    except OSError as error:
        raise errors.Unavailable(str(error) or repr(error)) from error


def _read(response: http.client.HTTPResponse, *, tail: bool) -> bytes:
    if not tail:
        return response.read(_LIMIT_BYTES)
    kept = b""
    while chunk := response.read(65536):
        kept = (kept + chunk)[-_LIMIT_BYTES:]
    return kept


def _retry_after_s(value: str) -> float:
    """Seconds, or a date; 0 when it is neither."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value)
        return max(0.0, (at - datetime.datetime.now(datetime.UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
