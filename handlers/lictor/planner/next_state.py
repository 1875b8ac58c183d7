"""What the next run has to know of this one: the last good input, and what has been seen of each instance. Pure."""

from typing import Any

import msgspec

from lictor.planner import backoff, breaker, desired, observation, plan, release, rolling, scheduled, self_preservation
from lictor.planner.observation import Member, Observation, candidates, critical_since, failed_to_pass, members
from lictor.planner.service_state import Asked, Breaker, Deaths, Failure, State, telling
from lictor.spec import service_spec

FORGET_DEATHS_S = 600.0
HELD = "held"  # the cause of a doubt, among those that people are told of
RELEASE_FAILED = "release failed"
# What a release comes to is for those who see what its engine was told: not a Swarm's worker.
_OF_WHO_TELLS = ("rollout", "failed", "live", "live_release", "proven", "previous", "previous_release", "switched_at",
                 "color", "deaths", "surplus_since", "asked")


def remember(seen: Observation) -> State:
    """The state after this observation; remembering it once more changes nothing."""
    new_doubt, stored = self_preservation.new_doubt(self_preservation.lasting(seen)), seen.state
    seen = seen._replace(state=msgspec.structs.replace(stored, trusted_by=_trusted_by(seen, new_doubt)))
    if seen.state.doubt and seen.certain and new_doubt is None:
        seen = seen._replace(state=msgspec.structs.replace(seen.state, doubt="", trusted_since=seen.now))
    seen = release.with_rollout(_with_passed(seen))
    if _is_new(stored, seen):  # what is asked for now may be what mends it, and its own deadline runs
        seen = seen._replace(state=msgspec.structs.replace(seen.state, deaths={}))
    old, wanted, everyone = seen.state, seen.desired, members(seen)
    lost = [each.container.id for each in everyone if each.condition == "gone" or failed_to_pass(each, seen)
            if not seen.counts]  # the deaths are its engine's to make good
    broken = _breaker(seen)
    changes: dict[str, object] = {
        "refused": list(wanted.problems),
        "critical_since": _critical_since(everyone, seen),
        "lost": sorted(lost),
        "deaths": _deaths(everyone, seen, lost),
        "surplus_since": _surplus_since(seen),
        "doubt": new_doubt.why if new_doubt else old.doubt,
        "trusted_since": min(old.trusted_since, seen.now),
        "switched_at": min(old.switched_at, seen.now),
        "asked": {color: msgspec.structs.replace(each, at=min(each.at, seen.now)) for color, each in old.asked.items()},
        "breaker": broken,
        "well_since": min(old.well_since or seen.now, seen.now) if broken and _is_well(everyone, seen) else 0.0,
    }
    if wanted.spec is not None and wanted.table is not None:
        changes |= {"spec": wanted.table, "replicas": wanted.replicas, "image": wanted.spec.image}
        changes |= _live(everyone, seen)
    new = msgspec.structs.replace(old, **changes)
    if seen.counts and not seen.counts.tells:
        new = msgspec.structs.replace(new, **{each: getattr(stored, each) for each in _OF_WHO_TELLS})
    return msgspec.structs.replace(new, told=sorted(causes(seen._replace(state=new))))


def switched(seen: Observation) -> State:
    """What is asked for is live now, in the other colour; to be written together with the colour's key."""
    return msgspec.structs.replace(seen.state, color=seen.desired.other_color, **_taken_over(seen))


def failed(old: State, number: str, now: float) -> State:
    """A start that the engine refused is like a death before it ever passed; `number` is a key of `State.deaths`."""
    return msgspec.structs.replace(old, deaths=_died(old.deaths, number, 2, now))


def asked(old: State, color: str, what: Asked | None) -> State:
    """What an engine that counts by itself is told of a colour from now; None: it is told to have none of it."""
    others = {each: was for each, was in old.asked.items() if each != color}
    is_over = what is None or what.done
    deaths = {number: each for number, each in old.deaths.items() if not is_over or number != telling(color)}
    return msgspec.structs.replace(old, asked={**others, **({color: what} if what else {})}, deaths=deaths)


def begun(old: State, action: plan.Action, image: str, now: float) -> Asked:
    """What is known of such an engine from when it begins to do it, until that has ended."""
    before = old.asked.get(action.color)
    at_most = max(action.number, before.replicas if before else 0)
    return Asked(at_most, action.release if action.kind == "scale" else "", now, done=False, image=image)


def ended(old: State, why: str, image: str, now: float) -> State:
    """The release under way has failed for a reason that no observation shows."""
    assert old.rollout is not None
    return release.ended(old, Failure(old.rollout.release, image, why, now))


def causes(seen: Observation) -> dict[str, str]:
    """What a person should be told of, each as long as it lasts: its name, and what is the matter."""
    state, found = seen.state, {}
    if state.failed:
        found[RELEASE_FAILED] = f"the release of {state.failed.image} failed: {state.failed.why}"
    if state.breaker:
        found["breaker"] = f"the breaker is open, hands off what runs: {state.breaker.why}"
    ripe = any(each.condition == "unhealthy" for each in members(seen))  # else it may pass within the grace
    suspected = self_preservation.suspicion(self_preservation.lasting(seen)) if ripe else None
    if suspected or HELD in state.told and state.doubt:
        found[HELD] = f"nothing is replaced: {suspected.why if suspected else state.doubt}"
    here, own = seen.counts.node if seen.counts else "", self_preservation.suspicion(seen) if ripe else None
    for node in [each for each, since in state.trusted_by.items() if since == 0.0]:
        if node == here and own or _held_on(node) in state.told:  # others go by what was told
            found[_held_on(node)] = f"nothing is replaced by {node}: {own.why if own else 'it doubts what it sees'}"
    for number, deaths in state.deaths.items():
        if backoff.back_off_s(deaths) >= backoff.BACK_OFF_MAX_S:
            name = f"{seen.desired.catalog_name}-{number}" if number.isdigit() else "its engine"
            found[f"gave up {number}"] = (f"{name} failed {deaths.count} times, and the next try is only every "
                                          f"{backoff.BACK_OFF_MAX_S / 60:g} minutes")
    return found


def _held_on(node: str) -> str:
    return f"{HELD} on {node}"


def _trusted_by(seen: Observation, shared: self_preservation.Doubt | None) -> dict[str, float]:
    """A doubt that only this node has is not others' to end, nor to heed; when it ends, the grace counts anew here."""
    if not seen.counts:
        return {}
    node, old = seen.counts.node, {name: min(at, seen.now) for name, at in seen.state.trusted_by.items()}
    if shared is None and self_preservation.new_doubt(seen):
        return {**old, node: 0.0}
    return {**old, node: seen.now} if old.get(node) == 0.0 else old


def _is_new(stored: State, seen: Observation) -> bool:
    """Whether a release begins with this observation, or another first one."""
    running, before = seen.state.rollout, stored.rollout
    if running:
        return before is None or before.release != running.release
    return bool(not stored.proven and stored.live_release and stored.live_release != seen.desired.release)


def _with_passed(seen: Observation) -> Observation:
    passing = {each.container.id for each in (*members(seen), *candidates(seen)) if _passes(each)}
    passed = sorted({each.id for each in seen.containers} & (passing | set(seen.state.passed)))
    return seen._replace(state=msgspec.structs.replace(seen.state, passed=passed))


def _live(everyone: list[Member], seen: Observation) -> dict[str, object]:
    """What the running containers are made from, so that what dies comes back as it was."""
    old, wanted = seen.state, seen.desired
    changes: dict[str, object] = {"color": wanted.color}
    serving = release.live_release(seen)
    if not old.proven and serving not in ("", wanted.release):
        return {**changes, "live": _learnt(everyone, serving, seen), "live_release": serving, "proven": True}
    if not old.proven or not everyone and seen.target == 0 and not old.failed:
        proven = any(_passes(each) and each.container.release == wanted.release for each in everyone)
        return {**changes, "live": wanted.table, "live_release": wanted.release, "proven": proven, "failed": None}
    is_passing = old.rollout is not None and old.rollout.passing_since > 0  # it is not while the service is held
    if not wanted.color and is_passing and not rolling.is_under_way(seen) and _is_well(everyone, seen) and (
            seen.now >= rolling.passing_until(seen)) and _is_sure(seen):
        return {**changes, **_taken_over(seen)}
    return {**changes, "live_release": serving}


def _learnt(everyone: list[Member], serving: str, seen: Observation) -> dict[str, Any] | None:
    """What those that serve were made from, when nothing of it is remembered: mostly, only their image is another."""
    tables = [{**(seen.desired.table or {}), "image": each.container.image} for each in everyone
              if each.container.release == serving]
    return next(
        (each for each in tables if desired.fingerprint(service_spec.parse_spec(each, "live")) == serving), None
    )


def _is_sure(seen: Observation) -> bool:
    """Of a release whose steps its engine takes by itself, the smoke path is asked at the end only."""
    return not seen.counts or seen.certain and not release.unsmoked(seen)


def _taken_over(seen: Observation) -> dict[str, object]:
    return {"live": seen.desired.table, "live_release": seen.desired.release, "proven": True,
            "previous": seen.state.live, "previous_release": release.live_release(seen), "switched_at": seen.now,
            "rollout": None, "failed": None}


def _passes(member: Member) -> bool:
    by_hand = member.condition == "maintenance" and member.instance is not None and member.instance.status != "critical"
    return member.passes or by_hand


def _is_well(everyone: list[Member], seen: Observation) -> bool:
    return len(everyone) == seen.target and all(each.condition == "healthy" for each in everyone)


def _critical_since(everyone: list[Member], seen: Observation) -> dict[str, float]:
    """Also of those whose registration cannot be seen just now: an agent's restart is no reason to begin anew."""
    old = seen.state.critical_since
    first_seen = candidates(seen) if seen.counts else []  # stands for when such an instance was started
    return {each.container.id: critical_since(each.container, seen) for each in (*everyone, *first_seen)
            if each.condition in ("failing", "unhealthy") or each.condition == "starting" and (
                seen.counts or each.instance is None and each.container.id in old)}


def _breaker(seen: Observation) -> Breaker | None:
    """It opens when a replacement is due that no budget is left for, and closes after a while of being well."""
    old = seen.state.breaker
    if old:
        was_well = seen.state.well_since and seen.now - seen.state.well_since >= breaker.CLOSES_AFTER_S
        return None if was_well and _is_well(members(seen), seen) else Breaker(min(old.opened_at, seen.now), old.why)
    is_sure = seen.certain and not seen.desired.why_held and not self_preservation.doubt(seen)
    return breaker.opened(seen) if is_sure and plan.due(seen) else None


def _surplus_since(seen: Observation) -> float:
    """A count that cannot be read, or a service that is held, makes no surplus."""
    told = observation.group(seen, seen.desired.color)
    too_many = (max(told.replicas if told else 0, scheduled.registered(seen)) > seen.target if seen.counts
                else bool(plan.departures(seen).surplus))
    if seen.desired.why_held or not too_many:
        return 0.0
    return min(seen.state.surplus_since or seen.now, seen.now)


def _deaths(everyone: list[Member], seen: Observation, lost: list[str]) -> dict[str, Deaths]:
    """Each death is counted once, and double if it came before the check ever passed; ten good minutes forget it. One
    of a release that failed is no reason to back off from what comes after it."""
    deaths, numbers = seen.state.deaths, {str(each.container.number) for each in everyone}
    failed = release.has_failed(seen)
    for each in everyone:
        is_of_failed = failed is not None and each.container.release == failed.release
        if each.container.id in lost and each.container.id not in seen.state.lost and not is_of_failed:
            weight = 1 if each.container.id in seen.state.passed else 2
            deaths = _died(deaths, str(each.container.number), weight, seen.now)
    well = {str(each.container.number) for each in everyone
            if each.condition == "healthy" and seen.now - each.container.started_at >= FORGET_DEATHS_S}
    return {number: Deaths(each.count, min(each.last_at, seen.now)) for number, each in deaths.items()
            if number not in well and (
                number in numbers or seen.now - each.last_at < FORGET_DEATHS_S + backoff.BACK_OFF_MAX_S)}


def _died(deaths: dict[str, Deaths], number: str, weight: int, now: float) -> dict[str, Deaths]:
    before = deaths.get(number, Deaths(0, now)).count
    return {**deaths, number: Deaths(before + weight, now)}
