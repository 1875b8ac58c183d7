"""The members of a service: its containers, each with its registrations and the condition that all show together.

A container is as well as the worst of its registrations. One for UDP says nothing of a port that is asked by TCP.
"""

from typing import NamedTuple

from lictor.model import JOINING, PAUSED, Container, Instance, by_container
from lictor.planner.observation import Observation, drain_mark

WORST_FIRST = (  # the standing ones
    "unhealthy", "failing", "restarting", "starting", "paused", "maintenance", "joining", "healthy")

_BY_DOCKER = ("paused", "restarting")
_NOT_RUNNING = ("created", "exited", "dead")


class Member(NamedTuple):
    """A container, its registration, and its condition."""

    container: Container
    instance: Instance | None  # the worst of its registrations
    condition: str  # gone, leaving, draining, or one of WORST_FIRST; maintenance is by hand
    until: float = 0.0  # starting, failing: when this ends by time alone
    has_passed_once: bool = False
    is_reserved: bool = False  # its replacement was taken off the budget
    unregistered: str = ""  # why the registrar has not registered it
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
        why = ", out of memory" if self.container.is_out_of_memory else ""
        return self.container.status + ("" if code is None else f" with exit code {code}{why}")

    @property
    def words(self) -> str:
        """How it is, or how it ended, with the evidence."""
        return f"{self.name} is {self.ended if self.condition == 'gone' else self.condition}{self.evidence}"

    @property
    def evidence(self) -> str:
        """The words of its failing check, or why it has none, to be put behind a reason."""
        words = self.instance.output if self.instance else self.unregistered
        return f": {words}" if words else ""

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
    """List all registrations of its container, those for UDP too."""
    return [instance for instance in observation.instances if instance.container_id == member.container.id]


def explain(member: Member, observation: Observation) -> str:
    """Say "STATE: CAUSE" of a standing member that does not pass, with its evidence and the setting that ends that."""
    spec, seen, healthcheck = observation.spec, member.evidence, member.container.health == "starting"
    starting = f"its check has not passed yet{seen}" if member.instance else f"it is not registered yet{seen}"
    patience = "the HEALTHCHECK's start period and retries" if healthcheck else f"check.start, {spec.start_up_s:g} s"
    docker_name = member.container.id[:12] if observation.scheduler else member.name
    causes = {
        "starting": f"{starting}. It has time for that: {patience}",
        "failing": f"Docker calls it healthy, and lictor-registrar does not report that{seen}"
                   if _is_well_for_docker(member.container, observation) else
                   f"its check is critical for less than heal.grace, {spec.heal.grace:g} s{seen}",
        "unhealthy": f"its check is critical for {observation.now - member.critical_since:.0f} s{seen}",
        "paused": f"it gets no traffic, and is left alone until `docker unpause {docker_name}`",
        "restarting": "Docker restarts it by itself",
        "maintenance": f"it was taken out of traffic by hand ({member.instance and member.instance.maintenance})"}
    return f"{member.condition}: {causes.get(member.condition, 'it is on its way')}"


def untouchable(member: Member) -> str:
    """Say why its container must neither be stopped nor removed; usually ""."""
    if member.condition == "paused":
        return f"it is paused, and left alone until `docker unpause {member.name}`"
    return ""


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
    registered = by_container(observation.instances)
    passed_once = observation.state.healing.passed_once
    reserved = {entry.container_id for entry in observation.reservations}
    found = []
    for container in sorted(containers, key=lambda container: (container.number, container.id)):
        heeded = [each for each in registered.get(container.id, ())
                  if not each.is_udp or _speaks_udp(container, observation)]
        instance = min(heeded, key=_worst_registration_first) if heeded[1:] else next(iter(heeded), None)
        condition, until = _condition(container, instance, observation)
        found.append(Member(container, instance, condition, until, container.id in passed_once,
                            container.id in reserved, observation.unregistered.get(container.name, ""),
                            _critical_since(container, observation)))
    return found


def _worst_registration_first(instance: Instance) -> tuple[int, float, list[str]]:
    mark, is_by_hand = drain_mark(instance), instance.maintenance not in (None, JOINING)
    rank = 0 if mark else 1 if is_by_hand else 2 if instance.status == "critical" else 3 if instance.maintenance else 4
    return rank, -mark[0] if mark else 0.0, [str(field) for field in instance]


def _condition(container: Container, instance: Instance | None, observation: Observation) -> tuple[str, float]:
    """Judge a member's condition, and until when it lasts by time alone."""
    if container.status in _NOT_RUNNING:
        return "gone", 0.0
    if container.status == "removing":
        return "leaving", 0.0
    if container.status in _BY_DOCKER:
        return container.status, 0.0
    if instance is None:
        is_missed = _port(container, observation) is not None
        return ("starting", _starts_until(container, observation)) if is_missed else ("healthy", 0.0)
    if drain_mark(instance):
        return "draining", 0.0
    if instance.maintenance == PAUSED:  # by its registrar, so that it is known on other nodes too
        return "paused", 0.0
    is_joining = instance.maintenance == JOINING
    if instance.maintenance is not None and not is_joining:
        return "maintenance", 0.0
    if instance.status != "critical":
        return ("joining" if is_joining else "healthy"), 0.0
    if container.health == "starting":
        return "starting", 0.0
    return _judge(container, observation)


def _judge(container: Container, observation: Observation) -> tuple[str, float]:
    """Judge a critical check: it is starting, then failing for the grace, then unhealthy."""
    starts_until = _starts_until(container, observation)
    if observation.now < starts_until and not _has_passed(container, observation):
        return "starting", starts_until
    if _is_well_for_docker(container, observation):
        return "failing", observation.now + observation.spec.heal.grace
    trusted_since = observation.since(_trusted_since(observation))
    judged_at = max(_critical_since(container, observation), trusted_since) + observation.spec.heal.grace
    return ("unhealthy" if observation.now >= judged_at else "failing"), judged_at


def _is_well_for_docker(container: Container, observation: Observation) -> bool:
    """Tell whether the HEALTHCHECK, which is its check, passes: then its registrar has not reported that for long."""
    return container.health == "healthy" and observation.spec.check is None


def _has_passed(container: Container, observation: Observation) -> bool:
    """Tell whether it has passed since its start. One that people restarted starts anew; what Docker restarts by itself
    failed, and would never be judged if it did so again and again."""
    healing = observation.state.healing
    passed_at = healing.passed_at.get(container.id, container.started_at)
    is_restarted = passed_at < container.started_at and not container.restarts
    return container.id in healing.passed_once and not is_restarted


def _starts_until(container: Container, observation: Observation) -> float:
    return observation.started_at(container) + observation.spec.start_up_s


def _port(container: Container, observation: Observation) -> object:
    """Find the port with which it has to be registered, by the live spec or the desired one; None: with none."""
    release, desired = observation.state.release, observation.desired
    is_live = release.live_is_proven and container.release != desired.release
    return (is_live and release.live or desired.table or {}).get("port")


def _speaks_udp(container: Container, observation: Observation) -> bool:
    port = _port(container, observation)
    return port is None or str(port).endswith("/udp")


def _trusted_since(observation: Observation) -> float:
    """Tell when the last doubt ended, of all observers or of this node alone."""
    trust, scheduler = observation.state.trust, observation.scheduler
    return max(trust.trusted_since, trust.by_node.get(scheduler.node, 0.0) if scheduler else 0.0)


def _critical_since(container: Container, observation: Observation) -> float:
    return observation.began_at(observation.state.healing.critical_since.get(container.id, 0.0))


def _worst_first(member: Member) -> tuple[int, float]:
    """Order the worst first, and of equals the newest."""
    rank = 0 if member.failed_to_pass else 1 if member.is_replaced else 2 + WORST_FIRST.index(member.condition)
    return rank, -member.container.started_at
