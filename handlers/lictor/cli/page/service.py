"""The page of one service: its instances, what is live, where users find it, and its last events."""

import contextlib
import time
from typing import Any, NamedTuple

from lictor import model
from lictor.adapters.text import format_time, one_line
from lictor.cli import cluster_report, release_progress, service_keys, vantage
from lictor.cli.cluster_report import SetReport
from lictor.cli.service_keys import Existing
from lictor.errors import LictorError
from lictor.reconcile import conditions, history, observe
from lictor.reconcile.conditions import CheckWords
from lictor.reconcile.context import Context
from lictor.reconcile.status.instances import InstanceRow, list_rows
from lictor.reconcile.status.status_report import Status, describe_record
from lictor.routing import announce, live_peers, nginx_mode, route_store
from lictor.routing.tls import hosts
from lictor.spec.route import Route

_LAST_EVENTS = 5
_HTTP_PORT, _HTTPS_PORT = 80, 443


class Page(NamedTuple):
    """The page of a service."""

    row: Status
    instances: list[InstanceRow]
    release: str  # what is live, and what is under way
    urls: list[str]  # of this node's nginx,
    nginx: str  # whose mode it is, and why, and what waits in it; "": it does not route the service
    events: list[str]  # the last ones, oldest first
    members: SetReport | None  # of a set with state


def read(context: Context, row: Status) -> Page:
    """Read the page of a service that has this status."""
    service = service_keys.read_service(context.client, context.settings.prefix, row.name)
    service = service._replace(desired=observe.by_labels(service.desired, context))
    instances = CheckWords(context.client, context.node).put_into(observe.instances(
        entry for name in service.desired.catalog_names for entry in context.client.health(name)))
    client, alive = context.client, context.client.alive_nodes()
    served, foreign = announce.read_serving_of(client, row.name, alive), conditions.list_foreign(
        conditions.read(client, alive))
    rows = [each._replace(in_flight=_count_in_flight(context, row.name, instance))
            for each, instance in list_rows(instances, served.by_instance, foreign)]
    events = [describe_record(each).split("\n")[0] for each in history.read(client, row.name)[-_LAST_EVENTS:]]
    urls = _list_urls(context, service)
    return Page(row, rows, _describe_release(service, row), urls, _describe_nginx(context, row.name) if urls else "",
                events, _read_members(context, service))


def _read_members(context: Context, service: Existing) -> SetReport | None:
    """Read the members of a set with state; None: the service is none. Without Docker the rest can be shown."""
    if not service.desired.has_set:
        return None
    spec = service.desired.spec
    try:
        if spec and vantage.explain_elsewhere(context, service.desired):
            return cluster_report.read_from_consul(context, service.desired.name, spec.node)
        return cluster_report.read(context, service.desired.name)
    except LictorError as error:
        return SetReport(f"unknown: {error}", 0, "", [])


def as_tables(page: Page) -> list[dict[str, Any]]:
    """Return the page as programs get it: the status with what is below it, in a list as that of all services."""
    members = page.members
    return [{**page.row._asdict(), "instances": [each._asdict() for each in page.instances], "release": page.release,
            "urls": page.urls, "nginx": page.nginx, "events": page.events,
            **({"cluster": {**members._asdict(), "members": [each._asdict() for each in members.members]}}
               if members else {})}]


def _count_in_flight(context: Context, name: str, instance: model.Instance) -> int | None:
    settings = context.settings.nginx
    if not settings or nginx_mode.read(context.settings).name != "live":
        return None
    try:
        return live_peers.requests_at(settings.conf_dir, name, [instance])
    except LictorError:
        return None


def _describe_release(service: Existing, row: Status) -> str:
    """Say what is live, since when, and what `lictor rollback` would go back to; "" without a release on record."""
    release = service.state.release
    live, previous = (release.live or {}).get("image", ""), (release.previous or {}).get("image", "")
    if not live or not release.live_release:
        return ""
    if release_progress.is_unproven(service.desired, service.state):
        return one_line(f"{live} is the first one, and no instance of it has passed its check")
    since = f" since {format_time(release.switched_at)}" if release.switched_at else ""
    back = f"; `lictor rollback {row.name}` goes back to {previous}" if previous else ""
    rollout = release.rollout
    wished = f"; {row.desired_image} is released for {max(time.time() - rollout.began_at, 0):.0f} s" if rollout else ""
    return one_line(f"{live} is live{since}{wished}{back}")


def _describe_nginx(context: Context, name: str) -> str:
    """Say in which mode it is, and why; how many requests wait in it, or have, and for how long all have to."""
    settings, mode = context.settings.nginx, nginx_mode.read(context.settings)
    lines = [one_line(f"mode {mode.name}: {mode.why}")]
    if settings and mode.name == "live":
        with contextlib.suppress(LictorError):  # it does not answer, which the condition says
            if waiting := live_peers.count_waiting(settings.conf_dir, name):
                lines.append(f"{waiting} requests wait")
            if paused_s := live_peers.paused_s(settings.conf_dir, name):
                lines.append(f"paused for {paused_s} s more")
            if any(waits := live_peers.read_waits(settings.conf_dir, name)):
                lines.append(f"{sum(waits)} have waited, {waits.refused} of them in vain")
    return "; ".join(lines)


def _list_urls(context: Context, service: Existing) -> list[str]:
    """List where this node's nginx answers for the service, by the ports on which it listens."""
    spec, state_dir = service.desired.spec, context.settings.state_dir
    if not spec or not context.settings.nginx or not route_store.route(state_dir, service.desired.name):
        return []
    listeners, with_tls = sorted(route_store.listeners(state_dir)), hosts.list_in_force(context.settings.nginx.conf_dir)
    return [*dict.fromkeys(_make_url(route, *listener) for route in spec.routes
                           for listener in _choose_listeners(listeners, route.host, with_tls))]


def _make_url(route: Route, address: str, port: int) -> str:
    host = route.host or ("127.0.0.1" if address in ("", "::") else address)
    scheme = "https" if port == _HTTPS_PORT else "http"
    place = model.bracketed(host) if port in (_HTTP_PORT, _HTTPS_PORT) else model.host_port(host, port)
    return f"{scheme}://{place}{route.path}"


def _choose_listeners(listeners: list[tuple[str, int]], host: str, with_tls: list[str]) -> list[tuple[str, int]]:
    """Choose those of nginx for a host. If hosts of lictor's have TLS, port 443 is for those alone, and they are for
    that."""
    if not host or not with_tls:
        return listeners
    return [each for each in listeners if (host in with_tls) == (each[1] == _HTTPS_PORT)] or listeners
