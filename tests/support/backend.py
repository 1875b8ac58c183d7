"""An HTTP server in this very process that answers with its name, where a container would only take longer."""

import json
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab.serving import Serving


class Backend(Serving):
    """Answers every GET as the lab's books-service does; use as `with Backend("a") as backend`."""

    protocol = "HTTP/1.0"

    def __init__(self, name: str, port: int = 0) -> None:
        make_body = self.make_body

        class Handler(BaseHTTPRequestHandler):
            protocol_version = self.protocol

            def do_GET(self) -> None:
                body = make_body(self.headers)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.name = name
        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port: int = self.server.server_address[1]

    def make_body(self, _headers: Message) -> bytes:
        """Make the answer to a request with these headers."""
        return json.dumps({"instance": self.name, "boot": "1"}).encode()

