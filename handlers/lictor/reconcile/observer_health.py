"""What is known of those through whose eyes we see: the age of Consul's agent, answers that failed, nginx itself.

Kept in the state folder, as it has to be known just when Consul cannot be asked. Imported by the check, so it imports
little.
"""

import contextlib
import os
import time

from lictor.adapters import files, log
from lictor.spec.settings import Settings

_AGENT = "agent.json"
_TIMER_STOPPED_S = 60.0  # the timer notes the agent every 15 s; what it noted long ago says nothing


def note_agent(settings: Settings) -> None:
    """Called by what the agent starts: our parent is the agent, unless somebody tries the handler by hand."""
    pid = os.getppid()
    if (files.read(f"/proc/{pid}/comm") or "").strip() != "consul":
        return
    noted = {"pid": pid, "started_at": _started_at(pid), "at": time.time()}
    try:
        files.write_json(os.path.join(settings.state_dir, _AGENT), noted, durable=False)
    except OSError as error:  # a full disk is no reason to leave the check unanswered
        log.event("observe", outcome="not noted", reason=error)


def agent_age_s(settings: Settings) -> float | None:
    """Since the agent's start; 0.0 when the one that was seen last has gone, None when the timer does not run."""
    noted = files.read_json(os.path.join(settings.state_dir, _AGENT))
    try:
        pid, started_at, at = int(noted["pid"]), float(noted["started_at"]), float(noted["at"])
    except (TypeError, KeyError, ValueError):
        return None
    if time.time() - at > _TIMER_STOPPED_S:
        return None
    now_started_at = _started_at(pid)
    if now_started_at is None or abs(now_started_at - started_at) > 1:
        return 0.0
    return max(time.time() - now_started_at, 0.0)


def note_unreadable(settings: Settings, service: str = "") -> None:
    """Called when an observation broke off because an answer could not be had: that of one service, which must not
    stop the healing of the others, or of all. A file that is there needs no room."""
    path = _unreadable_path(settings, service)
    try:
        with open(path, "ab"):
            os.utime(path)
    except OSError as error:
        log.event("observe", outcome="not noted", reason=error)


def unreadable_s_ago(settings: Settings, service: str) -> float | None:
    """Since an answer about this service, or about all of them, last could not be had."""
    noted = []
    for name in ("", service):
        with contextlib.suppress(OSError):
            noted.append(os.stat(_unreadable_path(settings, name)).st_mtime)
    return max(time.time() - max(noted), 0.0) if noted else None


def _unreadable_path(settings: Settings, service: str) -> str:
    return os.path.join(settings.state_dir, "locks", f"unreadable:{service}")  # no service's name has a colon


def nginx_trouble(settings: Settings) -> str:
    """Why this node's nginx does not work; "" when it does, or there is none."""
    if settings.nginx is None:
        return ""
    from lictor.routing import nginx  # only when something is critical

    return "" if nginx.answered(settings.nginx.conf_dir) else "it does not answer on its own socket"


def _started_at(pid: int) -> float | None:
    """When a process was started, in seconds since the epoch; None: there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            ticks = int(file.read().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
