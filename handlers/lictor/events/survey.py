"""Looking at everything in bulk: mends what events missed, and finds the services that need work on this node."""

import os
import time
from collections.abc import Callable
from typing import NamedTuple

from lictor import errors
from lictor.adapters import files, heartbeat, log, process
from lictor.events import keys_watch, script
from lictor.planner import plan, scheduled
from lictor.reconcile import observe
from lictor.reconcile.context import connect
from lictor.reconcile.observe import Reading
from lictor.routing import announce, follow, nginx, route_store
from lictor.spec import keys as keyspace
from lictor.spec.settings import Settings


class Survey(NamedTuple):
    """`todo` and `services` (a count) are of those that this node acts for; the texts are for people."""

    todo: list[str]
    services: int
    problems: list[str]  # bad input that stands
    pending: list[str]  # what is to be done, waits, is held, or is not as it should be


def look(call: script.Call) -> Survey:
    """Mend routes and watches, then observe all services; raises what makes the whole picture unreliable."""
    settings = call.settings
    # First, as a nginx that was killed cannot start again before, and Consul may be away.
    trouble = _tried("leftovers stay", lambda: _clean(settings))
    context = connect(settings, call.token_file)
    entries = context.client.everything()
    keys = keys_watch.current(context.client, settings.prefix)
    if not keys and keyspace.services(settings):
        raise errors.Unavailable(f"no key below {settings.prefix} can be seen, though services are known: does the "
                                 "token allow to read them?")
    trouble += [
        *_tried("routes do not follow their keys", lambda: keys_watch.follow(call, keys, None)),
        *_tried("watches do not follow the routes", lambda: keys_watch.watch(call)),
        *_tried("nginx does not follow the catalogue", lambda: follow.sweep(settings, entries, context.client)),
        *_tried("the others are not told what nginx serves",
                lambda: announce.tell(context.client, settings.state_dir, context.node,
                                     route_store.names(settings.state_dir))),
    ]
    readings = observe.everything(context, entries, {key: each.value for key, each in keys.items()})
    mine = {name: each for name, each in readings.items() if observe.acts_here(context, each.seen.desired)}
    problems = [f"{name}: {problem}" for name, each in readings.items()
                if observe.concerns(each.seen.desired, context.node) for problem in each.seen.desired.problems]
    problems += keys_watch.refused(settings)
    problems += [f"{name}: the breaker is open, as {each.seen.state.breaker.why}; `lictor why {name}` tells more, "
                 f"`lictor resume {name}` closes it" for name, each in mine.items() if each.seen.state.breaker]
    pending = [text for name, each in mine.items() for text in _pending(name, each)]
    strays = [f"{name}: {stray}" for name, each in readings.items()
              if (stray := observe.stray(context, each.seen))]
    lost = [f"{name}: {why}" for name, each in readings.items() if (why := observe.lost_node(each.seen, context.node))]
    pending += strays + lost + trouble + _unconfirmed(settings) + _registrar_is_late(settings, bool(mine))
    return Survey([name for name, each in mine.items() if _needs_work(each)], len(mine), problems, pending)


def _tried(failed: str, step: Callable[[], object]) -> list[str]:
    """What does not go well is told; an agent that will not reload, or a full disk, is no reason to heal nothing."""
    try:
        step()
        return []
    except (errors.LictorError, OSError) as error:
        log.event("sweep", outcome="failed", reason=f"{failed}: {error}")
        return [f"{failed}: {error}"]


def _needs_work(reading: Reading) -> bool:
    """Also when there is only something to remember, and perhaps to tell people."""
    finished = reading.seen.desired.removed and not reading.seen.containers and scheduled.is_over(reading.seen)
    return finished or reading.seen.state != reading.stored or any(
        each.kind in (*plan.ACTS, "confirm", "wait") for each in reading.actions)


def _pending(name: str, reading: Reading) -> list[str]:
    told = [f"{name}: {each.kind} {each.container}: {each.reason}".replace(" : ", ": ") for each in reading.actions]
    why_held = reading.seen.desired.why_held
    return told or ([f"{name}: hold: {why_held}"] if why_held else [])


def _clean(settings: Settings) -> None:
    stale = [path for folder in ("", *script.FOLDERS) for path in
             files.remove_stale_temporaries(os.path.join(settings.state_dir, folder), older_than_s=60)]
    for path in stale + (nginx.clean(settings.nginx) if settings.nginx else []):
        log.event("clean", path=path, reason="a process that was killed left it")


def _unconfirmed(settings: Settings) -> list[str]:
    texts = []
    for name in route_store.names(settings.state_dir) if settings.nginx else []:
        route_of, served = route_store.route(settings.state_dir, name), route_store.served(settings.state_dir, name)
        if route_of and served and settings.nginx and route_store.is_refused(route_of, settings.nginx.mode, served):
            what = "removal" if route_of["removed"] else f"route {route_of['host']}{route_of['path']}"
            texts.append(f"{name}: its {what} is refused, so it is served as before; {process.LOG_NAME} in the "
                         "state folder says why")
        elif served and not served.confirmed:
            texts.append(f"{name}: nginx has not confirmed its upstream")
        elif (
            route_of and served and settings.nginx and not route_store.is_settled(route_of, settings.nginx.mode, served)
        ):
            texts.append(f"{name}: nginx has not confirmed its route")
    return texts


def _registrar_is_late(settings: Settings, needed: bool) -> list[str]:
    beat = heartbeat.read(settings.state_dir)
    if not needed or beat and time.time() - beat["at"] < heartbeat.LATE_S:
        return []
    return ["lictor-registrar gives no sign of life: containers are not registered; is it running?"]
