"""The nodes' share of a service: which node acts for it, which reports bad input, and what is wrong with that."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from lictor import model
from lictor.adapters import heartbeat
from lictor.adapters.consul.client import Client
from lictor.engines.registry import CONTAINER_ENGINES, SCHEDULERS, TASK_ENDERS
from lictor.planner.desired import Desired, desired
from lictor.planner.observation import Observation
from lictor.planner.service_state import State
from lictor.reconcile import actors
from lictor.reconcile.context import Context
from lictor.spec import allow
from lictor.spec.service_spec import DELEGATED, Spec

_SHOWN_NODES = 5


def read_desired(context: Context, name: str, keys: Mapping[str, bytes], state: State,
                 specs: Mapping[str, bytes] = {}) -> Desired:
    """Read a service's keys, bounded by what this node allows where it is the one to act."""
    return desired(name, keys, state, context.settings.prefix, specs, functools.partial(list_refusals, context))


def list_refusals(context: Context, spec: Spec) -> list[str]:
    """List what the spec asks for and this node does not allow; [] if it is not this node's to act."""
    found = allow.refusals(spec, context.settings.allow, context.settings.where)
    if not found or spec.engine == "none":  # which needs the consent of its instances then
        return []
    if spec.engine in SCHEDULERS:
        return found if SCHEDULERS[spec.engine].acts_here(context.settings) else []
    return found if spec.node == context.node else []


def acts_here(context: Context, service: Desired) -> bool:
    """Decide whether this node starts and stops the service's containers, or gives orders to its scheduler."""
    engine = service.spec.engine if service.spec else ""
    if engine in TASK_ENDERS:
        return heartbeat.read(context.settings.state_dir) is not None or TASK_ENDERS[engine].is_here()
    if engine in SCHEDULERS:
        return SCHEDULERS[engine].acts_here(context.settings)
    return places_here(context, service)


def places_here(context: Context, service: Desired) -> bool:
    """Decide whether the service's containers are this node's own, each started and stopped by lictor."""
    return (service.spec is not None and service.spec.engine in CONTAINER_ENGINES
            and service.spec.node == context.node)


def reports_here(service: Desired, node: str) -> bool:
    """Decide whether bad input for the service is this node's to report; without an acting node it is every node's."""
    return service.spec is None or service.spec.node in ("", node)


def describe_nobody(service: Desired, instances: Iterable[model.Instance], nodes: frozenset[str],
                    lictor_nodes: frozenset[str], acts: actors.Acts) -> str:
    """Explain why no node acts for a service; "" if one acts, or may act.

    `nodes` are those in Consul, `lictor_nodes` those with a service `lictor`; none: the token may not see them. `acts`
    is what these have told of their schedulers.
    """
    spec = service.spec
    if spec and spec.engine in SCHEDULERS and lictor_nodes:
        return "" if _list_actors(spec.engine, lictor_nodes, acts) else _describe_no_orders(spec.engine, lictor_nodes)
    if spec is None or spec.engine not in CONTAINER_ENGINES or not nodes or spec.node in lictor_nodes:
        return ""
    if spec.node in nodes:
        return "" if not lictor_nodes else (
            f"nobody acts: node {spec.node} is in Consul without a service `lictor`. Nothing is started, healed "
            "or removed until `lictor init` was run there")
    elsewhere = sorted({each.node for each in instances if each.container_id} - {spec.node})
    runs_on = f"; its containers run on {', '.join(elsewhere)}" if elsewhere else ""
    return (f"nobody acts: {spec.node} is not in Consul{runs_on}. If its name has changed, `lictor apply` the spec "
            "with `node: NEW-NAME`")


def _list_actors(engine: str, lictor_nodes: frozenset[str], acts: actors.Acts) -> set[str]:
    """List the nodes that give orders to a scheduler, or may: what a node has not told is unknown."""
    return {node for node in lictor_nodes if acts.get(node, {}).get(engine, True)}


def _describe_no_orders(engine: str, lictor_nodes: frozenset[str]) -> str:
    lacking = f"has [{engine}] in its settings" if engine in DELEGATED else "is a manager of a Swarm"
    return (f"nobody acts: no node with lictor ({', '.join(sorted(lictor_nodes)[:_SHOWN_NODES])}"
            f"{', ...' if len(lictor_nodes) > _SHOWN_NODES else ''}) {lacking}. Nothing is started, healed or removed "
            f"until one {lacking.split()[0]}")


def read_nobody(client: Client, service: Desired, instances: Iterable[model.Instance]) -> str:
    """Ask Consul, and explain why no node acts for a service as `describe_nobody` does."""
    spec = service.spec
    if not spec or not (spec.node or spec.engine in SCHEDULERS):
        return ""
    nodes, acts = (frozenset[str](), actors.read(client)) if spec.engine in SCHEDULERS else (client.nodes(), {})
    return describe_nobody(service, instances, nodes, name_nodes(client.health("lictor")), acts)


def describe_no_answer(service: Desired, lictor_nodes: frozenset[str], acts: actors.Acts,
                       alive: frozenset[str]) -> str:
    """Explain that none of the nodes answers which may act for a service; usually "", also if `alive` is empty: the
    token may not see nodes."""
    spec = service.spec
    if spec is None or not alive:
        return ""
    may_act = _list_actors(spec.engine, lictor_nodes, acts) if spec.engine in SCHEDULERS else {spec.node} - {""}
    if not may_act or may_act & alive:
        return ""
    named = ", ".join(sorted(may_act)[:_SHOWN_NODES])
    return f"on hold: node{'s' if len(may_act) > 1 else ''} {named} do{'' if len(may_act) > 1 else 'es'} not answer"


def read_no_answer(client: Client, service: Desired) -> str:
    """Ask Consul, and explain that no node answers which may act, as `describe_no_answer` does."""
    if not service.spec or service.spec.engine not in SCHEDULERS:
        return describe_no_answer(service, frozenset(), {}, client.alive_nodes())
    return describe_no_answer(service, name_nodes(client.health("lictor")), actors.read(client), client.alive_nodes())


def name_nodes(entries: Iterable[dict[str, Any]]) -> frozenset[str]:
    """Name the nodes of a service's entries, as those of the service `lictor` of its own nodes."""
    return frozenset(entry["Node"]["Node"] for entry in entries)


def describe_strays(context: Context, observation: Observation) -> str:
    """Describe containers that run on this node although the spec names another one; usually ""."""
    service = observation.desired
    strays = [each for each in observation.instances if each.node == context.node and each.container_id]
    if not strays or not service.spec or service.spec.engine not in CONTAINER_ENGINES or acts_here(context, service):
        return ""
    return f"stray containers: {len(strays)} here, but the spec's node is {service.spec.node}. No node removes them"


def describe_lost_node(observation: Observation, node: str) -> str:
    """Describe the loss of another node that acts for the service and does not answer; usually ""."""
    spec = observation.desired.spec
    if spec is None or spec.node in ("", node) or spec.engine not in CONTAINER_ENGINES:
        return ""
    lost = [each for each in observation.instances if each.node == spec.node and not each.node_alive]
    return (f"on hold: node {spec.node} does not answer (serfHealth). Its {len(lost)} instances stay until it is back, "
            "and lose their traffic only to healthy instances; no other node starts any") if lost else ""
