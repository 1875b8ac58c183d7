"""The routes that containers' labels ask for: each sweep brings this node's in line with the catalogue it has read.

A service watch follows the instances from then on. If no registration asks for a route any more, it goes once that has
been so for as long as an upstream is held: an agent's restart empties its node for a while.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lictor import errors, model
from lictor.adapters import clock, log
from lictor.adapters.consul.answers import Catalogue
from lictor.events import keys_watch
from lictor.planner.desired import route
from lictor.planner.routes import labelled
from lictor.planner.routes.labelled import Labelled
from lictor.reconcile import observe
from lictor.reconcile.context import Context
from lictor.routing import announce, route_store
from lictor.routing.peers import EMPTY_FOR_S
from lictor.spec.allow import refusals
from lictor.spec.locations import show
from lictor.spec.settings import Settings

Route = dict[str, Any]  # as routes/NAME.json holds it; `gone_since`: since when no registration asks for it


class Outcome(NamedTuple):
    """The wishes of labels that are not in force: refused routes by service, and lines on others."""

    refused: dict[str, str] = {}
    told: tuple[str, ...] = ()


def follow(context: Context, catalogue: Catalogue, specs: Mapping[str, bytes]) -> Outcome:
    """Write the routes that labels ask for, and take away those that none asks for any more.

    `specs` are those of services that were not removed: only these count for their names.
    """
    settings = context.settings
    if not settings.nginx:
        return Outcome()
    with keys_watch.locked(settings):
        before = keys_watch.read_routes(settings)
        of_specs = (each for each in before.values() if not route_store.is_labelled(each) and not each["removed"])
        taken = {*observe.catalog_names(specs), *(each["service"] for each in of_specs)}
        found, told = labelled.find(catalogue.entries, taken)
        after = {name: _route(settings, each, context.node) for name, each in found.items()}
        after |= _going(before, {*after, *taken, *catalogue.overlong}, clock.read(settings.state_dir))
        refused = keys_watch.drop_conflicts(before, after)
        _write(settings.state_dir, before, after)
        for name, each in before.items():
            if each["removed"] and route_store.is_labelled(each) and name not in found:
                _forget(context, name)
    problems = (f"{name}: {problem}" for name, each in found.items() for problem in each.problems)
    return Outcome({name: f"the route of its labels is refused: {why}" for name, why in refused.items()},
                   (*problems, *told))


def _write(state_dir: str, before: Mapping[str, Route], after: Mapping[str, Route]) -> None:
    for name, each in after.items():
        if each != before.get(name):
            _log(name, before.get(name), each)
            try:
                route_store.write_route(state_dir, name, each)
            except OSError as error:  # the others are written all the same
                log.event("route", service=name, outcome="failed", reason=error)


def _route(settings: Settings, service: Labelled, node: str) -> Route:
    desired = service.desired
    found = route(desired, node, measures_all=settings.metrics is not None)
    assert found and desired.spec
    return {**found, "labelled": True, "needs_consent": bool(refusals(desired.spec, settings.allow, settings.where))}


def _going(before: Mapping[str, Route], known: set[str], now: model.Clock) -> dict[str, Route]:
    """Note since when nobody asks for a route, and remove those that nobody has asked for long enough."""
    found = {}
    for name, each in before.items():
        if route_store.is_labelled(each) and not each["removed"] and name not in known:
            since = each.get("gone_since")
            if type(since) is not float or now.is_foreign(since):
                found[name] = {**each, "gone_since": now.now}
            elif now.age_s(since) >= EMPTY_FOR_S:
                found[name] = {**each, "removed": True}
    return found


def _log(name: str, old: Route | None, new: Route) -> None:
    place = ", ".join(map(show, new["routes"]))
    if new["removed"]:
        log.event("unroute", service=name, reason=f"no label asks for {place} any more, for {EMPTY_FOR_S:.0f} s")
    elif "gone_since" in new:
        log.event("unroute", service=name, outcome="hold", reason=f"no label asks for {place}. The route stays until "
                                                                  f"that has been so for {EMPTY_FOR_S:.0f} s.")
    elif old is None or old["removed"] or old["routes"] != new["routes"]:
        log.event("route", service=name, outcome="new", reason=f"the labels of its containers ask for {place}")


def _forget(context: Context, name: str) -> None:
    """Forget a service once nginx has confirmed that it serves it no more: any container may bring a name."""
    published = route_store.published(context.settings.state_dir, name)
    if published and not (published.confirmed and published.places == (None,)):
        return
    try:
        context.client.delete(f"{announce.PREFIX}{name}/{context.node}")
    except errors.LictorError as error:
        log.event("forget", service=name, outcome="failed", reason=error)
        return
    route_store.forget(context.settings.state_dir, name)
