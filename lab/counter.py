"""A proxy on loopback that counts the HTTP requests to a Consul agent, as they are on the wire."""

import http.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab.serving import Serving


class Counter(Serving):
    """Passes all on to `target` (HOST:PORT) and notes it in `requests`; use as `with Counter(...) as counter`."""

    def __init__(self, target: str) -> None:
        noted: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                noted.append(f"{self.command} {self.path}")
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection = http.client.HTTPConnection(target, timeout=60)
                try:
                    connection.request(self.command, self.path, body or None, dict(self.headers))
                    answer = connection.getresponse()
                    content = answer.read()
                finally:
                    connection.close()
                self.send_response_only(answer.status)
                for key, value in answer.getheaders():
                    if key not in ("Connection", "Content-Length", "Transfer-Encoding"):
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_PUT = do_POST = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.requests = noted
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
