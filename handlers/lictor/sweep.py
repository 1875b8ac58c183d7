"""The timer: every 15 s it has everything looked at, and says how this node is.

Consul's check waits for the answer, so whatever only a sweep needs is imported where it is used.
"""

import os
import time
from typing import Any

from lictor import config, errors, files, handler, log, observer, process

STALE_S = 60.0
_SUMMARY = "summary.json"  # in the state folder
_LOCK = ":sweep.lock"  # no service's name has a colon
PASSING, WARNING, CRITICAL = 0, 1, 2


def answer(call: handler.Call) -> int:
    """Answer Consul's check from what the last sweep recorded, and start the next one beside us."""
    observer.note_agent(call.settings)
    _start(call)
    text, code = say(read(call.settings), time.time())
    print(text)
    return code


def _start(call: handler.Call) -> None:
    """By lictor-serve where that is the door: it may have rights that the agent, which started us, has not."""
    if call.settings.watch.door == "http":
        from lictor import door

        try:
            return door.ask(call.settings, "/sweep")
        except errors.LictorError as error:
            log.event("sweep", outcome="without lictor-serve", reason=error)
    process.spawn_handler("lictor-reconcile", [*call.inherited, "--sweep"], state_dir=call.settings.state_dir)


def read(settings: config.Config) -> dict[str, Any] | None:
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


def run(call: handler.Call) -> int:
    """One sweep, unless another is under way. One that fails leaves everything as it is, and says why."""
    from lictor import reconcile, survey

    settings = call.settings
    with files.locked(os.path.join(settings.state_dir, "locks", _LOCK), wait=False) as held:
        if not held:
            return 0
        try:
            found = survey.look(call)
        except (errors.LictorError, OSError) as error:
            if isinstance(error, errors.Unavailable):
                observer.note_unreadable(settings)
            _record(settings, {"at": time.time(), "error": str(error)})
            raise
        _record(settings, {"at": time.time(), "services": found.services, "problems": found.problems,
                           "pending": found.pending})
    return reconcile.run(settings, call.token_file, found.todo) if found.todo else 0


def _record(settings: config.Config, summary: dict[str, Any]) -> None:
    try:
        files.write_json(os.path.join(settings.state_dir, _SUMMARY), summary, durable=False)
    except OSError as error:  # a full disk must not keep a sweep from healing; the check says that it is stale
        log.event("sweep", outcome="not recorded", reason=error)
