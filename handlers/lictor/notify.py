"""Tells somebody what a person should see: a command or a webhook gets the record. Healing never fails over it."""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import urllib.parse
from typing import Any

from lictor import config, consul_settings, log, process

_LIMIT_S = 10.0


def tell(settings: config.Config, record: dict[str, Any]) -> None:
    """Send the record, as JSON, to whom `[notify]` names; what goes wrong is logged, and never raised."""
    notify = settings.notify
    if notify is None:
        return
    try:
        text = json.dumps(record)
        if notify.command:
            process.run([*notify.command], timeout_s=_LIMIT_S, stdin=text)
        else:
            _post(notify, text)
    except Exception as error:  # whatever it is, it must not stop the healing that it tells of
        log.event("notify", outcome="failed", reason=_reason(error))
    else:
        log.event("notify", outcome="done")


def _post(notify: config.Notify, text: str) -> None:
    """In a thread that can be left behind: names that are looked up and answers that trickle in obey no time limit."""
    headers = {"Content-Type": "application/json", "Connection": "close"}
    if notify.token_file:
        headers["Authorization"] = f"Bearer {consul_settings.read_token(notify.token_file)}"
    connection, target = _connect(notify.url)
    failures: list[Exception] = []

    def exchange() -> None:
        try:
            _exchange(connection, target, text, headers)
        except Exception as error:  # raised again below, where it is seen
            failures.append(error)

    thread = threading.Thread(target=exchange, name="notify", daemon=True)
    thread.start()
    thread.join(_LIMIT_S)
    if thread.is_alive():
        with contextlib.suppress(OSError, AttributeError):  # it may not be connected yet, or be done just now
            connection.sock.shutdown(socket.SHUT_RDWR)
        raise TimeoutError(f"no answer within {_LIMIT_S:g} s")
    if failures:
        raise failures[0]


def _connect(url: str) -> tuple[http.client.HTTPConnection, str]:
    """The connection, which is made when it is used, and what to ask for. It knows no proxies and no redirects."""
    parts = urllib.parse.urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.hostname or ""
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        return http.client.HTTPSConnection(host, parts.port or 443, timeout=_LIMIT_S, context=tls), target
    return http.client.HTTPConnection(host, parts.port or 80, timeout=_LIMIT_S), target


def _exchange(connection: http.client.HTTPConnection, target: str, text: str, headers: dict[str, str]) -> None:
    with contextlib.closing(connection):
        connection.request("POST", target, text, headers)
        with connection.getresponse() as response:
            if not 200 <= response.status < 300:
                raise OSError(f"the answer is {response.status}, and 2xx was expected; redirects are not followed")


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.HTTPException):  # its text is the server's, which knows the token
        return f"no HTTP answer: {type(error).__name__}"
    return str(error) or repr(error)
