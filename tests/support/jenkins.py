"""A Jenkins on loopback, as far as starting builds from scripts and waiting for them goes.

It keeps what Jenkins' documentation and sources say of that:

- Basic authentication by a user's id and API token, or password; 401 for a wrong one, 403 for who gives none.
- With CSRF protection on, `/crumbIssuer/api/json` hands out a crumb and names the header that it goes into, and sets a
  session's cookie. A POST without a crumb, or with one of another session, is 403. A crumb is good in its session only;
  who authenticates with an API token needs none (since 2.96), who gives a password does. With it off, the crumb
  issuer is 404.
- A POST to a job's `buildWithParameters` is 201, with the item of the queue as `Location`, under Jenkins' own name for
  itself. Parameters that the job does not define are left out; those that are not given have their default. An item
  equal to one that still waits is that one. GET is 405. An unknown job is 404, a disabled one 409, one without
  parameters an internal error, and `build` of one with parameters 400 without Jenkins' own form. What a plugin refuses
  to queue is 302 to the job.
- `/queue/item/N/api/json` says `why` it waits (the quiet period first), then has the `executable` with its number and
  url; a cancelled one says so. A few minutes after it left the queue it is 404.
- A build's `/api/json?tree=building,result` has no result while it is building, then SUCCESS, UNSTABLE, FAILURE,
  NOT_BUILT or ABORTED; `consoleText` is its log.
- While it starts, everything is 503.
"""

import base64
import json
import re
import secrets
import threading
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from lab.serving import Serving

USER, TOKEN, PASSWORD = "lictor", "11d3c0ffee-api-token", "hunter2-password"
FIELD = "Jenkins-Crumb"
KNOWN_AS = "http://jenkins.example.com:8080/ci/"  # what an administrator wrote into `Jenkins URL`


class Job(NamedTuple):
    """`parameters` with their defaults; it waits for so many looks at the queue, and runs for so many at the build.
    `script` is called with the parameters when the build begins."""

    parameters: dict[str, str] | None
    result: str = "SUCCESS"
    waits: int = 1
    runs: int = 1
    log: str = "Started by user lictor\nFinished\n"
    disabled: bool = False
    refused: bool = False
    cancelled: bool = False
    script: Callable[[dict[str, str]], object] = dict


class Jenkins(Serving):
    """Use as `with Jenkins({"deploy-books": Job({"service_instances": "1"})}) as jenkins`.

    `builds` are those that were started, with their parameters; `requests` all that was asked, with its headers.
    `failures` are taken one for each request that comes: a status to answer with, or 0 to hang up without an answer.
    """

    def __init__(self, jobs: dict[str, Job], *, crumbs: bool = True) -> None:
        self.jobs, self.crumbs = jobs, crumbs
        self.builds: list[tuple[str, dict[str, str]]] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.failures: list[tuple[str, int]] = []  # what the path must hold, and the status
        self.forgets_items = False
        self._items: list[tuple[str, dict[str, str]]] = []
        self._looks: dict[str, int] = {}
        self._sessions: dict[str, str] = {}
        self._turn = threading.Lock()  # who asks for a build that just begins begins it no second time
        jenkins = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
                jenkins.requests.append((self.command, self.path, dict(self.headers)))
                failure = jenkins._failure(self.path)
                if failure == 0:
                    self.close_connection = True
                    return
                status, headers, answer = (failure, {}, b"") if failure else jenkins._answer(self, body)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), "X-Jenkins": "2.462.3", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/ci/"


    def asked(self, method: str, part: str) -> int:
        """How many requests had that method and that in their path."""
        return sum(each[0] == method and part in each[1] for each in self.requests)

    def _failure(self, path: str) -> int | None:
        for at, (part, status) in enumerate(self.failures):
            if part in path:
                del self.failures[at]
                return status
        return None

    def _answer(self, request: BaseHTTPRequestHandler, body: str) -> tuple[int, dict[str, str], bytes]:
        with self._turn:
            return self._answer_alone(request, body)

    def _answer_alone(self, request: BaseHTTPRequestHandler, body: str) -> tuple[int, dict[str, str], bytes]:
        secret = self._secret(request.headers["Authorization"] or "")
        if not secret:
            return (401 if request.headers["Authorization"] else 403), {}, _PAGE
        path = urllib.parse.urlsplit(request.path).path.removeprefix("/ci/")
        if path == "crumbIssuer/api/json" and self.crumbs:
            return self._crumb()
        if request.command == "POST" and self.crumbs and secret != TOKEN and not self._is_good(request):
            return 403, {}, b"No valid crumb was included in the request"
        if match := re.fullmatch(r"job/([^/]+)/(build|buildWithParameters)", path):
            return self._queue(request, urllib.parse.unquote(match[1]), match[2], body)
        if match := re.fullmatch(r"queue/item/(\d+)/api/json", path):
            return self._item(int(match[1]))
        if match := re.fullmatch(r"job/([^/]+)/(\d+)/(api/json|consoleText)", path):
            return self._build(urllib.parse.unquote(match[1]), int(match[2]), match[3])
        return 404, {}, _PAGE

    def _secret(self, authorization: str) -> str:
        for secret in (TOKEN, PASSWORD):
            if authorization == "Basic " + base64.b64encode(f"{USER}:{secret}".encode()).decode():
                return secret
        return ""

    def _crumb(self) -> tuple[int, dict[str, str], bytes]:
        session, crumb = secrets.token_hex(8), secrets.token_hex(32)
        self._sessions[session] = crumb
        cookie = f"JSESSIONID.lab={session}; Path=/ci; HttpOnly; SameSite=Lax"
        return _json({"crumb": crumb, "crumbRequestField": FIELD}, {"Set-Cookie": cookie})

    def _is_good(self, request: BaseHTTPRequestHandler) -> bool:
        session = (request.headers["Cookie"] or "").removeprefix("JSESSIONID.lab=")
        return session in self._sessions and request.headers[FIELD] == self._sessions[session]

    def _queue(self, request: BaseHTTPRequestHandler, name: str, action: str,
               body: str) -> tuple[int, dict[str, str], bytes]:
        job = self.jobs.get(name)
        if job is None or request.command != "POST" or job.disabled:
            return 404 if job is None else 405 if request.command != "POST" else 409, {}, _PAGE
        if (action == "buildWithParameters") != (job.parameters is not None):
            return 400 if action == "build" else 500, {}, _PAGE
        if job.refused:
            return 302, {"Location": f"{KNOWN_AS}job/{name}/"}, b""
        given = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        wanted = name, {key: given.get(key, default) for key, default in (job.parameters or {}).items()}
        waiting = [at for at, each in enumerate(self._items) if each == wanted and self._waits(at)]
        if not waiting:
            self._items.append(wanted)
        at = waiting[0] if waiting else len(self._items) - 1
        return 201, {"Location": f"{KNOWN_AS}queue/item/{at}/"}, b""

    def _waits(self, at: int) -> bool:
        return self._looks.get(f"item {at}", 0) < self.jobs[self._items[at][0]].waits

    def _item(self, at: int) -> tuple[int, dict[str, str], bytes]:
        if at >= len(self._items) or self.forgets_items:
            return 404, {}, _PAGE
        name, parameters = self._items[at]
        job = self.jobs[name]
        if self._waits(at):
            looks = self._looks[f"item {at}"] = self._looks.get(f"item {at}", 0) + 1
            why = "In the quiet period. Expires in 4.9 sec" if looks == 1 else "Waiting for next available executor"
            return _json({"id": at, "cancelled": False, "why": why, "url": f"queue/item/{at}/"})
        if job.cancelled:
            return _json({"id": at, "cancelled": True, "why": None, "url": f"queue/item/{at}/"})
        if f"build {at}" not in self._looks:
            self.builds.append((name, parameters))
            job.script(parameters)
            self._looks[f"build {at}"] = len(self.builds)
        number = self._looks[f"build {at}"]
        url = f"{KNOWN_AS}job/{urllib.parse.quote(name)}/{number}/"
        return _json({"id": at, "cancelled": False, "why": None, "executable": {"number": number, "url": url}})

    def _build(self, name: str, number: int, what: str) -> tuple[int, dict[str, str], bytes]:
        if number > len(self.builds) or self.builds[number - 1][0] != name:
            return 404, {}, _PAGE
        job = self.jobs[name]
        if what == "consoleText":
            return 200, {"Content-Type": "text/plain;charset=utf-8"}, job.log.encode()
        looks = self._looks[f"run {number}"] = self._looks.get(f"run {number}", 0) + 1
        return _json({"building": looks <= job.runs, "result": None if looks <= job.runs else job.result})


_PAGE = b"<html><body>Oops!</body></html>"


def _json(value: dict[str, Any], headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json;charset=utf-8", **(headers or {})}, json.dumps(value).encode()
