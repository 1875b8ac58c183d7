"""Releases on the real programs, under load: the new one serves entirely, or the old one does, and no request fails."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.client import Client
from lab.docker import Docker
from lab.node import Node
from lictor import state

NAME = "books-service"
PATH = "/api/v1/books"
BLUE_GREEN: dict[str, Any] = {"strategy": "blue-green", "healthy_for": "1s", "deadline": "20s", "smoke": PATH,
                              "keep": "10m"}
ROLLING = {**BLUE_GREEN, "strategy": "rolling"}


@pytest.fixture
def node(docker: Docker, tmp_path: Path) -> Iterator[Node]:
    for version in ("2.0", "3.0"):
        docker.build_books(f"{NAME}:{version}", version)
    for breaks in ("start", "health", "books"):
        docker.build_books(f"{NAME}:no-{breaks}", "bad", breaks)
    whole = Node(str(tmp_path / "node"), docker, timer="2s", keep_data=True)
    try:
        yield whole.start()
    finally:
        whole.stop()


def remembered(node: Node) -> state.State:
    return state.decode((node.consul.get(f"{state.KEY_PREFIX}{NAME}") or "{}").encode())


def color(node: Node) -> str:
    return node.consul.get(f"services/{NAME}/color") or ""


def versions(node: Node) -> set[str]:
    """Of those that answer a dozen requests."""
    return {json.loads(body)["version"] if status == 200 else f"status {status}"
            for status, body in (node.nginx.get(PATH) for _ in range(12))}


def release(node: Node, version: str) -> None:
    node.consul.put(f"services/{NAME}/image", f"{NAME}:{version}")


def wait_released(node: Node, version: str, *running: str) -> None:
    """It is live, nginx serves nothing else, and these containers run."""
    node.wait_for(lambda: (remembered(node).live or {}).get("image") == f"{NAME}:{version}" and not
                  remembered(node).rollout, f"{version} is live", 60)
    node.wait_for(lambda: versions(node) == {version}, f"nginx serves {version}")
    node.wait_for(lambda: node.docker.containers("status=running") == sorted(running), f"{running} run", 60)


def blue_green(*numbers: int, of: str) -> list[str]:
    return [f"{NAME}-{of}-{number}" for number in numbers]


def test_blue_green_changes_the_colour_and_goes_back_in_seconds(node: Node) -> None:
    node.apply(release=BLUE_GREEN, replicas={"initial": 2, "min": 1, "max": 4})
    node.wait_served(*blue_green(1, 2, of="blue"))
    kept = node.docker.docker("ps", "-q", "--no-trunc").split()
    with Client(node.nginx.port, PATH) as client:
        release(node, "2.0")
        wait_released(node, "2.0", *blue_green(1, 2, of="green"))
        assert color(node) == "green"
        assert node.docker.containers() == blue_green(1, 2, of="blue") + blue_green(1, 2, of="green")
        release(node, "1.0")
        wait_released(node, "1.0", *blue_green(1, 2, of="blue"))
        assert color(node) == "blue"
    assert client.failures == [] and client.requests > 100
    assert sorted(node.docker.docker("ps", "-q", "--no-trunc").split()) == sorted(kept)
