"""The members of a service: its containers, each with its registration and the condition that both show together."""

import math
from typing import NamedTuple

from lictor.model import JOINING, Container, Instance
from lictor.planner.observation import Observation, drain_mark

START_UP_GRACE_S = 60.0
WORST_FIRST = ("unhealthy", "failing", "starting", "maintenance", "joining", "healthy")  # the standing ones

_NOT_RUNNING = ("created", "exited", "dead")


class Member(NamedTuple):
    """A container, its registration, and its condition."""

    container: Container
    instance: Instance | None
    condition: str  # gone, leaving, draining, starting, failing, unhealthy, maintenance (by hand), joining or healthy
    until: float = 0.0  # starting, failing: when this ends by time alone
    has_passed_once: bool = False
    is_reserved: bool = False  # its replacement was taken off the budget
    critical_since: float = 0.0  # the first sighting; now: there was none, or it is to come by a wrong clock

    @property
    def name(self) -> str:
        return self.container.name

    @property
    def release(self) -> str:
        return self.container.release

    @property
    def ended(self) -> str:
        """How its container ended."""
        code = self.container.exit_code
        return self.container.status + ("" if code is None else f" with exit code {code}")

    @property
    def passes(self) -> bool:
        """Whether its check passes, in traffic or before it is let in."""
        return self.condition in ("healthy", "joining")

    @property
    def check_passes(self) -> bool:
        """Whether its check passes, also in a maintenance by hand."""
        return self.passes or bool(
            self.condition == "maintenance" and self.instance and self.instance.status != "critical")

    @property
    def stands(self) -> bool:
        """Whether it runs, and is not about to end."""
        return self.condition in WORST_FIRST

    @property
    def is_critical(self) -> bool:
        """Whether its check is critical after its start-up."""
        return self.condition in ("failing", "unhealthy")

    @property
    def failed_to_pass(self) -> bool:
        """Whether it has had its whole start-up and grace, and never passed."""
        return self.condition == "unhealthy" and not self.has_passed_once

    @property
    def is_replaced(self) -> bool:
        """Whether another was started for it, or would be, as it has failed to pass."""
        return self.condition == "unhealthy" and self.is_reserved or self.failed_to_pass


class Departures(NamedTuple):
    """The division of the standing members by the desired number."""

    staying: list[Member]
    replaced: list[Member]  # unhealthy: another was started for it, or it was started and never passed
    surplus: list[Member]  # more than the spec, or the tombstone, leaves


def members(observation: Observation) -> list[Member]:
    """List the members of the live colour, by number; of a removed service those of each colour."""
    desired = observation.desired
    return _members(observation, [container for container in observation.containers
                                  if desired.removed or container.color == desired.color])


def candidates(observation: Observation) -> list[Member]:
    """List the members of the colour that is not live: of a release under way, or of one that is over."""
    desired = observation.desired
    if desired.removed or not desired.color:
        return []
    return _members(observation, [container for container in observation.containers
                                  if container.color != desired.color])


def standing(observation: Observation) -> list[Member]:
    """List the members of the live colour that run and are not about to end."""
    return [member for member in members(observation) if member.stands]


def registrations(member: Member, observation: Observation) -> list[Instance]:
    """List all registrations of its container; `member.instance` is the best of them."""
    return [instance for instance in observation.instances if instance.container_id == member.container.id]


def is_well(observation: Observation) -> bool:
    """Tell whether as many members as desired are there, all healthy."""
    everyone = members(observation)
    return len(everyone) == observation.target and all(member.condition == "healthy" for member in everyone)


def departures(observation: Observation) -> Departures:
    """Choose the members that have to go, so that no more stand than are desired."""
    everyone = standing(observation)
    leaving = sorted(everyone, key=_worst_first)[:max(len(everyone) - observation.target, 0)]
    replaced = [member for member in leaving if observation.target and member.is_replaced]
    return Departures([member for member in everyone if member not in leaving], replaced,
                      [member for member in leaving if member not in replaced])


def surplus_stands_until(observation: Observation) -> float:
    """Tell when a surplus, counted from its first sighting, may go."""
    return (observation.state.healing.surplus_since or observation.now) + observation.rules.surplus_after_s


def _members(observation: Observation, containers: list[Container]) -> list[Member]:
    by_container = {instance.container_id: instance for instance in sorted(observation.instances, key=_best_last)}
    passed_once = observation.state.healing.passed_once
    reserved = {entry.container_id for entry in observation.reservations}
    found = []
    for container in sorted(containers, key=lambda container: (container.number, container.id)):
        instance = by_container.get(container.id)
        condition, until = _condition(container, instance, observation)
        found.append(Member(container, instance, condition, until, container.id in passed_once,
                            container.id in reserved, _critical_since(container, observation)))
    return found


def _best_last(instance: Instance) -> tuple[float, bool, bool, str, str]:
    """Order the registrations of one container: a stray one makes no instance unhealthy, nor drained."""
    drained_since, _ = drain_mark(instance) or (math.inf, "")
    return (drained_since, instance.maintenance is None, instance.status != "critical", instance.service_id,
            instance.node)


def _condition(container: Container, instance: Instance | None, observation: Observation) -> tuple[str, float]:
    """Judge a member's condition, and until when it lasts by time alone."""
    if container.status in _NOT_RUNNING:
        return "gone", 0.0
    if container.status == "removing":
        return "leaving", 0.0
    if instance is None:
        is_missed = _has_port(container, observation)
        return ("starting", _starts_until(container, observation)) if is_missed else ("healthy", 0.0)
    if drain_mark(instance):
        return "draining", 0.0
    is_joining = instance.maintenance == JOINING
    if instance.maintenance is not None and not is_joining:
        return "maintenance", 0.0
    if instance.status != "critical":
        return ("joining" if is_joining else "healthy"), 0.0
    return _judge(container, observation)


def _judge(container: Container, observation: Observation) -> tuple[str, float]:
    """Judge a critical check: it is starting, then failing for the grace, then unhealthy."""
    starts_until = _starts_until(container, observation)
    if container.id not in observation.state.healing.passed_once and observation.now < starts_until:
        return "starting", starts_until
    trusted_since = observation.since(_trusted_since(observation))
    judged_at = max(_critical_since(container, observation), trusted_since) + observation.spec.heal.grace
    return ("unhealthy" if observation.now >= judged_at else "failing"), judged_at


def _starts_until(container: Container, observation: Observation) -> float:
    return observation.since(container.started_at) + START_UP_GRACE_S


def _has_port(container: Container, observation: Observation) -> bool:
    """Tell whether it has to be registered: by the live spec, or the desired one."""
    release, desired = observation.state.release, observation.desired
    is_live = release.live_is_proven and container.release != desired.release
    return (is_live and release.live or desired.table or {}).get("port") is not None


def _trusted_since(observation: Observation) -> float:
    """Tell when the last doubt ended, of all observers or of this node alone."""
    trust, scheduler = observation.state.trust, observation.scheduler
    return max(trust.trusted_since, trust.by_node.get(scheduler.node, 0.0) if scheduler else 0.0)


def _critical_since(container: Container, observation: Observation) -> float:
    return observation.since(observation.state.healing.critical_since.get(container.id, observation.now))


def _worst_first(member: Member) -> tuple[int, float]:
    """Order the worst first, and of equals the newest."""
    rank = 0 if member.failed_to_pass else 1 if member.is_replaced else 2 + WORST_FIRST.index(member.condition)
    return rank, -member.container.started_at
