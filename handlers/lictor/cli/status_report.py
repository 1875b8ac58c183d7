"""What people ask: how are the services, what would happen now, and why did it happen."""

import time
from typing import Any, NamedTuple

from lictor import model
from lictor.cli import release_progress
from lictor.events import keys_watch
from lictor.planner import desired, plan, service_state
from lictor.reconcile import act, history, observe
from lictor.reconcile.context import Context
from lictor.reconcile.state_store import StateStore, Stored
from lictor.routing import announce
from lictor.spec import service_spec
from lictor.spec.keys import group_by_service


class Status(NamedTuple):
    """One service as the catalogue and the keys show it, from whichever node one asks."""

    name: str
    desired: int
    passing: int
    registered: int
    image: str
    engine: str
    node: str
    route: str
    served_by: list[str]  # nodes whose nginx has an instance of it
    says: str  # "as desired", or what is the matter, in words
    problems: list[str]  # bad input that stands
    color: str = ""  # the live one of a blue-green service


def status(context: Context) -> list[Status]:
    """All services; removed ones only as long as something of them is left."""
    keys = {key: each.value for key, each in keys_watch.current(context.client, context.settings.prefix).items()}
    prefix = context.settings.prefix
    grouped, strange = group_by_service(keys, prefix)
    entries = context.client.everything()
    states = StateStore(context.client).read_all()
    alive, served_by = context.client.alive_nodes(), dict[str, list[str]]()
    for key, entry in sorted(context.client.tree(announce.PREFIX).items()):
        name, _, node = key.removeprefix(announce.PREFIX).partition("/")
        if announce.pairs(entry.value):
            served_by.setdefault(name, []).append(node)
    rows = []
    for name in observe.names(grouped, states):
        stored = states.get(name, Stored()).state
        wanted = desired.desired(name, grouped.get(name, {}), stored, prefix)
        own = entries.get(wanted.catalog_name, [])
        found = observe.instances(own)
        images = {str((each["Service"].get("Meta") or {}).get(model.META_IMAGE, "")) for each in own} - {""}
        nodes = served_by.get(name, [])
        if not wanted.removed or found and wanted.spec and wanted.spec.engine != "none":
            says = _says(wanted, stored, found, images, nodes, alive)
            rows.append(_status(wanted, found, nodes)._replace(says=says))
    rows = [row._replace(problems=row.problems + _same_route(row, rows, prefix)) for row in rows]
    return rows + [Status("?", 0, 0, 0, "", "", "", "", [], "refused", [each]) for each in strange]


def _status(wanted: desired.Desired, found: list[model.Instance], nodes: list[str]) -> Status:
    spec = wanted.spec
    target = 0 if wanted.removed else wanted.replicas
    route = f"{spec.route.host}{spec.route.path}" if spec and spec.route and not wanted.removed else ""
    image, engine, node = (spec.image, spec.engine, spec.node) if spec else ("", "", "")
    return Status(wanted.name, target, len(_serving(found)), len(found), image, engine, node, route, nodes, "",
                  list(wanted.problems), wanted.color)


def _says(wanted: desired.Desired, stored: service_state.State, found: list[model.Instance], images: set[str],
          nodes: list[str], alive: frozenset[str]) -> str:
    """What is the matter, the weightiest first. `alive`: nodes that Consul sees, none if we may not see any."""
    spec, serving = wanted.spec, _serving(found)
    if wanted.removed:
        return "being removed"
    if wanted.why_held:
        return f"held: {wanted.why_held}"
    if spec is None:
        return "refused"
    if stored.breaker:
        return f"the breaker is open: {stored.breaker.why}"
    if stored.doubt:
        return f"held: {stored.doubt}"
    if any(each.node == spec.node and not each.node_alive for each in found):
        return f"held: node {spec.node} does not answer"
    if spec.engine == "none":
        return "only routed" if serving else "only routed, and no instance passes"
    release = _release(wanted, stored, time.time())
    if release:
        return release
    if spec.port is None:
        return f"not in the catalogue, as it has no port; see `lictor plan {wanted.name}` there"
    if not found and alive and spec.node not in ("", *alive):
        return f"node {spec.node}, which acts for it, does not answer, or Consul has none of that name"
    if images - {spec.image}:
        return f"{', '.join(sorted(images))} runs, {spec.image} is asked for"
    if not len(serving) == wanted.replicas == len(found):
        return f"converging: {wanted.why_replicas}"
    return "as desired" if nodes or not spec.route or not serving else "no nginx serves it"


def _release(wanted: desired.Desired, stored: service_state.State, now: float) -> str:
    """What there is to say of what is asked for and not live; usually ""."""
    image = wanted.spec.image if wanted.spec else ""
    failed, rollout = stored.failed, stored.rollout
    if stored.live_release == wanted.release:
        return ""
    if failed and failed.release == wanted.release:
        live = (stored.live or {}).get("image", "what was live")
        return f"release of {image} failed: {release_progress.printable(failed.why)}; {live} runs on"
    if rollout and rollout.release == wanted.release:
        return f"releasing {image} since {max(now - rollout.began_at, 0):.0f} s"
    return ""


def _serving(found: list[model.Instance]) -> list[model.Instance]:
    return [each for each in found if each.status != "critical" and each.node_alive and each.maintenance is None]


def _same_route(row: Status, rows: list[Status], prefix: str) -> list[str]:
    others = [each.name for each in rows if each.route and each.route == row.route and each is not row]
    return [f"{prefix}{row.name}/spec: route is {row.route}, which {', '.join(others)} asks for too; "
            "two services cannot have the same"] if others else []


def what_now(context: Context, name: str) -> list[dict[str, Any]]:
    """What a reconcile would do with the service this moment, and what it would leave and why."""
    reading = observe.settled(context, name, {})
    wanted = reading.observation.desired
    if wanted.spec and not observe.acts_here(context, wanted):
        reason = _who_acts(wanted.spec, context.node)
        return [{"service": name, "kind": "none", "container": "", "reason": reason}]
    return [{"service": name, "kind": each.kind, "container": each.container, "reason": each.reason}
            for each in reading.actions]


def _who_acts(spec: service_spec.Spec, node: str) -> str:
    if spec.engine == "none":
        return "its engine is none: lictor only routes it"
    if spec.node:
        return f"node {spec.node} acts for it, this is {node}"
    if spec.engine in service_spec.DELEGATED:
        return f"a node with [{spec.engine}] in its settings acts for it, and this one, {node}, has none"
    return f"the nodes of the Swarm act for it, and {node} is none of them"


def why(context: Context, name: str) -> dict[str, Any]:
    """The service's story: what was recorded, oldest first; what is seen now; what is decided on it now."""
    reading = observe.one(context, name, {})
    seen = act.describe(reading.observation) if observe.acts_here(context, reading.observation.desired) else (
        f"from {context.node}, {len(reading.observation.instances)} registered instances")
    return {"service": name, "history": history.read(context.client, name), "seen": seen,
            "now": what_now(context, name)}


def needs_work(actions: list[dict[str, Any]]) -> bool:
    return any(each["kind"] in plan.ACTS for each in actions)


def moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def told(record: dict[str, Any]) -> str:
    """One record of the history as a line: when, who, what, why, how it ended."""
    at = moment(record.get("at", 0))
    what = f"{record.get('kind', '?')} {record.get('container', '')}".strip()
    took = f" in {record['ms'] / 1000:.1f} s" if "ms" in record else ""
    outcome = f"{record.get('outcome', '?')}{took}"
    if outcome == "started":
        outcome = "its end is not recorded: it is still under way, or was cut short"
    lines = [f"{at}  {record.get('node', '?')}  {what}: {record.get('reason', '')} -> {outcome}"]
    lines += [f"    seen: {record['seen']}"] if record.get("seen") else []
    lines += [f"    | {line}" for line in str(record.get("detail", "")).splitlines()]
    return "\n".join("".join(each if each.isprintable() else "?" for each in line.expandtabs()) for line in lines)
