"""This node's nginx follows the catalogue: from an event or a sweep to a decision, and to a publication.

The commonest event changes nothing and should cost little more than Python and json, so whatever only a change needs
is imported where it is used.
"""

import functools
import time
from collections.abc import Callable, Iterable, Sequence, Set
from typing import TYPE_CHECKING, Any, NamedTuple

from lictor import errors, model
from lictor.adapters import files
from lictor.adapters.consul import payload
from lictor.adapters.consul.payload import HINT, Payload
from lictor.routing import route_store, sides
from lictor.routing.peers import Decision, PublishedRoute
from lictor.spec.settings import Settings

if TYPE_CHECKING:
    from lictor.adapters.consul.answers import Catalogue
    from lictor.adapters.consul.client import Client

_PATIENCE_S = 5.0
_MOST_LOGGED = 20  # refused instances at an event


def event(settings: Settings, token_file: str | None, name: str, observed: Payload, consul_index: int,
          began_s: float) -> tuple[list[str], bool]:
    """Follow the payload of an event, which came `began_s` after the machine's start; returns the services that nginx
    has just confirmed, and whether it serves this one as it was decided."""
    _log_skipped(name, observed.skipped)
    follow = functools.partial(_follow, settings.state_dir, name, observed.instances, consul_index,
                               lambda: _connect(token_file))
    try:
        is_news = follow()
    except errors.Unavailable:  # just now a leader is elected, say: until the next event or sweep would be long
        from lictor.adapters import retry

        is_news = retry.unavailable(follow, timeout_s=_PATIENCE_S)
    if not is_news:
        return [], True
    confirmed = _publish_peers(settings, name) or _publish(settings)
    published = route_store.published(settings.state_dir, name)
    if not (published and published.confirmed):
        return confirmed, False
    from lictor.adapters import clock, tally

    tally.time_taken("confirmed", clock.uptime_s() - began_s)
    return confirmed, True


def refresh(settings: Settings, names: Iterable[str], client: "Client") -> list[str]:
    """Route these services again, whose routes/NAME.json may be new; returns the ones that are confirmed now. What
    fails is logged, and left to the timer."""
    if not settings.nginx:
        return []
    suspects = list(names)
    _reconsider_mode(settings)
    _note_listeners(settings, suspects)
    for name in suspects:
        _try_follow(settings.state_dir, name, None, client)
    return _publish(settings, suspects)


class Swept(NamedTuple):
    """Parts of the user's own configuration that could not be read, and the services that the catalogue and their files
    were found to agree with."""

    unread: list[str] = []
    in_place: frozenset[str] = frozenset()


def sweep(settings: Settings, catalogue: "Catalogue", client: "Client",
          find_unchanged: Callable[[], Set[str]] = frozenset) -> Swept:
    """Mend what events missed, holds that ran out, and what isn't confirmed, by all instances of the catalogue. What
    fails is logged, and left to the next. The services that `find_unchanged` returns need no look."""
    if not settings.nginx:
        return Swept()
    known = route_store.names(settings.state_dir)
    _reconsider_mode(settings)
    unread = _note_listeners(settings, known)
    unchanged, followed = find_unchanged(), set[str]()
    suspects = [name for name in known if name not in unchanged]
    for name in suspects:
        route = route_store.route(settings.state_dir, name)
        services = sides.catalog_names(route) if route else [name]
        if _try_follow(settings.state_dir, name, functools.partial(_entries, catalogue.of, services), client):
            followed.add(name)
    in_place = _compare(settings, suspects)
    return Swept(unread if known else [], frozenset(followed & in_place))


def _reconsider_mode(settings: Settings) -> None:
    from lictor.routing import nginx_mode

    nginx_mode.reconsider(settings)


def _note_listeners(settings: Settings, names: Iterable[str]) -> list[str]:
    """Note where nginx listens, or will once these services are published; returns what could not be read for it."""
    from lictor.routing import user_servers

    assert settings.nginx
    users = user_servers.read(settings.nginx)
    found = user_servers.listeners(settings.nginx, users.servers)
    routes = [each for name in names if (route := route_store.route(settings.state_dir, name))
              for each in route["routes"] if each["host"]]
    if routes:
        found |= user_servers.listeners_to_come(settings, tls=any("tls" in each["options"] for each in routes))
    route_store.write_listeners(settings.state_dir, found)
    return users.unread


def _try_follow(state_dir: str, name: str, entries: Callable[[], list[dict[str, Any]]] | None,
                client: "Client") -> bool:
    """Follow by a fresh read, or by `entries`, which may be some moments old; returns whether that changed nothing."""
    try:
        instances = payload.instances(entries()).instances if entries else None
        return not _follow(state_dir, name, instances, HINT, lambda: client)
    except (errors.LictorError, OSError) as error:  # OSError: of its files or locks
        from lictor.adapters import log

        log.event("route", service=name, outcome="failed", reason=error)
        return False


def _follow(state_dir: str, name: str, instances: Sequence[model.Instance] | None, index: int,
            connect: Callable[[], "Client"]) -> bool:
    """Decide, and note what is to be served; returns whether there is something to publish."""
    from lictor.adapters import clock, log

    with files.locked(route_store.lock_path(state_dir, name)):
        route, published = route_store.route(state_dir, name), route_store.published(state_dir, name)
        if route is None:
            log.event("route", service=name, outcome="ignored", reason="lictor-scale has not written its route yet")
            return False
        now_s = time.time()
        if published and published.empty_since:
            now = clock.read(state_dir)  # once: a clock that is set meanwhile ends no hold
            now_s, published = now.now, published._replace(empty_since=now.since(published.empty_since))
        decision = _decide(state_dir, name, route, published, instances, index, connect, now_s)
        if published is None or decision.kind == "publish":
            log.event("route", service=name, outcome="publish", peers=len(decision.peers), reason=decision.reason)
            published = (published or PublishedRoute((), ()))._replace(
                peers=decision.peers, instances=decision.instances, canary=decision.canary, ailing=decision.ailing,
                consul_index=0, empty_since=None, confirmed=False)
            route_store.note(state_dir, name, published, index)
        elif decision.kind == "hold":
            if published.empty_since is None:
                log.event("route", service=name, outcome="hold", peers=len(published.peers), reason=decision.reason)
            empty_since = published.empty_since or now_s
            route_store.note(state_dir, name, published._replace(empty_since=empty_since), index)
        else:
            route_store.note_unchanged(state_dir, name, published, decision, index)
        return not published.confirmed


def _decide(state_dir: str, name: str, route: dict[str, Any], published: PublishedRoute | None,
            instances: Sequence[model.Instance] | None, index: int, connect: Callable[[], "Client"],
            now_s: float) -> Decision:
    """Decide on the instances, and on a consistent read if they are too old, or too few to be believed."""
    from lictor.adapters import heartbeat

    dead = heartbeat.read_dead(state_dir)
    living = _without(dead, instances or [])
    own = route_store.own_endpoints(state_dir, living)
    decision = sides.decide(route, published, living, now_s=now_s, certain=False, own=own)
    is_late = published is not None and index < published.consul_index and decision.kind != "unchanged"
    if not route["removed"] and (instances is None or is_late or decision.kind == "confirm"):
        read = functools.partial(connect().health, consistent=True)
        again = payload.instances(_entries(read, sides.catalog_names(route)))
        _log_skipped(name, again.skipped)
        living = _without(dead, again.instances)
        own = route_store.own_endpoints(state_dir, living)
        decision = sides.decide(route, published, living, now_s=now_s, certain=True, own=own)
    if decision.kind != "unchanged" or index != HINT:
        _log_skipped(name, decision.refused)
    return decision


def _entries(read: Callable[[str], list[dict[str, Any]]], services: Iterable[str]) -> list[dict[str, Any]]:
    return [entry for service in services for entry in read(service)]


def _without(dead: Set[str], instances: Sequence[model.Instance]) -> list[model.Instance]:
    """Take those out of traffic whose containers are dead, as this node's registrar knows and could not tell Consul."""
    return [instance._replace(maintenance="its container does not run") if instance.container_id in dead else instance
            for instance in instances]


def _publish_peers(settings: Settings, name: str) -> list[str]:
    """Do what a change of peers alone needs in live mode, whatever the number of services."""
    from lictor.routing import nginx_mode

    if settings.nginx is None or nginx_mode.read(settings).name != "live":
        return []
    from lictor.routing import live_peers

    return [name] if live_peers.publish(settings.nginx, settings.state_dir, name) else []


def _publish(settings: Settings, suspects: Iterable[str] = ()) -> list[str]:
    from lictor.routing import publish

    return publish.publish(settings, suspects)


def _compare(settings: Settings, suspects: Iterable[str]) -> set[str]:
    from lictor.routing import publish

    return publish.compare(settings, suspects)[1]


def _connect(token_file: str | None) -> "Client":
    from lictor.adapters.consul.client import Client

    return Client.connect(token_file=token_file)


def _log_skipped(name: str, reasons: Iterable[str]) -> None:
    from lictor.adapters import log

    reasons = list(reasons)
    for reason in reasons[:_MOST_LOGGED]:
        log.event("route", service=name, outcome="skipped", reason=reason)
    if reasons[_MOST_LOGGED:]:
        log.event("route", service=name, outcome="skipped", reason=f"and {len(reasons) - _MOST_LOGGED} more")
