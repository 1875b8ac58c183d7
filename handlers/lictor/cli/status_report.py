"""The state of services, and what a reconcile would do with them now: what status, plan and why show."""

import time
from collections.abc import Container
from typing import Any, NamedTuple

from lictor import model
from lictor.adapters.text import one_line, printable
from lictor.cli import autoscale_report
from lictor.cli.release_progress import describe_foreign, find_failure, find_obstacle
from lictor.planner import backoff
from lictor.planner.actions import KINDS_OF_ACTS, describe
from lictor.planner.cluster import words
from lictor.planner.cluster.actions import KINDS_OF_ACTS as KINDS_OF_CHANGES
from lictor.planner.desired import Desired, specs_of
from lictor.planner.observation import drain_mark
from lictor.planner.service_state import State
from lictor.reconcile import actors, conditions, observe, responsibility
from lictor.reconcile.cluster import record, seeds
from lictor.reconcile.conditions import CheckWords
from lictor.reconcile.context import Context
from lictor.reconcile.state_store import StateStore, Stored
from lictor.routing import announce
from lictor.spec.keys import describe_unknown, group_by_service, known_below
from lictor.spec.service_spec import DELEGATED, Spec

UNSERVED = "unserved"  # the kind of what no node carries out, as nginx does not serve it
UNKNOWN = "?"  # the name of the one row for keys that are no service's
_SHOWN_INSTANCES = 3


class Status(NamedTuple):
    """The status of a service by the catalogue and the keys: the same from every node."""

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
    problems: list[str]  # refused input that stands
    color: str = ""  # the live one of a blue-green service
    nobody: str = ""  # why no node acts for it; "": one does, or may
    unserved: list[str] = []  # where nginx does not serve it as it should


class _Facts(NamedTuple):
    desired: Desired
    state: State
    instances: list[model.Instance]
    receiving: list[model.Instance]  # those of them that may receive traffic
    images: set[str]
    nginx_nodes: list[str]
    no_answer: str  # that no node answers which may act for it; usually ""
    why_nobody: str  # why no node acts for it; "": one does, or may
    scaling: str  # what the autoscaler has to tell; usually ""
    awaited: str  # why no instance can start: a set that its environment names is not there; usually ""
    set_failure: str  # why the next step with a set with state fails, or is put off; usually ""
    unserved: list[str]  # where nginx does not serve it as it should; usually []
    unconfirmed: list[str]  # where nginx has not confirmed it; usually []
    foreign: list[model.Instance]  # under its name, and not of lictor's making; usually []


def read_status(context: Context) -> list[Status]:
    """Read the status of all services; a removed one is among them as long as an instance is left."""
    prefix, client = context.settings.prefix, context.client
    tree, states = client.tree(prefix, known_below(prefix)), StateStore(client).read_all()
    grouped, unknown = group_by_service({key: each.value for key, each in tree.items()}, prefix)
    names = observe.names(grouped, states)
    catalogue = client.everything(observe.catalog_names(names))
    nodes, alive, nginx_nodes = client.nodes(), client.alive_nodes(), _nginx_nodes(context, names)
    lictor_nodes = responsibility.name_nodes(catalogue.entries.get("lictor", []))
    told = conditions.read(client, lictor_nodes & alive)
    acts = actors.read(client)
    specs = specs_of(grouped)
    sets = record.read_all(client, [name for name, text in specs.items() if b'"cluster"' in text])
    words_of_checks, foreign = CheckWords(client, context.node), conditions.list_foreign(told)
    scaling = autoscale_report.read_words(context, [name for name, text in specs.items() if b'"autoscale"' in text])
    lists = seeds.read_all(client) if any(b"{seeds:" in text for text in specs.values()) else {}

    def read_row(name: str) -> Status | None:
        state = states.get(name, Stored()).state
        service = responsibility.read_desired(context, name, grouped.get(name, {}), state, specs)
        everyone = words_of_checks.put_into(observe.instances(catalogue.of(service.catalog_name)))
        strangers = [each for each in everyone if (each.node, each.service_id) in foreign]
        groups = model.by_container(each for each in everyone if each not in strangers).values()
        instances = [group[0] for group in groups]
        if service.removed and not (instances and service.spec and service.spec.engine != "none"):
            return None
        why_nobody = responsibility.describe_nobody(service, instances, nodes, lictor_nodes, acts)
        no_answer = responsibility.describe_no_answer(service, lictor_nodes, acts, alive)
        receiving = [group[0] for group in groups if all(map(_may_receive, group))]
        serving = nginx_nodes.get(name, [])
        return _status(_Facts(service, state, instances, receiving, {each.image for each in instances} - {""},
                              [node for node in serving if not (node in told and told[node].nginx.silence)],
                              no_answer, why_nobody, scaling.get(name, ""),
                              seeds.explain_wait(service.spec and service.spec.environment, lists),
                              words.describe_failure(sets[name].record.kept) if name in sets else "",
                              conditions.describe(told, name, frozenset(serving)),
                              conditions.describe_unconfirmed(told, name), strangers))

    rows = []
    for name in names:
        try:
            row = read_row(name)
        except Exception as error:  # a value that no rule foresees is the trouble of its own service
            row = Status(name, 0, 0, 0, "", "", "", "", [], "unreadable", [observe.explain_broken(error)])
        rows += [row] if row else []
    return rows + ([Status(UNKNOWN, 0, 0, 0, "", "", "", "", [], "not read", describe_unknown(unknown, prefix))]
                   if unknown else [])


def _nginx_nodes(context: Context, names: Container[str]) -> dict[str, list[str]]:
    """List, by service, the nodes whose nginx has an instance of it."""
    nodes: dict[str, list[str]] = {}
    tree = context.client.tree(announce.PREFIX, lambda key: key.split("/")[2] in names)
    for key, entry in sorted(tree.items()):
        name, _, node = key.removeprefix(announce.PREFIX).partition("/")
        if announce.pairs(entry.value):
            nodes.setdefault(name, []).append(node)
    return nodes


def _may_receive(instance: model.Instance) -> bool:
    return instance.status != "critical" and instance.node_alive and instance.maintenance is None


def _status(facts: _Facts) -> Status:
    desired, spec = facts.desired, facts.desired.spec
    route = f"{spec.route.host}{spec.route.path}" if spec and spec.route and not desired.removed else ""
    image, engine, node = (spec.image, spec.engine, spec.node) if spec else ("", "", "")
    return Status(desired.name, 0 if desired.removed else desired.replicas, len(facts.receiving), len(facts.instances),
                  image, engine, node, route, facts.nginx_nodes, _summary(facts), list(desired.problems), desired.color,
                  facts.why_nobody, facts.unserved)


def _summary(facts: _Facts) -> str:
    """Say what is the matter, the weightiest first."""
    spec = facts.desired.spec
    if facts.why_nobody:
        return facts.why_nobody
    if facts.desired.removed:
        return "being removed"
    if facts.desired.why_held:
        return f"on hold: {facts.desired.why_held}"
    if spec is None:
        return "refused"
    obstacle = _obstacle(facts, spec)
    if obstacle:
        return obstacle
    return _only_routed(facts) if spec.engine == "none" else _progress(facts, spec)


def _only_routed(facts: _Facts) -> str:
    says = ("only routed" if facts.receiving else "only routed: no instance passes") + _evidence(facts)
    return "; ".join([*(facts.unserved or facts.unconfirmed), says])


def _progress(facts: _Facts, spec: Spec) -> str:
    """Say what is not as desired of a service on which somebody acts, the weightiest first."""
    found = ("; ".join(facts.unserved), facts.set_failure, _release(facts, spec, time.time()), _deviation(facts, spec),
             "; ".join(facts.unconfirmed), describe_foreign(facts.foreign),
             facts.scaling if spec.autoscale else "", "as desired")
    return next(filter(None, found))


def _obstacle(facts: _Facts, spec: Spec) -> str:
    is_lost = any(each.node == spec.node and not each.node_alive for each in facts.instances)
    return find_obstacle(facts.state) or (f"on hold: node {spec.node} does not answer" if is_lost else
                                          "" if spec.node else facts.no_answer)


def _release(facts: _Facts, spec: Spec, now_s: float) -> str:
    """Say how the release of what is desired stands, if it is not live; usually ""."""
    release, rollout = facts.desired.release, facts.state.release.rollout
    if facts.state.release.live_release == release:
        return ""
    failure = find_failure(facts.state, release)
    if failure:
        return f"release of {spec.image} failed: {failure}"
    if rollout is None or rollout.release != release:
        return ""
    waits = f". It waits: {facts.awaited}" if facts.awaited and rollout.most < facts.desired.replicas else ""
    why = backoff.trouble(facts.state)
    since_s = max(now_s - rollout.began_at, 0)
    return f"releasing {spec.image} for {since_s:.0f} s" + (waits or (f". {why}" if why else _evidence(facts)))


def _deviation(facts: _Facts, spec: Spec) -> str:
    """Say how the catalogue differs from what is desired; usually ""."""
    desired = facts.desired
    if spec.port is None:
        return f"unknown: it has no port, so it is not in the catalogue. See `lictor plan {desired.name}` on its node"
    if facts.no_answer and not facts.instances:
        return facts.no_answer
    if facts.images - {spec.image}:
        return f"converging: {', '.join(sorted(facts.images))} runs, {spec.image} is desired"
    if not len(facts.receiving) == desired.replicas == len(facts.instances):
        waits = f"waiting: {facts.awaited}" if facts.awaited and len(facts.instances) < desired.replicas else ""
        return waits or backoff.trouble(facts.state) or _withheld(facts.instances) or (
            f"converging: {desired.why_replicas}{_evidence(facts)}")
    if spec.route and facts.receiving and not facts.nginx_nodes:
        return "no nginx serves it"
    return model.describe_mixed_images(facts.instances)


def _evidence(facts: _Facts) -> str:
    """Quote the check of an instance that fails, to be put behind a summary; usually ""."""
    critical = [each for each in facts.instances if each.status == "critical" and each.maintenance is None]
    if not critical:
        return ""
    first, more = critical[0], f", and {len(critical) - 1} more are" if len(critical) > 1 else ""
    return f". {one_line(first.service_id)} on {first.node} is critical{more}{first.output and f': {first.output}'}"


def _withheld(instances: list[model.Instance]) -> str:
    """Say which instances people took out of traffic; usually ""."""
    paused = [each for each in instances if each.maintenance == model.PAUSED]
    by_hand = [each for each in instances if each.maintenance not in (None, model.PAUSED, model.JOINING)
               and not drain_mark(each)]
    for state, some, end in (("paused", paused, "`docker unpause`"),
                             ("maintenance", by_hand, "`consul maint -disable -service=ID`")):
        if some:
            named = ", ".join(f"{one_line(each.service_id)} on {each.node}" for each in some[:_SHOWN_INSTANCES])
            more = f" and {len(some) - _SHOWN_INSTANCES} more" if len(some) > _SHOWN_INSTANCES else ""
            return f"{state}: {named}{more}. No traffic until {end}"
    return ""


def decide_now(context: Context, name: str) -> list[dict[str, Any]]:
    """Decide what a reconcile would do with the service at this moment, and what it would leave, with reasons.

    Each action has service, kind, container ("": it concerns none) and reason. Kind "nobody" is no action: a wish
    stands, and no node carries it out.
    """
    reading = observe.settled(context, name, {})
    desired = reading.observation.desired
    scheduler, is_own = reading.observation.scheduler, responsibility.acts_here(context, desired)
    why_nobody = "" if (scheduler.takes_orders if scheduler else is_own) else responsibility.read_nobody(
        context.client, desired, reading.observation.instances)
    if desired.spec and (why_nobody or not is_own):
        return [{"service": name, "kind": "nobody" if why_nobody else "none", "container": "",
                 "reason": why_nobody or _who_acts(desired.spec, context.node)}]
    return [*({"service": name, "kind": action.kind, "container": action.container, "reason": action.reason}
              for action in reading.actions), *autoscale_report.decide_now(context, desired)]


def _who_acts(spec: Spec, node: str) -> str:
    if spec.engine == "none":
        return "its engine is none: lictor only routes it"
    if spec.node:
        return f"node {spec.node} acts for it, this is {node}"
    if spec.engine in DELEGATED:
        return f"a node with [{spec.engine}] in its settings acts for it, and this one, {node}, has none"
    return f"the nodes of the Swarm act for it, and {node} is none of them"


def list_unserved(row: Status | None) -> list[dict[str, Any]]:
    """List, in the form of actions, where nginx does not serve a service: no reconcile mends it."""
    return [{"service": row.name, "kind": UNSERVED, "container": "", "reason": text} for text in row.unserved
            ] if row else []


def needs_work(actions: list[dict[str, Any]]) -> bool:
    kinds = {*KINDS_OF_ACTS, *KINDS_OF_CHANGES, "nobody", UNSERVED}
    return any(action["kind"] in kinds or action.get("wish") for action in actions)


def describe_action(head: str, action: dict[str, Any]) -> str:
    return one_line(f"{head}: {describe(action['kind'], action['container'], action['reason'])}")


def describe_record(record: dict[str, Any]) -> str:
    """Lay out one record of the history: when, which node, what, why, how it ended; then what was observed."""
    what = f"{record.get('kind', '?')} {record.get('container', '')}".strip()
    outcome = str(record.get("outcome", "?")) + (f" in {record['ms'] / 1000:.1f} s" if "ms" in record else "")
    if outcome == "started":
        outcome = "its end is not recorded: it is still under way, or was cut short"
    head = f"{format_time(record.get('at', 0))}  {record.get('node', '?')}  {what}"
    lines = [f"{head}: {record.get('reason', '')} -> {outcome}",
             *([f"    seen: {record['seen']}"] if record.get("seen") else []),
             *(f"    | {line}" for line in str(record.get("detail", "")).splitlines())]
    return "\n".join(map(printable, lines))


def format_time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
