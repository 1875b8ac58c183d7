"""What status and plan tell of the autoscaler: its last word on each service, and what it would wish now."""

import time
from collections.abc import Iterable
from typing import Any

from lictor.adapters import clock
from lictor.adapters.text import format_time, one_line
from lictor.planner.autoscale import kept as keeping
from lictor.planner.autoscale.words import minutes
from lictor.planner.desired import Desired
from lictor.reconcile import observe
from lictor.reconcile.context import Context

KIND = "autoscale"
STALE_S = 60.0  # a round comes each 10 s


def read(context: Context, services: Iterable[str]) -> dict[str, keeping.Kept]:
    """Read what the autoscaler remembers of these services, by the clock of this node."""
    keys = {f"{keeping.KEY_PREFIX}{name}": name for name in services}
    entries = context.client.tree(keeping.KEY_PREFIX, keys.__contains__) if keys else {}
    found = {}
    for key, name in keys.items():
        kept = keeping.decode(entries[key].value) if key in entries else keeping.Kept()
        offset_s = context.clocks.offset_s(kept.node)
        found[name] = keeping.by_clock(kept, offset_s, clock.read(context.settings.state_dir))
    return found


def describe(kept: keeping.Kept) -> str:
    """Say what the autoscaler said last, if it was not content or has not said a word since; else ""."""
    if missing := describe_silence(kept):
        return f"autoscale: {missing}"
    return "" if kept.status == "passing" else f"autoscale: {kept.reason}"


def describe_last(kept: keeping.Kept) -> str:
    """Say what it decided last, and when; that nobody decides comes first."""
    decided = f"{format_time(kept.at)}: {one_line(kept.reason)}" if kept.node and kept.at else ""
    return "; it said last, at ".join(filter(None, (describe_silence(kept), decided)))


def describe_silence(kept: keeping.Kept) -> str:
    """Say that no node decides on the count; usually ""."""
    if not kept.node or not kept.at:
        return "no node has decided on its count yet. The check lictor-autoscale does"
    age_s = time.time() - kept.at
    return "" if -STALE_S <= age_s <= STALE_S else (
        f"no node has decided on its count for {minutes(abs(age_s))}. The check lictor-autoscale of {kept.node} does "
        "not run, or may not write")


def decide_now(context: Context, service: Desired) -> list[dict[str, Any]]:
    """Decide what the autoscaler would wish; [] if it is content, or has no say. A failure is told."""
    if service.removed or not service.spec or not service.spec.autoscale:
        return []
    from lictor.reconcile.autoscale import look

    wish = None
    try:
        decision = look.look(context, service.name).decision
        if decision.wish is None and decision.status == "passing":
            return []
        wish, reason = decision.wish, decision.reason
    except Exception as error:  # a value that no rule foresees hides no action of the service
        reason = f"not decided: {observe.explain_broken(error)}"
    return [{"service": service.name, "kind": KIND, "container": "", "reason": reason, "wish": wish}]
