"""Writing what people want into KV: specs, counts, holds, tombstones. Nothing is written that would be refused."""

import json
import os
from typing import Any

import msgspec

from lictor import catalog, desired, errors, model, policy, state, transaction
from lictor.catalog import Catalog


def read(paths: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Read and validate all files before anything is written; the tables are as the user wrote them."""
    tables = []
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                table = policy.read_spec_file(file.read(), path)
        except (OSError, UnicodeDecodeError) as error:
            raise errors.Refused(f"{path}: {error}") from error
        spec = policy.parse_spec(table, path)
        if spec.env_files:
            folder = os.path.dirname(os.path.abspath(path))
            table = {**table, "env_file": [os.path.join(folder, each) for each in spec.env_files]}
        tables.append((path, table))
    return tables


def apply(client: Catalog, prefix: str, path: str, table: dict[str, Any]) -> str:
    """Write one validated spec, and what goes with it, in one transaction; returns what was done, in words."""
    spec = policy.parse_spec(table, path)
    keys = client.tree(prefix)
    own = f"{prefix}{spec.name}/"
    old_entry = keys.get(f"{own}spec")
    old = _parsed(old_entry.value) if old_entry else None
    if spec.engine != "none" and not spec.node:
        node = old.node if old and old.node else client.agent().name
        table, spec = {**table, "node": node}, msgspec.structs.replace(spec, node=node)
    _refuse_conflicts(spec, old, {key: entry.value for key, entry in keys.items()}, prefix, path)
    operations = [transaction.cas(f"{own}spec", json.dumps(table), old_entry.modify_index if old_entry else 0)]
    if spec.image and (f"{own}image" not in keys or old and old.image != spec.image):
        operations.append(transaction.set_key(f"{own}image", spec.image))
    if f"{own}removed" in keys:
        operations.append(transaction.delete_key(f"{own}removed"))
    client.commit(operations)
    where = f" on {spec.node}" if spec.node else ""
    return f"{spec.name}: applied{where}; {'updated' if old_entry else 'new'}"


def scale(client: Catalog, prefix: str, name: str, count: str) -> int:
    """Set the desired count: N, or +N and -N from what is desired now, by compare-and-set; returns the new count."""
    keys, wanted = _existing(client, prefix, name)
    assert wanted.spec is not None
    relative = count[:1] in ("+", "-")
    try:
        text = str(wanted.replicas + int(count)) if relative and count[1:].isascii() and count[1:].isdigit() else count
        target = policy.parse_replicas(text, wanted.spec.replicas)
    except ValueError as error:
        raise errors.Refused(f"{prefix}{name}/replicas: {error}") from error
    entry = keys.get(f"{prefix}{name}/replicas")
    client.put(f"{prefix}{name}/replicas", str(target), cas=(entry.modify_index if entry else 0) if relative else None)
    return target


def remove(client: Catalog, prefix: str, name: str) -> None:
    """Write the tombstone: the node that runs the service drains and removes its containers, each nginx its route."""
    _existing(client, prefix, name)
    client.put(f"{prefix}{name}/removed", "")


def hold(client: Catalog, prefix: str, name: str, why: str) -> None:
    _existing(client, prefix, name)
    client.put(f"{prefix}{name}/hold", why)


def resume(client: Catalog, prefix: str, name: str) -> None:
    _existing(client, prefix, name)
    client.delete(f"{prefix}{name}/hold")


def _existing(client: Catalog, prefix: str, name: str) -> tuple[dict[str, catalog.Entry], desired.Desired]:
    if not model.is_name(name):
        raise errors.Refused(f"{name[:100]!r} is no service's name")
    own = f"{prefix}{name}/"
    keys = client.tree(own)
    remembered = client.get(f"{state.KEY_PREFIX}{name}")
    wanted = desired.desired(name, {key.removeprefix(own): entry.value for key, entry in keys.items()},
                             state.decode(remembered.value if remembered else None), prefix)
    if wanted.spec is None or wanted.removed:
        raise errors.Refused(f"there is no service {name!r}; `lictor status` lists them, `lictor apply FILE` makes one")
    return keys, wanted


def _refuse_conflicts(spec: policy.Spec, old: policy.Spec | None, keys: dict[str, bytes], prefix: str,
                      path: str) -> None:
    if old and old.release.strategy != spec.release.strategy:
        raise errors.Refused(f"{path}: release.strategy was {old.release.strategy!r} and is {spec.release.strategy!r}; "
                             "it names the containers: remove the service, then apply it again")
    names = set(desired.catalog_names(spec))
    for other_name, values in desired.services(keys, prefix)[0].items():
        other = _parsed(values.get("spec", b""))
        if other is None or other_name == spec.name or "removed" in values:
            continue
        if spec.route and other.route and (spec.route.host, spec.route.path) == (other.route.host, other.route.path):
            raise errors.Refused(f"{path}: route is {spec.route.host}{spec.route.path}, which is that of {other_name}; "
                                 "two services cannot have the same")
        if names & set(desired.catalog_names(other)):
            raise errors.Refused(f"{path}: name is {spec.name!r}, which Consul cannot tell from {other_name!r} "
                                 "with its colour behind")


def _parsed(text: bytes) -> policy.Spec | None:
    try:
        return policy.parse_spec(json.loads(text), "")
    except (ValueError, RecursionError, errors.Refused):
        return None
