"""A release: another fingerprint is desired than the live one, and takes over from it, or fails.

States: live (nothing else is desired); under way (`rollout`: its instances come up beside the live ones); failed (it is
desired still, and not tried again). A release begins when the desired fingerprint differs from a live one that has
passed once. It takes over when all its instances have passed for `healthy_for`, their smoke test too, and a consistent
reading shows it: with colours by a Switch, which changes the key and the state together (a Try comes before, if there
is a canary); without them by `next_state.advance`, once no instance of another release stands. It fails if an instance
ends, if its scheduler gives up, if it is worse as canary, or at the deadline, which counts from its last new instance.
It ends if something else is desired; while the service is held it stands still.

Never: the live release is given up before another has passed; a failed release is tried again before another is
desired; a release that never passed becomes live again.
"""

from msgspec.structs import replace

from lictor.planner import backoff, drain, self_preservation
from lictor.planner.actions import Act, Action, Undrain, confirmed, put_off, wait
from lictor.planner.canary import trial, verdict
from lictor.planner.members import Member, candidates, members, standing
from lictor.planner.observation import Observation, drain_mark
from lictor.planner.service_state import Failure, Release, Rollout


def live_release(observation: Observation) -> str:
    """Find the fingerprint of the live instances; "": none has passed its check yet, so nothing has to be kept. If it
    is not remembered, the desired release has yet to prove itself beside another one that passes."""
    release, desired = observation.state.release, observation.desired
    if release.live_is_proven and release.live_release:
        return release.live_release
    passing = [member.release for member in members(observation) if member.condition == "healthy"]
    return next((found for found in passing if found != desired.release), passing[0] if passing else "")


def target_release(observation: Observation) -> str:
    """Find what instances of the live colour are made from now; without colours that is the release under way."""
    rollout, desired = observation.rollout, observation.desired
    return rollout.release if rollout and not desired.color else live_release(observation) or desired.release


def cancelled_drains(everyone: list[Member], observation: Observation) -> list[Undrain]:
    """Let draining instances that are well and desired again into traffic, the last to have begun first.

    If no instance passes, the live release is desired again during a release too: else its last instance would drain
    until no nginx lists it, and nothing else is there to be listed.
    """
    target = target_release(observation)
    releases = {target} if any_passes(observation) else {target, live_release(observation)}
    well = [member for member in everyone if member.condition == "draining" and member.instance
            and member.instance.status != "critical" and member.release in releases]
    return [Undrain(member, f"desired again: {observation.desired.why_replicas}")
            for member in sorted(well, key=lambda member: drain_mark(member.instance) or (0.0, ""), reverse=True)]


def any_passes(observation: Observation) -> bool:
    """Tell whether any instance of the live colour gets traffic and passes."""
    return any(member.condition == "healthy" for member in members(observation))


def standing_failure(observation: Observation) -> Failure | None:
    """Find the failure of the desired release, which is not tried again as it is."""
    failed = observation.state.release.failed
    return failed if failed and failed.release == observation.desired.release and _is_requested(observation) else None


def new_members(observation: Observation) -> list[Member]:
    """List the members of the release under way; also ended ones, and those that were kept of an earlier one."""
    rollout = observation.rollout
    return [member for member in _around(observation) if rollout and member.release == rollout.release]


def is_kept(member: Member, observation: Observation) -> bool:
    """Tell whether it was stopped before the release began that needs it again; if the clock was set since, an
    instance of that release that ended before is taken for one too, and started again."""
    began_at = observation.rollout.began_at if observation.rollout else observation.now
    return member.container.status == "exited" and observation.started_at(member.container) <= began_at


def in_the_way(observation: Observation) -> list[Member]:
    """List the members of other releases that are still there in the colour that the new release is to have."""
    new = new_members(observation)
    return [member for member in candidates(observation) if member.condition != "gone" and member not in new]


def is_rolling(observation: Observation) -> bool:
    """Tell whether standing members of a service without colours are not of the target release: on the way forward, or
    back from a release that failed."""
    desired = observation.desired
    return bool(not desired.color and desired.spec and not desired.removed and observation.target
                and live_release(observation) and any(
                    member.release != target_release(observation) for member in standing(observation)))


def passing_until(observation: Observation) -> float:
    """Tell how long the new instances have to pass before the next step; 0.0: none passes."""
    rollout = observation.rollout
    return rollout.passing_since + observation.spec.release.healthy_for if rollout and rollout.passing_since else 0.0


def gate(act: Act, observation: Observation) -> Action:
    """Take the next step of a release once its instances have passed for `healthy_for`, their smoke test too, and a
    consistent reading shows it; else say what it waits for."""
    until, blind = passing_until(observation), self_preservation.blindness(observation)
    if observation.now < until:
        return wait(act, "passing", f"for less than {observation.spec.release.healthy_for:g} s", until)
    if blind:
        return put_off(act, blind)
    if observation.certain and (failures := smoke_failures(observation)):
        return wait(act, "smoke test fails", f"{failures}; it is repeated until the deadline")
    return confirmed(observation.certain, act)


def smoke_failures(observation: Observation) -> str:
    """Say which new instances fail the smoke test; "": none. Known after a consistent reading only."""
    path, results = observation.spec.release.smoke, observation.smoke
    bad = [f"{member.name} {results.get(member.container.id, 'was not tested')}" for member in new_members(observation)
           if path and member.passes and results.get(member.container.id, "?")]
    return f"smoke path {path}: {'; '.join(bad)}" if bad else ""


def is_late(observation: Observation) -> bool:
    """Tell whether the deadline has passed. It counts from the last new instance, and from its scheduler's last order:
    a long pull of the image, a long playbook or a drain is not held against the release."""
    rollout, deadline_s = observation.rollout, observation.spec.deadline_s
    return bool(rollout and rollout.moved_at and not self_preservation.blindness(observation)
                and observation.now >= rollout.moved_at + deadline_s)


def is_order_done(observation: Observation, color: str) -> bool:
    """Tell whether nothing of the last order about a colour is known to be half done."""
    order = observation.state.release.last_orders.get(color)
    return order is None or order.done


def advance(observation: Observation) -> Release:
    """Forget the failure of something else; begin, continue or end the release under way; fail it."""
    before, desired, failed = observation.state.release, observation.desired, observation.state.release.failed
    failed = None if failed is None or failed.release != desired.release else replace(
        failed, at=observation.began_at(failed.at), moved_at=observation.since(failed.moved_at))
    release = replace(
        before, failed=failed, switched_at=observation.since(before.switched_at),
        last_orders={color: replace(order, at=observation.began_at(order.at))
                     for color, order in before.last_orders.items()})
    release = replace(release, rollout=_advance_rollout(observation.with_state(release=release)))
    release = trial.follow(before, release, observation)
    failure = _failure(observation.with_state(release=release))
    release = fail(release, failure) if failure else release
    failures = {} if has_begun(release, before, desired.release) else release.order_failures
    return replace(release, order_failures={
        color: replace(entry, last_at=observation.began_at(entry.last_at)) for color, entry in failures.items()
        if backoff.is_fresh(entry, observation)})


def has_begun(release: Release, before: Release, desired_release: str) -> bool:
    """Tell whether a release, or another first one, has begun since `before`."""
    if release.rollout:
        return before.rollout is None or before.rollout.release != release.rollout.release
    return bool(not before.live_is_proven and before.live_release and before.live_release != desired_release)


def fail(release: Release, failure: Failure) -> Release:
    """End the release under way; that its scheduler could not be given orders does not put off the way back."""
    tried_until = failure.at if release.rollout and release.rollout.trial else release.tried_until
    return replace(release, rollout=None, failed=failure, order_failures={}, tried_until=tried_until)


def _is_requested(observation: Observation) -> bool:
    desired, live = observation.desired, live_release(observation)
    return bool(desired.spec and observation.target and live and desired.release != live)


def _around(observation: Observation) -> list[Member]:
    """List all members of the colour that the release has, or of the service without colours."""
    return candidates(observation) if observation.desired.color else members(observation)


def _advance_rollout(observation: Observation) -> Rollout | None:
    rollout, desired = observation.rollout, observation.desired
    if desired.why_held and not desired.removed:
        return rollout and replace(_stop(rollout, observation), passing_since=0.0)
    if not _is_requested(observation) or standing_failure(observation):
        return None
    if rollout is None or rollout.release != desired.release:
        rollout = Rollout(desired.release, observation.now)
    return _continue(rollout, observation)


def _stop(rollout: Rollout, observation: Observation) -> Rollout:
    """Stop its deadline, which goes on later where it is now."""
    counted_s = observation.now - _counts_from(rollout.moved_at or observation.now, rollout, observation)
    return replace(rollout, moved_at=0.0, used_s=max(counted_s, 0.0) if rollout.moved_at else rollout.used_s)


def _continue(rollout: Rollout, observation: Observation) -> Rollout:
    """Note what has come and what passes. A scale down and up again begins another deadline."""
    now, target = observation.now, observation.target
    new = [member for member in _around(observation) if member.release == rollout.release and member.stands]
    count, all_pass = min(len(new), target), bool(new) and all(member.passes for member in new)
    ids = [member.container.id for member in new] if observation.scheduler else []
    if not set(rollout.instances) <= set(ids):  # its scheduler makes good what has ended: none of that is a new one
        rollout = replace(rollout, most=target)
    if count > rollout.most:
        rollout = replace(rollout, moved_at=0.0, used_s=0.0, trouble="")
    rollout = replace(rollout, passing_since=observation.since(rollout.passing_since or now) if all_pass else 0.0)
    is_stopped = _is_kept_away(rollout.release, count, observation) or drain.are_under_way(
        _around(observation), rollout.release, observation)
    rollout = (_stop if is_stopped else _go_on)(rollout, observation)
    return replace(rollout, began_at=observation.began_at(rollout.began_at), instances=sorted(ids),
                   most=min(max(rollout.most, count), target))


def _go_on(rollout: Rollout, observation: Observation) -> Rollout:
    if rollout.trial and rollout.passing_since:  # a canary whose instances pass has a time of its own
        return replace(rollout, moved_at=0.0, used_s=0.0)
    moved_at = rollout.moved_at or observation.now - rollout.used_s
    return replace(rollout, moved_at=_counts_from(moved_at, rollout, observation))


def _counts_from(moved_at: float, rollout: Rollout, observation: Observation) -> float:
    """Tell since when its deadline counts: while its scheduler carried out an order, nothing could come."""
    order = observation.state.release.last_orders.get(observation.desired.release_color)
    ordered_at = order.at if order and order.done and order.release == rollout.release else 0.0
    return max(observation.since(moved_at), ordered_at)


def _is_kept_away(release: str, count: int, observation: Observation) -> bool:
    """Tell whether people, or a set without a member, keep a new instance away: that does not count as its failure."""
    return count < observation.target and release in observation.awaited or any(
        member.release == release and member.condition in ("paused", "maintenance") for member in _around(observation))


def _failure(observation: Observation) -> Failure | None:
    """Say why the release under way has failed, if it has."""
    rollout = observation.rollout
    if not rollout or observation.desired.why_held:
        return None
    why = _ended(observation) or _given_up(observation) or verdict.failure(observation) or _late(observation)
    return Failure(rollout.release, observation.spec.image, why, observation.now, rollout.moved_at) if why else None


def _ended(observation: Observation) -> str:
    """Fail it if an instance ends by itself: the live release serves on, and nobody waits for the deadline."""
    return "; ".join(member.words for member in new_members(observation) if member.condition == "gone"
                     and not is_kept(member, observation) and member.container.status != "created")


def _given_up(observation: Observation) -> str:
    color, rollout = observation.desired.release_color, observation.rollout
    group, order = observation.group(color), observation.state.release.last_orders.get(color)
    if not group or not rollout or not order or order.at < rollout.began_at:  # it gave up an earlier try
        return ""
    gave_up = group.gave_up and group.release == rollout.release
    return f"its scheduler has given up: {group.trouble}" if gave_up else ""


def _late(observation: Observation) -> str:
    """Fail it at the deadline; all but a failing check has to be shown by a consistent reading."""
    if not is_late(observation):
        return ""
    spec = observation.spec
    setting = "release.deadline" if spec.deadline_s == spec.release.deadline else "check.start"
    within = f"within {spec.deadline_s:g} s ({setting})"
    new = [member for member in new_members(observation) if member.stands]
    late = [member.words for member in new if not member.passes]
    if late:
        others = f", and {len(late) - 3} more" if len(late) > 3 else ""
        return f"not all passed {within}: {', '.join(late[:3])}{others}"
    if not observation.certain:
        return ""
    if len(new) < observation.target and not smoke_failures(observation):
        count = f"only {len(new)} of {observation.target}" if new else "no instance"
        return f"{count} could be started {within}{_trouble(observation)}"
    return smoke_failures(observation) or _order_trouble(within, observation)


def _order_trouble(within: str, observation: Observation) -> str:
    if _are_too_many(observation):
        return (f"{len(_around(observation))} are there, {observation.target} are desired; the scheduler did not end "
                f"the others {within}")
    surplus_since = observation.state.healing.surplus_since if not observation.desired.color else 0.0
    ordered_at = surplus_since + observation.rules.surplus_after_s if surplus_since else 0.0  # fewer, after a while
    is_done = is_order_done(observation, observation.desired.release_color)
    return "" if is_done or observation.now < ordered_at + observation.spec.deadline_s else (
        f"its scheduler did not complete its order {within}")


def _are_too_many(observation: Observation) -> bool:
    """Tell whether more than ordered are there for long: a scheduler ends what it replaces when the new ones pass."""
    rollout, group = observation.rollout, observation.group(observation.desired.release_color)
    ordered = max(observation.target, group.replicas if group else 0)  # fewer are ordered only after a while
    return bool(observation.scheduler and rollout and rollout.passing_since and len(_around(observation)) > ordered
                and observation.now >= rollout.passing_since + observation.spec.deadline_s)


def _trouble(observation: Observation) -> str:
    color = observation.desired.release_color
    group, nodes = observation.group(color), ", ".join(observation.nodes_behind)
    if color and in_the_way(observation) and nodes:
        return f": {color} is not free, as the nginx of {nodes} may still send requests to it"
    return f": {trouble}" if (trouble := group and group.trouble or backoff.trouble(observation.state)) else ""
