"""Releases as the planner sees them: a service in books:1, and the crew of another release beside it."""

from typing import Any

import msgspec

from lictor import model
from lictor.planner import desired, next_state, observation, plan
from lictor.planner.observation import Observation
from lictor.planner.service_state import State

from support.scene import NOW, SPEC, state_of

BLUE_GREEN: dict[str, Any] = {
    **SPEC, "release": {"strategy": "blue-green", "healthy_for": "3s", "deadline": "60s", "keep": "10m"}}
ROLLING: dict[str, Any] = {**SPEC, "release": {**BLUE_GREEN["release"], "strategy": "rolling"}}
OLD, NEW = "books:1", "books:2"


def wanted(spec: dict[str, Any], image: str, state: State, replicas: int = 2, **keys: bytes) -> desired.Desired:
    given = {"spec": msgspec.json.encode(spec), "replicas": str(replicas).encode(), "image": image.encode(), **keys}
    if spec["release"]["strategy"] == "blue-green":
        given.setdefault("color", (state.release.color or "blue").encode())
    return desired.desired("books", given, state)


def release_of(spec: dict[str, Any], image: str) -> str:
    return wanted(spec, image, State()).release


def world(spec: dict[str, Any], asked: str, *crew: str, now: float = NOW, state: dict[str, Any] | None = None,
          replicas: int = 2, keys: dict[str, bytes] | None = None, **fields: Any) -> Observation:
    """Of each of the crew: `NUMBER IMAGE [COLOR] CONDITION`, the condition being passing, critical, kept (stopped long
    ago), died (a second ago), created, drained (for long, and idle) or joining. What is live is books:1, in blue."""
    color = "blue" if spec["release"]["strategy"] == "blue-green" else ""
    remembered = state_of(**{"live": {**spec, "image": OLD}, "live_release": release_of(spec, OLD),
                          "live_is_proven": True, "color": color, "passed_once": [f"c{each}" for each in range(9)],
                          **(state or {})})
    containers, instances = [], []
    for position, words in enumerate(crew):
        number, image, *rest = words.split()
        own, condition = (rest[0] if len(rest) == 2 else ""), rest[-1]
        status = {"kept": "exited", "died": "exited", "created": "created"}.get(condition, "running")
        started = now - (5000 if condition != "died" else -0.5)
        name = model.catalog_name("books", own)
        containers.append(model.Container(f"c{position}", f"{name}-{number}", "books", int(number), own, image,
                                          release_of(spec, image), status, started, started,
                                          137 if status == "exited" else None))
        if status == "running":
            mark = f"{observation.DRAINING}{int(now - 99)}: it is over" if condition == "drained" else (
                model.JOINING if condition == "joining" else None)
            health = "critical" if condition == "critical" else "passing"
            instances.append(model.Instance("node-1", f"s{position}", name, "127.0.0.1", 32000 + position, health, True,
                                            mark, f"c{position}"))
    seen = Observation(now, wanted(spec, asked, remembered, replicas, **(keys or {})), tuple(containers),
                       tuple(instances), state=remembered, **{"certain": True, **fields})
    return seen._replace(state=next_state.advance(seen))


def later(seen: Observation, after_s: float, **fields: Any) -> Observation:
    """The same again after a while, with what was remembered."""
    seen = seen._replace(now=seen.now + after_s, **fields)
    return seen._replace(state=next_state.advance(seen))


def decided(seen: Observation) -> list[str]:
    return [f"{each.kind} {each.container}".strip() for each in plan.plan(seen)]
