"""Writing what people want of a service into KV: specs, counts, holds, tombstones. What would be refused later is
refused here, before anything is written."""

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from lictor import errors, model
from lictor.adapters import retry
from lictor.adapters.consul import transactions
from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.planner import breaker, next_state
from lictor.planner.autoscale.words import describe_hold
from lictor.planner.desired import Desired, catalog_names, describe_kept_count, desired, read_text
from lictor.planner.service_state import State
from lictor.reconcile import observe, responsibility
from lictor.reconcile.context import Context
from lictor.reconcile.state_store import StateStore
from lictor.spec import limits, service_spec, spec_file
from lictor.spec.keys import group_by_service, known_below
from lictor.spec.locations import claims, describe_claim
from lictor.spec.service_spec import Spec

_PATIENCE_S = 5.0

Table = dict[str, Any]  # a spec as it stands in its file or key


class Existing(NamedTuple):
    """A service: its keys by their whole names, what they come to, and the state that lictor keeps."""

    keys: dict[str, Entry]
    desired: Desired
    state: State
    state_index: int  # for compare-and-set


class _Change(NamedTuple):
    spec: Spec
    old: Spec | None  # the one that is there
    table: Table


def read(paths: list[str], *, name: str | None = None, host: str | None = None) -> list[tuple[str, Table]]:
    """Read and validate spec files; returns path and table of each, as the user wrote it.

    `name` and `host` stand in for those in the file: the same spec, for another customer.
    """
    tables = []
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                table = spec_file.read(file.read(), path)
        except (OSError, UnicodeDecodeError) as error:
            raise errors.Refused(f"{path}: {error}") from error
        table = _renamed(table, name, host, path)
        tables.append((path, spec_file.convert(table, path)))
    return tables


def _renamed(table: Table, name: str | None, host: str | None, path: str) -> Table:
    changes: Table = {} if name is None else {"name": name}
    if host is not None:
        route = table.get("route")
        if not isinstance(route, dict):
            raise errors.Refused(f"{path}: route is missing; a host ({host[:100]!r}) needs one, as route: {{path: /}}")
        changes["route"] = {**route, "host": host}
    return {**table, **changes}


def apply(context: Context, tables: list[tuple[str, Table]]) -> Iterator[str]:
    """Write validated specs, each in one transaction with the keys that go with it; yields a line for people of each.

    All specs are compared with each other, and with those in KV, before the first is written. What the settings of this
    node do not allow is only told: another node may act, or they may change.
    """
    client, prefix = context.client, context.settings.prefix
    entries, nodes = client.tree(prefix, known_below(prefix)), client.nodes()
    values = {key: entry.value for key, entry in entries.items()}
    changes: list[_Change] = []
    for path, table in tables:
        change = _change(client, entries, prefix, service_spec.parse_spec(table, path), table)
        if any(change.spec.name == other.spec.name for other in changes):
            raise errors.Refused(f"{path}: name is {change.spec.name!r}, as in another of these files")
        _refuse_moves(change, path, nodes)
        _refuse_conflicts(change.spec, values, prefix, path)
        text = json.dumps(change.table)
        limits.refuse_long(text, path)
        values[f"{prefix}{change.spec.name}/spec"] = text.encode()
        changes.append(change)
    for change in changes:
        own = f"{prefix}{change.spec.name}/"
        client.commit(_operations(change, entries, own))
        image = read_text(values.get(f"{own}image", b""))
        is_other = change.old and change.old.image == change.spec.image and image not in ("", change.spec.image)
        wins = f"; the key {own}image wins: {image}" if is_other else ""
        but = "".join(f"; but refused: {text}" for text in responsibility.list_refusals(context, change.spec))
        now = read_service(client, prefix, change.spec.name)
        yield _applied(change) + wins + describe_kept_count(change.old, now.desired) + _outlook(client, now) + but


def _change(client: Client, entries: dict[str, Entry], prefix: str, spec: Spec, table: Table) -> _Change:
    """Complete a spec by the node that runs the service: if it names none, the present one, or else this node."""
    key = f"{prefix}{spec.name}/spec"
    old = _parsed(entries[key].value) if key in entries else None
    if spec.engine in service_spec.ON_ONE_NODE and not spec.node:
        node = old.node if old and old.node else client.agent().name
        return _Change(msgspec.structs.replace(spec, node=node), old, {**table, "node": node})
    return _Change(spec, old, table)


def _applied(change: _Change) -> str:
    node = f" on {change.spec.node}" if change.spec.node else ""
    return f"{change.spec.name}: applied{node}; {'updated' if change.old else 'new'}"


def _outlook(client: Client, service: Existing) -> str:
    """Say, behind what was written, why nothing comes of it for now; usually ""."""
    why_nobody = responsibility.read_nobody(client, service.desired, _instances(client, service))
    return f"; but {why_nobody}" if why_nobody else _wait_ahead(client, service)


def _wait_ahead(client: Client, service: Existing) -> str:
    if service.desired.why_held:
        return f"; but on hold: {service.desired.why_held}"
    no_answer = responsibility.read_no_answer(client, service.desired)
    return f"; but {no_answer}" if no_answer else ""


def require_actor(client: Client, service: Existing) -> None:
    """Refuse what no node would carry out."""
    why_nobody = responsibility.read_nobody(client, service.desired, _instances(client, service))
    if why_nobody:
        raise errors.Refused(f"{service.desired.name}: {why_nobody}")


def _instances(client: Client, service: Existing) -> list[model.Instance]:
    return observe.instances(entry for name in service.desired.catalog_names for entry in client.health(name))


def _operations(change: _Change, entries: dict[str, Entry], own: str) -> list[transactions.Operation]:
    spec, old = change.spec, change.old
    index = entries[f"{own}spec"].modify_index if f"{own}spec" in entries else 0
    operations = [transactions.cas(f"{own}spec", json.dumps(change.table), index)]
    if spec.image and (f"{own}image" not in entries or old and old.image != spec.image):
        operations.append(transactions.set_key(f"{own}image", spec.image))
    if f"{own}removed" in entries:
        operations.append(transactions.delete_key(f"{own}removed"))
    return operations


def scale(client: Client, prefix: str, name: str, count: str) -> str:
    """Set the desired count: N, or by compare-and-set +N and -N from what is desired now. Returns it, in words."""
    service = existing(client, prefix, name)
    key, spec = f"{prefix}{name}/replicas", service.desired.spec
    assert spec is not None
    if spec.engine == "none":
        raise errors.Refused(f"{name}: its engine is none, so lictor only routes it and has nothing to scale")
    is_relative = count[:1] in ("+", "-")
    try:
        if is_relative and count[1:].isascii() and count[1:].isdigit():
            count = str(service.desired.replicas + int(count))
        target = service_spec.parse_replicas(count, spec.replicas)
    except ValueError as error:
        raise errors.Refused(f"{key}: {error}") from error
    entry = service.keys.get(key)
    require_actor(client, service)
    wait_ahead = _wait_ahead(client, service)  # read before: who is told of a failure after +1 would add another one
    client.put(key, str(target), cas=(entry.modify_index if entry else 0) if is_relative else None)
    return f"{target} desired{wait_ahead or describe_hold(spec)}"


def remove(client: Client, prefix: str, name: str) -> str:
    """Write the tombstone: the node that runs the service drains and removes its containers, each nginx its route.

    Returns what comes of it, in words. If containers run where no node ends them, it is refused.
    """
    service = _known(client, prefix, name)
    instances = _instances(client, service)
    why_nobody = responsibility.read_nobody(client, service.desired, instances)
    if why_nobody and instances:
        raise errors.Refused(f"{name}: {why_nobody}")
    but = f"; but {why_nobody}" if why_nobody else _wait_ahead(client, service)
    client.put(f"{prefix}{name}/removed", "")
    return f"is being removed{but}"


def hold(client: Client, prefix: str, name: str, why: str) -> None:
    _known(client, prefix, name)
    try:
        client.put(f"{prefix}{name}/hold", why.encode())
    except UnicodeEncodeError as error:
        raise errors.Refused(f"WHY is {why!r}; it must be UTF-8") from error


def resume(client: Client, prefix: str, name: str) -> list[str]:
    """End a hold, close the breaker and end the back-off; returns what was ended, in words.

    What the service has used of the budget is given back.
    """
    is_held = f"{prefix}{name}/hold" in _known(client, prefix, name).keys
    if is_held:
        client.delete(f"{prefix}{name}/hold")
    ended = retry.unavailable(lambda: _start_afresh(client, name), timeout_s=_PATIENCE_S)  # a sweep may write it too
    return [*(["no longer held"] if is_held else []), *ended]


def _start_afresh(client: Client, name: str) -> list[str]:
    states = StateStore(client)
    state, index = states.read(name)
    backs_off = bool(state.healing.failures or state.release.order_failures)
    if not state.breaker and not backs_off:
        return []
    _give_back(client, name)
    states.write(name, next_state.afresh(state), index)
    return [*(["the breaker is closed"] if state.breaker else []),
            *(["starts back off no more"] if backs_off else [])]


def _give_back(client: Client, name: str) -> None:
    entry = client.get(breaker.KEY)
    if entry:
        left = [reservation for reservation in breaker.decode(entry.value) if reservation.service != name]
        client.put(breaker.KEY, breaker.encode(left, time.time()), cas=entry.modify_index)


def existing(client: Client, prefix: str, name: str) -> Existing:
    """Read a service; raises Refused if there is none, or none with a sound spec."""
    service = _known(client, prefix, name)
    if service.desired.spec is None:
        raise errors.Refused("; ".join(service.desired.problems) or f"{prefix}{name}/spec is missing")
    return service


def _known(client: Client, prefix: str, name: str) -> Existing:
    """Read a service; raises Refused if there is none. Even without a sound spec it can be held, and removed."""
    if not model.is_name(name):
        raise errors.Refused(f"{name[:100]!r} is no service's name; {model.NAME_RULE}")
    service = read_service(client, prefix, name)
    if service.desired.removed or service.desired.spec is None and f"{prefix}{name}/spec" not in service.keys:
        raise errors.Refused(f"there is no service {name!r}; `lictor status` lists them, `lictor apply FILE` makes one")
    return service


def read_service(client: Client, prefix: str, name: str) -> Existing:
    """Read a service as it stands, whatever is wrong with it."""
    keys, (state, index) = client.tree(f"{prefix}{name}/", known_below(prefix)), StateStore(client).read(name)
    values = {key.removeprefix(f"{prefix}{name}/"): entry.value for key, entry in keys.items()}
    return Existing(keys, desired(name, values, state, prefix), state, index)


def find_moves(old: Spec, new: Spec) -> Iterator[tuple[str, str, str]]:
    """Find differences in what names a service's containers, or says which node runs them: key, old and new value.

    Such a change under running containers would leave no node to end them.
    """
    for key, before, after in (("name", old.name, new.name), ("engine", old.engine, new.engine),
                               ("node", old.node, new.node),
                               ("release.strategy", old.release.strategy, new.release.strategy)):
        if before != after:
            yield key, before, after


def _refuse_moves(change: _Change, path: str, nodes: frozenset[str]) -> None:
    """Refuse a move, unless it is that of a service whose node Consul does not know: its name may have changed."""
    if change.old and change.old.engine != "none":
        for key, before, after in find_moves(change.old, change.spec):
            if key != "node" or not nodes or before in nodes:
                lost = (f". If {before} is lost for good, `consul force-leave -prune {before}` first, and apply this "
                        "again" if key == "node" else "")
                raise errors.Refused(f"{path}: {key} was {before!r} and is {after!r}; remove the service, wait until "
                                     f"its containers are gone, then apply it again{lost}")


def _refuse_conflicts(spec: Spec, values: dict[str, bytes], prefix: str, path: str) -> None:
    names = set(catalog_names(spec))
    for other_name, keys in group_by_service(values, prefix)[0].items():
        other = _parsed(keys.get("spec", b""))
        if other is None or other_name == spec.name or "removed" in keys:
            continue
        if spec.route and other.route:
            taken = dict(claims(other_name, msgspec.structs.asdict(other.route)))
            for (host, location), owner in claims(spec.name, msgspec.structs.asdict(spec.route)):
                if taken.get((host, location), owner) != owner:
                    raise errors.Refused(f"{path}: {describe_claim(host, location, taken[host, location])}")
        if names & set(catalog_names(other)):
            raise errors.Refused(f"{path}: name is {spec.name!r}, which Consul cannot tell from {other_name!r} "
                                 "with its colour behind")


def _parsed(text: bytes) -> Spec | None:
    try:
        return service_spec.parse_spec(json.loads(text), "")
    except (ValueError, RecursionError, errors.Refused):
        return None
