"""From the state folder to nginx: what is decided there and not confirmed yet is rendered, validated, swapped in and
confirmed. It looks at the whole state, not at what happened, so a publication that was cut short is simply done again.
"""

import os
import tempfile
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lictor import config, errors, files, layout, live, log, nginx, routes, upstream

if TYPE_CHECKING:
    from lictor import render


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
                confirmed = _publish(settings, settings.nginx, doubted)
                files.touch(last_path, began_ns)
                return confirmed
        time.sleep(wait_s)


def check_live(settings: config.Config, there: config.Nginx) -> None:
    """Have nginx parse what live mode writes for a service; raises Refused when it can't, as without its Lua module."""
    from lictor import render

    templates = render.Templates(settings.templates_dir, live=True)
    with tempfile.TemporaryDirectory(prefix="lictor-") as folder:  # root, who may ask, leaves nothing to stumble over
        if not there.container:
            os.mkdir(os.path.join(folder, "run"))
            there = there._replace(conf_dir=folder)
        nginx.check(there, templates.text(
            "check.conf.j2", run_dir=os.path.join(there.conf_dir, "run"),
            upstreams=[templates.upstream("lictor", ())],
            locations=[templates.location("lictor", "/lictor", empty=False)]))


def _publish(settings: config.Config, there: config.Nginx, doubted: set[str]) -> list[str]:
    """In live mode a change of peers goes by itself, and by a reload only what that does not do."""
    folder, is_live = settings.state_dir, there.mode == "live"
    nginx.take_back(there.conf_dir)
    known = {name: route for name in routes.names(folder) if (route := routes.route(folder, name))}
    state = {name: now for name in known if (now := routes.served(folder, name))}
    for name in doubted & state.keys() if is_live else ():
        if state[name].confirmed and not live.is_stored(there.conf_dir, name, state[name].peers):
            routes.mark(folder, name, state[name], confirmed=False)
            state[name] = routes.served(folder, name) or state[name]
    followed = [name for name, now in state.items()
                if is_live and not now.confirmed and live.publish(there, folder, name)]
    state.update({name: now for name in followed if (now := routes.served(folder, name))})
    valid = _valid(settings, there, _wanted(settings, there, known, state, doubted))
    for name in valid:
        routes.mark(folder, name, state[name], confirmed=False, at="")
    if is_live:
        live.store(there, folder, [name for name, each in valid.items() if each.upstream])
    aims = {name: state[name]._replace(at=routes.place(known[name], there.mode),
                                       confirmed=not is_live or known[name]["removed"]) for name in valid}
    served = _serve(there, folder, aims, valid)
    return list(dict.fromkeys([*followed, *(
        name for name in served if aims[name].confirmed or live.publish(there, folder, name))]))


def _wanted(settings: config.Config, there: config.Nginx, known: dict[str, dict[str, Any]],
            state: dict[str, upstream.Served], doubted: set[str]) -> dict[str, layout.Wanted]:
    """What is to be published: of those that are unconfirmed, or not in place as they should be."""
    asked = [name for name, now in state.items() if name in doubted or not now.confirmed]
    has_own = bool(settings.templates_dir) and os.path.exists(os.path.join(settings.templates_dir, "upstream.conf.j2"))
    wanted = {name: each for name in asked
              if name not in doubted and not has_own and state[name].at == routes.place(known[name], there.mode)
              and (each := layout.other_peers(there.conf_dir, name, state[name].peers))}
    others = [name for name in asked if name not in wanted]
    return {**wanted, **(_rendered(settings, there, known, state, others) if others else {})}


def _rendered(settings: config.Config, there: config.Nginx, known: dict[str, dict[str, Any]],
              state: dict[str, upstream.Served], names: Iterable[str]) -> dict[str, layout.Wanted]:
    templates = _templates(settings, there)
    shared = templates.shared(there.conf_dir).items() if templates.live else ()  # else what lictor init wrote will do
    missing = {path: text for path, text in shared if files.read(os.path.join(there.conf_dir, path)) != text}
    wanted: dict[str, layout.Wanted] = {}
    for name in names:
        try:
            files_of = layout.wanted(there.conf_dir, templates, known, name, state[name].peers)
            files_of.files.update(missing)
            if not state[name].confirmed or not files_of.is_in_place(there.conf_dir):
                wanted[name] = files_of
        except errors.Refused as error:
            log.event("publish", service=name, outcome="refused", reason=error)
    return wanted


def _templates(settings: config.Config, there: config.Nginx) -> "render.Templates":
    from lictor import render  # with Jinja2, which takes longer to load than other peers take

    return render.templates(settings.templates_dir, live=there.mode == "live")


def _valid(settings: config.Config, there: config.Nginx,
           wanted: dict[str, layout.Wanted]) -> dict[str, layout.Wanted]:
    """Those that nginx accepts: all at once, else each by itself, so that a bad one doesn't block another. It is not
    asked about other peers for what it serves already."""
    texts = [each for each in wanted.values() if each.upstream and each.is_new_to_nginx(there.conf_dir)]
    if not texts:
        return wanted
    try:
        nginx.check(there, _templates(settings, there).text(
            "check.conf.j2", run_dir=os.path.join(there.conf_dir, "run"),
            upstreams=[each.upstream for each in texts], locations=[each.location for each in texts]))
        return wanted
    except errors.Refused as error:
        if len(wanted) == 1:
            log.event("publish", service=" ".join(wanted), outcome="refused", reason=error)
            return {}
        return {name: each for name in wanted if _valid(settings, there, {name: (each := wanted[name])})}
    except errors.Unavailable as error:
        log.event("publish", service=" ".join(wanted), outcome="waits", reason=error)
        return {}


def _serve(settings: config.Nginx, state_dir: str, state: dict[str, upstream.Served],
           wanted: dict[str, layout.Wanted]) -> list[str]:
    """Swap and reload; what nginx doesn't serve is rolled back, and tried again one service at a time. `state` says
    what each is then: in live mode the peers are still to be confirmed."""
    if not wanted:
        return []
    began, listed = time.monotonic(), " ".join(wanted)
    is_new = any(each.is_new_to_nginx(settings.conf_dir) for each in wanted.values())
    nginx.swap(settings.conf_dir, _merged(wanted.values()))
    try:
        generation = nginx.reload(settings)
    except errors.Unavailable as error:
        if is_new and not _could_start(settings):
            nginx.take_back(settings.conf_dir)
        else:
            nginx.settle(settings.conf_dir)
        log.event("publish", service=listed, outcome="waits", reason=error)
        return []
    except errors.Refused as error:
        nginx.take_back(settings.conf_dir)
        if len(wanted) > 1:
            return [name for name in wanted for name in _serve(settings, state_dir, state, {name: wanted[name]})]
        log.event("publish", service=listed, outcome="rolled-back", reason=error)
        return []
    nginx.settle(settings.conf_dir)
    for name in wanted:
        routes.mark(state_dir, name, state[name], confirmed=state[name].confirmed, generation=generation,
                    at=state[name].at)
    log.event("publish", service=listed, outcome="done", generation=generation,
              ms=round(1000 * (time.monotonic() - began)))
    return list(wanted)


def _could_start(settings: config.Nginx) -> bool:
    """Whether nginx, which is not there, would surely start with the files as they are."""
    try:
        if nginx.can_check_main_conf(settings):
            nginx.check_main_conf(settings)
            return True
    except errors.LictorError:
        pass
    return False


def _merged(wanted: Iterable[layout.Wanted]) -> dict[str, str | None]:
    """A file that one service needs stays, though another one left it."""
    merged: dict[str, str | None] = {}
    for each in wanted:
        merged.update({path: text for path, text in each.files.items() if text or path not in merged})
    return merged
