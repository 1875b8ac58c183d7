"""Hosts and paths of routes, and the locations that nginx has for them. Pure, and cheap to import."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

EXACT = "exact"
MATCHES = ("prefix", EXACT)
ANY_HOST = "_"  # the server for hosts that no other one has
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"  # with _, as nginx takes it
PATH = re.compile(r"/(?:[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*/?)?", re.ASCII)
HOST = re.compile(rf"(?=.{{1,200}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)
WILDCARD = re.compile(rf"(?=.{{1,200}}\Z)(?:\*(?:\.{_LABEL})+|{_LABEL}(?:\.{_LABEL})*\.\*)", re.ASCII)


def is_path(text: str) -> bool:
    return bool(PATH.fullmatch(text)) and len(text) <= 255 and not {".", ".."} & set(text.split("/"))


def is_host(text: str) -> bool:
    return bool(HOST.fullmatch(text))


def is_alias(text: str) -> bool:
    """Whether this may be another name of a host: one name, or all that begin or end alike."""
    return text != ANY_HOST and bool(HOST.fullmatch(text) or WILDCARD.fullmatch(text))


def locations(path: str, match: str) -> tuple[str, ...]:
    """Name the locations of nginx that together take the requests: the path itself, and what is below it."""
    if match == EXACT:
        return (f"= {path}",)
    return (path,) if path.endswith("/") else (f"= {path}", f"{path}/")


def claims(name: str, route: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield what nobody but this service or its host may have, with the owner: its locations, and its host's names."""
    host = route["host"]
    for location in locations(route["path"], route.get("match", MATCHES[0])):
        yield (host, location), name
    for each in {host, *route.get("aliases", ())} - {""}:
        yield (each, ""), f"host {host}"


def describe_claim(host: str, location: str, owner: str) -> str:
    """Say that somebody else has what a route claims."""
    return f"route is {host}{location.removeprefix('= ')}, which is that of {owner}; two services cannot have the same"
