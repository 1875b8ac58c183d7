"""Contradictions of status, plan, why, the check and doctor about a service. Pure: from what each of them said.

A verb that could not tell contradicts nothing: an error, a node that may not decide, a check that knows of no sweep.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lictor.adapters.text import one_line

NODE = "the node"
_NO_CLAIM = ("none", "unknown")  # the kinds of plan that say who could tell
_UNTOLD = ("unknown:", "stale:", "unwritable:")  # so the check begins where it knows of no sweep
_NUMBER = re.compile(r"(?<![-\w.])\d+(\.\d+)?")  # of seconds or instances; that of a name stands behind a hyphen
_STANDS_S = 9.0  # two rounds
_SWEEPS = 3  # the first may have ended, and the second begun, before the others' answers


class Check(NamedTuple):
    """The node's check, as its agent has it."""

    status: str
    lines: tuple[str, ...]


class Said(NamedTuple):
    """Answers of the verbs at about the same time, all of them as `--json` has it; None: it could not say anything."""

    status: Sequence[Mapping[str, Any]] | None = None
    plan: Sequence[Mapping[str, Any]] | None = None
    why: Mapping[str, Sequence[Mapping[str, Any]]] = {}  # by service: what stands ahead
    pages: Mapping[str, Mapping[str, Any]] = {}  # by service: `status NAME`
    check: Check | None = None
    doctor: Sequence[Mapping[str, Any]] | None = None
    shown: str | None = None  # what `lictor status` shows people


class Contradiction(NamedTuple):
    """Two verbs that say opposite things of a service, with the words of both, but for numbers: time changes those."""

    service: str
    between: tuple[str, str]
    what: str


class Round(NamedTuple):
    """One round of questions: its time, when the sweep ended that the check told of, and what was contradictory both
    times that all were asked."""

    at: float
    swept_at: float
    found: frozenset[Contradiction]


def contradictions(said: Said) -> list[Contradiction]:
    """List who contradicts whom about which service."""
    found = []
    for row in said.status or ():
        name = row["name"]
        claims = {"status": _status_claims(row), "plan": _plan_claims(name, said.plan),
                  "why": _plan_claims(name, said.why.get(name)), "the check": _check_claims(name, said.check),
                  "doctor": _doctor_claims(name, said.doctor)}
        pairs = [("status", "plan"), ("status", "why"), ("status", "the check"), ("status", "doctor"), ("plan", "why"),
                 ("plan", "the check"), ("the check", "doctor")]
        found += [Contradiction(name, (one, other), _timeless(what)) for one, other in pairs
                  if (what := _differ(claims[one], claims[other]))]
        found += _contradict_counts(row, said.pages.get(name))
    return found + _contradict_of_node(said)


class _Claims(NamedTuple):
    """Claims of a verb about a service; None: it claims nothing of the sort."""

    is_well: bool | None = None
    is_nobodys: bool | None = None
    decided: tuple[str, ...] | None = None
    told: str = ""


def _differ(one: _Claims, other: _Claims) -> str:
    """Say in what two verbs differ; "" if they do not."""
    for mine, theirs in ((one.is_nobodys, other.is_nobodys), (one.decided, other.decided),
                         (one.is_well, other.is_well)):
        if mine is not None and theirs is not None and mine != theirs:
            return f"{one.told!r} beside {other.told!r}"
    return ""


def _status_claims(row: Mapping[str, Any]) -> _Claims:
    is_well = None if row["is_unseen"] else row["severity"] == "well" and not row["problems"]
    return _Claims(is_well, bool(row["nobody"]), told="; ".join([row["says"], *row["problems"]]))


def _plan_claims(name: str, actions: Sequence[Mapping[str, Any]] | None) -> _Claims:
    if actions is None:
        return _Claims()
    mine = [each for each in actions if each["service"] == name]
    kinds = {each["kind"] for each in mine}
    lines = tuple(sorted(_timeless(f"{each['kind']} {each['container']}: {each['reason']}") for each in mine))
    told = "; ".join(lines) or "nothing to do"
    if kinds and kinds <= {*_NO_CLAIM}:
        return _Claims(told=told)
    return _Claims(not kinds - {*_NO_CLAIM}, "nobody" in kinds, lines, told)


def _check_claims(name: str, check: Check | None) -> _Claims:
    """Claim what the check says. A critical one tells the worst alone: it says nothing of what it does not name."""
    if check is None or not check.lines or any(line.startswith(_UNTOLD) for line in check.lines):
        return _Claims()
    mine = [line for line in check.lines if line.startswith(f"{name}: ")]
    if not mine and check.status == "critical":
        return _Claims()
    return _Claims(not mine, told="; ".join(mine) or f"{check.status}, without a word of it")


def _doctor_claims(name: str, findings: Sequence[Mapping[str, Any]] | None) -> _Claims:
    """Claim by the test "services" whether nobody acts, and by "timer", which quotes the check, whether it is well."""
    tests = {each["name"]: each for each in findings or ()}
    services, timer = tests.get("services"), tests.get("timer")
    mine = f"{name}: " in (timer["detail"] if timer else "")
    is_nobodys = f"{name}: " in services["detail"] if services and services["ok"] is not None else None
    is_told = timer is not None and timer["ok"] and not timer["detail"].startswith(_UNTOLD)
    return _Claims(False if is_told and mine else None, is_nobodys, told="; ".join(
        f"{each['name']}: {each['detail']}" for each in (services, timer) if each))


def _contradict_counts(row: Mapping[str, Any], page: Mapping[str, Any] | None) -> list[Contradiction]:
    """Compare the counts of a row with the instances that its page lists, of a service without colours."""
    if page is None or row["color"] or page["says"] != row["says"]:
        return []
    own = [each for each in page["instances"] if not each["is_foreign"]]
    listed, passing = len(own), sum(each["condition"].startswith(("passes", "warning")) for each in own)
    counts = (row["passing"], row["registered"])
    return [] if counts == (passing, listed) else [Contradiction(row["name"], ("status", "status NAME"), (
        f"{counts[0]} of {counts[1]} pass beside {passing} of {listed}"))]


def _contradict_of_node(said: Said) -> list[Contradiction]:
    """Find what the check says of its node and status does not show, and a timer that doctor calls broken beside it."""
    if said.check is None:
        return []
    if said.check.status != "passing":
        return [Contradiction(NODE, ("status", "the check"), f"not a word beside {line!r}")
                for line in _list_unshown(said, said.check)]
    timer = next((each for each in said.doctor or () if each["name"] == "timer"), None)
    return [Contradiction(NODE, ("the check", "doctor"), f"passing beside {_timeless(timer['detail'])!r}")
            ] if timer and timer["ok"] is False else []


def _list_unshown(said: Said, check: Check) -> list[str]:
    """List the lines of the check that are about no service and that status does not show; [] if it shows nothing."""
    if said.status is None or said.shown is None:
        return []
    services, shown = tuple(f"{row['name']}: " for row in said.status), _timeless(said.shown)
    return [line for line in map(_timeless, check.lines) if not line.startswith(services) and line not in shown]


def _timeless(text: str) -> str:
    """Leave out numbers, as seconds pass between two questions; and what is no part of one line."""
    return _NUMBER.sub("N", one_line(text))


def find_standing(rounds: Iterable[Round]) -> list[str]:
    """Name each contradiction that stood: the same in rounds in a row, and through enough sweeps for one that hangs on
    what the last one told."""
    found, open_ones = dict[Contradiction, str](), dict[Contradiction, list[Round]]()
    for asked in rounds:
        open_ones = {each: [*open_ones.get(each, []), asked] for each in asked.found}
        for each, through in open_ones.items():
            if _stands(each, through):
                found[each] = (f"{each.service}: {' and '.join(each.between)} contradict each other from "
                               f"{through[0].at:.0f} to {asked.at:.0f}: {each.what}")
    return list(found.values())


def _stands(found: Contradiction, through: Sequence[Round]) -> bool:
    hangs_on_sweep = {"the check", "doctor"} & {*found.between}
    sweeps = len({each.swept_at for each in through})
    return through[-1].at - through[0].at >= _STANDS_S and (not hangs_on_sweep or sweeps >= _SWEEPS)
