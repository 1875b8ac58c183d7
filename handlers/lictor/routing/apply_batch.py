"""Having nginx take files: all of them at once, else by halves, so that what it will not have blocks nothing else."""

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lictor import errors
from lictor.adapters import log
from lictor.routing import conf_files, nginx, peers, route_store
from lictor.spec.settings import Nginx, Settings

if TYPE_CHECKING:
    from lictor.routing import templates as render


def templates(settings: Settings, there: Nginx) -> "render.Templates":
    from lictor.routing import templates as render  # with Jinja2, which takes longer to load than other peers take

    return render.templates(settings.templates_dir, live=there.mode == "live")


def valid(settings: Settings, there: Nginx, wanted: dict[str, conf_files.Wanted],
          refused: set[str]) -> dict[str, conf_files.Wanted]:
    """Those that nginx accepts: all at once, else each half by itself, so that a bad one doesn't block another. It is
    not asked about other peers for what it serves already."""
    texts = [each for each in wanted.values() if each.upstream and each.is_new_to_nginx(there.conf_dir)]
    if not texts:
        return wanted
    try:
        nginx.check(there, templates(settings, there).text(
            "check.conf.j2", run_dir=os.path.join(there.conf_dir, "run"),
            upstreams=[each.upstream for each in texts], locations=[text for each in texts for text in each.locations]))
        return wanted
    except errors.Refused as error:
        if len(wanted) == 1:
            log.event("publish", service=" ".join(wanted), outcome="refused", reason=error)
            refused.update(wanted)
            return {}
        return {name: each for half in _halves(wanted) for name, each in valid(settings, there, half, refused).items()}
    except errors.Unavailable as error:
        log.event("publish", service=" ".join(wanted), outcome="waits", reason=error)
        return {}


def serve(settings: Nginx, state_dir: str, state: dict[str, peers.Served], aims: dict[str, peers.Served],
          wanted: dict[str, conf_files.Wanted], refused: set[str], *, is_to_blame: bool = False) -> list[str]:
    """Swap and reload; what nginx doesn't serve is rolled back, and tried again by halves if it `is_to_blame`. `state`
    says what each is now, and `aims` what it is then: in live mode the peers are still to be confirmed."""
    if not wanted:
        return []
    began, listed = time.monotonic(), " ".join(wanted)
    new = [name for name, each in wanted.items() if each.is_new_to_nginx(settings.conf_dir)]
    for name in wanted:
        _begin(state_dir, name, state[name], aims[name])
    nginx.swap(settings.conf_dir, conf_files.merged(settings.conf_dir, wanted.values()))
    try:
        generation = nginx.reload(settings)
    except errors.Unavailable as error:
        if new and not _accepts(settings, unasked=False):  # it is not there, and might not start with them
            _take_back(settings, state_dir, state, aims, wanted)
        else:
            nginx.settle(settings.conf_dir)
        log.event("publish", service=listed, outcome="waits", reason=error)
        return []
    except errors.Refused as error:
        _take_back(settings, state_dir, state, aims, wanted)
        if not is_to_blame and not _accepts(settings, unasked=True):  # nor without what was taken back
            log.event("publish", service=listed, outcome="waits", reason=f"not for what is new: {error}")
            return []
        if len(wanted) > 1:
            return [name for half in _halves(wanted)
                    for name in serve(settings, state_dir, state, aims, half, refused, is_to_blame=True)]
        log.event("publish", service=listed, outcome="rolled-back", reason=error)
        refused.update(new)  # other peers alone are nothing to refuse
        return []
    nginx.settle(settings.conf_dir)
    for name in wanted:
        route_store.mark(state_dir, name, state[name], confirmed=aims[name].confirmed, generation=generation,
                    at=aims[name].at, refused=aims[name].refused)
    log.event("publish", service=listed, outcome="done", generation=generation,
              ms=round(1000 * (time.monotonic() - began)))
    return list(wanted)


def _begin(state_dir: str, name: str, now: peers.Served, aim: peers.Served) -> None:
    """From now on nginx may be serving either. Lists that it is served by go on being set and confirmed."""
    begun = now if now.at[1:] and now.at[-1:] == aim.at else now._replace(at=now.at + aim.at)
    unsure = {} if route_store.served_mode(begun) == "live" else {"confirmed": False}
    route_store.mark(state_dir, name, now, at=begun.at, **unsure)


def _take_back(settings: Nginx, state_dir: str, state: dict[str, peers.Served],
               aims: dict[str, peers.Served], names: Iterable[str]) -> None:
    nginx.take_back(settings.conf_dir)
    for name in names:
        if aims[name].at != state[name].at:  # else it is not settled: what lay there may be to blame, and is made anew
            route_store.mark(state_dir, name, state[name], at=state[name].at, confirmed=state[name].confirmed)


def _halves(wanted: dict[str, conf_files.Wanted]) -> list[dict[str, conf_files.Wanted]]:
    """Of thousands one is found in a dozen tries."""
    names = list(wanted)
    return [{name: wanted[name] for name in part} for part in (names[:len(names) // 2], names[len(names) // 2:])]


def _accepts(settings: Nginx, *, unasked: bool) -> bool:
    """Whether nginx accepts its whole configuration with the files as they are; `unasked` where we may not ask."""
    try:
        if not nginx.can_check_main_conf(settings):
            return unasked
        nginx.check_main_conf(settings)
        return True
    except errors.LictorError:
        return False
