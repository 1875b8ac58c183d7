"""The counts of a canary: what the nginx of the nodes that route counted of both colours since the last look."""

from lictor.planner.canary import trial
from lictor.planner.observation import Observation
from lictor.reconcile.context import Context


def with_counts(context: Context, observation: Observation) -> Observation:
    """Add the counts of a canary that is under way to the observation; other services cost nothing."""
    rollout = observation.rollout
    if not (rollout and rollout.trial):
        return observation
    from lictor.reconcile.autoscale import node_traffic  # few services are at a canary

    found = node_traffic.read_windows(context, observation.desired.name, observation.now)
    since = observation.since(rollout.trial.counted_until)
    return observation._replace(counted=trial.count(found, since, observation.now))
