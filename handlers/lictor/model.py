"""The nouns that every part of lictor speaks of. No I/O, and cheap to import."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

NAME = re.compile(r"[a-z0-9](?:[a-z0-9_.-]{0,61}[a-z0-9])?", re.ASCII)
NAME_RULE = "it must be 1 to 63 of a-z 0-9 _ . -, with a letter or digit at both ends, and without '..'"

MAINTENANCE_PREFIX = "_service_maintenance:"
NODE_MAINTENANCE = "_node_maintenance"
SERF_HEALTH = "serfHealth"
EXTERNAL_HEALTH = "externalNodeHealth"  # is to external nodes, whose metadata says so, what serfHealth is to others
_META_EXTERNAL = "external-node"

META_ENGINE = "lictor-engine"  # the registrar writes these into a registration's Meta
META_CONTAINER = "lictor-container"
META_IMAGE = "lictor-image"
META_IMAGE_ID = "lictor-image-id"  # the digest of what that name stood for on the node
META_COLOR = "lictor-color"
META_PROTOCOL = "lictor-protocol"  # of what is not TCP: it is no HTTP peer, and its checks say nothing of TCP
META_ROUTE = "lictor-label-route"  # the route that a container asks for by LABEL_ROUTE, its host before its path
META_CONSENT = "lictor-route"  # "true", or the tag lictor-route=true: its owner lets anybody route to it

LABEL_SERVICE = "lictor.service"  # the engines put these on each container of ours, an image's ones beneath them
LABEL_ENGINE = "lictor.engine"  # the engine that made it
LABEL_CONTAINER = "lictor.container"  # the container's own name, which a copy's labels (`docker commit`) keep
LABEL_REGISTERS = "lictor.registers"  # the keys of the SERVICE_ labels that the registrar heeds
LABEL_NUMBER = "lictor.number"
LABEL_COLOR = "lictor.color"
LABEL_RELEASE = "lictor.release"
LABEL_ROUTE = "lictor.route"  # people put it on containers that lictor does not start: PATH, or HOST/PATH
LABEL_GATE = "lictor.gate"  # registered in maintenance, with this reason, until it is let in
LABEL_MEMBER = "lictor.member"  # of a set with state: its kind, where it answers clients, and its configured address
JOINING = "lictor: joins when its smoke path answers"
PAUSED = "lictor: its container is paused"
LABEL_TASK = "com.docker.swarm.task.id"  # Swarm puts these on the containers of its tasks
LABEL_TASK_NAME = "com.docker.swarm.task.name"

COLORS = ("blue", "green")
LONGEST_OUTPUT = 120  # of what a check printed

_LONG_PATH = re.compile(r"""(://[^/\s"]{1,80}/[^\s":]{0,20})[^\s":]*""", re.ASCII)
_NOT_TCP = ("udp", "sctp")
_META_PROTOCOLS = (META_PROTOCOL, "protocol")
_SKEW_S = 5.0  # other nodes' clocks may be so far ahead


class Clock(NamedTuple):
    """A node's clock. Times are seconds since the epoch; 0.0 is no time.

    A wait that began before the clock was set begins anew then: it is neither over at once nor endless. A time that
    this clock cannot have noted counts as now.
    """

    now: float
    set_at: float = 0.0  # when it was last set, or the node was started; 0.0: unknown
    set_by: float = 0.0  # seconds; 0.0: unknown

    def since(self, began_at: float) -> float:
        """Find since when a wait counts that began at this time."""
        if began_at == 0.0:
            return 0.0
        if self.is_foreign(began_at):
            return self.now
        if began_at > self.now + _SKEW_S:  # noted before the clock was set back
            return self.set_at
        return max(min(began_at, self.now), self.set_at)

    def is_foreign(self, at: float) -> bool:
        """Tell whether this clock cannot have noted a time: it is to come, negative, or no number."""
        return not 0 <= at <= self.now + _SKEW_S and not (at > 0 and self.set_by < 0)

    def age_s(self, at: float) -> float:
        return self.now - self.since(at)

    def is_late(self, at: float, longest_s: float) -> bool:
        """Tell whether a sign of life is too old to be one, or of no time at which this node was alive."""
        return self.is_foreign(at) or self.age_s(at) > longest_s

    def translated(self, at: float) -> float:
        """Translate a time that was noted before the clock was set; any other stays as it is."""
        was_noted_before = at > self.now + _SKEW_S if self.set_by < 0 else at < self.set_at
        return at + self.set_by if was_noted_before else at


def clock_offset_s(known_s: float, at: float, earliest: float, now: float) -> float:
    """Find by how much to move another node's times, given that what it noted for `at` was between these two of this
    node's: by what is known, by nothing, or so that it was now."""
    fits = (each for each in (known_s, 0.0) if earliest - _SKEW_S <= at + each <= now + _SKEW_S)
    return next(fits, now - at)


class Instance(NamedTuple):
    """One registration in Consul's catalogue, with what its checks say."""

    node: str
    service_id: str
    service: str  # the name in the catalogue: NAME, or NAME-COLOR
    address: str  # the service's own, else the node's
    port: int
    status: str  # the worst of its own checks: passing, warning or critical; checks of the node do not count
    node_alive: bool  # serfHealth is passing; of an external node, externalNodeHealth
    maintenance: str | None  # the reason given, "" when none was; None: not in maintenance
    container_id: str  # "" when it is no container that the registrar registered
    weight: int = 1  # its share of the traffic beside others' at its status; Consul's 0 at warning is none
    is_udp: bool = False  # or SCTP: by its tag, as registrator and the registrar set it, or by its metadata
    consents: bool = False  # to be routed by a spec that is not its own
    is_registrars: bool = False  # a registrar of lictor's registered it
    image: str = ""  # of its container; "" when it is not known
    image_id: str = ""  # the digest of that image, as the node had it
    output: str = ""  # the first line that its worst check printed, fit for a terminal; "" while all of them pass

    @property
    def identity(self) -> tuple[str, str, str]:
        """Its node, ID and container, as the next container may get the same ID. A stand-in for a container is none."""
        stands_for_none = self.container_id == f"{self.node}/{self.service_id}"
        return self.node, self.service_id, "" if stands_for_none else self.container_id


class Container(NamedTuple):
    """One container of ours, as the engine reports it; times are seconds since the epoch."""

    id: str
    name: str
    service: str
    number: int
    color: str  # "" for a service without colours
    image: str  # as it was asked for, not its digest
    release: str  # fingerprint of what it was made from
    status: str  # created, running, paused, restarting, removing, exited or dead
    created_at: float
    started_at: float  # 0.0: never
    exit_code: int | None  # None while it runs
    health: str = ""  # Docker's word on its HEALTHCHECK: starting, healthy or unhealthy; "" when it has none
    is_out_of_memory: bool = False  # the kernel ended it
    restarts: int = 0  # by Docker itself, since people or lictor last started it


class Group(NamedTuple):
    """What an engine that counts by itself runs of one colour of a service."""

    service: str
    color: str
    replicas: int  # as it was last told
    release: str  # fingerprint of what it was told to make them from
    image: str
    container_ids: tuple[str, ...] | None  # those of this release that run, on any node; None: it cannot tell
    trouble: str = ""  # why it does not do what it was told, in the engine's own words
    gave_up: bool = False  # it will not go on with it by itself
    task_ids: tuple[str, ...] | None = None  # of the containers of all its tasks, of any release; None: as above


def is_name(text: object) -> bool:
    """Whether this may be a service's name. Lower case only: Consul folds case when it looks a service up."""
    return isinstance(text, str) and bool(NAME.fullmatch(text)) and ".." not in text


def catalog_name(name: str, color: str) -> str:
    """Name a service's instances of a colour in the catalogue; its containers' names go on with -N."""
    return f"{name}-{color}" if color else name


def instance(entry: dict[str, Any]) -> Instance:
    """Read an entry of a `service` payload or of /v1/health/service; raises ValueError if it has not that shape.

    The values inside (address, port, meta) are as hostile as they came: `peers.decide` validates them.
    """
    try:
        node, service, checks = entry["Node"], entry["Service"], entry["Checks"] or []
        service_id = service["ID"]
        meta, tags, own = service.get("Meta") or {}, service.get("Tags") or [], _own_checks(checks, service_id)
        status = _worst([check["Status"] for check in own])
        return Instance(
            node=node["Node"],
            service_id=service_id,
            service=service["Service"],
            address=service.get("Address") or node.get("Address") or "",
            port=service["Port"],
            status=status,
            node_alive=_is_alive(node, checks),
            maintenance=_maintenance(checks, service_id),
            container_id=str(meta.get(META_CONTAINER, "")),
            weight=_weight(service.get("Weights") or {}, status),
            is_udp=any(str(each).lower() in _NOT_TCP for each in _protocols(meta, tags)),
            consents=f"{META_CONSENT}=true" in tags or meta.get(META_CONSENT) == "true" or META_ROUTE in meta,
            is_registrars=META_ENGINE in meta,
            image=str(meta.get(META_IMAGE, "")),
            image_id=str(meta.get(META_IMAGE_ID, "")),
            output=evidence(own, status),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an instance as Consul reports it: {error!r}") from error


def _protocols(meta: dict[str, Any], tags: list[Any]) -> list[Any]:
    """List what may name the protocol; a registrar of lictor's knows it, and its tags are the container's own words."""
    return [meta.get(META_PROTOCOL)] if META_ENGINE in meta else [*tags, *map(meta.get, _META_PROTOCOLS)]


def _is_alive(node: dict[str, Any], checks: list[dict[str, Any]]) -> bool:
    node_check = EXTERNAL_HEALTH if _META_EXTERNAL in (node.get("Meta") or {}) else SERF_HEALTH
    return all(check["Status"] == "passing" for check in checks if check["CheckID"] == node_check)


def speaking(instances: Iterable[Instance]) -> list[Instance]:
    """Leave out the UDP registrations of each container, or node, that has a TCP registration: they mostly have no
    check, and say nothing of what is asked by TCP."""
    instances = list(instances)
    by_tcp = {each.container_id or each.node for each in instances if not each.is_udp}
    return [each for each in instances if not each.is_udp or (each.container_id or each.node) not in by_tcp]


def describe_mixed_images(instances: Iterable[Instance]) -> str:
    """Describe images of one name that are not the same on all nodes, or over time; "" if there are none."""
    ids: dict[str, dict[str, set[str]]] = {}
    for each in instances:
        if each.image_id:
            ids.setdefault(each.image, {}).setdefault(each.image_id, set()).add(each.node)
    return "; ".join(
        f"mixed images: {name[:200]} is not the same everywhere: " + ", ".join(
            f"{image_id[:19]} on {', '.join(sorted(nodes))}" for image_id, nodes in sorted(by_id.items()))
        + ". A tag that a node has is not pulled again: release a new tag, or a digest"
        for name, by_id in sorted(ids.items()) if len(by_id) > 1)


def by_container(instances: Iterable[Instance]) -> dict[str, list[Instance]]:
    """Group what `speaking` leaves by container: it is as well as the worst of its registrations."""
    groups: dict[str, list[Instance]] = {}
    for each in speaking(instances):
        groups.setdefault(each.container_id or f"{each.node}/{each.service_id}", []).append(each)
    return groups


def evidence(checks: Iterable[Mapping[str, Any]], status: str) -> str:
    """Find the first line that a check of this status printed, without what would move a terminal's cursor; "" if all
    pass."""
    if status == "passing":
        return ""
    outputs = (str(check.get("Output") or "").split("\n") for check in checks if check["Status"] == status)
    line = next((line.strip() for lines in outputs for line in lines if line.strip()), "").expandtabs()
    if len(line) > LONGEST_OUTPUT:  # Consul begins with the whole URL, and what matters stands behind it
        line = _LONG_PATH.sub(r"\1...", line, count=1)
    return "".join(each if each.isprintable() else "?" for each in line[:LONGEST_OUTPUT])


def _own_checks(checks: list[dict[str, Any]], service_id: str) -> list[dict[str, Any]]:
    return [check for check in checks if check.get("ServiceID") == service_id
            and not check["CheckID"].startswith(MAINTENANCE_PREFIX)]


def _maintenance(checks: list[dict[str, Any]], service_id: str) -> str | None:
    """Return the reason of the instance's maintenance, or its node's; None without one."""
    return next((check.get("Notes") or "" for check in checks
                 if check["CheckID"] in (MAINTENANCE_PREFIX + service_id, NODE_MAINTENANCE)), None)


def _worst(statuses: list[str]) -> str:
    return "critical" if "critical" in statuses else "warning" if "warning" in statuses else "passing"


def _weight(weights: dict[str, Any], status: str) -> int:
    """One that Consul would refuse counts as 1, as it does in Consul's own answers."""
    given, least = (weights.get("Warning"), 0) if status == "warning" else (weights.get("Passing"), 1)
    return given if type(given) is int and least <= given <= 65535 else 1


def host_port(address: str, port: int) -> str:
    """Write an address and port as URLs and nginx do."""
    return f"{bracketed(address)}:{port}"


def bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
