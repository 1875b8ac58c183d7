"""The overview of a node's services with `autoscale`: what they share is read once, as a sweep reads it.

It is some seconds old when the last service's turn comes. So before a wish the service is looked at again.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from lictor import errors
from lictor.adapters.consul.answers import Entry
from lictor.planner.autoscale import kept as keeping
from lictor.planner.autoscale.kept import Kept
from lictor.planner.desired import Desired, specs_of
from lictor.planner.observation import Observation
from lictor.reconcile import observe, responsibility
from lictor.reconcile.autoscale import look, node_traffic
from lictor.reconcile.autoscale.look import Look
from lictor.reconcile.autoscale.node_traffic import Routing
from lictor.reconcile.context import Context
from lictor.reconcile.state_store import StateStore, Stored
from lictor.spec.keys import group_by_service, known_below

_FEW = 8  # names in the catalogue: the answer about them is shorter than the one about all


class Overview(NamedTuple):
    """The services with `autoscale` for which this node acts, and those that cannot be read, each with the reason."""

    observations: Mapping[str, Observation]
    broken: Mapping[str, str]
    counts: Mapping[str, Entry]  # the keys of the desired counts, by service
    kept: Mapping[str, tuple[Kept, int]]
    routing: Routing

    @property
    def turns(self) -> list[str]:
        """List the services, those first that were not decided on for longest."""
        return sorted(self.observations, key=lambda name: (self.kept[name][0].at, name))

    def look(self, context: Context, name: str) -> Look:
        """Look at a service; reads what the nodes have counted."""
        return look.decide_on(context, self.observations[name], self.counts.get(name), *self.kept[name], self.routing)


def read(context: Context, names: Collection[str]) -> Overview:
    """Read the overview of the services that are this node's; Unavailable if no key of them can be seen."""
    client, prefix = context.client, context.settings.prefix
    tree = client.tree(prefix, known_below(prefix))
    keys = {key: entry.value for key, entry in tree.items()}
    if names and not keys:
        raise errors.Unavailable(f"no key below {prefix} can be seen, though services are known: does the token allow "
                                 "to read them?")
    own, broken = _find_own(context, names, group_by_service(keys, prefix)[0])
    if not own:
        return Overview({}, broken, {}, {}, Routing({}, frozenset()))
    registered = {each for service in own.values() for each in service.catalog_names}
    catalogue = client.everything(registered, in_bulk=len(registered) > _FEW)
    readings, unread = observe.everything(context, catalogue, keys, only=own)
    kept = client.tree(keeping.KEY_PREFIX, {keeping.KEY_PREFIX + name for name in own}.__contains__)
    return Overview(
        {name: reading.observation for name, reading in readings.items()}, {**broken, **unread},
        {name: tree[key] for name in own if (key := f"{prefix}{name}/replicas") in tree},
        {name: look.parse_kept(context, kept.get(keeping.KEY_PREFIX + name)) for name in own},
        node_traffic.read_routing(context))


def _find_own(context: Context, names: Collection[str],
              grouped: Mapping[str, Mapping[str, bytes]]) -> tuple[dict[str, Desired], dict[str, str]]:
    """Find the services that have `autoscale` and are this node's to scale, and those of which that cannot be told."""
    states, specs = StateStore(context.client, clocks=context.clocks).read_all(), specs_of(grouped)
    own, broken, acts = dict[str, Desired](), dict[str, str](), dict[tuple[str, str], bool]()
    for name in names:
        try:
            service = responsibility.read_desired(context, name, grouped.get(name, {}),
                                                  states.get(name, Stored()).state, specs)
            if service.removed or service.spec is None or not service.spec.autoscale:
                continue
            place = service.spec.engine, service.spec.node
            if place not in acts:  # an engine may have to be asked
                acts[place] = responsibility.acts_here(context, service)
            if acts[place]:
                own[name] = service
        except errors.Unavailable:
            raise
        except Exception as error:  # a value that no rule foresees is the trouble of its own service
            broken[name] = observe.explain_broken(error)
    return own, broken
