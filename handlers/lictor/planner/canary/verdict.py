"""The verdict on a canary: it fails, it waits, or it has shown that it is not worse.

It fails at once if it is worse for sure. After `for`, it has shown enough if so many requests came to both sides that a
worsening which matters would have been found. Else it waits for more, at most for the release's deadline, and fails
then. While a node that routes does not count, or not by colour, nothing is shown.

Never: a canary takes over on too few requests, on old ones, or while a routing node's counts are missing.
"""

import math

from lictor.planner.actions import Obstacle
from lictor.planner.autoscale.traffic import SILENT_S, SLICE_S
from lictor.planner.canary import comparison, words
from lictor.planner.canary.trial import elapsed_s
from lictor.planner.observation import Observation
from lictor.planner.service_state import Trial
from lictor.spec.quantities import show_duration

_FRESH_S = SILENT_S + SLICE_S  # each node that is not silent has told a younger slice


def failure(observation: Observation) -> str:
    """Say why the canary has failed; "": it has not."""
    trial = observation.rollout and observation.rollout.trial
    if not trial:
        return ""
    worse = comparison.find_worse(trial.canary, trial.live, _looks(observation))
    if worse:
        return f"worse as canary, by {worse.what}: {_compared(trial, observation)}. {words.sureness(worse.chance)}"
    if elapsed_s(trial, observation) < _longest_s(observation) or not (lack := _lack(trial, observation)):
        return ""
    return f"{lack} within {show_duration(_longest_s(observation))} (release.for and release.deadline)"


def obstacle(trial: Trial, observation: Observation) -> Obstacle | None:
    """Say what a canary that has not failed waits for; None: it may take over."""
    lasts_s, numbers = elapsed_s(trial, observation), _compared(trial, observation)
    begins_at, watched_for = observation.now - lasts_s, observation.spec.release.watched_for
    if lasts_s < watched_for:
        return Obstacle(f"for less than {show_duration(watched_for)}: {numbers}", begins_at + watched_for)
    lack = _lack(trial, observation)
    return Obstacle(lack, begins_at + _longest_s(observation)) if lack else None


def evidence(trial: Trial, observation: Observation) -> str:
    """Say on which numbers a canary takes over."""
    return f"no worse as canary: {_compared(trial, observation)}"


def _lack(trial: Trial, observation: Observation) -> str:
    """Say what is missing for the verdict that it is not worse; "": nothing is."""
    counted, numbers = observation.counted, _compared(trial, observation)
    if counted is None or not counted.is_routed:
        return "no nginx serves the service"
    if counted.silent:
        return f"the nginx of {', '.join(counted.silent)} did not tell what it counts: {numbers}"
    if observation.now - trial.counted_until > _FRESH_S:
        return f"not all nodes have counted both colours for {observation.now - trial.counted_until:.0f} s: {numbers}"
    is_enough = comparison.are_enough(trial.canary, trial.live, _looks(observation))
    return "" if is_enough else f"too few requests: {numbers}"


def _compared(trial: Trial, observation: Observation) -> str:
    return words.compare(trial, observation.desired.other_color, observation.desired.color)


def _longest_s(observation: Observation) -> float:
    return observation.spec.release.watched_for + observation.spec.release.deadline


def _looks(observation: Observation) -> int:
    """Count the looks at a canary: each has another slice of counts."""
    return math.ceil(_longest_s(observation) / SLICE_S) + 1
