"""The timer: every 15 s it has everything looked at, and says how this node is.

Consul's check waits for the answer, so whatever only a sweep needs is imported where it is used.
"""

import os
import time
from typing import Any

from lictor import errors, model
from lictor.adapters import files, log, process
from lictor.events import script
from lictor.reconcile import observer_health, process_lock
from lictor.routing import route_store
from lictor.spec.settings import Settings

STALE_S = 60.0
_SUMMARY = "summary.json"  # in the state folder
_LOCK = ":sweep.lock"  # no service's name has a colon
PASSING, WARNING, CRITICAL = 0, 1, 2


def main(description: str) -> int:
    """lictor-reconcile: answer the check, sweep (--sweep), or reconcile the services that are named; an exit code."""
    options = script.parser(description)
    options.add_argument("names", nargs="*", metavar="NAME", help="a service to reconcile now")
    options.add_argument("--sweep", action="store_true", help="look at everything once, and reconcile what needs it")
    return script.main(options, lambda call: run(call) if call.arguments.sweep else (
        reconcile(call, call.arguments.names) if call.arguments.names else answer(call)))


def reconcile(call: script.Call, names: list[str]) -> int:
    """Events come in swarms, and mostly find a process at work, or are of services that others act for: it costs little
    to leave them to that one, or to tell those."""
    state_dir = call.settings.state_dir
    only_routed = {name for name in names if model.is_name(name) and route_store.is_only_routed(state_dir, name)}
    code = 0
    if only_routed:
        from lictor.routing import announce

        code = announce.report(state_dir, call.token_file, only_routed)
    here = [name for name in names if name not in only_routed and not (
        model.is_name(name) and process_lock.is_left_to_another(state_dir, name))]
    if not here:
        return code
    from lictor.reconcile import loop  # as a sweep does: who needs none of this is answered at once

    return max(code, loop.run(call.settings, call.token_file, here))


def answer(call: script.Call) -> int:
    """Answer Consul's check from what the last sweep recorded, and start the next one beside us."""
    observer_health.note_agent(call.settings)
    _start(call)
    text, code = say(read(call.settings), time.time())
    print(text)
    return code


def _start(call: script.Call) -> None:
    """By lictor-serve where that is the door: it may have rights that the agent, which started us, has not."""
    if call.settings.watch.door == "http":
        from lictor.events import http_door

        try:
            return http_door.ask(call.settings, "/sweep")
        except errors.LictorError as error:
            log.event("sweep", outcome="without lictor-serve", reason=error)
    process.spawn_handler("lictor-reconcile", [*call.inherited, "--sweep"], state_dir=call.settings.state_dir)


def read(settings: Settings) -> dict[str, Any] | None:
    """What the last sweep recorded; None when none has ended yet, or its record is damaged."""
    summary = files.read_json(os.path.join(settings.state_dir, _SUMMARY))
    sound = isinstance(summary, dict) and isinstance(summary.get("at"), float) and (
        "error" in summary or {"services", "problems", "pending"} <= summary.keys())
    return summary if sound else None


def say(summary: dict[str, Any] | None, now: float) -> tuple[str, int]:
    """The check's output and status. Bad input that stands is critical; converging, held or stale is a warning."""
    if summary is None:
        return "no sweep has ended yet", WARNING
    age_s = now - summary["at"]
    if summary.get("error"):
        return f"{summary['error']} ({age_s:.0f} s ago)", WARNING
    if summary["problems"]:
        return "\n".join(summary["problems"]), CRITICAL
    if age_s > STALE_S:
        return f"the last sweep ended {age_s:.0f} s ago; see {process.LOG_NAME} in the state folder", WARNING
    if summary["pending"]:
        return "\n".join(summary["pending"]), WARNING
    return f"{summary['services']} services as desired", PASSING


def run(call: script.Call) -> int:
    """One sweep, unless another is under way. One that fails leaves everything as it is, and says why."""
    from lictor.events import survey
    from lictor.reconcile import loop

    settings = call.settings
    with files.locked(os.path.join(settings.state_dir, "locks", _LOCK), wait=False) as held:
        if not held:
            return 0
        try:
            found = survey.look(call)
        except (errors.LictorError, OSError) as error:
            if isinstance(error, errors.Unavailable):
                observer_health.note_unreadable(settings)
            _record(settings, {"at": time.time(), "error": str(error)})
            raise
        _record(settings, {"at": time.time(), "services": found.services, "problems": found.problems,
                           "pending": found.pending})
    return loop.run(settings, call.token_file, found.todo) if found.todo else 0


def _record(settings: Settings, summary: dict[str, Any]) -> None:
    try:
        files.write_json(os.path.join(settings.state_dir, _SUMMARY), summary, durable=False)
    except OSError as error:  # a full disk must not keep a sweep from healing; the check says that it is stale
        log.event("sweep", outcome="not recorded", reason=error)
