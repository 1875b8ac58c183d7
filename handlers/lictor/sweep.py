"""The timer: every 15 s it looks at everything in bulk, mends what events missed, and says how this node is."""

import os
import time
from typing import Any

from lictor import config, errors, files, handler, observe, plan, process, reconcile, route, scale

_STALE_S = 60.0
_SUMMARY = "summary.json"  # in the state folder
PASSING, WARNING, CRITICAL = 0, 1, 2


def answer(call: handler.Call) -> int:
    """Answer Consul's check from what the last sweep recorded, and start the next one beside us."""
    process.spawn_handler("lictor-reconcile", [*call.inherited, "--sweep"], state_dir=call.settings.state_dir)
    text, code = say(read(call.settings), time.time())
    print(text)
    return code


def read(settings: config.Config) -> dict[str, Any] | None:
    """What the last sweep recorded; None when none has ended yet."""
    summary: dict[str, Any] | None = files.read_json(os.path.join(settings.state_dir, _SUMMARY))
    return summary


def say(summary: dict[str, Any] | None, now: float) -> tuple[str, int]:
    """The check's output and status. Bad input that stands is critical; converging, held or stale is a warning."""
    if summary is None:
        return "no sweep has ended yet", WARNING
    age_s = now - summary["at"]
    if summary.get("error"):
        return f"{summary['error']} ({age_s:.0f} s ago)", WARNING
    if summary["problems"]:
        return "\n".join(summary["problems"]), CRITICAL
    if age_s > _STALE_S:
        return f"the last sweep ended {age_s:.0f} s ago; see {process.LOG_NAME} in the state folder", WARNING
    if summary["pending"]:
        return "\n".join(summary["pending"]), WARNING
    return f"{summary['services']} services as desired", PASSING


def run(call: handler.Call) -> int:
    """One sweep, unless another is under way. One that fails leaves everything as it is, and says why."""
    settings = call.settings
    with files.locked(os.path.join(settings.state_dir, "locks", "sweep.lock"), wait=False) as held:
        if not held:
            return 0
        try:
            todo = _look(call)
        except errors.LictorError as error:
            _record(settings, {"at": time.time(), "error": str(error)})
            raise
    return reconcile.run(settings, call.token_file, todo) if todo else 0


def _look(call: handler.Call) -> list[str]:
    """Mend routes and watches, record the summary; returns the services that need work here."""
    settings = call.settings
    context = reconcile.connect(settings, call.token_file)
    entries = context.catalog.everything()
    keys = scale.current(context.catalog, settings.prefix)
    if not keys and scale.services(settings):
        raise errors.Unavailable(f"no key below {settings.prefix} can be seen, though services are known: does the "
                                 "token allow to read them?")
    scale.follow(call, keys, None)
    route.sweep(settings, entries, context.catalog)
    readings = observe.everything(context, entries, {key: each.value for key, each in keys.items()})
    reconcile.report_served(context, sorted(readings))
    _record(settings, _summary(settings, context, readings))
    return [name for name, reading in readings.items() if _needs_work(context, reading)]


def _needs_work(context: observe.Context, reading: observe.Reading) -> bool:
    if not observe.acts_here(reading.seen.desired, context.node):
        return False
    finished = reading.seen.desired.removed and not reading.seen.containers
    return finished or any(each.kind in plan.ACTS or each.kind == "wait" for each in reading.actions)


def _summary(settings: config.Config, context: observe.Context, readings: dict[str, observe.Reading]) -> dict[str, Any]:
    mine = {name: each for name, each in readings.items() if observe.acts_here(each.seen.desired, context.node)}
    problems = [f"{name}: {problem}" for name, each in mine.items() for problem in each.seen.desired.problems]
    pending = [f"{name}: {action.kind} {action.container}: {action.reason}"
               for name, each in mine.items() for action in each.actions]
    pending += _unconfirmed(settings) + _registrar_is_late(settings, bool(mine))
    return {"at": time.time(), "services": len(mine), "problems": problems, "pending": pending}


def _unconfirmed(settings: config.Config) -> list[str]:
    folder = os.path.join(settings.state_dir, "peers")
    names = sorted(os.listdir(folder)) if settings.nginx and os.path.isdir(folder) else []
    served = {each: files.read_json(os.path.join(folder, each)) for each in names if each.endswith(".json")}
    return [f"{name.removesuffix('.json')}: nginx has not confirmed its upstream"
            for name, each in served.items() if each and not each.get("confirmed")]


def _registrar_is_late(settings: config.Config, needed: bool) -> list[str]:
    heartbeat = files.read_json(os.path.join(settings.state_dir, "registrar.json")) or {"at": 0.0}
    if not needed or time.time() - heartbeat["at"] < _STALE_S:
        return []
    return ["lictor-registrar gives no sign of life: containers are not registered; is it running?"]


def _record(settings: config.Config, summary: dict[str, Any]) -> None:
    files.write_json(os.path.join(settings.state_dir, _SUMMARY), summary, durable=False)
