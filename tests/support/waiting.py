"""Requests that wait in nginx, and an instance for which they do."""

import http.client
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lictor.routing import live_peers, nginx_socket
from lictor.spec.settings import Settings

from lab.daemon import wait_for
from lab.nginx import Nginx
from lab.serving import Serving
from support.routed import nginx_of

NAME = "books"
Answer = tuple[int, str]


class Instance(Serving):
    """Answers with method, path and body on a given port; /cut is cut off unanswered."""

    def __init__(self, port: int) -> None:
        self.asked = asked = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                asked.append(body or self.path)
                if self.path.endswith("/cut"):
                    return
                text = f"{self.command} {self.path} {body}".encode()
                self.send_response(502 if self.path.endswith("/bad") else 200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            allow_reuse_address, daemon_threads = True, True

        self.server = Server(("127.0.0.1", port), Handler)


def ask(nginx: Nginx, path: str = "/books", body: str | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=120)
    try:
        connection.request("GET" if body is None else "POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Retry-After") or answer.read().decode()
    finally:
        connection.close()


def waiting(settings: Settings) -> int:
    """Count the requests that wait, as both ways to ask nginx show it."""
    conf_dir = nginx_of(settings).conf_dir
    number = live_peers.count_waiting(conf_dir, NAME)
    *_, last = nginx_socket.ask(conf_dir, "GET", f"/live/{NAME}", timeout_s=10)[1].splitlines()
    return number if last.endswith("requests wait") == (number > 0) else -1


def wait_until_waiting(settings: Settings, number: int) -> None:
    wait_for(lambda: waiting(settings) == number, f"{number} requests wait")


def wait_until_waited(settings: Settings, *, served: int = 0, refused: int = 0, left: int = 0) -> None:
    """Wait until so many requests have waited and are over; nginx counts one just after its answer."""
    told = served, refused, left
    wait_for(lambda: live_peers.read_waits(nginx_of(settings).conf_dir, NAME) == told, f"{told} are told")


def results(asked: list[Future[Answer]]) -> list[Answer]:
    return [each.result() for each in asked]
