"""Peers of a service: from the catalogue's instances and what nginx serves to a decision. Pure.

Three steps: `_classify` sorts the instances, `_receivers` chooses peers, `decide` believes them or confirms or holds.

Panic threshold (50 %): an instance that was served and turned unhealthy gets no traffic as long as at least as many
instances are healthy. If fewer are, all of these receive traffic: mostly a check, an agent or the network is to blame
then, and the few healthy instances would be overrun. Instances that fail one by one end as if they had failed at once.
With `traffic: any`, every instance outside maintenance counts as healthy.

Must never happen:
- An instance in maintenance receives traffic, or an unhealthy one that never was served, whatever the threshold says.
- The last peer goes in one step. A payload that leaves fewer than half is confirmed by a consistent read; that none is
  left is believed at 0 replicas, for a removed service, or after EMPTY_FOR_S. Until then the last peers stay, but for
  those that a consistent read shows in maintenance.
- An address or a port that is not valid in itself, or that is no instance's, reaches a configuration. A refused
  instance is as good as none: it keeps no other one in traffic.
"""

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from lictor import model

if TYPE_CHECKING:
    import ipaddress

EMPTY_FOR_S = 60.0  # an agent's restart empties its node for a while
_LONGEST_NAME = 512
MOST_PEERS = 1000
MOST_SHARE = 0.5  # of the requests to a canary
# Clouds answer there with what a machine may do: 169.254.169.254 elsewhere.
_METADATA = {"fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"}

InstanceId = tuple[str, str]  # node, service ID
Endpoint = tuple[str, int]  # address, port


class Peer(NamedTuple):
    """Address that requests go to, and its weight: its share beside the other peers'."""

    address: str
    port: int
    weight: int = 1
    is_canary: bool = False  # of the colour that is tried on a share of the requests


class Location(NamedTuple):
    """One route of a service: at which host ("": in the user's own server) with which other names, for which requests,
    and how these are passed on."""

    host: str
    path: str
    match: str = "prefix"
    aliases: tuple[str, ...] = ()
    options: str = ""  # as JSON; "": as usual


class Place(NamedTuple):
    """Files of a service besides its peers: made for which mode of nginx, for which routes, and whether their requests
    are counted."""

    mode: str
    locations: tuple[Location, ...]
    ignored: tuple[str, ...] | None = None  # paths whose requests are not counted; None: none are
    by_side: bool = False  # nginx is told which peers are a canary's by a file, as their requests count apart


class Refusal(NamedTuple):
    """Files (None: a removal) that nginx or lictor did not accept."""

    place: Place | None
    circumstances: str  # the configuration and templates of the user, which may be to blame; "": not nginx refused it
    times: int  # in these circumstances
    until: float  # epoch seconds: if they stay, a sweep tries it again then; an event never does
    reason: str = ""
    is_frozen: bool = False  # the files that nginx confirmed before take no other peers


class PublishedRoute(NamedTuple):
    """Peers and files that nginx serves; with `confirmed` false, peers that it is about to serve."""

    peers: tuple[Peer, ...]
    instances: tuple[InstanceId, ...]
    consul_index: int = 0  # of the last event that was heeded
    empty_since: float | None = None  # epoch seconds; the peers are held although the catalogue has none
    confirmed: bool = False
    generation: int = 0
    ailing: tuple[InstanceId, ...] = ()  # instances that were served, and get no traffic as they turned unhealthy
    # Files (None: none) that nginx may be serving: those that it confirmed last, and after them any that were put in
    # their place since and neither confirmed nor taken back.
    places: tuple[Place | None, ...] = (None,)
    refusal: Refusal | None = None
    paused: float = 0.0  # the pause that nginx has confirmed, by when it was asked for; 0.0: none
    canary: tuple[InstanceId, ...] = ()  # of `instances`, those of the colour that is tried


class Decision(NamedTuple):
    """Peers to serve. `confirm`: read again consistently, then decide on that. `hold`: keep what is served, though the
    catalogue does not show it.

    `refused` names the instances whose address or port must not reach a configuration, each with the reason.
    """

    kind: Literal["unchanged", "publish", "confirm", "hold"]
    peers: tuple[Peer, ...]
    instances: tuple[InstanceId, ...]
    reason: str
    refused: tuple[str, ...] = ()
    ailing: tuple[InstanceId, ...] = ()
    canary: tuple[InstanceId, ...] = ()


def decide(route: dict[str, Any], published: PublishedRoute | None, instances: Sequence[model.Instance], *,
           now_s: float, certain: bool, own: Set[Endpoint] = frozenset()) -> Decision:
    """Decide about the instances of the live colour that were observed, given the table of routes/NAME.json; `certain`:
    by a consistent read, so that fewer of them are believed too. `own`: where this node's nginx listens itself, of the
    instances' addresses and ports. `sides` does so where a canary is, or was."""
    if route["removed"]:
        return Decision("publish" if published is None or published.peers else "unchanged", (), (),
                        "the service is removed")
    # Not those of the other colour. What speaks UDP is no HTTP peer, though it has the name of one.
    live = [each for each in instances if each.service == route["service"] and not each.is_udp]
    served = {each.address for each in published.peers} if published else frozenset[str]()
    reachable, refused = _reachable(route, live, served, own)
    healthy, ailing = _classify(reachable, published, route["traffic"])
    target = _receivers(len(live), reachable, healthy, ailing, refused)
    if published is None:
        return target
    if published.peers == target.peers and published.instances == target.instances:
        return target._replace(kind="unchanged")
    if not certain and 2 * len(healthy) < len(published.instances):
        return target._replace(kind="confirm")
    return target if target.peers else _believe_none(route, published, target, reachable, now_s)


def peer(instance: model.Instance, served: Set[str] = frozenset()) -> Peer:
    """Make the peer of an instance; raises ValueError if its address or port must not reach a configuration. A weight
    of 0 becomes 1: nginx has no weight 0, and the instance only gets here when it must receive traffic.

    `served`: addresses of peers, which are known to be valid.
    """
    return Peer(_address(instance.address, served), _port(instance.port), max(instance.weight, 1))


def is_canary(found: Any) -> bool:
    """Tell whether a value is the canary of a route, if any: the colour that is tried, and its share of requests."""
    return found is None or isinstance(found, dict) and type(found.get("service")) is str and (
        type(found.get("share")) is float and 0 < found["share"] <= MOST_SHARE)


def is_sound(found: PublishedRoute) -> bool:
    """Decide whether each value is of the kind that others compute with."""
    pairs = (*found.instances, *found.ailing, *found.canary)
    texts = [*(text for pair in pairs for text in pair), *(each.address for each in found.peers)]
    numbers = [*(number for each in found.peers for number in each[1:3]), found.consul_index, found.generation]
    times = [at for at in (found.paused, found.empty_since, found.refusal and found.refusal.until) if at is not None]
    return (all(type(each) is str for each in texts) and all(type(each) is int for each in numbers)
            and all(type(each) in (int, float) for each in times))


def _classify(reachable: dict[model.Instance, Peer], published: PublishedRoute | None,
              traffic: str) -> tuple[set[model.Instance], set[model.Instance]]:
    """Return the healthy instances, and the unhealthy ones that were served and are not in maintenance. A container is
    as well as the worst of its registrations: one of another port, without a check, passes for ever."""
    well = {each for each in reachable if each.maintenance is None and (traffic == "any" or (
        each.status in ("passing", "warning") and each.node_alive and each.weight > 0))}
    ill = {each.container_id for each in reachable.keys() - well} - {""}
    healthy = {each for each in well if each.container_id not in ill}
    once_served = {*published.instances, *published.ailing} if published else set()
    return healthy, {each for each in reachable.keys() - healthy
                     if (each.node, each.service_id) in once_served and each.maintenance is None}


def _receivers(live: int, reachable: dict[model.Instance, Peer], healthy: set[model.Instance],
               ailing: set[model.Instance], refused: list[str]) -> Decision:
    reason = f"{len(healthy)} of {live} instances are healthy" + (f", {len(refused)} are refused" if refused else "")
    if len(healthy) < len(ailing):
        reason = f"panic threshold: {reason}. {len(ailing)} unhealthy ones keep their traffic."
        healthy, ailing = healthy | ailing, set()
    heaviest = {(each.address, each.port): each for each in sorted(reachable[each] for each in healthy)}
    return Decision("publish", tuple(heaviest.values()), _ids(healthy), reason, tuple(refused), _ids(ailing))


def _believe_none(route: dict[str, Any], published: PublishedRoute, target: Decision,
                  reachable: dict[model.Instance, Peer], now_s: float) -> Decision:
    """Hold the last peers, unless none was asked for, or has lasted; a maintenance is what somebody asked for."""
    if route["empty_ok"]:
        return target._replace(reason="no instance, and replicas is 0")
    leaving = {(each.node, each.service_id): reachable[each] for each in reachable if each.maintenance is not None}
    addresses = {(each.address, each.port) for each in leaving.values()}
    held = Decision("hold", tuple(each for each in published.peers if (each.address, each.port) not in addresses),
                    tuple(each for each in published.instances if each not in leaving),
                    target.reason, target.refused, published.ailing)
    if held.peers != published.peers:
        return held._replace(kind="publish", reason=f"{target.reason}: {len(leaving)} are in maintenance")
    if published.empty_since is not None and now_s - published.empty_since >= EMPTY_FOR_S:
        return target._replace(reason=f"{target.reason}, for {now_s - published.empty_since:.0f} s")
    return held._replace(
        reason=f"on hold: {target.reason}. The last peers stay until that has been so for {EMPTY_FOR_S:.0f} s.")


def _reachable(route: dict[str, Any], live: list[model.Instance], served: Set[str],
               own: Set[Endpoint]) -> tuple[dict[model.Instance, Peer], list[str]]:
    """Return the instances that this node can reach, and a text for each that is refused."""
    peers, refused = dict[model.Instance, Peer](), list[str]()
    for each in sorted(live, key=_id) if len(live) > MOST_PEERS else live:
        try:
            found = peer(each, served)
            is_loopback = found.address.startswith("127.") or found.address == "::1"
            if not is_loopback or each.node == route["node"]:
                _require_permitted(route, each, found, own, is_loopback=is_loopback)
                if len(peers) == MOST_PEERS:
                    raise ValueError(f"the service has {MOST_PEERS} others, and may have no more")
                peers[each] = found
        except ValueError as error:
            refused.append(f"instance {each.service_id[:100]!r} of node {each.node[:100]!r}: {error}")
    return peers, refused


def _require_permitted(route: dict[str, Any], instance: model.Instance, found: Peer, own: Set[Endpoint], *,
                       is_loopback: bool) -> None:
    """Raise ValueError for an instance to which this route must not send requests, sound as its address may be."""
    if len(instance.service_id) > _LONGEST_NAME or len(instance.node) > _LONGEST_NAME:
        raise ValueError(f"its id, or its node's name, is longer than {_LONGEST_NAME} characters")
    if (found.address, found.port) in own:
        raise ValueError(f"this node's nginx itself listens on {model.host_port(found.address, found.port)}, so its "
                         "requests would go round in a circle")
    if is_loopback and not instance.is_registrars:
        raise ValueError(f"address {found.address!r} is this node's own loopback, and lictor-registrar did not "
                         "register it; register it with an address of the node")
    if route["needs_consent"] and not instance.consents:
        raise ValueError(f"the [allow] services of this node do not hold {route['service']!r}, and the registration "
                         f"does not consent by the tag {model.META_CONSENT}=true")


def _ids(instances: set[model.Instance]) -> tuple[InstanceId, ...]:
    return tuple(sorted(map(_id, instances)))


def _id(instance: model.Instance) -> InstanceId:
    return instance.node, instance.service_id


def _address(given: object, served: Set[str]) -> str:
    """Return an address that may stand in a configuration, else raise ValueError. A host name never may: if it does not
    resolve, nginx refuses every reload."""
    if not isinstance(given, str):
        raise ValueError(f"address {given!r:.100} is not a string")
    if given in served:
        return given
    import ipaddress  # the commonest event, which has no other address, is spared it

    try:
        address = ipaddress.ip_address(given)
    except ValueError as error:
        raise ValueError(f"address {given[:100]!r} is not an IP address") from error
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"address {given[:100]!r} has a zone")
        if address.sixtofour or address.teredo:
            raise ValueError(f"address {given!r} stands for an IPv4 address")
        address = address.ipv4_mapped or address
    if not _is_of_one_host(address):
        raise ValueError(f"address {given!r} is not that of one host: it is reserved, link-local or multicast")
    return str(address)


def _is_of_one_host(address: "ipaddress.IPv4Address | ipaddress.IPv6Address") -> bool:
    return address.is_loopback or str(address) not in _METADATA and not (
        address.is_multicast or address.is_link_local or address.is_unspecified or address.is_reserved
        or address.version == 4 and address.packed[0] == 0)


def _port(given: object) -> int:
    if type(given) is not int or not 1 <= given <= 65535:  # a bool is an int too
        raise ValueError(f"port {given!r:.100} is not a whole number from 1 to 65535")
    return given
