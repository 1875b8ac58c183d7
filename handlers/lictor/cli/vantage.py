"""The machine on which a command runs. It may be another one than the node whose agent is asked: its Docker, settings
and state folder say nothing of that node."""

import os
import socket
from typing import Any

from lictor.adapters.consul.environment import read_environment
from lictor.planner.desired import Desired
from lictor.reconcile import observer_health, responsibility
from lictor.reconcile.autoscale.look import read_desired
from lictor.reconcile.context import Context
from lictor.spec.service_spec import DELEGATED, Spec


def explain_elsewhere(context: Context, service: Desired) -> str:
    """Say why this machine cannot tell what stands ahead of a service; "" if it can, or Consul alone tells."""
    spec = service.spec
    if spec is None or spec.engine == "none" or spec.node not in ("", context.node) or asks_own_agent(context):
        return ""
    return f"this machine is not {context.node}"


def list_unknown(context: Context, name: str) -> list[dict[str, Any]]:
    """Say, in the form of actions, that this machine cannot tell what stands ahead, or that nobody acts; usually []."""
    service = read_desired(context, name)
    elsewhere = explain_elsewhere(context, service)
    if not elsewhere:
        return []
    why_nobody = responsibility.read_nobody(context.client, service, ())
    return [{"service": name, "kind": "nobody", "container": "", "reason": why_nobody} if why_nobody else
            make_unknown(name, service, elsewhere)]


def make_unknown(name: str, service: Desired | None, why: str) -> dict[str, Any]:
    """Say, in the form of an action, which node can say what stands ahead, and why this machine cannot."""
    actor = service and describe_actor(service) or "a node that acts for it"
    return {"service": name, "kind": "unknown", "container": "",
            "reason": f"{actor} alone can say what stands ahead: {why}"}


def describe_actor(service: Desired) -> str:
    """Describe which node acts for a service; "" if none has to."""
    spec: Spec | None = service.spec
    if spec is None or spec.engine == "none":
        return ""
    if spec.node:
        return f"node {spec.node}"
    return f"a node with [{spec.engine}] in its settings" if spec.engine in DELEGATED else "a node of the Swarm"


def asks_own_agent(context: Context) -> bool:
    """Tell whether the agent that is asked is this machine's."""
    if _is_here(context.client.agent().address):
        return True
    endpoint = read_environment(os.environ, None).endpoint  # an agent may be known by an address of its router
    is_near = bool(endpoint.socket_path) or _is_here(endpoint.host)
    return is_near and observer_health.agent_age_s(context.settings) is not None


def _is_here(address: str) -> bool:
    """Tell whether an address is one of this machine's."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as tried:
            tried.bind((address, 0))
        return True
    except OSError:
        return False
