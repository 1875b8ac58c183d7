"""HTTP servers in this very process: each is served by a thread of its own while it is used as a context."""

import socketserver
import sys
import threading
from http.server import HTTPServer
from typing import Any, Self

_PENDING = 128  # of five, some would have to ask again a second later, where this process gets its turn late


class Serving:
    """Use as `with ...:`; a subclass makes the `server`, which listens from then on."""

    server: HTTPServer

    def __enter__(self) -> Self:
        self.server.socket.listen(_PENDING)
        ignore_leaving(self.server)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def ignore_leaving(server: socketserver.BaseServer) -> None:
    """Have a server say nothing of clients that leave before the end, which the next test would find on its stderr."""
    report = server.handle_error

    def handle_error(request: Any, address: Any) -> None:
        if not isinstance(sys.exception(), OSError):
            report(request, address)
    server.handle_error = handle_error  # type: ignore[method-assign, assignment]
