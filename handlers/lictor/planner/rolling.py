"""A service without colours whose instances are of two releases: one by one, towards the one that is wanted. Pure."""

from lictor.planner import actions as action
from lictor.planner import backoff, healing, release, self_preservation
from lictor.planner.actions import Action
from lictor.planner.observation import WORST_FIRST, Member, Observation, is_replaced, members


def is_under_way(seen: Observation) -> bool:
    """Whether some that stand are not of the release that is wanted: forwards, or back from one that failed."""
    wanted = seen.desired
    return bool(not wanted.color and wanted.spec and not wanted.removed and seen.target and release.live_release(seen)
                and any(each.container.release != release.goal(seen) for each in _standing(seen)))


def actions(seen: Observation) -> list[Action]:
    """The next step; none is taken while an earlier one has not ended well."""
    standing, goal = _standing(seen), release.goal(seen)
    right = [each for each in standing if each.container.release == goal and (
        seen.state.rollout or not is_replaced(each, seen))]
    wrong = [each for each in standing if each not in right]
    draining = [each for each in members(seen) if each.condition in ("draining", "leaving")]
    worst = min(wrong, key=lambda each: _departure_order(each, seen))
    is_short = not seen.state.rollout and len(standing) < seen.target  # on the way back: then nobody has to go
    unready = [each for each in right if each.condition == "starting" or not each.passes and (
        seen.state.rollout or worst.condition == "healthy" and not is_short)]
    if not seen.state.rollout and len(standing) > seen.target and unready and all(
            each.condition == "unhealthy" for each in unready):
        return [_leaves_ill(unready[0], seen)]
    if unready:
        return [_unready(each, seen) for each in unready]
    joining = _joining(right, seen)
    if joining:
        return joining
    if len(standing) > seen.target:
        return [_step(action.leave(worst, f"{_what(seen)}: {len(right)} of {seen.target} are there"), seen)]
    missing = seen.target - len(standing)
    back = release.taken_back(draining, seen)[:missing if release.anyone_passes(seen) else max(missing, 1)]
    if back:
        return back
    if draining:
        return [action.on("wait", draining[0], "it has to be gone before the next one comes")]
    return _next(worst, standing, seen)


def last_step(seen: Observation) -> list[Action]:
    """None but those of the new release stand; it takes over when they are let in, and have passed for a while."""
    if seen.desired.color or not seen.state.rollout or is_under_way(seen):
        return []
    wait = Action("wait", "all that stand are of the new release, and have to pass for a while", seen.desired.name,
                  until=passing_until(seen))
    return _joining(_standing(seen), seen) or ([wait] if seen.now < wait.until else [])


def passing_until(seen: Observation) -> float:
    """How long the new instances have to pass before the next step; 0.0: there is none that passes."""
    running, spec = seen.state.rollout, seen.desired.spec
    return running.passing_since + spec.release.healthy_for if running and running.passing_since and spec else 0.0


def _joining(right: list[Member], seen: Observation) -> list[Action]:
    return [_step(action.on("admit", each, f"{_what(seen)}: its smoke path answers"), seen)
            for each in right if each.condition == "joining"]


def _standing(seen: Observation) -> list[Member]:
    return [each for each in members(seen) if each.stands]


def _unready(member: Member, seen: Observation) -> Action:
    """On the way back, too, none that passes goes for one that does not; it may take a person to say what then."""
    if seen.state.rollout or member.until > seen.now:
        return action.on("wait", member, f"is {member.condition}; the next one comes when it passes", member.until)
    return action.on("hold", member, f"{_what(seen)}: it is {member.condition}, and what passes stays until it passes")


def _leaves_ill(ill: Member, seen: Observation) -> Action:
    """On the way back one more than wanted stands, and of what is live one is ill: that one goes, by judgement."""
    return healing.obstacle(ill, seen) or _step(action.leave(ill, f"{_what(seen)}: {healing.reason(ill, seen)}")
                                                  ._replace(replaces=ill.container.id), seen)


def _next(worst: Member, standing: list[Member], seen: Observation) -> list[Action]:
    """One more of the release that is wanted; where replicas.max leaves no room, one of the other goes first."""
    limits = seen.desired.spec.replicas if seen.desired.spec else None
    assert limits is not None
    if len(standing) < limits.max:
        return backoff.starts(members(seen), seen, 1, f"{_what(seen)}: one at a time", release=release.goal(seen))
    passing = sum(each.condition == "healthy" for each in standing)
    least = max(limits.min, 1)
    if worst.condition != "healthy" or passing - 1 >= least:
        return [_step(action.leave(worst, f"{_what(seen)}: in place, as replicas.max is {limits.max}"), seen)]
    return [action.on("hold", worst, f"{_what(seen)}: replicas.max is {limits.max}, so none can be started beside it; "
                      f"to go in place, {least + 1} would have to pass, and {passing} do")]


def _step(act: Action, seen: Observation) -> Action:
    """The act, once the newest has passed for a while, on its smoke path too, and a consistent reading shows it."""
    running, spec, unsure = seen.state.rollout, seen.desired.spec, self_preservation.blindness(seen)
    assert spec is not None
    if seen.now < passing_until(seen):
        return act._replace(kind="wait", reason="the newest has to pass for a while first", until=passing_until(seen))
    if unsure:
        return action.put_off(act, f"not done, as {unsure.why}: {act.kind} it, {act.reason}", unsure.until)
    if running and seen.certain and release.unsmoked(seen):
        return act._replace(kind="wait", reason=f"{release.unsmoked(seen)}; asked again until the deadline")
    return action.confirmed(seen.certain, act)


def _what(seen: Observation) -> str:
    spec, failed = seen.desired.spec, seen.state.failed
    if seen.state.rollout and spec:
        return f"release of {spec.image}"
    return f"back from {failed.image}, whose release failed" if failed else "back to what is live"


def _departure_order(member: Member, seen: Observation) -> tuple[int, bool, float]:
    """The worst first; of equals what is neither wanted nor live, then the oldest."""
    is_live = member.container.release == release.live_release(seen)
    return WORST_FIRST.index(member.condition), is_live, member.container.started_at
