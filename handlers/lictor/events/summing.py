"""Services summed up, by what a sweep observed of them: what the check, the conditions and the metrics are made of."""

import time
from collections.abc import Iterable, Mapping

from lictor.adapters.consul.answers import Catalogue
from lictor.planner.cluster import words
from lictor.planner.desired import Desired
from lictor.planner.observation import Observation
from lictor.planner.routes import labelled
from lictor.planner.service_state import State
from lictor.planner.summary import service
from lictor.planner.summary.decided import Decided, add_to
from lictor.planner.summary.facts import Facts, gather
from lictor.planner.summary.service import Summary
from lictor.reconcile import conditions, observe
from lictor.reconcile.context import Context
from lictor.reconcile.observe import Reading
from lictor.routing import announce, paused, route_store
from lictor.spec.settings import Settings


def list_foreign(observations: Iterable[Observation]) -> frozenset[conditions.InstanceKey]:
    return frozenset(instance.identity for each in observations for instance in each.foreign)


def of_observed(context: Context, catalogue: Catalogue, readings: Mapping[str, Reading],
            own: Iterable[str]) -> dict[str, tuple[Facts, Summary]]:
    """Sum up the services that this node acts for, and those that it routes and nobody acts for."""
    routed = [name for name, reading in readings.items() if (desired := reading.observation.desired).spec
              and desired.spec.engine == "none" and not desired.removed
              and route_store.route(context.settings.state_dir, name)]
    found, serving = dict[str, tuple[Facts, Summary]](), _read_serving(context, [
        name for name in own if readings[name].observation.spec.routes])
    for name in sorted({*own, *routed}):
        seen, look = readings[name].observation, readings[name].look
        nodes, lost = serving[name][:2] if name in serving else (None, [])
        facts = gather(time.time(), seen.desired, seen.state, observe.instances(
            catalogue.of(seen.desired.catalog_name)), list_foreign([seen]))._replace(
                nginx_nodes=nodes, lost_nginx_nodes=lost, awaited=seen.awaited.get(seen.desired.release, ""),
                set_failure=words.describe_failure(look.stored.record.kept) if look else "",
                is_decided_here=name in own, paused=_read_paused(context, seen.desired))
        found[name] = facts, service.sum_up(facts)
    return found


def of_labelled(settings: Settings, catalogue: Catalogue,
                specs: Mapping[str, bytes]) -> dict[str, tuple[Facts, Summary]]:
    """Sum up the services that labels ask to be routed, if this node routes; what does not count is told elsewhere."""
    found = labelled.find(catalogue.entries, {*observe.catalog_names(specs)})[0] if settings.nginx else {}
    facts = {name: gather(time.time(), each.desired._replace(problems=()), State(), observe.instances(
        catalogue.of(name)))._replace(labels_ask=True) for name, each in found.items()}
    return {name: (each, service.sum_up(each)) for name, each in facts.items()}


def list_decided(own: Mapping[str, Reading], sums: Mapping[str, tuple[Facts, Summary]]) -> dict[str, Decided]:
    """List by service what the decision on it says beyond its summary."""
    return {name: found for name, (facts, summary) in sums.items()
            if name in own and (found := add_to(summary, facts, own[name].actions))}


def _read_paused(context: Context, desired: Desired) -> dict[str, tuple[int, int]]:
    """Read what the nodes tell of the pause that is asked for; {} without one."""
    if not desired.pause or not desired.is_paused:
        return {}
    told = paused.read(context.client, desired.name, context.client.alive_nodes())
    return paused.of_pause(told, desired.pause)


def _read_serving(context: Context, names: list[str]) -> dict[str, announce.Serving]:
    """Read which nodes that answer serve these services. Consul is asked only if this node's nginx does not."""
    here = {name: announce.Serving([context.node], []) for name in names if (
        published := route_store.published(context.settings.state_dir, name)) and published.instances}
    elsewhere = set(names) - set(here)
    found = announce.read_serving(context.client, elsewhere, context.client.alive_nodes()) if elsewhere else {}
    return {**here, **{name: found.get(name, announce.Serving([], [])) for name in elsewhere}}
