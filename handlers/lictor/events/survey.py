"""The sweep, second stage of the timer. It observes all services in bulk, mends what events missed, and reconciles the
services that need work on this node."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Set

from lictor import errors, model
from lictor.adapters import clock, files, heartbeat, log
from lictor.adapters.consul.answers import Catalogue
from lictor.adapters.text import one_line
from lictor.events import keys_watch, label_routes, paused, script, summing, timer
from lictor.events.metrics import seen
from lictor.events.unchanged import Memory
from lictor.planner import scheduled
from lictor.planner.actions import Hold, Warn
from lictor.planner.desired import specs_of
from lictor.planner.observation import Observation
from lictor.planner.routes import labelled
from lictor.planner.summary.decided import list_lines
from lictor.planner.summary.facts import Facts
from lictor.planner.summary.service import Summary
from lictor.reconcile import actors, conditions, forgetting, loop, observe, observer_health, responsibility
from lictor.reconcile.conditions import Told
from lictor.reconcile.context import Context, connect
from lictor.reconcile.observe import Reading
from lictor.routing import announce, condition, follow, nginx, route_store
from lictor.routing.tls import renewal
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
            _record_failure(call, error)
            raise
        timer.record(settings, summary)
    return loop.run(settings, call.token_file, summary.todo) if summary.todo else 0


def _record_failure(call: script.Call, error: Exception) -> None:
    """Record why a sweep failed, beside what is known of this node all the same: nginx, and the registrar."""
    settings = call.settings
    if isinstance(error, errors.Unavailable):
        observer_health.note_unreadable(settings)
    last, reason, trouble = timer.read(settings), str(error), _registrar_trouble(settings, is_needed=False)
    served = _read_nginx(settings, trouble)
    problems = list(filter(None, [served.silence]))
    with contextlib.suppress(errors.LictorError):  # of Consul itself, mostly
        lines = (*problems, f"unknown: the last sweep failed: {reason}", *trouble)
        conditions.tell(connect(settings, call.token_file), Told(served, lines, failure=reason,
                                                                 about=conditions.describe_node(settings)))
    timer.record(settings, timer.Summary(last.at if last else time.time(), reason, 0, [], problems, [], trouble))

def look(call: script.Call) -> timer.Summary:
    """Mend routes and watches, then observe all services; raises LictorError if no picture can be relied on."""
    settings, began_s = call.settings, clock.uptime_s()
    # Leftovers go first: a nginx that was killed cannot start again before, and Consul may be away.
    trouble = _attempt("leftovers stay", lambda: _clean(settings))
    context = connect(settings, call.token_file)
    keys = keys_watch.read_keys(context.client, settings.prefix)
    values = {key: entry.value for key, entry in keys.items()}
    grouped, _ = group_by_service(values, settings.prefix)
    known = {*grouped, *route_store.names(settings.state_dir)}
    catalogue = context.client.everything(observe.catalog_names(known))
    if not keys and known_services(settings):
        raise errors.Unavailable(f"no key below {settings.prefix} can be seen, though services are known: does the "
                                 "token allow to read them?")
    by_labels, swept = [label_routes.Outcome()], [follow.Swept()]
    memory = Memory(context, keys, catalogue)
    trouble += [
        *(f"instances of {name} are unknown: {why}" for name, why in catalogue.overlong.items() if name not in known),
        *_attempt("routes do not follow their keys", lambda: keys_watch.follow(call, keys, None)),
        *_attempt("routes do not follow the labels of containers",
                  lambda: by_labels.append(label_routes.follow(context, catalogue, specs_of(grouped)))),
        *_attempt("watches do not follow the routes", lambda: keys_watch.watch(call)),
        *_attempt("nginx does not follow the catalogue",
                  lambda: swept.append(follow.sweep(settings, catalogue, context.client, lambda: memory.unchanged))),
        *_attempt("what is paused is not told", lambda: paused.start(call, route_store.names(settings.state_dir))),
        *_attempt("nginx does not read renewed certificates", lambda: renewal.follow(settings)),
        *_attempt("other nodes do not hear what nginx serves",
                  lambda: announce.tell(context.client, settings.state_dir, context.node,
                                        route_store.names(settings.state_dir))),
        *_attempt("other nodes do not hear of the traffic here",
                  lambda: meter.tell(context.client, settings, context.node, time.time())),
        *_attempt("removed services are not forgotten",
                  lambda: forgetting.forget_removed(context, keys, clock.read(settings.state_dir))),
    ]
    trouble += _logged_once(settings, "unread", swept[-1].unread)
    readings, broken = observe.everything(context, catalogue, values, unchanged=memory.unchanged)
    own = {name: reading for name, reading in readings.items()
           if responsibility.acts_here(context, reading.observation.desired)}
    used = {reading.observation.spec.engine for reading in readings.values()}
    trouble += _attempt("other nodes do not hear for which engines this one acts", lambda: actors.tell(context, used))
    trouble += _registrar_trouble(settings, is_needed=bool(own)) + _in_parts(settings, context)
    todo = [name for name, reading in own.items() if _needs_work(reading)]
    observations = {name: reading.observation for name, reading in readings.items()}
    orphaned, waiting = _orphaned(context, catalogue, observations, own)
    unserved = _read_nginx(settings, trouble, memory.unchanged)
    unserved = unserved._replace(refused={**unserved.refused, **by_labels[-1].refused})
    problems = [*filter(None, [unserved.silence]), *_named(broken.items()), *_problems(context, observations, own),
                *_named(unserved.refused.items()), *orphaned]
    sums = {**summing.of_labelled(settings, catalogue, specs_of(grouped)),
            **summing.of_observed(context, catalogue, readings, own)}
    pending = [*_pending(context, observations, own, sums), *_named(unserved.unconfirmed.items()), *waiting,
               *by_labels[-1].told, *_overruled(settings, catalogue, observations)]
    told = Told(unserved, (*problems, *trouble), tuple(pending), outputs=_read_outputs(context, observations),
                foreign=summing.list_foreign(observations[name] for name in own),
                decided=summing.list_decided(own, sums),
                about=conditions.describe_node(settings))
    trouble += _attempt("other nodes do not hear how this one is",
                        lambda: pending.extend(_describe_silent(context, catalogue, conditions.tell(context, told))))
    trouble += _attempt("the next sweep looks at all services", lambda: memory.keep(
        readings, swept[-1].in_place, [*problems, *pending, *trouble]))
    trouble += _attempt("metrics stay as they were", lambda: seen.note(
        context, sums, memory.unchanged, {*known, *readings}, nginx_answers=not unserved.silence, began_s=began_s))
    lines = (list(map(one_line, texts)) for texts in (problems, pending, trouble))  # a name may hold the end of a line
    return timer.Summary(time.time(), "", len(own), todo, *lines)


def _read_outputs(context: Context, observations: Mapping[str, Observation]) -> dict[str, str]:
    """Read what the failing checks of this node's instances printed, by ID."""
    return {instance.service_id: instance.output for each in observations.values() for instance in each.instances
            if instance.node == context.node and instance.output}


def _describe_silent(context: Context, catalogue: Catalogue, told: Mapping[str, Told]) -> list[str]:
    """Describe nodes that answer Consul and whose sweeps do not get through: their own checks cannot tell it."""
    entries = [each for each in catalogue.of("lictor") if model.instance(each).node_alive]
    return _named(conditions.describe_silent(told, entries, context.node).items())


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


def _read_nginx(settings: Settings, trouble: list[str], unchanged: Set[str] = frozenset()) -> condition.Condition:
    """Read how nginx is, but for `unchanged` services; if that fails, `trouble` gets it, and nothing is said of nginx.
    """
    found: list[condition.Condition] = []
    trouble += _attempt("how nginx is remains unknown", lambda: found.append(condition.read(settings, unchanged)))
    return found[0] if found else condition.Condition()


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
            *(f"{name}: the breaker is open: {breaker.why}. Running containers are left alone; `lictor why {name}` "
              f"shows the evidence, `lictor resume {name}` closes it" for name, breaker in breakers.items())]


def _pending(context: Context, observations: Mapping[str, Observation], own: Mapping[str, Reading],
             sums: Mapping[str, tuple[Facts, Summary]]) -> list[str]:
    elsewhere = [f"{name}: {text}" for name, each in observations.items() for text in (
        responsibility.describe_strays(context, each), responsibility.describe_lost_node(each, context.node)) if text]
    undone = [f"{name}: {text}" for name, (facts, summary) in sums.items()
              for text in list_lines(summary, facts, own[name].actions if name in own else ())]
    mixed = [f"{name}: {text}" for name in own
             if (text := model.describe_mixed_images(observations[name].instances))]
    return list(dict.fromkeys([*undone, *mixed, *elsewhere]))


def _overruled(settings: Settings, catalogue: Catalogue, observations: Mapping[str, Observation]) -> list[str]:
    """Explain which containers' labels ask for another route than the spec that counts."""
    if not settings.nginx:
        return []
    return [f"{name}: {text}" for name, each in observations.items()
            for text in labelled.describe_overruled(catalogue.entries, each.desired)]


def _registrar_trouble(settings: Settings, *, is_needed: bool) -> list[str]:
    """Say what is wrong with this node's registrar, and with what it could not register or deregister."""
    beat = heartbeat.read(settings.state_dir)
    silence = heartbeat.describe_silence(settings.state_dir, beat)
    if silence:
        return [f"lictor-registrar: {silence}. New containers are not registered, and ended ones stay in the "
                "catalogue; `systemctl start lictor-registrar`"] if is_needed else []
    return [f"lictor-registrar: {failure}" for failure in beat.failures] if beat else []
