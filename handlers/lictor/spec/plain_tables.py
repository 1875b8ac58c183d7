"""Tables of plain values: texts, numbers, flags, durations, lists of texts and further tables. Pure.

Handlers start for each event, and msgspec takes a third of such a start to load. So the settings are NamedTuples, whose
annotations say what a file may hold. A field NAME_s has the key NAME.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from lictor.spec.quantities import Duration, parse_duration, strip

_LONGEST_SHOWN = 100
_DESCRIPTIONS = {str: "a string", bool: "true or false", int: "a whole number", float: "a number",
                 tuple: "a list of strings", list: "a list of strings", dict: "a table"}
_LOOPBACK = r"(?a)(?:127(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}|\[::1\]):(\d{1,5})"
_ADDRESS = r"(?a)(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(\d{1,5})"
_URL = r"(?a)https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?(?:[/?][!$-~]*)?"

Record = TypeVar("Record", bound=NamedTuple)


def read_values(table: Mapping[str, object], kinds: Mapping[str, Any], below: str = "") -> dict[str, Any]:
    """Read the values of a table, whose keys have these annotated kinds; `below` stands in front of a key in errors.

    Raises ValueError that names the key, what was given and what is allowed.
    """
    for key in table:
        if key not in kinds:
            from lictor.spec.input import problems  # late, as each handler imports this module

            raise ValueError(f"unknown key {below}{key}{problems.describe_unknown(key, kinds)}")
    return {key: _read(value, kinds[key], f"{below}{key}") for key, value in table.items()}


def read_record(table: object, kind: type[Record], key: str = "", described: str = "") -> Record:
    """Read a table, which is the value of `key`, into a NamedTuple.

    If that has a method `check`, it may refuse values by a ValueError that begins with their key.
    """
    fields = {field.removesuffix("_s"): field for field in kind._fields}
    if not isinstance(table, dict):
        allowed = described or f"a table with the keys {', '.join(fields)}"
        raise ValueError(f"{key} is {show(table)}; it must be {allowed}")
    below = f"{key}." if key else ""
    values = read_values(table, {each: kind.__annotations__[field] for each, field in fields.items()}, below)
    for each, field in fields.items():
        if each not in values and field not in kind._field_defaults:
            raise ValueError(f"{below}{each} is missing")
    record = kind._make(values.get(each, kind._field_defaults.get(field)) for each, field in fields.items())
    check: Callable[[], None] | None = getattr(record, "check", None)
    try:
        if check:
            check()
    except ValueError as error:
        raise ValueError(f"{below}{error}") from error
    return record


def _read(value: object, kind: Any, key: str) -> Any:
    described = getattr(kind, "__metadata__", ("",))[0]
    while hasattr(kind, "__origin__"):
        kind = kind.__origin__
    if hasattr(kind, "_fields"):
        return read_record(value, kind, key, described)
    if kind is Duration:
        try:
            return parse_duration(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    if type(value) is not (list if kind is tuple else kind):
        raise ValueError(f"{key} is {show(value)}; it must be {described or _DESCRIPTIONS[kind]}")
    if isinstance(value, list):
        for place, each in enumerate(value):  # which are an argument each, and stay as they are
            _read(each, str, f"{key}[{place}]")
        return kind(value)
    return strip(value) if isinstance(value, str) else value


def require_one_of(key: str, given: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless the value is allowed."""
    if given not in allowed:
        from lictor.spec.input import problems  # late, as each handler imports this module

        raise ValueError(f"{key} is {given[:_LONGEST_SHOWN]!r}"
                         f"{problems.describe_unknown(given, allowed, words='this version knows')}")


def require_absolute(key: str, path: str) -> None:
    """Raise ValueError unless the path is absolute."""
    if not os.path.isabs(path):
        raise ValueError(f"{key} is {path!r}; it must be an absolute path")


def require_plain_path(key: str, path: str, *, placeholder: str = "") -> None:
    """Raise ValueError unless the path, which may be "", is absolute and has no sign that means something to nginx.
    `placeholder` is the only one that it may hold."""
    if path and not re.fullmatch("/[A-Za-z0-9._~@+=,/-]*", path.replace(placeholder, ""), re.ASCII):
        only = f", and {placeholder}" if placeholder else ""
        raise ValueError(f"{key} is {path[:_LONGEST_SHOWN]!r}; it must be an absolute path of letters, digits and "
                         f"._~@+=,-{only}")


def require_networks(key: str, given: Iterable[str]) -> None:
    """Raise ValueError unless each is an IP address, or a network such as 10.0.0.0/8."""
    for each in given:
        import ipaddress  # few nodes have any, and each handler imports this module

        try:
            if "%" in each:  # an address of IPv6 may name an interface there, and that name may be anything
                raise ValueError(each)
            ipaddress.ip_network(each, strict=False)
        except ValueError as error:
            raise ValueError(f"{key} holds {each[:_LONGEST_SHOWN]!r}; it must be IP addresses and networks, such as "
                             "10.0.0.0/8") from error


def require_url(key: str, url: str, *, secrets: str) -> None:
    """Raise ValueError unless the URL is one without a password; `secrets` is the key that is for passwords."""
    match = re.fullmatch(_URL, url)
    if not match or not 1 <= int(match[1] or 1) <= 65535:
        # The text before an @ is a password, and the path of such a URL is often as good as one.
        shown = re.sub(r"(?s)(?<=[^/][/?])[^/].*", "...", re.sub("(?s).*@", "...@", url))
        raise ValueError(f"{key} is {shown!r}; it must be http://HOST or https://HOST, with :PORT and /PATH as you "
                         f"like, and without user:password@ ({secrets} is for secrets)")


def is_loopback(key: str, address: str) -> bool:
    """Tell whether HOST:PORT is on loopback; raises ValueError unless HOST is an IP address, of IPv6 in brackets."""
    if re.fullmatch(_LOOPBACK, address):
        require_loopback(key, address)
        return True
    match = re.fullmatch(_ADDRESS, address)
    try:
        if not match or not 1 <= int(match[3]) <= 65535:
            raise ValueError(address)
        import ipaddress  # few nodes have one, and each handler imports this module

        ipaddress.ip_address(match[1] or match[2])
    except ValueError as error:
        raise ValueError(f"{key} is {address[:_LONGEST_SHOWN]!r}; it must be an IP address with its port, as "
                         "127.0.0.1:8898 or [::1]:8898") from error
    return False


def require_loopback(key: str, address: str) -> None:
    """Raise ValueError unless the address is HOST:PORT on loopback; an IPv6 address stands in brackets."""
    match = re.fullmatch(_LOOPBACK, address)
    if not match or not 1 <= int(match[1]) <= 65535:
        raise ValueError(f"{key} is {address!r}; it must be a loopback address with its port, as 127.0.0.1:8899 or "
                         "[::1]:8899")


def show(value: object) -> str:
    """Show a value without the passwords that may stand in it."""
    if value and isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return "empty" if value is None else str(value).lower()
    return re.sub("//[^/@]*@", "//...@", repr(value))[:_LONGEST_SHOWN]
