"""One HTTP exchange, wherever in the lab the server is."""

import contextlib
import http.client
from collections.abc import Mapping

from lab.netns import inside


def ask(address: str, method: str, target: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None,
        netns: str = "", timeout_s: float = 10) -> tuple[int, str]:
    """Send a request on a fresh connection to HOST:PORT, as seen from the network namespace; status and body."""
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    with inside(netns), contextlib.closing(connection):
        connection.request(method, target, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
