"""Writing specs into KV. What would be refused later is refused here, before anything is written."""

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from lictor import errors
from lictor.adapters import retry
from lictor.adapters.consul import transactions
from lictor.adapters.consul.answers import Entry
from lictor.adapters.consul.client import Client
from lictor.cli import service_keys
from lictor.cli.service_keys import Existing
from lictor.cli.specs import changes, conflicts
from lictor.cli.specs.files import Table
from lictor.planner.autoscale import kept as keeping
from lictor.planner.desired import Desired, read_text, specs_of
from lictor.reconcile import responsibility
from lictor.reconcile.context import Context
from lictor.reconcile.state_store import StateStore
from lictor.spec import limits, service_spec
from lictor.spec.keys import group_by_service, known_below
from lictor.spec.placeholders import find_sets
from lictor.spec.service_spec import Spec

_PATIENCE_S = 5.0



class _Change(NamedTuple):
    """A file's change: the service before and after it, and the operations that lead there; () changes nothing."""

    path: str
    spec: Spec
    written: Spec | None  # the spec that stands in its key
    before: Existing
    after: Existing
    operations: tuple[transactions.Operation, ...]


def apply(context: Context, tables: list[tuple[str, Table]], *, dry_run: bool = False) -> Iterator[str]:
    """Write validated specs, each in one transaction with the keys that go with it; yields a line for people of each.

    All specs are compared with each other, and with those in KV, before the first is written. What the settings of this
    node do not allow is only told: another node may act, or they may change. A dry run writes nothing.
    """
    client, prefix = context.client, context.settings.prefix
    entries, nodes = client.tree(prefix, known_below(prefix)), client.nodes()
    values = {key: entry.value for key, entry in entries.items()}
    changed: list[_Change] = []
    for path, table in tables:
        change = _compare(client, prefix, path, table, entries, nodes)
        if any(change.spec.name == other.spec.name for other in changed):
            raise errors.Refused(f"{path}: name is {change.spec.name!r}, as in another of these files")
        conflicts.require_own_place(change.spec, values, prefix, path)
        values[f"{prefix}{change.spec.name}/spec"] = change.after.keys[f"{prefix}{change.spec.name}/spec"].value
        values.pop(f"{prefix}{change.spec.name}/removed", None)
        changed.append(change)
    for change, (_, table) in zip(changed, tables, strict=True):
        done = change if dry_run else _write(client, prefix, table, change)
        yield f"{done.spec.name}: {_describe(context, done)}{_await(done.spec, values, prefix)}"


def _write(client: Client, prefix: str, table: Table, change: _Change) -> _Change:
    """Write a spec and the keys that go with it; returns what that has changed.

    If the keys have changed meanwhile, as by the end of a removal, they are read and compared again.
    """
    own, seen = f"{prefix}{change.spec.name}/", [change]

    def write() -> _Change:
        found = seen.pop() if seen else _compare(
            client, prefix, change.path, table, client.tree(own, known_below(prefix)), client.nodes())
        if found.operations:
            client.commit([*found.operations])
        return found

    return retry.unavailable(write, timeout_s=_PATIENCE_S, only=errors.Conflict)


def _compare(client: Client, prefix: str, path: str, table: Table, entries: dict[str, Entry],
             nodes: frozenset[str]) -> _Change:
    """Compare a file's table with the keys of its service; raises Refused for what must not be written."""
    spec = service_spec.parse_spec(table, path)
    own, (state, index) = f"{prefix}{spec.name}/", StateStore(client).read(spec.name)
    before = service_keys.interpret(prefix, spec.name, entries, state, index)
    written = conflicts.parse(before.keys[f"{own}spec"].value) if f"{own}spec" in before.keys else None
    old = written or before.desired.spec
    spec = _complete(client, spec, old)
    _refuse_moves(spec, old, path, nodes)
    text = json.dumps({**table, "node": spec.node} if spec.node else table)
    limits.refuse_long(text, path)
    spec_index = before.keys[f"{own}spec"].modify_index if f"{own}spec" in before.keys else 0
    operations = [transactions.cas(f"{own}spec", text, spec_index)]
    keys = {**before.keys, f"{own}spec": Entry(text.encode(), 0, 0, "")}
    if spec.image and (f"{own}image" not in keys or written and written.image != spec.image):
        operations.append(transactions.set_key(f"{own}image", spec.image))
        keys[f"{own}image"] = Entry(spec.image.encode(), 0, 0, "")
    if keys.pop(f"{own}removed", None):
        operations.append(transactions.delete_key(f"{own}removed"))
    after = service_keys.interpret(prefix, spec.name, keys, state, index)
    _refuse_worse(client, path, before, after, own)
    is_same = spec == written and len(operations) == 1
    return _Change(path, spec, written, before, after, () if is_same else tuple(operations))


def _refuse_worse(client: Client, path: str, before: Existing, after: Existing, own: str) -> None:
    """Refuse a spec that would be refused in its key, or would have a count refused that is taken until now."""
    for problem in after.desired.problems:
        if problem.startswith(f"{own}spec: "):
            raise errors.Refused(f"{path}: {problem.removeprefix(f'{own}spec: ')}")
    count = _refused_count(after, f"{own}replicas")
    is_taken = before.desired.replicas_given or before.desired.spec is None and count.isdecimal()
    if count and is_taken and after.desired.spec and not _is_autoscalers(client, after, f"{own}replicas"):
        raise errors.Refused(
            f"{path}: {_describe_bound(after.desired.spec.replicas, before.desired, count, f'{own}replicas')}")


def _refused_count(service: Existing, key: str) -> str:
    """Return the count in its key if that is refused, else ""."""
    is_refused = any(problem.startswith(f"{key}: ") for problem in service.desired.problems)
    return read_text(service.keys[key].value) if is_refused else ""


def _describe_bound(bounds: service_spec.Replicas, before: Desired, count: str, key: str) -> str:
    """Say which bound the count in its key does not keep, and what to do first."""
    name, bound = ("max", bounds.max) if int(count) > bounds.max else ("min", bounds.min)
    allowed = before.spec.replicas if before.spec else None
    first = (f"`lictor scale {before.name} {bound}`" if allowed and allowed.min <= bound <= allowed.max else
             f"`consul kv put {key} {bound}`")
    return (f"replicas.{name} is {bound}, and the key {key} is {count}. Use {first} first, or let replicas.{name} be "
            f"{count}")


def _is_autoscalers(client: Client, service: Existing, count_key: str) -> bool:
    """Decide whether the count is the autoscaler's own, which it brings within changed bounds itself."""
    if service.desired.spec is None or service.desired.spec.autoscale is None:
        return False
    entry = client.get(keeping.KEY_PREFIX + service.desired.name)
    if entry is None:
        return False
    return not keeping.claim(keeping.decode(entry.value), entry.modify_index, service.keys[count_key].modify_index, 0.0,
                             is_known_as_own=False).manual_index


def _await(spec: Spec, values: Mapping[str, bytes], prefix: str) -> str:
    """Say, behind what was written, that a set which the environment names is none; usually ""."""
    specs = specs_of(group_by_service(values, prefix)[0])
    others = {name: conflicts.parse(specs.get(name, b"")) for name in sorted(find_sets(spec.environment))}
    lacking = " and no service ".join(name for name, other in others.items() if not (other and other.cluster))
    return f"; but its instances wait: there is no service {lacking} with `cluster`" if lacking else ""


def _describe(context: Context, change: _Change) -> str:
    """Say what a file changes, and what stands in the way of it."""
    spec, new, own = change.spec, change.after.desired, f"{context.settings.prefix}{change.spec.name}/"
    image = read_text(change.after.keys[f"{own}image"].value) if f"{own}image" in change.after.keys else ""
    is_other = change.written and change.written.image == spec.image and image not in ("", spec.image)
    return "".join([
        "; ".join(_describe_news(change)) or "unchanged",
        f"; the key {own}image wins: {image}" if is_other else "",
        _describe_kept_count(change.written, new),
        service_keys.describe_outlook(context.client, change.after),
        *_describe_refusals(context, change, f"{own}replicas"),
    ])


def _describe_news(change: _Change) -> list[str]:
    """List what is new: the service itself, or what its file changes of what is in force."""
    spec, old, new = change.spec, change.before.desired, change.after.desired
    in_force = old.spec or change.written
    if in_force is None:
        return [f"new{f' on {spec.node}' if spec.node else ''}"]
    news = ["its removal is taken back"] if old.removed else []
    news += map(str, changes.list_changes(in_force, new.spec or spec))
    if old.spec and old.replicas != new.replicas and spec.engine != "none":
        news.append(f"{old.replicas} -> {new.replicas} instances desired")
    return news or (["unchanged, and its key is written anew"] if change.operations else [])


def _describe_refusals(context: Context, change: _Change, count_key: str) -> list[str]:
    """Say which keys beside the spec are refused, and what this node does not allow."""
    problems = [*change.after.desired.problems, *responsibility.list_refusals(context, change.spec)]
    count = _refused_count(change.after, count_key)
    is_own = bool(count) and _is_autoscalers(context.client, change.after, count_key)
    told = [f"; but refused: {problem}" for problem in problems if not (is_own and problem.startswith(count_key))]
    return [*([f"; the autoscaler brings its count of {count} within these bounds"] if is_own else []), *told]


def _complete(client: Client, spec: Spec, old: Spec | None) -> Spec:
    """Complete a spec by the node that runs the service: if it names none, the present one, or else this node."""
    if spec.engine in service_spec.ON_ONE_NODE and not spec.node:
        return msgspec.structs.replace(spec, node=old.node if old and old.node else client.agent().name)
    return spec


def _refuse_moves(spec: Spec, old: Spec | None, path: str, nodes: frozenset[str]) -> None:
    """Refuse a move, unless it is that of a service whose node Consul does not know: its name may have changed."""
    if old and old.engine != "none":
        for key, before, after in service_keys.find_moves(old, spec):
            if key != "node" or not nodes or before in nodes:
                lost = (f". If {before} is lost for good, `consul force-leave -prune {before}` first, and apply this "
                        "again" if key == "node" else "")
                raise errors.Refused(f"{path}: {key} was {before!r} and is {after!r}; remove the service, wait until "
                                     f"its containers are gone, then apply it again{lost}")


def _describe_kept_count(old: Spec | None, service: Desired) -> str:
    """Say, behind what was written, that another initial count changes nothing; usually ""."""
    if not old or not service.spec or service.spec.engine == "none":
        return ""
    initial, count = service.spec.replicas.initial, service.replicas
    return "" if initial in (count, old.replicas.initial) else (
        f"; {count} stay desired: replicas.initial counts at first only, and `lictor scale {service.name} {initial}` "
        "changes it")
