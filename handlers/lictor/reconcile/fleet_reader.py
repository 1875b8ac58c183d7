"""The reader of facts beside a service's own keys and registrations: engines, nginx, nodes, budget, other services."""

import contextlib
import functools
from collections.abc import Mapping, Sequence

from lictor import errors, model
from lictor.adapters import heartbeat
from lictor.engines.registry import CONTAINER_ENGINES, SCHEDULERS, TASK_ENDERS
from lictor.planner import breaker, self_preservation
from lictor.planner.desired import Desired
from lictor.planner.members import Member, registrations
from lictor.planner.observation import Observation, Observer, Reservation, SchedulerView
from lictor.planner.service_state import State
from lictor.reconcile import observer_health, responsibility, scheduler_view
from lictor.reconcile.cluster import seeds
from lictor.reconcile.conditions import CheckWords
from lictor.reconcile.context import Context
from lictor.reconcile.state_store import StateStore, Stored
from lictor.routing import announce, live_peers, nginx_mode
from lictor.spec.placeholders import find_sets


class FleetReader:
    """Reads each fact when the first service needs it, and once for all that are observed together.

    One reader lives as long as one observation: of `service` alone, exactly, or of all services as hints.
    """

    def __init__(self, context: Context, service: str | None = None) -> None:
        self.context, self._service, self.clocks = context, service, context.clocks
        self._containers: dict[str, list[model.Container]] = {}
        self._schedulers: dict[str, tuple[bool, list[model.Group] | None]] = {}  # whether this node acts, the orders
        nginx = context.settings.nginx
        self._live_nginx = nginx if nginx and nginx_mode.read(context.settings).name == "live" else None

    def containers(self, service: Desired) -> list[model.Container]:
        """Read the containers of a service that this node places; [] for other services."""
        if service.spec is None or not responsibility.places_here(self.context, service):
            return []
        name = service.spec.engine
        if name not in self._containers:
            self._containers[name] = CONTAINER_ENGINES[name].containers(self._service)
        return [each for each in self._containers[name] if each.service == service.name]

    @functools.cached_property
    def unregistered(self) -> dict[str, str]:
        """Read why this node's registrar has not registered containers, by name."""
        beat = heartbeat.read(self.context.settings.state_dir)
        return {refusal.container: refusal.reason for refusal in beat.refusals} if beat else {}

    def scheduler(self, service: Desired, state: State, instances: Sequence[model.Instance]) -> SchedulerView | None:
        """Read the orders of a scheduler, from itself or from the state; None for an engine that is no scheduler."""
        name = service.spec.engine if service.spec else ""
        if name not in SCHEDULERS:
            return None
        if name not in self._schedulers:
            acts = SCHEDULERS[name].acts_here(self.context.settings)
            self._schedulers[name] = acts, SCHEDULERS[name].groups(self._service) if acts else None
        acts, known = self._schedulers[name]
        groups = ([group for group in known if group.service == service.name] if known is not None
                  else scheduler_view.remembered_groups(service, state, instances))
        return SchedulerView(self.context.node, acts, name in TASK_ENDERS, known is not None, tuple(groups))

    def local_tasks(self, service: Desired) -> dict[str, model.Container]:
        """Read what Docker says of a scheduler's containers on this node, by id; none if it cannot be asked."""
        name = service.spec.engine if service.spec else ""
        if name in TASK_ENDERS and name not in self._containers:
            self._containers[name] = []
            with contextlib.suppress(errors.LictorError):  # most of them are other nodes'
                self._containers[name] = TASK_ENDERS[name].containers(self._service)
        return {each.id: each for each in self._containers.get(name, ())}

    def awaited(self, service: Desired, state: State) -> dict[str, str]:
        """Say by release why none of it can be started here: its environment names a set that has no member."""
        if service.spec is None or not responsibility.places_here(self.context, service):
            return {}
        live, before = state.release.live or {}, state.release.previous or {}
        environments = {state.release.previous_release: before.get("environment"),
                        state.release.live_release: live.get("environment"), service.release: service.spec.environment}
        return {release: why for release, environment in environments.items()
                if find_sets(environment) and (why := seeds.explain_wait(environment, self._seeds))}

    def with_observer(self, observation: Observation) -> Observation:
        """Add facts about the observer; the costly ones only if an instance is critical or the breaker is open."""
        name, settings = observation.desired.name, self.context.settings
        observer = Observer(self._agent_age_s, observer_health.unreadable_s_ago(settings, name))
        observation = observation._replace(observer=observer)
        critical = self_preservation.critical_members(observation)
        if not critical and not observation.state.breaker:
            return observation
        states = {name: stored.state for name, stored in self.states.items()} if critical else {}
        also_failing = self_preservation.failing_too(observation, states, self.context.node)
        return observation._replace(reservations=self._reservations, observer=observer._replace(
            nginx_trouble=self._nginx_trouble, also_failing=also_failing))

    def in_flight(self, member: Member, observation: Observation) -> int | None:
        """Count the connections to a container, as its engine sees them of all clients.

        If this node's nginx has more requests at it, their number counts: some may not be connected yet.
        """
        spec = observation.desired.spec
        assert spec is not None
        connections = CONTAINER_ENGINES[spec.engine].in_flight(member.container)
        requests = self._requests_at(spec.name, registrations(member, observation))
        return requests if requests > (connections or 0) else connections

    def served(self, service: Desired, instances: Sequence[model.Instance]) -> tuple[
            frozenset[tuple[str, str]], tuple[tuple[str, bool], ...]]:
        """Read the (node, service ID) pairs that nginx serves on any live node. The second value lists the nodes, with
        whether they are alive, whose nginx serves a colour that is not live. A damaged announcement names all."""
        alive, node, prefix = self._alive_nodes, self.context.node, f"{announce.PREFIX}{service.name}/"
        if node not in alive:
            raise errors.Unavailable(f"{node} is not among the nodes that are alive, so which nginx serves "
                                     f"{service.name} is unknown: does the token allow to read nodes?")
        announced = self.context.client.tree(prefix)
        if not announced:  # perhaps for want of rights, which only a key that is asked for by name shows
            self.context.client.get(f"{prefix}{node}")
        everything = {(each.node, each.service_id) for each in instances}
        not_live = {(each.node, each.service_id) for each in instances if each.service != service.catalog_name}
        serving, behind = set[tuple[str, str]](), []
        for key, entry in sorted(announced.items()):
            node, listed = key.removeprefix(prefix), announce.pairs(entry.value)
            pairs = everything if listed is None else set(listed)
            if node in alive:
                serving |= pairs
            if pairs & not_live and (node in alive or service.color):
                behind.append((node, node in alive))
        return frozenset(serving), tuple(behind)

    def _requests_at(self, name: str, instances: Sequence[model.Instance]) -> int:
        """Count the requests that this node's nginx has at these instances; 0 if it counts none.

        An nginx that does not answer is waited for once.
        """
        if self._live_nginx is None:
            return 0
        try:
            return live_peers.requests_at(self._live_nginx.conf_dir, name, instances)
        except errors.Unavailable:
            self._live_nginx = None
            return 0

    @functools.cached_property
    def check_words(self) -> CheckWords:
        return CheckWords(self.context.client, self.context.node)

    @functools.cached_property
    def _seeds(self) -> Mapping[str, bytes]:
        return seeds.read_all(self.context.client)

    @functools.cached_property
    def _agent_age_s(self) -> float | None:
        return observer_health.agent_age_s(self.context.settings)

    @functools.cached_property
    def _nginx_trouble(self) -> str:
        return observer_health.nginx_trouble(self.context.settings)

    @functools.cached_property
    def _alive_nodes(self) -> frozenset[str]:
        return self.context.client.alive_nodes()

    @functools.cached_property
    def states(self) -> dict[str, Stored]:
        return StateStore(self.context.client, clocks=self.clocks).read_all()

    @functools.cached_property
    def _reservations(self) -> tuple[Reservation, ...]:
        entry = self.context.client.get(breaker.KEY)
        return tuple(self.clocks.reservation(each) for each in breaker.decode(entry.value if entry else None))
