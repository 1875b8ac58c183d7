"""Numbers of what the last sweep saw: metrics.json in the state folder. The words of the check come of the same look.

Metrics are made of this file, so that a scrape asks neither Consul nor Docker, and a sweep that stays away is seen.
"""

import contextlib
import os
from collections.abc import Container, Iterable, Mapping

import msgspec

from lictor.adapters import clock, files, tally
from lictor.errors import Unavailable
from lictor.planner import breaker
from lictor.planner.summary.facts import Facts
from lictor.planner.summary.service import Severity, Summary
from lictor.reconcile.context import Context
from lictor.routing import live_peers, nginx_mode, route_store
from lictor.routing.live_peers import Waits
from lictor.spec.settings import Settings

_FILE = "metrics.json"


class Service(msgspec.Struct, frozen=True):
    """A service that this node acts for, or routes while nobody has to act for it."""

    desired: int
    passing: int
    severity: Severity
    is_held: bool
    is_releasing: bool
    has_failed_release: bool  # of what is desired now
    has_open_breaker: bool
    is_paused: bool = False  # an earlier version did not tell


class Seen(msgspec.Struct, frozen=True):
    """Numbers of one sweep."""

    node: str
    took_s: float
    nginx_answers: bool
    budget_used: int  # replacements on the whole fleet, within the time of this node's budget
    services: dict[str, Service] = {}
    waits: dict[str, Waits] = {}  # by service with `wait`, in this node's nginx


def note(context: Context, sums: Mapping[str, tuple[Facts, Summary]], unchanged: Iterable[str],
         known: Container[str], *, nginx_answers: bool, began_s: float) -> None:
    """Write what a sweep has summed up that began then, in seconds since the machine's start, and what the last one had
    of the services that are `unchanged` since; and forget the totals of services that are not `known` any more. Without
    `[metrics]` nothing is written."""
    settings = context.settings
    if not settings.metrics:
        return
    entry, now = context.client.get(breaker.KEY), clock.read(settings.state_dir)
    reservations = [context.clocks.reservation(each) for each in breaker.decode(entry.value if entry else None)]
    last = read(settings)
    kept = {name: last.services[name] for name in unchanged if name in last.services} if last else {}
    seen = Seen(context.node, round(clock.uptime_s() - began_s, 3), nginx_answers,
                breaker.count_used(reservations, now, settings.heal.per_s),
                kept | {name: _describe(facts, summary) for name, (facts, summary) in sums.items()},
                _read_waits(settings) if nginx_answers else {})
    files.write_atomic(os.path.join(settings.state_dir, _FILE), msgspec.json.encode(seen).decode(), mode=0o600,
                       durable=False)
    for name in ("actions", "releases"):
        tally.forget(name, known)


def read(settings: Settings) -> Seen | None:
    """Read what the last sweep saw; None if none has ended, or the file is damaged."""
    try:
        return msgspec.json.decode(files.read(os.path.join(settings.state_dir, _FILE)) or "", type=Seen)
    except (msgspec.DecodeError, RecursionError):
        return None


def _read_waits(settings: Settings) -> dict[str, Waits]:
    found = dict[str, Waits]()
    if settings.nginx and nginx_mode.read(settings).name == "live":
        with contextlib.suppress(Unavailable):  # it does not answer, which the check says
            for name in route_store.names(settings.state_dir):
                route = route_store.route(settings.state_dir, name)
                if route and any("wait" in each["options"] for each in route["routes"]):
                    found[name] = live_peers.read_waits(settings.nginx.conf_dir, name)
    return found


def _describe(facts: Facts, summary: Summary) -> Service:
    desired, release = facts.desired, facts.state.release
    return Service(0 if desired.removed else desired.replicas, len(facts.receiving), summary.severity,
                   bool(desired.why_held), release.rollout is not None,
                   release.failed is not None and release.failed.release == desired.release,
                   facts.state.breaker is not None, desired.is_paused)
