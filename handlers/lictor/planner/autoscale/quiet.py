"""The times at which the count of instances is left alone, whatever the load: something else moves it, or is in doubt.
Pure."""

from lictor.planner.members import candidates, members
from lictor.planner.observation import Observation

_BEAR_LOAD = ("healthy", "failing", "unhealthy")  # an instance whose check fails under its load gets some of it still
_SOON = {"starting": "starts", "joining": "joins", "restarting": "is restarted", "paused": "is paused",
         "maintenance": "is out of traffic by hand"}


def count_serving(observation: Observation) -> int:
    """Count the instances that bear the load."""
    return sum(member.condition in _BEAR_LOAD for member in members(observation))


def last_passed_at(observation: Observation) -> float:
    """Find when the last of the instances began to pass; 0.0: unknown."""
    passed_at = observation.state.healing.passed_at
    return max((observation.since(passed_at.get(member.container.id, 0.0)) for member in members(observation)),
               default=0.0)


def is_mixed(observation: Observation) -> bool:
    """Tell whether instances of two releases may answer."""
    return bool(observation.rollout or observation.nodes_behind)


def find_obstacle(observation: Observation, *, has_count: bool) -> str:
    """Say why the count is not to be changed now; usually "". `has_count`: its key is there, be it refused."""
    desired, state = observation.desired, observation.state
    if desired.why_held:
        return desired.why_held
    if has_count and not desired.replicas_given:
        return "the count in its key is refused"
    if desired.replicas == 0:
        return "no instance is desired"
    if state.breaker:
        return "the breaker is open"
    if observation.rollout:
        return "a release is under way"
    if observation.nodes_behind:
        return f"the nginx of {', '.join(observation.nodes_behind)} may still ask the release before"
    if state.trust.doubt:
        return f"doubt: {state.trust.doubt}"
    return _find_movement(observation)


def _find_movement(observation: Observation) -> str:
    everyone = [*members(observation), *(each for each in candidates(observation) if each.condition == "draining")]
    for member in everyone:
        if member.condition in ("draining", "leaving"):
            return f"{member.name} drains"
    for member in everyone:
        if member.condition in _SOON:
            return f"{member.name} {_SOON[member.condition]}"
    serving = count_serving(observation)
    return "" if serving == observation.target else f"{serving} run, and {observation.target} are desired"
