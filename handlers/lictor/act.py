"""Carrying out what the planner decided: the only place that starts, drains and removes containers."""

import contextlib
import time

from lictor import desired, engines, errors, files, history, log, plan, policy
from lictor.observe import Context

_LOG_LINES = 20


def carry_out(context: Context, seen: plan.Observation, action: plan.Action) -> None:
    """Do one action: the intent is recorded before it, the outcome after it; raises what the act itself raised."""
    began = time.monotonic()
    name = seen.desired.name
    intent = {"node": context.node, "kind": action.kind, "container": action.container, "reason": action.reason,
              "seen": describe(seen)}
    key = history.begin(context.catalog, name, intent)
    outcome, detail = "failed", "it broke off"
    try:
        detail = _ACTS[action.kind](context, seen, action)
        outcome = "done"
    except errors.LictorError as error:
        detail = str(error)
        raise
    finally:
        ms = round((time.monotonic() - began) * 1000)
        log.event(action.kind, service=name, container=action.container, reason=action.reason, outcome=outcome,
                  detail=detail if outcome == "failed" else None, ms=ms)
        history.finish(context.catalog, key, {"outcome": outcome, "ms": ms, "detail": detail[:4000]})


def describe(seen: plan.Observation) -> str:
    """What was seen, in one line for people."""
    each = [f"{member.name} {member.condition}" for member in plan.members(seen)]
    return f"{seen.desired.why_replicas or 'nothing is wanted'}; there: {', '.join(each) or 'no container'}"


def _start(context: Context, seen: plan.Observation, action: plan.Action) -> str:
    spec = live_spec(seen)
    container = engines.ENGINES[spec.engine].start(_with_env_files(spec), number=action.number,
                                                   color=seen.desired.color, release=desired.fingerprint(spec))
    return f"{container.name} is {container.id[:12]}"


def _drain(context: Context, seen: plan.Observation, action: plan.Action) -> str:
    context.catalog.set_maintenance(action.service_id, f"{plan.DRAINING}{int(seen.now)}: {action.reason}")
    return ""


def _remove(context: Context, seen: plan.Observation, action: plan.Action) -> str:
    assert seen.desired.spec is not None
    engine = engines.ENGINES[seen.desired.spec.engine]
    container = next(each for each in seen.containers if each.id == action.container_id)
    last_words = "" if container.exit_code is None else engine.logs(container, lines=_LOG_LINES)
    engine.remove(container, grace_s=seen.desired.spec.stop_grace_period)
    return last_words


_ACTS = {"start": _start, "drain": _drain, "remove": _remove}


def live_spec(seen: plan.Observation) -> policy.Spec:
    """What a new container is made from: the spec that runs, not one that asks for a release; if that is damaged, or
    not allowed by this version, the one that is asked for."""
    assert seen.desired.spec is not None
    with contextlib.suppress(errors.Refused):
        live = policy.parse_spec(seen.state.live, "lictor/state")
        if (live.name, live.engine) == (seen.desired.name, seen.desired.spec.engine):
            return live
    return seen.desired.spec


def _with_env_files(spec: policy.Spec) -> policy.Spec:
    """Read the env files of this node in; what stands in `environment` wins, then the later file."""
    table: dict[str, str] = {}
    for path in spec.env_files:
        try:
            text = files.read(path)
        except OSError as error:
            raise errors.Refused(f"{spec.name}: env_file {path} cannot be read on this node: {error}") from error
        if text is None:
            raise errors.Refused(f"{spec.name}: env_file {path} is not on this node")
        table |= policy.parse_env_file(text)
    return desired.with_environment(spec, {**table, **spec.environment_table})
