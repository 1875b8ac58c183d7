"""Writing what people want into KV: specs, counts, holds, tombstones. Nothing is written that would be refused."""

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from lictor import errors, model
from lictor.adapters import retry
from lictor.adapters.consul import transactions
from lictor.adapters.consul.client import Client, Entry
from lictor.planner import budget, desired, service_state
from lictor.reconcile.state_store import StateStore
from lictor.spec import service_spec, spec_file
from lictor.spec.keys import group_by_service

_PATIENCE_S = 5.0


class Existing(NamedTuple):
    """A service that is wanted: its keys by their whole names, what they come to, and what is remembered of it."""

    keys: dict[str, Entry]
    wanted: desired.Desired
    stored: service_state.State
    stored_index: int  # for compare-and-set


def read(paths: list[str], *, name: str | None = None, host: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """Read and validate all files before anything is written; the tables are as the user wrote them.

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
        spec_file.check(table, path)
        tables.append((path, table))
    return tables


def _renamed(table: dict[str, Any], name: str | None, host: str | None, path: str) -> dict[str, Any]:
    changes: dict[str, Any] = {} if name is None else {"name": name}
    if host is not None:
        route = table.get("route")
        if not isinstance(route, dict):
            raise errors.Refused(f"{path}: route is missing; a host ({host[:100]!r}) needs one, as route: {{path: /}}")
        changes["route"] = {**route, "host": host}
    return {**table, **changes}


def apply(client: Client, prefix: str, tables: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """Write validated specs, each with what goes with it in one transaction; yields what was done, in words.

    All are compared with each other and with what is there before the first is written.
    """
    entries = client.tree(prefix)
    values = {key: entry.value for key, entry in entries.items()}
    changes: list[tuple[service_spec.Spec, service_spec.Spec | None, dict[str, Any]]] = []
    for path, table in tables:
        spec = service_spec.parse_spec(table, path)
        own = f"{prefix}{spec.name}/"
        old = _parsed(entries[f"{own}spec"].value) if f"{own}spec" in entries else None
        if spec.engine in service_spec.ON_ONE_NODE and not spec.node:
            node = old.node if old and old.node else client.agent().name
            table, spec = {**table, "node": node}, msgspec.structs.replace(spec, node=node)
        if any(spec.name == other.name for other, *_ in changes):
            raise errors.Refused(f"{path}: name is {spec.name!r}, as in another of these files")
        _refuse_moves(spec, old, path)
        _refuse_conflicts(spec, values, prefix, path)
        values[f"{own}spec"] = json.dumps(table).encode()
        changes.append((spec, old, table))
    alive = client.alive_nodes()
    for spec, old, table in changes:
        client.commit(_operations(spec, old, table, entries, f"{prefix}{spec.name}/"))
        in_force = values.get(f"{prefix}{spec.name}/image", b"").decode("utf-8", "backslashreplace")
        wins = in_force and in_force != spec.image and old and old.image == spec.image
        is_lost = alive and spec.node not in ("", *alive)  # who may see no node sees none
        nobody = f"; but Consul sees no node {spec.node}, and no other acts for it" if is_lost else ""
        yield (f"{spec.name}: applied{f' on {spec.node}' if spec.node else ''}; {'updated' if old else 'new'}{nobody}"
               + (f"; the key {prefix}{spec.name}/image wins: {in_force}" if wins else ""))


def _operations(
    spec: service_spec.Spec, old: service_spec.Spec | None, table: dict[str, Any], entries: dict[str, Entry], own: str
) -> list[transactions.Operation]:
    index = entries[f"{own}spec"].modify_index if f"{own}spec" in entries else 0
    operations = [transactions.cas(f"{own}spec", json.dumps(table), index)]
    if spec.image and (f"{own}image" not in entries or old and old.image != spec.image):
        operations.append(transactions.set_key(f"{own}image", spec.image))
    if f"{own}removed" in entries:
        operations.append(transactions.delete_key(f"{own}removed"))
    return operations


def scale(client: Client, prefix: str, name: str, count: str) -> int:
    """Set the desired count: N, or +N and -N from what is desired now, by compare-and-set; returns the new count."""
    keys, wanted, *_ = existing(client, prefix, name)
    assert wanted.spec is not None
    if wanted.spec.engine == "none":
        raise errors.Refused(f"{name}: its engine is none, so lictor only routes it and has nothing to scale")
    relative = count[:1] in ("+", "-")
    try:
        text = str(wanted.replicas + int(count)) if relative and count[1:].isascii() and count[1:].isdigit() else count
        target = service_spec.parse_replicas(text, wanted.spec.replicas)
    except ValueError as error:
        raise errors.Refused(f"{prefix}{name}/replicas: {error}") from error
    entry = keys.get(f"{prefix}{name}/replicas")
    client.put(f"{prefix}{name}/replicas", str(target), cas=(entry.modify_index if entry else 0) if relative else None)
    return target


def remove(client: Client, prefix: str, name: str) -> None:
    """Write the tombstone: the node that runs the service drains and removes its containers, each nginx its route."""
    _known(client, prefix, name)
    client.put(f"{prefix}{name}/removed", "")


def hold(client: Client, prefix: str, name: str, why: str) -> None:
    _known(client, prefix, name)
    try:
        client.put(f"{prefix}{name}/hold", why.encode())
    except UnicodeEncodeError as error:
        raise errors.Refused(f"WHY is {why!r}; it must be UTF-8") from error


def resume(client: Client, prefix: str, name: str) -> list[str]:
    """End a hold, close the breaker, forget what made starts back off, and give back what the service has used of the
    budget; returns what was ended, in words."""
    keys = _known(client, prefix, name).keys
    held = f"{prefix}{name}/hold" in keys
    if held:
        client.delete(f"{prefix}{name}/hold")
    closed = retry.unavailable(lambda: _start_afresh(client, name), timeout_s=_PATIENCE_S)  # a sweep may write it too
    return [*(["no longer held"] if held else []), *closed]


def _start_afresh(client: Client, name: str) -> list[str]:
    states = StateStore(client)
    remembered, index = states.read(name)
    if not remembered.breaker and not remembered.deaths:
        return []
    _give_back(client, name)
    afresh = msgspec.structs.replace(remembered, breaker=None, well_since=0.0, deaths={})
    states.write(name, afresh, index)
    return [*(["the breaker is closed"] if remembered.breaker else []),
            *(["starts back off no more"] if remembered.deaths else [])]


def _give_back(client: Client, name: str) -> None:
    entry = client.get(budget.KEY)
    if entry:
        left = [each for each in budget.decode(entry.value) if each.service != name]
        client.put(budget.KEY, budget.encode(left, time.time()), cas=entry.modify_index)


def existing(client: Client, prefix: str, name: str) -> Existing:
    """Read a service; Refused when there is none, or none that can be understood."""
    known = _known(client, prefix, name)
    if known.wanted.spec is None:
        raise errors.Refused("; ".join(known.wanted.problems) or f"{prefix}{name}/spec is missing")
    return known


def _known(client: Client, prefix: str, name: str) -> Existing:
    """Also one whose spec is refused, and of which no good one is remembered: it can be held, and removed."""
    if not model.is_name(name):
        raise errors.Refused(f"{name[:100]!r} is no service's name")
    own = f"{prefix}{name}/"
    keys = client.tree(own)
    stored, index = StateStore(client).read(name)
    wanted = desired.desired(name, {key.removeprefix(own): entry.value for key, entry in keys.items()}, stored, prefix)
    if wanted.removed or wanted.spec is None and f"{own}spec" not in keys:
        raise errors.Refused(f"there is no service {name!r}; `lictor status` lists them, `lictor apply FILE` makes one")
    return Existing(keys, wanted, stored, index)


def _refuse_moves(spec: service_spec.Spec, old: service_spec.Spec | None, path: str) -> None:
    """What names a service's containers, or says who runs them, can't change while they run: nobody would end them."""
    if old and old.engine != "none":
        for key, before, after in (("engine", old.engine, spec.engine), ("node", old.node, spec.node),
                                   ("release.strategy", old.release.strategy, spec.release.strategy)):
            if before != after:
                raise errors.Refused(f"{path}: {key} was {before!r} and is {after!r}; remove the service, wait until "
                                     "its containers are gone, then apply it again")


def _refuse_conflicts(spec: service_spec.Spec, values: dict[str, bytes], prefix: str, path: str) -> None:
    names = set(desired.catalog_names(spec))
    for other_name, keys in group_by_service(values, prefix)[0].items():
        other = _parsed(keys.get("spec", b""))
        if other is None or other_name == spec.name or "removed" in keys:
            continue
        if spec.route and other.route and (spec.route.host, spec.route.path) == (other.route.host, other.route.path):
            raise errors.Refused(f"{path}: route is {spec.route.host}{spec.route.path}, which is that of {other_name}; "
                                 "two services cannot have the same")
        if names & set(desired.catalog_names(other)):
            raise errors.Refused(f"{path}: name is {spec.name!r}, which Consul cannot tell from {other_name!r} "
                                 "with its colour behind")


def _parsed(text: bytes) -> service_spec.Spec | None:
    try:
        return service_spec.parse_spec(json.loads(text), "")
    except (ValueError, RecursionError, errors.Refused):
        return None
