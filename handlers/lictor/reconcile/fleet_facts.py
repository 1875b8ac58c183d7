"""What a judgement asks for beside the service itself: the observers, the other services, the budget, this nginx."""

import functools
from collections.abc import Iterable

from lictor import errors, model
from lictor.adapters.consul.client import Client
from lictor.planner import budget, self_preservation, service_state
from lictor.planner.observation import Observation, Observer
from lictor.reconcile import observer_health
from lictor.reconcile.state_store import StateStore
from lictor.routing import live_peers
from lictor.spec.settings import Settings


class Surroundings:
    """Looked up when the first service needs it, and once for all that are observed together."""

    def __init__(self, settings: Settings, catalog: Client, node: str) -> None:
        self._settings, self._catalog, self._node = settings, catalog, node
        self._counting = settings.nginx if settings.nginx and settings.nginx.mode == "live" else None

    def complete(self, seen: Observation) -> Observation:
        """The observation with what else a decision about it needs; the costly part only when something is critical."""
        nearby = Observer(self._agent_age_s, observer_health.unreadable_s_ago(self._settings, seen.desired.name))
        seen = seen._replace(observer=nearby)
        critical = self_preservation.judged(seen)
        if not critical and not seen.state.breaker:
            return seen
        failing_too = self_preservation.failing_too(seen, self._states, self._node) if critical else ()
        return seen._replace(reservations=self._reservations, observer=nearby._replace(
            nginx_trouble=self._nginx_trouble, also_failing=failing_too))

    def requests_at(self, name: str, instances: Iterable[model.Instance]) -> int:
        """How many requests of this service the nginx of this node has at these instances, connected or about to be; 0
        where it counts none. One that does not answer is waited for once."""
        if self._counting is None:
            return 0
        try:
            return live_peers.requests_at(self._counting.conf_dir, name, instances)
        except errors.Unavailable:
            self._counting = None
            return 0

    @functools.cached_property
    def _agent_age_s(self) -> float | None:
        return observer_health.agent_age_s(self._settings)

    @functools.cached_property
    def _nginx_trouble(self) -> str:
        return observer_health.nginx_trouble(self._settings)

    @functools.cached_property
    def _states(self) -> dict[str, service_state.State]:
        return {name: stored.state for name, stored in StateStore(self._catalog).read_all().items()}

    @functools.cached_property
    def _reservations(self) -> tuple[budget.Reservation, ...]:
        entry = self._catalog.get(budget.KEY)
        return budget.decode(entry.value if entry else None)
