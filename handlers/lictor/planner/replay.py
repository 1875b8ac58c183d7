"""Deciding again upon recorded observations: what `lictor why NAME --json` prints, or single records of it. Pure."""

import json
from typing import Any, NamedTuple

from lictor import errors
from lictor.planner import observation_codec, plan


class Replayed(NamedTuple):
    """One record: what was decided and recorded then ("" in an observation that nobody acted on), and what is now."""

    service: str
    at: float
    then: str
    now: list[str]


def replay(text: str, path: str) -> list[Replayed]:
    """All records in the text that hold an observation; raises Refused when there is none, or one is damaged."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise errors.Refused(f"{path}: is no JSON: {error}") from error
    records = found.get("history", [found]) if isinstance(found, dict) else found
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise errors.Refused(f"{path}: holds no records; save what `lictor why NAME --json` prints")
    replayed = [_replayed(each, f"{path}, record {number}") for number, each in enumerate(records, start=1)
                if "observation" in each]
    if not replayed:
        raise errors.Refused(f"{path}: none of its {len(records)} records holds an observation")
    return replayed


def told(action: plan.Action) -> str:
    return f"{action.kind} {action.container}: {action.reason}".replace(" : ", ": ")


def _replayed(record: dict[str, Any], where: str) -> Replayed:
    try:
        seen = observation_codec.load(record["observation"])
        now = [told(each) for each in plan.plan(seen)]
    except errors.Refused as error:
        raise errors.Refused(f"{where}: {error}") from error
    then = f"{record['kind']} {record.get('container', '')}: {record.get('reason', '')}" if "kind" in record else ""
    return Replayed(seen.desired.name, seen.now, then.replace(" : ", ": "), now)
