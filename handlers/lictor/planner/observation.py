"""The observation that a decision about one service rests on, and the maintenance reason that marks a drain."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from lictor.model import Clock, Container, Group, Instance
from lictor.planner.autoscale.traffic import Side
from lictor.planner.desired import Desired
from lictor.planner.service_state import Rollout, State
from lictor.spec import service_spec, settings

DRAINING = "lictor: draining since "

_NO_SPEC = service_spec.Spec(name="unknown", engine="none")  # nothing is started or ended without a spec
_DRAINING = re.compile(re.escape(DRAINING) + r"(?P<since>[0-9]{1,12}): (?P<why>.*)", re.DOTALL)


class Observer(NamedTuple):
    """The health of the observers (agent, engine, nginx, node); an unknown value gives no reason for a doubt."""

    agent_age_s: float | None = None  # since the start of this node's Consul agent
    unreadable_s_ago: float | None = None  # since an answer of Consul or Docker last could not be had
    nginx_trouble: str = ""  # why this node's nginx itself does not work
    also_failing: tuple[str, ...] = ()  # other services of this node that began to fail at about the same time


class Reservation(msgspec.Struct, frozen=True):
    """A replacement, taken off the budgets before it is begun, and kept whatever its outcome."""

    service: str
    container_id: str  # that of the container that is replaced
    at: float
    node: str = ""  # by whose clock


class SchedulerView(NamedTuple):
    """A scheduler that starts, places and ends the instances by itself, and what this node can do with it."""

    node: str  # the node that observes
    takes_orders: bool  # from this node: how many instances of which release there should be
    ends_instances: bool  # of this node, one by one, and starts others
    remembers_orders: bool  # and says them; else the last order is what lictor's own state says
    groups: tuple[Group, ...] = ()


class Counted(msgspec.Struct, frozen=True):
    """What the routing nodes' nginx counted of both colours since the last look at a canary."""

    until: float  # when the newest slice ended that is in it
    canary: Side = Side()
    live: Side = Side()
    silent: tuple[str, ...] = ()  # nodes that should count and do not
    is_routed: bool = True  # some nginx serves the service


class Observation(NamedTuple):
    """Everything that the decision about one service rests on."""

    now: float  # seconds since the epoch
    desired: Desired
    containers: tuple[Container, ...] = ()
    instances: tuple[Instance, ...] = ()
    foreign: tuple[Instance, ...] = ()  # under a name of the service, of no container that lictor made for it here
    serving: frozenset[tuple[str, str]] = frozenset()  # (node, service ID) that the nginx of any live node lists
    behind: tuple[tuple[str, bool], ...] = ()  # nodes whose nginx lists a colour that is not live; is the node alive?
    smoke: Mapping[str, str] = {}  # container id -> failure of its smoke test, "": it succeeded; of a new release
    in_flight: Mapping[str, int | None] = {}  # container id -> connections and requests to it, if it drains
    idle_reads: Mapping[str, int] = {}  # container id -> how often in a row nothing was in flight
    state: State = State()
    certain: bool = False  # read from Consul's leader with its quorum, and the service's keys by name
    observer: Observer = Observer()
    reservations: tuple[Reservation, ...] = ()  # the whole fleet's; read only when something is critical
    rules: settings.Heal = settings.Heal()
    unregistered: Mapping[str, str] = {}  # container -> why this node's registrar has not registered it as it is to be
    scheduler: SchedulerView | None = None  # None: lictor itself starts and ends each instance
    counted: Counted | None = None  # while the release under way is a canary
    set_trouble: str = ""  # of a set with state: what only a person can end
    awaited: Mapping[str, str] = {}  # release -> why none of it can start: a set that its environment names lacks
    clock_set_at: float = 0.0  # when the observing node's clock was last set, and by how many seconds; 0.0: unknown
    clock_set_by: float = 0.0

    @property
    def clock(self) -> Clock:
        return Clock(self.now, self.clock_set_at, self.clock_set_by)

    def since(self, began_at: float) -> float:
        """Find since when a wait counts, by a clock that may have been set; every wait is computed from that."""
        return self.clock.since(began_at)

    def began_at(self, at: float) -> float:
        """Find since when a wait counts whose begin was noted; if no time was, that is now."""
        return self.since(at) or self.now

    def started_at(self, container: Container) -> float:
        """Find since when a container counts as started, by the clock of its node: a time to come is of before it was
        set back, or the node was started."""
        is_of_before = self.clock_set_at and container.started_at > self.now
        return self.since(self.clock_set_at if is_of_before else container.started_at)

    @property
    def spec(self) -> service_spec.Spec:
        return self.desired.spec or _NO_SPEC

    @property
    def rollout(self) -> Rollout | None:
        return self.state.release.rollout

    @property
    def target(self) -> int:
        return 0 if self.desired.removed else self.desired.replicas

    @property
    def nodes_behind(self) -> list[str]:
        """The live nodes whose nginx lists a colour that is not live."""
        return [node for node, is_alive in self.behind if is_alive]

    def group(self, color: str) -> Group | None:
        """Find the scheduler's group of one colour; None: it has no order for it."""
        groups = self.scheduler.groups if self.scheduler else ()
        return next((group for group in groups if group.color == color), None)

    def with_state(self, **groups: Any) -> "Observation":
        """Replace these groups of its state."""
        return self._replace(state=msgspec.structs.replace(self.state, **groups))


def drain_mark(instance: Instance | None) -> tuple[float, str] | None:
    """Find since when lictor drains an instance, and why; None: it does not."""
    match = _DRAINING.fullmatch((instance and instance.maintenance) or "")
    return (float(match["since"]), match["why"]) if match else None


def drain_text(since: float, why: str) -> str:
    """Make the reason of a maintenance that is a drain, as `drain_mark` reads it."""
    return f"{DRAINING}{int(since)}: {why}"
