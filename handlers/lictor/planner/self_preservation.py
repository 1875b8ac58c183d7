"""When not to trust what is seen: then nothing that runs is replaced, and traffic stays where it is. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from lictor.planner.observation import Member, Observation, Observer, members
from lictor.planner.service_state import State

MANY = 3  # of so few instances or services that fail together, the observer is suspected rather than they
AT_ONCE_S = 30.0


class Doubt(NamedTuple):
    """Why not, and until when by time alone (0.0: that cannot be said)."""

    why: str
    until: float = 0.0


def blindness(seen: Observation) -> Doubt | None:
    """Whether the data itself may be wrong: then not even a surplus is believed."""
    observer, trust_after_s = seen.observer, seen.rules.trust_after_s
    for what, age_s in (("Consul's agent was started", observer.agent_age_s),
                        ("an answer could not be read", observer.unreadable_s_ago)):
        if age_s is not None and age_s < trust_after_s:
            return Doubt(f"{what} less than {trust_after_s:g} s ago", seen.now + trust_after_s - age_s)
    everyone = members(seen)
    if any(each.instance and not each.instance.node_alive for each in everyone):  # all are this node's
        return Doubt("to Consul this node does not answer (serfHealth)")
    lost_sight = [each for each in everyone if each.instance is None and each.container.id in seen.state.passed
                  and each.condition == "starting"]
    if lost_sight and not any(each.instance for each in everyone):
        return Doubt(f"none of its {len(lost_sight)} registrations can be seen")
    return None


def suspicion(seen: Observation) -> Doubt | None:
    """Whether so much fails at once that whoever looks is more likely at fault than what is looked at."""
    watched = [each for each in members(seen) if each.instance and (each.is_good or each.condition == "unhealthy")]
    critical, observer = judged(seen), seen.observer
    if not critical:
        return None
    if observer.nginx_trouble:
        return Doubt(f"nginx itself fails: {observer.nginx_trouble}")
    if min(seen.target, len(watched)) < MANY:  # too few to tell; they are replaced one at a time
        return None
    if 2 * len(critical) > len(watched):
        return Doubt(f"{len(critical)} of {len(watched)} instances are critical at once")
    if len(observer.also_failing) + 1 >= MANY:
        return Doubt(f"{', '.join(observer.also_failing)} on this node began to fail at the same time")
    return None


def new_doubt(seen: Observation) -> Doubt | None:
    """What this observation itself gives a reason to doubt; data that may be wrong matters only to judgements."""
    return suspicion(seen) or (blindness(seen) if judged(seen) else None)


def lasting(seen: Observation) -> Observation:
    """What a doubt that is remembered rests on. Where several nodes look at a service, what only this one sees is none:
    the others would end it each time, and the grace begin anew."""
    return seen._replace(observer=Observer()) if seen.counts else seen


def doubt(seen: Observation) -> Doubt | None:
    """The doubt in force about who is ill, a remembered one too: `memory` ends that, after a consistent reading."""
    return new_doubt(seen) or (Doubt(seen.state.doubt) if seen.state.doubt else None)


def judged(seen: Observation) -> list[Member]:
    """Those whose check is critical, after their start-up."""
    return [each for each in members(seen) if each.condition in ("failing", "unhealthy")]


def failing_too(seen: Observation, states: Mapping[str, State], node: str) -> tuple[str, ...]:
    """The other services of this node of which an instance turned critical at about the same time as one of this."""
    since = [seen.state.critical_since.get(each.container.id, seen.now) for each in judged(seen)]
    return tuple(sorted(
        name for name, state in states.items()
        if name != seen.desired.name and (state.spec or {}).get("node") == node
        and any(abs(ours - theirs) <= AT_ONCE_S for ours in since for theirs in state.critical_since.values())))
