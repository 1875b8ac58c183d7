"""Reads the settings' tables strictly: what is unknown or of the wrong kind is refused, by key, and what is allowed."""

import ipaddress
import os
import re
from typing import Any

from lictor import errors
from lictor.spec import durations

_URL = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?(?:[/?][!$-~]*)?", re.ASCII)


def table(values: dict[str, Any], key: str, path: str, where: str = "") -> dict[str, Any]:
    """The table under `key`, empty when there is none."""
    found = values.get(key, {})
    if not isinstance(found, dict):
        raise errors.Refused(f"{path}: {where}{key} is {found!r}; it must be a table")
    return found


def know(values: dict[str, Any], known: tuple[str, ...], path: str, where: str) -> None:
    for key in values:
        if key not in known:
            raise errors.Refused(f"{path}: unknown key {where}{key}; known are {', '.join(known)}")


def texts(values: dict[str, Any], known: tuple[str, ...], path: str, where: str) -> dict[str, str]:
    """Those of the `known` keys that are there, which must be strings."""
    found = {key: values[key] for key in known if key in values}
    for key, value in found.items():
        if not isinstance(value, str):
            raise errors.Refused(f"{path}: {where}{key} is {value!r}; it must be a string")
    return found


def words(value: object, path: str, key: str) -> tuple[str, ...]:
    """A program and its arguments, or nothing at all."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value) or value[:1] == [""]:
        raise errors.Refused(f"{path}: {key} is {value!r}; it must be a list of strings, first the program")
    return tuple(value)


def flag(value: object, path: str, key: str) -> bool:
    if not isinstance(value, bool):
        raise errors.Refused(f"{path}: {key} is {value!r}; it must be true or false")
    return value


def seconds(value: object, path: str, key: str, *, zero: bool = False) -> float:
    try:
        found = durations.seconds(value)
    except ValueError as error:
        raise errors.Refused(f"{path}: {key}: {error}") from error
    if not found and not zero:
        raise errors.Refused(f"{path}: {key} is {value!r}; it must be more than 0s")
    return found


def url(text: str, path: str, key: str, *, secrets: str) -> str:
    """An address that holds no password; `secrets` is the key that is for them."""
    match = _URL.fullmatch(text)
    if not match or not 1 <= int(match[1] or 1) <= 65535:
        # What stands before an @ is a password, and the path of such a URL is often as good as one.
        shown = re.sub(r"(?s)(?<=[^/][/?])[^/].*", "...", re.sub("(?s).*@", "...@", text))
        raise errors.Refused(f"{path}: {key} is {shown!r}; it must be http://HOST or https://HOST, with :PORT and "
                             f"/PATH as you like, and without user:password@ ({secrets} is for secrets)")
    return text


def loopback(text: str, path: str, key: str) -> str:
    """HOST:PORT that this machine alone can reach; an IPv6 address stands in brackets."""
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
        sound = address.is_loopback and (":" in str(address)) == host.startswith("[")
    except ValueError:
        sound = False
    if not sound or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise errors.Refused(f"{path}: {key} is {text!r}; it must be a loopback address with its port, "
                             "as 127.0.0.1:8899 or [::1]:8899")
    return text


def absolute(text: str, path: str, key: str) -> str:
    if not os.path.isabs(text):
        raise errors.Refused(f"{path}: {key} is {text!r}; it must be an absolute path")
    return text


def allow(given: str, allowed: tuple[str, ...], path: str, key: str) -> None:
    if given not in allowed:
        raise errors.Refused(f"{path}: {key} is {given!r}; this version knows {', '.join(allowed)}")
