"""Services whose engine is told only how many there should be, and starts, places and ends them by itself. Pure."""

from lictor import action, blue_green, judgement, release, rolling, starts
from lictor.action import Action
from lictor.model import Group, catalog_name
from lictor.observation import Counts, Member, Observation, critical_for_s, group, members

TELLING = 0  # no instance's number: under it stands how often the engine could not be told
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
    told += [*blue_green.color_key(seen), *_other_color(seen)] if wanted.color else _last_step(seen)
    return [_patiently(each, seen) for each in (*told, *_ill(counts, seen))]


def is_over(seen: Observation) -> bool:
    """Of a service that was removed: whether this node can say that nothing of it is left with its engine."""
    counts = seen.counts
    return counts is None or counts.tells and not _removed(counts, seen)


def due(seen: Observation) -> Member | None:
    """The ill one that is to be replaced next by this node: the longest critical, and none while others are on their
    way."""
    counts, everyone = seen.counts, members(seen)
    if counts is None or any(each.condition == "starting" for each in everyone) or len(everyone) != seen.target:
        return None
    ill = [each for each in everyone if each.condition == "unhealthy" and each.instance
           and (each.instance.node == counts.node if counts.ends else counts.tells)]
    return max(ill, key=lambda each: critical_for_s(each, seen), default=None)


def _told(seen: Observation, color: str, count: int, fingerprint: str) -> list[Action]:
    """Tell the engine what it has not been told yet, or what nothing has come of. Only where users are served, fewer
    than before are asked for with care, and not together with another release."""
    there, serves = group(seen, color), color == seen.desired.color
    act = Action("scale", seen.desired.why_replicas, catalog_name(seen.desired.name, color), number=count, color=color,
                 release=fingerprint)
    if there is None or there.release != fingerprint:
        if there and there.replicas:
            runs = f"{there.image} runs" if there.release else "what runs is not known"
            act = act._replace(kind="redeploy", reason=f"{_images(seen, fingerprint)}, {runs}",
                               number=max(count, there.replicas) if serves else count)
        return [act]
    if there.replicas > count and serves:
        return [_fewer(act, there, seen)]
    if there.replicas != count:
        return [act]
    if not release.is_told(seen, color):
        return [act._replace(reason=f"told again, as that did not end well: {act.reason}")]
    return _missing(act, there, seen)


def _patiently(act: Action, seen: Observation) -> Action:
    """An engine that could not be told is told again only after a while."""
    failures = seen.state.deaths.get(str(TELLING))
    again_at = starts.retry_at(seen.desired.name, TELLING, failures) if failures else 0.0
    if act.kind not in _TELLING_KINDS or seen.now >= again_at:
        return act
    return act._replace(kind="wait", until=again_at, reason=f"backs off, as its engine failed: {act.reason}")


def _fewer(act: Action, there: Group, seen: Observation) -> Action:
    """Once the surplus has stood for long enough; the engine picks who goes."""
    stands_until = (seen.state.surplus_since or seen.now) + seen.rules.surplus_after_s
    if seen.now < stands_until:
        return act._replace(kind="wait", until=stands_until, reason=f"{there.replicas} are asked for, surplus for less "
                            f"than {seen.rules.surplus_after_s:g} s: {act.reason}")
    return action.confirmed(seen.certain, act)


def _missing(act: Action, there: Group, seen: Observation) -> list[Action]:
    """One that forgets is told again when nothing has come of it; the others say themselves what keeps them."""
    spec, counts = seen.desired.spec, seen.counts
    assert spec is not None and counts is not None
    alive = [each for each in seen.instances if each.service == act.container and each.node_alive]
    if (len(alive) >= act.number or spec.port is None) and not there.gave_up:
        return []
    said = f"{len(alive)} of {act.number} are there" + (f": {there.trouble}" if there.trouble else "")
    asked = seen.state.asked.get(act.color)
    again_at = (asked.at if asked else 0.0) + spec.release.deadline
    goes_on = counts.remembers and not there.gave_up
    if goes_on or seen.now < again_at:
        return [act._replace(kind="wait", reason=said, until=0.0 if goes_on else again_at)]
    return [action.confirmed(seen.certain, act._replace(reason=f"told again: {said}"))]


def _last_step(seen: Observation) -> list[Action]:
    """All are of the new release; it takes over when they have passed for a while, on its smoke path too, and a
    consistent reading shows it."""
    everyone = members(seen)
    if not seen.state.rollout or rolling.is_under_way(seen) or len(everyone) != seen.target:
        return []
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
        new = release.newcomers(seen)
        if len(new) != seen.target:
            return [Action("wait", f"{len(new)} of {seen.target} are there", name)]
        return blue_green.gate(new, seen)
    return _over(there, seen) if there else []


def _over(there: Group, seen: Observation) -> list[Action]:
    wanted, failed, state = seen.desired, seen.state.failed, seen.state
    assert wanted.spec is not None and seen.counts is not None
    act = Action("retire", "", catalog_name(wanted.name, there.color), color=there.color, release=there.release)
    if failed and failed.release == there.release:
        return [act._replace(reason=f"its release failed: {failed.why}")]
    runs_on = blue_green.listed(seen) if there.replicas else None
    if runs_on:
        return [action.put_off(act, runs_on.why, runs_on.until)]
    idle_at = state.switched_at + wanted.spec.drain  # connections on other nodes cannot be seen
    if there.replicas and seen.now < idle_at:
        return [act._replace(kind="wait", reason=f"{wanted.color} is live; what it answers yet may take a drain's time",
                             until=idle_at)]
    if there.replicas:
        stop = act._replace(kind="scale", reason=f"{wanted.color} is live, and no nginx lists it any more")
        return [action.confirmed(seen.certain, stop)]
    is_kept = seen.now < state.switched_at + wanted.spec.release.keep
    return [] if is_kept or not seen.counts.remembers else [act._replace(reason="it was kept for long enough")]


def _removed(counts: Counts, seen: Observation) -> list[Action]:
    return [action.confirmed(seen.certain, Action(
                "retire", "it was removed", catalog_name(seen.desired.name, each.color), color=each.color,
                release=each.release)) for each in counts.groups if each.replicas or counts.remembers]


def _ill(counts: Counts, seen: Observation) -> list[Action]:
    ill, spec = due(seen), seen.desired.spec
    if ill is None or spec is None:
        return []
    why, obstacle = judgement.reason(ill, seen), judgement.obstacle(ill, seen)
    if obstacle:
        return [obstacle]
    if counts.ends:
        return [action.on("end", ill, f"{why}; its engine starts another")._replace(replaces=ill.container.id)]
    asked = seen.state.asked.get(seen.desired.color)
    again_at = (asked.at if asked else 0.0) + spec.release.deadline
    if seen.now < again_at:
        return [action.on("wait", ill, f"{why}; its engine was told something less than {spec.release.deadline:g} s "
                          "ago", until=again_at)]
    return [Action("redeploy", f"{ill.name}: {why}", seen.desired.catalog_name, number=seen.target,
                   color=seen.desired.color, release=release.goal(seen), replaces=ill.container.id)]


def _images(seen: Observation, fingerprint: str) -> str:
    image = seen.desired.spec.image if seen.desired.spec and fingerprint == seen.desired.release else (
        seen.state.live or {}).get("image")
    return f"{image} is wanted"
