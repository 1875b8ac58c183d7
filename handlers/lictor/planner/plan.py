"""The plan: from one observation to actions, each with its reason.

It decides one step at a time from the state of things alone, never from what an earlier run meant to do: whichever run
comes next, after a crash as well, goes on from where the world is.
"""

import math

from lictor.planner import actions, backoff, blue_green, drain, healing, members, release, rolling, scheduled
from lictor.planner.actions import (
    Act,
    Action,
    Admit,
    Confirm,
    Drain,
    End,
    Hold,
    Obstacle,
    Remove,
    Start,
    Stop,
    Undrain,
    Wait,
    Warn,
)
from lictor.planner.members import Member
from lictor.planner.observation import Observation
from lictor.planner.self_preservation import blindness, new_doubt


def plan(observation: Observation) -> tuple[Action, ...]:
    """Decide what to do now. Nothing at all is the usual answer."""
    desired = observation.desired
    if desired.spec is None and not desired.removed:
        return (Hold("", f"on hold: {'; '.join(desired.problems) or 'there is no spec'}."),)
    if desired.has_set:
        return (Hold("", "on hold: it is a set with state, whose members planner.cluster decides on."),)
    if not desired.why_held:
        decided = _await_sets(_decide(observation), observation)
        return tuple(_spare(action) for action in (*decided, *_warn_of_foreign(observation)))
    held = [_held(action, desired.why_held) for action in _decide(observation._replace(certain=True))]
    return (*held, *_warn_of_foreign(observation))


def due(observation: Observation) -> Member | None:
    """Choose the unhealthy instance to replace next."""
    scheduler = observation.scheduler
    return scheduled.due(observation, scheduler) if scheduler else healing.due(observation)


def has_surplus(observation: Observation) -> bool:
    """Tell whether more run than desired. A count that cannot be read, or a hold, makes no surplus."""
    scheduler = observation.scheduler
    return not observation.desired.why_held and bool(
        scheduled.surplus(observation, scheduler) > 0 if scheduler else members.departures(observation).surplus)


def _spare(action: Action) -> Action:
    """Hold what would end a container that is to be left alone, whichever rule asks for that."""
    why = members.untouchable(action.member) if isinstance(action, Drain | Stop | Remove | End) else ""
    return actions.hold(action, why) if isinstance(action, Act) and why else action


def _await_sets(decided: list[Action], observation: Observation) -> list[Action]:
    """Have starts wait whose environment names a set without a member, whichever rule asks for them; the first one
    stands for all."""
    waiting = [each for each in decided if isinstance(each, Start) and observation.awaited.get(each.release)]
    return [actions.wait(each, "waiting", observation.awaited[each.release], math.inf)
            if isinstance(each, Start) and each in waiting else each
            for each in decided if each not in waiting[1:]]


def _held(action: Action, why: str) -> Hold:
    if isinstance(action, Act):
        return actions.hold(action, why)
    return Hold(action.container, f"on hold: {why}. Otherwise {action.kind}: {action.reason}", action.action)


def _warn_of_foreign(observation: Observation) -> list[Warn]:
    """Name the instances that serve under the service's name beside its own."""
    return [Warn(each.service_id, f"foreign: on {each.node} it is registered as {each.service}"
                 f"{each.image and f' ({each.image})'}, and lictor did not start it there. It may get traffic; "
                 "lictor neither counts, heals nor ends it.") for each in observation.foreign]


def _decide(observation: Observation) -> list[Action]:
    if observation.scheduler:
        is_told = observation.desired.removed or observation.rollout  # a release says itself what it waits for
        waits = [] if is_told else _wait_for_checks(members.standing(observation), observation)
        return [*scheduled.decide(observation, observation.scheduler), *(
            each for each in waits if isinstance(each, Hold)), *_look_again(observation), *_refuse_release(observation)]
    everyone = members.members(observation)
    steps = [*(_remove_unproven(everyone, observation) or _keep_up(everyone, observation)),
             *_admit(everyone, observation)]
    cancelled = {step.member for step in steps if isinstance(step, Undrain)}
    draining = [member for member in everyone if member.condition == "draining" and member not in cancelled]
    remains = [Remove(member, f"it is {member.ended}") for member in everyone if member.condition == "gone"]
    return [*remains, *(drain.end(member, everyone, observation) for member in draining), *steps,
            *_look_again(observation), *blue_green.decide(observation), *_refuse_release(observation)]


def _keep_up(everyone: list[Member], observation: Observation) -> list[Action]:
    """Keep the live colour at its number, release and health."""
    if not release.is_rolling(observation):
        return [*_keep_count(everyone, observation), *rolling.last_step(observation)]
    # On the way back an unhealthy instance of the live release is replaced as at any time; what holds that does not
    # keep the failed release from being taken away.
    unhealthy = healing.due(observation)
    healed = _await_sets(healing.replace(unhealthy, everyone, observation) if unhealthy else [], observation)
    is_held = all(isinstance(action, Hold) or isinstance(action, Wait) and action.until == math.inf
                  for action in healed)
    return [*healed, *rolling.decide(observation)] if is_held else healed


def _keep_count(everyone: list[Member], observation: Observation) -> list[Action]:
    """Bring the standing members to the desired number; then replace the unhealthy ones, one at a time."""
    leaving, count = members.departures(observation), len(members.standing(observation))
    waits = _wait_for_checks(leaving.staying, observation)
    if count < observation.target:
        why, missing = f"{observation.desired.why_replicas}, {count} run", observation.target - count
        cancelled = release.cancelled_drains(everyone, observation)[:missing]
        return [*cancelled, *backoff.starts(everyone, observation, missing - len(cancelled), why,
                                            release=release.target_release(observation)), *waits]
    going = [*healing.let_replaced_go(leaving, observation),
             *(_let_surplus_go(member, leaving.staying, observation) for member in leaving.surplus)]
    unhealthy = healing.due(observation) if all(isinstance(action, Hold) for action in going) else None
    return [*going, *(healing.replace(unhealthy, everyone, observation) if unhealthy else []), *waits]


def _let_surplus_go(member: Member, staying: list[Member], observation: Observation) -> Action:
    """Let a member go that the spec or the tombstone does not leave, once the surplus has stood for long enough."""
    desired, stands_s = observation.desired, observation.rules.surplus_after_s
    action = actions.leave(member, "it was removed" if desired.removed else desired.why_replicas)
    until, blind = members.surplus_stands_until(observation), blindness(observation)
    if observation.now < until:
        return actions.wait(action, "surplus", f"it has to stand for {stands_s:g} s first", until)
    if _is_hidden(member, observation):
        return actions.wait(action, "surplus", "its registration cannot be seen, so it cannot be drained", member.until)
    if blind:
        return actions.put_off(action, blind)
    if observation.target and not any(other.condition == "healthy" for other in staying):
        return actions.put_off(action, Obstacle("none of the staying instances passes its check"))
    return actions.confirmed(observation.certain, action)


def _is_hidden(member: Member, observation: Observation) -> bool:
    """Tell whether it has no registration in sight, but may still get one, or is known to nginx from an earlier one."""
    return member.condition in ("starting", "restarting") and member.instance is None and (
        observation.now < member.until or member.has_passed_once)


def _remove_unproven(everyone: list[Member], observation: Observation) -> list[Action]:
    """Remove what never passed: it is not worth a release, and makes room for what is desired now."""
    desired, blind = observation.desired, blindness(observation)
    if release.live_release(observation) or desired.spec is None or desired.removed:
        return []
    removals = [Remove(member, "it has never passed its check, and another release is desired")
                for member in everyone if member.stands and member.release != desired.release
                and member.instance and not member.has_passed_once
                and all(instance.status == "critical" for instance in members.registrations(member, observation))]
    return [actions.put_off(act, blind) if blind else actions.confirmed(observation.certain, act) for act in removals]


def _admit(everyone: list[Member], observation: Observation) -> list[Admit]:
    """Let in what passes outside of a release: its registration was lost, say, and made anew."""
    if observation.rollout:
        return []
    return [Admit(member, "it passes, and is of the live release") for member in everyone
            if member.condition == "joining" and member.release == release.target_release(observation)]


def _look_again(observation: Observation) -> list[Confirm]:
    """Ask for a consistent reading that decides on a late release, or ends a doubt."""
    doubt = observation.state.trust.doubt
    if observation.certain:
        return []
    if release.is_late(observation):
        return [Confirm("", "unconfirmed: the release's deadline has passed. A consistent reading has to show how far "
                            "it is.")]
    if not doubt or new_doubt(observation):
        return []
    return [Confirm("", f"on hold: {doubt}. A consistent reading has to show that this is over.")]


def _wait_for_checks(staying: list[Member], observation: Observation) -> list[Wait | Hold]:
    """Say what each staying member that does not serve waits for; what people or Docker do to it may take for ever."""
    return [Hold(member.name, f"{members.explain(member, observation)}.")
            if member.condition in ("paused", "restarting", "maintenance") else
            actions.wait_for(member, f"{members.explain(member, observation)}.")
            for member in staying if member.condition not in ("healthy", "joining", "unhealthy")]


def _refuse_release(observation: Observation) -> list[Hold]:
    failed = release.standing_failure(observation)
    if failed is None:
        return []
    deploy = f", or `lictor deploy {observation.desired.name} {failed.image}`" if failed.image else ""
    return [Hold("", f"on hold: the release of {failed.image or 'its spec'} failed: {failed.why}. It is not tried "
                     f"again until another is desired{deploy}.")]
