"""The registrations of a container's services, by registrator's conventions. Pure.

Labels and environments are hostile until they are validated.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lictor import model
from lictor.registrar import checks, labels, route_label
from lictor.registrar.ports import Port, list_ports
from lictor.spec import quantities

RUNNING = ("running", "paused")

_LONGEST_NAME = 1024
_UNSAFE = frozenset("\"'`;{}$\\<>#|&")  # what would be more than text in a configuration that others render
_TAKEN = ("consul", "lictor")
_COLOR = re.compile(r"[a-z0-9-]{1,63}", re.ASCII)
_MOST_NAMED = 3


class Options(NamedTuple):
    """The owner of the containers, and the registrar's own options."""

    host: str
    engine: str
    address: str = ""  # registered instead of "all addresses of this node"
    internal: bool = False
    explicit: bool = False
    tags: str = ""  # for all registrations, separated by commas
    address_label: str = ""  # the label that holds a container's address
    ignore_image: bool = False  # labels and variables of an image count for nothing


class Registration(NamedTuple):
    """A service of a container. `definition` is the body of /v1/agent/service/register."""

    id: str
    container: str  # its name, for people
    container_id: str
    definition: dict[str, Any]
    health: str | None  # the HEALTHCHECK's status, for its TTL check; None: there is another check, or none
    joins: bool = False  # it gets no traffic before it is admitted
    paused: bool = False  # by Docker, so that it answers nobody
    health_output: str = ""  # what the HEALTHCHECK printed, while it fails
    usual_id: str = ""  # what registrator calls it, if no SERVICE_ID says otherwise


def registrations(container: Mapping[str, Any], options: Options, *, joined: Mapping[str, Any] | None = None,
                  image: Mapping[str, Any] | None = None) -> tuple[list[Registration], list[str]]:
    """Derive a container's registrations from Docker's inspect; and a line for each wish that is not met as it is.

    `joined` is the container whose network it has; `image` is its image's configuration, if that counts for nothing.
    """
    if container["State"]["Status"] not in RUNNING:
        return [], []
    found: dict[str, Registration] = {}
    refused, named, is_told = list[str](), list[dict[str, Any]](), False
    settings = labels.read_settings(container, image)
    ports, why_no_other = list_ports(container, labels.by_port(settings), address=options.address,
                                     internal=options.internal, joined=joined)
    for port in ports:
        values, own = labels.of_port(settings, port.number)
        if values.get("ignore") or options.explicit and not values.get("name"):
            continue
        try:
            suffix = "" if len(ports) == 1 or "name" in own else f"-{port.number}"
            registration, left_out = _registration(container, port, values, suffix, options, ports)
            if registration.id in found:
                raise ValueError(f"SERVICE_ID: two ports have {registration.id!r}; give each its SERVICE_<port>_ID")
            found[registration.id] = registration
            named += [registration.definition] if values.get("name") and port.protocol == "tcp" else []
            refused += left_out + _unasked(port, settings, ports)
        except ValueError as error:
            is_told = True
            refused.append(f"port {port.number}/{port.protocol} is not registered: {error}")
    unmet = _unmet(container, settings, options, ports, why_no_other)
    refused += unmet
    is_told = is_told or bool(unmet or settings.get("ignore"))
    refused += route_label.mark(labels.read_route(container, image), named, is_told=is_told)
    return list(found.values()), list(dict.fromkeys(refused))


def _unasked(port: Port, settings: Mapping[str, str], ports: list[Port]) -> list[str]:
    """Say in a line that checks are asked of a port which nobody asks by TCP, unless a TCP port has them, too."""
    tcp = {each.number for each in ports if each.protocol == "tcp"}
    values, own = labels.of_port(settings, port.number)
    if port.number in tcp or values.get("check_ttl"):
        return []
    values = own if tcp else values
    return [f"SERVICE_{key.upper()} is not asked: it asks by TCP, and the port is {port.number}/{port.protocol}. Use "
            "SERVICE_CHECK_TTL, or a HEALTHCHECK in the image" for key in checks.BY_TCP if values.get(key)][:1]


def _unmet(container: Mapping[str, Any], settings: Mapping[str, str], options: Options, ports: list[Port],
           why: str) -> list[str]:
    """Say in one line which settings ask for a registration of a port that there is not."""
    numbers = {str(port.number) for port in ports}
    keys = sorted(key for number, keys in labels.by_port(settings).items() if number not in numbers for key in keys)
    if not ports and not keys:
        keys = _general_wishes(container, settings, options)
    if not keys or settings.get("ignore"):
        return []
    shown = [key[:100] for key in keys[:_MOST_NAMED]]
    if len(keys) > _MOST_NAMED:
        shown.append(f"{len(keys) - _MOST_NAMED} more")
    return [f"not registered: {', '.join(shown)} asked for a port, and {_mistaken(settings, ports) or why}"]


def _mistaken(settings: Mapping[str, str], ports: list[Port]) -> str:
    """Say what helps if a label names a port by its number outside of the container; "" if none does."""
    inner = {str(port.number) for port in ports}
    outside = {str(port.host_port): port.number for port in ports if str(port.host_port) not in inner}
    inside = next((outside[number] for number in labels.by_port(settings) if number in outside), None)
    return f"that is where it is published. Name the container's own port: SERVICE_{inside}_NAME" if inside else ""


def _general_wishes(container: Mapping[str, Any], settings: Mapping[str, str], options: Options) -> list[str]:
    """List the settings by which a container asks for any registration.

    lictor names the containers of all of its services, also of those that have no port.
    """
    if labels.is_own(container) or options.explicit and not settings.get("name"):
        return []
    return [f"SERVICE_{key.upper()}" for key in labels.OWN_KEYS if settings.get(key)]


def _registration(container: Mapping[str, Any], port: Port, values: Mapping[str, str], suffix: str,
                  options: Options, ports: list[Port]) -> tuple[Registration, list[str]]:
    name, image = container["Name"].removeprefix("/"), container["Config"]["Image"]
    service = (values.get("name") or image.rpartition("/")[2].partition(":")[0].partition("@")[0]) + suffix
    protocol = [] if port.protocol == "tcp" else [port.protocol]
    usual_id = ":".join([options.host, name, str(port.number), *protocol])
    service_id = values.get("id") or usual_id
    tags, bad_tags = labels.read_tags(values.get("tags", ""))
    meta, bad_meta = labels.read_metadata(values)
    meta.update({model.META_ENGINE: options.engine, model.META_CONTAINER: container["Id"], model.META_IMAGE: image})
    if container.get("Image"):
        meta[model.META_IMAGE_ID] = container["Image"]
    if protocol:  # a tag alone is anybody's
        meta[model.META_PROTOCOL] = port.protocol
    given = container["Config"].get("Labels") or {}
    color = given.get(model.LABEL_COLOR)
    if color and _COLOR.fullmatch(color):
        meta[model.META_COLOR] = color
    asked = _at_labelled_address(checks.asked_port(values, port, ports), given, options)
    port = _at_labelled_address(port, given, options)
    check, health, not_run = checks.make_check(values, asked, container["State"].get("Health"))
    definition = {
        "ID": _require_name("SERVICE_ID", service_id), "Name": _require_name("SERVICE_NAME", service),
        "Address": port.address, "Port": port.host_port,
        "Tags": [*tags, *labels.read_tags(options.tags)[0], *protocol], "Meta": meta,
        **({"Check": check} if check else {}),
    }
    joins = labels.is_own(container) and bool(given.get(model.LABEL_GATE))
    paused = container["State"]["Status"] == "paused"
    output = checks.health_output(container["State"].get("Health") or {}) if health else ""
    return Registration(service_id, name, container["Id"], definition, health, joins, paused, output, usual_id), [
        *bad_tags, *bad_meta, *not_run]


def _at_labelled_address(port: Port, given: Mapping[str, str], options: Options) -> Port:
    """Put the address of a label, 10.0.0.7 or 10.0.0.7/24, in place of the port's own."""
    text = quantities.strip(given.get(options.address_label, "")) if options.address_label else ""
    if not text:
        return port
    try:
        address = str(ipaddress.ip_address(text.rpartition("/")[0] or text))
    except ValueError:
        raise ValueError(f"{options.address_label} is {text[:100]!r}; it must be an IP address") from None
    return port._replace(address=address, reached_at=model.host_port(address, port.host_port))


def _require_name(key: str, text: str) -> str:
    """Refuse what Consul's API could not name again, what is more than text in a configuration, and two names."""
    if text.casefold() in _TAKEN:
        raise ValueError(f"{key} is {text!r}, which is not a container's to have; give it another")
    parts = text.split("/")
    if not text.isprintable() or _UNSAFE & set(text) or len(text) > _LONGEST_NAME or "" in parts[:1] + parts[1:-1] or (
            {".", ".."} & set(parts)):
        raise ValueError(f"{key} is {text[:100]!r}; it must be printable, at most {_LONGEST_NAME} long, without any "
                         f"of {''.join(sorted(_UNSAFE))} and without an empty part, '.' or '..' between slashes")
    return text
