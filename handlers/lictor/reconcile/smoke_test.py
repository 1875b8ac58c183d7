"""The smoke test of a new release: a GET of its path at each new instance, before any of them gets traffic."""

import functools
import ipaddress
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lictor import errors, model
from lictor.adapters import http
from lictor.planner.members import Member, registrations
from lictor.planner.observation import Observation
from lictor.spec import service_spec
from lictor.spec.locations import ANY_HOST
from lictor.spec.route import Route

_TIMEOUT_S = 5.0
_AT_ONCE = 8


def run(spec: service_spec.Spec, members: Sequence[Member], observation: Observation,
        trusted_ca: str) -> dict[str, str]:
    """Test the instances that pass their checks, each at all of its registrations for TCP; by container id "" for a
    status 2xx, else the first failure. They are asked by http or https, as nginx asks them."""
    tested = [(member.container.id, each) for member in members if member.passes
              for each in registrations(member, observation) if not each.is_udp]
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        results = pool.map(functools.partial(_test, spec, trusted_ca), [each for _, each in tested])
        failures: dict[str, str] = {}
        for (container_id, _), failure in zip(tested, results, strict=True):
            failures[container_id] = failures.get(container_id) or failure
        return failures


def _test(spec: service_spec.Spec, trusted_ca: str, instance: model.Instance) -> str:
    host = next((each.host for each in spec.routes if each.host not in ("", ANY_HOST)), "")
    headers = {"User-Agent": "lictor", **({"Host": host} if host else {})}
    try:
        endpoint = http.Endpoint(str(ipaddress.ip_address(instance.address)), instance.port)
        for route in spec.routes[:1]:  # the others have the same scheme
            if route.scheme == "https":
                endpoint = endpoint._replace(tls=_make_context(route, trusted_ca), server_name=route.tls_name)
        status = http.exchange_with(endpoint, "GET", spec.release.smoke, headers=headers, body=None,
                                    timeout_s=_TIMEOUT_S).status
    except (errors.Unavailable, errors.Refused, ValueError) as error:
        return f"does not answer: {error}"
    return "" if 200 <= status < 300 else f"answers {status}"


def _make_context(route: Route, trusted_ca: str) -> ssl.SSLContext:
    """Make a context that takes the certificates which nginx takes; raises Refused if the CAs cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if route.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        else:
            context.load_verify_locations(trusted_ca)
    except OSError as error:  # SSLError is one
        raise errors.Refused(f"{trusted_ca}, by which its certificate is verified: {error.strerror}") from error
    return context
