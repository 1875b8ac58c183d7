"""How long the old workers of nginx may work after a reload, and what that means for drains and websockets.

Each change of peers is a reload in mode reload: the old workers finish their requests, and end. Until then they have
what nginx was before.
"""

import re

from lictor import errors
from lictor.adapters.consul.client import Client
from lictor.cli.setup.findings import Remark, Untested
from lictor.planner.desired import specs_of
from lictor.planner.service_state import State
from lictor.reconcile import responsibility
from lictor.reconcile.context import Context
from lictor.routing import nginx
from lictor.routing.conf import parser
from lictor.spec.keys import group_by_service, known_below
from lictor.spec.settings import Nginx, Settings

_DIRECTIVE = "worker_shutdown_timeout"
_UNITS_S = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "M": 2592000.0,
            "y": 31536000.0}
_PART = re.compile(r"(\d+)(ms|[smhdwMy]?)\s*")


def examine(settings: Settings, server: Nginx, client: Client | None) -> str:
    """Compare nginx's own limit with the longest drain; raises Remark if requests or memory suffer by it."""
    if not nginx.can_validate_main_conf(server):
        raise Untested("only root can read all of the configuration")
    try:
        given = read_timeout(nginx.dump(server))
    except ValueError as error:
        raise Untested(f"what nginx prints of its configuration {error}") from error
    if not parse_time_s(given):
        raise Remark(f"{_DIRECTIVE} is not set: after a reload an old worker stays until its last connection has "
                     "ended. Each websocket that stays open keeps the memory of one", _remedy(server))
    try:
        drains = _read_drains(settings, client)
    except errors.LictorError as error:
        raise Remark(f"{_DIRECTIVE} is {given}; the drains that it is to be compared with are not known: {error}"
                     ) from error
    try:
        return judge(given, drains)
    except Remark as error:
        raise Remark(str(error), _remedy(server)) from error


def _remedy(server: Nginx) -> str:
    return f"at the top of {server.main_conf}: worker_shutdown_timeout 60s; and no less than the longest drain"


def judge(given: str, drains: dict[str, float]) -> str:
    """Say what a limit means for services with these drains; raises Remark if it cuts one."""
    cut = {name: drain_s for name, drain_s in drains.items() if drain_s > parse_time_s(given)}
    if cut:
        name = max(cut, key=lambda each: (cut[each], each))
        more = f", {len(cut) - 1} more for longer than {given}" if cut.keys() > {name} else ""
        raise Remark(f"{_DIRECTIVE} is {given}, and {name} drains for up to {cut[name]:g} s{more}: any change of any "
                     f"service cuts requests that then take longer than {given}. It ends websockets, too")
    return f"{_DIRECTIVE} is {given}, and no drain is longer. Websockets end so long after any change of any service"


def read_timeout(text: str) -> str:
    """Read the directive out of a whole configuration; "" if it is not there."""
    found = [each.arguments for each in parser.directives(text) if each.words[:1] == [_DIRECTIVE]]
    return " ".join(found[-1]) if found else ""


def parse_time_s(text: str) -> float:
    """Read a time as nginx writes it, such as 1m 30s; 0 for none."""
    return sum(int(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))


def _read_drains(settings: Settings, client: Client | None) -> dict[str, float]:
    if client is None:
        raise errors.Unavailable("Consul is not reached")
    context = Context(settings, client, client.agent().name)
    tree = client.tree(settings.prefix, known_below(settings.prefix))
    grouped, _ = group_by_service({key: entry.value for key, entry in tree.items()}, settings.prefix)
    specs = specs_of(grouped)
    services = (responsibility.read_desired(context, name, grouped[name], State(), specs) for name in grouped)
    return {service.spec.name: service.spec.drain for service in services if service.spec and not service.removed}
