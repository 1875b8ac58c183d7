"""The autoscaler's look at one service: what was counted and what else moves, and the decision that follows."""

import contextlib
from typing import Any, NamedTuple

from msgspec.structs import replace

from lictor import errors
from lictor.adapters import clock
from lictor.adapters.consul.answers import Entry
from lictor.planner.autoscale import kept as keeping
from lictor.planner.autoscale import quiet
from lictor.planner.autoscale.decide import Decision, decide
from lictor.planner.autoscale.kept import Kept
from lictor.planner.autoscale.memory import Memory
from lictor.planner.autoscale.seen import Rules, Seen, rules_of
from lictor.planner.autoscale.words import minutes
from lictor.planner.desired import Desired, read_text
from lictor.planner.observation import Observation
from lictor.planner.service_state import State
from lictor.reconcile import history, observe, responsibility
from lictor.reconcile.autoscale import node_traffic
from lictor.reconcile.context import Context
from lictor.reconcile.state_store import StateStore
from lictor.spec.keys import known_below
from lictor.spec.service_spec import parse_replicas

KIND = "autoscale"  # of a wish's record


class Look(NamedTuple):
    """A decision, and all that it rests on."""

    name: str
    decision: Decision
    seen: Seen
    rules: Rules
    memory: Memory  # before the decision
    kept: Kept  # as it is to be written, with the memory after it
    kept_index: int  # ModifyIndex of its key, for compare-and-set
    count_index: int  # that of the count's key


def read_desired(context: Context, name: str) -> Desired:
    """Read the desired state, without a look at what runs."""
    prefix = f"{context.settings.prefix}{name}/"
    tree = context.client.tree(prefix, known_below(context.settings.prefix))
    state = StateStore(context.client, clocks=context.clocks).read(name).state
    return responsibility.read_desired(
        context, name, {key.removeprefix(prefix): entry.value for key, entry in tree.items()}, state)


def read_kept(context: Context, name: str) -> tuple[Kept, int]:
    """Read what is kept of a service, its times by this node's clock, and the index of its key."""
    return parse_kept(context, context.client.get(keeping.KEY_PREFIX + name))


def parse_kept(context: Context, entry: Entry | None) -> tuple[Kept, int]:
    """Parse the key of what is kept, as `read_kept` gives it."""
    kept = keeping.decode(entry.value) if entry else Kept()
    kept = keeping.by_clock(kept, context.clocks.offset_s(kept.node), clock.read(context.settings.state_dir))
    return kept, entry.modify_index if entry else 0


def look(context: Context, name: str) -> Look:
    """Look at a service for which this node acts, and decide; writes nothing.

    Conflict: the count changes just now. Refused: its spec has no `autoscale`.
    """
    count = context.client.get(f"{context.settings.prefix}{name}/replicas")
    kept, kept_index = read_kept(context, name)
    observation = observe.one(context, name, {}).observation
    _require_unchanged(observation.desired, count)
    return decide_on(context, observation, count, kept, kept_index)


def decide_on(context: Context, observation: Observation, count: Entry | None, kept: Kept, kept_index: int,
              routing: node_traffic.Routing | None = None) -> Look:
    """Decide on an observation, the key of its count, and what is kept; reads what the nodes have counted."""
    desired, rules = observation.desired, rules_of(observation.desired.spec)
    if rules is None:
        raise errors.Refused(f"{desired.name}: its spec has no autoscale, such as autoscale: {{p95: 250ms}}")
    name, now, count_index = desired.name, observation.now, count.modify_index if count else 0
    release = live_release(observation.state, desired)
    is_own = bool(count and not kept_index and _is_wish(context, name, read_text(count.value)))
    kept = keeping.claim(kept, kept_index, count_index, now, is_known_as_own=is_own)
    kept = keeping.settle(kept, desired.replicas, quiet.count_serving(observation), quiet.last_passed_at(observation),
                          now, release=release, is_mixed=quiet.is_mixed(observation))
    found, memory = node_traffic.read_windows(context, name, now, routing), keeping.memory_of(kept)
    seen = Seen(now, desired.replicas, release, found.slices, kept.settled_at or now,
                quiet=quiet.find_obstacle(observation, has_count=count is not None), silent=found.silent,
                manual=_describe_manual(observation, kept), is_routed=found.is_routed)
    decision = decide(seen, rules, memory)
    if count and not kept.manual_index and not desired.why_held:
        decision = _bring_within_bounds(decision, desired, read_text(count.value))
    kept = keeping.with_memory(kept, decision.memory)
    return Look(name, decision, seen, rules, memory, _signed(context, kept, decision, now), kept_index, count_index)


def _describe_manual(observation: Observation, kept: Kept) -> str:
    """Say that a person's count holds; usually ""."""
    asked = observation.spec.autoscale
    held_s = keeping.held_s(kept, asked.hold_after_manual if asked else 0.0, observation.now)
    return (f"a person wrote the count {observation.desired.replicas}, which holds for {minutes(held_s)} more"
            if held_s else "")


def _bring_within_bounds(decision: Decision, desired: Desired, text: str) -> Decision:
    """Replace the autoscaler's own count if `min` or `max` of the spec have changed since: nobody else would."""
    if desired.replicas_given or desired.spec is None or not text.isdecimal():
        return decision
    bounds = desired.spec.replicas
    wish = max(bounds.min, min(bounds.max, int(text[:9])))
    return decision if wish < 1 else decision._replace(wish=wish, reason=(
        f"its own count {text[:9]} is outside of {bounds.min} to {bounds.max} now; wants {wish}"))


def live_release(state: State, desired: Desired) -> str:
    """Name the release that serves: one that has failed is desired still."""
    return state.release.live_release or desired.release


def _require_unchanged(desired: Desired, count: Entry | None) -> None:
    """Raise Conflict if the count that was observed is another one than that whose index was read before."""
    if not desired.replicas_given:
        return
    with contextlib.suppress(ValueError):
        if count and desired.spec and parse_replicas(
                read_text(count.value), desired.spec.replicas) == desired.replicas:
            return
    raise errors.Conflict(f"{desired.name}: its count changes just now")


def _is_wish(context: Context, name: str, count: str) -> bool:
    """Tell by the history whether the autoscaler was the last to write a count, if what it kept is lost."""
    done = [each for each in read_wishes(context, name) if each["outcome"] == "done"]
    return bool(done) and str(done[-1].get("to")) == count


def read_wishes(context: Context, name: str) -> list[dict[str, Any]]:
    """Read the records of the autoscaler's wishes, oldest first."""
    return [each for each in history.read(context.client, name) if each.get("kind") == KIND]


def _signed(context: Context, kept: Kept, decision: Decision, now: float) -> Kept:
    return replace(kept, node=context.node, at=now, status=decision.status, reason=decision.reason)
