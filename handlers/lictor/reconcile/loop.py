"""The loop for one service: observe, plan, act, record, under its locks, until nothing is left to do."""

import time
import traceback
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from msgspec.structs import replace

from lictor import errors, model
from lictor.adapters import log
from lictor.adapters.consul import lock, transactions
from lictor.adapters.consul.lock import PlainWriter, Writer
from lictor.engines.registry import CONTAINER_ENGINES
from lictor.planner import next_state, plan, scheduled, service_state
from lictor.planner.actions import Act, Start, Wait
from lictor.planner.observation import Observation
from lictor.reconcile import act, history, notify, observe, observer_health, process_lock, responsibility
from lictor.reconcile.cluster import seeds
from lictor.reconcile.context import Context, connect
from lictor.reconcile.observe import Reading
from lictor.reconcile.state_store import StateStore
from lictor.routing import announce
from lictor.spec.keys import known_below
from lictor.spec.settings import Settings

_POLL_S = 0.25
_CALM_POLL_S = 1.0  # once nothing was done for a while: most waits are for time to pass
_CALM_AFTER_S = 10.0
_PATIENCE_S = 120.0  # without an act, the timer goes on from here
_LONGEST_WAIT_S = 60.0  # a wait that ends later than that is the timer's
_FRESH_S = 5.0  # an older observation is made again before the next act
_SERVICES_AT_ONCE = 8
_AGENT_RESTART_S = 10.0


def run(settings: Settings, token_file: str | None, names: Iterable[str]) -> int:
    """Reconcile these services side by side; returns the worst exit code. Each failure is logged with its service."""
    ordered = sorted(set(names))
    for name in ordered:
        if not model.is_name(name):
            raise errors.Refused(f"NAME is {name[:100]!r}; {model.NAME_RULE}")
    context = connect(settings, token_file, patience_s=_AGENT_RESTART_S)
    with ThreadPoolExecutor(max_workers=_SERVICES_AT_ONCE) as pool:
        return max(pool.map(lambda name: _run_one(context, name), ordered), default=0)


def _run_one(context: Context, name: str) -> int:
    try:
        converge(context, name)
        return 0
    except errors.LictorError as error:
        log.event("reconcile", service=name, outcome="failed", reason=error)
        return error.exit_code
    except Exception as error:  # a fault of lictor's, or a full disk: no reason to leave the other services alone
        log.event("reconcile", service=name, outcome="failed", reason=f"{type(error).__name__}: {error}",
                  at=traceback.extract_tb(error.__traceback__)[-1])
        return errors.Unavailable.exit_code


def converge(context: Context, name: str) -> None:
    """Act until nothing is left to do. If another process is at work on the service, that one looks once more."""
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
    idle_reads: Mapping[str, int] = {}
    is_first = True
    while (calm_s := time.monotonic() - acted_at) < _PATIENCE_S:
        if process_lock.take_marker(context.settings.state_dir, name):  # the event may have changed what nginx serves
            announce.tell(context.client, context.settings.state_dir, context.node, [name])
        reading = _observed(context, name, idle_reads)
        if not responsibility.acts_here(context, reading.observation.desired):
            return
        idle_reads = reading.observation.idle_reads
        try:
            acted = (_step_fenced(context, reading, is_first) if _needs_fence(reading)
                     else _step(context, reading, PlainWriter(context.client), is_first))
        except errors.Conflict as error:  # another process wrote the state, or took a name: look again
            log.event("reconcile", service=name, outcome="again", reason=error)
            acted = False
        is_first = False
        if acted:
            acted_at = time.monotonic()
        elif not _worth_waiting(reading):
            return
        else:
            time.sleep(_POLL_S if calm_s < _CALM_AFTER_S else _CALM_POLL_S)


def _observed(context: Context, name: str, idle_reads: Mapping[str, int]) -> Reading:
    """Observe; an answer that could not be had makes the healing of this service careful for a while."""
    try:
        return observe.settled(context, name, idle_reads)
    except errors.Conflict:
        raise
    except errors.Unavailable:
        observer_health.note_unreadable(context.settings, name)
        raise


def _needs_fence(reading: Reading) -> bool:
    if reading.look:
        from lictor.reconcile.cluster import step  # few nodes have a set with state

        return step.needs_lock(reading.look)
    spec, is_scheduled = reading.observation.desired.spec, reading.observation.scheduler is not None
    return spec is not None and (is_scheduled or CONTAINER_ENGINES[spec.engine].FENCED) and _has_acts(reading)


def _step_fenced(context: Context, reading: Reading, is_first: bool) -> bool:
    """Observe afresh under the lock in Consul; while another node holds it, that node does what there is to do."""
    name = reading.observation.desired.name
    with lock.held(context.client, name, node=context.node) as writer:
        return writer is not None and _step(
            context, _observed(context, name, reading.observation.idle_reads), writer, is_first)


def _step(context: Context, reading: Reading, writer: Writer, is_first: bool) -> bool:
    """Keep the new state, carry out the plan, and notify; returns whether there was anything to do."""
    observation, name = reading.observation, reading.observation.desired.name
    if (observation.desired.removed and not observation.containers and not observation.desired.why_held
            and scheduled.is_over(observation)):
        _forget(context, name)
        return False
    if observation.state != reading.stored.state:
        StateStore(context.client, writer, context.clocks).write(name, observation.state, reading.stored.modify_index,
                                                                 before=reading.stored.state)
    if reading.look:
        from lictor.reconcile.cluster import step

        _notify(context, reading, dict.fromkeys(_due(reading, is_first), ""), writer)
        return step.take(context, observation, reading.look, writer)
    words = {cause: _last_words(observation, cause)
             for cause in _due(reading, is_first)}
    try:
        _act(context, reading, writer)
    finally:
        _notify(context, reading, words, writer)
    return _has_acts(reading)


def _act(context: Context, reading: Reading, writer: Writer) -> None:
    executor = act.Executor(context, reading, writer)
    failure: errors.LictorError | None = None
    actions = [action for action in reading.actions if isinstance(action, Act)]
    for action in actions:
        if action is not actions[0] and abs(time.time() - reading.observation.now) > _FRESH_S:
            break
        try:
            executor.carry_out(action)
        except errors.LictorError as error:  # a container that cannot be removed, say, keeps no other from a start
            failure = failure or error
            if isinstance(action, Start):
                break
    if failure:
        raise failure


def _last_words(observation: Observation, cause: str) -> str:
    """Read the output of the instance that a notification is about, before it may be removed; "" if there is none."""
    failed, ill = observation.state.release.failed, plan.due(observation)
    if cause != next_state.RELEASE_FAILED:
        return act.last_words(observation, ill.container.id) if ill else ""
    passed = observation.state.healing.passed_once
    new = [each for each in observation.containers if failed and each.release == failed.release]
    worst = sorted(new, key=lambda each: (each.status == "running", each.id in passed, each.number))
    return act.last_words(observation, worst[0].id) if worst else ""


def _due(reading: Reading, is_first: bool) -> list[str]:
    """List the causes to notify operators of now: new ones, and once in a run those of which no notification got
    through."""
    before = reading.stored.state.notified
    return [cause for cause in reading.observation.state.notified.pending if is_first or cause not in before.causes]


def _notify(context: Context, reading: Reading, words: Mapping[str, str], writer: Writer) -> None:
    """Record refused input, and causes of notifications that began or ended: each once, as long as it lasts. Those in
    `words` are sent; one counts as sent once it has got through."""
    observation, before = reading.observation, reading.stored.state
    name, sent = observation.desired.name, list[str]()
    for problem in set(observation.state.notified.refused) - set(before.notified.refused):
        history.note(context.client, name, {"kind": "refused", "node": context.node, "reason": problem})
    for cause, text in next_state.causes(observation).items():
        record = {"kind": cause, "node": context.node, "reason": text, "seen": act.describe_reading(reading),
                  "detail": words.get(cause, "")}
        if cause not in before.notified.causes:
            history.note(context.client, name, record, observation=reading.recorded)
        if cause in words and notify.send(context.settings, {
                "service": name, "at": round(observation.now, 3), **record}):
            sent.append(cause)
    if sent:
        states = StateStore(context.client, writer, context.clocks)
        state, index = states.read(name)
        pending = [cause for cause in state.notified.pending if cause not in sent]
        states.write(name, replace(state, notified=replace(state.notified, pending=pending)), index)
    for cause in set(before.notified.causes) - set(observation.state.notified.causes):
        history.note(context.client, name, {"kind": cause, "node": context.node, "reason": next_state.OVER},
                     observation=reading.recorded)


def _forget(context: Context, name: str) -> None:
    """Delete the keys of a removed service that are lictor's, but for the tombstone: nodes that were away need it.

    A key below the same prefix that another program made stays. If the service was applied again meanwhile, this is a
    Conflict.
    """
    own = f"{context.settings.prefix}{name}/"
    is_known = known_below(context.settings.prefix)
    keys = {key: entry for key, entry in context.client.tree(own, is_known).items() if is_known(key)}
    tombstone = keys.pop(f"{own}removed", None)
    if tombstone is None:
        raise errors.Conflict(f"{own}removed is gone: the service was applied again")
    if keys:
        context.client.commit([transactions.cas(f"{own}removed", tombstone.value, tombstone.modify_index),
                               *(transactions.delete_cas(key, entry.modify_index) for key, entry in keys.items())])
    seeds.forget(context.client, name)
    if context.client.get(f"{service_state.KEY_PREFIX}{name}"):  # the last to go: until then this is tried again
        context.client.delete(f"{service_state.KEY_PREFIX}{name}")
        history.note(context.client, name, {"kind": "removed", "node": context.node,
                                            "reason": "lictor remove", "seen": "no container is left"})


def _has_acts(reading: Reading) -> bool:
    return any(isinstance(action, Act) for action in reading.actions)


def _worth_waiting(reading: Reading) -> bool:
    """Decide whether something will happen soon that this process should carry on with."""
    waits = [action for action in reading.actions if isinstance(action, Wait)]
    return any(wait.until == 0.0 or 0 < wait.until - reading.observation.now <= _LONGEST_WAIT_S for wait in waits)
