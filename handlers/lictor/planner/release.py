"""A new release beside what is live: whether one is under way, how far it is, and whether it has failed. Pure."""

import msgspec

from lictor.planner import actions, self_preservation
from lictor.planner.actions import Action
from lictor.planner.observation import Member, Observation, candidates, drain_mark, group, members
from lictor.planner.service_state import Failure, Rollout, State


def live_release(seen: Observation) -> str:
    """The fingerprint of what serves; "": nothing has ever passed its check, so there is nothing to keep. When that is
    not remembered, what is asked for has yet to prove itself beside another that passes."""
    if seen.state.proven and seen.state.live_release:
        return seen.state.live_release
    passing = [each.container.release for each in members(seen) if each.condition == "healthy"]
    return next((each for each in passing if each != seen.desired.release), passing[0] if passing else "")


def goal(seen: Observation) -> str:
    """The fingerprint of what the instances of the live colour are to be made from now; without colours a release
    comes up among them."""
    if seen.state.rollout and not seen.desired.color:
        return seen.state.rollout.release
    return live_release(seen) or seen.desired.release


def taken_back(everyone: list[Member], seen: Observation) -> list[Action]:
    """Those that drain though they are well and wanted again, the last to have begun first. Where nobody passes, what
    is live is wanted again during a release too: it would drain until no nginx lists it, and leave nobody to list."""
    releases = {goal(seen)} if anyone_passes(seen) else {goal(seen), live_release(seen)}
    well = [each for each in everyone if each.condition == "draining" and each.instance
            and each.instance.status != "critical" and each.container.release in releases]
    return [actions.on("undrain", each, f"wanted again: {seen.desired.why_replicas}")
            for each in sorted(well, key=lambda each: drain_mark(each.instance) or (0.0, ""), reverse=True)]


def anyone_passes(seen: Observation) -> bool:
    """Whether any of what is live, or is to take over from it without colours, gets traffic and passes."""
    return any(each.condition == "healthy" for each in members(seen))


def is_asked_for(seen: Observation) -> bool:
    wanted, live = seen.desired, live_release(seen)
    return bool(wanted.spec and seen.target and live and wanted.release != live)


def has_failed(seen: Observation) -> Failure | None:
    """The failure of what is asked for, which is not tried again as it is."""
    failed = _last_failure(seen)
    return failed if failed and is_asked_for(seen) else None


def newcomers(seen: Observation) -> list[Member]:
    """The instances of the release under way; also those that ended, and were kept of an earlier one."""
    running = seen.state.rollout
    return [each for each in _around(seen) if running and each.container.release == running.release]


def is_kept(member: Member, seen: Observation) -> bool:
    """It was stopped before the release began that wants it again."""
    began_at = seen.state.rollout.began_at if seen.state.rollout else seen.now
    return member.container.status == "exited" and member.container.started_at < began_at


def in_the_way(seen: Observation) -> list[Member]:
    """What still runs of another release in the colour that the new one is to have."""
    wanted = seen.state.rollout.release if seen.state.rollout else ""
    return [each for each in candidates(seen) if each.container.release != wanted and each.condition != "gone"]


def rollout(seen: Observation) -> Rollout | None:
    """The release under way after this observation: begun, gone on with, or ended."""
    old = seen.state.rollout
    if seen.desired.why_held and not seen.desired.removed:
        return msgspec.structs.replace(old, passing_since=0.0, moved_at=0.0) if old else None
    if not is_asked_for(seen) or has_failed(seen):
        return None
    wanted = seen.desired.release
    old = old if old and old.release == wanted else Rollout(wanted, seen.now)
    new = [each for each in newcomers(seen._replace(state=msgspec.structs.replace(seen.state, rollout=old)))
           if each.stands]
    count = min(len(new), seen.target)  # who scales it down and up again gives it another deadline
    is_moving = not old.moved_at or count > old.most
    asked = seen.state.asked.get(seen.desired.release_color)
    told_at = asked.at if asked and asked.done and asked.release == wanted and asked.at <= seen.now else 0.0
    return Rollout(
        wanted, min(old.began_at, seen.now), most=min(max(old.most, count), seen.target),
        passing_since=min(old.passing_since or seen.now, seen.now) if new and all(each.passes for each in new) else 0.0,
        moved_at=0.0 if _drains(wanted, seen) else seen.now if is_moving else max(min(old.moved_at, seen.now), told_at))


def ended(old: State, failed: Failure) -> State:
    """The release under way has failed; that its engine could not be told of it does not put off the way back."""
    deaths = {number: each for number, each in old.deaths.items() if number.isdigit()}
    return msgspec.structs.replace(old, rollout=None, failed=failed, deaths=deaths)


def failure(seen: Observation) -> Failure | None:
    """Why the release under way has failed, if it has."""
    if not seen.state.rollout or seen.desired.why_held or seen.desired.spec is None:
        return None
    why = _died(seen) or _gave_up(seen) or _late(seen)
    return Failure(seen.state.rollout.release, seen.desired.spec.image, why, seen.now) if why else None


def unsmoked(seen: Observation) -> str:
    """What speaks against the new instances on their smoke path; "": nothing. To be asked after a consistent reading
    only, which alone asks them."""
    spec = seen.desired.spec
    if spec is None or not spec.release.smoke:
        return ""
    bad = [f"{each.name} {seen.smoke.get(each.container.id, 'was not asked')}" for each in newcomers(seen)
           if each.passes and seen.smoke.get(each.container.id, "?")]
    return f"smoke path {spec.release.smoke}: {'; '.join(bad)}" if bad else ""


def _died(seen: Observation) -> str:
    """One that ends by itself ends the release: what is live serves on, and nobody has to wait for the deadline."""
    dead = [each for each in newcomers(seen) if each.condition == "gone" and not is_kept(each, seen)
            and each.container.status != "created"]
    return "; ".join(f"{each.name} is {each.container.status} with exit code {each.container.exit_code}"
                     for each in dead)


def _gave_up(seen: Observation) -> str:
    color = seen.desired.release_color
    there, running, asked = group(seen, color), seen.state.rollout, seen.state.asked.get(color)
    if not there or not running or not asked or asked.at < running.began_at:  # what it gave up was an earlier try
        return ""
    return f"its engine has given up: {there.trouble}" if there.gave_up and there.release == running.release else ""


def is_late(seen: Observation) -> bool:
    """It counts from the last new instance, and from when the engine was told, so that a long pull of the image, a long
    playbook or a drain is not held against it."""
    spec, running = seen.desired.spec, seen.state.rollout
    return bool(spec and running and running.moved_at and not self_preservation.blindness(seen)
                and seen.now >= running.moved_at + spec.release.deadline)


def _late(seen: Observation) -> str:
    """All but a check that does not pass has to be seen by a consistent reading, which asks the smoke path too."""
    spec = seen.desired.spec
    if spec is None or not is_late(seen):
        return ""
    within = f"within {spec.release.deadline:g} s"
    new = [each for each in newcomers(seen) if each.stands]
    late = [f"{each.name} is {each.condition}" for each in new if not each.passes]
    if late:
        return f"not all passed {within}: {', '.join(late)}"
    if not seen.certain:
        return ""
    if unsmoked(seen):
        return unsmoked(seen)
    if len(new) < seen.target:
        count = f"only {len(new)} of {seen.target}" if new else "no instance"
        return f"{count} could be started {within}{_trouble(seen)}"
    if _are_too_many(seen):
        return f"{len(_around(seen))} are there, {seen.target} are wanted; the engine did not end the others {within}"
    is_fewer = seen.state.surplus_since and not seen.desired.color  # that is asked for later than the release was
    told_at = seen.state.surplus_since + seen.rules.surplus_after_s if is_fewer else 0.0
    if not is_told(seen, seen.desired.release_color) and seen.now >= told_at + spec.release.deadline:
        return f"its engine did not end well what it was told {within}"
    return ""


def is_told(seen: Observation, color: str) -> bool:
    """Whether nothing is known to be half done of what the engine was last told of this colour."""
    asked = seen.state.asked.get(color)
    return asked is None or asked.done


def _are_too_many(seen: Observation) -> bool:
    """More than its engine was told, for too long: it ends what it replaces when the new ones pass."""
    running, spec, there = seen.state.rollout, seen.desired.spec, group(seen, seen.desired.release_color)
    told = max(seen.target, there.replicas if there else 0)  # fewer are asked for only after a while
    return bool(seen.counts and running and spec and running.passing_since and len(_around(seen)) > told
                and seen.now >= running.passing_since + spec.release.deadline)


def _around(seen: Observation) -> list[Member]:
    """All of the colour that the release has, or of the service without colours."""
    return candidates(seen) if seen.desired.color else members(seen)


def _drains(wanted: str, seen: Observation) -> bool:
    """Whether what it replaces, or what has its colour, still answers its last requests. With its engine, only for as
    long as it may: its registration may be left over."""
    spec, marks = seen.desired.spec, [drain_mark(each.instance) for each in _around(seen)
                                      if each.condition == "draining" and each.container.release != wanted]
    return any(mark and spec and (not seen.counts or seen.now < mark[0] + spec.drain + spec.stop_grace_period)
               for mark in marks)


def _trouble(seen: Observation) -> str:
    color = seen.desired.release_color
    there, nodes = group(seen, color), ", ".join(node for node, is_alive in seen.behind if is_alive)
    if color and in_the_way(seen) and nodes:
        return f": {color} is not free, as the nginx of {nodes} may still send requests to it"
    return f": {there.trouble}" if there and there.trouble else ""


def _last_failure(seen: Observation) -> Failure | None:
    """It is remembered until something else is asked for."""
    failed = seen.state.failed
    return failed if failed and failed.release == seen.desired.release else None


def with_rollout(seen: Observation) -> Observation:
    """The observation with the release under way, or its failure, in its state."""
    seen = seen._replace(state=msgspec.structs.replace(seen.state, failed=_last_failure(seen)))
    seen = seen._replace(state=msgspec.structs.replace(seen.state, rollout=rollout(seen)))
    why = failure(seen)
    return seen if why is None else seen._replace(state=ended(seen.state, why))
