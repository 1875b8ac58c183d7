"""Replay of recorded observations: what `lictor why NAME --json` prints, or single records of it, decided again."""

import json
from typing import Any, NamedTuple

from lictor import errors
from lictor.planner import observation_codec, plan
from lictor.planner.actions import describe
from lictor.planner.autoscale.record import decide_again


class Replayed(NamedTuple):
    """One record: the decision that was recorded then ("": none was), and what this version decides."""

    service: str
    at: float
    then: str
    now: list[str]


def replay(text: str, path: str) -> list[Replayed]:
    """Replay all records that hold an observation; raises Refused if there is none, or one is damaged."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise errors.Refused(f"{path}: is no JSON: {error}") from error
    records = found.get("history", [found]) if isinstance(found, dict) else found
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise errors.Refused(f"{path}: holds no records; save what `lictor why NAME --json` prints")
    replayed = [_replay(record, f"{path}, record {number}") for number, record in enumerate(records, start=1)
                if "observation" in record or "autoscale" in record]
    if not replayed:
        raise errors.Refused(f"{path}: none of its {len(records)} records holds an observation")
    return replayed


def _replay(record: dict[str, Any], source: str) -> Replayed:
    then = describe(record["kind"], record.get("container", ""), record.get("reason", "")) if "kind" in record else ""
    try:
        if "autoscale" in record:
            at, decision = decide_again(record["autoscale"])
            return Replayed(str(record.get("service", "")), at, then, [describe("autoscale", "", decision.reason)])
        observation = observation_codec.load(record["observation"])
        now = [describe(action.kind, action.container, action.reason) for action in plan.plan(observation)]
    except errors.Refused as error:
        raise errors.Refused(f"{source}: {error}") from error
    return Replayed(observation.desired.name, observation.now, then, now)
