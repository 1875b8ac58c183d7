"""HTTP servers in this very process: each is served by a thread of its own while it is used as a context."""

import threading
from http.server import HTTPServer
from typing import Self


class Serving:
    """Use as `with ...:`; a subclass makes the `server`, which listens from then on."""

    server: HTTPServer

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
