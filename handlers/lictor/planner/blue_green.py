"""The colour that is not live: a release comes up in it, and what was live before ends in it. Pure."""

from lictor import model
from lictor.planner import actions as action
from lictor.planner import drain, release, self_preservation
from lictor.planner.actions import Action
from lictor.planner.observation import Member, Observation, candidates


def actions(seen: Observation) -> list[Action]:
    """What is to be done about both colours beyond keeping the live one as it should be."""
    wanted = seen.desired
    if not wanted.color or wanted.removed or wanted.spec is None:
        return []
    return [*color_key(seen), *_others(seen), *(_newcomers(seen) if seen.state.rollout else [])]


def color_key(seen: Observation) -> list[Action]:
    wanted = seen.desired
    if wanted.color_key == wanted.color:
        return []
    why = f"the color key is {wanted.color_key!r}" if wanted.color_key else "there is no color key"
    return [Action("switch", f"{why}, and {wanted.color} is live", wanted.catalog_name, color=wanted.color)]


def _newcomers(seen: Observation) -> list[Action]:
    """Have as many as are live, all of them passing; then make their colour the live one."""
    blocked = release.in_the_way(seen)
    if blocked:
        return [action.on("wait", blocked[0], f"{seen.desired.other_color} has to be free first for the new release")]
    new = release.newcomers(seen)
    draining = [each for each in new if each.condition == "draining"]
    if draining:  # what was live until just now is wanted again
        return [action.on("undrain", each, "its release is asked for again") for each in draining]
    standing = [each for each in new if each.stands]
    if len(standing) < seen.target:
        return _starts(new, standing, seen)
    if len(standing) > seen.target:
        return [action.on("remove", each, f"{seen.desired.why_replicas}, and it serves nobody yet")
                for each in standing[seen.target:]]
    return gate(standing, seen)


def gate(standing: list[Member], seen: Observation) -> list[Action]:
    """The switch to those that are as many as are wanted; or what they wait for."""
    late = [each for each in standing if not each.passes]
    if late:
        return [action.on("wait", each, f"is {each.condition}; the new release has to pass its checks",
                          until=each.until) for each in late]
    return [_switch(standing, seen)]


def _starts(new: list[Member], standing: list[Member], seen: Observation) -> list[Action]:
    """Those that were kept first: going back takes seconds."""
    wanted, running = seen.desired, {each.container.number for each in standing}
    kept = [each.container.number for each in new if release.is_kept(each, seen)]
    free = [*kept, *(each for each in range(1, seen.target + len(new) + 1) if each not in {*kept, *running})]
    image = wanted.spec.image if wanted.spec else ""
    return [Action("start", f"release of {image}: as many as are live, {seen.target}",
                   f"{model.catalog_name(wanted.name, wanted.other_color)}-{number}", number=number,
                   color=wanted.other_color, release=wanted.release) for number in free[:seen.target - len(standing)]]


def _switch(standing: list[Member], seen: Observation) -> Action:
    wanted, running = seen.desired, seen.state.rollout
    assert wanted.spec is not None and running is not None
    gate, name = wanted.spec.release, model.catalog_name(wanted.name, wanted.other_color)
    passing_until = (running.passing_since or seen.now) + gate.healthy_for
    unsure = self_preservation.blindness(seen)
    why = f"all {len(standing)} of {wanted.spec.image} pass"
    if seen.now < passing_until:
        return Action("wait", f"{why}, for less than {gate.healthy_for:g} s", name, until=passing_until)
    if unsure:
        return action.put_off(Action("switch", "", name), f"no switch, as {unsure.why}", unsure.until)
    if seen.certain and release.unsmoked(seen):
        return Action("wait", f"{release.unsmoked(seen)}; asked again until the deadline", name)
    return action.confirmed(seen.certain, Action("switch", why, name, color=wanted.other_color,
                                                 release=wanted.release))


def _others(seen: Observation) -> list[Action]:
    """What is not of the release under way: kept stopped for a while if it was live before, else removed; and what was
    left of a start that was cut short."""
    everyone, new = candidates(seen), release.newcomers(seen)
    return [each for member in everyone if member not in new or member.condition == "gone" and not release.is_kept(
        member, seen) for each in _ended(member, everyone, seen)]


def _ended(member: Member, everyone: list[Member], seen: Observation) -> list[Action]:
    keeps = _is_to_be_kept(member, seen)
    then = "stop" if keeps else "remove"
    if member.condition == "leaving" or member.condition == "gone" and keeps and member.container.status == "exited":
        return []
    if member.condition == "gone":
        return [action.on("remove", member, f"it is {member.container.status}, and not kept{_failed(member, seen)}")]
    if member.condition == "draining":
        return [drain.ending(member, everyone, seen, then=then)]
    if _failed(member, seen) and not drain.is_listed(member, seen):
        return [action.on("remove", member, _failed(member, seen).lstrip(", "))]
    return [_leaves(member, then, seen)]


def _leaves(member: Member, then: str, seen: Observation) -> Action:
    unsure, runs_on = self_preservation.blindness(seen), listed(seen)
    if runs_on:
        return action.put_off(action.on(then, member, ""), runs_on.why, runs_on.until)
    if unsure:
        return action.held(unsure, member, f"end it, {seen.desired.color} is live")
    why = f"{seen.desired.color} is live, and no nginx lists it any more"
    return action.confirmed(seen.certain, action.leave(member, why, then))


def listed(seen: Observation) -> self_preservation.Doubt | None:
    """Why what was live has to run on: not before no nginx lists it any more. A node that does not answer stands
    against that, but not against the next release."""
    deadline_at = seen.state.switched_at + (seen.desired.spec.release.deadline if seen.desired.spec else 0.0)
    alive = [node for node, is_alive in seen.behind if is_alive]
    dead = [f"{node} (does not answer)" for node, is_alive in seen.behind if not is_alive]
    behind = alive if seen.state.rollout else [*alive, *dead]
    if not behind:
        return None
    said = f"the nginx of {', '.join(behind)} may still send requests to it"
    if seen.now < deadline_at:
        return self_preservation.Doubt(f"{said}; {seen.desired.color} is live", deadline_at)
    return self_preservation.Doubt(
        f"keeps running beside {seen.desired.color}: {said}; of one that routes no more, delete the key "
        f"lictor/nodes/{seen.desired.name}/NODE"
    )


def _is_to_be_kept(member: Member, seen: Observation) -> bool:
    """Of what was live before, for `keep`, unless a release needs the colour."""
    spec, state = seen.desired.spec, seen.state
    return bool(spec and not state.rollout and state.previous_release == member.container.release
                and seen.now < state.switched_at + spec.release.keep)


def _failed(member: Member, seen: Observation) -> str:
    failed = seen.state.failed
    return f", as its release failed: {failed.why}" if failed and failed.release == member.container.release else ""
