"""The smoke test of a new release: a GET of its path at each new instance, before any of them gets traffic."""

import functools
import ipaddress
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lictor import errors, model
from lictor.adapters import http
from lictor.planner.members import Member, registrations
from lictor.planner.observation import Observation
from lictor.spec import service_spec
from lictor.spec.locations import ANY_HOST

_TIMEOUT_S = 5.0
_AT_ONCE = 8


def run(spec: service_spec.Spec, members: Sequence[Member], observation: Observation) -> dict[str, str]:
    """Test the instances that pass their checks, each at all of its registrations for TCP; by container id "" for a
    status 2xx, else the first failure."""
    tested = [(member.container.id, each) for member in members if member.passes
              for each in registrations(member, observation) if not each.is_udp]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        results = pool.map(functools.partial(_test, spec), [each for _, each in tested])
        failures: dict[str, str] = {}
        for (container_id, _), failure in zip(tested, results, strict=True):
            failures[container_id] = failures.get(container_id) or failure
        return failures


def _test(spec: service_spec.Spec, instance: model.Instance) -> str:
    host = next((each.host for each in spec.routes if each.host not in ("", ANY_HOST)), "")
    headers = {"User-Agent": "lictor", **({"Host": host} if host else {})}
    try:
        host_port = model.host_port(str(ipaddress.ip_address(instance.address)), instance.port)
        status = http.exchange("GET", f"http://{host_port}{spec.release.smoke}", headers=headers, body=None,
                               timeout_s=_TIMEOUT_S).status
    except (errors.Unavailable, ValueError) as error:
        return f"does not answer: {error}"
    return "" if 200 <= status < 300 else f"answers {status}"
