"""Observations of a service whose engine is told only how many there should be, for the planner's tables."""

from typing import Any

import msgspec

from lictor import model
from lictor.model import Group
from lictor.planner import desired, next_state, plan
from lictor.planner.actions import Redeploy, Scale
from lictor.planner.observation import Observation, SchedulerView
from lictor.planner.service_state import State
from lictor.reconcile import observe, scheduler_view

from support.scene import NOW, state_of

SPEC: dict[str, Any] = {
    "name": "books", "engine": "swarm", "image": "books:1", "port": 8080, "check": {"http": "/health"},
    "replicas": {"min": 0, "max": 9}, "heal": {"grace": "10s"}, "drain": "30s",
    "release": {"strategy": "blue-green", "healthy_for": "3s", "deadline": "60s", "keep": "10m"}}
ROLLING = {**SPEC, "release": {**SPEC["release"], "strategy": "rolling"}}


def release_of(image: str, spec: dict[str, Any] = SPEC) -> str:
    return desired.desired("books", {"spec": msgspec.json.encode(spec), "image": image.encode()}, State()).release


def group(color: str, replicas: int, image: str, *ids: str, trouble: str = "", spec: dict[str, Any] = SPEC,
          gave_up: bool = False) -> Group:
    return Group("books", color, replicas, release_of(image, spec), image, ids, trouble, gave_up)


def world(asked: str, count: int, groups: tuple[Group, ...], *crew: str, spec: dict[str, Any] = SPEC,
          state: dict[str, Any] | None = None, keys: dict[str, bytes] | None = None, remembers: bool = True,
          ends: bool = True, tells: bool = True, now: float = NOW, **fields: Any) -> Observation:
    """Of each of the crew: `ID COLOR STATUS [NODE]`, a node that does not answer with `!`; what is live is books:1, in
    blue."""
    color = "blue" if spec["release"]["strategy"] == "blue-green" else ""
    remembered = state_of(**{"live": {**spec, "image": "books:1"}, "live_release": release_of("books:1", spec),
                          "live_is_proven": True, "color": color, "passed_once": [each.split()[0] for each in crew],
                          **(state or {})})
    instances = []
    for words in crew:
        container_id, own, status, node, *_ = [*words.split(), "node-1"]
        name = model.catalog_name("books", "" if own == "-" else own)
        instances.append(model.Instance(node.rstrip("!"), f"s-{container_id}", name, "10.0.0.1", 32000, status,
                                        "!" not in node, None, container_id))
    given = {"spec": msgspec.json.encode(spec), "replicas": str(count).encode(), "image": asked.encode(),
             **(keys or {})}
    if color:
        given.setdefault("color", remembered.release.color.encode())
    wanted = desired.desired("books", given, remembered)
    scheduler = SchedulerView("node-1", tells, ends, remembers, groups)
    ours = scheduler_view.of_tasks(wanted, scheduler, instances)
    containers = tuple(scheduler_view.containers(wanted, remembered, scheduler, ours, now))
    fields = {"certain": True, "foreign": observe.list_foreign(containers, instances), **fields}
    seen = Observation(now, wanted, containers, tuple(ours), state=remembered, scheduler=scheduler, **fields)
    return seen._replace(state=next_state.advance(seen))


def decided(seen: Observation) -> list[str]:
    return [f"{each.kind} {each.container}" + (f" {each.replicas}" if isinstance(each, Scale | Redeploy) else "")
            for each in plan.plan(seen)]


BLUE = group("blue", 2, "books:1", "a", "b")
TWO = ("a blue passing", "b blue passing")
GREEN = group("green", 2, "books:2", "c", "d")
NEW = ("c green passing", "d green passing")
