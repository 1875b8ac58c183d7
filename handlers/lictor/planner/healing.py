"""Healing: unhealthy instances that run are replaced, one at a time.

States of a replacement: due (the longest critical one, after its grace) -> its replacement starts beside it -> the
replacement passes -> the unhealthy one is drained -> removed. If replicas.max leaves no room, it is drained first,
as long as more than replicas.min others pass. If the replacement never passes, it goes itself.

Never: a replacement begins in doubt, without a consistent reading, over a budget, or while another one is starting; an
instance goes before one that stays passes. Containers that have ended need none of this: they are facts, and started
again by `backoff`.
"""

import msgspec

from lictor.planner import actions, backoff, breaker, members, release, self_preservation
from lictor.planner.actions import Action, Confirm, Drain, Hold, Obstacle, Replace, Wait
from lictor.planner.members import Departures, Member
from lictor.planner.observation import Observation
from lictor.planner.service_state import Failures, Healing


def reason(unhealthy: Member, observation: Observation) -> str:
    return f"critical for {observation.now - unhealthy.critical_since:.0f} s{unhealthy.evidence}"


def longest_critical(among: list[Member]) -> Member | None:
    unhealthy = [member for member in among if member.condition == "unhealthy"]
    return min(unhealthy, key=lambda member: member.critical_since, default=None)


def due(observation: Observation) -> Member | None:
    """Choose the unhealthy instance to replace next; None while another one is starting.

    While too many stand, one is due only if none of the staying ones passes: then none goes before another comes.
    During a release none is; on the way back from one, an instance of the live release may be.
    """
    everyone, staying = members.standing(observation), members.departures(observation).staying
    is_back = release.is_rolling(observation)
    is_over = len(everyone) > observation.target
    if is_back and (observation.rollout or is_over) or len(staying) != observation.target:
        return None
    if any(member.condition == "starting" for member in everyone):
        return None
    if is_over and any(member.condition in ("healthy", "failing") for member in staying):
        return None
    target = release.target_release(observation)
    return longest_critical([member for member in staying if not is_back or member.release == target])


def obstacle(unhealthy: Member, observation: Observation) -> Hold | Wait | Confirm | None:
    """Say what stands against a replacement: a doubt, no consistent reading, the breaker; None: nothing does."""
    replacement = Replace(unhealthy, reason(unhealthy, observation))
    doubt = self_preservation.doubt(observation)
    if doubt:
        return actions.put_off(replacement, doubt)
    if not observation.certain:
        return actions.confirm(replacement)
    spent = breaker.obstacle(observation)
    return actions.hold(replacement, spent.why) if spent else None


def replace(unhealthy: Member, everyone: list[Member], observation: Observation) -> list[Action]:
    """Start another instance beside the unhealthy one, or let a draining one that is well back into traffic; if
    replicas.max leaves no room, take the unhealthy one away first."""
    against, cancelled = obstacle(unhealthy, observation), release.cancelled_drains(everyone, observation)[:1]
    if against:
        return [against]
    running = [member for member in everyone if member.condition != "gone"]
    if cancelled or len(running) >= observation.spec.replicas.max:
        return [*cancelled] or [_replace_in_place(unhealthy, running, observation)]
    why = f"to replace {unhealthy.name}: {reason(unhealthy, observation)}"
    return [*backoff.starts(everyone, observation, 1, why, release=release.target_release(observation),
                            replaces=unhealthy.container.id)]


def let_replaced_go(leaving: Departures, observation: Observation) -> list[Action]:
    """Let the unhealthy ones go for which others stand in, once all of those pass; or, if those are unhealthy as well,
    to make room for yet another."""
    staying = leaving.staying
    if not leaving.replaced or any(member.condition in ("starting", "failing") for member in staying):
        return []
    is_full = len(leaving.replaced) + len(staying) >= observation.spec.replicas.max
    makes_room = (is_full and all(member.condition == "unhealthy" for member in staying)
                  and not breaker.obstacle(observation) and not _awaited(observation))
    serves_on = makes_room or any(member.condition == "healthy" for member in staying)
    return [_let_go(member, serves_on, observation) for member in leaving.replaced]


def note_passed(observation: Observation) -> Healing:
    """Note which of the containers that are there have passed their check once, and a time when they had passed it
    since their start, by Docker's clock."""
    healing, everyone = observation.state.healing, (*members.members(observation), *members.candidates(observation))
    passing = {member.container.id: member.container.started_at for member in everyone if member.check_passes}
    ids = {container.id for container in observation.containers} & (passing.keys() | set(healing.passed_once))
    known = {container_id: at for container_id, at in healing.passed_at.items() if container_id in ids}
    again = {container_id: max(observation.now, started_at) for container_id, started_at in passing.items()
             if known.get(container_id, -1.0) < started_at}
    return msgspec.structs.replace(healing, passed_once=sorted(ids), passed_at=known | again)


def advance(observation: Observation, *, begins_anew: bool, has_surplus: bool) -> Healing:
    """Note what is critical since when, and count failures; `begins_anew`: a release begins, which may be what mends
    them, and its own deadline runs."""
    healing, everyone, now = observation.state.healing, members.members(observation), observation.now
    # The failures of a scheduler's instances are the scheduler's to make good.
    dead = [] if observation.scheduler else [
        member for member in everyone if member.condition == "gone" or member.failed_to_pass]
    return Healing(
        critical_since=_critical_since(everyone, observation),
        passed_once=healing.passed_once, passed_at=healing.passed_at,
        counted_dead=sorted(member.container.id for member in dead),
        failures=_forget_failures(_count_failures({} if begins_anew else healing.failures, dead, observation),
                                  everyone, observation),
        surplus_since=observation.since(healing.surplus_since or now) if has_surplus else 0.0)


def _awaited(observation: Observation) -> str:
    """Say for which set another instance would have to wait; "": it could start at once."""
    return observation.awaited.get(release.target_release(observation), "")


def _replace_in_place(unhealthy: Member, running: list[Member], observation: Observation) -> Action:
    why, least, most = reason(unhealthy, observation), observation.spec.replicas.min, observation.spec.replicas.max
    replacement = Replace(unhealthy, why)
    if any(member.condition in ("draining", "leaving") for member in running):
        return actions.wait(replacement, "no room", f"replicas.max is {most}, so another has to be gone first")
    if awaited := _awaited(observation):
        return actions.hold(replacement, awaited)
    passing = sum(member.condition == "healthy" for member in running)
    if passing - 1 >= least:
        return Drain(unhealthy, f"in place, as replicas.max is {most}: {why}", replaces=unhealthy.container.id)
    return actions.hold(replacement, f"replicas.max is {most}, so none can be started beside it; to restart it in "
                                     f"place, at least {least + 1} others would have to pass, and {passing} do")


def _let_go(member: Member, serves_on: bool, observation: Observation) -> Action:
    never_passed = member.failed_to_pass
    why = (f"a replacement that has not passed its check in {observation.spec.start_up_s:g} s{member.evidence}"
           if never_passed else reason(member, observation))
    action, doubt = actions.leave(member, why), self_preservation.doubt(observation)
    if not serves_on and not never_passed:
        return actions.put_off(action, Obstacle("none of the staying instances passes its check"))
    return actions.put_off(action, doubt) if doubt else actions.confirmed(observation.certain, action)


def _critical_since(everyone: list[Member], observation: Observation) -> dict[str, float]:
    """Note the first sightings. They are kept while a registration cannot be seen: an agent's restart is no reason to
    begin anew. A scheduler's instance was started when it was first seen not to pass."""
    known, has_scheduler = observation.state.healing.critical_since, observation.scheduler is not None
    watched = [*everyone, *(members.candidates(observation) if has_scheduler else [])]
    return {member.container.id: member.critical_since for member in watched
            if member.is_critical or member.condition == "starting" and (
                has_scheduler or member.instance is None and member.container.id in known)}


def _count_failures(failures: dict[str, Failures], dead: list[Member], observation: Observation) -> dict[str, Failures]:
    """Count each end once, and double if it came before the check ever passed. An end of a failed release is no reason
    to back off from what comes after it."""
    healing, failed = observation.state.healing, release.standing_failure(observation)
    for member in dead:
        if member.container.id not in healing.counted_dead and not (failed and member.release == failed.release):
            weight = 1 if member.container.id in healing.passed_once else 2
            number = str(member.container.number)
            failures = backoff.count_failure(failures, number, weight, member.words, observation.now)
    return failures


def _forget_failures(failures: dict[str, Failures], everyone: list[Member],
                     observation: Observation) -> dict[str, Failures]:
    """Forget the failures of a number after ten good minutes, or when none of it has been there for long."""
    numbers = {str(member.container.number) for member in everyone}
    good = {str(member.container.number) for member in everyone if member.condition == "healthy"
            and observation.now - observation.started_at(member.container) >= backoff.FORGET_FAILURES_S}
    return {number: msgspec.structs.replace(entry, last_at=observation.began_at(entry.last_at))
            for number, entry in failures.items()
            if number not in good and (number in numbers or backoff.is_fresh(entry, observation))}
