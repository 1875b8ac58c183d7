"""The steps of a service without colours whose instances are of two releases: one by one, forward or back.

Forward, the release under way comes up: a new instance starts (where replicas.max leaves no room, an old one goes
first), passes, is let in, and then an old one goes. Back, after a release failed, the live release comes up again in
the same steps. Never: an instance that passes goes for one that does not.
"""

from msgspec.structs import replace

from lictor.planner import backoff, healing, release
from lictor.planner.actions import Action, Admit, Hold, Wait, hold, leave, wait_for
from lictor.planner.members import WORST_FIRST, Member, explain, members, standing, untouchable
from lictor.planner.observation import Observation


def decide(observation: Observation) -> list[Action]:
    """Decide the next step; none is taken while an earlier one has not ended well."""
    return forward(observation) if observation.rollout else back(observation)


def forward(observation: Observation) -> list[Action]:
    """Bring up the release under way: every new instance has to pass before the next one comes."""
    new, old = _divide(observation)
    late = [member for member in new if not member.passes]
    if late:
        return [wait_for(member, f"{explain(member, observation)}. The next one comes when it passes.")
                for member in late]
    return _step(new, old, observation)


def back(observation: Observation) -> list[Action]:
    """Bring up the live release again: an unhealthy instance of it is no reason to keep one of the failed release,
    unless that one passes."""
    right, wrong = _divide(observation)
    worst, count = _worst(wrong, observation), len(right) + len(wrong)
    may_go = worst.condition != "healthy" or count < observation.target  # then none has to go
    unready = [member for member in right if member.condition == "starting" or not member.passes and not may_go]
    if count > observation.target and unready and all(member.condition == "unhealthy" for member in unready):
        return [_remove_unhealthy(unready[0], observation)]
    if unready:
        return [_unready(member, observation) for member in unready]
    return _step(right, wrong, observation)


def last_step(observation: Observation) -> list[Action]:
    """Let the last new instances in: only the release under way stands, and it takes over after `healthy_for`."""
    desired = observation.desired
    if desired.color or not observation.rollout or release.is_rolling(observation):
        return []
    admitted, until = _admit(standing(observation), observation), release.passing_until(observation)
    passing = Wait(desired.name, "passing: all are of the new release, and have to pass for a while.", until=until)
    return admitted or ([passing] if observation.now < until else [])


def _divide(observation: Observation) -> tuple[list[Member], list[Member]]:
    """Divide the standing members by the target release; on the way back a replaced one is wrong too."""
    target, everyone = release.target_release(observation), standing(observation)
    right = [member for member in everyone if member.release == target
             and (observation.rollout or not member.is_replaced)]
    return right, [member for member in everyone if member not in right]


def _step(right: list[Member], wrong: list[Member], observation: Observation) -> list[Action]:
    """Go on as the right ones pass: let them in, let a wrong one go, or start another."""
    admitted = _admit(right, observation)
    if admitted:
        return admitted
    missing, worst = observation.target - len(right) - len(wrong), _worst(wrong, observation)
    if missing < 0:
        why = f"{_purpose(observation)}: {len(right)} of {observation.target} are there"
        return [release.gate(leave(worst, why), observation)]
    draining = [member for member in members(observation) if member.condition in ("draining", "leaving")]
    wanted_back = missing if release.any_passes(observation) else max(missing, 1)
    cancelled = release.cancelled_drains(draining, observation)[:wanted_back]
    if draining and not cancelled:
        return [wait_for(draining[0], "draining: it has to be gone before the next one comes.")]
    return [*cancelled] or _start_next(worst, [*right, *wrong], observation)


def _start_next(worst: Member, everyone: list[Member], observation: Observation) -> list[Action]:
    """Start one more of the target release; if replicas.max leaves no room, let a wrong one go first."""
    why, least, most = _purpose(observation), max(observation.spec.replicas.min, 1), observation.spec.replicas.max
    if len(everyone) < most:
        why += f": one at a time{backoff.describe_last_start(observation.state)}"
        return [*backoff.starts(members(observation), observation, 1, why, release=release.target_release(observation))]
    passing = sum(member.condition == "healthy" for member in everyone)
    step = leave(worst, f"{why}: in place, as replicas.max is {most}")
    if awaited := observation.awaited.get(release.target_release(observation)):  # nothing could be started in its place
        return [hold(step, awaited)]
    if worst.condition != "healthy" or passing - 1 >= least:
        return [release.gate(step, observation)]
    return [hold(step, f"replicas.max is {most}, so none can be started beside it; to go in place, {least + 1} would "
                       f"have to pass, and {passing} do")]


def _admit(right: list[Member], observation: Observation) -> list[Action]:
    why = f"{_purpose(observation)}: its smoke test succeeds"
    return [release.gate(Admit(member, why), observation) for member in right if member.condition == "joining"]


def _unready(member: Member, observation: Observation) -> Wait | Hold:
    """Wait for time alone; else it may take an operator to say what then."""
    if member.until > observation.now or member.container.health == "starting":
        return wait_for(member, f"{explain(member, observation)}. The next one comes when it passes.")
    return Hold(member.name, f"on hold: {_purpose(observation)}, but it is {member.condition}{member.evidence}. The "
                             "passing instances stay until it passes.")


def _remove_unhealthy(member: Member, observation: Observation) -> Action:
    """One more than desired stands, and one of the live release is unhealthy: that one goes, by judgement."""
    leaving = replace(leave(member, f"{_purpose(observation)}: {healing.reason(member, observation)}"),
                      replaces=member.container.id)
    return healing.obstacle(member, observation) or release.gate(leaving, observation)


def _purpose(observation: Observation) -> str:
    failed = observation.state.release.failed
    if observation.rollout:
        return f"release of {observation.spec.image or 'its spec'}"
    return f"back from {failed.image or 'its spec'}, whose release failed" if failed else "back to the live release"


def _worst(among: list[Member], observation: Observation) -> Member:
    """Choose the worst; of equals one that is not of the live release, then the oldest."""
    live = release.live_release(observation)
    return min(among, key=lambda member: (bool(untouchable(member)), WORST_FIRST.index(member.condition),
                                          member.release == live, member.container.started_at))
