"""Asking for a release, or for the one before; and following it from any machine, by what Consul shows of it alone."""

import json
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from lictor import errors
from lictor.adapters import retry
from lictor.adapters.consul import transactions
from lictor.adapters.consul.client import Client, Entry
from lictor.cli import release_progress, service_keys
from lictor.cli.release_progress import Asked, Glance, Outcome, Progress
from lictor.planner import desired, service_state
from lictor.reconcile import history, observe, state_store
from lictor.routing import announce, peers
from lictor.spec import service_spec

_PATIENCE_S = 5.0
_EVERY_S = 0.5
_SETTLES_S = 20.0  # once it has ended: for nginx to follow, or for the failed instances to be removed
_UNREACHABLE_S = 60.0
_SPARE_S = 60.0  # beyond what the release itself may take: for the pull of an image


def deploy(client: Client, prefix: str, name: str, image: str) -> Asked:
    """Ask for an image. If it has failed before it is tried again."""
    def ask() -> Asked:
        there = _releasable(client, prefix, name)
        assert there.wanted.spec is not None
        try:
            service_spec.parse_image(image, there.wanted.spec.engine)
        except ValueError as error:
            raise errors.Refused(f"{prefix}{name}/image: {error}") from error
        return _ask(client, prefix, there, image)

    return retry.unavailable(ask, timeout_s=_PATIENCE_S)


def rollback(client: Client, prefix: str, name: str) -> Asked:
    """Ask for what is live when something else is asked for, or else for what was live before.

    Only what makes a release goes back: the image, and of the spec desired.MADE_FROM. Counts, limits, route and
    timing stay as they are, and so does the image in the spec, which the image key wins over: so `lictor apply` of the
    same file changes nothing later. Not tried again by itself: done twice it would go back and forth.
    """
    there = _releasable(client, prefix, name)
    target, where = _target(there), f"{prefix}{name}/spec"
    table = _table(there.keys.get(where), where)
    made_from, image = [key for key in desired.MADE_FROM if key != "image"], str(target.get("image", ""))
    back = {**{key: value for key, value in table.items() if key not in made_from and (image or key != "image")},
            **{key: target[key] for key in made_from if key in target}}
    spec = service_spec.parse_spec({**back, "image": image}, f"what {name} would go back to")
    if desired.fingerprint(spec) != desired.fingerprint(service_spec.parse_spec(target, "")):
        raise errors.Refused(f"{name}: the spec would not make the earlier release again; use `lictor apply FILE` with "
                             "the earlier file")
    return _ask(client, prefix, there, image, json.dumps(back).encode())


def follow(client: Client, prefix: str, asked: Asked, *, timeout_s: float) -> Iterator[Progress]:
    """Look at it twice a second until it has ended, or for `timeout_s`."""
    began_s = answered_s = time.monotonic()
    ended_s: float | None = None
    while True:
        try:
            now = _look(client, prefix, asked)
            answered_s = time.monotonic()
        except errors.Unavailable as error:
            given_up = time.monotonic() - answered_s > _UNREACHABLE_S
            now = Progress(f"waits for Consul: {error}",
                           outcome=Outcome("unreachable", str(error)) if given_up else None)
        elapsed_s = time.monotonic() - began_s
        if now.outcome and now.outcome.pending:
            ended_s = elapsed_s if ended_s is None else ended_s
            if elapsed_s < min(timeout_s, ended_s + _SETTLES_S):
                now = now._replace(stage=now.outcome.pending, outcome=None)
        if now.outcome is None and elapsed_s >= timeout_s:
            now = now._replace(outcome=Outcome("timeout", now.stage))
        yield now._replace(elapsed_s=elapsed_s)
        if now.outcome:
            return
        time.sleep(_EVERY_S)


def _releasable(client: Client, prefix: str, name: str) -> service_keys.Existing:
    there = service_keys.existing(client, prefix, name)
    if there.wanted.spec and there.wanted.spec.engine == "none":
        raise errors.Refused(f"{name}: its engine is none, so lictor only routes it and has nothing to release")
    return there


def _target(there: service_keys.Existing) -> dict[str, Any]:
    """The table to go back to."""
    stored, wanted = there.stored, there.wanted
    is_live = wanted.release == stored.live_release and (
        stored.rollout is None or stored.rollout.release == wanted.release)
    table = stored.previous if is_live else stored.live if stored.live_release else None
    if table is None:
        raise errors.Refused(f"{wanted.name}: there is no earlier release on record")
    spec, now = service_spec.parse_spec(table, f"{service_state.KEY_PREFIX}{wanted.name}"), wanted.spec
    assert now is not None
    for key, then, given in (("name", spec.name, now.name), ("engine", spec.engine, now.engine),
                             ("node", spec.node, now.node),
                             ("release.strategy", spec.release.strategy, now.release.strategy)):
        if then != given:
            raise errors.Refused(f"{wanted.name}: {key} was {then!r} in the earlier release and is {given!r}; there is "
                                 "no way back over that")
    return table


def _table(entry: Entry | None, where: str) -> dict[str, Any]:
    """The spec as it stands in its key."""
    if entry is None:
        raise errors.Refused(f"{where}: is missing; use `lictor apply FILE`")
    try:
        table: dict[str, Any] = json.loads(entry.value)
    except (ValueError, RecursionError) as error:
        raise errors.Refused(f"{where}: is no JSON ({error}); use `lictor apply FILE`") from error
    service_spec.parse_spec(table, where)
    return table


def _ask(client: Client, prefix: str, there: service_keys.Existing, image: str, spec: bytes | None = None) -> Asked:
    """Write what is asked for in one transaction; an image of "" is the spec's, which may have none. `spec` is the new
    value of its key; None: it is left alone."""
    name, stored = there.wanted.name, there.stored
    own = f"{prefix}{name}/"
    values = {key.removeprefix(own): entry.value for key, entry in there.keys.items() if key != f"{own}image"}
    values |= {"image": image.encode()} if image else {}
    operations = [transactions.set_key(f"{own}image", image) if image else transactions.delete_key(f"{own}image")]
    if spec is not None:
        values["spec"] = spec
        operations.append(transactions.cas(f"{own}spec", spec, there.keys[f"{own}spec"].modify_index))
    wanted = desired.desired(name, values, stored, prefix)
    if stored.failed and stored.failed.release == wanted.release:
        operations.append(state_store.writing(name, msgspec.structs.replace(stored, failed=None), there.stored_index))
    under_way = stored.rollout if stored.rollout and stored.rollout.release == wanted.release else None
    newest = _newest_record(client, name)
    client.commit(operations)
    since = min(newest, under_way.began_at) if under_way else newest
    return Asked(name, image, wanted.release, wanted.why_held, since, _timeout_s(wanted))


def _newest_record(client: Client, name: str) -> float:
    """The time of the history's newest record; its keys are microseconds since the epoch."""
    ids = [key.rpartition("/")[2] for key in client.keys(f"{history.KEY_PREFIX}{name}/")]
    return max((round(int(each) / 1_000_000, 3) for each in ids if each.isascii() and each.isdigit()), default=0.0)


def _timeout_s(wanted: desired.Desired) -> float:
    """Twice the deadline, or what a rolling release may take: one instance after the other starts and drains."""
    assert wanted.spec is not None
    release = wanted.spec.release
    one_by_one_s = wanted.replicas * (release.deadline + wanted.spec.drain) if release.strategy == "rolling" else 0.0
    return max(2 * release.deadline, one_by_one_s) + _SPARE_S


def _look(client: Client, prefix: str, asked: Asked) -> Progress:
    seen = _glance(client, prefix, asked.name)
    outcome = release_progress.outcome(asked, seen)
    if outcome and outcome.kind == "done":
        behind = _behind(client, seen)
        slow = [node for node, alive in behind.items() if alive]
        outcome = Outcome("done", behind=tuple(node if alive else f"{node} (it does not answer)"
                                               for node, alive in behind.items()),
                          pending=f"{asked.image} is live; waits for nginx on {', '.join(slow)}" if slow else "")
    if outcome and outcome.kind == "failed":
        words, left = release_progress.last_words(history.read(client, asked.name), asked.since,
                                          release_progress.newcomers_name(asked, seen))
        outcome = outcome._replace(
            last_words=words, pending=f"failed: {outcome.why}; {', '.join(left)} is being removed" if left else "")
    return Progress(
        release_progress.printable(release_progress.stage(asked, seen)),
        release_progress.newcomers(asked, seen),
        outcome=outcome,
    )


def _glance(client: Client, prefix: str, name: str) -> Glance:
    own = f"{prefix}{name}/"
    stored = state_store.StateStore(client).read(name).state
    keys = {key.removeprefix(own): entry.value for key, entry in client.tree(own).items()}
    wanted = desired.desired(name, keys, stored, prefix)
    return Glance(wanted, stored, [entry for each in wanted.catalog_names for entry in client.health(each)])


def _behind(client: Client, seen: Glance) -> dict[str, bool]:
    """The routing nodes whose nginx does not list every instance that it should by now; whether Consul calls them
    alive."""
    wanted, behind = seen.wanted, {}
    alive = client.alive_nodes()
    found = observe.instances(seen.entries)
    prefix = f"{announce.PREFIX}{wanted.name}/"
    for key, entry in client.tree(prefix).items():
        node = key.removeprefix(prefix)
        route = desired.route(wanted, node)
        if route:
            due = peers.decide(route, None, found, now_s=time.time(), certain=True).instances
            if set(due) - set(announce.pairs(entry.value) or ()):
                behind[node] = node in alive
    return behind
