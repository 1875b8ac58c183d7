"""The verdict on a chaos run. Pure: from what was written down to violations, each with its evidence.

It is strict: what no deed of ours explains exactly is a violation.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lab.chaos.timeline import Access, Address, Deed, Done, Event, Failed, Outage, Sample, Standing

NGINX_DEAD = "nginx itself was dead by our hand"
KILLED = "it ran in a container that was killed by force at that instant"
PAUSED = "it was sent to a container that was paused at that instant"
UNEXPLAINED = ""

_AT_ONCE_S = 5.0  # from a decision without a drain to Docker's doing it, or to nginx's, on a loaded machine
_NEXT_SWEEP_S = 20.0  # the timer's interval, and as long as above
_CUT = ("ConnectionRefusedError", "ConnectionResetError", "BrokenPipeError", "RemoteDisconnected", "IncompleteRead")


class Life(NamedTuple):
    """A container from its start to its end."""

    container: str
    name: str
    service: str
    started: float
    left: float | None  # when somebody else than we began to end it, while it ran
    ended: float | None


def standing(seen: Standing) -> list[str]:
    """Name what is not as it must be at the end."""
    violations = [text for service, wanted in seen.wanted.items() for text in _standing_of(seen, service, wanted)]
    violations += [f"a container of no service of ours runs: {name}" for service, _, name in seen.running
                   if service not in seen.wanted]
    for what, left in (("is left in maintenance", seen.maintenance), ("is a leaked session", seen.sessions),
                       ("is a leaked lock", seen.locks),
                       ("was nobody's, and was ended", seen.ended), ("is a leaked temporary file", seen.temporaries),
                       ("holds what only our garbage named", seen.garbage)):
        violations += [f"{each} {what}" for each in left]
    if seen.plan:
        violations.append(f"lictor plan finds something to do: {seen.plan}")
    return violations


def _standing_of(seen: Standing, service: str, wanted: int) -> list[str]:
    mine = [(number, name) for each, number, name in seen.running if each == service]
    names = sorted(name for _, name in mine)
    violations = [f"{service}: number {number} runs {count} times"
                  for number, count in Counter(number for number, _ in mine).items() if count > 1]
    if len(mine) != wanted:
        violations.append(f"{service}: {len(mine)} containers run, {wanted} are wanted: {', '.join(names)}")
    for what, listed in (("pass in the catalogue", seen.passing), ("are served by nginx", seen.served)):
        if sorted(listed.get(service, [])) != names:
            violations.append(f"{service}: {', '.join(sorted(listed.get(service, []))) or 'none'} {what}, "
                              f"{', '.join(names) or 'none'} run")
    if seen.says.get(service) != "as desired":
        violations.append(f"{service}: lictor status says: {seen.says.get(service, 'nothing')}")
    return violations


def lives(events: Iterable[Event], deeds: Sequence[Deed]) -> list[Life]:
    """List the containers that have run, by their start."""
    found: dict[str, Life] = {}
    for event in sorted(events, key=lambda each: each.at):
        life = found.get(event.container)
        if event.action == "start":
            found[event.container] = Life(event.container, event.name, event.service, event.at, None, None)
        elif life and life.ended is None:
            if event.action in ("kill", "destroy") and life.left is None and not _ours(event, deeds):
                life = life._replace(left=event.at)
            if event.action in ("die", "destroy"):
                life = life._replace(ended=event.at)
            found[event.container] = life
    return sorted(found.values(), key=lambda each: each.started)


def _ours(event: Event, deeds: Sequence[Deed]) -> bool:
    return any(each.container == event.container and each.kind in ("killed", "stopped")
               and each.began <= event.at <= each.ended for each in deeds)


def removals(events: Sequence[Event], deeds: Sequence[Deed], wanted: Mapping[str, int],
             draining: Mapping[str, float]) -> list[str]:
    """Containers that somebody else than we ended though they ran, and were neither bad by our hand nor surplus.

    Surplus is what was more than wanted after one of the service that we had paused, and that a replacement stood in
    for, recovered. That it must have been when its end was decided, and others may fail while it drains: `draining`
    has, by container, a moment just before its drain began.
    """
    everyone = lives(events, deeds)
    violations = []
    for life in everyone:
        if life.left is None or _is_broken(life, deeds, life.left):
            continue
        if _is_paused(life, deeds, life.left):
            violations.append(f"{life.name} ({life.container[:12]}) was ended at {life.left:.3f} while it was paused")
            continue
        others = _most_others(life, everyone, deeds, draining.get(life.container, life.left - _AT_ONCE_S))
        paused = [each for each in deeds if each.kind == "paused" and each.service == life.service
                  and each.began < life.left]
        if others < wanted.get(life.service, 0):
            violations.append(f"{life.name} ({life.container[:12]}) was ended at {life.left:.3f} though we had not "
                              f"harmed it, with {others} good ones beside it at most")
        elif not paused:
            violations.append(f"{life.name} ({life.container[:12]}) was ended at {life.left:.3f} as one too many, but "
                              f"we had paused none of {life.service}: one was started that nobody needed")
    return violations


def _is_broken(life: Life, deeds: Sequence[Deed], at: float) -> bool:
    return any(each.container == life.container and each.kind == "broken" and each.began < at for each in deeds)


def _most_others(life: Life, everyone: Sequence[Life], deeds: Sequence[Deed], began: float) -> int:
    """How many good ones of its service there were beside it at most, from the decision to its end."""
    assert life.left is not None
    mine = [each for each in everyone if each.service == life.service and each is not life]
    changes = [at for each in mine for at in (each.started, each.ended) if at is not None]
    changes += [at for each in deeds if each.service == life.service for at in (each.began, each.ended)]
    moments = [began, life.left, *(at for at in changes if began <= at <= life.left)]
    return max(sum(_is_good(each, deeds, at) for each in mine) for at in moments)


def _is_good(life: Life, deeds: Sequence[Deed], at: float) -> bool:
    if at < life.started or life.ended is not None and at >= life.ended or life.left is not None and at >= life.left:
        return False
    return not _is_paused(life, deeds, at) and not _is_broken(life, deeds, at)


def _is_paused(life: Life, deeds: Sequence[Deed], at: float) -> bool:
    return any(each.container == life.container and each.kind == "paused" and each.began <= at < each.ended
               for each in deeds)


def deaths(events: Sequence[Event], deeds: Sequence[Deed], docker_away: Sequence[Outage]) -> list[str]:
    """Containers that died though nobody asked them to, and while Docker was there."""
    asked = {each.container for each in events if each.action == "kill"}
    return [f"{life.name} ({life.container[:12]}) died by itself at {life.ended:.3f}" for life in lives(events, deeds)
            if life.ended is not None and life.container not in asked
            and not any(each.began <= life.ended <= each.ended for each in docker_away)]


def instants(deeds: Iterable[Deed], events: Iterable[Event], refusing: Iterable[Outage]) -> list[Deed]:
    """List the kills, each from the request until Docker saw its container dead; and the beginnings of the pauses, each
    until nginx must have heard of it. While nginx is `refusing` any change it hears nothing, and the next sweep after
    that tells it."""
    died = {each.container: each.at for each in events if each.action == "die"}
    in_order = sorted(refusing)

    def end(deed: Deed) -> float:
        return died.get(deed.container, deed.ended) if deed.kind == "killed" else _heard_at(deed.began, in_order)

    return [each._replace(ended=min(each.ended, end(each))) for each in deeds if each.kind in ("killed", "paused")]


def _heard_at(began: float, refusing: Sequence[Outage]) -> float:
    heard_at = began + _AT_ONCE_S
    for each in refusing:
        if each.began <= heard_at and each.ended >= began:
            heard_at = max(heard_at, each.ended + _NEXT_SWEEP_S)
    return heard_at


def explain(failed: Failed, access: Access | None, outages: Sequence[Outage], hurts: Sequence[Deed],
            addresses: Sequence[Address]) -> str:
    """Why a request could not but fail; UNEXPLAINED when no exact evidence says so.

    nginx's absence explains a connection that was cut or refused, never an HTTP status. The kill of a container
    explains what nginx says it had sent last to that very container; so does the beginning of its pause, if the request
    was sent by then.
    """
    def meanwhile(each: Outage | Deed) -> bool:
        return failed.began <= each.ended and failed.ended >= each.began

    if failed.status == 0 and failed.seen.startswith(_CUT) and any(map(meanwhile, outages)):
        return NGINX_DEAD
    if access is None or not access.upstreams:
        return UNEXPLAINED
    last = holder(access.upstreams[-1], addresses, failed.began, failed.ended)
    found = {each.kind for each in hurts if each.container in last and meanwhile(each)}
    return KILLED if "killed" in found else PAUSED if "paused" in found else UNEXPLAINED


def holder(address: str, addresses: Iterable[Address], began: float, ended: float) -> set[str]:
    """Name the containers that had the address between the two moments."""
    known = sorted((each for each in addresses if each.address == address and each.since <= ended),
                   key=lambda each: each.since)
    return {each.container for each, following in zip(known, [*known[1:], None], strict=False)
            if following is None or following.since >= began}


def strangers(log: Iterable[Access], addresses: Sequence[Address], services: Mapping[str, str]) -> list[str]:
    """List requests that nginx sent where no container of the service ever was. `services`: path -> service."""
    own = {(each.address, each.service) for each in addresses}
    found = Counter((services[path], upstream) for each in log if (path := each.target.partition("?")[0]) in services
                    for upstream in each.upstreams if (upstream, services[path]) not in own)
    return [f"{count} requests of {service} went to {upstream}, where none of its containers ever was"
            for (service, upstream), count in found.items()]


def repairs(faults: Sequence[Done], samples: Sequence[Sample]) -> list[tuple[float, Done]]:
    """For each fault that was done: seconds from its beginning until everything was well without what it harmed."""
    found = []
    for fault in faults:
        well = next((each.at for each in samples if each.at >= fault.ended and not each.trouble
                     and fault.victim not in each.running), None)
        if fault.done and well is not None:
            found.append((well - fault.began, fault))
    return sorted(found, key=lambda each: -each[0])


def unrepaired(faults: Sequence[Done], samples: Sequence[Sample]) -> list[str]:
    """Faults after which it was never seen that all is well again, in one line."""
    mended = {fault for _, fault in repairs(faults, samples)}
    left = [each for each in faults if each.done and each not in mended]
    return [f"all was never seen well again since {left[0].kind}: {left[0].target}, and {len(left) - 1} faults after it"
            ] if left else []
