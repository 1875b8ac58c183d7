"""Self-preservation: doubts in what is observed, under which no running instance is replaced.

States: trusted; blind (the data may be wrong: not even a surplus is believed); in doubt (more fails at once than fails
by itself: no instance is judged). Blindness ends by itself, with its cause. A doubt is remembered: it ends only with a
consistent reading that gives no reason for one, and then every instance has its whole grace again.

Never: an instance is replaced, drained or judged by data of a young agent, of a node that Consul calls dead, or of
registrations that all vanished; more than half of three or more instances are replaced because their observer fails.
"""

from collections.abc import Mapping

from lictor.planner.actions import Obstacle
from lictor.planner.members import Member, members
from lictor.planner.observation import Observation, Observer
from lictor.planner.service_state import State, Trust

MANY = 3  # of so few instances or services that fail together, the observer is suspected
AT_ONCE_S = 30.0


def blindness(observation: Observation) -> Obstacle | None:
    """Say why the data itself may be wrong, so that not even a surplus is believed."""
    everyone = members(observation)
    if unreliable := _unreliable_answers(observation):
        return unreliable
    if any(member.instance and not member.instance.node_alive for member in everyone):  # all are this node's
        return Obstacle("to Consul this node does not answer (serfHealth)")
    vanished = [member for member in everyone if member.instance is None and member.condition == "starting"
                and member.has_passed_once]
    if vanished and not any(member.instance for member in everyone):
        return Obstacle(f"none of its {len(vanished)} registrations can be seen")
    return None


def suspicion(observation: Observation) -> Obstacle | None:
    """Say why the observer is more likely at fault than the instances."""
    critical, observer = critical_members(observation), observation.observer
    watched = [member for member in members(observation) if member.instance and member.stands
               and member.condition not in ("paused", "restarting")]  # whose checks tell nothing
    if not critical:
        return None
    if observer.nginx_trouble:
        return Obstacle(f"nginx itself fails: {observer.nginx_trouble}")
    if min(observation.target, len(watched)) < MANY:  # too few to tell; they are replaced one at a time
        return None
    if 2 * len(critical) > len(watched):
        return Obstacle(f"{len(critical)} of {len(watched)} instances are critical at once")
    if len(observer.also_failing) + 1 >= MANY:
        return Obstacle(f"{', '.join(observer.also_failing)} on this node began to fail at the same time")
    return None


def new_doubt(observation: Observation) -> Obstacle | None:
    """Say which reason for a doubt this observation itself gives; blindness matters to judgements only."""
    return suspicion(observation) or (blindness(observation) if critical_members(observation) else None)


def doubt(observation: Observation) -> Obstacle | None:
    """Say which doubt is in force, a remembered one too."""
    remembered = observation.state.trust.doubt
    return new_doubt(observation) or (Obstacle(remembered) if remembered else None)


def shared(observation: Observation) -> Observation:
    """Leave out what only this node can see, if several nodes observe the service: the other nodes would
    end a doubt of it each time, and the grace would begin anew."""
    return observation._replace(observer=Observer()) if observation.scheduler else observation


def critical_members(observation: Observation) -> list[Member]:
    """List the members whose check is critical after their start-up."""
    return [member for member in members(observation) if member.is_critical]


def failing_too(observation: Observation, states: Mapping[str, State], node: str) -> tuple[str, ...]:
    """List the other services of this node of which an instance turned critical at about the same time."""
    since = [member.critical_since for member in critical_members(observation)
             if member.critical_since != observation.clock_set_at]  # since then, or for longer: that is unknown
    return tuple(sorted(
        name for name, state in states.items()
        if name != observation.desired.name and (state.last_good.spec or {}).get("node") == node
        and any(abs(ours - theirs) <= AT_ONCE_S for ours in since for theirs in state.healing.critical_since.values())))


def advance(observation: Observation) -> Trust:
    """Begin, keep or end the doubt of all observers, and the doubt that only this node has."""
    trust, now, found = observation.state.trust, observation.now, new_doubt(shared(observation))
    by_node = _advance_by_node(observation, found)
    if trust.doubt and observation.certain and found is None:
        return Trust("", now, by_node)
    return Trust(found.why if found else trust.doubt, observation.since(trust.trusted_since), by_node)


def _advance_by_node(observation: Observation, shared_doubt: Obstacle | None) -> dict[str, float]:
    """Begin or end the doubt that only this node has; other nodes neither end nor heed it."""
    if observation.scheduler is None:
        return {}
    node, now = observation.scheduler.node, observation.now
    by_node = {name: observation.since(at) for name, at in observation.state.trust.by_node.items()}
    if shared_doubt is None and new_doubt(observation):
        return {**by_node, node: 0.0}
    return {**by_node, node: now} if by_node.get(node) == 0.0 else by_node


def _unreliable_answers(observation: Observation) -> Obstacle | None:
    observer, trust_after_s = observation.observer, observation.rules.trust_after_s
    for event, age_s in (("Consul's agent was started", observer.agent_age_s),
                         ("an answer could not be read", observer.unreadable_s_ago)):
        if age_s is not None and age_s < trust_after_s:
            return Obstacle(f"{event} less than {trust_after_s:g} s ago", observation.now + trust_after_s - age_s)
    return None
