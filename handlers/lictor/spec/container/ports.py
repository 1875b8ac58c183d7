"""The key `port` of a spec. Pure."""

import re
from typing import NamedTuple

PORT = re.compile(r"(?:(?P<ip>\d{1,3}(?:\.\d{1,3}){3})::)?(?P<port>\d{1,5})(?:/(?P<protocol>tcp|udp))?", re.ASCII)


class Port(NamedTuple):
    """The container's port, and the address of the node that it is published on ("" is every address)."""

    number: int
    protocol: str
    publish_address: str


def parse_port(value: int | str) -> Port:
    """Parse Compose's short form: CONTAINER or IP::CONTAINER, with /udp or /tcp behind; raises ValueError."""
    match = PORT.fullmatch(str(value))
    if isinstance(value, bool) or not match or not 1 <= int(match["port"]) <= 65535:
        raise ValueError(f"port is {value!r}; it must be 1 to 65535, or such as 127.0.0.1::8080 to publish it on one "
                         "address only")
    if match["ip"] and any(int(part) > 255 for part in match["ip"].split(".")):
        raise ValueError(f"port is {value!r}; {match['ip']} is no IPv4 address")
    return Port(int(match["port"]), match["protocol"] or "tcp", match["ip"] or "")
