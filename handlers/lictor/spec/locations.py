"""Hosts and paths of routes, and the locations that nginx has for them. Pure, and cheap to import."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

Route = TypeVar("Route")

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


class Claim(NamedTuple):
    """A place that nobody but its owner may have, and the key of the route that claims it."""

    key: str
    place: tuple[str, str]  # host, and a location of the owner's, which is a service; "": a name of the owner, a host
    owner: str

    def describe_clash(self, owner: str) -> str:
        """Say that this is claimed although it is another owner's."""
        host, location = self.place
        return (f"{self.key} is {host}{location.removeprefix('= ')}, which is that of {owner}; two routes cannot have "
                "the same")


def claims(name: str, routes: Sequence[Mapping[str, Any]]) -> Iterator[Claim]:
    """Yield what the routes of a service claim: their locations, and the names of their hosts for these."""
    for key, route in keyed(routes):
        host = route["host"]
        for location in locations(route["path"], route["match"]):
            yield Claim(key, (host, location), name)
        for each in {host, *route["aliases"]} - {""}:
            yield Claim(key, (each, ""), f"host {host}")


def explain_own_clash(routes: Sequence[Mapping[str, Any]]) -> str:
    """Say which route of a service claims what an earlier one of it has; "" if none does."""
    found: dict[tuple[str, str], Claim] = {}
    for claim in claims("", routes):
        earlier = found.setdefault(claim.place, claim)
        if earlier.owner != claim.owner:
            return claim.describe_clash(earlier.owner)
        if earlier is not claim and claim.place[1]:  # several routes may have one host
            return claim.describe_clash(earlier.key)
    return ""


def keyed(routes: Sequence[Route]) -> Iterator[tuple[str, Route]]:
    """Yield routes with their keys in a spec; the only one is `route`, in a list or not."""
    return ((f"route[{place}]" if len(routes) > 1 else "route", route) for place, route in enumerate(routes))


def blame(key: str, problem: object) -> str:
    """Say which route of a list has a problem; where there is only one, the problem says enough."""
    return f"{key}: {problem}" if key.endswith("]") else str(problem)


def show(route: Mapping[str, Any]) -> str:
    """Write a route as people read it: its host, and its path."""
    return f"{route['host']}{route['path']}"
