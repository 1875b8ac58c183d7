"""Who receives a service's traffic: from what the catalogue says and what nginx serves to a decision. Pure.

A route is what routes/NAME.json holds, and what is served is what peers/NAME.json holds.
"""

import ipaddress
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from lictor import model

EMPTY_FOR_S = 60.0  # an agent's restart empties its node for a while

InstanceId = tuple[str, str]  # node, service ID


class Peer(NamedTuple):
    """Where requests go, and with which weight: its share beside the other peers'."""

    address: str
    port: int
    weight: int = 1


class Served(NamedTuple):
    """What nginx serves, or is about to serve while `confirmed` is false."""

    peers: tuple[Peer, ...]
    instances: tuple[InstanceId, ...]
    consul_index: int = 0  # of the last event that was heeded
    empty_since: float | None = None  # epoch seconds; the peers are held although the catalogue has none
    confirmed: bool = False
    generation: int = 0
    ailing: tuple[InstanceId, ...] = ()  # were served, and are unfit: out of traffic as long as most are fit
    # Mode, host and path ("": none) of the files that nginx may be serving: those that it confirmed last, and after
    # them any that were put in their place since and neither confirmed nor taken back.
    at: tuple[str, ...] = ("",)
    refused: tuple[str, ...] = ()  # the same of files that nginx, or lictor, would not have, those of the route first
    refused_in: str = ""  # the circumstances, which may be to blame,
    refused_times: int = 0  # how often in these,
    refused_until: float = 0.0  # and when, in epoch seconds, a sweep tries it again if they stay; nothing else does


class Decision(NamedTuple):
    """`confirm`: read again consistently, then decide on that. `hold`: keep what is served, though it is not seen.

    `refused` names the instances whose address or port must not reach a configuration, each with the reason.
    """

    kind: Literal["unchanged", "publish", "confirm", "hold"]
    peers: tuple[Peer, ...]
    instances: tuple[InstanceId, ...]
    reason: str
    refused: tuple[str, ...] = ()
    ailing: tuple[InstanceId, ...] = ()


def served(table: Any) -> Served | None:
    """What peers/NAME.json holds; None when it is absent or damaged."""
    try:
        return Served(**{**table, "peers": tuple(Peer(*each) for each in table["peers"]),
                         "at": tuple(table.get("at", ())) or ("",), "refused": tuple(table.get("refused", ())),
                         **{key: tuple((node, service_id) for node, service_id in table.get(key, ()))
                            for key in ("instances", "ailing")}})
    except (TypeError, KeyError, ValueError):
        return None


def decide(route: dict[str, Any], now: Served | None, instances: Sequence[model.Instance], *, now_s: float,
           certain: bool) -> Decision:
    """What to do about the instances that were seen; `certain`: by a consistent read, so that less is believed too."""
    if route["removed"]:
        return Decision("publish" if now is None or now.peers else "unchanged", (), (), "the service is removed")
    live = [each for each in instances if each.service == route["service"]]  # not those of the other colour
    peers, refused = _reachable(live, route["node"])
    eligible = {each for each in peers if _is_eligible(each, route["traffic"])}
    known = set(now.instances) if now else set()
    once_served = known.union(now.ailing if now else ())  # so that failing one by one ends as failing at once does
    ailing = {each for each in peers.keys() - eligible
              if (each.node, each.service_id) in once_served and each.maintenance is None}
    panic = len(eligible) < len(ailing)
    receiving = eligible | ailing if panic else eligible
    reason = f"{len(eligible)} of {len(live)} instances are fit for traffic" + (
        f"; the {len(ailing)} unfit ones keep it too, because they are most" if panic else "")
    heaviest = {(each.address, each.port): each for each in sorted(peers[each] for each in receiving)}
    target = Decision("publish", tuple(heaviest.values()),
                      tuple(sorted((each.node, each.service_id) for each in receiving)), reason, tuple(refused),
                      tuple(sorted((each.node, each.service_id) for each in ailing - receiving)))
    if now is None or now.peers == target.peers and now.instances == target.instances:
        return target if now is None else target._replace(kind="unchanged")
    if not certain and 2 * len(eligible) < len(known):
        return target._replace(kind="confirm")
    return target if target.peers else _without_peers(route, now, target, now_s)


def peer(instance: model.Instance) -> Peer:
    """Where requests to it go; raises ValueError for what may not stand in a configuration. 0 at warning is for whoever
    has it all the same the least."""
    return _peer_at(_address(instance.address), instance)


def _without_peers(route: dict[str, Any], now: Served, target: Decision, now_s: float) -> Decision:
    held = Decision("hold", now.peers, now.instances, target.reason, target.refused, now.ailing)
    if target.refused:
        return held._replace(reason="the address of every instance is refused")
    if route["empty_ok"]:
        return target._replace(reason="no instance, and replicas is 0")
    if now.empty_since is not None and now_s - now.empty_since >= EMPTY_FOR_S:
        return target._replace(reason=f"{target.reason}, for {now_s - now.empty_since:.0f} s")
    return held._replace(reason=f"{target.reason}; that is believed after {EMPTY_FOR_S:.0f} s")


def _reachable(live: list[model.Instance], this_node: str) -> tuple[dict[model.Instance, Peer], list[str]]:
    """The instances that this node can reach, and the refused ones: who, and why."""
    peers, refused = {}, []
    for each in live:
        try:
            address = _address(each.address)
            if not address.is_loopback or each.node == this_node:
                peers[each] = _peer_at(address, each)
        except ValueError as error:
            refused.append(f"instance {each.service_id[:100]!r} of node {each.node[:100]!r}: {error}")
    return peers, refused


def _peer_at(address: ipaddress.IPv4Address | ipaddress.IPv6Address, instance: model.Instance) -> Peer:
    return Peer(str(address), _port(instance.port), max(instance.weight, 1))


def _is_eligible(instance: model.Instance, traffic: str) -> bool:
    is_well = instance.status in ("passing", "warning") and instance.node_alive and instance.weight > 0
    return (traffic == "any" or is_well) and instance.maintenance is None


def _address(given: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address that may stand in a configuration; raises ValueError. No names: one that fails blocks every reload."""
    if not isinstance(given, str):
        raise ValueError(f"address {given!r:.100} is not a string")
    try:
        address = ipaddress.ip_address(given)
    except ValueError as error:
        raise ValueError(f"address {given[:100]!r} is not an IP address") from error
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"address {given[:100]!r} has a zone")
        address = address.ipv4_mapped or address
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"address {given!r} is not that of one host")
    return address


def _port(given: object) -> int:
    if type(given) is not int or not 1 <= given <= 65535:  # a bool is an int too
        raise ValueError(f"port {given!r:.100} is not a whole number from 1 to 65535")
    return given
