"""The health of the observer: the age of Consul's agent, answers that could not be had, nginx itself.

The notes are in the state folder, as they are needed when Consul does not answer. Imported by the check, so it imports
little.
"""

import contextlib
import os
import time

from lictor.adapters import clock, files, log, process
from lictor.spec.settings import Settings

_AGENT = "agent.json"
_TIMER_STOPPED_S = 60.0  # the timer notes the agent every 15 s; an older note says nothing


def note_agent(settings: Settings) -> None:
    """Note the agent, which is the parent process unless an operator runs the handler by hand."""
    pid = os.getppid()
    if (files.read(f"/proc/{pid}/comm") or "").strip() != "consul":
        return
    noted = {"pid": pid, "started_at": process.started_at_s(pid), "at": clock.uptime_s()}
    try:
        files.write_json(os.path.join(settings.state_dir, _AGENT), noted, durable=False)
    except OSError as error:  # a full disk is no reason to leave the check unanswered
        log.event("observe", outcome="not noted", reason=error)


def agent_age_s(settings: Settings) -> float | None:
    """Compute the agent's age; 0.0 if the agent that was noted has gone, None if the timer does not run."""
    noted = files.read_json(os.path.join(settings.state_dir, _AGENT))
    try:
        pid, started_at, at = int(noted["pid"]), float(noted["started_at"]), float(noted["at"])
    except (TypeError, KeyError, ValueError):
        return None
    now_s = clock.uptime_s()
    if not 0 <= now_s - at <= _TIMER_STOPPED_S:  # before 0: the machine was started since
        return None
    start_of_pid = process.started_at_s(pid)
    if start_of_pid is None or abs(start_of_pid - started_at) > 1:
        return 0.0
    return max(now_s - start_of_pid, 0.0)


def note_unreadable(settings: Settings, service: str = "") -> None:
    """Note that an observation broke off for want of an answer: about one service, or about all ("").

    An existing file needs no room on the disk.
    """
    path = _unreadable_path(settings, service)
    try:
        files.touch(path, time.time_ns())
    except OSError as error:
        log.event("observe", outcome="not noted", reason=error)


def unreadable_s_ago(settings: Settings, service: str) -> float | None:
    """Compute the time since an answer about this service, or about all, last could not be had; None: never."""
    noted = []
    for name in ("", service):
        with contextlib.suppress(OSError):
            noted.append(os.stat(_unreadable_path(settings, name)).st_mtime)
    return clock.read(settings.state_dir).age_s(max(noted)) if noted else None


def _unreadable_path(settings: Settings, service: str) -> str:
    return os.path.join(settings.state_dir, "locks", f"unreadable:{service}")  # no service's name has a colon


def nginx_trouble(settings: Settings) -> str:
    """Ask this node's nginx; returns why it does not work, "" if it does or there is none."""
    if settings.nginx is None:
        return ""
    from lictor.routing import nginx  # only when something is critical

    return "" if nginx.answered(settings.nginx.conf_dir) else "it does not answer on its own socket"
