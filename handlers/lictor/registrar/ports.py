"""The ports of a container that are registered: where other nodes, or this one, reach them. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from lictor import model

_JOINED = "container:"
_UNNAMED = "its image exposes no port. Name the port: SERVICE_8080_NAME"


class Port(NamedTuple):
    """One port; `address` is as registered, where "" is every address of the node."""

    number: int  # in the container
    protocol: str
    address: str
    reached_at: str  # HOST:PORT, for checks by the local agent
    host_port: int


class Ports(NamedTuple):
    """The ports to register, lowest first; and why there are no others, with what helps."""

    found: list[Port]
    why_no_other: str


def joined_container(container: Mapping[str, Any]) -> str:
    """Name the container whose network this one has; "" if it has its own."""
    mode = _network_mode(container)
    return mode.removeprefix(_JOINED) if mode.startswith(_JOINED) else ""


def list_ports(container: Mapping[str, Any], named: Iterable[str], *, address: str, internal: bool,
               joined: Mapping[str, Any] | None) -> Ports:
    """List the ports to register. `joined` is the container whose network this one has.

    Where Docker publishes nothing, as the network is the host's or another container's, a port that a label names
    (`named`) is one as well as those that the image exposes.
    """
    mode = _network_mode(container)
    exposed = set(filter(None, map(_split_port, container["Config"].get("ExposedPorts") or {})))
    if mode != "host" and not mode.startswith(_JOINED):
        return _list_internal(container, exposed) if internal else _list_published(container, address)
    numbers = {number for number, _ in exposed}
    labelled = {(number, "tcp") for number in map(int, filter(_is_port, named)) if number not in numbers}
    listening = sorted(exposed | labelled)
    if mode == "host" or joined and _network_mode(joined) == "host":
        return Ports([_of_address(*port, address, address or "127.0.0.1") for port in listening], _UNNAMED)
    if not joined:
        return Ports([], "the container whose network it has does not run. Start that one first")
    return _list_joined(joined, listening, address, internal=internal)


def _list_published(container: Mapping[str, Any], address: str) -> Ports:
    published = _published_ports(container)
    return Ports([_of_bindings(*port, bindings, address) for port, bindings in sorted(published.items()) if bindings],
                 _why_unpublished(container))


def _list_internal(container: Mapping[str, Any], exposed: Set[tuple[int, str]]) -> Ports:
    own = _own_address(container)
    if not own:
        return Ports([], "the container has no address. Give it a network")
    return Ports([_of_address(*port, own, own) for port in sorted({*exposed, *_published_ports(container)})],
                 "the container does not expose it. Expose it")


def _list_joined(joined: Mapping[str, Any], listening: Iterable[tuple[int, str]], address: str, *,
                 internal: bool) -> Ports:
    """List ports in the network of another container: where that one publishes them, else at its own address."""
    own, published = _own_address(joined), {} if internal else _published_ports(joined)
    return Ports([_of_bindings(*port, published[port], address) if published.get(port) else
                  _of_address(*port, own, own) for port in listening if own or published.get(port)], _UNNAMED)


def _why_unpublished(container: Mapping[str, Any]) -> str:
    if model.LABEL_TASK in (container["Config"].get("Labels") or {}):
        return "Swarm does not publish it on this node. Publish it with mode=host"
    if _network_mode(container) == "none":
        return "the container has no network. Give it one"
    return "it is not published. Publish it (-p 8080), or start the registrar with --internal"


def _network_mode(container: Mapping[str, Any]) -> str:
    return str(container["HostConfig"].get("NetworkMode") or "")


def _published_ports(container: Mapping[str, Any]) -> dict[tuple[int, str], Sequence[Mapping[str, str]]]:
    shown = container["NetworkSettings"].get("Ports") or {}
    return {port: bindings or [] for text, bindings in shown.items() if (port := _split_port(text))}


def _of_address(number: int, protocol: str, address: str, reached_at: str) -> Port:
    """Make a port that has the same number inside and outside."""
    return Port(number, protocol, address, model.host_port(reached_at, number), number)


def _of_bindings(number: int, protocol: str, bindings: Sequence[Mapping[str, str]], address: str) -> Port:
    """Choose one of the addresses that a port is published on: the widest."""
    by_address = {binding["HostIp"] or "0.0.0.0": int(binding["HostPort"]) for binding in reversed(bindings)}
    everywhere = next((each for each in ("0.0.0.0", "::") if each in by_address), None)
    if everywhere:
        host_port = by_address[everywhere]
        local = "127.0.0.1" if everywhere == "0.0.0.0" else "::1"
        return Port(number, protocol, address, model.host_port(address or local, host_port), host_port)
    widest = min(by_address, key=lambda each: ipaddress.ip_address(each).is_loopback)
    return Port(number, protocol, widest, model.host_port(widest, by_address[widest]), by_address[widest])


def _own_address(container: Mapping[str, Any]) -> str:
    by_name = sorted((container["NetworkSettings"].get("Networks") or {}).items())
    return next((found["IPAddress"] for _, found in by_name if found.get("IPAddress")), "")


def _split_port(text: str) -> tuple[int, str] | None:
    """Parse 8080/tcp; None for what is none, as an image may expose any text."""
    number, _, protocol = text.partition("/")
    return (int(number), protocol or "tcp") if _is_port(number) else None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536 and text[0] != "0"
