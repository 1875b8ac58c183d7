"""The registrations of a container's services, by registrator's conventions. Pure.

Labels and environments are hostile until they are validated here.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lictor import model

HEALTH_TTL_S = 60  # a HEALTHCHECK's report holds so long; the registrar repeats it well before
RUNNING = ("running", "paused")

_PREFIX = "SERVICE_"
_PORT_KEY = re.compile(r"(\d+)_(.+)", re.ASCII)
_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:@-]{0,253}[A-Za-z0-9])?", re.ASCII)
_URL_PATH = re.compile(r"/[!-~]{0,1023}", re.ASCII)
_DURATION = re.compile(r"(?=.*[1-9])(?:\d{1,9}(?:\.\d{1,9})?(?:ms|s|m|h)){1,3}", re.ASCII)
_STATUS = re.compile("passing|warning|critical")
_META_KEY = re.compile(r"(?!consul-|lictor-|check_)[a-z0-9_-]{1,128}", re.ASCII)
_PROGRAM_KEYS = ("check_script", "check_cmd")
_OWN_KEYS = ("name", "id", "tags", "ignore", "check_http", "check_https", "check_tcp", "check_ttl", "check_interval",
             "check_timeout", "check_initial_status", "check_deregister_after", *_PROGRAM_KEYS)
_STATUS_OF_HEALTH = {"healthy": "passing", "unhealthy": "critical"}


class Options(NamedTuple):
    """The owner of the containers, and the registrar's own options."""

    host: str
    engine: str
    address: str = ""  # registered instead of "all addresses of this node"
    internal: bool = False
    explicit: bool = False


class Registration(NamedTuple):
    """A service of a container. `definition` is the body of /v1/agent/service/register."""

    id: str
    container: str  # its name, for people
    container_id: str
    definition: dict[str, Any]
    health: str | None  # the HEALTHCHECK's status, for its TTL check; None: there is another check, or none
    joins: bool = False  # it gets no traffic before it is admitted


class _Port(NamedTuple):
    number: int  # in the container
    protocol: str
    address: str  # as registered; "" is every address of the node
    reached_at: str  # HOST:PORT, for checks by the local agent
    host_port: int


def registrations(container: Mapping[str, Any], options: Options) -> tuple[list[Registration], list[str]]:
    """Derive a container's registrations from Docker's inspect, and the refusals, a line each."""
    if container["State"]["Status"] not in RUNNING:
        return [], []
    found: dict[str, Registration] = {}
    refused = []
    settings = _settings(container["Config"])
    ports = _ports(container, options)
    for port in ports:
        values, own = _of_port(settings, port.number)
        if values.get("ignore") or options.explicit and not values.get("name"):
            continue
        try:
            suffix = "" if len(ports) == 1 or "name" in own else f"-{port.number}"
            registration, left_out = _registration(container, port, values, suffix, options)
            if registration.id in found:
                raise ValueError(f"SERVICE_ID: two ports have {registration.id!r}; give each its SERVICE_<port>_ID")
            found[registration.id] = registration
            refused += left_out
        except ValueError as error:
            refused.append(f"port {port.number}/{port.protocol} is not registered: {error}")
    return list(found.values()), list(dict.fromkeys(refused))


def _settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Collect all SERVICE_* by lower-case key without the prefix. The environment wins over labels, as in registrator.

    Containers that lictor itself started are described by labels alone, so that no image can redirect them.
    """
    table = dict(config.get("Labels") or {})
    if model.LABEL_SERVICE not in table:
        table.update(entry.partition("=")[::2] for entry in config.get("Env") or [])
    return {key.removeprefix(_PREFIX).lower(): value for key, value in table.items() if key.startswith(_PREFIX)}


def _of_port(settings: Mapping[str, str], number: int) -> tuple[dict[str, str], dict[str, str]]:
    """Pick the settings of one port, where SERVICE_<port>_X wins over SERVICE_X; and the former alone."""
    general, own = {}, {}
    for key, value in settings.items():
        match = _PORT_KEY.fullmatch(key)
        if not match:
            general[key] = value
        elif match[1] == str(number):
            own[match[2]] = value
    return {**general, **own}, own


def _ports(container: Mapping[str, Any], options: Options) -> list[_Port]:
    """List the ports to register, lowest first."""
    network = container["NetworkSettings"]
    published: dict[str, Any] = network.get("Ports") or {}
    exposed = dict.fromkeys(container["Config"].get("ExposedPorts") or {})
    if options.internal:
        address = _internal_address(network)
        return [_Port(number, protocol, address, model.host_port(address, number), number)
                for number, protocol in sorted(map(_split_port, {**exposed, **published})) if address]
    if container["HostConfig"].get("NetworkMode") == "host":
        published = {port: [{"HostIp": "0.0.0.0", "HostPort": str(_split_port(port)[0])}] for port in exposed}
    return sorted(_published(*_split_port(port), bindings, options) for port, bindings in published.items() if bindings)


def _published(number: int, protocol: str, bindings: list[Mapping[str, str]], options: Options) -> _Port:
    """Choose one of the addresses that a port is published on: the widest."""
    by_address = {binding["HostIp"] or "0.0.0.0": int(binding["HostPort"]) for binding in reversed(bindings)}
    everywhere = next((address for address in ("0.0.0.0", "::") if address in by_address), None)
    if everywhere:
        host_port = by_address[everywhere]
        local = "127.0.0.1" if everywhere == "0.0.0.0" else "::1"
        return _Port(number, protocol, options.address, model.host_port(options.address or local, host_port), host_port)
    address = min(by_address, key=lambda address: ipaddress.ip_address(address).is_loopback)
    return _Port(number, protocol, address, model.host_port(address, by_address[address]), by_address[address])


def _internal_address(network: Mapping[str, Any]) -> str:
    by_name = sorted((network.get("Networks") or {}).items())
    return next((found["IPAddress"] for _, found in by_name if found.get("IPAddress")), "")


def _split_port(text: str) -> tuple[int, str]:
    number, _, protocol = text.partition("/")
    return int(number), protocol or "tcp"


def _registration(container: Mapping[str, Any], port: _Port, values: Mapping[str, str], suffix: str,
                  options: Options) -> tuple[Registration, list[str]]:
    name, image = container["Name"].removeprefix("/"), container["Config"]["Image"]
    service = (values.get("name") or image.rpartition("/")[2].partition(":")[0].partition("@")[0]) + suffix
    udp = ["udp"] if port.protocol == "udp" else []
    service_id = values.get("id") or ":".join([options.host, name, str(port.number), *udp])
    meta, left_out = _metadata(values)
    meta.update({model.META_ENGINE: options.engine, model.META_CONTAINER: container["Id"], model.META_IMAGE: image})
    if udp:  # a tag alone is anybody's
        meta[model.META_PROTOCOL] = port.protocol
    labels = container["Config"].get("Labels") or {}
    color = labels.get(model.LABEL_COLOR)
    if color:
        meta[model.META_COLOR] = _allowed(model.LABEL_COLOR, color, _NAME, "a plain name")
    check, health = _check(values, port, container["State"].get("Health"))
    definition = {
        "ID": _allowed("SERVICE_ID", service_id, _ID, "at most 255 letters, digits and _ . : @ -"),
        "Name": _allowed("SERVICE_NAME", service, _NAME, "at most 63 letters, digits and _ . -"),
        "Address": port.address, "Port": port.host_port, "Tags": [*_tags(values.get("tags", "")), *udp], "Meta": meta,
        **({"Check": check} if check else {}),
    }
    return Registration(service_id, name, container["Id"], definition, health, model.LABEL_GATE in labels), left_out


def _tags(text: str) -> list[str]:
    """Split at commas; `\\,` is a comma within a tag."""
    tags = [tag.replace("\\,", ",") for tag in re.split(r"(?<!\\),", text) if tag]
    for tag in tags:
        if not tag.isprintable() or len(tag) > 255:
            raise ValueError(f"SERVICE_TAGS holds {tag[:100]!r}; a tag must be printable, and at most 255 long")
    return tags


def _metadata(values: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Collect every other SERVICE_X; values that Consul would refuse are left out, as they may be another program's."""
    meta: dict[str, str] = {}
    left_out = []
    for key, value in sorted(values.items()):
        if key in _OWN_KEYS:
            continue
        if _META_KEY.fullmatch(key) and value.isprintable() and len(value.encode()) <= 512 and len(meta) < 60:
            meta[key] = value
        else:
            left_out.append(f"SERVICE_{key[:100].upper()} is left out: it is neither a setting nor metadata for Consul")
    return meta, left_out


def _check(values: Mapping[str, str], port: _Port,
           health: Mapping[str, Any] | None) -> tuple[dict[str, Any] | None, str | None]:
    """Make the check to register, if any; with a HEALTHCHECK's status for it."""
    for key in _PROGRAM_KEYS:
        if values.get(key):
            raise ValueError(f"SERVICE_{key.upper()}: a container must not choose what the node runs; use "
                             "SERVICE_CHECK_HTTP, _HTTPS, _TCP or _TTL, or a HEALTHCHECK in the image")
    initial = _setting(values, "check_initial_status", "", _STATUS, "passing, warning or critical")
    status = {"Status": initial} if initial else {}
    removal_time = _duration(values, "check_deregister_after")
    removal = {"DeregisterCriticalServiceAfter": removal_time} if removal_time else {}
    probe = _probe(values, port)
    if probe:
        return {**probe, **status, **removal}, None
    if not health or health.get("Status") in (None, "", "none"):
        return None, None
    reported = _STATUS_OF_HEALTH.get(health["Status"], initial or "critical")
    return {"Name": "Docker HEALTHCHECK", "TTL": f"{HEALTH_TTL_S}s", "Status": reported, **removal}, reported


def _probe(values: Mapping[str, str], port: _Port) -> dict[str, str] | None:
    for scheme in ("http", "https"):
        path = _setting(values, f"check_{scheme}", "", _URL_PATH, "a path such as /health")
        if path and port.protocol != "udp":
            return {"HTTP": f"{scheme}://{port.reached_at}{path}", **_timing(values)}
    ttl = _duration(values, "check_ttl")
    if ttl:
        return {"TTL": ttl}
    if values.get("check_tcp") and port.protocol != "udp":
        return {"TCP": port.reached_at, **_timing(values)}
    return None


def _timing(values: Mapping[str, str]) -> dict[str, str]:
    timeout = _duration(values, "check_timeout")
    return {"Interval": _duration(values, "check_interval", "10s"), **({"Timeout": timeout} if timeout else {})}


def _duration(values: Mapping[str, str], key: str, default: str = "") -> str:
    return _setting(values, key, default, _DURATION, "a time such as 500ms, 10s or 1m30s")


def _setting(values: Mapping[str, str], key: str, default: str, pattern: re.Pattern[str], allowed: str) -> str:
    value = values.get(key)
    return _allowed(f"SERVICE_{key.upper()}", value, pattern, allowed) if value else default


def _allowed(key: str, value: str, pattern: re.Pattern[str], allowed: str) -> str:
    if not pattern.fullmatch(value):
        raise ValueError(f"{key} is {value[:100]!r}; it must be {allowed}")
    return value
