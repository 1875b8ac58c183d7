"""The differences between the containers' registrations and the agent's services and checks. Pure."""

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from lictor import model
from lictor.registrar.registration import Registration

_KINDS = {"HTTP": "http", "TCP": "tcp", "TTL": "ttl"}  # a definition's key, and the type that the agent shows


class Difference(NamedTuple):
    """A registration to make, or to end (`registration` is None), and the reason; if `refused`, it must not be made."""

    id: str
    reason: str
    registration: Registration | None
    container: str  # its name, else its id
    afresh: bool = False  # end the old one first, so that none of its checks stays
    maintenance: str | None = None  # the reason of its maintenance, where it is to be in maintenance
    refused: bool = False


def differences(desired: Mapping[str, Registration], kept: Set[str], services: Mapping[str, Mapping[str, Any]],
                checks: Mapping[str, Mapping[str, Any]], engine: str) -> list[Difference]:
    """Compare the desired registrations, by service id, with the agent's services and checks. Ends come first.

    Only registrations that name this engine are touched; registrations of the containers `kept` (by id) do not end.
    """
    stale = []
    for service_id, service in services.items():
        meta = service.get("Meta") or {}
        container_id = meta.get(model.META_CONTAINER, "")
        if meta.get(model.META_ENGINE) == engine and service_id not in desired and container_id not in kept:
            stale.append(Difference(service_id, "its container does not run", None, container_id[:12]))
    others = [_difference(each, services.get(each.id), checks, engine) for each in desired.values()]
    return stale + [difference for difference in others if difference]


def check_id(service_id: str) -> str:
    """Give the id that Consul gives to a service's only check."""
    return f"service:{service_id}"


def unsynced(desired: Mapping[str, Registration], checks: Mapping[str, Mapping[str, Any]],
             catalogued: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    """Compare the agent's checks of the desired registrations with those that the catalogue has of this node.

    If a server denies a change of status, the agent takes it for told until its next full comparison, a minute or two
    later; with a token that was deleted it never succeeds. A registration made again is told again, with its status.
    If the catalogue lacks a maintenance, its registration waits: only the agent can tell both at once.
    """
    found = []
    for service_id, registration in desired.items():
        check, told = checks.get(check_id(service_id)), catalogued.get(check_id(service_id))
        pause = model.MAINTENANCE_PREFIX + service_id
        if check and (pause in checks) == (pause in catalogued) and (not told or told.get("Status") != check["Status"]):
            reason = f"it is {check['Status']}, and {told.get('Status') if told else 'missing'} in the catalogue"
            found.append(Difference(service_id, reason, registration, registration.container))
    return found


def _difference(registration: Registration, service: Mapping[str, Any] | None,
                checks: Mapping[str, Mapping[str, Any]], engine: str) -> Difference | None:
    new = Difference(registration.id, "it is not registered", registration, registration.container,
                     maintenance=model.JOINING if registration.joins else None)
    if service is None:
        return new
    meta = service.get("Meta") or {}
    if meta.get(model.META_ENGINE) != engine:
        return new._replace(refused=True, reason="this id is taken by a registration that is not this registrar's; "
                            "deregister that one, or give the container another SERVICE_ID")
    if meta.get(model.META_CONTAINER) != registration.container_id:
        return new._replace(afresh=True, reason="its registration is another container's")
    pause = checks.get(model.MAINTENANCE_PREFIX + registration.id)
    changed = new._replace(maintenance=pause.get("Notes", "") if pause else None)
    reason = _changed_field(registration.definition, service)
    if reason:
        return changed._replace(reason=reason)
    check = checks.get(check_id(registration.id))
    reason = _changed_check(registration.definition, check)
    return changed._replace(reason=reason, afresh=bool(check)) if reason else None


def _changed_field(definition: Mapping[str, Any], service: Mapping[str, Any]) -> str:
    """Name the first field in which the agent's service is not as defined; "" if there is none."""
    registered = {**service, "Name": service.get("Service")}
    return next((f"{key} is {registered.get(key)!r}, not {definition[key]!r}"
                 for key in ("Name", "Address", "Port", "Tags", "Meta")
                 if (registered.get(key) or "") != (definition[key] or "")), "")


def _changed_check(definition: Mapping[str, Any], check: Mapping[str, Any] | None) -> str:
    """Say how the agent's check is of another kind than defined; "" if it is not."""
    kind = next((kind for key, kind in _KINDS.items() if key in definition.get("Check", {})), None)
    actual = check.get("Type") if check else None
    return "" if kind == actual else f"its check is {actual or 'missing'}, not {kind}"
