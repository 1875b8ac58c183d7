"""The smoke test of a new release: its path, asked on each new instance itself, before any of them gets traffic."""

import functools
import ipaddress
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lictor import errors, model
from lictor.adapters import http
from lictor.planner.members import Member
from lictor.spec import service_spec

_TIMEOUT_S = 5.0
_AT_ONCE = 8


def ask(spec: service_spec.Spec, instances: Sequence[Member]) -> dict[str, str]:
    """By container id: "" for an answer with status 2xx, else what came instead; only of those that pass."""
    asked = {each.container.id: each.instance for each in instances if each.passes and each.instance}
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return dict(zip(asked, pool.map(functools.partial(_ask, spec), asked.values()), strict=True))


def _ask(spec: service_spec.Spec, instance: model.Instance) -> str:
    headers = {"User-Agent": "lictor", **({"Host": spec.route.host} if spec.route and spec.route.host else {})}
    try:
        at = model.host_port(str(ipaddress.ip_address(instance.address)), instance.port)
        status = http.exchange("GET", f"http://{at}{spec.release.smoke}", headers=headers, body=None,
                                      timeout_s=_TIMEOUT_S).status
    except (errors.Unavailable, ValueError) as error:
        return f"does not answer: {error}"
    return "" if 200 <= status < 300 else f"answers {status}"
