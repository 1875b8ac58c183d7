"""From the state folder to nginx: what is decided there and not confirmed yet is rendered, validated, swapped in and
confirmed. It looks at the whole state, not at what happened, so a publication that was cut short is simply done again.
"""

import os
import tempfile
import time
from collections.abc import Iterable
from typing import Any

from lictor import config, errors, files, layout, live, log, nginx, render, routes, upstream


def publish(settings: config.Config, suspects: Iterable[str] = ()) -> list[str]:
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
                templates = render.templates(settings.path, live=settings.nginx.mode == "live")
                confirmed = _publish(settings.nginx, folder, templates, doubted)
                files.touch(last_path, began_ns)
                return confirmed
        time.sleep(wait_s)


def check_live(settings: config.Config, there: config.Nginx) -> None:
    """Have nginx parse what live mode writes for a service; raises Refused when it can't, as without its Lua module."""
    templates = render.Templates(settings.path, live=True)
    with tempfile.TemporaryDirectory(prefix="lictor-") as folder:  # root, who may ask, leaves nothing to stumble over
        if not there.container:
            os.mkdir(os.path.join(folder, "run"))
            there = there._replace(conf_dir=folder)
        nginx.check(there, templates.text(
            "check.conf.j2", run_dir=os.path.join(there.conf_dir, "run"),
            upstreams=[templates.upstream("lictor", ())],
            locations=[templates.location("lictor", "/lictor", empty=False)]))


def _publish(settings: config.Nginx, state_dir: str, templates: render.Templates, doubted: set[str]) -> list[str]:
    """In live mode a change of peers goes by itself, and by a reload only what that does not do."""
    known = {name: route for name in routes.names(state_dir) if (route := routes.route(state_dir, name))}
    state = {name: now for name in known if (now := routes.served(state_dir, name))}
    for name in doubted & state.keys() if templates.live else ():
        if state[name].confirmed and not live.is_stored(settings.conf_dir, name, state[name].peers):
            routes.mark(state_dir, name, state[name], confirmed=False)
            state[name] = routes.served(state_dir, name) or state[name]
    followed = [name for name, now in state.items()
                if templates.live and not now.confirmed and live.publish(settings, state_dir, name)]
    state.update({name: now for name in followed if (now := routes.served(state_dir, name))})
    valid = _valid(settings, templates, _wanted(settings.conf_dir, templates, known, state, doubted))
    for name in valid:
        routes.mark(state_dir, name, state[name], confirmed=False, live_at="")
    if templates.live:
        live.store(settings, state_dir, [name for name, each in valid.items() if each.upstream])
    aims = {name: state[name]._replace(live_at=routes.place(known[name]) if templates.live else "") for name in valid}
    served = _serve(settings, state_dir, aims, valid)
    return list(dict.fromkeys([*followed, *(
        name for name in served if not aims[name].live_at or live.publish(settings, state_dir, name))]))


def _wanted(conf_dir: str, templates: render.Templates, known: dict[str, dict[str, Any]],
            state: dict[str, upstream.Served], doubted: set[str]) -> dict[str, layout.Wanted]:
    """What is to be published: of those that are unconfirmed, or not in place as they should be."""
    shared = templates.shared(conf_dir).items() if templates.live else ()  # else what lictor init wrote will do
    missing = {path: text for path, text in shared if files.read(os.path.join(conf_dir, path)) != text}
    wanted: dict[str, layout.Wanted] = {}
    for name, now in state.items():
        if name in doubted or not now.confirmed:
            try:
                files_of = layout.wanted(conf_dir, templates, known, name, now.peers)
                files_of.files.update(missing)
                if not now.confirmed or not files_of.is_in_place(conf_dir):
                    wanted[name] = files_of
            except errors.Refused as error:
                log.event("publish", service=name, outcome="refused", reason=error)
    return wanted


def _valid(settings: config.Nginx, templates: render.Templates,
           wanted: dict[str, layout.Wanted]) -> dict[str, layout.Wanted]:
    """Those that nginx accepts: all at once, else each by itself, so that a bad one doesn't block another. It is not
    asked about other peers for what it serves already."""
    texts = [each for each in wanted.values() if each.upstream and each.is_new_to_nginx(settings.conf_dir)]
    if not texts:
        return wanted
    try:
        nginx.check(settings, templates.text(
            "check.conf.j2", run_dir=os.path.join(settings.conf_dir, "run"),
            upstreams=[each.upstream for each in texts], locations=[each.location for each in texts]))
        return wanted
    except errors.Refused as error:
        if len(wanted) == 1:
            log.event("publish", service=" ".join(wanted), outcome="refused", reason=error)
            return {}
        return {name: each for name in wanted if _valid(settings, templates, {name: (each := wanted[name])})}
    except errors.Unavailable as error:
        log.event("publish", service=" ".join(wanted), outcome="waits", reason=error)
        return {}


def _serve(settings: config.Nginx, state_dir: str, state: dict[str, upstream.Served],
           wanted: dict[str, layout.Wanted]) -> list[str]:
    """Swap and reload; what nginx doesn't serve is rolled back, and tried again one service at a time. `state` says
    live_at as it is then, and with that the peers are still to be confirmed."""
    if not wanted:
        return []
    began, listed = time.monotonic(), " ".join(wanted)
    before = nginx.swap(settings.conf_dir, _merged(wanted.values()))
    try:
        generation = nginx.reload(settings)
    except errors.Unavailable as error:
        log.event("publish", service=listed, outcome="waits", reason=error)
        return []
    except errors.Refused as error:
        nginx.swap(settings.conf_dir, before)
        if len(wanted) > 1:
            return [name for name in wanted for name in _serve(settings, state_dir, state, {name: wanted[name]})]
        log.event("publish", service=listed, outcome="rolled-back", reason=error)
        return []
    for name in wanted:
        routes.mark(state_dir, name, state[name], confirmed=not state[name].live_at, generation=generation,
                    live_at=state[name].live_at)
    log.event("publish", service=listed, outcome="done", generation=generation,
              ms=round(1000 * (time.monotonic() - began)))
    return list(wanted)


def _merged(wanted: Iterable[layout.Wanted]) -> dict[str, str | None]:
    """A file that one service needs stays, though another one left it."""
    merged: dict[str, str | None] = {}
    for each in wanted:
        merged.update({path: text for path, text in each.files.items() if text or path not in merged})
    return merged
