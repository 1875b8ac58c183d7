"""Writing specs into KV. What would be refused later is refused here, before anything is written."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from lictor import errors
from lictor.adapters import retry
from lictor.adapters.consul import transactions
from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.cli import service_keys
from lictor.planner.desired import catalog_names, describe_kept_count, read_text, specs_of
from lictor.reconcile import responsibility
from lictor.reconcile.context import Context
from lictor.spec import limits, service_spec, spec_file
from lictor.spec.keys import group_by_service, known_below
from lictor.spec.locations import claims, describe_claim
from lictor.spec.placeholders import find_sets
from lictor.spec.service_spec import Spec

_PATIENCE_S = 5.0

Table = dict[str, Any]  # a spec as it stands in its file or key


class _Change(NamedTuple):
    path: str
    spec: Spec
    text: str  # of its key


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
        spec = service_spec.parse_spec(table, path)
        if any(spec.name == other.spec.name for other in changes):
            raise errors.Refused(f"{path}: name is {spec.name!r}, as in another of these files")
        old = _existing(entries, f"{prefix}{spec.name}/")
        spec = _complete(client, spec, old)
        _refuse_moves(spec, old, path, nodes)
        _refuse_conflicts(spec, values, prefix, path)
        text = json.dumps({**table, "node": spec.node} if spec.node else table)
        limits.refuse_long(text, path)
        values[f"{prefix}{spec.name}/spec"] = text.encode()
        values.pop(f"{prefix}{spec.name}/removed", None)
        changes.append(_Change(path, spec, text))
    for change in changes:
        old = _write(client, change, entries, prefix)
        yield f"{change.spec.name}: applied{_describe(context, change.spec, old)}{_await(change.spec, values, prefix)}"


def _write(client: Client, change: _Change, entries: dict[str, Entry], prefix: str) -> Spec | None:
    """Write a spec and the keys that go with it; returns the spec that was there.

    The end of a removal deletes these keys meanwhile: then they are read again.
    """
    own, seen = f"{prefix}{change.spec.name}/", [entries]

    def write() -> Spec | None:
        found = seen.pop() if seen else client.tree(own, known_below(prefix))
        old = _existing(found, own)
        _refuse_moves(change.spec, old, change.path, client.nodes())
        client.commit(_operations(change, old, found, own))
        return old

    return retry.unavailable(write, timeout_s=_PATIENCE_S, only=errors.Conflict)


def _describe(context: Context, spec: Spec, old: Spec | None) -> str:
    """Say what came of a spec that was written, and what stands in its way."""
    now = service_keys.read_service(context.client, context.settings.prefix, spec.name)
    key = f"{context.settings.prefix}{spec.name}/image"
    image = read_text(now.keys[key].value) if key in now.keys else ""
    is_other = old and old.image == spec.image and image not in ("", spec.image)
    return "".join([
        f" on {spec.node}" if spec.node else "",
        "; updated" if old else "; new",
        f"; the key {key} wins: {image}" if is_other else "",
        describe_kept_count(old, now.desired),
        service_keys.describe_outlook(context.client, now),
        *(f"; but refused: {text}" for text in responsibility.list_refusals(context, spec)),
    ])


def _await(spec: Spec, values: Mapping[str, bytes], prefix: str) -> str:
    """Say, behind what was written, that a set which the environment names is none; usually ""."""
    specs = specs_of(group_by_service(values, prefix)[0])
    others = {name: _parsed(specs.get(name, b"")) for name in sorted(find_sets(spec.environment))}
    lacking = " and no service ".join(name for name, other in others.items() if not (other and other.cluster))
    return f"; but its instances wait: there is no service {lacking} with `cluster`" if lacking else ""


def _complete(client: Client, spec: Spec, old: Spec | None) -> Spec:
    """Complete a spec by the node that runs the service: if it names none, the present one, or else this node."""
    if spec.engine in service_spec.ON_ONE_NODE and not spec.node:
        return msgspec.structs.replace(spec, node=old.node if old and old.node else client.agent().name)
    return spec


def _existing(entries: dict[str, Entry], own: str) -> Spec | None:
    return _parsed(entries[f"{own}spec"].value) if f"{own}spec" in entries else None


def _operations(change: _Change, old: Spec | None, entries: dict[str, Entry],
                own: str) -> list[transactions.Operation]:
    spec = change.spec
    index = entries[f"{own}spec"].modify_index if f"{own}spec" in entries else 0
    operations = [transactions.cas(f"{own}spec", change.text, index)]
    if spec.image and (f"{own}image" not in entries or old and old.image != spec.image):
        operations.append(transactions.set_key(f"{own}image", spec.image))
    if f"{own}removed" in entries:
        operations.append(transactions.delete_key(f"{own}removed"))
    return operations


def _refuse_moves(spec: Spec, old: Spec | None, path: str, nodes: frozenset[str]) -> None:
    """Refuse a move, unless it is that of a service whose node Consul does not know: its name may have changed."""
    if old and old.engine != "none":
        for key, before, after in service_keys.find_moves(old, spec):
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
