"""Bringing services to what is wanted, one at a time under their locks, until there is nothing left to do."""

import time
import traceback
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from lictor import errors, model
from lictor.adapters import log
from lictor.adapters.consul import lock as fence
from lictor.adapters.consul import transactions
from lictor.adapters.consul.lock import Fence
from lictor.engines import protocols
from lictor.planner import next_state, plan, service_state
from lictor.planner import scheduled as counted
from lictor.planner.observation import Observation
from lictor.reconcile import act, history, notify, observe, observer_health, process_lock
from lictor.reconcile.context import Context, connect
from lictor.reconcile.observe import Reading
from lictor.routing import announce
from lictor.spec.settings import Settings

_POLL_S = 0.25
_CALM_POLL_S = 1.0  # once nothing was done for a while: what is waited for is mostly time
_CALM_AFTER_S = 10.0
_PATIENCE_S = 120.0  # without an act of ours, the timer goes on from here
_LONGEST_WAIT_S = 60.0  # a wait that ends later than that is the timer's
_FRESH_S = 5.0  # what was seen longer ago is looked at again before the next act
_AT_ONCE = 8
_AT_MOST_DELETED = 60  # Consul's transactions hold 64 operations
_AGENT_RESTART_S = 10.0


def run(settings: Settings, token_file: str | None, names: Iterable[str]) -> int:
    """Reconcile these services; the exit code of the worst. Nobody waits for us, so each one speaks for itself."""
    ordered = sorted(set(names))
    for name in ordered:
        if not model.is_name(name):
            raise errors.Refused(f"NAME is {name[:100]!r}; it must be the name of a service")
    context = connect(settings, token_file, patience_s=_AGENT_RESTART_S)
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return max(pool.map(lambda name: _run_one(context, name), ordered), default=0)


def _run_one(context: Context, name: str) -> int:
    try:
        converge(context, name)
        return 0
    except errors.LictorError as error:
        log.event("reconcile", service=name, outcome="failed", reason=error)
        return error.exit_code
    except Exception as error:  # a fault of ours, or a full disk: no reason to leave the other services alone
        log.event("reconcile", service=name, outcome="failed", reason=f"{type(error).__name__}: {error}",
                  at=traceback.extract_tb(error.__traceback__)[-1])
        return errors.Unavailable.exit_code


def converge(context: Context, name: str) -> None:
    """Act until nothing is left to do, unless another process already does: then it will look once more."""
    state_dir = context.settings.state_dir
    while True:
        process_lock.leave_marker(state_dir, name)
        with process_lock.lock(state_dir, name) as held:
            if not held:
                return
            _converge_locked(context, name)
        if not process_lock.is_marked(state_dir, name):
            return


def _converge_locked(context: Context, name: str) -> None:
    acted_at = time.monotonic()
    idle_reads: dict[str, int] = {}
    while (calm_s := time.monotonic() - acted_at) < _PATIENCE_S:
        if process_lock.take_marker(
            context.settings.state_dir, name
        ):  # whoever left it may have changed what nginx serves
            announce.tell(context.client, context.settings.state_dir, context.node, [name])
        reading = _observed(context, name, idle_reads)
        if not observe.acts_here(context, reading.seen.desired):
            return
        idle_reads = dict(reading.seen.idle_reads)
        try:
            acted = _step_fenced(context, reading) if _needs_fence(reading) else _step(context, reading)
        except errors.Conflict as error:  # somebody else wrote the state, or took a name: look again
            log.event("reconcile", service=name, outcome="again", reason=error)
            acted = False
        if acted:
            acted_at = time.monotonic()
        elif not _worth_waiting(reading):
            return
        else:
            time.sleep(_POLL_S if calm_s < _CALM_AFTER_S else _CALM_POLL_S)


def _observed(context: Context, name: str, idle_reads: Mapping[str, int]) -> Reading:
    """What could not be read makes us careful with the service for a while."""
    try:
        return observe.settled(context, name, idle_reads)
    except errors.Conflict:
        raise
    except errors.Unavailable:
        observer_health.note_unreadable(context.settings, name)
        raise


def _needs_fence(reading: Reading) -> bool:
    spec, counted = reading.seen.desired.spec, reading.seen.counts is not None
    return spec is not None and (counted or protocols.ENGINES[spec.engine].FENCED) and _has_acts(reading)


def _step_fenced(context: Context, reading: Reading) -> bool:
    """Under the lock in Consul all is seen afresh; while another node holds it, that one does what there is to do."""
    name = reading.seen.desired.name
    with fence.held(context.client, name, node=context.node) as lock:
        return lock is not None and _step(context, _observed(context, name, reading.seen.idle_reads), lock)


def _step(context: Context, reading: Reading, lock: Fence | None = None) -> bool:
    """Keep what was learnt, carry out what is planned, and tell of it; returns whether there was anything to do."""
    seen = reading.seen
    if seen.desired.removed and not seen.containers and not seen.desired.why_held and counted.is_over(seen):
        _forget(context, seen.desired.name)
        return False
    if seen.state != reading.stored:
        fence.put(
            context.client,
            lock,
            f"{service_state.KEY_PREFIX}{seen.desired.name}",
            service_state.encode(seen.state),
            reading.stored_index,
        )
    words = {cause: _last_words(seen, cause) for cause in set(seen.state.told) - set(reading.stored.told)}
    try:
        _act(context, reading, lock)
    finally:
        _tell(context, reading, words)
    return _has_acts(reading)


def _act(context: Context, reading: Reading, lock: Fence | None) -> None:
    seen = reading.seen
    failure: errors.LictorError | None = None
    actions = [each for each in reading.actions if each.kind in plan.ACTS]
    for action in actions:
        if action is not actions[0] and time.time() - seen.now > _FRESH_S:
            break
        try:
            act.carry_out(context, seen, action, lock)
        except errors.LictorError as error:  # one that cannot be removed, say, must not keep others from being started
            failure = failure or error
            if action.kind == "start":
                break
    if failure:
        raise failure


def _last_words(seen: Observation, cause: str) -> str:
    """What the instance printed that people are told of, before it may be removed; "" when it is about none."""
    failed, ill = seen.state.failed, plan.due(seen)
    if cause != next_state.RELEASE_FAILED:
        return act.last_words(seen, ill.container.id) if ill else ""
    new = [each for each in seen.containers if failed and each.release == failed.release]
    worst = sorted(new, key=lambda each: (each.status == "running", each.id in seen.state.passed, each.number))
    return act.last_words(seen, worst[0].id) if worst else ""


def _tell(context: Context, reading: Reading, words: Mapping[str, str]) -> None:
    """Note what was refused, what people should know, and what of it is over: each once, as long as it lasts."""
    seen, before = reading.seen, reading.stored
    name = seen.desired.name
    for problem in set(seen.state.refused) - set(before.refused):
        history.note(context.client, name, {"kind": "refused", "node": context.node, "reason": problem})
    for cause, text in next_state.causes(seen).items():
        if cause not in before.told:
            record = {"kind": cause, "node": context.node, "reason": text, "seen": act.describe(seen),
                      "detail": words.get(cause, "")}
            history.note(context.client, name, record, seen=seen)
            notify.tell(context.settings, {"service": name, "at": round(seen.now, 3), **record})
    for cause in set(before.told) - set(seen.state.told):
        history.note(context.client, name, {"kind": cause, "node": context.node, "reason": "this is over"}, seen=seen)


def _forget(context: Context, name: str) -> None:
    """The tombstone stays for the nodes that were away; all other keys of a removed service go, unless it was applied
    again meanwhile: then this is a Conflict."""
    own = f"{context.settings.prefix}{name}/"
    keys = context.client.tree(own)
    tombstone = keys.pop(f"{own}removed", None)
    if tombstone is None:
        raise errors.Conflict(f"{own}removed is gone: somebody wants it again")
    if keys:
        context.client.commit([transactions.cas(f"{own}removed", tombstone.value, tombstone.modify_index),
                                *(transactions.delete_cas(key, each.modify_index)
                                  for key, each in list(keys.items())[:_AT_MOST_DELETED])])
    if context.client.get(f"{service_state.KEY_PREFIX}{name}"):
        context.client.delete(f"{service_state.KEY_PREFIX}{name}")
        history.note(context.client, name, {"kind": "removed", "node": context.node,
                                             "reason": "lictor remove", "seen": "no container is left"})


def _has_acts(reading: Reading) -> bool:
    return any(each.kind in plan.ACTS for each in reading.actions)


def _worth_waiting(reading: Reading) -> bool:
    """Whether something will happen soon that this process should carry on with."""
    waits = [each for each in reading.actions if each.kind == "wait"]
    return any(each.until == 0.0 or 0 < each.until - reading.seen.now <= _LONGEST_WAIT_S for each in waits)
