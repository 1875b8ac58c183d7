"""Tables of services and nodes, in plain values: programs get them as JSON, and the page is made of them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lictor.adapters.text import format_time, one_line, printable
from lictor.events.page import charts
from lictor.events.page.snapshot import Snapshot
from lictor.planner.summary.service import find_failure
from lictor.reconcile.status.status_report import UNKNOWN, Details, Status
from lictor.spec.service_spec import Spec

Table = dict[str, Any]
_TEXTS = ("node", "kind", "container", "reason", "outcome", "seen", "detail")
_LONGEST = 4000


def list_services(snapshot: Snapshot) -> list[Table]:
    """List all services, without their stories."""
    return [_describe(row, snapshot) for row in snapshot.rows]


def find_row(snapshot: Snapshot, name: str) -> Status | None:
    """Find a service; None if there is none of that name."""
    return next((row for row in snapshot.rows if row.name == name and name != UNKNOWN), None)


def show_service(snapshot: Snapshot, row: Status, records: Sequence[Mapping[str, Any]]) -> Table:
    """Show one service, with its story."""
    return {**_describe(row, snapshot), "story": [_describe_record(each) for each in records]}


def list_nodes(snapshot: Snapshot) -> list[Table]:
    return [node._asdict() for node in snapshot.nodes]


def count_states(states: Iterable[str]) -> dict[str, int]:
    """Count services, or nodes, by how they are, the worst first."""
    counts = dict.fromkeys(("failed", "attention", "working", "well"), 0)
    for state in states:
        counts[state] += 1
    return {state: count for state, count in counts.items() if count}


def _describe(row: Status, snapshot: Snapshot) -> Table:
    details = snapshot.details.get(row.name)
    mine = f"{row.name}: "
    return {
        "name": row.name, "severity": row.severity.value, "says": row.says, "problems": row.problems,
        "desired": row.desired, "passing": row.passing, "registered": row.registered,
        "why_desired": one_line(details.facts.desired.why_replicas) if details else "",
        "image": row.image, "desired_image": row.desired_image, "engine": row.engine, "node": row.node,
        "color": row.color, "routes": row.routes, "served_by": row.served_by, "paused": row.paused,
        "instances": [{key: value for key, value in each._asdict().items() if key != "in_flight"}
                      for each in (details.instances if details else [])],
        "autoscale": details.autoscale if details else "",
        "release": _describe_release(details),
        "not_done": [line.removeprefix(mine) for line in snapshot.pending if line.startswith(mine)],
        "traffic": charts.describe(snapshot.traffic.get(row.name, ())),
    }


def _describe_release(details: Details | None) -> Table:
    """Say what is live and since when, what is under way, what failed, and what `lictor rollback` would go back to."""
    if details is None:
        return {}
    state, spec = details.facts.state.release, details.facts.spec
    return {"live": _image(state.live), "since": state.switched_at or None, "previous": _image(state.previous),
            "under_way": _describe_rollout(details, spec),
            "failed": one_line(find_failure(details.facts.state, details.facts.desired.release))}


def _describe_rollout(details: Details, spec: Spec | None) -> Table | None:
    rollout, desired = details.facts.state.release.rollout, details.facts.desired
    if rollout is None or rollout.release != desired.release:
        return None
    return {"image": one_line(spec.image if spec else ""), "began_at": rollout.began_at, "instances": rollout.most,
            "of": desired.replicas, "is_passing": rollout.passing_since > 0}


def _image(table: Mapping[str, Any] | None) -> str:
    """Read the image of a stored spec, which may be damaged."""
    image = (table or {}).get("image")
    return one_line(image) if isinstance(image, str) else ""


def _describe_record(record: Mapping[str, Any]) -> Table:
    """Keep of a record, which may be damaged, what people read; long texts are cut."""
    texts = {key: "\n".join(map(printable, str(record.get(key, ""))[:_LONGEST].splitlines())) for key in _TEXTS}
    return {"id": record["id"], "at": record["at"], "time": format_time(record["at"]), "ms": record.get("ms"), **texts}
