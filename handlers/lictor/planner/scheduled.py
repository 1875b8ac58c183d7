"""Services whose engine is told only how many there should be, and starts, places and ends them by itself. Pure."""

from lictor.model import Group, Instance, catalog_name
from lictor.planner import actions as action
from lictor.planner import backoff, blue_green, healing, release, rolling
from lictor.planner.actions import Action
from lictor.planner.observation import Counts, Member, Observation, critical_for_s, group, members
from lictor.planner.service_state import telling

_TELLING_KINDS = ("scale", "redeploy", "retire")


def actions(seen: Observation) -> list[Action]:
    """What the engine has to be told, and whom of the ill it has to replace."""
    counts, wanted = seen.counts, seen.desired
    assert counts is not None
    if not counts.tells:
        return [] if wanted.removed else _ill(counts, seen)
    if wanted.removed:
        return [_patiently(each, seen) for each in _removed(counts, seen)]
    told = _told(seen, wanted.color, seen.target, release.goal(seen))
    if wanted.color:
        told += [*blue_green.color_key(seen), *_other_color(seen)]
    elif not told:
        told = _last_step(seen)
    is_told = any(each.kind in action.ACTS for each in told)  # then not something else at once
    ill = [each for each in _ill(counts, seen) if not is_told or each.kind not in _TELLING_KINDS]
    return [_patiently(each, seen) for each in (*told, *ill)]


def is_over(seen: Observation) -> bool:
    """Of a service that was removed: whether this node can say that nothing of it is left with its engine."""
    counts = seen.counts
    return counts is None or counts.tells and not _removed(counts, seen)


def due(seen: Observation) -> Member | None:
    """The ill one that is to be replaced next by this node: the longest critical, and none while others are on their
    way."""
    counts, everyone, is_released = seen.counts, members(seen), seen.state.rollout and not seen.desired.color
    if counts is None or is_released or any(each.condition == "starting" for each in everyone):
        return None
    if not len(everyone) <= seen.target <= len(everyone) + len(_out_of_sight(counts, seen)):
        return None
    ill = [each for each in everyone if each.condition == "unhealthy" and each.instance
           and (each.instance.node == counts.node if counts.ends else counts.tells) and not _is_on_its_way(each, seen)]
    return max(ill, key=lambda each: critical_for_s(each, seen), default=None)


def _is_on_its_way(ill: Member, seen: Observation) -> bool:
    """Not of what is live, on the way back from a release that failed, say: its engine replaces it by itself, as it is
    yet to be told, or was told less than a deadline ago."""
    goal, there = release.goal(seen), group(seen, seen.desired.color)
    return there is not None and ill.container.release != goal and (
        there.release != goal or seen.now < _told_again_at(there.color, seen))


def registered(seen: Observation) -> int:
    """How many of the live colour there are of an engine that forgets what it was told; 0 of one that can say."""
    return len(members(seen)) if seen.counts and not seen.counts.remembers else 0


def _out_of_sight(counts: Counts, seen: Observation) -> list[Instance]:
    """Those of the live colour whose node does not answer, and of which the engine does not say that they are gone."""
    there = group(seen, seen.desired.color)
    listed = there.container_ids if there else None
    return [each for each in seen.instances if each.service == seen.desired.catalog_name and not each.node_alive
            and (listed is None or each.container_id in listed)]


def _told(seen: Observation, color: str, count: int, fingerprint: str) -> list[Action]:
    """Tell the engine what it has not been told yet, or what nothing has come of. Only where users are served, fewer
    than before are asked for with care, and not together with another release."""
    there, serves = group(seen, color), color == seen.desired.color
    if seen.state.live is None and fingerprint != seen.desired.release:
        return [Action("hold", "its engine is told nothing, as it is not remembered what those that serve were made "
                               "from; another release would end that", catalog_name(seen.desired.name, color))]
    act = Action("scale", seen.desired.why_replicas, catalog_name(seen.desired.name, color), number=count, color=color,
                 release=fingerprint)
    if there is None or there.release != fingerprint:
        if there and there.replicas:
            runs = f"{there.image} runs" if there.release else "what runs is not known"
            act = act._replace(kind="redeploy", reason=f"{_images(seen, fingerprint)}, {runs}",
                               number=max(count, there.replicas) if serves else count)
        return [act]
    if there.replicas > count and serves:
        return [_fewer(act, f"{there.replicas} are asked for", seen)]
    if there.replicas != count:
        return [act]
    if not release.is_told(seen, color):
        return [act._replace(reason=f"told again, as that did not end well: {act.reason}")]
    return _told_again(act, there, seen)


def _patiently(act: Action, seen: Observation) -> Action:
    """An engine that could not be told is told again only after a while."""
    number = telling(act.color)
    failures = seen.state.deaths.get(number)
    again_at = backoff.retry_at(seen.desired.name, number, failures) if failures else 0.0
    if act.kind not in _TELLING_KINDS or seen.now >= again_at:
        return act
    return act._replace(kind="wait", until=again_at, reason=f"backs off, as its engine failed: {act.reason}")


def _fewer(act: Action, said: str, seen: Observation) -> Action:
    """Once the surplus has stood for long enough; the engine picks who goes."""
    stands_until = (seen.state.surplus_since or seen.now) + seen.rules.surplus_after_s
    if seen.now < stands_until:
        return act._replace(kind="wait", until=stands_until, reason=f"{said}, surplus for less than "
                            f"{seen.rules.surplus_after_s:g} s: {act.reason}")
    return action.confirmed(seen.certain, act)


def _told_again(act: Action, there: Group, seen: Observation) -> list[Action]:
    """One that forgets is told again when something else is there; the others say themselves what keeps them."""
    spec, counts = seen.desired.spec, seen.counts
    assert spec is not None and counts is not None
    alive = [each for each in seen.instances if each.service == act.container and each.node_alive]
    too_many = not counts.remembers and act.color == seen.desired.color and len(alive) > act.number
    is_unseen = spec.port is None and not seen.state.proven  # nobody registers it
    if (len(alive) >= act.number or is_unseen) and not there.gave_up and not too_many:
        return []
    said = f"{len(alive)} of {act.number} are there" + (f": {there.trouble}" if there.trouble else "")
    again_at = _told_again_at(act.color, seen)
    goes_on = counts.remembers and not there.gave_up
    if goes_on or seen.now < again_at:
        return [act._replace(kind="wait", reason=said, until=0.0 if goes_on else again_at)]
    again = act._replace(reason=f"told again: {said}")
    return [_fewer(again, said, seen) if too_many else action.confirmed(seen.certain, again)]


def _last_step(seen: Observation) -> list[Action]:
    """All are of the new release; it takes over when they have passed for a while, on its smoke path too, and a
    consistent reading shows it."""
    everyone = members(seen)
    if not seen.state.rollout:
        return []
    if rolling.is_under_way(seen) or len(everyone) != seen.target:
        new = len(release.newcomers(seen))
        return [Action("wait", f"{new} of {seen.target} are there, and {len(everyone) - new} others",
                       seen.desired.name)]
    late = [action.on("wait", each, f"is {each.condition}; the new release has to pass its checks", until=each.until)
            for each in everyone if not each.passes]
    if late or seen.now < rolling.passing_until(seen):
        return late or rolling.last_step(seen)
    wait = Action("wait", f"{release.unsmoked(seen)}; asked again until the deadline", seen.desired.name)
    return [wait if seen.certain else Action("confirm", "all pass: a consistent reading has to show it too",
                                             seen.desired.name)]


def _other_color(seen: Observation) -> list[Action]:
    """A release comes up in it, and what was live before, or has failed, ends in it."""
    wanted, running = seen.desired, seen.state.rollout
    there, name = group(seen, wanted.other_color), catalog_name(wanted.name, wanted.other_color)
    if running:
        runs_on = blue_green.listed(seen) if there and there.release != running.release and there.replicas else None
        if runs_on:
            return [Action("wait", f"the new release has to wait: {runs_on.why}", name)]
        told = _told(seen, wanted.other_color, seen.target, running.release)
        if told:
            return told
        new, others = release.newcomers(seen), release.in_the_way(seen)
        if len(new) != seen.target or others:
            said = f", and {len(others)} others" if others else ""
            return [Action("wait", f"{len(new)} of {seen.target} are there{said}", name)]
        return blue_green.gate(new, seen)
    return _over(there, seen) if there else []


def _over(there: Group, seen: Observation) -> list[Action]:
    wanted, failed, state = seen.desired, seen.state.failed, seen.state
    assert wanted.spec is not None and seen.counts is not None
    act = Action("retire", "", catalog_name(wanted.name, there.color), color=there.color, release=there.release)
    is_there = there.replicas > 0 or _lingers(there, seen)
    runs_on = blue_green.listed(seen) if is_there else None
    if runs_on:
        return [action.put_off(act, runs_on.why, runs_on.until)]
    if failed and failed.release == there.release and (is_there or seen.counts.remembers):
        return [act._replace(reason=f"its release failed: {failed.why}")]
    idle_at = state.switched_at + wanted.spec.drain  # connections on other nodes cannot be seen
    if is_there and seen.now < idle_at:
        return [act._replace(kind="wait", reason=f"{wanted.color} is live; what it answers yet may take a drain's time",
                             until=idle_at)]
    if is_there:
        stop = act._replace(kind="scale", reason=f"{wanted.color} is live, and no nginx lists it any more")
        return [action.confirmed(seen.certain, stop)]
    is_kept = seen.now < state.switched_at + wanted.spec.release.keep
    return [] if is_kept or not seen.counts.remembers else [act._replace(reason="it was kept for long enough")]


def _lingers(there: Group, seen: Observation) -> bool:
    """An engine that forgets was told to have none of it, and some are there again: a host has come back with them."""
    assert seen.counts is not None
    return not seen.counts.remembers and seen.now >= _told_again_at(there.color, seen) and any(
        each.color == there.color for each in seen.containers)


def _told_again_at(color: str, seen: Observation) -> float:
    """An engine that forgets gets a deadline for what it was told, before it is told once more."""
    spec, asked = seen.desired.spec, seen.state.asked.get(color)
    return (asked.at if asked else 0.0) + (spec.release.deadline if spec else 0.0)


def _removed(counts: Counts, seen: Observation) -> list[Action]:
    return [action.confirmed(seen.certain, Action(
                "retire", "it was removed", catalog_name(seen.desired.name, each.color), color=each.color,
                release=each.release)) for each in counts.groups
            if each.replicas or counts.remembers or _lingers(each, seen)]


def _ill(counts: Counts, seen: Observation) -> list[Action]:
    ill, spec = due(seen), seen.desired.spec
    if ill is None or spec is None:
        return []
    why, obstacle = healing.reason(ill, seen), healing.obstacle(ill, seen)
    if obstacle:
        return [obstacle]
    if counts.ends:
        return [action.on("end", ill, f"{why}; its engine starts another")._replace(replaces=ill.container.id)]
    again_at = _told_again_at(seen.desired.color, seen)
    if seen.now < again_at:
        return [action.on("wait", ill, f"{why}; its engine was told something less than {spec.release.deadline:g} s "
                          "ago", until=again_at)]
    return [Action("redeploy", f"{ill.name}: {why}", seen.desired.catalog_name, number=seen.target,
                   color=seen.desired.color, release=release.goal(seen), replaces=ill.container.id)]


def _images(seen: Observation, fingerprint: str) -> str:
    image = seen.desired.spec.image if seen.desired.spec and fingerprint == seen.desired.release else (
        seen.state.live or {}).get("image")
    return f"{image} is wanted"
