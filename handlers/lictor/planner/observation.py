"""What a decision about one service rests on, and what containers and registrations say together. Pure: no clock."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from lictor.model import JOINING, Container, Group, Instance
from lictor.planner.budget import Reservation
from lictor.planner.desired import Desired
from lictor.planner.service_state import State
from lictor.spec import settings

START_UP_GRACE_S = 60.0
DRAINING = "lictor: draining since "

_DRAINING = re.compile(re.escape(DRAINING) + r"(?P<since>[0-9]{1,12}): (?P<why>.*)", re.DOTALL)
_NOT_RUNNING = ("created", "exited", "dead")
WORST_FIRST = ("unhealthy", "failing", "starting", "maintenance", "joining", "healthy")  # of those that stand


class Observer(NamedTuple):
    """What is known of those through whose eyes we see; what is not known is no reason to doubt."""

    agent_age_s: float | None = None  # since the start of this node's Consul agent
    unreadable_s_ago: float | None = None  # since an answer of Consul or Docker last could not be had
    nginx_trouble: str = ""  # why this node's nginx itself does not work
    also_failing: tuple[str, ...] = ()  # other services of this node that began to fail at about the same time


class Counts(NamedTuple):
    """Of a service whose engine counts by itself: what that was told, and who we are to it."""

    node: str  # the node that looks
    tells: bool  # this node can tell the engine how many there should be
    ends: bool  # it can end one instance of its own node, and the engine starts another
    remembers: bool  # the engine itself says what it was told; else it is what we remember to have told it
    groups: tuple[Group, ...] = ()


class Observation(NamedTuple):
    """Everything that the decision about one service rests on."""

    now: float  # seconds since the epoch
    desired: Desired
    containers: tuple[Container, ...] = ()
    instances: tuple[Instance, ...] = ()
    serving: frozenset[tuple[str, str]] = frozenset()  # (node, service ID) that the nginx of any live node lists
    behind: tuple[tuple[str, bool], ...] = ()  # nodes whose nginx lists a colour that is not live; is the node alive?
    smoke: Mapping[str, str] = {}  # container id -> what its smoke path said, "" when all was well; of a new release
    in_flight: Mapping[str, int | None] = {}  # container id -> connections and requests to it, if it drains
    idle_reads: Mapping[str, int] = {}  # container id -> how often in a row nothing was in flight
    state: State = State()
    certain: bool = False  # read from Consul's leader with its quorum, and the service's keys by name
    observer: Observer = Observer()
    reservations: tuple[Reservation, ...] = ()  # the whole fleet's; read only when something is critical
    rules: settings.Heal = settings.Heal()
    counts: Counts | None = None  # None: lictor itself starts and ends each instance

    @property
    def target(self) -> int:
        return 0 if self.desired.removed else self.desired.replicas


class Member(NamedTuple):
    """A container with its registration, and what the two together say."""

    container: Container
    instance: Instance | None
    condition: str  # gone, leaving, draining, starting, failing, unhealthy, maintenance (by hand), joining or healthy
    until: float = 0.0  # starting, failing: when this ends by time alone

    @property
    def name(self) -> str:
        return self.container.name

    @property
    def passes(self) -> bool:
        """Its check does, whether it gets traffic or is yet to be let in."""
        return self.condition in ("healthy", "joining")

    @property
    def is_good(self) -> bool:
        """It counts as one of those that are wanted, and nothing has been found against it so far."""
        return self.stands and self.condition != "unhealthy"

    @property
    def stands(self) -> bool:
        """It runs, and is not about to end."""
        return self.condition in WORST_FIRST


def members(seen: Observation) -> list[Member]:
    """The service's containers of the live colour, by number; of a removed service those of each colour."""
    return _members(seen, [each for each in seen.containers
                           if seen.desired.removed or each.color == seen.desired.color])


def candidates(seen: Observation) -> list[Member]:
    """The service's containers of the colour that is not live: of a release under way, or of one that is over."""
    if seen.desired.removed or not seen.desired.color:
        return []
    return _members(seen, [each for each in seen.containers if each.color != seen.desired.color])


def registrations(member: Member, seen: Observation) -> list[Instance]:
    """All of its container, of which `member.instance` is the one that speaks for it."""
    return [each for each in seen.instances if each.container_id == member.container.id]


def group(seen: Observation, color: str) -> Group | None:
    """What the engine was told of one colour; None: nothing."""
    return next((each for each in seen.counts.groups if each.color == color), None) if seen.counts else None


def drain_mark(instance: Instance | None) -> tuple[float, str] | None:
    """Since when an instance is drained by lictor, and why; None: it is not."""
    match = _DRAINING.fullmatch((instance and instance.maintenance) or "")
    return (float(match["since"]), match["why"]) if match else None


def drain_text(since: float, why: str) -> str:
    """The reason of a maintenance that is a drain, as `drain_mark` reads it."""
    return f"{DRAINING}{int(since)}: {why}"


def critical_for_s(member: Member, seen: Observation) -> float:
    return seen.now - critical_since(member.container, seen)


def critical_since(container: Container, seen: Observation) -> float:
    """Its first sighting; one that a wrong clock dated into the future is now."""
    return min(seen.state.critical_since.get(container.id, seen.now), seen.now)


def failed_to_pass(member: Member, seen: Observation) -> bool:
    """Whether it has had all of its start-up grace and more, and never passed."""
    return member.condition == "unhealthy" and member.container.id not in seen.state.passed


def is_replaced(member: Member, seen: Observation) -> bool:
    """Whether another was started for it, or would be: it has failed to pass."""
    reserved = any(each.container_id == member.container.id for each in seen.reservations)
    return member.condition == "unhealthy" and (reserved or failed_to_pass(member, seen))


def _members(seen: Observation, containers: list[Container]) -> list[Member]:
    by_container = {each.container_id: each for each in sorted(seen.instances, key=_speaks_for_it)}
    return [_member(each, by_container.get(each.id), seen)
            for each in sorted(containers, key=lambda each: (each.number, each.id))]


def _speaks_for_it(instance: Instance) -> tuple[float, bool, bool, str, str]:
    """Of several registrations of one container the best comes last: a stray one makes nobody ill, nor drained."""
    drained_since, _ = drain_mark(instance) or (math.inf, "")
    return (drained_since, instance.maintenance is None, instance.status != "critical", instance.service_id,
            instance.node)


def _member(container: Container, instance: Instance | None, seen: Observation) -> Member:
    if container.status in _NOT_RUNNING:
        return Member(container, instance, "gone")
    if container.status == "removing":
        return Member(container, instance, "leaving")
    started_until = container.started_at + START_UP_GRACE_S
    if started_until > seen.now + 2 * START_UP_GRACE_S:  # by a clock that was set back since: else it lasts for ever
        started_until = 0.0
    if instance is None:
        is_live = seen.state.proven and container.release != seen.desired.release
        has_port = (is_live and seen.state.live or seen.desired.table or {}).get("port") is not None
        return Member(container, None, "starting", started_until) if has_port else Member(container, None, "healthy")
    if drain_mark(instance):
        return Member(container, instance, "draining")
    is_joining = instance.maintenance == JOINING
    if instance.maintenance is not None and not is_joining:
        return Member(container, instance, "maintenance")
    if instance.status != "critical":
        return Member(container, instance, "joining" if is_joining else "healthy")
    if container.id not in seen.state.passed and seen.now < started_until:
        return Member(container, instance, "starting", started_until)
    grace_s = seen.desired.spec.heal.grace if seen.desired.spec else 0.0
    judged_at = max(critical_since(container, seen), min(_trusted_since(seen), seen.now)) + grace_s
    return Member(container, instance, "unhealthy" if seen.now >= judged_at else "failing", judged_at)


def _trusted_since(seen: Observation) -> float:
    """When the last doubt ended, of all who look or of this node alone."""
    own = seen.state.trusted_by.get(seen.counts.node, 0.0) if seen.counts else 0.0
    return max(seen.state.trusted_since, own)
