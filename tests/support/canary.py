"""A shop whose releases are canaries, on whole nodes."""

from collections import Counter
from typing import Any

from lictor.planner import service_state
from lictor.planner.canary import comparison
from lictor.planner.service_state import State

from lab.autoscale import image as images
from lab.autoscale.image import Image
from lab.autoscale.open_load import OpenLoad
from lab.docker import Docker
from lab.node import Node

NAME, PATH = "shop", "/shop"
KINDS = {"1": Image(64, 0.02), "fine": Image(64, 0.02), "fails": Image(64, 0.02, fails_each=20),
         "slow": Image(64, 0.04)}
RATE = 80.0  # requests a second
RELEASE: dict[str, Any] = {"strategy": "blue-green", "canary": "25%", "for": "10s", "healthy_for": "1s",
                           "deadline": "100s", "keep": "10m"}
SPEC: dict[str, Any] = {
    "name": NAME, "image": f"{NAME}:1", "port": "127.0.0.1::8080", "route": {"path": PATH}, "drain": "10s",
    "replicas": {"initial": 2, "min": 1, "max": 4}, "check": {"http": "/health", "interval": "1s", "timeout": "3s"}}
BLUE, GREEN = ([f"{NAME}-{color}-{number}" for number in (1, 2)] for color in ("blue", "green"))


def build(engine: Docker) -> None:
    for version, image in KINDS.items():
        images.build(engine, f"{NAME}:{version}", image)


def begin(node: Node, version: str) -> None:
    node.consul.put(f"services/{NAME}/image", f"{NAME}:{version}")


def remembered(node: Node) -> State:
    return service_state.decode((node.consul.get(f"{service_state.KEY_PREFIX}{NAME}") or "{}").encode())


def counted(node: Node) -> tuple[int, int]:
    """How many requests count for the canary and for the live colour by now."""
    rollout = remembered(node).release.rollout
    trial = rollout and rollout.trial
    return (comparison.requests(trial.canary), comparison.requests(trial.live)) if trial else (0, 0)


def canary_key(node: Node) -> str:
    return node.consul.get(f"services/{NAME}/canary") or ""


def serves(node: Node, *names: str) -> bool:
    """Whether nginx has confirmed that it serves these instances, and no others."""
    return {service_id.split(":")[1] for _, service_id in node.confirmed(NAME)} == set(names)


def is_on_trial(node: Node) -> bool:
    """Whether nginx has confirmed that it serves both colours."""
    return canary_key(node) == "green 25%" and serves(node, *BLUE, *GREEN)


def has_ended(node: Node) -> bool:
    """Whether the release is over, in whichever way."""
    release = remembered(node).release
    return release.rollout is None and (release.failed or release.live or {}) != {} and not canary_key(node)


def seen_by_clients(*loads: OpenLoad) -> Counter[str]:
    """What failed requests have got."""
    return Counter(each.failure for load in loads for each in load.requests if each.failure)
