"""Services that are routed without a spec, as the labels of their containers ask for it. Pure.

The registrar has put the wish of each container into its registration. A registration is hostile until it is validated
here once more: others can register, too.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from lictor import model
from lictor.planner.desired import Desired, desired
from lictor.planner.service_state import State
from lictor.spec.route import Route, parse_label

MOST = 1000  # routes from labels; a spec for each is possible all the same
_SHOWN = 3

Entries = Mapping[str, Iterable[Mapping[str, Any]]]  # of a health answer, by name in the catalogue


class Labelled(NamedTuple):
    """A service, and the route that labels ask for."""

    name: str
    route: Route
    problems: tuple[str, ...]  # what is asked for besides, and does not count
    since: int  # Consul's index at the registration that asks for it

    @property
    def desired(self) -> Desired:
        """The desired state that a spec with the engine none and this route would give."""
        table = {"name": self.name, "engine": "none", "route": {"path": self.route.path, "host": self.route.host}}
        return desired(self.name, {"spec": json.dumps(table).encode()}, State())._replace(problems=self.problems)


class _Wish(NamedTuple):
    created: int  # Consul's index at its registration
    node: str
    service_id: str
    text: str


def find(entries: Entries, taken: Collection[str]) -> tuple[dict[str, Labelled], list[str]]:
    """Find the services that labels ask to be routed, by name; and a line on those of which there are too many.

    `taken` are the names in the catalogue that belong to services with a spec: it alone counts for these.
    """
    found: dict[str, Labelled] = {}
    for name, rows in entries.items():
        if name not in taken and model.is_name(name) and (labelled := _read(name, rows)):
            found[name] = labelled
    by_age = sorted(found, key=lambda name: (found[name].since, name))
    told = [f"{len(found)} services have labels that ask for a route, and the {MOST} oldest get one. "
            f"{by_age[MOST]}, for one, gets none"] if len(found) > MOST else []
    return {name: found[name] for name in by_age[:MOST]}, told


def choose(service: Desired, found: Mapping[str, Labelled]) -> Desired:
    """Take what labels ask for, if no spec counts: there is none, or it was removed, and nothing has to end for it."""
    labels_count = service.spec is None or service.removed and service.spec.engine == "none"
    return found[service.name].desired if labels_count and service.name in found else service


def describe_overruled(entries: Entries, service: Desired) -> tuple[str, ...]:
    """Say that labels ask for another route than the spec of a service has; usually ()."""
    if service.removed or not service.spec:
        return ()
    given = [f"{each.host}{each.path}" for each in service.spec.routes]
    wishes = [wish for name in service.catalog_names for wish in _wishes(entries.get(name, ()))
              if wish.text not in given]
    says = f"its route{'s are' if given[1:] else ' is'} {', '.join(given)}" if given else "it has no route"
    return (f"{_describe(wishes)}. The spec counts, and {says}",) if wishes else ()


def unrouted(entries: Entries, known: Collection[str]) -> list[str]:
    """List the names, besides the `known` ones, under which a registrar of lictor's has registered a TCP port."""
    return sorted(name for name, rows in entries.items() if name not in known and any(
        model.META_ENGINE in _meta(row) and model.META_PROTOCOL not in _meta(row) for row in rows))


def _read(name: str, rows: Iterable[Mapping[str, Any]]) -> Labelled | None:
    """Read the route of a service: that of the registration which is there for longest."""
    routes, problems = dict[_Wish, Route](), []
    for wish in _wishes(rows):
        try:
            routes[wish] = parse_label(wish.text)
        except ValueError as error:
            problems.append(f"{_describe([wish])}. It does not count: {error}")
    if not routes:
        return None
    first, route = next(iter(routes.items()))
    others = [wish for wish in routes if wish.text != first.text]
    if others:
        problems.append(f"{_describe(others)}. {first.service_id[:100]} on {first.node[:100]} is there for longer, and "
                        f"keeps {first.text}")
    return Labelled(name, route, tuple(problems[:_SHOWN]), first.created)


def _wishes(rows: Iterable[Mapping[str, Any]]) -> list[_Wish]:
    """List the wishes, the oldest first; only a registrar's registration can have one."""
    return sorted(
        _Wish(row["Service"].get("CreateIndex", 0), row["Node"]["Node"], row["Service"]["ID"], meta[model.META_ROUTE])
        for row in rows if model.META_ROUTE in (meta := _meta(row)) and model.META_ENGINE in meta)


def _meta(row: Mapping[str, Any]) -> Mapping[str, str]:
    return row["Service"].get("Meta") or {}


def _describe(wishes: list[_Wish]) -> str:
    first, more = wishes[0], f", and {len(wishes) - 1} more differ" if len(wishes) > 1 else ""
    return f"{model.LABEL_ROUTE} of {first.service_id[:100]} on {first.node[:100]} is {first.text[:100]!r}{more}"
