"""The next state of a service: what a run learns from its observation, and from the outcome of its acts."""

from typing import Any

from msgspec.structs import replace

from lictor import errors
from lictor.planner import backoff, breaker, healing, plan, release, self_preservation
from lictor.planner.actions import Action, Redeploy, Scale
from lictor.planner.canary import trial
from lictor.planner.desired import fingerprint
from lictor.planner.members import Member, is_well, members
from lictor.planner.observation import Observation
from lictor.planner.service_state import Failure, LastGood, LastOrder, Notified, Release, State
from lictor.spec import service_spec

HELD = "held"  # the causes that operators are notified of
BREAKER = "breaker"
RELEASE_FAILED = "release failed"
SET_TROUBLE = "set needs a person"
OVER = "this is over"  # the matter of a cause that has ended


def step(observation: Observation) -> tuple[State, tuple[Action, ...]]:
    """Advance the state that is stored in the observation, and plan on it."""
    state = advance(observation)
    return state, plan.plan(observation._replace(state=state))


def advance(observation: Observation) -> State:
    """Learn from an observation; to advance the state once more changes nothing.

    The order is part of the rules, as each step goes by what the steps before it have learnt:
    1. trust: if a doubt ends, every instance has its grace anew;
    2. the instances that have passed once: they are not starting any more;
    3. the release, which goes on or fails by the conditions that follow from 1 and 2;
    4. healing: if a release begins, earlier failures are forgotten;
    5. the breaker, which opens if a replacement is due by all of that;
    6. the last good input, and the live release: the one under way may take over;
    7. the causes that operators are notified of.
    """
    stored, after = observation.state, observation.with_state(trust=self_preservation.advance(observation))
    after = after.with_state(healing=healing.note_passed(after))
    after = after.with_state(release=release.advance(after))
    begins_anew = release.has_begun(after.state.release, stored.release, after.desired.release)
    after = after.with_state(healing=healing.advance(
        after, begins_anew=begins_anew, has_surplus=plan.has_surplus(after)))
    after = after.with_state(breaker=breaker.advance(after, due=_describe_due(after), is_well=is_well(after)))
    if after.desired.spec and after.desired.table:
        last_good = LastGood(after.desired.table, after.desired.replicas, after.desired.spec.image)
        after = after.with_state(last_good=last_good, release=_advance_live(after))
    if after.scheduler and not after.scheduler.takes_orders:  # a Swarm's worker does not see how far a release is
        after = _with_healing(after.with_state(release=stored.release), failures=stored.healing.failures,
                              surplus_since=stored.healing.surplus_since)
    return after.with_state(notified=_notified(after, stored)).state


def advance_set(observation: Observation, is_released: bool | None) -> State:
    """Advance the state of a set with state, whose members and releases `planner.cluster` decides on. If all members
    are of the desired release, that is live."""
    state, desired = observation.state, observation.desired
    assert desired.spec and desired.table
    live = state.release
    if is_released and live.live_release != desired.release:
        live = replace(live, live=desired.table, live_release=desired.release, live_is_proven=True,
                       previous=live.live, previous_release=live.live_release, switched_at=observation.now)
    return replace(state, last_good=LastGood(desired.table, desired.replicas, desired.spec.image), release=live,
                   notified=_notified(observation, state))


def switched(observation: Observation) -> State:
    """Make the desired release the live one, in the other colour; to be written with the colour's key."""
    return replace(observation.state, release=_take_over(observation, observation.desired.other_color))


def tried(observation: Observation) -> State:
    """Begin the trial of the release under way; to be written with the canary's key."""
    rollout = observation.rollout
    assert rollout
    return replace(observation.state, release=replace(observation.state.release, rollout=replace(
        rollout, trial=trial.begin(observation))))


def start_failed(state: State, number: int, why: errors.LictorError, now: float) -> State:
    """Count a start that its engine refused like an end before the check ever passed."""
    failures = backoff.count_failure(state.healing.failures, str(number), 2, why, now)
    return replace(state, healing=replace(state.healing, failures=failures))


def ended(state: State, member: Member, last_line: str) -> State:
    """Put the last line that an instance printed behind what its end was counted as, here and for its release."""
    number, failed = str(member.container.number), state.release.failed

    def told(why: str) -> str:
        with_line = f"{member.words}: {last_line}"
        return why if with_line in why else why.replace(member.words, with_line)[:backoff.LONGEST_WHY]

    failures = {each: replace(entry, why=told(entry.why)) if each == number else entry
                for each, entry in state.healing.failures.items()}
    is_of_failed = failed is not None and failed.release == member.release
    return replace(state, healing=replace(state.healing, failures=failures), release=replace(
        state.release, failed=replace(failed, why=told(failed.why)) if failed and is_of_failed else failed))


def order_failed(state: State, color: str, why: errors.LictorError, now: float) -> State:
    failures = backoff.count_failure(state.release.order_failures, color, 2, why, now)
    return replace(state, release=replace(state.release, order_failures=failures))


def order_begun(state: State, order: Scale | Redeploy, image: str, now: float) -> LastOrder:
    """Describe an order while its outcome is unknown: it may be half done."""
    before = state.release.last_orders.get(order.color)
    at_most = max(order.replicas, before.replicas if before else 0)
    made_from = order.release if isinstance(order, Scale) else ""
    return LastOrder(at_most, made_from, now, done=False, image=image)


def order_given(state: State, color: str, order: LastOrder | None) -> State:
    """Remember the last order about a colour, or forget the colour; an order that is done ends the back-off."""
    orders = {other: last for other, last in state.release.last_orders.items() if other != color}
    is_over = order is None or order.done
    failures = {other: entry for other, entry in state.release.order_failures.items() if not is_over or other != color}
    return replace(state, release=replace(
        state.release, last_orders={**orders, **({color: order} if order else {})}, order_failures=failures))


def release_failed(state: State, why: str, image: str, now: float) -> State:
    """Fail the release under way for a reason that no observation shows."""
    rollout = state.release.rollout
    why = " ".join(why.split())[:backoff.LONGEST_WHY]
    failed = Failure(rollout.release, image, why, now, rollout.moved_at) if rollout else Failure("", image, why, now)
    return replace(state, release=release.fail(state.release, failed))


def release_delayed(state: State, why: errors.LictorError) -> State:
    """Keep why an instance of the release under way could not be started: the release goes on until its deadline."""
    assert state.release.rollout
    rollout = replace(state.release.rollout, trouble=" ".join(str(why).split())[:backoff.LONGEST_WHY])
    return replace(state, release=replace(state.release, rollout=rollout))


def afresh(state: State) -> State:
    """Close the breaker and end every back-off: an operator asked for it."""
    return replace(state, breaker=None, healing=replace(state.healing, failures={}),
                   release=replace(state.release, order_failures={}))


def causes(observation: Observation) -> dict[str, str]:
    """List the causes of notifications, each as long as it lasts: its name, and the matter."""
    if observation.desired.has_set:
        return {SET_TROUBLE: observation.set_trouble} if observation.set_trouble else {}
    state, found = observation.state, {}
    if state.release.failed:
        image = state.release.failed.image or "its spec"
        found[RELEASE_FAILED] = f"the release of {image} failed: {state.release.failed.why}"
    if state.breaker:
        found[BREAKER] = f"the breaker is open: {state.breaker.why}. No running instance is replaced."
    return {**found, **_held_causes(observation), **_given_up_causes(observation)}


def _notified(observation: Observation, stored: State) -> Notified:
    found, before = sorted(causes(observation)), stored.notified
    pending = [cause for cause in found if cause in before.pending or cause not in before.causes]
    return Notified(found, list(observation.desired.problems), pending)


def _held_causes(observation: Observation) -> dict[str, str]:
    """List doubts that keep an unhealthy instance from being replaced; within the grace it may pass by itself."""
    trust, found, known = observation.state.trust, {}, observation.state.notified.causes
    is_ripe = any(member.condition == "unhealthy" for member in members(observation))
    shared = self_preservation.suspicion(self_preservation.shared(observation)) if is_ripe else None
    if shared or HELD in known and trust.doubt:
        found[HELD] = f"on hold: {shared.why if shared else trust.doubt}. No running instance is replaced."
    own = self_preservation.suspicion(observation) if is_ripe else None
    here, why = observation.scheduler and observation.scheduler.node, own.why if own else "it doubts what it observes"
    return found | {
        f"{HELD} on {node}": f"on hold on {node}: {why}. No running instance is replaced by this node."
        for node, trusted_since in trust.by_node.items()  # other nodes go by what operators were notified of
        if trusted_since == 0.0 and (node == here and own or f"{HELD} on {node}" in known)}


def _given_up_causes(observation: Observation) -> dict[str, str]:
    name, state = observation.desired.catalog_name, observation.state
    failures = {f"gave up {number}": (f"{name}-{number}", entry) for number, entry in state.healing.failures.items()}
    failures |= {f"gave up orders {color}".rstrip(): ("its scheduler", entry)
                 for color, entry in state.release.order_failures.items()}
    return {cause: f"{'refused' if entry.is_refusal else 'backing off'}: {what} failed {entry.count} times"
                   f"{entry.why and f': {entry.why}'}. The next try is only every "
                   f"{backoff.BACK_OFF_MAX_S / 60:g} minutes."
            for cause, (what, entry) in failures.items() if backoff.back_off_s(entry) >= backoff.BACK_OFF_MAX_S}


def _with_healing(observation: Observation, **changes: Any) -> Observation:
    return observation.with_state(healing=replace(observation.state.healing, **changes))


def _describe_due(observation: Observation) -> str:
    """Say which replacement is due by a reliable judgement; "": none."""
    is_sure = observation.certain and not observation.desired.why_held and not self_preservation.doubt(observation)
    unhealthy = plan.due(observation) if is_sure else None
    return f"{unhealthy.name} is {healing.reason(unhealthy, observation)}" if unhealthy else ""


def _advance_live(observation: Observation) -> Release:
    """Learn what the live containers are made from, so that a dead one comes back as it was; let a release without
    colours take over."""
    old, desired, everyone = observation.state.release, observation.desired, members(observation)
    serving, is_proven = release.live_release(observation), old.live_is_proven
    old = replace(old, color=desired.color)
    if not is_proven and serving not in ("", desired.release):
        return replace(old, live=_reconstruct(everyone, serving, observation), live_release=serving,
                       live_is_proven=True)
    if not is_proven or not everyone and observation.target == 0 and not old.failed:
        has_passed = any(member.check_passes and member.release == desired.release for member in everyone)
        return replace(old, live=desired.table, live_release=desired.release, live_is_proven=has_passed, failed=None)
    if not desired.color and _has_come_through(observation):
        return _take_over(observation, desired.color)
    return replace(old, live_release=serving)


def _take_over(observation: Observation, color: str) -> Release:
    """Make the desired release the live one, in this colour."""
    old, desired = observation.state.release, observation.desired
    return replace(
        old, live=desired.table, live_release=desired.release, live_is_proven=True, color=color,
        previous=old.live, previous_release=release.live_release(observation), switched_at=observation.now,
        rollout=None, failed=None)


def _has_come_through(observation: Observation) -> bool:
    """Tell whether all of a release without colours have passed for long. With a scheduler, which takes the steps by
    itself, the smoke test is at the end only; while the service is held, no instance passes for long."""
    rollout = observation.rollout
    is_tested = not observation.scheduler or observation.certain and not release.smoke_failures(observation)
    return bool(rollout and rollout.passing_since and not release.is_rolling(observation) and is_well(observation)
                and observation.now >= release.passing_until(observation) and is_tested)


def _reconstruct(everyone: list[Member], serving: str, observation: Observation) -> dict[str, Any] | None:
    """Reconstruct the spec of the live containers if the state lacks it: mostly only their image is another."""
    tables = [{**(observation.desired.table or {}), "image": member.container.image} for member in everyone
              if member.release == serving]
    return next((table for table in tables if fingerprint(service_spec.parse_spec(table, "live")) == serving), None)
