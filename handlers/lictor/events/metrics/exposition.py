"""Metrics of this node in Prometheus' text format, from files of its state folder alone.

`[metrics] textfile` gets them from each sweep, `/metrics` at each scrape. Nothing that a container or a client chooses
is a label, so that their number stays that of services.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest

import lictor
from lictor.adapters import files, heartbeat, log, tally
from lictor.adapters.tally import BUCKETS_S, Tally, Times
from lictor.events import timer
from lictor.events.metrics import seen
from lictor.events.metrics.seen import Seen
from lictor.planner.autoscale import traffic
from lictor.planner.summary.service import Severity
from lictor.routing import route_store
from lictor.routing.live_peers import Waits
from lictor.routing.traffic import meter
from lictor.routing.traffic.windows import Totals
from lictor.spec.settings import Settings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
RELOADS = ("confirmed", "unconfirmed", "rolled_back")
_REQUESTS = (("errors", "error"), ("unanswered", "unanswered"), ("cut", "cut"))


class _Families:
    """Families in the form that prometheus-client takes a collector."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def text(settings: Settings) -> str:
    """Render all metrics of this node."""
    found, totals = seen.read(settings), tally.read(settings.state_dir)
    return generate_latest(_Families([
        *_of_node(settings, found, totals), *(_of_services(found) if found else ()),
        *_of_routes(settings.state_dir), *(_of_waits(found) if found else ()), *_of_work(totals),
        *_of_traffic(meter.read_totals(settings.state_dir))])).decode()


def write_textfile(settings: Settings, path: str) -> None:
    """Write the file that node_exporter reads. A failure keeps no sweep from healing, and the file tells its age."""
    try:
        files.write_atomic(path, text(settings), durable=False)
    except Exception as error:  # of any kind, as above
        log.event("metrics", outcome="failed", path=path, reason=repr(error))


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value=value)


def _labelled(kind: Any, name: str, about: str, labels: Iterable[str],
              values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family: Metric = kind(name, about, labels=list(labels))
    for given, value in values:
        family.add_metric(list(given), value)  # type: ignore[attr-defined]  # which all kinds have
    return family


def _of_node(settings: Settings, found: Seen | None, totals: Tally) -> Iterator[Metric]:
    """List what is known of the node itself. A time is 0 if there was none."""
    summary, beat = timer.read(settings), heartbeat.read(settings.state_dir)
    yield _labelled(GaugeMetricFamily, "lictor_build_info", "Version of lictor, and this node's name in Consul.",
                    ("version", "node"), [((lictor.__version__, found.node if found else ""), 1)])
    yield _gauge("lictor_last_sweep_timestamp_seconds", "When the last sweep ended that did not fail.",
                 summary.at if summary else 0)
    yield _gauge("lictor_last_sweep_failed", "1 if the last sweep failed, so that the rest is older.",
                 float(bool(summary and summary.error)))
    yield _gauge("lictor_last_sweep_duration_seconds", "How long the last sweep took.", found.took_s if found else 0)
    yield _labelled(GaugeMetricFamily, "lictor_sweep_lines", "Lines of the check by kind: problem (refused input, an "
                    "open breaker), pending (to be done, on hold), trouble (of this node).", ("kind",), [
                        (("problem",), len(summary.problems) if summary else 0),
                        (("pending",), len(summary.pending) if summary else 0),
                        (("trouble",), len(summary.trouble) if summary else 0)])
    if settings.nginx:
        yield _gauge("lictor_nginx_up", "1 if this node's nginx answered the last sweep, and takes changes.",
                     float(bool(found and found.nginx_answers)))
    if beat:
        yield _gauge("lictor_registrar_heartbeat_timestamp_seconds", "The registrar's last sign of life.", beat.at)
        yield _gauge("lictor_registrar_registered_containers", "Containers that the registrar has registered.",
                     beat.registered)
        yield _gauge("lictor_registrar_refused_containers", "Containers that are not registered as they ask.",
                     beat.refused)
        yield _gauge("lictor_registrar_failures", "Failures that the registrar tells now.", len(beat.failures))
    yield _gauge("lictor_budget_limit", "Replacements of running containers that the fleet's budget allows.",
                 settings.heal.budget)
    yield _gauge("lictor_budget_used", "Replacements within the budget's time.", found.budget_used if found else 0)
    if totals.since:
        yield _gauge("lictor_counters_since_timestamp_seconds", "Since when this node counts actions, releases and "
                     "reloads; later than before if the totals were lost.", totals.since)


def _of_services(found: Seen) -> Iterator[Metric]:
    """List what the last sweep saw of the services that this node acts for, or routes while nobody has to act."""
    for name, about, field in (
            ("desired_instances", "Instances that are desired.", "desired"),
            ("passing_instances", "Instances of the live release that may receive traffic.", "passing"),
            ("held", "1 while a person holds the service.", "is_held"),
            ("paused", "1 while a person has all of its requests wait.", "is_paused"),
            ("breaker_open", "1 while the circuit breaker of the service is open.", "has_open_breaker"),
            ("release_running", "1 while a release is under way.", "is_releasing"),
            ("release_failed", "1 while the desired release is one that failed.", "has_failed_release")):
        yield _labelled(GaugeMetricFamily, f"lictor_service_{name}", about, ("service",), [
            ((service,), float(getattr(each, field))) for service, each in sorted(found.services.items())])
    yield _labelled(GaugeMetricFamily, "lictor_service_state", "1 for how the service is, as lictor status says: well, "
                    "working, attention or failed; 0 for the others.", ("service", "state"), [
                        ((service, severity), float(each.severity == severity))
                        for service, each in sorted(found.services.items()) for severity in Severity])


def _of_routes(state_dir: str) -> Iterator[Metric]:
    published = {name: found for name in route_store.names(state_dir)
                 if (found := route_store.published(state_dir, name))}
    yield _labelled(GaugeMetricFamily, "lictor_service_serving_instances",
                    "Instances that this node's nginx sends requests to.", ("service",),
                    [((name,), len(each.instances)) for name, each in sorted(published.items())])
    yield _labelled(GaugeMetricFamily, "lictor_service_confirmed", "1 if this node's nginx has confirmed them.",
                    ("service",), [((name,), float(each.confirmed)) for name, each in sorted(published.items())])


def _of_waits(found: Seen) -> Iterator[Metric]:
    yield _labelled(CounterMetricFamily, "lictor_waits", "Requests that have waited in nginx for an instance: "
                    "served, refused (their time was over, or too many waited), or left by their client.",
                    ("service", "outcome"), [
                        ((service, outcome), getattr(waits, outcome))
                        for service, waits in sorted(found.waits.items()) for outcome in Waits._fields])


def _of_work(totals: Tally) -> Iterator[Metric]:
    """List what this node has done since its totals began."""
    for name, about, labels in (
            ("actions", "Acts on services that ended, by kind and outcome.", ("service", "kind", "outcome")),
            ("releases", "Releases that ended, by outcome: done or failed.", ("service", "outcome")),
            ("reloads", "Reloads of nginx: confirmed, unconfirmed or rolled_back.", ("outcome",))):
        counts = {key[1:]: total for key, total in totals.counts.items()
                  if key[0] == name and len(key) == len(labels) + 1}
        if name == "reloads":  # an increase is seen of what was 0 before
            counts = dict.fromkeys(((outcome,) for outcome in RELOADS), 0) | counts
        yield _labelled(CounterMetricFamily, f"lictor_{name}", about, labels, sorted(counts.items()))
    for name, metric, about in (
            ("reload", "reload_duration", "From new files to nginx's confirmation that it serves them."),
            ("confirmed", "event_to_confirmed", "From an event that changed peers to nginx's confirmation.")):
        family = HistogramMetricFamily(f"lictor_{metric}_seconds", about, labels=[])
        times = totals.times.get(name, Times())
        family.add_metric([], _cumulated(times.counts), times.sum_s)
        yield family


def _of_traffic(by_service: Mapping[str, Totals]) -> Iterator[Metric]:
    """List what this node's nginx has counted of measured services. Its buckets are 5 % wide, and are put into those of
    Prometheus' client by their middle."""
    yield _labelled(CounterMetricFamily, "lictor_requests", "Requests by what became of them: answered (below 500), "
                    "error (500 and more), unanswered (no instance could be asked), cut (the client went away).",
                    ("service", "outcome"), [each for name, totals in by_service.items() for each in [
                        ((name, "answered"), sum(totals.times.values())),
                        *(((name, outcome), getattr(totals, field)) for field, outcome in _REQUESTS)]])
    yield _labelled(CounterMetricFamily, "lictor_retries", "Tries that failed before another instance was asked.",
                    ("service",), [((name,), totals.retries) for name, totals in by_service.items()])
    family = HistogramMetricFamily("lictor_response_duration_seconds", "Response times of answered requests, to 3 %.",
                                   labels=["service"])
    for name, totals in by_service.items():
        counts = [0] * (len(BUCKETS_S) + 1)
        for number, count in totals.times.items():
            counts[tally.place(traffic.middle_s(number))] += count
        family.add_metric([name], _cumulated(counts), sum(
            count * traffic.middle_s(number) for number, count in totals.times.items()))
    yield family


def _cumulated(counts: Iterable[int]) -> list[tuple[str, float]]:
    """Turn the counts of buckets into those of all that stay within, as Prometheus has them."""
    total, found = 0, list[tuple[str, float]]()
    for bound, count in zip([*map(str, BUCKETS_S), "+Inf"], counts, strict=True):
        total += count
        found.append((bound, total))
    return found
