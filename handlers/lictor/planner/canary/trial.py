"""The trial of a canary: since when it lasts, and what was counted of both colours since.

States: under way (its time counts); stopped (the service is held); over (`release` fails it, or a Switch ends it). It
begins with a Try, which writes the key and the state together. Without a trial there is no canary's key.
"""

from msgspec.structs import replace

from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.traffic import Combined
from lictor.planner.observation import Counted, Observation
from lictor.planner.service_state import Release, Trial


def begin(observation: Observation) -> Trial:
    """Begin a trial, or keep the one whose key was changed by hand."""
    rollout, share = observation.rollout, float(observation.spec.release.canary or 0.0)  # plain, to be stored
    return rollout.trial if rollout and rollout.trial else Trial(share, observation.now, observation.now)


def follow(before: Release, release: Release, observation: Observation) -> Release:
    """Advance the trial of the release under way, and note when one has ended that did not fail."""
    rollout = release.rollout and replace(release.rollout, trial=_advance(release.rollout.trial, observation))
    is_over = before.rollout and before.rollout.trial and not (rollout and rollout.trial)
    return replace(release, rollout=rollout,
                   tried_until=observation.now if is_over else observation.since(before.tried_until))


def elapsed_s(trial: Trial, observation: Observation) -> float:
    """Tell for how long it was under way."""
    return max(observation.now - observation.since(trial.moved_at), 0.0) if trial.moved_at else trial.used_s


def count(found: Combined, since: float, now: float) -> Counted:
    """Sum up the slices that began since and are over; those in which a node did not count the sides apart are left
    out."""
    new = [(each, each.canary, each.live) for each in found.slices
           if each.at >= since and each.at + each.seconds <= now]
    apart = [(each.at + each.seconds, canary, live) for each, canary, live in new
            if canary is not None and live is not None]
    return Counted(max((until for until, _, _ in apart), default=since),
                   traffic.add_sides(canary for _, canary, _ in apart),
                   traffic.add_sides(live for _, _, live in apart), tuple(found.silent), found.is_routed)


def _advance(trial: Trial | None, observation: Observation) -> Trial | None:
    """Add what was counted; let its time stand still during a hold. With another share it is another canary."""
    if trial is None or trial.share != observation.spec.release.canary:
        return None
    trial = _add(trial, observation)
    if observation.desired.why_held:
        return replace(trial, moved_at=0.0, used_s=elapsed_s(trial, observation))
    return replace(trial, moved_at=observation.since(trial.moved_at) or observation.now - trial.used_s)


def _add(trial: Trial, observation: Observation) -> Trial:
    counted, until = observation.counted, observation.since(trial.counted_until)
    if counted is None or counted.until <= until:
        return replace(trial, counted_until=until)
    return replace(trial, counted_until=counted.until, canary=traffic.add_sides([trial.canary, counted.canary]),
                   live=traffic.add_sides([trial.live, counted.live]))
