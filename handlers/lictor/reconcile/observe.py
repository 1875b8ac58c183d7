"""Gathering what is known of a service, or of all of them at once, for the planner."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lictor import errors, model
from lictor.adapters import heartbeat
from lictor.engines import protocols
from lictor.planner import desired, next_state, observation, plan, release
from lictor.planner.observation import Observation
from lictor.reconcile import scheduler_view, smoke_test
from lictor.reconcile.context import Context
from lictor.reconcile.fleet_facts import Surroundings
from lictor.reconcile.state_store import StateStore, Stored
from lictor.routing import announce as serving
from lictor.spec.keys import group_by_service


class Reading(NamedTuple):
    """An observation with the new state in it, the stored state that it rests on, and the plan."""

    observation: Observation
    stored: Stored
    actions: tuple[plan.Action, ...]


def acts_here(context: Context, wanted: desired.Desired) -> bool:
    """Whether this node does something about the service: starts and stops its containers, or tells its engine."""
    engine = wanted.spec.engine if wanted.spec else ""
    if engine in protocols.COUNTING:
        if engine in protocols.ENDING:
            return heartbeat.read(context.settings.state_dir) is not None or protocols.ENDING[engine].is_here()
        return protocols.COUNTING[engine].acts_here(context.settings)
    return wanted.spec is not None and engine in protocols.ENGINES and wanted.spec.node == context.node


def _places_here(context: Context, wanted: desired.Desired) -> bool:
    return wanted.spec is not None and wanted.spec.engine in protocols.ENGINES and acts_here(context, wanted)


def concerns(wanted: desired.Desired, node: str) -> bool:
    """Whether bad input for it is this node's to report: nobody else's, when nobody acts for it."""
    return wanted.spec is None or wanted.spec.node in ("", node)


def stray(context: Context, seen: Observation) -> str:
    """What is to be said of containers that run here though the spec leaves the service to others; usually ""."""
    here = [each.service_id for each in seen.instances if each.node == context.node and each.container_id]
    wanted = seen.desired
    if not here or wanted.spec is None or wanted.spec.engine not in protocols.ENGINES or acts_here(context, wanted):
        return ""
    return f"{len(here)} of its containers run here, though its spec's node is {wanted.spec.node}; nobody removes them"


def lost_node(seen: Observation, node: str) -> str:
    """What is to be said when the node that acts for the service is dead to Consul; usually ""."""
    spec = seen.desired.spec
    if spec is None or spec.node in ("", node) or spec.engine not in protocols.ENGINES:
        return ""
    gone = [each for each in seen.instances if each.node == spec.node and not each.node_alive]
    return (f"node {spec.node} does not answer (serfHealth): its {len(gone)} instances are held until it is back, and "
            "lose their traffic only to others that are fit; nobody else may start containers of its own"
            ) if gone else ""


def one(context: Context, name: str, idle_reads: Mapping[str, int], *, certain: bool = False) -> Reading:
    """Observe one service afresh; `certain`: consistently, and what makes a surplus by name. `idle_reads` are those of
    the reading before, by container id."""
    prefix = f"{context.settings.prefix}{name}/"
    keys = {key.removeprefix(prefix): entry.value
            for key, entry in context.client.tree(prefix, consistent=certain).items()}
    if certain:
        _require_by_name(context, prefix, keys)
    stored = StateStore(context.client).read(name)
    wanted = _desired(context, name, keys, stored)
    entries = [entry for each in wanted.catalog_names for entry in context.client.health(each, consistent=certain)]
    containers = _engine(wanted).containers(name) if _places_here(context, wanted) else []
    around = Surroundings(context.settings, context.client, context.node)
    told = scheduler_view.Engines(context.settings, context.node, name)
    return _reading(context, around, told, wanted, stored, instances(entries), containers, idle_reads,
                    certain=certain)


def settled(context: Context, name: str, idle_reads: Mapping[str, int]) -> Reading:
    """Observe one service, and once more consistently when the first reading leaves something to be confirmed."""
    reading = one(context, name, idle_reads)
    if any(each.kind == "confirm" for each in reading.actions):
        return one(context, name, reading.observation.idle_reads, certain=True)
    return reading


def everything(context: Context, entries: Mapping[str, list[dict[str, Any]]],
               keys: Mapping[str, bytes]) -> dict[str, Reading]:
    """Observe all services in a handful of requests, given the catalogue's entries by name and the keys.

    Services of which no key can be seen any more are among them, as long as something of them is remembered. Whoever
    acts on it observes that one service again, under its lock.
    """
    prefix = context.settings.prefix
    grouped, _ = group_by_service(keys, prefix)
    states = StateStore(context.client).read_all()
    all_wanted = [_desired(context, name, grouped.get(name, {}), states.get(name, Stored()))
                  for name in names(grouped, states)]
    containers = _all_containers(context, all_wanted)
    around = Surroundings(context.settings, context.client, context.node)
    told = scheduler_view.Engines(context.settings, context.node)
    return {
        wanted.name: _reading(context, around, told, wanted, states.get(wanted.name, Stored()),
                              instances(entry for each in wanted.catalog_names for entry in entries.get(each, [])),
                              containers.get(wanted.name, []), {}, certain=False)
        for wanted in all_wanted
    }


def names(grouped: Iterable[str], states: Iterable[str]) -> list[str]:
    """List the services that have a key, and those of which only the state is left."""
    return sorted({*grouped, *filter(model.is_name, states)})


def instances(entries: Iterable[dict[str, Any]]) -> list[model.Instance]:
    """The well-formed entries of a health answer; Consul itself never sends others."""
    return [model.instance(each) for each in entries]


def _desired(context: Context, name: str, values: Mapping[str, bytes], stored: Stored) -> desired.Desired:
    return desired.desired(name, values, stored.state, context.settings.prefix)


def _require_by_name(context: Context, prefix: str, keys: Mapping[str, bytes]) -> None:
    """A listing leaves out what may not be read, and says nothing; a key that is asked for by name does."""
    for key in ("spec", "removed"):
        entry = context.client.get(f"{prefix}{key}", consistent=True)
        if (entry.value if entry else None) != keys.get(key):
            raise errors.Conflict(f"key {prefix}{key} is not what the listing says: it changes just now")


def _reading(context: Context, around: Surroundings, told: scheduler_view.Engines, wanted: desired.Desired,
             stored: Stored, found: list[model.Instance], containers: list[model.Container],
             idle_reads: Mapping[str, int], *, certain: bool) -> Reading:
    if _places_here(context, wanted):  # whatever another node registers is none of these containers
        found = [each for each in found if each.node == context.node]
    counts, now = told.counts(wanted, stored.state, found), time.time()
    if counts:
        found = [each if each.container_id else each._replace(container_id=f"{each.node}/{each.service_id}")
                 for each in found]
        containers = scheduler_view.containers(wanted, stored.state, counts, found, now)
    seen = around.complete(Observation(
        now=now, desired=wanted, containers=tuple(containers), instances=tuple(found), state=stored.state,
        certain=certain, rules=context.settings.heal, counts=counts))
    others = [each for each in observation.candidates(seen) if each.condition not in ("gone", "leaving")]
    draining = [each for each in (*observation.members(seen), *others)
                if each.condition == "draining" and not counts]
    if draining or others:
        in_flight = {each.container.id: _in_flight(around, each, seen) for each in draining}
        serving, behind = served(context, wanted, found)
        seen = seen._replace(
            serving=serving, behind=behind, in_flight=in_flight,
            idle_reads={each: idle_reads.get(each, 0) + 1 for each, count in in_flight.items() if count == 0},
        )
    if certain and wanted.spec and wanted.spec.release.smoke and stored.state.rollout:
        seen = seen._replace(smoke=smoke_test.ask(wanted.spec, release.newcomers(seen)))
    seen = seen._replace(state=next_state.remember(seen))
    return Reading(seen, stored, plan.plan(seen))


def _in_flight(around: Surroundings, member: observation.Member, seen: Observation) -> int | None:
    """Connections to it, as its engine sees them of all who ask; or the requests of this node's nginx, where they are
    more: some may not be connected yet."""
    connections = _engine(seen.desired).in_flight(member.container)
    requests = around.requests_at(seen.desired.name, observation.registrations(member, seen))
    return requests if requests > (connections or 0) else connections


def served(context: Context, wanted: desired.Desired,
           found: list[model.Instance]) -> tuple[frozenset[tuple[str, str]], tuple[tuple[str, bool], ...]]:
    """What the nginx of each live node said it serves of this service; and the nodes, each with whether it is alive,
    that said so of a colour that is not live. Of a node whose word is damaged: everything."""
    alive, pairs, behind = context.client.alive_nodes(), set[tuple[str, str]](), []
    if context.node not in alive:
        raise errors.Unavailable(f"{context.node} is not among the nodes that are alive, so which nginx serves "
                                 f"{wanted.name} is unknown: does the token allow to read nodes?")
    others = {(each.node, each.service_id) for each in found if each.service != wanted.catalog_name}
    for node, value in _announced(context, wanted.name).items():
        if node not in alive and not wanted.color:
            continue
        listed = serving.pairs(value)
        said = {(each.node, each.service_id) for each in found} if listed is None else set(listed)
        pairs |= said if node in alive else set()
        behind += [(node, node in alive)] if said & others else []
    return frozenset(pairs), tuple(behind)


def _announced(context: Context, name: str) -> dict[str, bytes]:
    """Read what each node said of the service, by node; also nodes that may route it still though Consul does not see
    them. An empty listing may be one without rights; a key that is asked for by name then says so."""
    prefix = f"{serving.PREFIX}{name}/"
    listed = context.client.tree(prefix)
    if not listed:
        context.client.get(f"{prefix}{context.node}")
    return {key.removeprefix(prefix): entry.value for key, entry in sorted(listed.items())}


def _all_containers(context: Context, all_wanted: list[desired.Desired]) -> dict[str, list[model.Container]]:
    found: dict[str, list[model.Container]] = {}
    names = {wanted.spec.engine for wanted in all_wanted if wanted.spec and _places_here(context, wanted)}
    for name in names:
        for container in protocols.ENGINES[name].containers():
            found.setdefault(container.service, []).append(container)
    return found


def _engine(wanted: desired.Desired) -> protocols.Engine:
    assert wanted.spec is not None
    return protocols.ENGINES[wanted.spec.engine]
