"""Taking an instance out of traffic once Swarm has begun to end its container, while the stop grace runs."""

import signal
import time
from collections.abc import Iterable, Mapping
from typing import Any

from lictor import errors, model
from lictor.adapters import log
from lictor.adapters.consul.client import Client
from lictor.planner import observation
from lictor.registrar import registration

_ALWAYS = frozenset({signal.SIGTERM, signal.SIGKILL})


def stop_signals(container: Mapping[str, Any]) -> frozenset[int]:
    """The signals that mean the end of a container of Swarm's, as Docker's inspect shows it; of another one none do.

    It may have a signal of its own for that; and each signal is also sent by people, for other reasons.
    """
    config = container["Config"]
    if model.LABEL_TASK not in (config.get("Labels") or {}):
        return frozenset()
    return _ALWAYS | {_number(config.get("StopSignal") or "SIGTERM")}


def announce(client: Client, found: Iterable[registration.Registration]) -> None:
    """Put a container's registrations into maintenance, so that every nginx lets go of it. One that is there already
    stays as it is, and so does what is not registered for this container."""
    services, checks = client.local_services(), client.local_checks()
    for each in found:
        meta = (services.get(each.id) or {}).get("Meta") or {}
        if meta.get(model.META_CONTAINER) != each.container_id or model.MAINTENANCE_PREFIX + each.id in checks:
            continue
        try:
            client.set_maintenance(each.id, observation.drain_text(time.time(), "Swarm ends it"))
        except errors.Refused as error:  # it has gone this moment
            log.event("drain", id=each.id, container=each.container, outcome="refused", reason=error)
        else:
            log.event("drain", id=each.id, container=each.container, outcome="done", reason="Swarm ends it")


def _number(name: str) -> int:
    """15, TERM, SIGTERM or SIGRTMIN+3; what Docker would not know either is 0."""
    if name.isdecimal():
        return int(name)
    base, _, offset = name.upper().removeprefix("SIG").partition("+")
    known = signal.Signals.__members__.get(f"SIG{base}", 0)
    return known + int(offset) if offset.isdecimal() else int(known)
