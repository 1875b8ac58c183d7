"""What a change below services/ leads to on this node: its routes, its watches, and a reconcile of what changed."""

import base64
import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from lictor import errors
from lictor.adapters import files, log, process
from lictor.adapters.consul.client import Client
from lictor.events import agent_config, http_door, script
from lictor.planner import desired, service_state
from lictor.routing import follow as route
from lictor.routing import route_store
from lictor.spec.keys import Key, KeyCache, changed_services, group_by_service, read_cache, write_cache
from lictor.spec.settings import Settings

_LOCK = ":scale.lock"  # no service's name has a colon


def main(description: str) -> int:
    return script.main(script.parser(description), run)


def run(call: script.Call) -> int:
    """Handle one `keyprefix` payload. No key at all is not believed: no rights looks the same."""
    keys = parse(script.payload())
    if not keys:
        log.event("scale", outcome="ignored", reason=f"no key below {call.settings.prefix} can be seen: is there "
                                                     "none, or does the watch's token not allow to read them?")
        return 0
    consul_index = os.environ.get("CONSUL_INDEX", "")
    changed = follow(call, keys, int(consul_index) if consul_index.isdigit() else None)
    if changed:
        process.spawn_handler("lictor-reconcile", [*call.inherited, *sorted(changed)],
                              state_dir=call.settings.state_dir)
    watch(call)
    return 0


def parse(payload: str) -> dict[str, Key]:
    """The keys of a `keyprefix` payload; `null` means none. Raises Refused when it is something else."""
    try:
        return {each["Key"]: Key(each["ModifyIndex"], base64.b64decode(each["Value"] or ""))
                for each in json.loads(payload) or []}
    except (ValueError, KeyError, TypeError) as error:
        raise errors.Refused(f"stdin holds no keyprefix payload of a Consul watch: {error!r}") from error


def follow(call: script.Call, keys: Mapping[str, Key], consul_index: int | None) -> set[str]:
    """Bring this node's routes in line with all keys below the prefix; returns the services that changed.

    `consul_index` is the event's; None: the keys were read just now. The cache is written last: whoever is killed on
    the way is followed by one who sees the same changes again.
    """
    settings = call.settings
    with _locked(settings):
        known = read_cache(settings)
        index = max(known.consul_index, _newest(keys)) if consul_index is None else consul_index
        changed = _changed(settings, known, keys)
        refused = known.refused
        if changed:
            client = Client.connect(token_file=call.token_file)
            if index < known.consul_index:  # an event that came late, or a Consul that was set up anew
                keys = current(client, settings.prefix)
                if not keys:
                    raise errors.Unavailable(f"no key below {settings.prefix} can be seen, though an event showed some")
                index, changed = max(index, _newest(keys)), _changed(settings, known, keys)
            refused, confirmed = _reroute(settings, client, keys, changed, known.refused)
            changed |= confirmed  # whose handlers may have found their work done by us
        write_cache(settings, known._replace(consul_index=index, keys=dict(keys), refused=refused))
    return changed


def watch(call: script.Call) -> None:
    """Watch the routed services, no others; the agent is reloaded only when that set changed."""
    settings = call.settings
    if not settings.nginx:
        return
    with _locked(settings):
        known, path = read_cache(settings), os.path.join(settings.watch.config_dir, agent_config.ROUTES_FILE)
        services = {name: each["service"] for name, each in known_routes(settings).items() if not each["removed"]}
        secret = http_door.secret(settings)
        if services == known.watching and _watched(path, settings, secret) in (None, set(services.values())):
            return
        text = agent_config.text(agent_config.routes(settings, services, call.inherited, process.handler_argv, secret))
        files.write_atomic(path, text, mode=0o640)
        Client.connect(token_file=call.token_file).reload_agent()
        write_cache(settings, known._replace(watching=services))
    log.event("watch", services=len(services), outcome="done", reason="the set of routed services changed")


def current(client: Client, prefix: str) -> dict[str, Key]:
    """All keys below the prefix as they are now."""
    return {key: Key(entry.modify_index, entry.value) for key, entry in client.tree(prefix).items()}


def refused(settings: Settings) -> list[str]:
    """Why some services' routes are not in force on this node, though their specs are sound."""
    return [f"{name}: {why}" for name, why in sorted(read_cache(settings).refused.items())]


def known_routes(settings: Settings) -> dict[str, dict[str, Any]]:
    """Every sound routes/NAME.json of this node, by name."""
    return {name: each for name, each in _stored(settings).items() if each}


def _stored(settings: Settings) -> dict[str, dict[str, Any] | None]:
    """Every routes/NAME.json; None: it is damaged."""
    return {name: route_store.route(settings.state_dir, name) for name in route_store.names(settings.state_dir)}


def _locked(settings: Settings) -> AbstractContextManager[bool]:
    return files.locked(os.path.join(settings.state_dir, "locks", _LOCK))


def _changed(settings: Settings, known: KeyCache, keys: Mapping[str, Key]) -> set[str]:
    """Also those that were refused, as what stood against them may have gone, and those whose route is damaged."""
    damaged = {name for name, each in _stored(settings).items() if each is None}
    standing = changed_services({}, keys, settings.prefix)
    return changed_services(known.keys, keys, settings.prefix) | (damaged | known.refused.keys()) & standing


def _newest(keys: Mapping[str, Key]) -> int:
    return max((each.modify_index for each in keys.values()), default=0)


def _watched(path: str, settings: Settings, secret: str) -> set[str] | None:
    """The names in the catalogue that a written file watches as the settings say; None when there is none, or it is
    not ours any more."""
    try:
        written = files.read_json(path)["watches"]
        return {each["service"] for each in written if agent_config.is_handled(settings, each, secret)}
    except (TypeError, KeyError):
        return None


def _reroute(settings: Settings, client: Client, keys: Mapping[str, Key], changed: set[str],
             refused_before: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    """Write and publish the routes of the services that changed; returns why some are refused, by name, and which are
    confirmed now."""
    grouped, strange = group_by_service({key: each.value for key, each in keys.items()}, settings.prefix)
    for problem in strange:
        log.event("refused", reason=problem)
    node = client.agent().name
    before = known_routes(settings)
    asked = {name: _route(settings.prefix, name, grouped.get(name, {}), before.get(name), node)
             for name in sorted(changed)}
    after = {name: each for name, each in asked.items() if each}
    doubles = {name: f"{settings.prefix}{name}/spec: {why}" for name, why in without_doubles(before, after).items()}
    for name, why in doubles.items():
        if refused_before.get(name) != why:
            log.event("refused", service=name, reason=why)
    for name, new in after.items():
        files.write_json(os.path.join(settings.state_dir, "routes", f"{name}.json"), new)
    confirmed = route.refresh(settings, after, client) if after else []
    return {**{name: why for name, why in refused_before.items() if name not in changed and name in grouped},
            **doubles}, set(confirmed)


def without_doubles(before: Mapping[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Take from `after` the routes whose place another service has, and return why, by name. Who has had the place
    keeps it, and who is refused keeps the old one."""
    refused: dict[str, str] = {}
    while True:
        owners: dict[tuple[str, str], str] = {}
        final = {name: each for name, each in {**before, **after}.items() if not each["removed"]}
        for name in sorted(final, key=lambda name: (not _stays(before.get(name), final[name]), name)):
            place = final[name]["host"], final[name]["path"]
            if owners.setdefault(place, name) != name and name in after:
                refused[name] = (f"route is {''.join(place)}, which is that of {owners[place]}; two services cannot "
                                 "have the same")
                del after[name]
                break
        else:
            return refused


def _stays(old: dict[str, Any] | None, new: dict[str, Any]) -> bool:
    return old is not None and not old["removed"] and (old["host"], old["path"]) == (new["host"], new["path"])


def _route(prefix: str, name: str, keys: Mapping[str, bytes], old: dict[str, Any] | None,
           node: str) -> dict[str, Any] | None:
    """The service's route; None: it never had one, or what is asked for is refused and the old one stays."""
    wanted = desired.desired(name, keys, service_state.State(), prefix)
    for problem in wanted.problems:
        log.event("refused", service=name, reason=problem)
    if wanted.removed or wanted.spec and not wanted.spec.route:
        return {**old, "removed": True} if old else None
    new = desired.route(wanted, node)
    is_given = wanted.why_replicas == f"replicas key is {wanted.replicas}"
    if new and wanted.spec and old and not old["removed"] and not is_given:
        new["empty_ok"] = old["empty_ok"] and wanted.spec.replicas.min == 0  # the last good count stays, whatever it is
    return new
