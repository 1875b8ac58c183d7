"""The smoke test of a new release: its path, asked on each new instance itself, before any of them gets traffic."""

import functools
import http.client
import ipaddress
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lictor import model, policy
from lictor.observation import Member

_TIMEOUT_S = 5.0
_AT_ONCE = 8


def ask(spec: policy.Spec, instances: Sequence[Member]) -> dict[str, str]:
    """By container id: "" for an answer with status 2xx, else what came instead; only of those that pass."""
    asked = {each.container.id: each.instance for each in instances if each.passes and each.instance}
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return dict(zip(asked, pool.map(functools.partial(_ask, spec), asked.values()), strict=True))


def _ask(spec: policy.Spec, instance: model.Instance) -> str:
    try:
        connection = http.client.HTTPConnection(str(ipaddress.ip_address(instance.address)), instance.port,
                                                timeout=_TIMEOUT_S)
        headers = {"User-Agent": "lictor", **({"Host": spec.route.host} if spec.route and spec.route.host else {})}
        try:
            connection.request("GET", spec.release.smoke, headers=headers)
            status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"does not answer: {error}"
    return "" if 200 <= status < 300 else f"answers {status}"
