"""The observation of one service, or of all services in a handful of requests, with the plan that follows from it."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lictor import errors, model
from lictor.adapters import clock
from lictor.adapters.consul.answers import Catalogue
from lictor.planner import next_state, release
from lictor.planner.actions import Action, Confirm
from lictor.planner.desired import Desired, look_alikes, specs_of
from lictor.planner.members import candidates, members
from lictor.planner.observation import Observation
from lictor.planner.routes import labelled
from lictor.reconcile import responsibility, scheduler_view, smoke_test
from lictor.reconcile.context import Context
from lictor.reconcile.fleet_reader import FleetReader
from lictor.reconcile.release import node_counts
from lictor.reconcile.state_store import StateStore, Stored
from lictor.spec.keys import group_by_service, known_below
from lictor.spec.settings import Nginx

if TYPE_CHECKING:
    from lictor.planner.cluster.actions import Act as ActOnSet
    from lictor.reconcile.cluster.look import Look


class Reading(NamedTuple):
    """An observation with the new state in it, the stored state that it rests on, and the plan."""

    observation: Observation
    stored: Stored
    actions: "tuple[Action | ActOnSet, ...]"
    look: "Look | None" = None  # at the set with state that its instances form, if this node acts for it

    @property
    def recorded(self) -> Observation:
        """The observation with the state before it: all that the new state and the plan rest on."""
        return self.observation._replace(state=self.stored.state)


def one(context: Context, name: str, idle_reads: Mapping[str, int], *, certain: bool = False) -> Reading:
    """Observe one service afresh. `idle_reads` are those of the reading before, by container id.

    `certain` reads with Consul's quorum, and by name the keys that make instances surplus.
    """
    prefix = f"{context.settings.prefix}{name}/"
    tree = context.client.tree(prefix, known_below(context.settings.prefix), consistent=certain)
    keys = {key.removeprefix(prefix): entry.value for key, entry in tree.items()}
    if certain:
        _require_by_name(context, prefix, keys)
    stored = StateStore(context.client, clocks=context.clocks).read(name)
    service = responsibility.read_desired(context, name, keys, stored.state)
    if service.spec and (others := look_alikes(service.spec)):
        service = responsibility.read_desired(context, name, keys, stored.state, _specs(context, others))
    service = by_labels(service, context)
    entries = [entry for each in service.catalog_names for entry in context.client.health(each, consistent=certain)]
    return _reading(FleetReader(context, name), service, stored, instances(entries), idle_reads, certain=certain)


def settled(context: Context, name: str, idle_reads: Mapping[str, int]) -> Reading:
    """Observe one service, and once more consistently if the first plan leaves something to be confirmed."""
    reading = one(context, name, idle_reads)
    if any(isinstance(action, Confirm) for action in reading.actions):
        return one(context, name, reading.observation.idle_reads, certain=True)
    return reading


def everything(context: Context, catalogue: Catalogue, keys: Mapping[str, bytes],
               only: Collection[str] | None = None,
               unchanged: Collection[str] = ()) -> tuple[dict[str, Reading], dict[str, str]]:
    """Observe all services, or `only` some, given the catalogue and the keys; the second value says which cannot be.

    The `unchanged` ones are left out, unless they have a state.

    A service without any key is among them as long as its state is there. Before an act, its service is observed
    again, under its lock. A value that no rule foresees, and an overlong answer, is the trouble of its own service.
    """
    grouped, _ = group_by_service(keys, context.settings.prefix)
    reader, readings, broken, specs = FleetReader(context), {}, {}, specs_of(grouped)
    for name in names(grouped, reader.states) if only is None else sorted(only):
        if name in unchanged and name not in reader.states:
            continue
        stored = reader.states.get(name, Stored())
        try:
            service = responsibility.read_desired(context, name, grouped.get(name, {}), stored.state, specs)
            registered = instances(entry for each in service.catalog_names for entry in catalogue.of(each))
            readings[name] = _reading(reader, service, stored, registered, {}, certain=False)
        except errors.Overlong as error:
            context.client.leader()  # raises if Consul itself does not answer
            broken[name] = explain_broken(error)
        except errors.Unavailable:
            raise
        except Exception as error:
            broken[name] = explain_broken(error)
    return readings, broken


def by_labels(service: Desired, context: Context) -> Desired:
    """Take the route that labels ask for, where no spec counts: a refused one does."""
    if service.spec and not service.removed:  # mostly; Consul is not asked then
        return service
    name, client = service.name, context.client
    if not service.removed and client.get(f"{context.settings.prefix}{name}/spec"):
        return service
    return labelled.choose(service, labelled.find({name: client.health(name)}, ())[0])


def catalog_names(names: Iterable[str]) -> Iterator[str]:
    """Name all that may be in the catalogue of these services, and of lictor itself."""
    yield "lictor"
    for name in names:
        yield from (model.catalog_name(name, color) for color in ("", *model.COLORS))


def explain_broken(error: Exception) -> str:
    """Explain a failure that is lictor's own, or a value's that no rule foresees, to operators."""
    reason = str(error) if isinstance(error, errors.LictorError) else repr(error)
    return f"unreadable: {reason:.200}. The other services are looked after; `lictor doctor` may say more"


def names(grouped: Iterable[str], states: Iterable[str]) -> list[str]:
    """List the services that have a key, and those of which only the state is left."""
    return sorted({*grouped, *filter(model.is_name, states)})


def instances(entries: Iterable[dict[str, Any]]) -> list[model.Instance]:
    """Parse the entries of a health answer."""
    return [model.instance(entry) for entry in entries]


def _specs(context: Context, names: Iterable[str]) -> dict[str, bytes]:
    prefix = context.settings.prefix
    trees = [context.client.tree(f"{prefix}{name}/", known_below(prefix)) for name in names]
    return specs_of(group_by_service({key: entry.value for tree in trees for key, entry in tree.items()}, prefix)[0])


def _require_by_name(context: Context, prefix: str, keys: Mapping[str, bytes]) -> None:
    """Read the deciding keys by name: only then Consul says that a key may not be read; a listing just lacks it."""
    for key in ("spec", "removed"):
        entry = context.client.get(f"{prefix}{key}", consistent=True)
        if (entry.value if entry else None) != keys.get(key):
            raise errors.Conflict(f"key {prefix}{key} is not what the listing says: it changes just now")


def _reading(reader: FleetReader, service: Desired, stored: Stored, registered: list[model.Instance],
             idle_reads: Mapping[str, int], *, certain: bool) -> Reading:
    observation = _observed(reader, service, stored, registered, certain=certain)
    if service.has_set:
        return _look_at_set(reader, observation, stored)
    observation = node_counts.with_counts(reader.context, reader.with_observer(observation))
    observation = _with_traffic(reader, observation, idle_reads)
    if certain and service.spec and service.spec.release.smoke and stored.state.release.rollout:
        smoke = smoke_test.run(service.spec, release.new_members(observation), observation,
                               (reader.context.settings.nginx or Nginx()).trusted_ca)
        observation = observation._replace(smoke=smoke)
    state, actions = next_state.step(observation)
    return Reading(observation._replace(state=state), stored, actions)


def _look_at_set(reader: FleetReader, observation: Observation, stored: Stored) -> Reading:
    """Decide on a set with state; on a node that does not act for it, nothing."""
    from lictor.reconcile.cluster import look  # few nodes have any

    found = (look.look(reader.context, observation)
             if responsibility.acts_here(reader.context, observation.desired) else None)
    observation = observation._replace(set_trouble=found.trouble if found else "")
    observation = observation._replace(state=next_state.advance_set(observation, found and found.released))
    action = found and found.decision.action
    return Reading(observation, stored, (action,) if action else (), found)


def _observed(reader: FleetReader, service: Desired, stored: Stored, registered: list[model.Instance], *,
              certain: bool) -> Observation:
    """Put containers and registrations together; of a scheduler's service the registrations stand for containers."""
    at = clock.read(reader.context.settings.state_dir)
    everyone, containers_here = registered, responsibility.places_here(reader.context, service)
    if containers_here:  # another node's registrations are none of these containers
        registered = [each for each in registered if each.node == reader.context.node]
    registered = [reader.clocks.instance(each) for each in reader.check_words.put_into(registered)]
    containers, scheduler = reader.containers(service), reader.scheduler(service, stored.state, registered)
    if scheduler:
        everyone = [each._replace(container_id=container_id)
                    for container_id, group in model.by_container(registered).items() for each in group]
        registered = scheduler_view.of_tasks(service, scheduler, everyone)
        is_well = all(each.status == "passing" and each.maintenance is None for each in registered)
        tasks = {} if is_well else reader.local_tasks(service)
        containers = scheduler_view.containers(service, stored.state, scheduler, registered, at.now, tasks)
    return Observation(now=at.now, desired=service, containers=tuple(containers), instances=tuple(registered),
                       foreign=list_foreign(containers, everyone) if containers_here or scheduler else (),
                       unregistered={each.name: reader.unregistered[each.name] for each in containers
                                     if each.name in reader.unregistered},
                       state=stored.state, certain=certain, rules=reader.context.settings.heal, scheduler=scheduler,
                       awaited=reader.awaited(service, stored.state),
                       clock_set_at=at.set_at, clock_set_by=at.set_by)


def list_foreign(containers: Iterable[model.Container],
                 registered: Iterable[model.Instance]) -> tuple[model.Instance, ...]:
    """List the instances on nodes that answer which are of none of these containers."""
    ids = {each.id for each in containers}
    return tuple(first for owner, (first, *_) in sorted(model.by_container(registered).items())
                 if owner not in ids and first.node_alive)


def _with_traffic(reader: FleetReader, observation: Observation, idle_reads: Mapping[str, int]) -> Observation:
    """Add what nginx serves and what is in flight, where an instance drains or is not of the live colour."""
    others = [member for member in candidates(observation) if member.condition not in ("gone", "leaving")]
    draining = [member for member in (*members(observation), *others)
                if member.condition == "draining" and not observation.scheduler]
    if not draining and not others:
        return observation
    in_flight = {member.container.id: reader.in_flight(member, observation) for member in draining}
    serving, behind = reader.served(observation.desired, observation.instances)
    return observation._replace(
        serving=serving, behind=behind, in_flight=in_flight,
        idle_reads={each: idle_reads.get(each, 0) + 1 for each, count in in_flight.items() if count == 0})
