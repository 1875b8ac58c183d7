"""The planner: from what was observed to what is to be done, each action with its reason. Pure: no I/O, no clock.

It decides one step at a time from the state of things alone, never from what an earlier run meant to do: whoever
runs it next, after a crash as well, goes on from where the world is.
"""

import zlib
from typing import NamedTuple

from lictor import breaker, doubt
from lictor.model import Container
from lictor.observation import (START_UP_GRACE_S, Member, Observation, critical_for_s, drain_mark, failed_to_pass,
                                members)
from lictor.state import Deaths

IDLE_READS = 3  # in a row, before a drained container counts as idle
BACK_OFF_S = 10.0
BACK_OFF_MAX_S = 300.0
ACTS = ("start", "drain", "remove")  # what is carried out; confirm is looked into; wait and hold are only explained


class Action(NamedTuple):
    """start, drain, remove: to be carried out. confirm: to be decided by a consistent reading. wait, hold: deliberately
    not done, with the reason."""

    kind: str
    reason: str
    container: str = ""
    container_id: str = ""
    service_id: str = ""
    number: int = 0
    until: float = 0.0  # wait: when time alone changes the decision; 0.0: it may change at any moment
    replaces: str = ""  # the id of the running container that this replaces, for which the budget is asked


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
    there are too many, only if none of those that stay passes: then nobody goes before another one does."""
    standing, staying = _standing(members(seen)), departures(seen).staying
    if len(staying) != seen.target or any(each.condition == "starting" for each in standing):
        return None
    if len(standing) > seen.target and any(each.condition in ("healthy", "failing") for each in staying):
        return None
    ill = [each for each in staying if each.condition == "unhealthy"]
    return max(ill, key=lambda each: critical_for_s(each, seen), default=None)


def departures(seen: Observation) -> Departures:
    standing = _standing(members(seen))
    leaving = sorted(standing, key=lambda each: _departure_order(each, seen))[: max(len(standing) - seen.target, 0)]
    replaced = [each for each in leaving if seen.target and _is_replaced(each, seen)]
    return Departures([each for each in standing if each not in leaving], replaced,
                      [each for each in leaving if each not in replaced])


def back_off_s(deaths: Deaths) -> float:
    """The first death is made good at once; then it is 10 s, doubling to 5 min."""
    return 0.0 if deaths.count < 2 else min(BACK_OFF_S * 2.0 ** min(deaths.count - 2, 30), BACK_OFF_MAX_S)


def retry_at(name: str, number: int, deaths: Deaths) -> float:
    """The earliest time to start this number again. Each wait is up to a quarter shorter, so that what died together
    does not come back together; but for everybody who looks it is the same."""
    jitter = zlib.crc32(f"{name}-{number}-{deaths.last_at}".encode()) / 2 ** 32
    return deaths.last_at + back_off_s(deaths) * (1 - jitter / 4)


def _decide(seen: Observation) -> tuple[Action, ...]:
    everyone = members(seen)
    return (*_leftovers(everyone), *_drains(everyone, seen), *_count(everyone, seen), *_second_look(seen),
            *_release(everyone, seen))


def _standing(everyone: list[Member]) -> list[Member]:
    return [each for each in everyone if each.is_good or each.condition == "unhealthy"]


def _leftovers(everyone: list[Member]) -> list[Action]:
    return [_act("remove", each, f"it is {each.container.status}{_exit_code(each.container)}")
            for each in everyone if each.condition == "gone"]


def _drains(everyone: list[Member], seen: Observation) -> list[Action]:
    return [_drained(each, everyone, seen) for each in everyone if each.condition == "draining"]


def _drained(member: Member, everyone: list[Member], seen: Observation) -> Action:
    mark = drain_mark(member.instance)
    assert mark is not None and member.instance is not None
    (since, why), drain_s = mark, seen.desired.spec.drain if seen.desired.spec else 0.0
    connections = seen.in_flight.get(member.container.id)
    served = _is_listed(member, seen)
    if not served and connections == 0 and seen.idle_reads.get(member.container.id, 0) >= IDLE_READS:
        return _act("remove", member, f"drained: {why}")
    is_last = served and seen.target > 0 and not any(
        _outlasts(each, member) and _is_listed(each, seen) for each in everyone)
    if seen.now >= since + drain_s and not is_last:
        return _act("remove", member, f"drained for {drain_s:g} s, as long as allowed: {why}")
    busy = "it is the last that an nginx lists" if is_last else "an nginx still lists it" if served else (
        "it cannot be seen whether it is idle" if connections is None else f"{connections} connections to it are open")
    return _act("wait", member, f"drains: {busy}")


def _is_listed(member: Member, seen: Observation) -> bool:
    return any((each.node, each.service_id) in seen.serving for each in seen.instances
               if each.container_id == member.container.id)


def _outlasts(other: Member, member: Member) -> bool:
    """It runs on when the member has gone: of those that drain, the one whose drain began last."""
    began, others = drain_mark(member.instance), drain_mark(other.instance)
    if began and others and other.condition == "draining":
        return (others[0], other.container.id) > (began[0], member.container.id)
    return other.condition not in ("gone", "leaving")


def _count(everyone: list[Member], seen: Observation) -> list[Action]:
    """Bring the number of those that stand to what is wanted; then replace the ill, one at a time."""
    standing = _standing(everyone)
    leaving = departures(seen)
    waits = _waits(leaving.staying)
    if len(standing) < seen.target:
        why = f"{seen.desired.why_replicas}, {len(standing)} run"
        return [*_starts(everyone, seen, seen.target - len(standing), why), *waits]
    going = [*_replaced(leaving.replaced, leaving.staying, seen), *_surplus(leaving.surplus, leaving.staying, seen)]
    ill = due(seen) if all(each.kind == "hold" for each in going) else None
    return [*going, *(_replacement(ill, everyone, seen) if ill else []), *waits]


def _starts(everyone: list[Member], seen: Observation, count: int, why: str, *, replaces: str = "") -> list[Action]:
    name, limit = seen.desired.catalog_name, seen.desired.spec.replicas.max if seen.desired.spec else 0
    used = {each.container.number for each in everyone if each.condition != "gone"}
    free = [number for number in range(1, len(used) + count + 1) if number not in used][:count]
    room = limit - sum(each.condition != "gone" for each in everyone)
    actions = []
    for number in free:
        container, deaths = f"{name}-{number}", seen.state.deaths.get(str(number))
        wait_until = retry_at(seen.desired.name, number, deaths) if deaths else 0.0
        if deaths and seen.now < wait_until:
            actions.append(Action("wait", f"backs off after {deaths.count} failures, until then no start: {why}",
                                  container, number=number, until=wait_until))
        elif room <= 0:
            actions.append(Action("wait", f"replicas.max is {limit}, one of those that go has to be gone first: {why}",
                                  container, number=number))
        else:
            room -= 1
            actions.append(Action("start", why, container, number=number, replaces=replaces))
    return actions


def _replacement(ill: Member, everyone: list[Member], seen: Observation) -> list[Action]:
    """Start another beside the ill one; where replicas.max leaves no room for that, take the ill one away first."""
    why, spec = f"critical for {critical_for_s(ill, seen):.0f} s", seen.desired.spec
    assert spec is not None
    unsure = doubt.doubt(seen)
    if unsure:
        return [_held(unsure, ill, f"replace it, {why}")]
    if not seen.certain:
        return [_act("confirm", ill, f"{why}: a consistent reading has to show it too before it is replaced")]
    obstacle = breaker.obstacle(seen)
    if obstacle:
        return [_held(obstacle._replace(until=0.0), ill, f"replace it, {why}")]
    running = [each for each in everyone if each.condition != "gone"]
    if len(running) < spec.replicas.max:
        return _starts(everyone, seen, 1, f"to replace {ill.name}: {why}", replaces=ill.container.id)
    if any(each.condition in ("draining", "leaving") for each in running):
        return [_act("wait", ill, f"{why}; replicas.max is {spec.replicas.max}, another has to be gone first")]
    passing, limits = sum(each.condition == "healthy" for each in everyone), spec.replicas
    if passing - 1 >= limits.min:
        return [_act("drain", ill, f"in place, as replicas.max is {limits.max}: {why}")
                ._replace(replaces=ill.container.id)]
    no_room = doubt.Doubt(f"replicas.max is {limits.max}, so none can be started beside it; to restart it in place, at "
                          f"least {limits.min + 1} others would have to pass (replicas.min and one), and {passing} do")
    return [_held(no_room, ill, f"replace it, {why}")]


def _replaced(replaced: list[Member], staying: list[Member], seen: Observation) -> list[Action]:
    """Let the ill ones go that others stand in for, once all of those pass."""
    if not replaced or any(each.condition in ("starting", "failing") for each in staying):
        return []
    serves_on = any(each.condition == "healthy" for each in staying)
    return [_judged_to_leave(each, seen) if serves_on or failed_to_pass(each, seen) else _held(
        doubt.Doubt("none of those that stay passes its check"), each, "drain it, replaced") for each in replaced]


def _judged_to_leave(member: Member, seen: Observation) -> Action:
    why = f"critical for {critical_for_s(member, seen):.0f} s"
    if failed_to_pass(member, seen):
        why = f"a replacement that has not passed its check in {START_UP_GRACE_S:g} s"
    unsure = doubt.doubt(seen)
    if unsure:
        return _held(unsure, member, f"drain it, {why}")
    if not seen.certain:
        return _act("confirm", member, f"{why}: a consistent reading has to show it too before it goes")
    return _leave(member, why)


def _surplus(surplus: list[Member], staying: list[Member], seen: Observation) -> list[Action]:
    """Let go of what a spec or a tombstone does not want, once that has stood for long enough."""
    why = "it was removed" if seen.desired.removed else seen.desired.why_replicas
    stands_until = (seen.state.surplus_since or seen.now) + seen.rules.surplus_after_s
    unsure = doubt.blindness(seen)
    serves_on = not seen.target or any(each.condition == "healthy" for each in staying)
    actions = []
    for each in surplus:
        if seen.now < stands_until:
            actions.append(_act("wait", each, f"surplus, but for less than {seen.rules.surplus_after_s:g} s: {why}",
                                until=stands_until))
        elif _hidden(each, seen):
            actions.append(_act("wait", each, f"surplus, but its registration cannot be seen, so it cannot be drained: "
                                              f"{why}", until=each.until))
        elif unsure or not serves_on:
            actions.append(_held(unsure or doubt.Doubt("none of those that stay passes its check"), each,
                                 f"drain it, surplus: {why}"))
        elif not seen.certain:
            actions.append(_act("confirm", each, f"surplus: {why}: a consistent reading has to show it too"))
        else:
            actions.append(_leave(each, why))
    return actions


def _hidden(member: Member, seen: Observation) -> bool:
    """It has no registration that one sees, but may still get one, or nginx may know it from one that it had."""
    return member.condition == "starting" and member.instance is None and (
        seen.now < member.until or member.container.id in seen.state.passed)


def _leave(member: Member, why: str) -> Action:
    return _act("drain" if member.instance else "remove", member, why)


def _held(unsure: doubt.Doubt, member: Member, what: str) -> Action:
    return _act("wait" if unsure.until else "hold", member, f"not done, as {unsure.why}: {what}", until=unsure.until)


def _second_look(seen: Observation) -> list[Action]:
    if not seen.state.doubt or seen.certain or doubt.new_doubt(seen):
        return []
    return [Action("confirm", f"held, as {seen.state.doubt}; a consistent reading has to show that this is over")]


def _waits(staying: list[Member]) -> list[Action]:
    said = {"starting": "has not passed its check yet", "failing": "is critical, but not for long enough"}
    return [_act("wait", each, said[each.condition], until=each.until) for each in staying if each.condition in said]


def _release(everyone: list[Member], seen: Observation) -> list[Action]:
    other = [each.container for each in everyone if each.container.release != seen.desired.release]
    if not other or not seen.state.proven or seen.desired.spec is None or seen.desired.removed:
        return []
    image = seen.desired.spec.image
    what = f"image {image} is asked for, {other[0].image} runs" if image != other[0].image else "the spec has changed"
    return [Action("hold", f"{what}: this version makes no releases; scale to 0 and back, or remove and apply")]


def _is_replaced(member: Member, seen: Observation) -> bool:
    reserved = any(each.container_id == member.container.id for each in seen.reservations)
    return member.condition == "unhealthy" and (reserved or failed_to_pass(member, seen))


def _departure_order(member: Member, seen: Observation) -> tuple[int, float]:
    """The worst first, and of equals the newest."""
    rank = 0 if failed_to_pass(member, seen) else 1 if _is_replaced(member, seen) else (
        2 + ("unhealthy", "failing", "starting", "maintenance", "healthy").index(member.condition))
    return rank, -member.container.started_at


def _exit_code(container: Container) -> str:
    return "" if container.exit_code is None else f" with exit code {container.exit_code}"


def _act(kind: str, member: Member, reason: str, until: float = 0.0) -> Action:
    service_id = member.instance.service_id if member.instance else ""
    return Action(kind, reason, member.name, member.container.id, service_id, member.container.number, until)
