"""Requesting a release, or the return to an earlier one, and following it from any machine by what Consul shows."""

import json
import time
from collections.abc import Container, Iterator
from typing import Any

import msgspec

from lictor import errors
from lictor.adapters import retry
from lictor.adapters.consul import transactions
from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.adapters.text import one_line
from lictor.cli import release_progress, service_keys
from lictor.cli.release_progress import Outcome, Progress, Request, Snapshot
from lictor.cli.service_keys import Existing
from lictor.planner import service_state
from lictor.planner.desired import MADE_FROM, Desired, desired, fingerprint, route
from lictor.reconcile import conditions, history, observe
from lictor.reconcile.cluster import seeds
from lictor.reconcile.conditions import CheckWords
from lictor.reconcile.state_store import StateStore
from lictor.routing import announce, peers
from lictor.spec import service_spec

_PATIENCE_S = 5.0
_LOOK_EVERY_S = 0.5
_SETTLES_S = 20.0  # once it has ended: for nginx to follow, or for the failed instances to be removed
_UNREACHABLE_S = 60.0
_SPARE_S = 60.0  # beyond what the release itself may take: for the pull of an image


def deploy(client: Client, prefix: str, name: str, image: str) -> Request:
    """Request an image. An image that failed before is tried again."""
    def attempt() -> Request:
        service = _releasable(client, prefix, name)
        assert service.desired.spec is not None
        try:
            service_spec.parse_image(image, service.desired.spec.engine)
        except ValueError as error:
            raise errors.Refused(f"{prefix}{name}/image: {error}") from error
        return _request(client, prefix, service, image)

    return retry.unavailable(attempt, timeout_s=_PATIENCE_S)


def rollback(client: Client, prefix: str, name: str) -> Request:
    """Request what is live, if something else is desired; else what was live before.

    Only what makes a release goes back: the image, and the keys desired.MADE_FROM of the spec. Counts, limits, route
    and timing stay. So does the image in the spec, which the image key wins over: `lictor apply` of the same file
    changes nothing later. A conflict is not tried again: two rollbacks would end where they began.
    """
    service = _releasable(client, prefix, name)
    target, key = _rollback_target(service), f"{prefix}{name}/spec"
    table = _table(service.keys.get(key), key)
    made_from, image = [each for each in MADE_FROM if each != "image"], str(target.get("image", ""))
    back = {**{each: value for each, value in table.items() if each not in made_from and (image or each != "image")},
            **{each: target[each] for each in made_from if each in target}}
    spec = service_spec.parse_spec({**back, "image": image}, f"what {name} would go back to")
    if fingerprint(spec) != fingerprint(service_spec.parse_spec(target, "")):
        raise errors.Refused(f"{name}: the spec would not make the earlier release again; use `lictor apply FILE` with "
                             "the earlier file")
    return _request(client, prefix, service, image, json.dumps(back).encode())


def follow(client: Client, prefix: str, request: Request, *, timeout_s: float) -> Iterator[Progress]:
    """Look at a release twice a second, until it has ended or for `timeout_s`; the last look has the outcome.

    A known outcome is kept back for a while if something is still pending: nginx follows, failed containers go.
    """
    began_s = answered_s = time.monotonic()
    ended_s: float | None = None
    while True:
        try:
            progress = _look(client, prefix, request)
            answered_s = time.monotonic()
        except errors.Unavailable as error:
            progress = Progress(f"waiting for Consul: {error}")
            if time.monotonic() - answered_s > _UNREACHABLE_S:
                progress = progress._replace(outcome=Outcome("unreachable", str(error)))
        elapsed_s = time.monotonic() - began_s
        if progress.outcome and progress.outcome.pending:
            ended_s = elapsed_s if ended_s is None else ended_s
            if elapsed_s < min(timeout_s, ended_s + _SETTLES_S):
                progress = progress._replace(stage=progress.outcome.pending, outcome=None)
        if progress.outcome is None and elapsed_s >= timeout_s:
            progress = progress._replace(outcome=Outcome("timeout", release_progress.describe_late(progress)))
        yield progress._replace(elapsed_s=elapsed_s)
        if progress.outcome:
            return
        time.sleep(_LOOK_EVERY_S)


def _releasable(client: Client, prefix: str, name: str) -> Existing:
    service = service_keys.existing(client, prefix, name)
    if service.desired.spec and service.desired.spec.engine == "none":
        raise errors.Refused(f"{name}: its engine is none, so lictor only routes it and has nothing to release")
    service_keys.require_actor(client, service)
    return service


def _rollback_target(service: Existing) -> dict[str, Any]:
    """Choose the table to go back to; raises Refused if there is none, or no way back to it."""
    release, desired = service.state.release, service.desired
    is_live = desired.release == release.live_release and (
        release.rollout is None or release.rollout.release == desired.release)
    table = release.previous if is_live else release.live if release.live_release else None
    if table is None:
        raise errors.Refused(f"{desired.name}: there is no earlier release on record")
    earlier, spec = service_spec.parse_spec(table, f"{service_state.KEY_PREFIX}{desired.name}"), desired.spec
    assert spec is not None
    for key, before, after in service_keys.find_moves(earlier, msgspec.structs.replace(spec, node=earlier.node)):
        raise errors.Refused(f"{desired.name}: {key} was {before!r} in the earlier release and is {after!r}; there is "
                             "no way back over that")
    return table


def _table(entry: Entry | None, key: str) -> dict[str, Any]:
    """Parse a spec as it stands in its key."""
    if entry is None:
        raise errors.Refused(f"{key}: is missing; use `lictor apply FILE`")
    try:
        table: dict[str, Any] = json.loads(entry.value)
    except (ValueError, RecursionError) as error:
        raise errors.Refused(f"{key}: is no JSON ({error}); use `lictor apply FILE`") from error
    service_spec.parse_spec(table, key)
    return table


def _request(client: Client, prefix: str, service: Existing, image: str, spec: bytes | None = None) -> Request:
    """Write what is requested in one transaction. An image of "" is the spec's, which may have none; a `spec` of None
    leaves its key alone."""
    name, state, own = service.desired.name, service.state, f"{prefix}{service.desired.name}/"
    values = {key.removeprefix(own): entry.value for key, entry in service.keys.items() if key != f"{own}image"}
    values |= {"image": image.encode()} if image else {}
    operations = [transactions.set_key(f"{own}image", image) if image else transactions.delete_key(f"{own}image")]
    if spec is not None:
        values["spec"] = spec
        operations.append(transactions.cas(f"{own}spec", spec, service.keys[f"{own}spec"].modify_index))
    requested = desired(name, values, state, prefix)
    failed, rollout = state.release.failed, state.release.rollout
    if failed and failed.release == requested.release:
        afresh = msgspec.structs.replace(state, release=msgspec.structs.replace(state.release, failed=None))
        operations.append(StateStore(client).writing(name, afresh, service.state_index))
    newest_id = history.newest_id(client, name)
    client.commit(operations)
    if rollout and rollout.release == requested.release:
        newest_id = min(newest_id, int(rollout.began_at * 1_000_000))
    return Request(name, image, requested.release, requested.why_held, newest_id, _timeout_s(requested))


def _timeout_s(service: Desired) -> float:
    """Allow twice the deadline. A rolling release may take more: one instance after the other starts and drains. A
    canary takes its own time, and a deadline for requests."""
    assert service.spec is not None
    spec, is_rolling = service.spec, service.spec.release.strategy == "rolling"
    one_by_one_s = service.replicas * (spec.deadline_s + spec.drain) if is_rolling else 0.0
    canary_s = spec.release.watched_for + spec.release.deadline if spec.release.canary else 0.0
    return max(2 * spec.deadline_s, one_by_one_s) + canary_s + _SPARE_S


def _look(client: Client, prefix: str, request: Request) -> Progress:
    service = service_keys.read_service(client, prefix, request.name)
    instances = CheckWords(client).put_into(observe.instances(
        entry for name in service.desired.catalog_names for entry in client.health(name)))
    snapshot = Snapshot(service.desired, service.state, instances, seeds.read_wait(client, service.desired.spec))
    outcome = release_progress.decide_outcome(request, snapshot)
    if outcome and outcome.kind == "done":
        outcome = _done(client, request, snapshot)
    elif outcome and outcome.kind == "failed":
        words, running = release_progress.find_last_words(history.read(client, request.name), request.after_id,
                                                          release_progress.find_new_catalog_name(request, snapshot))
        pending = f"failed: {outcome.why}. {', '.join(running)} is being removed" if running else ""
        outcome = outcome._replace(last_words=words, pending=pending)
    return Progress(one_line(release_progress.describe_stage(request, snapshot)),
                    release_progress.find_new_instances(request, snapshot), outcome=outcome)


def _done(client: Client, request: Request, snapshot: Snapshot) -> Outcome:
    alive = client.alive_nodes()
    behind, told = _nodes_behind(client, snapshot, alive), conditions.read(client, alive)
    slow = [node for node, is_alive in behind.items() if is_alive]
    names = tuple(node if is_alive else f"{node} (it does not answer)" for node, is_alive in behind.items())
    pending = f"{request.image} is live; waiting for nginx on {', '.join(slow)}" if slow else ""
    foreign = release_progress.find_foreign(request, snapshot, conditions.list_foreign(told))
    unserved = tuple(conditions.describe(told, request.name, frozenset()))
    return Outcome("done", foreign=foreign, behind=names, unserved=unserved, pending=pending)


def _nodes_behind(client: Client, snapshot: Snapshot, alive: Container[str]) -> dict[str, bool]:
    """Find the routing nodes whose nginx does not list every instance that it should; True: Consul sees the node."""
    service, behind = snapshot.desired, {}
    prefix = f"{announce.PREFIX}{service.name}/"
    for key, entry in client.tree(prefix).items():
        node = key.removeprefix(prefix)
        node_route = route(service, node)
        if node_route:
            due = peers.decide(node_route, None, snapshot.instances, now_s=time.time(), certain=True).instances
            if set(due) - set(announce.pairs(entry.value) or ()):
                behind[node] = node in alive
    return behind
