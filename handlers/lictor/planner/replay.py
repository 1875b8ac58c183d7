"""Replay of recorded observations: what `lictor why NAME --json` prints, or single records of it, decided again.

A record holds the observation and the state before it, so that all of the decision is made again. It is the same if
this version does, or tells, the same for the same reason.
"""

import json
from typing import Any, NamedTuple

from lictor import errors
from lictor.planner import next_state, observation_codec
from lictor.planner.actions import KINDS, describe
from lictor.planner.autoscale import record as autoscaling

SAME, DIFFERENT, UNKNOWN = VERDICTS = "same", "different", "cannot be told"
_UNDECIDED = ("refused", "removed")  # kinds of records of what happened, which no decision is behind
_LATEST = 1e11  # seconds since the epoch, as in the history


class Replayed(NamedTuple):
    """One record: the decision that was recorded then ("": none was), and what this version decides."""

    service: str
    at: float
    then: str
    now: list[str]
    verdict: str
    why: str = ""  # it cannot be told, or in what it differs


class Story(NamedTuple):
    """All records that a decision is behind; and how many others there are."""

    replayed: list[Replayed]
    undecided: int

    def count(self, verdict: str) -> int:
        return sum(each.verdict == verdict for each in self.replayed)


class _Decision(NamedTuple):
    service: str
    at: float
    lines: list[str]
    is_whole: bool = True  # it rests on all that the recorded one did


def replay(text: str, path: str) -> Story:
    """Replay all records that a decision is behind; raises Refused if there is none, or the text holds no records."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise errors.Refused(f"{path}: is no JSON: {error}") from error
    records = found.get("history", [found]) if isinstance(found, dict) else found
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise errors.Refused(f"{path}: holds no records; save what `lictor why NAME --json` prints")
    decided = [record for record in records if record.get("kind") not in _UNDECIDED]
    if not decided:
        raise errors.Refused(f"{path}: none of its {len(records)} records holds a decision")
    return Story([_replay(record) for record in decided], len(records) - len(decided))


def _replay(record: dict[str, Any]) -> Replayed:
    kind, container, reason = (str(record.get(key, "")) for key in ("kind", "container", "reason"))
    then = describe(kind, container, reason) if kind else ""
    try:
        decision = _decide_again(record, kind)
    except errors.Refused as error:
        return Replayed(str(record.get("service", "")), _time(record.get("at")), then, [], UNKNOWN, str(error))
    except Exception as error:  # a value that no rule foresees is the trouble of its own record
        why = f"this version cannot decide upon it: {error!r:.200}"
        return Replayed(str(record.get("service", "")), _time(record.get("at")), then, [], UNKNOWN, why)
    return Replayed(decision.service, _time(decision.at), then, decision.lines,
                    *_compare(then, describe(kind, container, ""), decision))


def _compare(then: str, act: str, decision: _Decision) -> tuple[str, str]:
    """Compare a line with those of now; `act` is the line without its reason."""
    if not then:
        return UNKNOWN, "it holds no decision to compare with"
    if then in decision.lines:
        return SAME, ""
    if not decision.is_whole:
        return UNKNOWN, "a part of it had no room in the record"
    return DIFFERENT, "the reason is another one" if any(line.startswith(act) for line in decision.lines) else ""


def _decide_again(record: dict[str, Any], kind: str) -> _Decision:
    """Decide upon a record; raises Refused if that cannot be done."""
    if "autoscale" in record:
        at, decision, is_whole = autoscaling.decide_again(record["autoscale"])
        return _Decision(str(record.get("service", "")), at, [describe(kind, "", decision.reason)], is_whole)
    if record.get("outcome") == "damaged":
        raise errors.Refused("the record is damaged")
    is_whole = not record.get("is_cut")
    if "observation" not in record:
        raise errors.Refused("the record holds no observation, as those of sets with state" if is_whole else
                             "its observation had no room in the record")
    observation = observation_codec.load(record["observation"])
    if observation.desired.has_set:
        raise errors.Refused("the answers of the set's members, by which it was decided, are not recorded")
    state, actions = next_state.step(observation)
    lines = [describe(action.kind, action.container, action.reason) for action in actions]
    if kind and kind not in KINDS:  # the cause of a notification
        told = next_state.causes(observation._replace(state=state))
        lines = [describe(kind, "", told.get(kind, next_state.OVER))]
    return _Decision(observation.desired.name, observation.now, lines, is_whole)


def _time(at: object) -> float:
    return float(at) if isinstance(at, int | float) and 0 <= at <= _LATEST else 0.0
