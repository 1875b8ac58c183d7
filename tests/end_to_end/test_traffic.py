"""Traffic of a service on a whole node: a sweep has nginx count it, and tells it to Consul."""

import os

from lictor.adapters import files
from lictor.events import timer
from lictor.planner.autoscale import traffic
from lictor.routing.traffic import meter

from lab.node import Node
from support.modes import in_both_modes

NAME = "books-service"


@in_both_modes
def test_a_sweep_tells_the_traffic_of_a_measured_service(node: Node) -> None:
    node.apply()
    node.wait_served(f"{NAME}-1")
    path = os.path.join(node.settings.state_dir, "routes", f"{NAME}.json")

    def answers() -> int:
        if not (route := files.read_json(path)).get("measure"):  # what follows the keys may have written it once more
            files.write_json(path, {**route, "measure": True, "ignore": []})
        node.served(5)
        assert node.handler("lictor-reconcile", "--sweep").returncode == 0
        value = node.consul.get(f"{meter.PREFIX}{NAME}/{node.consul.node}")
        return traffic.add(traffic.decode((value or "").encode())).answers

    node.wait_for(answers, "a slot with answers is told", 60)
    summary = timer.read(node.settings)
    assert summary and summary.trouble == []
