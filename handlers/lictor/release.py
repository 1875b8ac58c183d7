"""A new release beside what is live: whether one is under way, how far it is, and whether it has failed. Pure."""

import msgspec

from lictor import action, doubt
from lictor.action import Action
from lictor.observation import Member, Observation, candidates, drain_mark, group, members
from lictor.state import Failure, Rollout


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
    """Those that drain though they are well and wanted again, the last to have begun first."""
    well = [each for each in everyone if each.condition == "draining" and each.instance
            and each.instance.status != "critical" and each.container.release == goal(seen)]
    return [action.on("undrain", each, f"wanted again: {seen.desired.why_replicas}")
            for each in sorted(well, key=lambda each: drain_mark(each.instance) or (0.0, ""), reverse=True)]


def is_asked_for(seen: Observation) -> bool:
    wanted, live = seen.desired, live_release(seen)
    return bool(wanted.spec and seen.target and live and wanted.release != live)


def has_failed(seen: Observation) -> Failure | None:
    """The failure of what is asked for, which is not tried again as it is."""
    failed = _last_failure(seen)
    return failed if failed and is_asked_for(seen) else None


def newcomers(seen: Observation) -> list[Member]:
    """The instances of the release under way; also those that ended, and were kept of an earlier one."""
    everyone = candidates(seen) if seen.desired.color else members(seen)
    return [each for each in everyone if seen.state.rollout and each.container.release == seen.state.rollout.release]


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
        return old
    if not is_asked_for(seen) or has_failed(seen):
        return None
    is_old = old is not None and old.release == seen.desired.release
    began_at = min(old.began_at, seen.now) if old and is_old else seen.now
    since = min(old.passing_since or seen.now, seen.now) if old and is_old else seen.now
    begun = Rollout(seen.desired.release, began_at)
    new = newcomers(seen._replace(state=msgspec.structs.replace(seen.state, rollout=begun)))
    standing = [each for each in new if each.condition not in ("draining", "leaving")]
    all_pass = bool(standing) and all(each.passes for each in standing)
    return msgspec.structs.replace(begun, passing_since=since if all_pass else 0.0)


def failure(seen: Observation) -> Failure | None:
    """Why the release under way has failed, if it has."""
    if not seen.state.rollout or seen.desired.why_held or seen.desired.spec is None:
        return None
    why = _died(seen) or _late(seen)
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


def deadline_at(seen: Observation) -> float:
    """It counts from the last start of an instance, so that a long pull of the image is not held against it."""
    running = seen.state.rollout
    if running is None or seen.desired.spec is None:
        return 0.0
    starts = [each.container.started_at for each in newcomers(seen) if each.container.started_at <= seen.now]
    return max([running.began_at, *starts]) + seen.desired.spec.release.deadline


def _died(seen: Observation) -> str:
    """One that ends by itself ends the release: what is live serves on, and nobody has to wait for the deadline."""
    dead = [each for each in newcomers(seen) if each.condition == "gone" and not is_kept(each, seen)
            and each.container.status != "created"]
    return "; ".join(f"{each.name} is {each.container.status} with exit code {each.container.exit_code}"
                     for each in dead)


def _late(seen: Observation) -> str:
    spec = seen.desired.spec
    if spec is None or seen.now < deadline_at(seen) or doubt.blindness(seen):
        return ""
    new = [each for each in newcomers(seen) if each.condition not in ("gone", "draining", "leaving")]
    if not new:
        waits = in_the_way(seen) or any(each.condition == "draining" for each in members(seen))
        return "" if waits else f"no instance could be started within {spec.release.deadline:g} s{_trouble(seen)}"
    if seen.desired.color and len(new) < seen.target:
        return f"only {len(new)} of {seen.target} could be started within {spec.release.deadline:g} s{_trouble(seen)}"
    late = [f"{each.name} is {each.condition}" for each in new if not each.passes]
    if late:
        return f"not all passed within {spec.release.deadline:g} s: {', '.join(late)}"
    return unsmoked(seen) if seen.certain else ""


def _trouble(seen: Observation) -> str:
    there = group(seen, seen.desired.other_color if seen.desired.color else "")
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
    return seen if why is None else seen._replace(
        state=msgspec.structs.replace(seen.state, rollout=None, failed=why))
