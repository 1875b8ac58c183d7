"""Starts of missing instances, and the back-off after failures: at once, then after 10 s, doubling to 5 min."""

import zlib

from lictor import errors
from lictor.planner.actions import Hold, Order, Start, Wait, hold, wait
from lictor.planner.members import Member
from lictor.planner.observation import Observation
from lictor.planner.service_state import Failures, State

BACK_OFF_S = 10.0
BACK_OFF_MAX_S = 300.0
FORGET_FAILURES_S = 600.0
LONGEST_WHY = 300


def back_off_s(failures: Failures) -> float:
    if failures.is_refusal:
        return BACK_OFF_MAX_S
    return 0.0 if failures.count < 2 else min(BACK_OFF_S * 2.0 ** min(failures.count - 2, 30), BACK_OFF_MAX_S)


def retry_at(name: str, what: str, failures: Failures) -> float:
    """Tell when a number may be started again, or an order given again.

    Each back-off is up to a quarter shorter, so that what failed together does not come back together; every node that
    computes it gets the same.
    """
    jitter = zlib.crc32(f"{name}-{what}-{failures.last_at}".encode()) / 2 ** 32
    return failures.last_at + back_off_s(failures) * (1 - jitter / 4)


def count_failure(failures: dict[str, Failures], key: str, weight: int, why: str | errors.LictorError,
                  now: float) -> dict[str, Failures]:
    before, text = failures[key].count if key in failures else 0, " ".join(str(why).split())[:LONGEST_WHY]
    return {**failures, key: Failures(before + weight, now, text, isinstance(why, errors.Refused))}


def put_off(action: Start | Order, failures: Failures, until: float, name: str) -> Hold | Wait:
    """Hold what was refused, which time alone does not mend; let the rest wait."""
    if failures.is_refusal:
        return hold(action, f"it was refused: {failures.why}. It is tried again every {BACK_OFF_MAX_S / 60:g} min, or "
                            f"after `lictor resume {name}`")
    return wait(action, "backing off", f"it failed {failures.count} times" + (
        f": {failures.why}" if failures.why else ""), until)


def trouble(state: State) -> str:
    """Say what keeps failing, the weightiest first; "": nothing does. Also known to nodes that do not act."""
    rollout = state.release.rollout
    if rollout and rollout.trouble:
        return f"failing: {rollout.trouble}"
    entries = [*state.healing.failures.values(), *state.release.order_failures.values()]
    worst = max(entries, key=lambda entry: (entry.is_refusal, entry.count), default=None)
    return f"{'refused' if worst.is_refusal else 'failing'}: {worst.why}" if worst and worst.why else ""


def describe_last_start(state: State) -> str:
    """Say, to be put behind a reason, why an instance of the release under way could not be started; usually ""."""
    rollout = state.release.rollout
    return f". The last start failed: {rollout.trouble}" if rollout and rollout.trouble else ""


def is_fresh(failures: Failures, observation: Observation) -> bool:
    """Tell whether failures are too young to be forgotten."""
    return observation.now - observation.began_at(failures.last_at) < FORGET_FAILURES_S + BACK_OFF_MAX_S


def starts(everyone: list[Member], observation: Observation, count: int, why: str, *, release: str,
           replaces: str = "") -> list[Start | Wait | Hold]:
    """Start `count` containers of the live colour with the lowest free numbers, or say what they wait for."""
    desired = observation.desired
    present = [member for member in everyone if member.condition != "gone"]
    used = {member.container.number for member in present}
    free = [number for number in range(1, len(used) + count + 1) if number not in used][:count]
    room = observation.spec.replicas.max - len(present)
    actions: list[Start | Wait | Hold] = []
    for number in free:
        start = Start(f"{desired.catalog_name}-{number}", why, number, desired.color, release, replaces)
        actions.append(_or_what_it_waits_for(start, observation, room))
        room -= isinstance(actions[-1], Start)
        if isinstance(actions[-1], Hold):  # which is most likely the same for higher numbers
            break
    return actions


def _or_what_it_waits_for(start: Start, observation: Observation, room: int) -> Start | Wait | Hold:
    desired, state = observation.desired, observation.state
    failures = state.healing.failures.get(str(start.number))
    until = retry_at(desired.name, str(start.number), failures) if failures else 0.0
    if start.release != desired.release and state.release.live is None:
        return hold(start, "it is unknown what the live instances were made from; another release ends that")
    if failures and observation.now < until:
        return put_off(start, failures, until, desired.name)
    if room <= 0:
        most = observation.spec.replicas.max
        return wait(start, "no room", f"replicas.max is {most}, so an instance that goes has to be gone first")
    return start
