"""What has to change at the local agent so that it says of our containers what Docker says of them. Pure."""

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from lictor import model
from lictor.registrar.registration import Registration

_KINDS = {"HTTP": "http", "TCP": "tcp", "TTL": "ttl"}  # a definition's key, and the type that the agent shows


class Difference(NamedTuple):
    """One registration that is to be made (`registration`) or ended (None); `refused`: it must not be made."""

    id: str
    reason: str
    registration: Registration | None
    container: str  # its name, else its id
    afresh: bool = False  # end the old one first, so that none of its checks stays
    maintenance: str | None = None  # to be in maintenance, with this reason
    refused: bool = False


def differences(wanted: Mapping[str, Registration], kept: Set[str], services: Mapping[str, Mapping[str, Any]],
                checks: Mapping[str, Mapping[str, Any]], engine: str) -> list[Difference]:
    """Compare what is wanted, by service id, with the agent's own services and checks. Ends come first.

    Only registrations that name this engine are touched; those of the containers `kept` (by id) are not ended.
    """
    stale = []
    for service_id, service in services.items():
        meta = service.get("Meta") or {}
        container_id = meta.get(model.META_CONTAINER, "")
        if meta.get(model.META_ENGINE) == engine and service_id not in wanted and container_id not in kept:
            stale.append(Difference(service_id, "its container does not run", None, container_id[:12]))
    missing = [_difference(each, services.get(each.id), checks, engine) for each in wanted.values()]
    return stale + [each for each in missing if each]


def check_id(service_id: str) -> str:
    """The id that Consul gives to a service's only check."""
    return f"service:{service_id}"


def _difference(registration: Registration, service: Mapping[str, Any] | None,
                checks: Mapping[str, Mapping[str, Any]], engine: str) -> Difference | None:
    new = Difference(registration.id, "it is not registered", registration, registration.container,
                     maintenance=model.JOINING if registration.joins else None)
    if service is None:
        return new
    definition, meta = registration.definition, service.get("Meta") or {}
    if meta.get(model.META_ENGINE) != engine:
        return new._replace(refused=True, reason="this id is taken by a registration that is not this registrar's; "
                            "deregister that one, or give the container another SERVICE_ID")
    if meta.get(model.META_CONTAINER) != registration.container_id:
        return new._replace(afresh=True, reason="its registration is another container's")
    pause = checks.get(model.MAINTENANCE_PREFIX + registration.id)
    changed = new._replace(maintenance=pause.get("Notes", "") if pause else None)
    shown = {**service, "Name": service.get("Service")}
    for key in ("Name", "Address", "Port", "Tags", "Meta"):
        if (shown.get(key) or "") != (definition[key] or ""):
            return changed._replace(reason=f"{key} is {shown.get(key)!r}, not {definition[key]!r}")
    kind = next((kind for key, kind in _KINDS.items() if key in definition.get("Check", {})), None)
    check = checks.get(check_id(registration.id))
    actual = check.get("Type") if check else None
    if kind != actual:
        return changed._replace(reason=f"its check is {actual or 'missing'}, not {kind}", afresh=bool(check))
    return None
