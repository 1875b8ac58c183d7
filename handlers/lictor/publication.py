"""From the state folder to nginx: what is decided there and not confirmed yet is rendered, validated, swapped in and
confirmed. It looks at the whole state, not at what happened, so a publication that was cut short is simply done again.
"""

import os
import time
from collections.abc import Iterable

from lictor import config, errors, files, layout, log, nginx, render, routes, upstream


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
                confirmed = _publish(settings.nginx, folder, render.Templates(settings.path), doubted)
                files.touch(last_path, began_ns)
                return confirmed
        time.sleep(wait_s)


def _publish(settings: config.Nginx, state_dir: str, templates: render.Templates, doubted: set[str]) -> list[str]:
    state, wanted = _wanted(settings, state_dir, templates, doubted)
    valid = _valid(settings, templates, wanted)
    for name in valid:
        _mark(state_dir, name, state[name], confirmed=False)
    return _serve(settings, state_dir, state, valid)


def _wanted(settings: config.Nginx, state_dir: str, templates: render.Templates,
            doubted: set[str]) -> tuple[dict[str, upstream.Served], dict[str, layout.Wanted]]:
    """What was decided on each service, and what is to be published of it."""
    known = {name: route for name in routes.names(state_dir) if (route := routes.route(state_dir, name))}
    state = {name: now for name in known if (now := routes.served(state_dir, name))}
    wanted: dict[str, layout.Wanted] = {}
    for name, now in state.items():
        if name in doubted or not now.confirmed:
            try:
                files_of = layout.wanted(settings.conf_dir, templates, known, name, now.peers)
                if not now.confirmed or not files_of.is_in_place(settings.conf_dir):
                    wanted[name] = files_of
            except errors.Refused as error:
                log.event("publish", service=name, outcome="refused", reason=error)
    return state, wanted


def _valid(settings: config.Nginx, templates: render.Templates,
           wanted: dict[str, layout.Wanted]) -> dict[str, layout.Wanted]:
    """Those that nginx accepts: all at once, else each by itself, so that a bad one doesn't block another."""
    texts = [each for each in wanted.values() if each.upstream]
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
    """Swap and reload; what nginx doesn't serve is rolled back, and tried again one service at a time."""
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
        _mark(state_dir, name, state[name], confirmed=True, generation=generation)
    log.event("publish", service=listed, outcome="done", generation=generation,
              ms=round(1000 * (time.monotonic() - began)))
    return list(wanted)


def _merged(wanted: Iterable[layout.Wanted]) -> dict[str, str | None]:
    """A file that one service needs stays, though another one left it."""
    merged: dict[str, str | None] = {}
    for each in wanted:
        merged.update({path: text for path, text in each.files.items() if text or path not in merged})
    return merged


def _mark(state_dir: str, name: str, seen: upstream.Served, **fields: object) -> None:
    """Note in peers/NAME.json how far the publication is, unless another decision was taken meanwhile."""
    with files.locked(routes.lock_path(state_dir, name)):
        now = routes.served(state_dir, name)
        if now and (now.peers, now.instances) == (seen.peers, seen.instances):
            routes.write_served(state_dir, name, now._replace(**fields))  # type: ignore[arg-type]
