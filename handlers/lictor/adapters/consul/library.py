"""python-consul (or py-consul, which has the same import name) on an HTTP client that is safe to rely on.

Both libraries' own clients wait for ever, put the token into the query, and obey proxies and redirects.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import consul
import consul.base

from lictor.adapters.consul import transport

T = TypeVar("T")


class _NoEnvironment:
    """The libraries' `os`: lictor reads the variables itself, and python-consul would fail on every form of
    CONSUL_HTTP_ADDR but host:port. If it were unset meanwhile, other threads would see that."""

    @staticmethod
    def getenv(_name: str, default: str | None = None) -> str | None:
        return default


consul.base.os = _NoEnvironment


class _Hooks(transport.Client):
    """The client as the library calls it, with the library's errors translated."""

    def _ask(self, method: str, callback: Callable[[transport.Response], T], *request: Any) -> T:
        def read(response: transport.Response) -> T:
            try:
                return callback(response)
            except consul.NotFound as error:
                raise transport.Gone(str(error)) from error
            except consul.ConsulException as error:
                raise ValueError(str(error)) from error

        return super()._ask(method, read, *request)


class Consul(consul.Consul):  # type: ignore[misc]
    """The library's endpoints on our client. No token reaches the library: the client sends it, in a header."""

    def __init__(self, client: transport.Client) -> None:
        self._hooks = _Hooks(client.source, timeout_s=client.timeout_s)
        super().__init__()
        self.token = None

    def http_connect(self, *_: object) -> transport.Client:
        """Serve py-consul, which calls this hook."""
        return self._hooks

    connect = http_connect  # the hook of python-consul
