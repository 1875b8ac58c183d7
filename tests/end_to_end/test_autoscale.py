"""Scaling by response time as a whole: nginx counts, the check decides, the key changes, and instances follow."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.client import Client as Visitor
from lab.daemon import wait_for
from lab.docker import Docker
from lab.node import Node

pytestmark = pytest.mark.daemons


@pytest.fixture
def node(docker: Docker, tmp_path: Path) -> Iterator[Node]:
    whole = Node(str(tmp_path / "node"), docker, timer="2s", keep_data=True)
    try:
        yield whole.start()
    finally:
        whole.stop()


def check(node: Node) -> dict[str, Any]:
    found = node.consul.request("GET", "/v1/agent/checks").get("lictor-autoscale")
    return dict(found or {"Status": "", "Output": ""})


def wish(node: Node) -> str:
    found = node.consul.get("services/books-service/replicas")
    assert found, check(node)["Output"]
    return found


def test_slow_answers_become_more_instances(node: Node) -> None:
    """No instance answers within 1 ms, so that more of them are started, until that is seen not to help."""
    wait_for(lambda: check(node)["Output"] == "no service has autoscale\n", "the check has answered")
    node.apply(autoscale={"p95": "1ms"})
    node.wait_served("books-service-1")
    with Visitor(node.nginx.port, "/api/v1/books", service="books-service") as visitor:
        wait_for(lambda: wish(node), "the autoscaler has a wish", 120)
        wait_for(lambda: len(node.served()) > 1, "another instance serves", 120)
        wait_for(lambda: (said := check(node))["Status"] == "warning" and said["Output"].startswith(
            "books-service: p95 "), "the check says it", 120)
    assert visitor.requests > 100 and not visitor.failures

    def first() -> dict[str, Any]:
        records = json.loads(node.run("why", "books-service", "--json").stdout)["history"]
        return next((dict(each) for each in records if each["kind"] == "autoscale"), {})
    wait_for(lambda: first().get("outcome") == "done", "the first wish is recorded")
    assert first()["from"] == 1 and "wants" in first()["reason"]
    told = node.run("autoscale", "books-service").stdout
    assert told.startswith("books-service: ") and "node-1 decided last" in told
