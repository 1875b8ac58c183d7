"""The autoscaler's words: the state of a service in one line, and the numbers that a person needs. Pure."""

from collections.abc import Sequence

from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.capacity import Capacity
from lictor.planner.autoscale.memory import Step
from lictor.planner.autoscale.seen import Rules, Seen
from lictor.planner.autoscale.traffic import Slice
from lictor.planner.autoscale.windows import Windows
from lictor.spec.service_spec import Spec


def describe(view: Windows, seen: Seen, rules: Rules) -> str:
    """Describe the traffic of the window, as Consul's check shows it."""
    took = f"{rules.percentile} unknown, as {view.whole.answers} answers are too few" if view.took_s is None else (
        f"{rules.percentile} {milliseconds(view.took_s)} of {milliseconds(rules.target_s)}")
    failed = f", {view.whole.failed} errors" if view.whole.failed else ""
    return (f"{took} over {view.whole.seconds:.0f} s; {number(view.whole.rate)} requests/s, "
            f"{instances(seen.replicas)}, {view.whole.in_progress:.1f} in progress{failed}")


def describe_no_breach(view: Windows, seen: Seen, rules: Rules) -> str:
    """Say why the percentile of the whole window is above the target, and nothing is done about it."""
    if view.settled.answers < traffic.FEWEST:
        return f"since {instances(seen.replicas)} serve{'s' * (seen.replicas == 1)}, too few answers came"
    if view.settled_took_s is not None and view.settled_took_s <= rules.target_s:
        return f"since {instances(seen.replicas)} serve{'s' * (seen.replicas == 1)}, it is within the target"
    if view.is_over:
        return "far fewer requests come than before"
    newest_s = traffic.percentile(view.short.times, rules.share)
    if newest_s is not None and newest_s <= rules.target_s:
        return "the newest answers are within the target"
    return "so few answers are late that it may be chance"


def describe_useless(steps: Sequence[Step], breach: Slice, took_s: float, rules: Rules) -> str:
    """Describe what was seen when more instances did not help."""
    first, last = steps[0], steps[-1]
    facts = [f"errors {breach.error_share:.1%}"]
    if breach.connect_s and breach.answers:
        facts.append(f"connecting takes {milliseconds(breach.connect_s / breach.answers)}")
    means = sorted(took / count for count, took in breach.instances.values() if count)
    if len(means) > 1:
        facts.append(f"instances take {milliseconds(means[0])} to {milliseconds(means[-1])} on average")
    return (f"Scaling does not help: {len(steps)} steps up, from {first.before} to {instances(last.count)}, brought "
            f"{rules.percentile} from {milliseconds(first.took_s)} to {milliseconds(took_s)}, and answers from "
            f"{number(first.rate)} to {number(breach.answers / breach.seconds)}/s ({', '.join(facts)}). "
            "Look at what the instances wait for.")


def describe_capacity(known: Capacity) -> str:
    """Describe what is known of the load that one instance bears."""
    unit = "requests/s an instance"
    held = f"held at {number(known.held.rate)} {unit}" if known.held.rate else "is not known to have held"
    broke = f"broke at {number(known.broke.rate)} {unit}" if known.broke_at else "has not broken in the last day"
    return f"the target {held}, and {broke}"


def describe_hold(spec: Spec) -> str:
    """Say, behind a count that a person wrote, that the autoscaler will write another one; usually ""."""
    return "" if spec.autoscale is None else (
        f"; autoscale leaves that alone for {minutes(float(spec.autoscale.hold_after_manual))}")


def instances(count: int) -> str:
    return f"{count} instance{'' if count == 1 else 's'}"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 or not value else f"{value:.2g}"
