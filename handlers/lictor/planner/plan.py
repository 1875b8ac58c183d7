"""The planner: from what was observed to what is to be done, each action with its reason. Pure: no I/O, no clock.

It decides one step at a time from the state of things alone, never from what an earlier run meant to do: whoever
runs it next, after a crash as well, goes on from where the world is.
"""

from typing import NamedTuple

from lictor.model import Container
from lictor.planner import (
    actions as action,
)
from lictor.planner import (
    backoff,
    blue_green,
    breaker,
    drain,
    release,
    rolling,
    scheduled,
    self_preservation,
)
from lictor.planner import (
    healing as judgement,
)
from lictor.planner.actions import ACTS, Action
from lictor.planner.observation import (
    START_UP_GRACE_S,
    WORST_FIRST,
    Member,
    Observation,
    critical_for_s,
    failed_to_pass,
    is_replaced,
    members,
    registrations,
)

__all__ = ["ACTS", "Action"]


class Departures(NamedTuple):
    """Who has to go, so that no more run than are wanted, and who stays."""

    staying: list[Member]
    replaced: list[Member]  # ill ones for which another was started, or which were started and never passed
    surplus: list[Member]  # more than the spec, or the tombstone, wants


def plan(seen: Observation) -> tuple[Action, ...]:
    """What to do now. Nothing at all is the usual answer."""
    wanted = seen.desired
    if wanted.spec is None and not wanted.removed:
        return (Action("hold", "; ".join(wanted.problems) or "there is no spec"),)
    if not wanted.why_held:
        return _decide(seen)
    return tuple(Action("hold", f"not done, as {wanted.why_held}: {each.kind} {each.container}: {each.reason}",
                        each.container) for each in _decide(seen._replace(certain=True)))


def due(seen: Observation) -> Member | None:
    """The ill one that is to be replaced next: the longest critical, and none while another is still starting. While
    there are too many, only if none of those that stay passes: then nobody goes before another one does. During a
    release none is; on the way back from one those of what is live are."""
    if seen.counts:
        return scheduled.due(seen)
    standing, staying, is_back = _standing(members(seen)), departures(seen).staying, rolling.is_under_way(seen)
    if is_back and (seen.state.rollout or len(standing) > seen.target) or len(staying) != seen.target:
        return None
    if any(each.condition == "starting" for each in standing):
        return None
    if len(standing) > seen.target and any(each.condition in ("healthy", "failing") for each in staying):
        return None
    ill = [each for each in staying if each.condition == "unhealthy" and not (
        is_back and each.container.release != release.goal(seen))]
    return max(ill, key=lambda each: critical_for_s(each, seen), default=None)


def departures(seen: Observation) -> Departures:
    standing = _standing(members(seen))
    leaving = sorted(standing, key=lambda each: _departure_order(each, seen))[: max(len(standing) - seen.target, 0)]
    replaced = [each for each in leaving if seen.target and is_replaced(each, seen)]
    return Departures([each for each in standing if each not in leaving], replaced,
                      [each for each in leaving if each not in replaced])


def _decide(seen: Observation) -> tuple[Action, ...]:
    if seen.counts:
        return (*scheduled.actions(seen), *_second_look(seen), *_refused_release(seen))
    everyone = members(seen)
    unproven = _unproven(everyone, seen)
    keep_up = unproven or (_rolling(everyone, seen) if rolling.is_under_way(seen) else [
        *_count(everyone, seen), *rolling.last_step(seen)])
    if not seen.state.rollout:  # what is live needs no smoke test; its registration was lost, say, and made anew
        keep_up = [*keep_up, *(action.on("admit", each, "it passes, and is of what is live") for each in everyone
                               if each.condition == "joining" and each.container.release == release.goal(seen))]
    taken_back = {each.container_id for each in keep_up if each.kind == "undrain"}
    drains = [each for each in _drains(everyone, seen) if each.container_id not in taken_back]
    return (*_leftovers(everyone), *drains, *keep_up, *_second_look(seen), *blue_green.actions(seen),
            *_refused_release(seen))


def _standing(everyone: list[Member]) -> list[Member]:
    return [each for each in everyone if each.stands]


def _unproven(everyone: list[Member], seen: Observation) -> list[Action]:
    """What never passed is not worth a release: it makes room for what is asked for now."""
    if release.live_release(seen) or seen.desired.spec is None or seen.desired.removed:
        return []
    unsure = self_preservation.blindness(seen)
    why = "it has never passed its check, and another release is asked for"
    return [action.held(unsure, each, f"remove it, {why}") if unsure else
            action.confirmed(seen.certain, action.on("remove", each, why))
            for each in _standing(everyone) if each.container.release != seen.desired.release
            and each.instance and each.container.id not in seen.state.passed and all(
                one.status == "critical" for one in registrations(each, seen))]


def _leftovers(everyone: list[Member]) -> list[Action]:
    return [action.on("remove", each, f"it is {each.container.status}{_exit_code(each.container)}")
            for each in everyone if each.condition == "gone"]


def _drains(everyone: list[Member], seen: Observation) -> list[Action]:
    return [drain.ending(each, everyone, seen) for each in everyone if each.condition == "draining"]


def _count(everyone: list[Member], seen: Observation) -> list[Action]:
    """Bring the number of those that stand to what is wanted; then replace the ill, one at a time."""
    standing = _standing(everyone)
    leaving = departures(seen)
    waits = _waits(leaving.staying)
    if len(standing) < seen.target:
        why = f"{seen.desired.why_replicas}, {len(standing)} run"
        back = release.taken_back(everyone, seen)[:seen.target - len(standing)]
        missing = seen.target - len(standing) - len(back)
        return [*back, *backoff.starts(everyone, seen, missing, why, release=release.goal(seen)), *waits]
    going = [*_replaced(leaving.replaced, leaving.staying, seen), *_surplus(leaving.surplus, leaving.staying, seen)]
    ill = due(seen) if all(each.kind == "hold" for each in going) else None
    return [*going, *(_replacement(ill, everyone, seen) if ill else []), *waits]


def _rolling(everyone: list[Member], seen: Observation) -> list[Action]:
    """On the way back an ill one of what is live is replaced as at any other time; what keeps it from that does not
    keep the failed release from being taken away."""
    ill = due(seen)
    healing = _replacement(ill, everyone, seen) if ill else []
    is_held = all(each.kind == "hold" for each in healing)
    return [*healing, *rolling.actions(seen)] if is_held else healing


def _replacement(ill: Member, everyone: list[Member], seen: Observation) -> list[Action]:
    """Start another beside the ill one; where replicas.max leaves no room for that, take the ill one away first."""
    why, spec, obstacle = judgement.reason(ill, seen), seen.desired.spec, judgement.obstacle(ill, seen)
    assert spec is not None
    if obstacle:
        return [obstacle]
    back = release.taken_back(everyone, seen)[:1]
    if back:  # it is well, and drains
        return back
    running = [each for each in everyone if each.condition != "gone"]
    if len(running) < spec.replicas.max:
        return backoff.starts(everyone, seen, 1, f"to replace {ill.name}: {why}", release=release.goal(seen),
                             replaces=ill.container.id)
    if any(each.condition in ("draining", "leaving") for each in running):
        return [action.on("wait", ill, f"{why}; replicas.max is {spec.replicas.max}, another has to be gone first")]
    passing, limits = sum(each.condition == "healthy" for each in everyone), spec.replicas
    if passing - 1 >= limits.min:
        return [action.on("drain", ill, f"in place, as replicas.max is {limits.max}: {why}")
                ._replace(replaces=ill.container.id)]
    no_room = self_preservation.Doubt(
        f"replicas.max is {limits.max}, so none can be started beside it; to restart it in place, at "
        f"least {limits.min + 1} others would have to pass (replicas.min and one), and {passing} do"
    )
    return [action.held(no_room, ill, f"replace it, {why}")]


def _replaced(replaced: list[Member], staying: list[Member], seen: Observation) -> list[Action]:
    """Let the ill ones go that others stand in for, once all of those pass; or when those are ill as well, and only so
    is there room for yet another."""
    if not replaced or any(each.condition in ("starting", "failing") for each in staying):
        return []
    spec, ill = seen.desired.spec, all(each.condition == "unhealthy" for each in staying)
    makes_room = (spec is not None and ill and len(replaced) + len(staying) >= spec.replicas.max
                  and not breaker.obstacle(seen))
    serves_on = makes_room or any(each.condition == "healthy" for each in staying)
    return [
        _judged_to_leave(each, seen)
        if serves_on or failed_to_pass(each, seen)
        else action.held(
            self_preservation.Doubt("none of those that stay passes its check"), each, "drain it, replaced"
        )
        for each in replaced
    ]


def _judged_to_leave(member: Member, seen: Observation) -> Action:
    why = judgement.reason(member, seen)
    if failed_to_pass(member, seen):
        why = f"a replacement that has not passed its check in {START_UP_GRACE_S:g} s"
    unsure = self_preservation.doubt(seen)
    if unsure:
        return action.held(unsure, member, f"drain it, {why}")
    if not seen.certain:
        return action.on("confirm", member, f"{why}: a consistent reading has to show it too before it goes")
    return action.leave(member, why)


def _surplus(surplus: list[Member], staying: list[Member], seen: Observation) -> list[Action]:
    """Let go of what a spec or a tombstone does not want, once that has stood for long enough."""
    why = "it was removed" if seen.desired.removed else seen.desired.why_replicas
    stands_until = (seen.state.surplus_since or seen.now) + seen.rules.surplus_after_s
    unsure = self_preservation.blindness(seen)
    serves_on = not seen.target or any(each.condition == "healthy" for each in staying)
    actions = []
    for each in surplus:
        if seen.now < stands_until:
            actions.append(action.on("wait", each, f"surplus, but for less than {seen.rules.surplus_after_s:g} s: "
                                                   f"{why}", until=stands_until))
        elif _hidden(each, seen):
            actions.append(action.on("wait", each, "surplus, but its registration cannot be seen, so it cannot be "
                                                   f"drained: {why}", until=each.until))
        elif unsure or not serves_on:
            actions.append(
                action.held(
                    unsure or self_preservation.Doubt("none of those that stay passes its check"),
                    each,
                    f"drain it, surplus: {why}",
                )
            )
        elif not seen.certain:
            actions.append(action.on("confirm", each, f"surplus: {why}: a consistent reading has to show it too"))
        else:
            actions.append(action.leave(each, why))
    return actions


def _hidden(member: Member, seen: Observation) -> bool:
    """It has no registration that one sees, but may still get one, or nginx may know it from one that it had."""
    return member.condition == "starting" and member.instance is None and (
        seen.now < member.until or member.container.id in seen.state.passed)


def _second_look(seen: Observation) -> list[Action]:
    if seen.certain:
        return []
    if release.is_late(seen):
        return [Action("confirm", "the release's deadline has passed; a consistent reading has to show how far it is")]
    if not seen.state.doubt or self_preservation.new_doubt(seen):
        return []
    return [Action("confirm", f"held, as {seen.state.doubt}; a consistent reading has to show that this is over")]


def _waits(staying: list[Member]) -> list[Action]:
    said = {"starting": "has not passed its check yet", "failing": "is critical, but not for long enough"}
    return [action.on("wait", each, said[each.condition], until=each.until)
            for each in staying if each.condition in said]


def _refused_release(seen: Observation) -> list[Action]:
    failed = release.has_failed(seen)
    return [Action("hold", f"the release of {failed.image} failed: {failed.why}; it is not tried again until something "
                           f"changes, or `lictor deploy {seen.desired.name} {failed.image}`")] if failed else []


def _departure_order(member: Member, seen: Observation) -> tuple[int, float]:
    """The worst first, and of equals the newest."""
    rank = 0 if failed_to_pass(member, seen) else 1 if is_replaced(member, seen) else (
        2 + WORST_FIRST.index(member.condition))
    return rank, -member.container.started_at


def _exit_code(container: Container) -> str:
    return "" if container.exit_code is None else f" with exit code {container.exit_code}"
