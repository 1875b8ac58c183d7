"""The differences between the containers' registrations and the agent's services and checks. Pure."""

import re
from collections.abc import Iterable, Mapping, Set
from typing import Any, NamedTuple

from lictor import model
from lictor.registrar.registration import Registration

_KINDS = {"HTTP": "http", "TCP": "tcp", "GRPC": "grpc", "TTL": "ttl"}  # a definition's key, and the agent's type
_USUAL_ID = re.compile(r"(.+?):([a-zA-Z0-9][a-zA-Z0-9_.-]+):[0-9]+(?::udp)?", re.ASCII)  # registrator's
_SOURCE = "external-source"  # by which Nomad, Kubernetes and others sign what they register
_TTL = {"TTL": "60s", "Status": "critical"}


class Difference(NamedTuple):
    """A registration to make, or to end (`registration` is None), and the reason; if `refused`, it must not be made."""

    id: str
    reason: str
    registration: Registration | None
    container: str  # its name, else its id
    afresh: bool = False  # end the old one first, so that none of its checks stays
    maintenance: str | None = None  # the reason of its maintenance, where it is to be in maintenance
    refused: bool = False
    again: Mapping[str, Any] | None = None  # before its end: made with the token of today, as Consul asks for that
    takes_over: bool = False
    keeps: bool = False  # the registration as it is: only its maintenance begins or ends


class Rules(NamedTuple):
    """The registrations that are this registrar's: those of its engine, and those that its options give it."""

    engine: str
    take_over: bool = False  # what was registered without an engine, for a container that runs here
    taken_over: Set[str] = frozenset()  # the ids that were taken over before: somebody else took them back
    cleanup_host: str = ""  # this host's name, if registrator's entries of dead containers go
    running: Set[str] = frozenset()  # names of containers
    untold: Set[str] = frozenset()  # ids of containers of which Docker does not tell: what they have stays
    renew: bool = False  # the token is another than the one that registered what is there


def differences(desired: Mapping[str, Registration], services: Mapping[str, Mapping[str, Any]],
                checks: Mapping[str, Mapping[str, Any]], rules: Rules) -> list[Difference]:
    """Compare the desired registrations, by service id, with the agent's services and checks. Ends come first."""
    stale = []
    for service_id, service in services.items():
        if service_id in desired:
            continue
        if is_of(service, rules.engine) and not _is_untold(service, rules):
            stale.append(end(service, "its container does not run", again=rules.renew))
        elif is_of(service, None) and _is_dead(service_id, rules):
            stale.append(Difference(service_id, "registrator's, and its container does not run", None,
                                    service_id.split(":")[1]))
    others = [_difference(each, services.get(each.id), checks, rules) for each in desired.values()]
    return stale + [difference for difference in others if difference]


def end(service: Mapping[str, Any], reason: str, *, again: bool) -> Difference:
    """End a registration as the agent or the catalogue shows it; `again`: first register it with today's token."""
    container_id = (service.get("Meta") or {}).get(model.META_CONTAINER, "")
    definition = {**{key: service.get(key) for key in ("ID", "Address", "Port", "Tags", "Meta")},
                  "Name": service["Service"], "Check": _TTL}
    return Difference(service["ID"], reason, None, container_id[:12], again=definition if again else None)


def leftovers(services: Mapping[str, Mapping[str, Any]], catalogue: Iterable[Mapping[str, Any]],
              rules: Rules) -> dict[str, Mapping[str, Any]]:
    """Find, by id, what the catalogue has of this engine and this node's agent has not."""
    return {each["ID"]: each for each in catalogue
            if is_of(each, rules.engine) and each["ID"] not in services and not _is_untold(each, rules)}


def containers(services: Mapping[str, Mapping[str, Any]], engine: str) -> set[str]:
    """List the ids of the containers that these services stand for."""
    return {service["Meta"].get(model.META_CONTAINER, "") for service in services.values()
            if is_of(service, engine)} - {""}


def is_of(service: Mapping[str, Any] | None, engine: str | None) -> bool:
    """Decide whether a service was registered for this engine; None: for no engine."""
    return service is not None and (service.get("Meta") or {}).get(model.META_ENGINE) == engine


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


def _is_untold(service: Mapping[str, Any], rules: Rules) -> bool:
    return (service.get("Meta") or {}).get(model.META_CONTAINER) in rules.untold


def _is_dead(service_id: str, rules: Rules) -> bool:
    match = _USUAL_ID.fullmatch(service_id)
    return match is not None and match[1] == rules.cleanup_host and match[2] not in rules.running


def _difference(registration: Registration, service: Mapping[str, Any] | None,
                checks: Mapping[str, Mapping[str, Any]], rules: Rules) -> Difference | None:
    new = Difference(registration.id, "it is not registered", registration, registration.container,
                     maintenance=model.JOINING if registration.joins else model.PAUSED if registration.paused else None)
    if service is None:
        return new
    meta = service.get("Meta") or {}
    if meta.get(model.META_ENGINE) != rules.engine:
        return _taking_over(new, service, meta, checks, rules)
    if meta.get(model.META_CONTAINER) != registration.container_id:
        return new._replace(afresh=True, reason="its registration is another container's")
    changed = new._replace(maintenance=_due_maintenance(registration, checks))
    reason = _changed_field(registration.definition, service)
    if reason:
        return changed._replace(reason=reason)
    check = checks.get(check_id(registration.id))
    reason = _changed_check(registration.definition, check)
    if reason:
        return changed._replace(reason=reason, afresh=bool(check))
    if rules.renew:
        return changed._replace(reason="the token is another one")
    if changed.maintenance == _maintenance(registration, checks):
        return None
    return changed._replace(reason=f"its container {'is paused' if registration.paused else 'runs again'}", keeps=True)


def _taking_over(new: Difference, service: Mapping[str, Any], meta: Mapping[str, str],
                 checks: Mapping[str, Mapping[str, Any]], rules: Rules) -> Difference:
    """Take over an entry that names no engine, and is about the very container; refuse it else, as it is another's."""
    registration = new.registration
    assert registration
    engine = meta.get(model.META_ENGINE) or meta.get(_SOURCE)
    whose = f"for {engine[:64]!r}" if engine else f"without {model.META_ENGINE}"
    problem = f"its id is registered by somebody else: {new.id}, {whose}"
    definition = registration.definition
    is_about_it = registration.id == registration.usual_id or (
        service.get("Service"), service.get("Port")) == (definition["Name"], definition["Port"])
    if engine or not is_about_it:
        return new._replace(refused=True, reason=f"{problem}. Deregister that one, or give the container another "
                            "SERVICE_ID")
    if new.id in rules.taken_over:
        return new._replace(refused=True, reason=f"{problem}, which has taken it back. Another registrar runs beside "
                            "this one: end it")
    if not rules.take_over:
        return new._replace(refused=True, reason=f"{problem}. If that was registrator, end it, and start "
                            "lictor-registrar with --take-over")
    check = checks.get(check_id(registration.id))
    return new._replace(reason="taken over from who named no engine", takes_over=True,
                        maintenance=new.maintenance or _due_maintenance(registration, checks),
                        afresh=bool(check) and bool(_changed_check(definition, check)))


def _due_maintenance(registration: Registration, checks: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Choose its maintenance: that of others stays, and ours lasts as long as its container is paused."""
    reason = _maintenance(registration, checks)
    if registration.paused:
        return model.PAUSED if reason is None else reason
    return None if reason == model.PAUSED else reason


def _maintenance(registration: Registration, checks: Mapping[str, Mapping[str, Any]]) -> str | None:
    maintenance = checks.get(model.MAINTENANCE_PREFIX + registration.id)
    return maintenance.get("Notes", "") if maintenance else None


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
