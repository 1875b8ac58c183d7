"""The end of a Swarm task: its instance loses its traffic while the stop grace runs."""

import signal
import time
from collections.abc import Collection, Mapping
from typing import Any

from lictor import errors, model
from lictor.adapters import log
from lictor.adapters.consul.client import Client
from lictor.planner import observation
from lictor.registrar.registration import Registration

_ALWAYS = frozenset({signal.SIGTERM, signal.SIGKILL})


def stop_signals(container: Mapping[str, Any]) -> frozenset[int]:
    """List the signals by which Swarm ends a container, as Docker's inspect shows it; none if it is no Swarm task.

    Besides these, operators send signals to containers for other reasons.
    """
    config = container["Config"]
    if (config.get("Labels") or {}).get(model.LABEL_TASK_NAME) != container["Name"].removeprefix("/"):
        return frozenset()  # an image may bring Swarm's labels, but not the name of a task
    return _ALWAYS | {_number(config.get("StopSignal") or "SIGTERM")}


def announce(client: Client, registrations: Collection[Registration]) -> None:
    """Put a container's registrations into maintenance, so that every nginx lets go of it.

    A service that is in maintenance already stays as it is, and so does one that is another container's.
    """
    ids = [registration.id for registration in registrations]
    services, checks = client.local_services(ids), client.local_checks(ids)
    for registration in registrations:
        meta = (services.get(registration.id) or {}).get("Meta") or {}
        is_paused = model.MAINTENANCE_PREFIX + registration.id in checks
        if is_paused or meta.get(model.META_CONTAINER) != registration.container_id:
            continue
        outcome, reason = "done", "Swarm ends it"
        try:
            client.set_maintenance(registration.id, observation.drain_text(time.time(), reason))
        except errors.Refused as error:  # it has gone at this moment
            outcome, reason = "refused", str(error)
        log.event("drain", id=registration.id, container=registration.container, outcome=outcome, reason=reason)


def _number(name: str) -> int:
    """Parse 15, TERM, SIGTERM or SIGRTMIN+3; 0 for a name that Docker would not know either."""
    if name.isdecimal() and len(name) < 4:
        return int(name)
    base, _, offset = name.upper().removeprefix("SIG").partition("+")
    known = signal.Signals.__members__.get(f"SIG{base}", 0)
    return known + int(offset) if offset.isdecimal() and len(offset) < 4 else int(known)
