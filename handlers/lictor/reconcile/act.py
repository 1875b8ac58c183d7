"""Carrying out what the planner decided: the only place that starts, drains and removes containers."""

import contextlib
import time
from collections.abc import Iterator

from lictor import errors, model
from lictor.adapters import files, log
from lictor.adapters.consul import lock as fence
from lictor.adapters.consul import transactions
from lictor.adapters.consul.lock import Fence
from lictor.engines import protocols
from lictor.planner import budget, desired, next_state, observation, plan, service_state
from lictor.planner.observation import Observation
from lictor.reconcile import history
from lictor.reconcile.context import Context
from lictor.spec import service_spec

_LOG_LINES = 20


def carry_out(context: Context, seen: Observation, action: plan.Action, lock: Fence | None = None) -> None:
    """Do one action: the intent is recorded before it, the outcome after it; raises what the act itself raised.

    With `lock`, whoever has lost the lock is stopped before the act, and can record nothing of it.
    """
    began = time.monotonic()
    name = seen.desired.name
    if action.replaces:
        _reserve(context, seen, action.replaces)
    begun = history.begin(context.client, seen, {
        "node": context.node, "kind": action.kind, "container": action.container, "reason": action.reason,
        "seen": describe(seen)}, fence=lock)
    outcome, detail = "failed", "it broke off"
    try:
        if lock:
            lock.check()
        detail = _ACTS[action.kind](context, seen, action, lock)
        outcome = "done"
    except errors.LictorError as error:
        detail = str(error)
        raise
    finally:
        ms = round((time.monotonic() - began) * 1000)
        log.event(action.kind, service=name, container=action.container, reason=action.reason, outcome=outcome,
                  detail=detail if outcome == "failed" else None, ms=ms)
        history.finish(context.client, begun, {"outcome": outcome, "ms": ms, "detail": detail[:4000]}, fence=lock)


def last_words(seen: Observation, container_id: str) -> str:
    """The last lines that one of the service's containers printed; "" when they cannot be had."""
    if seen.desired.spec is None:
        return ""
    name = seen.desired.spec.engine
    engine: protocols.Engine | protocols.Ending | None = protocols.ENGINES.get(name) or protocols.ENDING.get(name)
    try:
        there = seen.containers if name in protocols.ENGINES else engine.containers(seen.desired.name) if engine else ()
        found = [each for each in there if each.id == container_id]
        return engine.logs(found[0], lines=_LOG_LINES) if engine and found else ""
    except errors.LictorError as error:
        return str(error)


def describe(seen: Observation) -> str:
    """What was seen, in one line for people."""
    each = [f"{member.name} {member.condition}" for member in (*observation.members(seen),
                                                               *observation.candidates(seen))]
    return f"{seen.desired.why_replicas or 'nothing is wanted'}; there: {', '.join(each) or 'no container'}"


def _reserve(context: Context, seen: Observation, container_id: str) -> None:
    """Take one replacement off the budget, before it is begun; Conflict when somebody else changed the budget since."""
    entry = context.client.get(budget.KEY, consistent=True)
    reservations = budget.decode(entry.value if entry else None)
    if set(reservations) - set(seen.reservations):
        raise errors.Conflict("the budget is not what it was when this was decided")
    mine = budget.Reservation(seen.desired.name, container_id, seen.now)
    context.client.put(budget.KEY, budget.encode([*reservations, mine], seen.now),
                        cas=entry.modify_index if entry else 0)


def _start(context: Context, seen: Observation, action: plan.Action, lock: Fence | None) -> str:
    assert seen.desired.spec is not None
    spec = _spec_of(seen, action.release)
    gated = bool(spec.release.smoke and not action.color and seen.state.rollout and
                 action.release == seen.state.rollout.release)
    try:
        container = protocols.ENGINES[spec.engine].start(_with_env_files(spec), number=action.number,
                                                       color=action.color, release=desired.fingerprint(spec),
                                                       gated=gated)
    except errors.LictorError as error:
        with contextlib.suppress(errors.LictorError):  # the engine's reason is the one that helps
            _count_failure(context, seen, action, str(action.number), error, lock)
        raise
    return f"{container.name} is {container.id[:12]}"


def _count_failure(context: Context, seen: Observation, action: plan.Action, number: str, error: errors.LictorError,
                   lock: Fence | None) -> None:
    """A start that the engine refuses is a failure like a death: the next try backs off. Of a release under way it is
    the end, unless the engine, or the image's registry, could only not be reached."""
    key, now = f"{service_state.KEY_PREFIX}{seen.desired.name}", time.time()
    entry = context.client.get(key)
    old = service_state.decode(entry.value if entry else None)
    is_of_rollout = old.rollout is not None and old.rollout.release == action.release
    if is_of_rollout and isinstance(error, errors.Refused):
        new = next_state.ended(old, str(error), seen.desired.spec.image if seen.desired.spec else "", now)
    elif is_of_rollout and action.kind == "start":
        return
    else:
        new = next_state.failed(old, number, now)
    fence.put(context.client, lock, key, service_state.encode(new), entry.modify_index if entry else 0)


def _drain(context: Context, seen: Observation, action: plan.Action, _lock: Fence | None) -> str:
    paused = [each for each in seen.instances if each.service_id == action.service_id and each.maintenance is not None]
    if paused:  # by hand: Consul keeps the first reason, and ours could not be seen
        context.client.set_maintenance(action.service_id, None)
    context.client.set_maintenance(action.service_id, observation.drain_text(seen.now, action.reason))
    return ""


def _let_in(context: Context, _seen: Observation, action: plan.Action, _lock: Fence | None) -> str:
    context.client.set_maintenance(action.service_id, None)
    return ""


def _stop(_context: Context, seen: Observation, action: plan.Action, _lock: Fence | None) -> str:
    assert seen.desired.spec is not None
    spec = seen.desired.spec
    protocols.ENGINES[spec.engine].stop(_container(seen, action), grace_s=spec.stop_grace_period)
    return ""


def _remove(_context: Context, seen: Observation, action: plan.Action, _lock: Fence | None) -> str:
    assert seen.desired.spec is not None
    container, failed = _container(seen, action), seen.state.failed
    was_well = container.exit_code is None and not (failed and failed.release == container.release)
    said = "" if was_well else last_words(seen, container.id)
    protocols.ENGINES[seen.desired.spec.engine].remove(container, grace_s=seen.desired.spec.stop_grace_period)
    return said


def _switch(context: Context, seen: Observation, action: plan.Action, lock: Fence | None) -> str:
    """The colour's key and what lictor remembers of it change together, or not at all."""
    name, state_key = seen.desired.name, f"{service_state.KEY_PREFIX}{seen.desired.name}"
    color_key = f"{context.settings.prefix}{name}/color"
    color, remembered = context.client.get(color_key, consistent=True), context.client.get(state_key, consistent=True)
    if (color.value.decode("utf-8", "backslashreplace")[:40] if color else "") != seen.desired.color_key:
        raise errors.Conflict(f"{color_key} is not what it was when this was decided")
    operations = [transactions.cas(color_key, action.color, color.modify_index if color else 0)]
    if action.color != seen.desired.color:
        if service_state.decode(remembered.value if remembered else None) != seen.state:
            raise errors.Conflict(f"{state_key} is not what it was when this was decided")
        operations.append(transactions.cas(state_key, service_state.encode(next_state.switched(seen)),
                                          remembered.modify_index if remembered else 0))
    fence.commit(context.client, lock, operations)
    return f"{action.color} is live"


def _scale(context: Context, seen: Observation, action: plan.Action, lock: Fence | None) -> str:
    """Told by an absolute count. What an engine that forgets is told is remembered, also while it is half done."""
    spec, counts = _spec_of(seen, action.release), seen.counts
    assert counts is not None
    engine = protocols.COUNTING[spec.engine]
    tell = engine.redeploy if action.kind == "redeploy" else engine.scale
    if not counts.remembers:
        _remember_asked(
            context, seen, action.color, next_state.begun(seen.state, action, spec.image, time.time()), lock
        )
    with _failures_counted(context, seen, action, lock):
        said = tell(context.settings, _with_env_files(spec), color=action.color, replicas=action.number,
                    release=action.release, called_off=lock.lost if lock else None)
    done = service_state.Asked(action.number, action.release, time.time(), image=spec.image)
    _remember_asked(context, seen, action.color, done, lock)
    return said


def _retire(context: Context, seen: Observation, action: plan.Action, lock: Fence | None) -> str:
    spec = _spec_of(seen, action.release)
    with _failures_counted(context, seen, action, lock):
        said = protocols.COUNTING[spec.engine].remove(context.settings, spec, color=action.color,
                                                    called_off=lock.lost if lock else None)
    forgets = seen.counts is not None and not seen.counts.remembers
    none = service_state.Asked(0, action.release, time.time()) if forgets else None
    _remember_asked(context, seen, action.color, none, lock)
    return said


@contextlib.contextmanager
def _failures_counted(context: Context, seen: Observation, action: plan.Action, lock: Fence | None) -> Iterator[None]:
    """That somebody else was faster is none."""
    try:
        yield
    except errors.Conflict:
        raise
    except errors.LictorError as error:
        with contextlib.suppress(errors.LictorError):
            _count_failure(context, seen, action, service_state.telling(action.color), error, lock)
        raise


def _end(_context: Context, seen: Observation, action: plan.Action, _lock: Fence | None) -> str:
    assert seen.desired.spec is not None
    engine = protocols.ENDING[seen.desired.spec.engine]
    found = [each for each in engine.containers(seen.desired.name) if each.id == action.container_id]
    if not found:
        return "it is gone already"
    said = engine.logs(found[0], lines=_LOG_LINES)
    engine.end(found[0], grace_s=seen.desired.spec.stop_grace_period)
    return said


def _remember_asked(context: Context, seen: Observation, color: str, asked: service_state.Asked | None,
                    lock: Fence | None) -> None:
    key = f"{service_state.KEY_PREFIX}{seen.desired.name}"
    entry = context.client.get(key)
    new = next_state.asked(service_state.decode(entry.value if entry else None), color, asked)
    fence.put(context.client, lock, key, service_state.encode(new), entry.modify_index if entry else 0)


def _spec_of(seen: Observation, release: str) -> service_spec.Spec:
    """The spec with this fingerprint: what is asked for, what is live, or what was before."""
    assert seen.desired.spec is not None
    if release == seen.desired.release:
        return seen.desired.spec
    if release == seen.state.previous_release and seen.state.previous:
        with contextlib.suppress(errors.Refused):
            return service_spec.parse_spec(seen.state.previous, "lictor/state")
    return live_spec(seen)


def _container(seen: Observation, action: plan.Action) -> model.Container:
    return next(each for each in seen.containers if each.id == action.container_id)


_ACTS = {"start": _start, "admit": _let_in, "drain": _drain, "undrain": _let_in, "stop": _stop, "remove": _remove,
         "switch": _switch, "scale": _scale, "redeploy": _scale, "retire": _retire, "end": _end}


def live_spec(seen: Observation) -> service_spec.Spec:
    """What a new container is made from: the spec that runs, not one that asks for a release; if that is damaged, or
    not allowed by this version, the one that is asked for."""
    assert seen.desired.spec is not None
    with contextlib.suppress(errors.Refused):
        live = service_spec.parse_spec(seen.state.live, "lictor/state")
        if (live.name, live.engine) == (seen.desired.name, seen.desired.spec.engine):
            return live
    return seen.desired.spec


def _with_env_files(spec: service_spec.Spec) -> service_spec.Spec:
    """Read the env files of this node in; what stands in `environment` wins, then the later file."""
    table: dict[str, str] = {}
    for path in spec.env_files:
        text = files.read_needed(path, f"{spec.name}: env_file")
        table |= service_spec.parse_env_file(text)
    return desired.with_environment(spec, {**table, **spec.environment_table})
