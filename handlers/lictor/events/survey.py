"""The sweep, second stage of the timer. It observes all services in bulk, mends what events missed, and reconciles the
services that need work on this node."""

import os
import time
from collections.abc import Callable, Iterable, Mapping

from lictor import errors, model
from lictor.adapters import clock, files, heartbeat, log, process
from lictor.adapters.consul.answers import Catalogue
from lictor.events import keys_watch, script, timer
from lictor.planner import scheduled
from lictor.planner.actions import Hold, Warn, describe
from lictor.planner.observation import Observation
from lictor.reconcile import actors, forgetting, loop, observe, observer_health, responsibility
from lictor.reconcile.context import Context, connect
from lictor.reconcile.observe import Reading
from lictor.routing import announce, follow, nginx, route_store
from lictor.routing.traffic import meter
from lictor.spec.keys import group_by_service, known_services
from lictor.spec.settings import Settings

_LOCK = ":sweep.lock"  # no service's name has a colon
_LEFTOVER_AFTER_S = 60


def sweep(call: script.Call) -> int:
    """Sweep once, unless another sweep is under way. A sweep that fails records why, and changes nothing."""
    settings = call.settings
    clock.note(settings.state_dir)
    with files.locked(os.path.join(settings.state_dir, "locks", _LOCK), wait=False) as is_held:
        if not is_held:
            return 0
        try:
            summary = look(call)
        except (errors.LictorError, OSError) as error:
            if isinstance(error, errors.Unavailable):
                observer_health.note_unreadable(settings)
            last = timer.read(settings)
            timer.record(settings, timer.Summary(last.at if last else time.time(), str(error), 0, [], [], [], []))
            raise
        timer.record(settings, summary)
    return loop.run(settings, call.token_file, summary.todo) if summary.todo else 0


def look(call: script.Call) -> timer.Summary:
    """Mend routes and watches, then observe all services; raises LictorError if no picture can be relied on."""
    settings = call.settings
    # Leftovers go first: a nginx that was killed cannot start again before, and Consul may be away.
    trouble = _attempt("leftovers stay", lambda: _clean(settings))
    context = connect(settings, call.token_file)
    keys = keys_watch.read_keys(context.client, settings.prefix)
    values = {key: entry.value for key, entry in keys.items()}
    known = {*group_by_service(values, settings.prefix)[0], *route_store.names(settings.state_dir)}
    catalogue = context.client.everything(observe.catalog_names(known))
    if not keys and known_services(settings):
        raise errors.Unavailable(f"no key below {settings.prefix} can be seen, though services are known: does the "
                                 "token allow to read them?")
    unread: list[str] = []
    trouble += [
        *(f"instances of {name} are unknown: {why}" for name, why in catalogue.overlong.items() if name not in known),
        *_attempt("routes do not follow their keys", lambda: keys_watch.follow(call, keys, None)),
        *_attempt("watches do not follow the routes", lambda: keys_watch.watch(call)),
        *_attempt("nginx does not follow the catalogue",
                  lambda: unread.extend(follow.sweep(settings, catalogue, context.client))),
        *_attempt("other nodes do not hear what nginx serves",
                  lambda: announce.tell(context.client, settings.state_dir, context.node,
                                        route_store.names(settings.state_dir))),
        *_attempt("other nodes do not hear of the traffic here",
                  lambda: meter.tell(context.client, settings, context.node, time.time())),
        *_attempt("removed services are not forgotten",
                  lambda: forgetting.forget_removed(context, keys, clock.read(settings.state_dir))),
    ]
    trouble += _logged_once(settings, "unread", unread)
    readings, broken = observe.everything(context, catalogue, values)
    own = {name: reading for name, reading in readings.items()
           if responsibility.acts_here(context, reading.observation.desired)}
    used = {reading.observation.spec.engine for reading in readings.values()}
    trouble += _attempt("other nodes do not hear for which engines this one acts", lambda: actors.tell(context, used))
    trouble += _registrar_trouble(settings, is_needed=bool(own)) + _in_parts(settings, context)
    todo = [name for name, reading in own.items() if _needs_work(reading)]
    observations = {name: reading.observation for name, reading in readings.items()}
    orphaned, waiting = _orphaned(context, catalogue, observations, own)
    problems = [*(f"{name}: {text}" for name, text in broken.items()), *_problems(context, observations, own),
                *orphaned]
    pending = [*_pending(context, observations, own), *waiting]
    return timer.Summary(time.time(), "", len(own), todo, problems, pending, trouble)


def _in_parts(settings: Settings, context: Context) -> list[str]:
    """Explain what others wrote too much of for one answer."""
    return _logged_once(settings, "in parts", [f"too long: {text}. lictor reads its own in parts, and nothing else "
                                               "there" for text in sorted(context.client.read_in_parts)])


def _logged_once(settings: Settings, outcome: str, texts: list[str]) -> list[str]:
    """Log what the last sweep did not tell yet; the check tells it as long as it lasts."""
    last = timer.read(settings)
    for text in texts:
        if not last or text not in last.trouble:
            log.event("sweep", outcome=outcome, reason=text)
    return texts


def _orphaned(context: Context, catalogue: Catalogue, observations: Mapping[str, Observation],
              own: Iterable[str]) -> tuple[list[str], list[str]]:
    """Explain for which services no node acts, and for which schedulers' services none of those answers that may.

    Consul is asked for its nodes, and for what they told, only if need be. A removed service without an instance needs
    nobody.
    """
    client, lictor_nodes = context.client, responsibility.name_nodes(catalogue.entries.get("lictor", []))
    doubtful = [each for name, each in observations.items() if (each.instances or not each.desired.removed) and not (
        each.scheduler.takes_orders if each.scheduler else name in own or each.spec.node in lictor_nodes)]
    scheduled = [each for each in doubtful if each.scheduler]
    nodes = client.nodes() if any(each.spec.node for each in doubtful) else frozenset()
    acts, alive = (actors.read(client), client.alive_nodes()) if scheduled else ({}, frozenset())
    return _named((each.desired.name, responsibility.describe_nobody(
        each.desired, each.instances, nodes, lictor_nodes, acts)) for each in doubtful), _named(
        (each.desired.name, responsibility.describe_no_answer(each.desired, lictor_nodes, acts, alive))
        for each in scheduled)


def _named(texts: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{name}: {text}" for name, text in texts if text]


def _attempt(failed: str, step: Callable[[], object]) -> list[str]:
    """Run one step; its failure is reported, because an agent that does not reload must not keep services from being
    healed."""
    try:
        step()
        return []
    except Exception as error:  # of any kind: the steps after it look after other things
        log.event("sweep", outcome="failed", reason=f"{failed}: {error!s:.1000}")
        return [f"{failed}: {error}"]


def _clean(settings: Settings) -> None:
    now = clock.read(settings.state_dir)
    stale = [path for folder in ("", *script.FOLDERS) for path in files.remove_stale_temporaries(
        os.path.join(settings.state_dir, folder), now, older_than_s=_LEFTOVER_AFTER_S)]
    for path in stale + (nginx.clean(settings.nginx, now) if settings.nginx else []):
        log.event("clean", path=path, reason="a process that was killed left it")


def _needs_work(reading: Reading) -> bool:
    """Decide whether a reconcile is due, be it only to keep a new state and to notify people of it."""
    observation = reading.observation
    if reading.look and not reading.look.is_learned:
        return True
    is_finished = observation.desired.removed and not observation.containers and scheduled.is_over(observation)
    return is_finished or observation.state != reading.stored.state or bool(observation.state.notified.pending) or any(
        not isinstance(action, Hold | Warn) for action in reading.actions)


def _problems(context: Context, observations: Mapping[str, Observation], own: Iterable[str]) -> list[str]:
    breakers = {name: breaker for name in own if (breaker := observations[name].state.breaker)}
    return [*(f"{name}: {problem}" for name, each in observations.items()
              if responsibility.reports_here(each.desired, context.node) for problem in each.desired.problems),
            *keys_watch.describe_refused(context.settings), *_frozen(context.settings),
            *(f"{name}: the breaker is open: {breaker.why}. Running containers are left alone; `lictor why {name}` "
              f"shows the evidence, `lictor resume {name}` closes it" for name, breaker in breakers.items())]


def _pending(context: Context, observations: Mapping[str, Observation], own: Mapping[str, Reading]) -> list[str]:
    elsewhere = [f"{name}: {text}" for name, each in observations.items() for text in (
        responsibility.describe_strays(context, each), responsibility.describe_lost_node(each, context.node)) if text]
    undone = [f"{name}: {text}" for name, reading in own.items() for text in _undone(reading)]
    mixed = [f"{name}: {text}" for name in own
             if (text := model.describe_mixed_images(observations[name].instances))]
    return [*undone, *mixed, *elsewhere, *_unconfirmed(context.settings)]


def _undone(reading: Reading) -> list[str]:
    why_held = reading.observation.desired.why_held
    actions = [describe(action.kind, action.container, action.reason) for action in reading.actions]
    return actions or ([f"hold: {why_held}"] if why_held else [])


def _unconfirmed(settings: Settings) -> list[str]:
    """Explain what nginx refuses, or does not serve yet."""
    if not settings.nginx:
        return []
    texts = {name: _unserved(settings, settings.nginx.mode, name) for name in route_store.names(settings.state_dir)}
    return [f"{name}: {text}" for name, text in texts.items() if text]


def _frozen(settings: Settings) -> list[str]:
    """Name the services whose requests go to earlier peers, as neither new files nor old ones take other ones."""
    frozen = [name for name in route_store.names(settings.state_dir)
              if (published := route_store.published(settings.state_dir, name)) and route_store.is_frozen(published)]
    return [f"{name}: its peers are frozen: its files are refused, and those in force do not include "
            f"peers/{name}.conf. nginx goes on asking the ones it has, gone or not" for name in frozen]


def _unserved(settings: Settings, mode: str, name: str) -> str:
    route, published = route_store.route(settings.state_dir, name), route_store.published(settings.state_dir, name)
    if not published:
        return ""
    if route and route_store.is_refused(route, mode, published):
        what = "removal" if route["removed"] else f"route {route['host']}{route['path']}"
        why = published.refusal and published.refusal.reason or f"{process.LOG_NAME} in the state folder says why"
        return f"its {what} is refused: {why}. nginx serves it as before"
    if route and route["needs_consent"] and not published.peers:
        return (f"no registration of {route['service']} consents to be routed by the tag {model.META_CONSENT}=true, "
                f"and the services of [allow] in {settings.where} do not hold {name}")
    if not published.confirmed:
        return "nginx has not confirmed its upstream"
    is_settled = not route or route_store.is_settled(route, mode, published)
    return "" if is_settled else "nginx has not confirmed its route"


def _registrar_trouble(settings: Settings, *, is_needed: bool) -> list[str]:
    """Say what is wrong with this node's registrar, and with what it could not register or deregister."""
    beat = heartbeat.read(settings.state_dir)
    if beat and not clock.read(settings.state_dir).is_late(beat.at, heartbeat.LATE_S):
        return [f"lictor-registrar: {failure}" for failure in beat.failures]
    return ["lictor-registrar is silent: it has written no heartbeat lately. New containers are not registered; is it "
            "running?"] if is_needed else []
