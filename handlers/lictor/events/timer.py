"""The timer's first stage: it starts a sweep, and answers Consul's check from what that records.

A sweep that takes longer goes on in the background: then the one before it is what there is to tell. Consul waits for
the answer, so this module needs the standard library and the settings only. Each second stage is one
late import: `survey` sweeps, `loop` reconciles, `announce` serves the services that this node only routes.
"""

import os
import time
from typing import NamedTuple

from lictor import errors, model
from lictor.adapters import clock, files, log, process
from lictor.adapters.text import printable
from lictor.events import script
from lictor.reconcile import observer_health
from lictor.routing import route_store
from lictor.spec import plain_tables
from lictor.spec.settings import Settings

STALE_S = 60.0  # four intervals of the check
NOT_OF_THE_SWEEP = ("stale: ", "unwritable: ")  # so lines begin that no sweep can tell
PASSING, WARNING, CRITICAL = 0, 1, 2
_PROBE, _PROBE_BYTES = "probe", 4096
_SUMMARY = "summary.json"  # in the state folder
PATIENCE_S = 5.0  # for the sweep: Consul waits ten seconds for the answer
_EVERY_S = 0.05


class Summary(NamedTuple):
    """The record of one sweep; its texts are for people."""

    at: float  # epoch seconds; of a sweep that failed, when the last one that did not has ended
    error: str  # why the sweep failed, so that the rest is unknown; "": it did not
    services: int  # the number of services that this node acts for
    todo: list[str]  # those of them to reconcile now
    problems: list[str]  # refused input that stands, and open breakers
    pending: list[str]  # of services: to be done, waiting, on hold, or not as desired
    trouble: list[str]  # of this node: parts of its own work that failed

def main(description: str) -> int:
    """Answer the check, sweep (--sweep), or reconcile the services that are named; returns an exit code."""
    options = script.make_parser(description)
    options.add_argument("names", nargs="*", metavar="NAME", help="a service to reconcile now")
    options.add_argument("--sweep", action="store_true", help="observe all services once, and reconcile what needs it")
    options.add_argument("--paused", action="store_true", help="tell what waits in nginx, until no NAME is paused")
    return script.main(options, _run)


def _run(call: script.Call) -> int:
    if call.arguments.sweep:
        from lictor.events import survey

        return survey.sweep(call)
    if call.arguments.paused:
        from lictor.events import paused

        return paused.follow(call, call.arguments.names)
    return reconcile(call, call.arguments.names) if call.arguments.names else answer(call)


def answer(call: script.Call) -> int:
    """Sweep in the background, and print the check's output; returns the check's status."""
    unwritable = _describe_unwritable(call.settings)
    if not unwritable:
        observer_health.note_agent(call.settings)
    before = _stamp(call.settings)
    _start_sweep(call)
    if not unwritable:
        _wait_for_record(call.settings, before)
    text, status = judge(read(call.settings), clock.note(call.settings.state_dir))
    if unwritable:  # so what is recorded may be long past
        text, status = unwritable if status == PASSING else f"{unwritable}\n{text}", CRITICAL
    print("\n".join(map(printable, text.splitlines())))
    return status


def _wait_for_record(settings: Settings, before: int) -> None:
    """Wait until a sweep has recorded what it found, for as long as Consul has patience."""
    deadline = time.monotonic() + PATIENCE_S
    while _stamp(settings) == before and time.monotonic() < deadline:
        time.sleep(_EVERY_S)


def _stamp(settings: Settings) -> int:
    """Tell one record from the next: each is a file of its own."""
    try:
        return os.stat(os.path.join(settings.state_dir, _SUMMARY)).st_mtime_ns
    except OSError:
        return 0


def _describe_unwritable(settings: Settings) -> str:
    """Say why nothing can be written to the state folder; "" if it can."""
    path = os.path.join(settings.state_dir, _PROBE)
    try:
        files.write_atomic(path, " " * _PROBE_BYTES, durable=False)
        files.remove(path)
    except OSError as error:
        return (f"unwritable: the state folder {settings.state_dir} takes no file: {error.strerror}. No sweep is "
                "recorded, and no change of the catalogue reaches nginx")
    return ""


def reconcile(call: script.Call, names: list[str]) -> int:
    """Reconcile these services, as far as this process is needed for it; returns the worst exit code.

    A service on which another process works is left to that one. Of a service that this node only routes, the other
    nodes are told what nginx serves.
    """
    state_dir = call.settings.state_dir
    only_routed = {name for name in names if model.is_name(name) and route_store.is_only_routed(state_dir, name)}
    code = 0
    if only_routed:
        from lictor.routing import announce

        code = announce.report(state_dir, call.token_file, only_routed)
    own = [name for name in names if name not in only_routed and not call.leaves_to_another(name)]
    if own:
        from lictor.reconcile import loop

        code = max(code, loop.run(call.settings, call.token_file, own))
    return code


def read(settings: Settings) -> Summary | None:
    """Read what the last sweep recorded; None: no sweep has ended yet, or its record is damaged."""
    try:
        return plain_tables.read_record(files.read_json(os.path.join(settings.state_dir, _SUMMARY)), Summary)
    except ValueError:
        return None


def record(settings: Settings, summary: Summary) -> None:
    """Record what a sweep has found, for the check, and in numbers for node_exporter, if the settings name a file."""
    try:
        files.write_json(os.path.join(settings.state_dir, _SUMMARY), summary._asdict(), durable=False)
    except OSError as error:  # a full disk must not keep a sweep from healing; the check calls the record stale
        log.event("sweep", outcome="not recorded", reason=error)
    if settings.metrics and settings.metrics.textfile:
        from lictor.events.metrics import exposition  # with prometheus-client, which few nodes need

        exposition.write_textfile(settings, settings.metrics.textfile)


def judge(summary: Summary | None, now: model.Clock) -> tuple[str, int]:
    """Turn a record into the check's output and status.

    Critical: input is refused, a breaker is open, or no sweep has ended for four intervals. Warning: a service
    converges or is on hold, or this node has trouble.
    """
    at = summary.at if summary else now.set_at  # its first answer counts as a set of the clock
    age_s, status = now.age_s(at), CRITICAL if now.is_late(at, STALE_S) else WARNING
    if summary is None:
        return "unknown: no sweep has ended yet", status
    if summary.error:
        unknown = f"unknown: no sweep has ended for {age_s:.0f} s, as the last one failed: {summary.error}"
        return "\n".join([*summary.problems, unknown, *summary.trouble]), CRITICAL if summary.problems else status
    if summary.problems:
        return "\n".join(summary.problems), CRITICAL
    if status == CRITICAL:
        ended = "by a clock that is not this node's" if now.is_foreign(at) else f"{age_s:.0f} s ago"
        return (f"stale: the last sweep ended {ended}. {process.LOG_NAME} in the state folder may hold the "
                "reason"), CRITICAL
    if summary.pending or summary.trouble:
        return "\n".join([*summary.pending, *summary.trouble]), WARNING
    return f"{summary.services} services as desired", PASSING


def _start_sweep(call: script.Call) -> None:
    """Start it by lictor-serve, where that is the door: its unit may have rights that the agent has not."""
    if call.settings.watch.door == "http":
        from lictor.events import http_door

        try:
            http_door.ask(call.settings, "/sweep")
            return
        except errors.LictorError as error:
            log.event("sweep", outcome="without lictor-serve", reason=error)
    call.spawn("lictor-reconcile", "--sweep")
