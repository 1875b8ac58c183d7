"""An HTTP server in this very process that answers with what it was sent, as an instance of a service."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab.serving import Serving

OWN_HEADERS = {"X-Frame-Options": "SAMEORIGIN", "X-Powered-By": "Books", "Cache-Control": "no-store"}


class Echo(Serving):
    """Answers with the path and the headers that it was sent; /silent is not answered until the end. `status` is that
    of each answer but for /broken."""

    def __init__(self, status: int = 200) -> None:
        self.ends = ends = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path.endswith("/silent"):
                    ends.wait(60)
                body = json.dumps({"path": self.path, "headers": dict(self.headers.items())}).encode()
                self.send_response(500 if self.path.endswith("/broken") else status)
                for name, value in {**OWN_HEADERS, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # nginx waited no longer
                    self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port: int = self.server.server_address[1]

    def __exit__(self, *arguments: object) -> None:
        self.ends.set()
        super().__exit__(*arguments)
