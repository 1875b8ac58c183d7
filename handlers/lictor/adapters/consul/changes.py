"""Consul's own numbers of its changes: cheap to ask for, where all that may have changed is long to read."""

import os
from collections.abc import Mapping

from lictor.adapters.consul import transport
from lictor.adapters.consul.environment import Source

_TIMEOUT_S = 5.0


class Changes:
    """Asks for the index of the last change of checks, of services and of keys below some prefixes."""

    def __init__(self, prefixes: tuple[str, ...], *, token_file: str | None = None,
                 environ: Mapping[str, str] = os.environ) -> None:
        self._http = transport.Client(Source(environ, token_file), timeout_s=_TIMEOUT_S)
        keys = (("keys", "1"), ("separator", "/"))  # the answer is short, and its index that of all keys below
        self._asked = (("/v1/health/state/critical", ()), ("/v1/catalog/services", ()),
                       *((f"/v1/kv/{prefix}", keys) for prefix in prefixes))

    def stamp(self) -> tuple[int, ...]:
        """Return what is equal as long as nothing has changed. Raises as the client does."""
        return tuple(self._http.get(_read_index, path, params=list(params)) for path, params in self._asked)


def _read_index(answer: transport.Response) -> int:
    return int(answer.headers["X-Consul-Index"])
