"""The summary of one service: how it is in a sentence, the weightiest first, and how much that matters. Pure.

Each verb that words how a service is reads this: a second wording would sooner or later say something else.
"""

from enum import StrEnum
from typing import NamedTuple

from lictor import model
from lictor.planner import backoff
from lictor.planner.canary import words
from lictor.planner.observation import drain_mark
from lictor.planner.service_state import State
from lictor.planner.summary.facts import Facts, name_with_image, named
from lictor.spec.service_spec import Spec


class Severity(StrEnum):
    """How much something matters."""

    WELL = "well"
    WORKING = "working"  # lictor is at work on it, or waits for something that comes
    ATTENTION = "attention"  # it stays like that until somebody does something, or something else recovers
    FAILED = "failed"  # what is asked for is not done


class Summary(NamedTuple):
    """How a service is."""

    severity: Severity
    says: str  # "as desired", or "STATE: CAUSE. CONSEQUENCE."
    is_vague: bool = False  # it says what is amiss, and not why
    is_unseen: bool = False  # only the node that acts knows

    @property
    def is_well(self) -> bool:
        return self.severity == Severity.WELL


def sum_up(facts: Facts) -> Summary:
    """Say what is the matter, the weightiest first."""
    desired, spec = facts.desired, facts.spec
    if facts.why_nobody:
        return _failed(facts.why_nobody)
    if desired.why_held:
        return _sum_up_held(facts)
    if desired.removed:
        return spec and _find_obstacle(facts, spec) or _working("being removed")
    if spec is None:
        return _failed("refused")
    obstacle = _find_obstacle(facts, spec)
    if obstacle:
        return obstacle
    return _sum_up_routed(facts) if spec.engine == "none" else _sum_up_acted_on(facts, spec)


def find_failure(state: State, release: str) -> str:
    """Say why a release failed, and what is live instead; "" if it has not failed."""
    failed, live = state.release.failed, state.release.live or {}
    if failed is None or failed.release != release:
        return ""
    return f"{failed.why}. {live.get('image') or 'the earlier release'} runs on"


def find_obstacle(state: State) -> str:
    """Say what keeps lictor from acting; "" if nothing does."""
    if state.breaker:
        return f"the breaker is open: {state.breaker.why}"
    return f"on hold: {state.trust.doubt}" if state.trust.doubt else ""


def _failed(says: str) -> Summary:
    return Summary(Severity.FAILED, says)


def _attention(says: str) -> Summary:
    return Summary(Severity.ATTENTION, says)


def _working(says: str) -> Summary:
    return Summary(Severity.WORKING, says)


def _converging(cause: str) -> Summary:
    return Summary(Severity.WORKING, f"converging: {cause}", is_vague=True)


def _find_obstacle(facts: Facts, spec: Spec) -> Summary | None:
    own = find_obstacle(facts.state)
    if own:
        return _failed(own) if facts.state.breaker else _attention(own)
    is_lost = any(each.node == spec.node and not each.node_alive for each in facts.instances)
    lost = f"on hold: node {spec.node} does not answer" if is_lost else "" if spec.node else facts.no_answer
    return _attention(lost) if lost else None


def _sum_up_held(facts: Facts) -> Summary:
    """Say why hands are off; and of a pause, whether each nginx that serves the service has confirmed it."""
    why = facts.desired.why_held
    if not facts.desired.is_paused:
        return _attention(f"on hold: {why}")
    told = "; ".join(f"on {node} {waiting} wait, and {in_flight} are in flight"
                     for node, (waiting, in_flight) in facts.paused.items())
    missing = [node for node in facts.nginx_nodes or () if node not in facts.paused]
    if facts.paused and not missing:
        return _attention(f"paused: {why}: {told}")
    unheld = [*facts.unserved, *facts.unconfirmed] or [
        f"{', '.join(missing) or 'no nginx'} has {'not ' if missing else ''}confirmed it"]
    return _failed("; ".join([f"paused: {why}", *unheld, *filter(None, [told])]))


def _sum_up_routed(facts: Facts) -> Summary:
    well = "only routed, as its labels ask" if facts.labels_ask else "only routed"
    says = f"{well}{'' if facts.receiving else ': no instance passes'}{_quote_check(facts)}"
    if facts.unserved:
        return _failed("; ".join([*facts.unserved, says]))
    if facts.unconfirmed:
        return _working("; ".join([*facts.unconfirmed, says]))
    return _attention(says) if says != well else _sum_up_refused(facts) or Summary(Severity.WELL, says)


def _sum_up_acted_on(facts: Facts, spec: Spec) -> Summary:
    """Say what is not as desired of a service on which somebody acts, the weightiest first."""
    if facts.unserved:
        return _failed("; ".join(facts.unserved))
    if facts.set_failure:
        return _failed(facts.set_failure)
    found = _sum_up_release(facts, spec) or _sum_up_deviation(facts, spec)
    if found:
        return found
    if facts.unconfirmed:
        return _working("; ".join(facts.unconfirmed))
    if facts.foreign:
        return _attention(_describe_foreign(facts.foreign))
    if spec.autoscale and facts.scaling:
        return _attention(facts.scaling)
    return _sum_up_refused(facts) or Summary(Severity.WELL, "as desired")


def _sum_up_refused(facts: Facts) -> Summary | None:
    """Say which input is refused of a service that is as the last good one asks for."""
    problems = facts.desired.problems
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return _attention(f"refused: {problems[0]}{more}. All else is as desired") if problems else None


def _sum_up_release(facts: Facts, spec: Spec) -> Summary | None:
    """Say how the release of what is desired stands, if it is not live."""
    release, rollout = facts.desired.release, facts.state.release.rollout
    if facts.state.release.live_release == release:
        return None
    failure = find_failure(facts.state, release)
    if failure:
        return _failed(f"release of {spec.image} failed: {failure}")
    if rollout is None or rollout.release != release:
        return None
    waits = f". It waits: {facts.awaited}" if facts.awaited and rollout.most < facts.desired.replicas else ""
    why = backoff.trouble(facts.state)
    since_s = max(facts.now - rollout.began_at, 0)
    tried = rollout.trial and words.describe(rollout.trial, facts.desired.other_color, facts.desired.color)
    return _working(f"releasing {spec.image} for {since_s:.0f} s" + (f". {tried}" if tried else "")
                    + (waits or (f". {why}" if why else _quote_check(facts))))


def _sum_up_deviation(facts: Facts, spec: Spec) -> Summary | None:
    """Say how the catalogue differs from what is desired."""
    desired = facts.desired
    if spec.port is None and facts.is_decided_here:
        return None
    if spec.port is None:
        return _attention("unknown: it has no port, so it is not in the catalogue. See `lictor plan "
                          f"{desired.name}` on its node")._replace(is_unseen=True)
    if facts.no_answer and not facts.instances:
        return _attention(facts.no_answer)
    there = [each for each in facts.instances if each.node_alive]  # Consul keeps those of a lost node for days
    images = {each.image for each in there} - {""}
    if images - {spec.image}:
        return _converging(f"{', '.join(sorted(images))} runs, {spec.image} is desired")
    if not len(facts.receiving) == desired.replicas == len(there):
        return _sum_up_count(facts)
    why = _describe_unserved(facts) or model.describe_mixed_images(facts.instances)
    return _attention(why) if why else None


def _describe_unserved(facts: Facts) -> str:
    """Say that no nginx serves what could be served; "" if one does, or it is unknown."""
    if not (facts.spec and facts.spec.routes and facts.receiving and facts.nginx_nodes == []):
        return ""
    lost = ", ".join(facts.lost_nginx_nodes)
    return f"no nginx serves it{f': {lost} did; no answer from there (serfHealth)' if lost else ''}"


def _sum_up_count(facts: Facts) -> Summary:
    """Say why not as many pass as are desired, or others are registered beside them."""
    if facts.awaited and len(facts.instances) < facts.desired.replicas:
        return _working(f"waiting: {facts.awaited}")
    why = backoff.trouble(facts.state)
    if why:
        return _failed(why)
    withheld = _describe_withheld(facts.instances)
    return _attention(withheld) if withheld else _converging(f"{facts.desired.why_replicas}{_quote_check(facts)}")


def _quote_check(facts: Facts) -> str:
    """Quote the check of an instance that fails, to be put behind a summary; usually ""."""
    critical = [each for each in facts.instances if each.status == "critical" and each.maintenance is None]
    if not critical:
        return ""
    first, more = critical[0], f", and {len(critical) - 1} more are" if len(critical) > 1 else ""
    return f". {first.service_id} on {first.node} is critical{more}{first.output and f': {first.output}'}"


def _describe_foreign(instances: list[model.Instance]) -> str:
    """Describe instances that lictor did not start, and that serve under a service's name."""
    told = "; ".join(sorted(map(name_with_image, model.speaking(instances))))
    return f"foreign: {told}. lictor did not start it, and leaves it alone. It may get traffic"


def _describe_withheld(instances: list[model.Instance]) -> str:
    """Say which instances people took out of traffic; usually ""."""
    paused = [each for each in instances if each.maintenance == model.PAUSED]
    by_hand = [each for each in instances if each.maintenance not in (None, model.PAUSED, model.JOINING)
               and not drain_mark(each)]
    for state, some, end in (("paused", paused, "`docker unpause`"),
                             ("maintenance", by_hand, "`consul maint -disable -service=ID`")):
        if some:
            return f"{state}: {named(some)}. No traffic until {end}"
    return ""
