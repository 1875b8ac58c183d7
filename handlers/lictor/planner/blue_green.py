"""The colour that is not live: a release comes up in it, and what was live before, or has failed, ends in it.

Never: an instance ends while the nginx of a live node may send requests to it.
"""

from lictor import model
from lictor.planner import actions, backoff, drain, release, self_preservation
from lictor.planner.actions import Act, Action, Obstacle, Recall, Remove, Start, Stop, Switch, Try, Undrain, Wait
from lictor.planner.canary import key, verdict
from lictor.planner.members import Member, candidates, explain
from lictor.planner.observation import Observation
from lictor.planner.service_state import Trial
from lictor.spec.quantities import show_share


def decide(observation: Observation) -> list[Action]:
    """Decide on both colours beyond keeping the live one as it should be."""
    desired = observation.desired
    if not desired.color or desired.removed or desired.spec is None:
        return []
    return [*restore_keys(observation), *_end_others(observation),
            *(_bring_up(observation) if observation.rollout else [])]


def restore_keys(observation: Observation) -> list[Act]:
    """Put the keys back that are not as lictor wrote them, or that an end of a canary has left."""
    return [*_restore_color_key(observation), *_restore_canary_key(observation)]


def switch(new: list[Member], observation: Observation) -> list[Action]:
    """Make the colour of the new instances the live one, by way of a canary if the spec asks for it; or say what they
    wait for. They are at least as many as desired."""
    late, name, color = late_checks(new, observation), observation.desired.name, observation.desired.other_color
    if late:
        return [*late]
    why, trial = f"all {len(new)} of {observation.spec.image or 'its spec'} pass", _trial(observation)
    if observation.spec.release.canary and not trial:
        action = _try(why, observation.spec.release.canary, observation)
        return [] if observation.desired.canary_key else [release.gate(action, observation)]  # an earlier one goes
    against = trial and verdict.obstacle(trial, observation)
    shown = f", {verdict.evidence(trial, observation)}" if trial else ""
    take_over = Switch(model.catalog_name(name, color), f"{why}{shown}", color)
    return [actions.wait(take_over, "canary", *against) if against else release.gate(take_over, observation)]


def late_checks(new: list[Member], observation: Observation) -> list[Wait]:
    return [actions.wait_for(member, f"{explain(member, observation)}. The new release has to pass its checks.")
            for member in new if not member.passes]


def still_listed(observation: Observation) -> Obstacle | None:
    """Say why the colour that is not live has to run on: an nginx lists it. A node that does not answer stands against
    its end, but not against the next release."""
    desired, state = observation.desired, observation.state.release
    deadline_at = max(state.switched_at, state.tried_until) + observation.spec.release.deadline
    dead = [f"{node} (does not answer)" for node, is_alive in observation.behind if not is_alive]
    behind = [*observation.nodes_behind, *([] if state.rollout else dead)]
    if not behind:
        return None
    why = f"the nginx of {', '.join(behind)} may still send requests to it"
    if observation.now < deadline_at:
        return Obstacle(f"{why}; {desired.color} is live", deadline_at)
    return Obstacle(f"{why}, so it runs on beside {desired.color}; if a node routes no more, delete its key "
                    f"lictor/nodes/{desired.name}/NODE")


def gets_requests(observation: Observation) -> bool:
    """Tell whether an nginx may send requests to the colour that is not live, so that none of it ends undrained."""
    is_tried = _trial(observation) or observation.desired.canary_key or observation.nodes_behind
    return bool(is_tried) or may_get_requests(observation)


def may_get_requests(observation: Observation) -> bool:
    """Tell whether a canary ended so lately that an nginx may be about to list it, which it has not told."""
    return observation.now < observation.state.release.tried_until + observation.spec.release.deadline


def wait_while_starting(act: Act, among: list[Member], observation: Observation) -> Act | Wait:
    """Let the instances of a failed release that are still starting go on until its deadline: one of them may be at
    work on data that the live release needs."""
    failed = observation.state.release.failed
    until = observation.since(failed.moved_at) + observation.spec.deadline_s if failed and failed.moved_at else 0.0
    if observation.now >= until or all(member.condition != "starting" for member in among):
        return act
    return actions.wait(act, "starting", "it may be at work, until it passes, ends, or its deadline is over", until)


def _restore_color_key(observation: Observation) -> list[Switch]:
    desired = observation.desired
    if desired.color_key == desired.color:
        return []
    why = f"the color key is {desired.color_key!r}" if desired.color_key else "there is no color key"
    return [Switch(desired.catalog_name, f"{why}, and {desired.color} is live", desired.color)]


def _restore_canary_key(observation: Observation) -> list[Try | Recall]:
    desired, trial = observation.desired, _trial(observation)
    is_key = f"the canary key is {desired.canary_key!r}" if desired.canary_key else "there is no canary key"
    if trial and desired.canary_key != key.make(desired.other_color, trial.share):
        return [_try(f"{is_key}, and the canary is not over", trial.share, observation)]
    if trial or not desired.canary_key:
        return []
    failed, name = observation.state.release.failed, model.catalog_name(desired.name, desired.other_color)
    return [Recall(name, f"its release failed: {failed.why}" if failed else f"{is_key}, and no release is on trial",
                   desired.other_color)]


def _try(why: str, share: float, observation: Observation) -> Try:
    name, color = observation.desired.name, observation.desired.other_color
    return Try(model.catalog_name(name, color), f"{why}; {show_share(share)} of the requests first", color, share)


def _trial(observation: Observation) -> Trial | None:
    return observation.rollout.trial if observation.rollout else None


def _bring_up(observation: Observation) -> list[Action]:
    """Have as many new instances as are live, all of them passing; then switch."""
    in_the_way = release.in_the_way(observation)
    if in_the_way:
        color = observation.desired.other_color
        return [Wait(in_the_way[0].name, f"in the way: {color} has to be free for the new release.")]
    new = release.new_members(observation)
    draining = [member for member in new if member.condition == "draining"]
    if draining:  # it was live until just now
        return [Undrain(member, "its release is desired again") for member in draining]
    standing = [member for member in new if member.stands]
    if len(standing) < observation.target:
        return [*_start(new, standing, observation)]
    if len(standing) > observation.target and not gets_requests(observation):  # else it is drained once it is live
        why = f"{observation.desired.why_replicas}, and it serves nobody yet"
        return [Remove(member, why) for member in standing[observation.target:]]
    return switch(standing, observation)


def _start(new: list[Member], standing: list[Member], observation: Observation) -> list[Start]:
    """Start the kept ones first: going back takes seconds."""
    desired, running = observation.desired, {member.container.number for member in standing}
    kept = [member.container.number for member in new if release.is_kept(member, observation)]
    others = [number for number in range(1, observation.target + len(new) + 1) if number not in {*kept, *running}]
    image, color = observation.spec.image, desired.other_color
    trouble = backoff.describe_last_start(observation.state)
    why = f"release of {image}: as many as are live, {observation.target}{trouble}"
    return [Start(f"{model.catalog_name(desired.name, color)}-{number}", why, number, color, desired.release)
            for number in [*kept, *others][:observation.target - len(standing)]]


def _end_others(observation: Observation) -> list[Action]:
    """End what is not of the release under way, and the remains of a start that was cut short; before that, no nginx
    may be asked any more to give it a share."""
    if observation.desired.canary_key:
        return []
    everyone, new = candidates(observation), release.new_members(observation)
    return [action for member in everyone if member not in new
            or member.condition == "gone" and not release.is_kept(member, observation)
            for action in _end(member, everyone, observation)]


def _end(member: Member, everyone: list[Member], observation: Observation) -> list[Action]:
    """End one member; what was live before is kept stopped for a while."""
    keeps, failure, status = _is_to_be_kept(member, observation), _failure(member, observation), member.container.status
    ending = Stop if keeps else Remove
    if member.condition == "leaving" or member.condition == "gone" and keeps and status == "exited":
        return []
    if member.condition == "gone":
        return [Remove(member, f"it is {status}, and not kept" + (f", as {failure}" if failure else ""))]
    if member.condition == "draining":
        return [drain.end(member, everyone, observation, ending)]
    if failure and not drain.is_listed(member, observation) and not may_get_requests(observation):
        return [wait_while_starting(Remove(member, failure), [member], observation)]
    why = failure or f"{observation.desired.color} is live, and no nginx lists it any more"
    action = actions.leave(member, why, ending)
    against = still_listed(observation) or self_preservation.blindness(observation)
    return [actions.put_off(action, against) if against else actions.confirmed(observation.certain, action)]


def _is_to_be_kept(member: Member, observation: Observation) -> bool:
    """Tell whether it was live before, for `keep`, unless a release needs the colour."""
    state = observation.state.release
    return (not state.rollout and state.previous_release == member.release
            and observation.now < state.switched_at + observation.spec.release.keep)


def _failure(member: Member, observation: Observation) -> str:
    failed = observation.state.release.failed
    return f"its release failed: {failed.why}" if failed and failed.release == member.release else ""
