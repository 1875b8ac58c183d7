"""The lessons of one look at a set, which are kept for the next ones. Pure."""

from msgspec.structs import replace

from lictor.planner.cluster import kept as memory
from lictor.planner.cluster.kept import Kept
from lictor.planner.cluster.observation import Seen
from lictor.planner.cluster.view import View


def advance(kept: Kept, seen: Seen, view: View) -> Kept:
    """Learn from a look; to learn from it once more changes nothing. Only a primary's word teaches who is a member."""
    clock = seen.clock
    tries = {what: replace(each, last_at=clock.since(each.last_at)) for what, each in kept.tries.items()}
    kept = replace(kept, tries={what: each for what, each in tries.items() if memory.is_fresh(each, clock.now)},
                   joining=_joining(kept, seen, view), ill_since=_ill_since(kept, seen, view))
    if not view.primary:
        exists = view.exists or bool(kept.set_id)
        return replace(kept, headless_since=clock.since(kept.headless_since) or clock.now if exists else 0.0)
    kept = replace(kept, set_id=seen.reports[view.primary].set_id, headless_since=0.0)
    healthy = {member.slot.release for member in view.members if member.is_healthy and member.slot.release}
    kept = replace(kept, proven=memory.prove(kept.proven, healthy))
    if not view.configuration.is_committed:
        return kept
    return replace(kept, term=view.term, version=view.configuration.version,
                   seated=tuple(member.slot.number for member in view.members))


def _joining(kept: Kept, seen: Seen, view: View) -> int:
    """Tell which newcomer is still on its way: until it is healthy in its seat, or of it nothing is left."""
    slot = next((slot for slot in seen.slots if slot.number == kept.joining), None)
    seated = next((member for member in view.members if member.slot == slot), None)
    if slot is None or seated and (seated.is_healthy or seated.votes):
        return 0
    has_left = view.primary and not seated and kept.joining in kept.seated
    return 0 if has_left or slot.is_free and not seated and not kept.founder else kept.joining


def _ill_since(kept: Kept, seen: Seen, view: View) -> dict[str, float]:
    """Note since when members are ill. While nobody's word counts, none of them is counted longer."""
    if not view.primary:
        return {}
    return {member.name: seen.clock.since(kept.ill_since.get(member.name, 0.0)) or seen.clock.now
            for member in view.members if member.condition in ("ill", "lost")}
