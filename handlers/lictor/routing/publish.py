"""From the state folder to nginx: what is decided there and not confirmed yet is rendered, validated, swapped in and
confirmed. It looks at the whole state, not at what happened, so a publication that was cut short is simply done again.
"""

import functools
import os
import tempfile
import time
from collections.abc import Iterable
from typing import Any

from lictor import errors
from lictor.adapters import files, log
from lictor.routing import apply_batch, conf_files, fallback, live_peers, nginx, peers, refusal_backoff, route_store
from lictor.spec.settings import Nginx, Settings


def publish(settings: Settings, suspects: Iterable[str] = ()) -> list[str]:
    """Publish all that is unconfirmed, and those of `suspects` whose files are not as they should be. Returns the names
    that are confirmed now; what fails is logged, blocks no other service, and stays unconfirmed.

    However many ask, nginx reloads once an interval: they wait for it without the lock; who has the lock first then
    takes along all that is unconfirmed, and the others find their work done. Who is killed leaves it unconfirmed.
    """
    if settings.nginx is None:
        return []
    folder, doubted, asked_ns = settings.state_dir, set(suspects), time.time_ns()
    last_path = os.path.join(folder, "nginx.last")  # its time is that up to which decisions have been taken along
    while True:
        with files.locked(os.path.join(folder, "nginx.lock")):
            if not doubted and asked_ns < files.modified_ns(last_path) <= time.time_ns():
                return []
            wait_s = 0.0 if doubted else nginx.turn_in_s(settings.nginx)
            if not wait_s:
                began_ns = time.time_ns()
                confirmed = _publish(settings, settings.nginx, doubted)
                files.touch(last_path, began_ns)
                return confirmed
        time.sleep(wait_s)


def check_live(settings: Settings, there: Nginx) -> None:
    """Have nginx parse what live mode writes for a service; raises Refused when it can't, as without its Lua module."""
    from lictor.routing.templates import Templates

    templates = Templates(settings.templates_dir, live=True)
    with tempfile.TemporaryDirectory(prefix="lictor-") as folder:  # root, who may ask, leaves nothing to stumble over
        if not there.container:
            os.mkdir(os.path.join(folder, "run"))
            there = there._replace(conf_dir=folder)
        nginx.check(there, templates.text(
            "check.conf.j2", run_dir=os.path.join(there.conf_dir, "run"),
            upstreams=[templates.upstream("lictor", ())],
            locations=[templates.location("lictor", "/lictor", empty=False)]))


def _publish(settings: Settings, there: Nginx, doubted: set[str]) -> list[str]:
    """In live mode a change of peers goes by itself, and by a reload only what that does not do."""
    folder = settings.state_dir
    nginx.take_back(there.conf_dir)
    known = {name: route for name in route_store.names(folder) if (route := route_store.route(folder, name))}
    state = {name: now for name in known if (now := route_store.served(folder, name))}
    for name in doubted & state.keys():
        if _has_lost_its_list(there, name, state[name]):
            route_store.mark(folder, name, state[name], confirmed=False)
            state[name] = route_store.served(folder, name) or state[name]
    followed = [
        name
        for name, now in state.items()
        if route_store.served_mode(now) == "live" and not now.confirmed and live_peers.publish(there, folder, name)
    ]
    state.update({name: now for name in followed if (now := route_store.served(folder, name))})
    around = functools.cache(lambda: refusal_backoff.circumstances(settings, there))  # mostly, nobody asks
    resting = {name for name, now in state.items() if route_store.is_refused(known[name], there.mode, now)
               and (name not in doubted or refusal_backoff.rests(known[name], there.mode, now, around()))}
    unfit: set[str] = set()
    refused: set[str] = set()
    asked = {name: now for name, now in state.items() if name not in resting}
    wanted = _wanted(settings, there, known, asked, doubted, unfit)
    confirmed = [*followed]
    last = {name for name in wanted if route_store.is_refused(known[name], there.mode, state[name])}
    for names in (wanted.keys() - last, last):  # what was refused before keeps nobody waiting
        confirmed += _bring(settings, there, known, state, {name: wanted[name] for name in sorted(names)}, refused)
    for name in refused | unfit:
        seen, place = state[name], route_store.place(known[name], there.mode)
        route_store.mark(folder, name, seen, confirmed=seen.confirmed,
                    **refusal_backoff.noted(seen, place, around() if name in refused else ""))
        state[name] = route_store.served(folder, name) or seen
    confirmed += fallback.follow(settings, there, known, state, resting | refused | unfit)
    return list(dict.fromkeys(confirmed))


def _has_lost_its_list(there: Nginx, name: str, now: peers.Served) -> bool:
    return (
        route_store.served_mode(now) == "live"
        and now.confirmed
        and not live_peers.is_stored(there.conf_dir, name, now.peers)
    )


def _bring(settings: Settings, there: Nginx, known: dict[str, dict[str, Any]],
           state: dict[str, peers.Served], wanted: dict[str, conf_files.Wanted], refused: set[str]) -> list[str]:
    """Have nginx serve these files; returns what it confirmed, and adds to `refused` what it would not have."""
    folder, is_live = settings.state_dir, there.mode == "live"
    valid = apply_batch.valid(settings, there, wanted, refused)
    if is_live:
        live_peers.store(there, folder, [name for name, each in valid.items() if each.upstream])
    aims = {name: state[name]._replace(at=(route_store.place(known[name], there.mode),), refused=(),
                                       confirmed=not is_live or known[name]["removed"]) for name in valid}
    served = apply_batch.serve(there, folder, state, aims, valid, refused)
    return [name for name in served if aims[name].confirmed or live_peers.publish(there, folder, name)]


def _wanted(settings: Settings, there: Nginx, known: dict[str, dict[str, Any]],
            state: dict[str, peers.Served], doubted: set[str], unfit: set[str]) -> dict[str, conf_files.Wanted]:
    """What is to be published: of those that are unconfirmed, or not in place as they should be. Adds to `unfit` what
    lictor itself would not have."""
    asked = [name for name, now in state.items()
             if name in doubted or not now.confirmed or not route_store.is_settled(known[name], there.mode, now)]
    has_own = bool(settings.templates_dir) and os.path.exists(os.path.join(settings.templates_dir, "upstream.conf.j2"))
    wanted = {name: each for name in asked
              if name not in doubted and not has_own and route_store.is_settled(known[name], there.mode, state[name])
              and (each := conf_files.other_peers(there.conf_dir, name, state[name].peers))}
    others = [name for name in asked if name not in wanted]
    return {**wanted, **(_rendered(settings, there, known, state, others, unfit) if others else {})}


def _rendered(settings: Settings, there: Nginx, known: dict[str, dict[str, Any]],
              state: dict[str, peers.Served], names: Iterable[str], unfit: set[str]) -> dict[str, conf_files.Wanted]:
    templates = apply_batch.templates(settings, there)
    shared = templates.shared(there.conf_dir).items() if templates.live else ()  # else what lictor init wrote will do
    missing = {path: text for path, text in shared if files.read(os.path.join(there.conf_dir, path)) != text}
    wanted: dict[str, conf_files.Wanted] = {}
    for name in names:
        try:
            files_of = conf_files.wanted(there.conf_dir, templates, known, name, state[name].peers)
            files_of.files.update(missing)
            if (state[name].refused or not state[name].confirmed or not files_of.is_in_place(there.conf_dir)
                    or not route_store.is_settled(known[name], there.mode, state[name])):
                wanted[name] = files_of
        except errors.Refused as error:
            log.event("publish", service=name, outcome="refused", reason=error)
            unfit.add(name)
    return wanted
