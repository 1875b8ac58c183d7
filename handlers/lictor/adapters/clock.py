"""The clock of this node, which people and NTP set, and time since its start, which nothing sets.

If wall time minus time since the start has moved, the clock was set. The timer notes that in clock.json; every other
handler takes a set that is not noted yet for one of this moment. So no wait is over, or endless, by a set clock.
"""

import os
import time
from typing import Any

from lictor import model
from lictor.adapters import files, log

_FILE = "clock.json"
_MOVED_S = 2.0  # a slewed clock takes both along; only a step is told from them


def uptime_s() -> float:
    """Read the time since the start of the machine, sleep included."""
    with open("/proc/uptime", encoding="ascii") as file:
        return float(file.read().split()[0])


def boot_id() -> str:
    """Read which start of the machine this is."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def read(state_dir: str) -> model.Clock:
    """Read the clock, and when it was set."""
    return _clock(_noted(state_dir), _now())[0]


def note(state_dir: str) -> model.Clock:
    """Read the clock; note that it was set, or that the node was started, and log by how much."""
    noted, now = _noted(state_dir), _now()
    clock, is_news = _clock(noted, now)
    if noted is None or is_news:
        clock = clock._replace(set_at=clock.now)
        if clock.set_by:
            log.event("clock", outcome="set", by_s=round(clock.set_by),
                      reason="the node's clock was set. Waits under way begin anew.")
        try:
            files.write_json(os.path.join(state_dir, _FILE), {**now, **clock._asdict()}, durable=False)
        except OSError as error:  # each look takes it for set at that moment, so that nothing is hurried
            log.event("clock", outcome="not noted", reason=error)
    return clock


def _now() -> dict[str, Any]:
    now = time.time()
    return {"boot": boot_id(), "now": now, "started_at": now - uptime_s()}


def _noted(state_dir: str) -> dict[str, Any] | None:
    noted = files.read_json(os.path.join(state_dir, _FILE))
    try:
        return {"boot": str(noted["boot"]), **{key: float(noted[key]) for key in ("started_at", "set_at", "set_by")}}
    except (TypeError, KeyError, ValueError, OverflowError):
        return None


def _clock(noted: dict[str, Any] | None, now: dict[str, Any]) -> tuple[model.Clock, bool]:
    """Compare with what was noted; returns the clock, and whether it was set since."""
    if noted is None:
        return model.Clock(now["now"]), False
    moved_s = now["started_at"] - noted["started_at"]
    if now["boot"] != noted["boot"]:
        return model.Clock(now["now"], now["now"]), True
    if abs(moved_s) > _MOVED_S:
        return model.Clock(now["now"], now["now"], moved_s), True
    return model.Clock(now["now"], noted["set_at"], noted["set_by"]), False
