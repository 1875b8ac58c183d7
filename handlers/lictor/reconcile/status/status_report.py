"""The state of services, and what a reconcile would do with them now: what status, plan and why show."""

import time
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from lictor.adapters.text import format_time, one_line, printable
from lictor.planner.actions import KINDS_OF_ACTS, Confirm, describe
from lictor.planner.cluster import words
from lictor.planner.cluster.actions import KINDS_OF_ACTS as KINDS_OF_CHANGES
from lictor.planner.desired import specs_of
from lictor.planner.routes import labelled
from lictor.planner.summary import service
from lictor.planner.summary.decided import Decided, extend
from lictor.planner.summary.facts import Facts, gather
from lictor.planner.summary.service import Severity
from lictor.reconcile import actors, conditions, observe, responsibility
from lictor.reconcile.cluster import record, seeds
from lictor.reconcile.conditions import CheckWords
from lictor.reconcile.context import Context
from lictor.reconcile.observe import Reading
from lictor.reconcile.state_store import StateStore, Stored
from lictor.reconcile.status import autoscale_report
from lictor.reconcile.status.instances import InstanceRow, list_rows, read_roles
from lictor.routing import announce, paused
from lictor.spec.keys import describe_unknown, group_by_service, known_below
from lictor.spec.service_spec import DELEGATED, Spec

UNSERVED = "unserved"  # the kind of what no node carries out, as nginx does not serve it
AMISS = "amiss"  # the kind of what no reconcile mends
UNKNOWN = "?"  # the name of the one row for keys that are no service's


class Status(NamedTuple):
    """The status of a service by the catalogue and the keys: the same from every node."""

    name: str
    desired: int = 0
    passing: int = 0
    registered: int = 0
    image: str = ""  # what runs; "": nothing, or it is unknown
    engine: str = ""
    node: str = ""
    routes: list[str] = []
    served_by: list[str] = []  # nodes whose nginx has an instance of it
    says: str = ""  # "as desired", or what is the matter, in words
    problems: list[str] = []  # refused input that stands
    color: str = ""  # the live one of a blue-green service
    nobody: str = ""  # why no node acts for it; "": one does, or may
    unserved: list[str] = []  # where nginx does not serve it as it should
    desired_image: str = ""
    severity: Severity = Severity.FAILED
    is_unseen: bool = False  # only the node that acts for it knows how it is
    paused: dict[str, dict[str, int]] = {}  # nodes whose nginx lets its requests wait: how many, and how many in flight

    @property
    def images(self) -> str:
        """The image that runs, and beside it the desired one, where that is another."""
        return self.image if self.image == self.desired_image else (
            f"{self.image or '-'} (desired: {self.desired_image})" if self.desired_image else self.image)


class Details(NamedTuple):
    """The facts that a status rests on, and the instances of all colours of the service."""

    facts: Facts
    instances: list[InstanceRow]
    autoscale: str = ""  # what was decided last on its count, or that nobody decides


class Overview(NamedTuple):
    """All services, and the names in the catalogue that are registered here and routed nowhere."""

    rows: list[Status]
    unrouted: list[str]
    details: dict[str, Details] = {}  # by service


def read_status(context: Context) -> list[Status]:
    """Read the status of all services, as `read_overview` does."""
    return read_overview(context).rows


def read_overview(context: Context) -> Overview:
    """Read the status of all services; a removed one is among them as long as an instance is left."""
    prefix, client = context.settings.prefix, context.client
    tree, states = client.tree(prefix, known_below(prefix)), StateStore(client).read_all()
    grouped, unknown = group_by_service({key: each.value for key, each in tree.items()}, prefix)
    names = observe.names(grouped, states)
    catalogue = client.everything(observe.catalog_names(names))
    specs = specs_of(grouped)
    by_labels, _ = labelled.find(catalogue.entries, {*observe.catalog_names(specs)})
    shown = sorted({*names, *by_labels})
    nodes, alive = client.nodes(), client.alive_nodes()
    all_serving = announce.read_serving(client, shown, alive)
    lictor_nodes = responsibility.name_nodes(catalogue.entries.get("lictor", []))
    told = conditions.read(client, lictor_nodes & alive)
    acts = actors.read(client)
    sets = record.read_all(client, [name for name, text in specs.items() if b'"cluster"' in text])
    words_of_checks, foreign = CheckWords(client, context.node), conditions.list_foreign(told)
    scaling = autoscale_report.read(context, [name for name, text in specs.items() if b'"autoscale"' in text])
    is_any_paused = any(b'"pause"' in each.get("hold", b"") for each in grouped.values())
    pauses = paused.read_all(client, alive) if is_any_paused else {}
    lists = seeds.read_all(client) if any(b"{seeds:" in text for text in specs.values()) else {}
    details = dict[str, Details]()

    def read_row(name: str) -> Status | None:
        state = states.get(name, Stored()).state
        given = responsibility.read_desired(context, name, grouped.get(name, {}), state, specs)
        desired = labelled.choose(given, by_labels)
        overruled = labelled.describe_overruled(catalogue.entries, given)
        found = gather(time.time(), desired._replace(problems=(*desired.problems, *overruled)), state,
                       words_of_checks.put_into(observe.instances(catalogue.of(desired.catalog_name))), foreign)
        if desired is not given:  # as many as there are
            found = found._replace(labels_ask=True, desired=found.desired._replace(replicas=len(found.instances)))
        if desired.removed and not (found.instances and desired.spec and desired.spec.engine != "none"):
            return None
        serving, lost, by_instance = all_serving.get(name, announce.Serving([], []))
        found = found._replace(
            nginx_nodes=[node for node in serving if not (node in told and told[node].nginx.silence)],
            lost_nginx_nodes=lost,
            why_nobody=responsibility.describe_nobody(desired, found.instances, nodes, lictor_nodes, acts),
            no_answer=responsibility.describe_no_answer(desired, lictor_nodes, acts, alive),
            awaited=seeds.explain_wait(desired.spec and desired.spec.environment, lists),
            set_failure=words.describe_failure(sets[name].record.kept) if name in sets else "",
            scaling=autoscale_report.describe(scaling[name]) if name in scaling else "",
            unserved=conditions.describe(told, name, frozenset(serving)),
            unconfirmed=conditions.describe_unconfirmed(told, name),
            paused=paused.of_pause(pauses.get(name, {}), desired.pause) if desired.pause else {})
        entries = [entry for each in desired.catalog_names for entry in catalogue.of(each)]
        details[name] = Details(found, [row for row, _ in list_rows(
            words_of_checks.put_into(observe.instances(entries)), by_instance, foreign,
            read_roles(entries if desired.has_set else ()))],
            autoscale_report.describe_last(scaling[name]) if name in scaling else "")
        return make_row(found, conditions.list_decided(told, name))

    rows = []
    for name in shown:
        try:
            row = read_row(name)
        except Exception as error:  # a value that no rule foresees is the trouble of its own service
            row = Status(name, says="unreadable", problems=[observe.explain_broken(error)])
        rows += [row] if row else []
    rows += [Status(UNKNOWN, says="not read", problems=describe_unknown(unknown, prefix))] if unknown else []
    return Overview(rows, labelled.unrouted(catalogue.entries, {*observe.catalog_names(names), *by_labels}), details)


def make_row(facts: Facts, decided: Iterable[Decided]) -> Status:
    """Make the status of a service, of its facts and what nodes have decided beyond them."""
    desired, spec, summary = facts.desired, facts.spec, extend(service.sum_up(facts), facts, decided)
    routes = [f"{each.host}{each.path}" for each in spec.routes] if spec and not desired.removed else []
    image, engine, node = (spec.image, spec.engine, spec.node) if spec else ("", "", "")
    return Status(desired.name, 0 if desired.removed else desired.replicas, len(facts.receiving), len(facts.instances),
                  one_line(", ".join(facts.images)), engine, node, routes, facts.nginx_nodes or [],
                  one_line(summary.says), list(desired.problems), desired.color, facts.why_nobody, facts.unserved,
                  image, summary.severity, summary.is_unseen, {
                      node: {"waiting": waiting, "in_flight": in_flight}
                      for node, (waiting, in_flight) in facts.paused.items()})


def read_together(context: Context, names: Collection[str]) -> dict[str, Reading]:
    """Observe these services in a handful of requests, but for those of which that may not be the last word: the route
    is one of labels, or a consistent look has to confirm the plan."""
    prefix, client = context.settings.prefix, context.client
    keys = {key: entry.value for key, entry in client.tree(prefix, known_below(prefix)).items()}
    found, _ = observe.everything(context, client.everything(observe.catalog_names(names)), keys, names)
    return {name: each for name, each in found.items() if each.observation.desired.spec
            and not each.observation.desired.removed and not any(isinstance(act, Confirm) for act in each.actions)}


def decide_now(context: Context, name: str, reading: Reading | None = None) -> list[dict[str, Any]]:
    """Decide what a reconcile would do with the service, as in `reading` or else at this moment, and what it would
    leave, with reasons.

    Each action has service, kind, container ("": it concerns none) and reason. Kind "nobody" is no action: a wish
    stands, and no node carries it out.
    """
    reading = reading or observe.settled(context, name, {})
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


def complete(actions: list[dict[str, Any]], row: Status | None) -> list[dict[str, Any]]:
    """Add to a decision, in the form of actions, what no reconcile mends: where nginx does not serve a service, or else
    how it is, if nothing is decided although it is not well."""
    if row is None:
        return actions
    says = "; ".join(row.problems) if row.is_unseen else row.says
    is_untold = row.severity != Severity.WELL and not row.unserved and (not actions or row.engine == "none")
    amiss, unserved = [(AMISS, says)] if says and is_untold else [], [(UNSERVED, text) for text in row.unserved]
    return [*_as_actions(row.name, amiss), *actions, *_as_actions(row.name, unserved)]


def _as_actions(name: str, texts: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"service": name, "kind": kind, "container": "", "reason": text} for kind, text in texts]


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
