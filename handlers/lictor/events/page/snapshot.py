"""Snapshots of all services: read from Consul while somebody looks, and only when something has changed.

A snapshot that is old says so: if Consul does not answer, what was read last stays, with the failure.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from lictor import errors, model
from lictor.adapters import clock, log
from lictor.adapters.consul.changes import Changes
from lictor.events import timer
from lictor.events.page import troubles
from lictor.events.script import Call
from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.traffic import Slice
from lictor.reconcile import conditions
from lictor.reconcile.context import Context, connect
from lictor.reconcile.status import status_report
from lictor.reconcile.status.status_report import Details, Status
from lictor.routing.traffic import meter

_EVERY_S = 0.5
_AT_LEAST_EVERY_S = 10.0  # words of checks change without a number of Consul's
_WATCHED_S = 40.0  # so long after a request the next one is looked out for: a page asks again within 25 s
_FRESH_S = 3.0
_PATIENCE_S = 15.0
_LATE_S = 45.0


class Node(NamedTuple):
    """A node of lictor, as it tells of itself."""

    name: str
    answers: bool  # to Consul
    state: str  # well, attention or failed
    nginx: str  # its mode, or what is wrong with it
    containers: str  # its engine, and what its registrar has registered
    swept: str  # how long ago, as far as that is known
    lines: list[str]  # what else it has to tell


class Snapshot(NamedTuple):
    """All that is shown, as it was at a time."""

    version: int
    at: float
    node: str  # whose agent was asked
    rows: list[Status]
    details: Mapping[str, Details]
    unrouted: list[str]
    pending: list[str]  # what nodes wait for, or hold, each line with its service before it
    nodes: list[Node]
    traffic: Mapping[str, list[Slice]]
    failure: str = ""  # why it is not of now


class Source:
    """The newest snapshot, kept fresh by a thread as long as somebody asks."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._changes = Changes((call.settings.prefix, "lictor/"), token_file=call.token_file)
        self._news = threading.Condition()
        self._latest: Snapshot | None = None
        self._failure = ""
        self._stamp: tuple[int, ...] | None = None
        self._read_at = self._looked_at = self._asked_at = -3600.0
        threading.Thread(target=self._keep, daemon=True).start()

    def latest(self) -> Snapshot:
        """Return what is so now, or was when Consul answered last; Unavailable if it never did."""
        with self._news:
            asked_at = self._asked_at = time.monotonic()
            self._news.notify_all()
            self._news.wait_for(lambda: asked_at - self._looked_at < _FRESH_S, _PATIENCE_S)
            if self._latest is None:
                raise errors.Unavailable(self._failure or "Consul has not answered yet")
            return self._latest

    def wait(self, version: int, timeout_s: float) -> None:
        """Wait for another snapshot than this one."""
        with self._news:
            self._news.wait_for(lambda: self._latest is not None and self._latest.version != version, timeout_s)

    @property
    def version(self) -> int:
        latest = self._latest
        return latest.version if latest else 0

    def _keep(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: time.monotonic() - self._asked_at < _WATCHED_S)
            began = time.monotonic()
            self._look()
            time.sleep(max(_EVERY_S, time.monotonic() - began))

    def _look(self) -> None:
        found: Snapshot | None = None
        failure = ""
        try:
            stamp = self._changes.stamp()
            is_due = time.monotonic() - self._read_at >= _AT_LEAST_EVERY_S
            if stamp != self._stamp or is_due or self._failure or self._latest is None:
                found = read(self._call, self._latest)
                self._stamp, self._read_at = stamp, time.monotonic()
        except Exception as error:  # of any kind: the next look comes in a second
            failure = str(error) if isinstance(error, errors.LictorError) else repr(error)
            if failure != self._failure:
                log.event("page", outcome="unknown", reason=failure)
        with self._news:
            self._failure, self._looked_at = failure, time.monotonic()
            newest = found or self._latest
            if newest and (found or newest.failure != failure):
                self._latest = newest._replace(failure=failure, version=self.version + 1)
            self._news.notify_all()


def read(call: Call, before: Snapshot | None) -> Snapshot:
    """Read all services and nodes."""
    context, now = connect(call.settings, call.token_file), time.time()
    overview = status_report.read_overview(context)
    told = conditions.read(context.client, None)
    by_text = troubles.read(context, overview.rows)
    pending = sorted({line for each in told.values() if not each.is_silent for line in each.pending})
    return Snapshot(0, now, context.node, overview.rows, overview.details, overview.unrouted, pending,
                    _read_nodes(context, told, by_text), _read_traffic(context, before, now))


def _read_traffic(context: Context, before: Snapshot | None, now: float) -> Mapping[str, list[Slice]]:
    """Read what the nodes have counted; they tell it every ten seconds. If it cannot be had, what was known stays."""
    by_service = dict[str, dict[str, list[Slice]]]()
    try:
        tree = context.client.tree(meter.PREFIX, lambda key: False)
    except errors.LictorError:
        return before.traffic if before else {}
    for key, entry in tree.items():
        name, _, node = key.removeprefix(meter.PREFIX).partition("/")
        by_service.setdefault(name, {})[node] = traffic.decode(entry.value)
    return {name: traffic.combine(nodes, now).slices for name, nodes in by_service.items()}


def _read_nodes(context: Context, told: Mapping[str, conditions.Told], by_text: Mapping[str, list[str]]) -> list[Node]:
    alive = {entry["Node"]["Node"]: entry for entry in context.client.health("lictor")}
    return [_describe_node(context, name, entry, told.get(name),
                           [text for text, nodes in by_text.items() if name in nodes])
            for name, entry in sorted(alive.items())]


def _describe_node(context: Context, name: str, entry: Mapping[str, Any], told: conditions.Told | None,
                   lines: list[str]) -> Node:
    """Describe a node. What one that is silent told before says nothing of now."""
    checks = entry["Checks"]
    answers = not any(check["CheckID"] == model.SERF_HEALTH and check["Status"] != "passing" for check in checks)
    is_known = answers and told is not None and not told.is_silent
    silence, about = (told.nginx.silence, told.about) if told and is_known else ("", {})
    has_failed = not answers or bool(silence) or any(check["Status"] == "critical" for check in checks)
    state = "failed" if has_failed else "well" if is_known and not lines else "attention"
    return Node(name, answers, state, silence or _describe_nginx(about), _describe_containers(about),
                _describe_sweep(context, name, told, answers), lines)


def _describe_nginx(about: Mapping[str, str]) -> str:
    if "nginx" not in about:
        return "unknown"
    return f"answers, mode {about['nginx']}" if about["nginx"] else "none"


def _describe_containers(about: Mapping[str, str]) -> str:
    if "registered" in about:
        return f"{about['registered']} registered, {about.get('engine', '')}"
    return "no registrar" if about else "unknown"


def _describe_sweep(context: Context, name: str, told: conditions.Told | None, answers: bool) -> str:
    """Say how old the last sweep is. Another node's clock and files say nothing here, but its silence does."""
    if name == context.node and (summary := timer.read(context.settings)):
        age_s = clock.read(context.settings.state_dir).age_s(summary.at)
        failed = f"; the last one failed: {summary.error}" if summary.error else ""
        return f"{'late: ' if age_s > _LATE_S else ''}within {10 * (int(age_s // 10) + 1)} s{failed}"
    if told is None or not answers:
        return "unknown" if told else "unknown: no sweep of it has told anything"
    return "over a minute ago" if told.is_silent else "within a minute"
