"""The `keyprefix` watch on services/: this node's routes and watches follow the keys, and changed services are
reconciled."""

import base64
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from msgspec.structs import replace

from lictor import errors
from lictor.adapters import clock, files, log, process
from lictor.adapters.consul.client import Client
from lictor.adapters.consul.payload import HINT, index
from lictor.events import agent_config, autoscale, http_door, paused, script
from lictor.planner.canary.key import route_field
from lictor.planner.desired import Desired, desired, route, specs_of
from lictor.planner.routes import pause
from lictor.planner.service_state import State
from lictor.routing import route_store
from lictor.routing.follow import refresh
from lictor.routing.key_cache import Key, KeyCache, read_cache, versions, write_cache
from lictor.routing.sides import catalog_names
from lictor.spec.allow import refusals
from lictor.spec.keys import changed_services, describe_unknown, group_by_service, known_below, services_of
from lictor.spec.locations import Claim, claims
from lictor.spec.settings import Settings

_LEAST_RELOAD_INTERVAL_S = 30.0  # all watches of an agent fire at each reload
_LOCK = ":scale.lock"  # no service's name has a colon

Route = dict[str, Any]  # as routes/NAME.json holds it


def main(description: str) -> int:
    return script.main(script.make_parser(description), run)


def run(call: script.Call) -> int:
    """Handle one payload on stdin. A payload without keys is not believed: without rights it looks the same."""
    settings, keys = call.settings, parse(script.read_payload())
    if not keys:
        log.event("scale", outcome="ignored", reason=f"no key below {settings.prefix} can be seen: is there none, or "
                                                     "does the watch's token not allow to read them?")
        return 0
    consul_index = index(os.environ.get("CONSUL_INDEX", ""))
    changed = follow(call, keys, None if consul_index == HINT else consul_index)
    if changed:
        call.reconcile(changed)
        paused.start(call, changed)
    watch(call)
    return 0


def parse(payload: str) -> dict[str, Key]:
    """Parse a `keyprefix` payload, in which `null` means no key; raises Refused for anything else."""
    try:
        return {str(entry["Key"]): Key(int(entry["ModifyIndex"]), base64.b64decode(entry["Value"] or ""))
                for entry in json.loads(payload) or []}
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise errors.Refused(f"stdin holds no keyprefix payload of a Consul watch: {error!r}") from error


def read_keys(client: Client, prefix: str) -> dict[str, Key]:
    """Read the keys below the prefix; those that are no service's may be without their values."""
    tree = client.tree(prefix, known_below(prefix))
    return {key: Key(entry.modify_index, entry.value) for key, entry in tree.items()}


def follow(call: script.Call, keys: Mapping[str, Key], consul_index: int | None) -> set[str]:
    """Bring this node's routes in line with all keys below the prefix; returns the services that changed.

    `consul_index` is the event's; None: the keys were read just now. The cache is written last. If this process is
    killed before that, the next one finds the same changes again.
    """
    settings = call.settings
    with locked(settings):
        cache = read_cache(settings)
        newest = max(cache.consul_index, _newest(keys)) if consul_index is None else consul_index
        changed, refused = _changed(settings, cache, keys), cache.refused
        if changed:
            client = Client.connect(token_file=call.token_file)
            if newest < cache.consul_index:  # an event that came late, or a Consul that was set up anew
                keys = read_keys(client, settings.prefix)
                if not keys:
                    raise errors.Unavailable(f"no key below {settings.prefix} can be seen, though an event showed some")
                newest, changed = max(newest, _newest(keys)), _changed(settings, cache, keys)
            refused, confirmed = _reroute(settings, client, keys, changed, cache.refused)
            changed |= confirmed  # a handler of such a service may have found its work done by this process
        autoscale.note_names(settings.state_dir, specs_of(_grouped(keys, settings.prefix)[0]))
        write_cache(settings, replace(cache, consul_index=newest, versions=versions(keys, settings.prefix),
                                      refused=refused, allowed=settings.allow.services,
                                      measures_all=settings.metrics is not None))
    return changed


def watch(call: script.Call) -> None:
    """Watch exactly the routed services. The agent is reloaded only if their set changed, and not soon after a reload:
    the timer, which calls this too, then comes back to it."""
    settings = call.settings
    if not settings.nginx:
        return
    with locked(settings):
        cache, path = read_cache(settings), os.path.join(settings.watch.config_dir, agent_config.ROUTES_FILE)
        services, secret = read_routed_services(settings), http_door.read_secret(settings)
        if services == cache.watching and _watched(path, settings, secret) in (None, services.keys()):
            return
        if cache.reloaded_at and 0 <= clock.uptime_s() - cache.reloaded_at < _LEAST_RELOAD_INTERVAL_S:
            log.event("watch", outcome="waits", reason="the agent was reloaded just now. The timer comes back to it.")
            return
        options = script.inherited(settings, call.token_file)
        routes = agent_config.routes(settings, services, options, process.handler_argv, secret)
        files.write_atomic(path, agent_config.text(routes), mode=0o640)
        Client.connect(token_file=call.token_file).reload_agent()
        write_cache(settings, replace(cache, watching=services, reloaded_at=clock.uptime_s()))
    log.event("watch", services=len(services), outcome="done", reason="the set of routed services changed")


def read_routes(settings: Settings) -> dict[str, Route]:
    """Read every sound routes/NAME.json of this node, by name."""
    routes = {name: route_store.route(settings.state_dir, name) for name in route_store.names(settings.state_dir)}
    return {name: route for name, route in routes.items() if route}


def read_routed_services(settings: Settings) -> dict[str, str]:
    """List the names in the catalogue that this node routes, each with its service; a canary has one of its own."""
    return {each: name for name, route in read_routes(settings).items() if not route["removed"]
            for each in catalog_names(route)}


def _grouped(keys: Mapping[str, Key], prefix: str) -> tuple[dict[str, dict[str, bytes]], list[str]]:
    return group_by_service({name: key.value for name, key in keys.items()}, prefix)


def locked(settings: Settings) -> AbstractContextManager[bool]:
    """Keep others from writing routes/NAME.json and the cache meanwhile."""
    return files.locked(os.path.join(settings.state_dir, "locks", _LOCK))


def _changed(settings: Settings, cache: KeyCache, keys: Mapping[str, Key]) -> set[str]:
    """Find the services to route again: changed ones, refused ones whose obstacle may be gone, and damaged routes; all
    of them, if the node allows others, or has metrics since."""
    damaged = set(route_store.names(settings.state_dir)) - read_routes(settings).keys()
    present = services_of(keys, settings.prefix)
    if (cache.allowed, cache.measures_all) != (settings.allow.services, settings.metrics is not None):
        return present
    return changed_services(cache.versions, versions(keys, settings.prefix), settings.prefix) | (
        damaged | cache.refused.keys()) & present


def _newest(keys: Mapping[str, Key]) -> int:
    return max((key.modify_index for key in keys.values()), default=0)


def _watched(path: str, settings: Settings, secret: str) -> set[str] | None:
    """Read which of the catalogue's names a written file watches by the settings' door; None: the file is gone, or no
    longer lictor's."""
    try:
        watches = files.read_json(path)["watches"]
        return {each["service"] for each in watches if agent_config.is_handled(settings, each, secret)}
    except (TypeError, KeyError):
        return None


def _reroute(settings: Settings, client: Client, keys: Mapping[str, Key], changed: set[str],
             refused_before: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    """Write and publish the routes of the services that changed; returns the refused ones, each with the reason, and
    the confirmed ones."""
    grouped, unknown = _grouped(keys, settings.prefix)
    for text in describe_unknown(unknown, settings.prefix):
        log.event("not read", reason=text)
    node, before, after = client.agent().name, read_routes(settings), dict[str, Route]()
    for name in sorted(changed - _labelled(before, specs_of(grouped))):
        try:
            route = _route(settings, name, grouped, before.get(name), node)
        except Exception as error:  # a value that no rule foresees is the trouble of its own service
            log.event("refused", service=name, reason=f"its route stays as it is: {error!r:.200}")
            continue
        if route:
            after[name] = route
    conflicts = {name: f"{settings.prefix}{name}/spec: {why}" for name, why in drop_conflicts(before, after).items()}
    for name, why in conflicts.items():
        if refused_before.get(name) != why:
            log.event("refused", service=name, reason=why)
    for name, route in after.items():
        try:
            route_store.write_route(settings.state_dir, name, route)
        except OSError as error:  # the others' can be written, perhaps, and this one's next time
            conflicts[name] = f"its route cannot be written: {error}"
    confirmed = refresh(settings, after, client) if after else []
    standing = {name: why for name, why in refused_before.items() if name not in changed and name in grouped}
    return {**standing, **conflicts}, set(confirmed)


def _labelled(routes: Mapping[str, Route], specs: Mapping[str, bytes]) -> set[str]:
    """Find the services for whose routes labels ask, and no spec: whatever other key they have changes nothing."""
    return {name for name, route in routes.items() if route_store.is_labelled(route)} - specs.keys()


def drop_conflicts(before: Mapping[str, Route], after: dict[str, Route]) -> dict[str, str]:
    """Take from `after` the services of which a route claims what belongs to another one, and return the reason of
    each.

    A service keeps what it has had, and a refused one keeps its old routes.
    """
    refused: dict[str, str] = {}
    had = {(name, claim.place, claim.owner) for name, claim in _claims(before)}
    while True:
        owners: dict[tuple[str, str], str] = {}
        claimed = sorted(_claims({**before, **after}), key=lambda pair: ((pair[0], *pair[1][1:]) not in had, pair[0]))
        for name, claim in claimed:
            owner = owners.setdefault(claim.place, claim.owner)
            if owner != claim.owner and name in after:
                refused[name] = claim.describe_clash(owner)
                del after[name]
                break
        else:
            return refused


def _claims(routes: Mapping[str, Route]) -> Iterator[tuple[str, Claim]]:
    return ((name, claim) for name, route in routes.items() if not route["removed"]
            for claim in claims(name, route["routes"]))


def _route(settings: Settings, name: str, grouped: Mapping[str, Mapping[str, bytes]], old: Route | None,
           node: str) -> Route | None:
    """Make the service's route; None: it never had one, or its spec is refused and the old route stays as it is."""
    service = desired(name, grouped.get(name, {}), State(), settings.prefix, specs_of(grouped))
    for problem in service.problems:
        log.event("refused", service=name, reason=problem)
    if service.removed or service.spec and not service.spec.routes:
        return _as_removed(old) if old else None
    if not service.spec:
        return _by_other_keys(old, service) if old and not old["removed"] else None
    new = route(service, node, measures_all=settings.metrics is not None)
    if not new:
        return None
    new = _with_pause(new, service, old)
    if service.spec.engine == "none":
        new["needs_consent"] = bool(refusals(service.spec, settings.allow, settings.where))
    if old and not old["removed"] and not service.replicas_given:
        new["empty_ok"] = old["empty_ok"] and service.spec.replicas.min == 0  # the last good count stays
    return new


def _by_other_keys(old: Route, service: Desired) -> Route | None:
    """Change the route of a service whose spec is refused by its other keys: they pause it, or end that, and end a
    canary. None: nothing changes."""
    new, canary = _without_pause(old), old["canary"]
    live_color = old["service"].removeprefix(f"{service.name}-")
    if canary and route_field(service.name, live_color, service.canary_key) != canary:
        new["canary"] = None
    new = _with_pause(new, service, old)
    return new if new != old else None


def _as_removed(old: Route) -> Route:
    """Keep what was served, as nothing else tells it; nobody waits there any more."""
    return {**_without_pause(old), "removed": True}


def _without_pause(old: Route) -> Route:
    return {key: value for key, value in old.items() if key != "pause"}


def _with_pause(new: Route, service: Desired, old: Route | None) -> Route:
    """Add a pause that the hold key asks for; one that this node has seen before goes on."""
    if not service.pause or not service.is_paused:
        return new
    obstacle = pause.find_obstacle(service.spec) if service.spec else pause.find_obstacle_of_routes(new["routes"])
    record = pause.begin(service.pause, obstacle, pause.record_of(old or {}), time.time(), clock.uptime_s())
    return {**new, "pause": record._asdict()}
