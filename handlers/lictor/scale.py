"""What a change below services/ leads to on this node: its routes, its watches, and a reconcile of what changed."""

import base64
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from lictor import catalog, config, desired, errors, files, handler, log, process, route, state, watches

CACHE = "keys.json"  # in the state folder


class Key(NamedTuple):
    """One key as the watch delivers it."""

    modify_index: int
    value: bytes


class Known(NamedTuple):
    """What the last run left in keys.json; `watching` are the services of the watches that the agent runs."""

    consul_index: int
    keys: dict[str, Key]
    watching: dict[str, str]


def run(call: handler.Call) -> int:
    """Handle one `keyprefix` payload. No key at all is not believed: no rights looks the same."""
    keys = parse(handler.payload())
    if not keys:
        log.event("scale", outcome="ignored", reason=f"no key below {call.settings.prefix} can be seen: is there "
                                                     "none, or does the watch's token not allow to read them?")
        return 0
    consul_index = os.environ.get("CONSUL_INDEX", "")
    changed = follow(call, keys, int(consul_index) if consul_index.isdigit() else None)
    if changed:
        process.spawn_handler("lictor-reconcile", [*call.inherited, *sorted(changed)],
                              state_dir=call.settings.state_dir)
    return 0


def parse(payload: str) -> dict[str, Key]:
    """The keys of a `keyprefix` payload; `null` means none. Raises Refused when it is something else."""
    try:
        return {each["Key"]: Key(each["ModifyIndex"], base64.b64decode(each["Value"] or ""))
                for each in json.loads(payload) or []}
    except (ValueError, KeyError, TypeError) as error:
        raise errors.Refused(f"stdin holds no keyprefix payload of a Consul watch: {error!r}") from error


def follow(call: handler.Call, keys: Mapping[str, Key], consul_index: int | None) -> set[str]:
    """Bring routes and watches in line with all keys below the prefix; returns the services that changed.

    `consul_index` is the event's; None: the keys were read just now. The cache is written last: whoever is killed on
    the way is followed by one who sees the same changes again.
    """
    settings = call.settings
    cache_path = os.path.join(settings.state_dir, CACHE)
    with files.locked(os.path.join(settings.state_dir, "locks", "scale.lock")):
        known = _known(cache_path)
        changed = changes(known.keys, keys, settings.prefix)
        index = known.consul_index if consul_index is None else consul_index
        if not changed and index == known.consul_index:
            return changed
        watching = known.watching
        if changed:
            client = catalog.connect(token_file=call.token_file)
            if index < known.consul_index:  # an event that came late, or a Consul that was set up anew
                keys = current(client, settings.prefix)
                changed = changes(known.keys, keys, settings.prefix)
            _reroute(settings, client, keys, changed)
            watching = _watch(call, client, known.watching)
        files.write_json(cache_path, {"consul_index": index, "watching": watching, "keys": {
            key: [each.modify_index, base64.b64encode(each.value).decode()] for key, each in keys.items()}})
    return changed


def current(client: catalog.Catalog, prefix: str) -> dict[str, Key]:
    """All keys below the prefix as they are now."""
    return {key: Key(entry.modify_index, entry.value) for key, entry in client.tree(prefix).items()}


def changes(known: Mapping[str, Key], keys: Mapping[str, Key], prefix: str) -> set[str]:
    """The services with a key that is new, other or gone."""
    differing = {key for key in known.keys() | keys.keys() if known.get(key) != keys.get(key)}
    return set(desired.services(dict.fromkeys(differing, b""), prefix)[0])


def services(settings: config.Config) -> set[str]:
    """The names of all services that this node knows of."""
    return changes({}, _known(os.path.join(settings.state_dir, CACHE)).keys, settings.prefix)


def routes(settings: config.Config) -> dict[str, dict[str, Any]]:
    """Every routes/NAME.json of this node, by name."""
    folder = os.path.join(settings.state_dir, "routes")
    return {entry.removesuffix(".json"): files.read_json(os.path.join(folder, entry))
            for entry in sorted(os.listdir(folder)) if entry.endswith(".json")}


def _known(cache_path: str) -> Known:
    cached = files.read_json(cache_path) or {"consul_index": 0, "keys": {}, "watching": {}}
    keys = {key: Key(index, base64.b64decode(value)) for key, (index, value) in cached["keys"].items()}
    return Known(cached["consul_index"], keys, cached["watching"])


def _reroute(settings: config.Config, client: catalog.Catalog, keys: Mapping[str, Key], changed: set[str]) -> None:
    grouped, strange = desired.services({key: each.value for key, each in keys.items()}, settings.prefix)
    for problem in strange:
        log.event("refused", reason=problem)
    node = client.agent().name
    before = routes(settings)
    taken = {(each["host"], each["path"]): name for name, each in before.items() if not each["removed"]}
    after = {name: _route(settings.prefix, name, grouped.get(name, {}), before.get(name), node, taken)
             for name in sorted(changed)}
    for name, new in after.items():
        if new:
            files.write_json(os.path.join(settings.state_dir, "routes", f"{name}.json"), new)
    if settings.nginx and any(after.values()):
        route.refresh(settings, [name for name, new in after.items() if new], client)


def _route(prefix: str, name: str, keys: Mapping[str, bytes], old: dict[str, Any] | None, node: str,
           taken: dict[tuple[str, str], str]) -> dict[str, Any] | None:
    """The service's route; None: it has none, or what is asked for is refused and the old one stays."""
    if "removed" in keys:
        return {**old, "removed": True} if old else None
    wanted = desired.desired(name, keys, state.State(), prefix)
    for problem in wanted.problems:
        log.event("refused", service=name, reason=problem)
    new = desired.route(wanted, node)
    if new is None:
        return None
    if old and any(problem.startswith(f"{prefix}{name}/replicas: ") for problem in wanted.problems):
        new["empty_ok"] = old["empty_ok"]
    owner = taken.setdefault((new["host"], new["path"]), name)
    if owner != name:
        log.event("refused", service=name, reason=f"{prefix}{name}/spec: route is {new['host']}{new['path']}, which is "
                                                  f"that of {owner}; two services cannot have the same")
        return None
    return new


def _watch(call: handler.Call, client: catalog.Catalog, watching: dict[str, str]) -> dict[str, str]:
    """Watch the routed services, no others; the agent is reloaded only when that set changed."""
    settings = call.settings
    services = {name: each["service"] for name, each in routes(settings).items() if not each["removed"]}
    if not settings.nginx or services == watching:
        return watching
    files.write_atomic(os.path.join(settings.watch.config_dir, watches.ROUTES_FILE),
                       watches.text(watches.routes(settings, services, call.inherited, process.handler_argv)),
                       mode=0o640)
    client.reload_agent()
    log.event("watch", services=len(services), outcome="done", reason="the set of routed services changed")
    return services
