"""The traffic of a service, as the nodes tell whose nginx serves it: read from Consul, times by this node's clock."""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.traffic import Combined, Slice
from lictor.reconcile.context import Context
from lictor.routing import announce
from lictor.routing.traffic import meter

_LONGEST_WINDOW_BYTES = 64 * 1024


class Routing(NamedTuple):
    """The nodes whose nginx serves a service, by service, and all nodes that answer."""

    nodes: Mapping[str, list[str]]
    alive: frozenset[str]


def read_routing(context: Context, name: str = "") -> Routing:
    """Read which nodes' nginx serves a service, or each of them."""
    nodes: dict[str, list[str]] = {}
    for key in context.client.keys(f"{announce.PREFIX}{name}/" if name else announce.PREFIX):
        service, _, node = key.removeprefix(announce.PREFIX).partition("/")
        nodes.setdefault(service, []).append(node)
    return Routing(nodes, context.client.alive_nodes())


def read_windows(context: Context, name: str, now: float, routing: Routing | None = None) -> Combined:
    """Read what the nodes have counted whose nginx serves the service.

    A node that is gone counts as long as its last slice is fresh: it has served its share until then.
    """
    found = routing or read_routing(context, name)
    routing_nodes, prefix = found.nodes.get(name, []), f"{meter.PREFIX}{name}/"
    if not routing_nodes:
        return Combined([], [], is_routed=False)
    tree = context.client.tree(prefix, {prefix + node for node in routing_nodes}.__contains__)
    windows = {node: _decode(context, node, tree[prefix + node].value)
               for node in routing_nodes if prefix + node in tree}
    counting = {node: slices for node, slices in windows.items()
                if node in found.alive or traffic.is_fresh(slices, now)}
    return traffic.combine(counting, now, found.alive.intersection(routing_nodes))


def _decode(context: Context, node: str, text: bytes) -> list[Slice]:
    """Decode what a node has written, its times by this node's clock; a text that is too long is none."""
    offset_s = context.clocks.offset_s(node)
    slices = traffic.decode(text) if len(text) <= _LONGEST_WINDOW_BYTES else []
    return [replace(each, at=_aligned(each.at + offset_s)) for each in slices] if offset_s else slices


def _aligned(at: float) -> float:
    return max(round(at / traffic.SLICE_S) * traffic.SLICE_S, 0.0)
