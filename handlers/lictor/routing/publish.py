"""Publication from the state folder to nginx: what is decided there and not confirmed yet is rendered, validated,
swapped in and confirmed. It looks at the whole state, not at one event, so that a publication which was cut short is
simply done again.

The way of a change of peers: `follow` writes the decision; `publish` writes peers/NAME.conf, reloads, and notes what
nginx has confirmed. A template is asked only about other files. In live mode `live_peers` sets them, and nothing is
reloaded.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterable

from lictor import errors
from lictor.adapters import files, log
from lictor.routing import live_peers, nginx, refusal_backoff, route_store
from lictor.routing.apply_batch import Batch, Change
from lictor.routing.conf import service_files
from lictor.routing.peers import PublishedRoute
from lictor.spec.settings import Nginx, Settings


def publish(settings: Settings, suspects: Iterable[str] = ()) -> list[str]:
    """Do the same as `compare`; returns the services that are confirmed now."""
    return compare(settings, suspects)[0]


def compare(settings: Settings, suspects: Iterable[str]) -> tuple[list[str], set[str]]:
    """Publish all that is unconfirmed, and the files of `suspects` that are not as they should be. Returns the services
    that are confirmed now, and the suspects that were, as their files were found to be in place; what fails is logged,
    blocks no other service, and stays unconfirmed.

    However many handlers ask, nginx reloads once an interval: they wait for it without the lock. The first to have the
    lock then takes along all that is unconfirmed, and the others find their work done. If it is killed, that stays
    unconfirmed.
    """
    if settings.nginx is None:
        return [], set()
    state_dir, to_compare, called_ns = settings.state_dir, set(suspects), time.time_ns()
    last_path = os.path.join(state_dir, "nginx.last")  # its time is that up to which decisions have been taken along
    while True:
        with files.locked(os.path.join(state_dir, "nginx.lock")):
            if not to_compare and called_ns < files.modified_ns(last_path) <= time.time_ns():
                return [], set()
            wait_s = 0.0 if to_compare else nginx.turn_in_s(settings.nginx)
            if not wait_s:
                began_ns = time.time_ns()
                batch = Batch(settings, settings.nginx, to_compare)
                confirmed = _publish(batch, to_compare)
                files.touch(last_path, began_ns)
                return confirmed, batch.in_place
        time.sleep(wait_s)


def reread(settings: Settings) -> None:
    """Have nginx read files again that are not lictor's. Raises Refused, or Unavailable, as a reload does."""
    assert settings.nginx
    with files.locked(os.path.join(settings.state_dir, "nginx.lock")):
        nginx.take_back(settings.nginx.conf_dir)
        nginx.await_idle(settings.nginx)
        nginx.reread(settings.nginx)


def check_live(settings: Settings, nginx_settings: Nginx) -> None:
    """Have nginx parse what live mode writes for a service; raises Refused when it can't, as without its Lua module."""
    import tempfile  # which an event does without

    from lictor.routing.templates import Templates

    templates = Templates(settings.templates_dir, live=True, trusted_proxies=nginx_settings.trusted_proxies)
    with tempfile.TemporaryDirectory(prefix="lictor-") as folder:  # root may ask too, and leaves nothing behind
        if not nginx_settings.container:
            os.mkdir(os.path.join(folder, nginx.RUN))
            nginx_settings = nginx_settings._replace(conf_dir=folder)
        conf_dir = nginx_settings.conf_dir
        nginx.check(nginx_settings, templates.text(
            "check.conf.j2", run_dir=f"{conf_dir}/{nginx.RUN}", upstreams=[templates.upstream("lictor", conf_dir)],
            locations=[templates.location("lictor", "/lictor", "prefix", conf_dir)]))


def _publish(batch: Batch, suspects: set[str]) -> list[str]:
    nginx.take_back(batch.conf_dir)
    _set_live_peers(batch, suspects)
    circumstances = functools.cache(  # mostly, nobody asks
        lambda: refusal_backoff.circumstances(batch.settings, batch.nginx_settings))
    backing_off = {name for name in batch.published if _is_backing_off(batch, name, suspects, circumstances)}
    due = [name for name in batch.published.keys() - backing_off
           if name in suspects or not batch.published[name].confirmed or not batch.is_settled(name)]
    changes = _changes(batch, sorted(due), suspects)
    refused_before = {name for name in changes if batch.is_refused(name)}
    for names in (changes.keys() - refused_before, refused_before):  # these keep no other service waiting
        _bring(batch, {name: changes[name] for name in sorted(names)})
    not_accepted = {**batch.refused, **batch.invalid}
    for name, reason in not_accepted.items():
        _note_refusal(batch, name, circumstances() if name in batch.refused else "", reason)
    _serve_without_tls(batch, [*batch.refused])
    _follow_by_earlier_files(batch, backing_off | not_accepted.keys())
    for name in route_store.unconfirmed(batch.state_dir):
        with contextlib.suppress(OSError):  # of its lock, say; the next publication reads it once more
            route_store.remove_mark(batch.state_dir, name, batch.mode)
    return list(dict.fromkeys(batch.confirmed))


def _set_live_peers(batch: Batch, suspects: set[str]) -> None:
    """Set the peers that need no reload, and the ones that were lost."""
    live = [name for name, published in batch.published.items() if route_store.mode_served(published) == "live"
            and (name in suspects or not published.confirmed)]
    batch.confirmed += [name for name in live if live_peers.publish(
        batch.nginx_settings, batch.state_dir, name, is_suspect=name in suspects)]
    batch.reread(live)


def _note_refusal(batch: Batch, name: str, circumstances: str, reason: str) -> None:
    published, place = batch.published[name], route_store.place(batch.routes[name], batch.mode)
    if circumstances and any("tls" in each["options"] for each in batch.routes[name]["routes"]):
        from lictor.routing.tls import hosts  # as above

        reason += hosts.explain_unseen(batch.nginx_settings, batch.routes[name])
    refusal = refusal_backoff.again(published.refusal, place, circumstances, reason)
    batch.mark(name, confirmed=published.confirmed, refusal=refusal)
    batch.reread([name])


def _is_backing_off(batch: Batch, name: str, suspects: set[str], circumstances: Callable[[], str]) -> bool:
    refusal = batch.published[name].refusal
    return (refusal is not None and batch.is_refused(name)
            and (name not in suspects or refusal_backoff.is_backing_off(refusal, circumstances())))


def _changes(batch: Batch, names: list[str], suspects: set[str]) -> dict[str, Change]:
    """Return the changes to what is there; the services whose files lictor itself would not have are invalid."""
    changes = {name: _change(batch, name, found) for name in names
               if name not in suspects and batch.mode == "reload" and not batch.routes[name]["removed"]
               and batch.is_settled(name)
               and (found := service_files.other_peers(batch.conf_dir, name, batch.published[name].peers))}
    to_render = [name for name in names if name not in changes]
    return {**changes, **_rendered(batch, to_render)} if to_render else changes


def _rendered(batch: Batch, names: list[str]) -> dict[str, Change]:
    from lictor.routing import user_servers  # which other peers do without

    templates = batch.templates(batch.mode)
    missing = _missing(batch)
    changes: dict[str, Change] = {}
    users = user_servers.read(batch.nginx_settings).servers
    routes = service_files.routes_of(batch.all_routes, batch.earlier_routes())
    try:  # the most have no TLS, and do without what reads certificates
        hosts = batch.hosts() if _asks_for_tls(batch) else None
    except errors.Unavailable as error:
        log.event("publish", service=" ".join(names), outcome="waits", reason=error)
        return {}
    for name in names:
        published = batch.published[name]
        try:
            found = service_files.desired(batch.conf_dir, templates, routes, name, published.peers,
                                          hosts.secure(batch.routes[name]) if hosts else {})
            user_servers.require_no_clash(users, batch.routes[name], found.servers)
        except (errors.Refused, OSError, ValueError) as error:
            log.event("publish", service=name, outcome="refused", reason=error)
            batch.invalid[name] = str(error)
            continue
        found.files.update(missing)
        if (published.refusal or not published.confirmed or not batch.is_settled(name)
                or not found.is_in_place(batch.conf_dir)):
            changes[name] = _change(batch, name, found)
        else:
            batch.in_place.add(name)
    return changes


def _missing(batch: Batch) -> dict[str, str]:
    """Return the files that all services need, as far as others are there: those of other settings, mode or version
    than lictor init knew."""
    shared = batch.templates(batch.mode).shared(batch.conf_dir).items()
    return {path: text for path, text in shared if files.read(os.path.join(batch.conf_dir, path)) != text}


def _asks_for_tls(batch: Batch) -> bool:
    return any("tls" in route["options"] for service in batch.all_routes.values() for route in service["routes"])


def _change(batch: Batch, name: str, found: service_files.ConfFiles) -> Change:
    """Return the change to these files; in live mode the peers are still to be confirmed then."""
    route = batch.routes[name]
    return Change(found, batch.published[name]._replace(
        places=(route_store.place(route, batch.mode),), refusal=None,
        confirmed=batch.mode == "reload" or route["removed"]))


def _bring(batch: Batch, changes: dict[str, Change]) -> None:
    """Have nginx serve the changes that it accepts."""
    changes = batch.check(changes, batch.mode)
    nginx_settings, state_dir = batch.nginx_settings, batch.state_dir
    if batch.mode == "live":
        to_store = {name for name, each in changes.items() if each.files.upstream}
        failed = to_store - live_peers.store(nginx_settings, state_dir, to_store)
        changes = {name: each for name, each in changes.items() if name not in failed}
    batch.confirmed += [name for name in batch.serve(changes)
                        if changes[name].target.confirmed or live_peers.publish(nginx_settings, state_dir, name)]


def _serve_without_tls(batch: Batch, names: list[str]) -> None:
    """Serve by plain HTTP those that nginx refused on a host whose TLS is new: its certificate may be to blame, which
    lictor need not be able to read. The refusal of what asks for it stays."""
    from lictor.routing.tls import hosts  # which other peers do without

    wishes = hosts.gather_wishes(*(batch.routes[name] for name in names))
    if not wishes:
        return
    known, missing, changes = batch.hosts(), _missing(batch), dict[str, Change]()
    new = {host for host, wish in wishes.items()
           if known.decide(host, wish).tls and not hosts.is_in_force(batch.conf_dir, host)}
    routes = service_files.routes_of(batch.all_routes, batch.earlier_routes())
    for name in (each for each in names if any(route["host"] in new for route in batch.routes[each]["routes"])):
        try:
            found = service_files.desired(batch.conf_dir, batch.templates(batch.mode), routes, name,
                                          batch.published[name].peers, known.secured)
        except (errors.Refused, OSError, ValueError) as error:
            log.event("publish", service=name, outcome="refused", reason=error)
            continue
        found.files.update(missing)
        change = _change(batch, name, found)
        if hosts.gather_wishes(batch.routes[name]):
            place = route_store.place(hosts.without_wishes(batch.routes[name]), batch.mode)
            change = change._replace(target=change.target._replace(
                places=(place,), refusal=batch.published[name].refusal))
        changes[name] = change
    _bring(batch, changes)
    batch.reread(changes)


def _follow_by_earlier_files(batch: Batch, names: set[str]) -> None:
    """Have the services whose files are refused follow the catalogue by the files that nginx confirmed before.

    If other files may lie in their place, these are rendered again for the route that was confirmed. If a template or
    nginx refuses that too, the peers change, whichever of the files nginx has.
    """
    live = {name for name in names if live_peers.publish(batch.nginx_settings, batch.state_dir, name)}
    behind = [name for name in sorted(names - live) if _is_behind(batch.published[name])]
    moved = {name: change for name in behind if len({*batch.published[name].places}) > 1
             and (change := _earlier(batch, name))}
    changes = batch.check(moved, "reload")
    for name in behind:
        published = batch.published[name]
        if name not in changes:
            found = service_files.other_peers(batch.conf_dir, name, published.peers)
            if found:
                changes[name] = Change(found, published._replace(confirmed=True))
            _note_frozen(batch, name, is_frozen=not found)
    batch.confirmed += [*live, *batch.serve(changes)]


def _note_frozen(batch: Batch, name: str, *, is_frozen: bool) -> None:
    published = batch.published[name]
    if published.refusal and published.refusal.is_frozen != is_frozen:
        if is_frozen:
            log.event("publish", service=name, outcome="frozen", reason="neither the refused files nor those in force "
                                                                        "take other peers")
        batch.mark(name, refusal=published.refusal._replace(is_frozen=is_frozen))


def _is_behind(published: PublishedRoute) -> bool:
    """Whether the peers of the files that nginx confirmed last are in a file, and not the ones that were decided."""
    place = published.places[0]
    return not published.confirmed and place is not None and place.mode == "reload"


def _earlier(batch: Batch, name: str) -> Change | None:
    """Return the files of the route that nginx confirmed last, in reload mode; None if a template is refused."""
    published = batch.published[name]
    place = published.places[0]
    assert place
    try:
        route = {**batch.routes[name], "routes": route_store.routes_at(place), "removed": False,
                 "measure": place.ignored is not None, "ignore": place.ignored or (),
                 "canary": batch.routes[name]["canary"] if place.by_side else None}
        found = service_files.desired(batch.conf_dir, batch.templates("reload"), service_files.routes_of({name: route}),
                                      name, published.peers, batch.hosts().secure(route))
        for path in (*found.files,):
            if path.startswith("traffic/"):  # what counts requests is the same for all services, in the mode in force
                del found.files[path]
    except (errors.Refused, errors.Unavailable, OSError, ValueError) as error:
        log.event("publish", service=name, outcome="refused", reason=error)
        return None
    return Change(found, published._replace(places=(place,), confirmed=True))
