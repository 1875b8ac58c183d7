"""The planner: from what was observed to what is to be done, each action with its reason. Pure: no I/O, no clock.

It decides one step at a time from the state of things alone, never from what an earlier run meant to do: whoever
runs it next, after a crash as well, goes on from where the world is.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from lictor.desired import Desired
from lictor.model import Container, Instance
from lictor.state import State

START_UP_GRACE_S = 60.0
IDLE_READS = 3  # in a row, before a drained container counts as idle
BACK_OFF_S = 10.0
BACK_OFF_MAX_S = 300.0
FORGET_FAILURES_S = 600.0
DRAINING = "lictor: draining since "
ACTS = ("start", "drain", "remove")  # what is carried out; wait and hold are only explained

_DRAINING = re.compile(re.escape(DRAINING) + r"(?P<since>[0-9]{1,12}): (?P<why>.*)", re.DOTALL)
_NOT_RUNNING = ("created", "exited", "dead")


class Observation(NamedTuple):
    """Everything that the decision about one service rests on."""

    now: float  # seconds since the epoch
    desired: Desired
    containers: tuple[Container, ...] = ()
    instances: tuple[Instance, ...] = ()
    serving: frozenset[tuple[str, str]] = frozenset()  # (node, service ID) that the nginx of any live node lists
    in_flight: Mapping[str, int | None] = {}  # container id -> connections to its port, for those that drain
    idle_reads: Mapping[str, int] = {}  # container id -> how often in a row nothing was in flight
    state: State = State()


class Action(NamedTuple):
    """start, drain, remove: to be carried out. wait, hold: deliberately not done, with the reason."""

    kind: str
    reason: str
    container: str = ""
    container_id: str = ""
    service_id: str = ""
    number: int = 0
    until: float = 0.0  # wait: when time alone changes the decision; 0.0: it may change at any moment


class Member(NamedTuple):
    """A container with its registration, and what the two together say."""

    container: Container
    instance: Instance | None
    condition: str  # gone, leaving, draining, starting, failing, unhealthy or healthy
    until: float = 0.0  # starting, failing: when this ends by time alone

    @property
    def name(self) -> str:
        return self.container.name


def members(seen: Observation) -> list[Member]:
    """The service's containers of the live colour, by number; of a removed service those of each colour."""
    by_container = {each.container_id: each for each in seen.instances if each.container_id}
    own = sorted((each for each in seen.containers if seen.desired.removed or each.color == seen.desired.color),
                 key=lambda each: each.number)
    return [_member(each, by_container.get(each.id), seen) for each in own]


def plan(seen: Observation) -> tuple[Action, ...]:
    """What to do now. Nothing at all is the usual answer."""
    wanted = seen.desired
    if wanted.spec is None and not wanted.removed:
        return (Action("hold", "; ".join(wanted.problems) or "there is no spec"),)
    everyone = members(seen)
    actions = (*_leftovers(everyone), *_drains(everyone, seen), *_count(everyone, seen), *_release(everyone, seen))
    if not wanted.why_held:
        return actions
    return tuple(Action("hold", f"not done, as {wanted.why_held}: {each.kind} {each.container}: {each.reason}",
                        each.container) for each in actions)


def remember(seen: Observation) -> State:
    """What the next run has to know: the last good input, and what has been seen of each instance."""
    old, wanted = seen.state, seen.desired
    everyone = members(seen)
    statuses = {each.instance.service_id: each.instance.status for each in everyone if each.instance}
    passing = {each.container.id for each in everyone
               if each.condition == "healthy" and (not each.instance or each.instance.status != "critical")}
    lost = [each.container.id for each in everyone
            if each.condition == "gone" or each.condition == "unhealthy" and each.container.id not in old.passed]
    newly_lost = not set(lost) <= set(old.lost)
    forgetful = _forget_failures(old, seen.now)
    counted = failed(forgetful, seen.now) if newly_lost else forgetful
    changes: dict[str, object] = {
        "refused": list(wanted.problems),
        "critical_since": {service_id: min(old.critical_since.get(service_id, seen.now), seen.now)
                           for service_id, status in statuses.items() if status == "critical"},
        "passed": sorted({each.id for each in seen.containers} & (passing | set(old.passed))),
        "lost": sorted(lost),
        "failures": counted.failures,
        "failed_at": min(counted.failed_at, seen.now),
    }
    if wanted.spec is not None and wanted.table is not None:
        changes |= {"spec": wanted.table, "replicas": wanted.replicas, "image": wanted.spec.image}
        if not old.proven or not seen.containers and wanted.replicas == 0:
            changes |= {"live": wanted.table, "proven": any(
                each.container.id in passing and each.container.release == wanted.release for each in everyone)}
    return msgspec.structs.replace(old, **changes)


def failed(old: State, now: float) -> State:
    """Count one more failure, after which starts back off."""
    return msgspec.structs.replace(old, failures=_forget_failures(old, now).failures + 1, failed_at=now)


def _forget_failures(old: State, now: float) -> State:
    return msgspec.structs.replace(old, failures=0) if now - old.failed_at > FORGET_FAILURES_S else old


def retry_at(state: State) -> float:
    """The earliest time to start another container after failures: the first is made good at once."""
    if state.failures < 2:
        return 0.0
    return state.failed_at + min(BACK_OFF_S * 2.0 ** min(state.failures - 2, 30), BACK_OFF_MAX_S)


def _member(container: Container, instance: Instance | None, seen: Observation) -> Member:
    if container.status in _NOT_RUNNING:
        return Member(container, instance, "gone")
    if container.status == "removing":
        return Member(container, instance, "leaving")
    started_until = container.started_at + START_UP_GRACE_S
    if instance is None:
        has_port = (seen.state.live or seen.desired.table or {}).get("port") is not None
        return Member(container, None, "starting", started_until) if has_port else Member(container, None, "healthy")
    if _DRAINING.fullmatch(instance.maintenance or ""):
        return Member(container, instance, "draining")
    if instance.status != "critical" or instance.maintenance is not None:
        return Member(container, instance, "healthy")
    if container.id not in seen.state.passed and seen.now < started_until:
        return Member(container, instance, "starting", started_until)
    grace_s = seen.desired.spec.heal.grace if seen.desired.spec else 0.0
    judged_at = seen.state.critical_since.get(instance.service_id, seen.now) + grace_s
    return Member(container, instance, "unhealthy" if seen.now >= judged_at else "failing", judged_at)


def _leftovers(everyone: list[Member]) -> list[Action]:
    return [_act("remove", each, f"it is {each.container.status}{_exit_code(each.container)}")
            for each in everyone if each.condition == "gone"]


def _drains(everyone: list[Member], seen: Observation) -> list[Action]:
    return [_drained(each, seen) for each in everyone if each.condition == "draining"]


def _drained(member: Member, seen: Observation) -> Action:
    assert member.instance is not None
    mark = _DRAINING.fullmatch(member.instance.maintenance or "")
    assert mark is not None
    why, drain_s = mark["why"], seen.desired.spec.drain if seen.desired.spec else 0.0
    deadline = float(mark["since"]) + drain_s
    connections = seen.in_flight.get(member.container.id)
    served = (member.instance.node, member.instance.service_id) in seen.serving
    if not served and connections == 0 and seen.idle_reads.get(member.container.id, 0) >= IDLE_READS:
        return _act("remove", member, f"drained: {why}")
    if seen.now >= deadline:
        return _act("remove", member, f"drained for {drain_s:g} s, as long as allowed: {why}")
    busy = "an nginx still lists it" if served else (
        "it cannot be seen whether it is idle" if connections is None else f"{connections} connections to it are open")
    return _act("wait", member, f"drains: {busy}")


def _count(everyone: list[Member], seen: Observation) -> list[Action]:
    """Bring the number of good ones to what is wanted; bad ones go only when others stand in for them."""
    good = [each for each in everyone if each.condition in ("healthy", "starting", "failing")]
    bad = [each for each in everyone if each.condition == "unhealthy"]
    target = 0 if seen.desired.removed else seen.desired.replicas
    why = "it was removed" if seen.desired.removed else seen.desired.why_replicas
    missing = target - len(good) - len(bad)
    if missing > 0:
        return [*_starts(everyone, seen, missing, f"{why}, {len(good) + len(bad)} run"), *_waits(good)]
    if len(good) > target:
        victims = sorted(good, key=_removal_order)[: len(good) - target]
        staying = [each for each in good if each not in victims]
        return [*(_leave(each, seen, why) for each in (*bad, *victims)), *_waits(staying)]
    if bad:
        return [*_replacement(good, bad, everyone, seen, target), *_waits(good)]
    return _waits(good)


def _replacement(good: list[Member], bad: list[Member], everyone: list[Member], seen: Observation,
                 target: int) -> list[Action]:
    passing = sum(each.condition == "healthy" for each in good)
    if len(good) >= target:
        if passing >= target:
            return [_leave(each, seen, _illness(each, seen)) for each in bad]
        return []  # the replacement is still starting: its own wait says so
    if len(good) + len(bad) <= target:
        return _starts(everyone, seen, 1, f"to replace {bad[0].name}: {_illness(bad[0], seen)}")
    if passing < len(good):
        return []
    never_passed = [each for each in bad if each.container.id not in seen.state.passed]
    if never_passed:
        newest = max(never_passed, key=lambda each: each.container.started_at)
        return [_leave(newest, seen, f"a replacement that has not passed its check in {START_UP_GRACE_S:g} s")]
    replaced = bad[: len(good) + len(bad) - target]
    return [_leave(each, seen, _illness(each, seen)) for each in replaced]


def _starts(everyone: list[Member], seen: Observation, count: int, why: str) -> list[Action]:
    wait_until = retry_at(seen.state)
    if seen.now < wait_until:
        return [Action("wait", f"backing off after {seen.state.failures} failures, until then no start: {why}",
                       until=wait_until)]
    used = {each.container.number for each in everyone if each.condition != "gone"}
    free = [number for number in range(1, len(used) + count + 1) if number not in used][:count]
    return [Action("start", why, f"{seen.desired.catalog_name}-{number}", number=number) for number in free]


def _leave(member: Member, seen: Observation, why: str) -> Action:
    if member.instance:
        return _act("drain", member, why)
    if member.condition == "starting" and seen.now < member.until:
        return _act("wait", member, f"surplus, but not registered yet: {why}", until=member.until)
    if member.condition == "starting" and member.container.id in seen.state.passed:
        return _act("wait", member, f"surplus, but its registration cannot be seen, and so not drained: {why}",
                    until=member.until)
    return _act("remove", member, why)


def _waits(good: list[Member]) -> list[Action]:
    said = {"starting": "has not passed its check yet", "failing": "is critical, but not for long enough"}
    return [_act("wait", each, said[each.condition], until=each.until) for each in good if each.condition in said]


def _release(everyone: list[Member], seen: Observation) -> list[Action]:
    other = [each.container for each in everyone if each.container.release != seen.desired.release]
    if not other or not seen.state.proven or seen.desired.spec is None or seen.desired.removed:
        return []
    image = seen.desired.spec.image
    what = f"image {image} is asked for, {other[0].image} runs" if image != other[0].image else "the spec has changed"
    return [Action("hold", f"{what}: this version makes no releases; scale to 0 and back, or remove and apply")]


def _removal_order(member: Member) -> tuple[int, float]:
    return ("failing", "starting", "healthy").index(member.condition), -member.container.started_at


def _illness(member: Member, seen: Observation) -> str:
    assert member.instance is not None
    since = seen.state.critical_since.get(member.instance.service_id, seen.now)
    return f"critical for {seen.now - since:.0f} s"


def _exit_code(container: Container) -> str:
    return "" if container.exit_code is None else f" with exit code {container.exit_code}"


def _act(kind: str, member: Member, reason: str, until: float = 0.0) -> Action:
    service_id = member.instance.service_id if member.instance else ""
    return Action(kind, reason, member.name, member.container.id, service_id, member.container.number, until)
