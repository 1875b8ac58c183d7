"""The smoke test of a new release: a GET of its path at each new instance, before any of them gets traffic."""

import functools
import ipaddress
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lictor import errors, model
from lictor.adapters import http
from lictor.planner.members import Member
from lictor.spec import service_spec
from lictor.spec.locations import ANY_HOST

_TIMEOUT_S = 5.0
_AT_ONCE = 8


def run(spec: service_spec.Spec, members: Sequence[Member]) -> dict[str, str]:
    """Test the instances that pass their checks; by container id "" for a status 2xx, else the failure."""
    tested = {member.container.id: member.instance for member in members if member.passes and member.instance}
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return dict(zip(tested, pool.map(functools.partial(_test, spec), tested.values()), strict=True))


def _test(spec: service_spec.Spec, instance: model.Instance) -> str:
    host = spec.route.host if spec.route and spec.route.host != ANY_HOST else ""
    headers = {"User-Agent": "lictor", **({"Host": host} if host else {})}
    try:
        host_port = model.host_port(str(ipaddress.ip_address(instance.address)), instance.port)
        status = http.exchange("GET", f"http://{host_port}{spec.release.smoke}", headers=headers, body=None,
                               timeout_s=_TIMEOUT_S).status
    except (errors.Unavailable, ValueError) as error:
        return f"does not answer: {error}"
    return "" if 200 <= status < 300 else f"answers {status}"
