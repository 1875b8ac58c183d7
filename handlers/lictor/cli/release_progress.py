"""The progress and the outcome of a release, from what Consul shows of it: the same for every engine. Pure.

A release is under way until it is live, has failed, or is superseded by something newer.
"""

from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

from lictor import model
from lictor.adapters.text import one_line
from lictor.planner import backoff
from lictor.planner.canary import words
from lictor.planner.desired import Desired
from lictor.planner.service_state import State
from lictor.planner.summary.facts import name_with_image
from lictor.planner.summary.service import find_failure, find_obstacle
from lictor.reconcile.status.instances import Condition, describe
from lictor.spec.service_spec import ON_ONE_NODE, Release

_ENDS = ("stop", "remove")  # the kinds of record that hold a container's last words


class Request(NamedTuple):
    """A release that was requested."""

    name: str
    image: str
    release: str  # its fingerprint
    held: str  # why nothing comes of it for now; "": it is not held
    after_id: int  # of the history: other records are of an earlier release
    timeout_s: float  # the longest that it should take


class Snapshot(NamedTuple):
    """A service as Consul shows it at one moment; `instances` are those of all its colours."""

    desired: Desired
    state: State
    instances: list[model.Instance]
    awaited: str = ""  # why no instance can start: a set that its environment names is not there


class Outcome(NamedTuple):
    """The end of a release. `pending` is what is worth a little patience although the outcome is known."""

    kind: str  # done, failed, superseded, timeout, unreachable, interrupted
    why: str = ""
    foreign: tuple[str, ...] = ()  # done: what serves beside it, and is not of this image
    behind: tuple[str, ...] = ()  # done: the routing nodes whose nginx does not list all new instances
    unserved: tuple[str, ...] = ()  # done: where nginx does not serve it as it should
    last_words: Mapping[str, str] = {}  # failed: by container
    pending: str = ""


class Progress(NamedTuple):
    """The result of one look at a release; the last one has an outcome."""

    stage: str
    new_instances: tuple[Condition, ...] = ()
    elapsed_s: float = 0.0
    outcome: Outcome | None = None


def decide_outcome(request: Request, snapshot: Snapshot) -> Outcome | None:
    """Decide how the release ended; None while it is under way."""
    desired, release = snapshot.desired, snapshot.state.release
    if desired.removed:
        return Outcome("superseded", "the service is being removed")
    if desired.spec and desired.release != request.release:
        is_other_image = desired.spec.image != request.image
        return Outcome("superseded", f"{desired.spec.image} is desired now" if is_other_image else
                       f"the spec makes another release of {request.image} now")
    if release.rollout:
        return None
    if release.live_release == request.release:
        return None if is_unproven(desired, snapshot.state) else Outcome("done")
    failure = find_failure(snapshot.state, request.release)
    return Outcome("failed", one_line(failure)) if failure else None


def describe_stage(request: Request, snapshot: Snapshot) -> str:
    """Say what the release waits for; nothing in the text changes by time alone."""
    desired, state, spec = snapshot.desired, snapshot.state, snapshot.desired.spec
    if desired.why_held or spec is None:
        return f"on hold: {desired.why_held or 'there is no spec'}"
    rollout = state.release.rollout
    if rollout is None:
        if state.release.live_release == request.release:
            return _describe_first(desired, state, request, snapshot)
        return find_obstacle(state) or backoff.trouble(state) or f"waiting: {spec.node or 'a node'} has to begin"
    if rollout.release != request.release:
        return "waiting: another release has to end first"
    if snapshot.awaited and rollout.most < desired.replicas:
        return f"waiting: {snapshot.awaited}"
    if rollout.trial:
        return words.describe(rollout.trial, desired.other_color, desired.color)
    if rollout.passing_since:
        return _describe_gate(spec.release)
    passing = sum(each.passes for each in find_new_instances(request, snapshot))
    return ". ".join(filter(None, [f"{passing} of {desired.replicas} new instances pass", backoff.trouble(state)]))


def _describe_gate(release: Release) -> str:
    return f"all new instances pass, and have to for {release.healthy_for:g} s" + (
        f". Then {release.smoke} has to answer" if release.smoke else "")


def is_unproven(desired: Desired, state: State) -> bool:
    """Decide whether no instance of a first release has passed yet, though one should: it is in force, and not live."""
    return bool(desired.spec and desired.spec.port is not None and desired.replicas
                and not state.release.live_is_proven)


def _describe_first(desired: Desired, state: State, request: Request, snapshot: Snapshot) -> str:
    """Say how the release is that is in force, be it a first one, of which nothing serves yet."""
    if not is_unproven(desired, state):
        return f"{request.image} is live"
    passing = sum(each.passes for each in find_new_instances(request, snapshot))
    waits = f"waiting: {snapshot.awaited}" if snapshot.awaited else ""
    return waits or find_obstacle(state) or ". ".join(filter(None, [
        f"{passing} of {desired.replicas} instances of the first release pass", backoff.trouble(state)]))


def describe_late(progress: Progress) -> str:
    """Say what a release waits for, and what keeps its new instances from passing."""
    return "; ".join([progress.stage, *(f"{each.service_id} on {each.node} is {each.described}"
                                        for each in progress.new_instances if not each.passes)])


def find_new_instances(request: Request, snapshot: Snapshot) -> tuple[Condition, ...]:
    """List the instances of the release. Without colours, only their image tells them from the old ones."""
    name = find_new_catalog_name(request, snapshot)
    instances = [each for each in snapshot.instances if each.service == name and each.image == request.image]
    return tuple(sorted(map(describe, model.speaking(instances))))


def find_foreign(request: Request, snapshot: Snapshot, known: Container[tuple[str, str, str]]) -> tuple[str, ...]:
    """Name what gets traffic beside a release that is live and is not of its image, or is `known` to be foreign, if
    lictor itself starts each instance: schedulers have their own names of images."""
    spec, name = snapshot.desired.spec, snapshot.desired.catalog_name
    if not spec or spec.engine not in ON_ONE_NODE:
        return ()
    return tuple(sorted(
        one_line(name_with_image(each)) for each in model.speaking(snapshot.instances) if each.service == name
        and (each.image != request.image or each.identity in known)
        and each.maintenance is None and each.node_alive and each.status != "critical"))


def find_new_catalog_name(request: Request, snapshot: Snapshot) -> str:
    """Name the catalogue's name of the new instances: until the release is live, that of the colour that is not."""
    live_name = snapshot.desired.catalog_name
    others = [name for name in snapshot.desired.catalog_names if name != live_name]
    return others[0] if others and snapshot.state.release.live_release != request.release else live_name


def find_last_words(records: Iterable[Mapping[str, Any]], after_id: int, name: str) -> tuple[dict[str, str], list[str]]:
    """Find the last words of a failed release's containers, by container; and the containers that have not ended yet.

    `name` is that of `find_new_catalog_name`. Records of an engine that only counts have no container.
    """
    words: dict[str, str] = {}
    running: set[str] = set()
    for record in records:
        container, is_of_release = str(record.get("container", "")), record["id"] > after_id
        if not is_of_release or container and not container.startswith(f"{name}-"):
            continue
        kind, result = record.get("kind"), record["outcome"]
        if kind == "start" and result != "failed":
            running.add(container)
        elif result == "failed" or kind in _ENDS and result == "done":
            running.discard(container)
            output = str(record.get("detail", "")).strip()
            words |= {container or str(kind): output} if output else {}
    return words, sorted(running)
