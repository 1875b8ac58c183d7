"""A host's own certificate: its names, and the time in which it is valid. Pure.

Python's ssl reads these from a certificate that it trusts only, and here it is a matter of any: the few fields of its
DER (RFC 5280) are read instead.
"""

import calendar
import re
import ssl
from collections.abc import Iterable
from typing import NamedTuple

_PEM = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _OCTETS, _UTC_TIME, _TIME = 0x30, 0x04, 0x17, 0x18
_VERSION, _EXTENSIONS, _DNS_NAME = 0xA0, 0xA3, 0x82
_ALTERNATIVE_NAMES = b"\x06\x03\x55\x1d\x11"  # the identifier 2.5.29.17
_LAST_PART = 3.0  # certbot renews a certificate in the last third of its time


class Leaf(NamedTuple):
    """The names that the certificate holds, and the time in which it is valid, in epoch seconds."""

    names: tuple[str, ...]
    begins: float
    ends: float

    def is_nearly_over(self, now_s: float) -> bool:
        """Decide whether it should have been renewed by now."""
        return now_s > self.ends - (self.ends - self.begins) / _LAST_PART

    def list_uncovered(self, wanted: Iterable[str]) -> list[str]:
        """List the names, such as *.example.com too, for which a client would not take it."""
        return [each for each in wanted
                if each not in self.names and (each.startswith("*") or f"*.{each.partition('.')[2]}" not in self.names)]


def of_pem(text: str) -> Leaf:
    """Read the first certificate of a file; raises ValueError if there is none, or it cannot be read."""
    found = _PEM.search(text)
    if not found:
        raise ValueError("there is no certificate in PEM form")
    return of_der(ssl.PEM_cert_to_DER_cert(found[0]))


def of_der(der: bytes) -> Leaf:
    """Read a certificate; raises ValueError if it is none."""
    try:
        (_, certificate), *_ = _parts(der)
        (_, signed), *_ = _parts(certificate)
        fields = [each for each in _parts(signed) if each[0] != _VERSION]
        begins, ends = map(_time, _parts(fields[3][1]))  # behind the serial number, the algorithm and the issuer
        extensions = [content for tag, content in fields if tag == _EXTENSIONS]
        return Leaf(tuple(_names(extensions[0])) if extensions else (), begins, ends)
    except (IndexError, ValueError) as error:
        raise ValueError("the certificate cannot be read") from error


def _names(extensions: bytes) -> list[str]:
    """Read the DNS names of the extension that has them; [] without it."""
    (_, listed), = _parts(extensions)
    for _, extension in _parts(listed):
        if extension.startswith(_ALTERNATIVE_NAMES):
            octets = next(content for tag, content in reversed(_parts(extension)) if tag == _OCTETS)
            (_, names), = _parts(octets)
            return [content.decode("ascii").lower() for tag, content in _parts(names) if tag == _DNS_NAME]
    return []


def _parts(content: bytes) -> list[tuple[int, bytes]]:
    """Take content apart: each part begins with its tag and its length."""
    parts, position = [], 0
    while position < len(content):
        tag, length, position = content[position], content[position + 1], position + 2
        if length & 0x80:
            count = length & 0x7F
            length, position = int.from_bytes(content[position:position + count], "big"), position + count
        if position + length > len(content):
            raise ValueError("a part ends behind its whole")
        parts.append((tag, content[position:position + length]))
        position += length
    return parts


def _time(part: tuple[int, bytes]) -> float:
    """Read a time, which has two digits of the year before 2050, and four later."""
    tag, text = part[0], part[1].decode("ascii")
    if tag not in (_UTC_TIME, _TIME) or not re.fullmatch(r"(?a)(?:\d\d)?\d{12}Z", text):
        raise ValueError("there is no time")
    if tag == _UTC_TIME:
        text = f"{'19' if text >= '50' else '20'}{text}"
    year, rest = int(text[:4]), [int(text[at:at + 2]) for at in range(4, 14, 2)]
    return float(calendar.timegm((year, *rest, 0, 0, 0)))
