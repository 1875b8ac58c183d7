"""Consul's DNS, as a driver of a database asks it: by a resolver that reads no setting of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dns.exception
import dns.resolver

PORT = 53  # a test has a network of its own, and some programs ask no other port
CONFIG = {"ports": {"dns": PORT}}


def resolver() -> dns.resolver.Resolver:
    found = dns.resolver.Resolver(configure=False)
    found.nameservers, found.port, found.lifetime = ["127.0.0.1"], PORT, 30.0
    return found


def addresses(name: str) -> list[str]:
    """List the addresses of a name; none: there is no such name."""
    return sorted(map(str, _resolve(name, "A")))


def places(name: str, *, by_tcp: bool = False) -> list[str]:
    """List each ADDRESS:PORT that a name's SRV records lead to."""
    return sorted(f"{address}:{each.port}" for each in _resolve(name, "SRV", by_tcp=by_tcp)
                  for address in addresses(str(each.target)))


def _resolve(name: str, kind: str, *, by_tcp: bool = False) -> list[Any]:
    """Read the records of a name; raises OSError if Consul does not answer for now."""
    try:
        return list(resolver().resolve(name, kind, tcp=by_tcp))
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except dns.exception.DNSException as error:
        raise OSError(f"{kind} of {name}: {error}") from error


@contextmanager
def in_use() -> Iterator[None]:
    """Have this process find all names by Consul, as on a node whose resolver forwards `consul` to it."""
    own, before = resolver(), dns.resolver.default_resolver
    dns.resolver.default_resolver = own
    dns.resolver.override_system_resolver(own)
    try:
        yield
    finally:
        dns.resolver.restore_system_resolver()
        dns.resolver.default_resolver = before
