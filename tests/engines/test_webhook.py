"""The webhook engine, against real servers on loopback: a plain one, and one that behaves as Jenkins does."""

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from lictor import errors
from lictor.adapters import http
from lictor.engines import jenkins as jenkins_engine
from lictor.engines import registry
from lictor.engines.protocols import Order
from lictor.spec import service_spec
from lictor.spec.settings import Settings, parse_settings

from lab.daemon import free_ports, wait_for
from lab.serving import Serving
from support import jenkins as lab
from support.jenkins import Jenkins, Job

ENGINE = registry.SCHEDULERS["webhook"]
JOBS = {
    "deploy-books": Job({"service_instances": "1", "service_image": ""}, log="".join(f"{n}\n" for n in range(50))),
    "deploy-plain": Job(None), "deploy-off": Job({}, disabled=True), "deploy-full": Job({}, refused=True),
    "deploy-gone": Job({}, cancelled=True), "deploy-slow": Job({}, waits=10**6), "deploy-long": Job({}, runs=10**6),
    "deploy-bad": Job({}, result="FAILURE", log=f"fatal: no room\nthe token is {lab.TOKEN}\n"),
    "deploy-shaky": Job({}, result="UNSTABLE"), "deploy-stopped": Job({}, result="ABORTED"),
}


class Server(Serving):
    """Answers with what stands first in `answers`, 200 when nothing does, and keeps what it got."""

    def __init__(self, port: int = 0) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                server.requests.append((self.command, self.path, dict(self.headers), body))
                status, headers, answer = server.answers.pop(0) if server.answers else (200, {}, b"")
                if status == 0:
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def jenkins() -> Iterator[Jenkins]:
    with Jenkins(JOBS) as running:
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    return secret_file(tmp_path / "jenkins.token", lab.TOKEN)


def secret_file(path: Path, secret: str) -> Path:
    path.write_text(f"{secret}\n")
    path.chmod(0o600)
    return path


def settings(url: str, *, redeploy: Any = None, timeout: str = "2m", jenkins: Any = None,
             **scale: Any) -> Settings:
    table: dict[str, Any] = {"timeout": timeout, "scale": {"url": url, **scale}}
    table |= {key: value for key, value in (("redeploy", redeploy), ("jenkins", jenkins)) if value}
    return parse_settings({"webhook": table}, "lictor.toml")


def spec(name: str = "books", image: str = "") -> service_spec.Spec:
    return service_spec.parse_spec({"name": name, "engine": "webhook", "image": image}, "books.yml")


def scale(given: Settings, replicas: int = 3, *, name: str = "books", color: str = "", image: str = "") -> str:
    return ENGINE.scale(given, Order(spec(name, image), color, replicas, "r1"))


def test_a_node_acts_when_it_has_the_templates_and_nothing_is_remembered() -> None:
    assert ENGINE.acts_here(settings("http://a/{name}/{replicas}")) and not ENGINE.acts_here(Settings())
    assert ENGINE.groups() is None
    with pytest.raises(errors.Refused, match="webhook.scale is not set on this node"):
        scale(Settings())


def test_values_in_a_url_and_a_form_are_encoded(server: Server, tmp_path: Path) -> None:
    server.answers = [(202, {"Content-Type": "text/plain"}, b"well\n\nnoted\n")]
    given = settings(server.url + "{name}/{image}?image={image}&n={replicas}", headers={"X-Color": "{color}!"},
                     headers_files={"Authorization": str(secret_file(tmp_path / "t", "Bearer s3cret"))},
                     form={"an image&": "{image} {{}}", "n": "{replicas}"})
    assert scale(given, color="blue", image="host:5000/books@sha256:ab") == "202: well\nnoted"
    (method, path, headers, body), = server.requests
    encoded = "host%3A5000%2Fbooks%40sha256%3Aab"
    assert (method, path) == ("POST", f"/books/{encoded}?image={encoded}&n=3")
    assert body == f"an+image%26={encoded}+%7B%7D&n=3".encode()
    assert (headers["X-Color"], headers["Authorization"]) == ("blue!", "Bearer s3cret")
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_json_has_strings_and_a_number_where_the_count_stands_alone(server: Server) -> None:
    body = {"n": "{replicas}", "text": "n={replicas}", "deep": [{"name": "{name}", "on": True, "left": "{{replicas}}"}]}
    assert scale(settings(server.url, method="PUT", json=body)) == "200"
    (method, _, headers, sent), = server.requests
    assert (method, headers["Content-Type"]) == ("PUT", "application/json")
    assert json.loads(sent) == {"n": 3, "text": "n=3", "deep": [{"name": "books", "on": True, "left": "{replicas}"}]}


def test_a_release_and_a_removal_have_their_templates(server: Server) -> None:
    given = settings(server.url + "scale/{name}/{replicas}", redeploy={"url": server.url + "release/{name}/{image}"})
    ENGINE.redeploy(given, Order(spec(image="b:2"), "", 2, "r2"))
    ENGINE.remove(given, Order(spec(), "", 0, ""))
    ENGINE.redeploy(settings(server.url + "scale/{name}/{replicas}/{image}"), Order(spec(image="b:2"), "", 2, "r2"))
    assert [path for _, path, *_ in server.requests] == [
        "/release/books/b%3A2", "/scale/books/0", "/scale/books/2/b%3A2"]
    with pytest.raises(errors.Refused, match="webhook.scale does not hold {image}, so a release changes nothing"):
        ENGINE.redeploy(settings(server.url + "{name}/{replicas}"), Order(spec(), "", 2, "r2"))
    with pytest.raises(errors.Refused, match="webhook.scale does not hold {color}"):
        ENGINE.remove(given, Order(spec(), "blue", 0, ""))


@pytest.mark.parametrize("failure", [(503, {}, b""), (500, {"Retry-After": "0"}, b""),
                                     (429, {"Retry-After": "soon"}, b""), (0, {}, b"")])
def test_what_may_be_done_twice_is_repeated_until_it_is_answered(server: Server, failure: Any) -> None:
    server.answers = [failure, failure]
    assert scale(settings(server.url + "{name}/{replicas}", method="PUT")) == "200"
    assert len(server.requests) == 3


@pytest.mark.parametrize(("failure", "said"), [
    ((503, {}, b""), "the answer is 503"), ((429, {}, b""), "the answer is 429"),
    ((0, {}, b""), "no HTTP answer: RemoteDisconnected")])
def test_what_may_not_be_done_twice_is_not(server: Server, failure: Any, said: str) -> None:
    server.answers = [failure]
    with pytest.raises(errors.Unavailable, match=f"^webhook.scale: POST {server.url}books/3: {said}"):
        scale(settings(server.url + "{name}/{replicas}?a=b"))
    assert len(server.requests) == 1


@pytest.mark.parametrize("after", ["30", formatdate(4102444800, usegmt=True)])
def test_who_asks_for_more_time_than_there_is_gets_no_second_request(server: Server, after: str) -> None:
    server.answers = [(503, {"Retry-After": after}, b"")]
    with pytest.raises(errors.Unavailable, match="the answer is 503") as raised:
        scale(settings(server.url + "{name}/{replicas}", method="PUT", timeout="20s"))
    assert len(server.requests) == 1 and raised.value.after_s >= 30


@pytest.mark.parametrize("status", [302, 307, 400, 404, 409])
def test_other_answers_are_refused_and_redirects_not_followed(server: Server, tmp_path: Path, status: int) -> None:
    headers = {"Location": "/elsewhere", "Content-Type": "text/plain"}
    server.answers = [(status, headers, b"not s3cret, nor Bearer s3cret")]
    token = str(secret_file(tmp_path / "t", "Bearer s3cret"))
    given = settings(server.url + "{name}/{replicas}", method="PUT", headers_files={"Authorization": token})
    with pytest.raises(errors.Refused, match=f"the answer is {status}, .*; it says: not ..., nor ...$"):
        scale(given)
    assert len(server.requests) == 1


def test_what_was_not_received_is_sent_again_though_it_may_be_done_once_only(monkeypatch: pytest.MonkeyPatch) -> None:
    port, = free_ports(1)
    given = settings(f"http://127.0.0.1:{port}/{{name}}/{{replicas}}")
    assert given.webhook
    webhook = replace(given.webhook, timeout_s=0.3)

    def is_refused() -> bool:
        """Tell whether the error says so: the last try has a moment only, and may hear nothing on a starved machine."""
        with pytest.raises(errors.Unavailable, match="^webhook.scale: POST ") as raised:
            scale(Settings(webhook=webhook))
        return isinstance(raised.value, http.NotSent) and "Connection refused" in str(raised.value)
    wait_for(is_refused, "it says that there was no connection")
    with contextlib.ExitStack() as stack:
        servers: list[Server] = []
        exchange = http.exchange

        def exchange_then_listen(*args: Any, **keys: Any) -> http.Answer:
            try:
                return exchange(*args, **keys)
            except http.NotSent:
                servers.append(stack.enter_context(Server(port)))
                raise

        monkeypatch.setattr(http, "exchange", exchange_then_listen)
        assert scale(given) == "200"
        assert len(servers) == 1 and len(servers[0].requests) == 1


def test_nobody_is_waited_for_longer_than_the_time_limit() -> None:
    with (socket.create_server(("127.0.0.1", 0)) as silent,
          pytest.raises(errors.Unavailable, match="no answer within|timed out")):
        scale(settings(f"http://127.0.0.1:{silent.getsockname()[1]}/{{name}}/{{replicas}}", timeout="300ms"))


def test_what_is_called_off_is_not_asked_for_again(server: Server) -> None:
    server.answers = [(503, {}, b"")] * 9
    given = settings(server.url + "{name}/{replicas}", method="PUT")
    with pytest.raises(errors.Conflict, match="the lock is lost"):
        ENGINE.scale(given, Order(spec(), "", 2, "r1"),
                     called_off=lambda: "the lock is lost" if server.requests else "")
    assert len(server.requests) == 1


def test_a_long_answer_is_read_in_part_only(server: Server) -> None:
    server.answers = [(200, {"Content-Type": "text/plain"}, b"x" * 3_000_000)]
    assert scale(settings(server.url + "{name}/{replicas}")) == "200: " + "x" * 4000
    server.answers = [(200, {"Content-Type": "image/png"}, b"\x89PNG")]
    assert scale(settings(server.url + "{name}/{replicas}")) == "200"


@pytest.mark.parametrize("content", ["", "two\nlines", "\x7f"])
def test_a_secret_that_is_no_header_is_refused_and_not_shown(server: Server, tmp_path: Path, content: str) -> None:
    path = secret_file(tmp_path / "t", content)
    with pytest.raises(errors.Refused, match=f"^token file {path}(?!.*lines)"):
        scale(settings(server.url + "{name}/{replicas}", headers_files={"Authorization": str(path)}))
    assert server.requests == []


def built(jenkins: Jenkins, token_file: Path, *, name: str = "books", action: str = "buildWithParameters",
          timeout: str = "2m", **keys: Any) -> str:
    given = settings(jenkins.url + f"job/deploy-{{name}}/{action}", timeout=timeout,
                     form={"service_instances": "{replicas}", "service_image": "{image}"},
                     jenkins={"url": jenkins.url, "user": lab.USER, "token_file": str(token_file), **keys})
    return scale(given, name=name, image="books:1")


def test_a_build_is_started_and_waited_for(jenkins: Jenkins, token_file: Path,
                                           capfd: pytest.CaptureFixture[str]) -> None:
    said = built(jenkins, token_file)
    assert said.splitlines() == [f"{jenkins.url}job/deploy-books/1/: SUCCESS", *map(str, range(30, 50))]
    assert jenkins.builds == [("deploy-books", {"service_instances": "3", "service_image": "books:1"})]
    logged = capfd.readouterr().err
    assert logged == (f'action=jenkins item={jenkins.url}queue/item/0/ waits="it is in the queue"\n'
                      f'action=jenkins build={jenkins.url}job/deploy-books/1/ waits="it is running"\n')
    assert all(lab.TOKEN not in path for _, path, _ in jenkins.requests)


def test_with_a_password_the_crumb_has_to_come_from_the_same_session(jenkins: Jenkins, tmp_path: Path) -> None:
    password = secret_file(tmp_path / "password", lab.PASSWORD)
    assert "SUCCESS" in built(jenkins, password)
    with pytest.raises(errors.Refused, match="webhook.scale: POST .*/buildWithParameters: the answer is 403"):
        built(jenkins, password, crumb=False)
    assert len(jenkins.builds) == 1


@pytest.mark.parametrize(("crumbs", "crumb", "asked"), [(True, True, 1), (True, False, 0), (False, True, 1)])
def test_a_crumb_is_fetched_unless_that_is_off_and_there_may_be_none(token_file: Path, crumbs: bool, crumb: bool,
                                                                     asked: int) -> None:
    with Jenkins(JOBS, crumbs=crumbs) as jenkins:
        assert "SUCCESS" in built(jenkins, token_file, crumb=crumb)
        assert jenkins.asked("GET", "crumbIssuer") == asked
        sent = [headers for method, _, headers in jenkins.requests if method == "POST"]
        assert [lab.FIELD in headers for headers in sent] == [crumbs and crumb]


@pytest.mark.parametrize(("name", "said"), [
    ("bad", "1/: FAILURE\nfatal: no room\nthe token is ...$"), ("shaky", "1/: UNSTABLE"), ("stopped", "1/: ABORTED"),
    ("gone", "queue/item/0: it was taken out of the queue"),
])
def test_a_build_that_does_not_succeed_is_to_be_tried_again(jenkins: Jenkins, token_file: Path, name: str,
                                                            said: str) -> None:
    with pytest.raises(errors.Unavailable, match=f"(?s)^webhook.scale: POST .*: {jenkins.url}.*{said}"):
        built(jenkins, token_file, name=name)


@pytest.mark.parametrize(("name", "status"), [("unknown", 404), ("off", 409), ("full", 302)])
def test_a_job_that_takes_no_build_is_refused(jenkins: Jenkins, token_file: Path, name: str, status: int) -> None:
    with pytest.raises(errors.Refused, match=f"/job/deploy-{name}/buildWithParameters: the answer is {status},"):
        built(jenkins, token_file, name=name)
    assert jenkins.asked("POST", "/job/") == 1


def test_what_is_no_start_of_a_build_is_refused(jenkins: Jenkins, token_file: Path) -> None:
    with pytest.raises(errors.Refused, match="the answer is 400"):
        built(jenkins, token_file, action="build")
    with pytest.raises(errors.Unavailable, match="the answer is 500"):
        built(jenkins, token_file, name="plain")
    assert "SUCCESS" in built(jenkins, token_file, name="plain", action="build")
    jenkins.failures = [("buildWithParameters", 200)]
    with pytest.raises(errors.Refused, match="the answer is 200, and 201 with an item of the queue was expected"):
        built(jenkins, token_file)


def test_a_wrong_token_is_refused_and_shown_to_nobody(jenkins: Jenkins, tmp_path: Path,
                                                      capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(errors.Refused, match="the answer is 401") as raised:
        built(jenkins, secret_file(tmp_path / "t", "wr0ng-t0ken"))
    assert "wr0ng" not in str(raised.value) + capfd.readouterr().err and jenkins.asked("POST", "") == 0


@pytest.mark.parametrize(("name", "where"), [(
    "slow", "queue/item/[0-9]: .*: in the queue: (?:In the q|Waiting)"),
    ("long", "job/deploy-long/[0-9]: .*: it is running")])
def test_when_the_time_is_over_it_says_what_was_waited_for(jenkins: Jenkins, token_file: Path, name: str,
                                                           where: str) -> None:
    for limit_s in (1, 1, 2, 2, 5, 5, 20):  # until it gets so far within the time
        with pytest.raises(errors.Unavailable) as raised:
            built(jenkins, token_file, name=name, timeout=f"{limit_s}s")
        said = str(raised.value)
        if match := re.search(f"{jenkins.url}{where}", said):
            break
    assert match and f"not done within {limit_s} s, and not stopped" in said
    if name == "slow":
        assert "In the quiet period" in said or "Waiting for next available" in said


def test_a_build_that_is_called_off_is_not_waited_for(jenkins: Jenkins, token_file: Path) -> None:
    given = settings(jenkins.url + "job/deploy-{name}/buildWithParameters", form={"service_instances": "{replicas}"},
                     jenkins={"url": jenkins.url, "user": lab.USER, "token_file": str(token_file)})

    def lost() -> str:
        return "the lock is lost" if jenkins.asked("GET", "job/deploy-long/1") else ""
    with pytest.raises(errors.Conflict, match="the lock is lost"):
        ENGINE.scale(given, Order(spec(name="long"), "", 2, "r1"), called_off=lost)


@pytest.mark.parametrize("failure", [0, 502, 503])
@pytest.mark.parametrize("part", ["crumbIssuer", "queue/item/0/api", "deploy-books/1/api"])
def test_a_connection_that_is_lost_while_it_waits_is_made_again(jenkins: Jenkins, token_file: Path, part: str,
                                                                failure: int) -> None:
    jenkins.failures = [(part, failure)]
    assert "SUCCESS" in built(jenkins, token_file)
    assert jenkins.failures == [] and jenkins.asked("POST", "") == 1 and len(jenkins.builds) == 1


@pytest.mark.parametrize("failure", [0, 503])
def test_the_post_is_never_sent_twice(jenkins: Jenkins, token_file: Path, failure: int) -> None:
    jenkins.failures = [("buildWithParameters", failure)]
    with pytest.raises(errors.Unavailable, match="the answer is 503|no HTTP answer: RemoteDisconnected"):
        built(jenkins, token_file)
    assert jenkins.asked("POST", "") == 1


def test_what_jenkins_has_forgotten_is_not_known(jenkins: Jenkins, token_file: Path) -> None:
    jenkins.forgets_items = True
    with pytest.raises(errors.Unavailable, match="queue/item/0: its end is unknown: the answer is 404"):
        built(jenkins, token_file)


def test_a_console_that_cannot_be_read_changes_nothing(jenkins: Jenkins, token_file: Path) -> None:
    jenkins.failures = [("consoleText", 0)]
    assert built(jenkins, token_file) == f"{jenkins.url}job/deploy-books/1/: SUCCESS"


@pytest.mark.parametrize("part", ["/job/x", "job/a/", "/job/1", "/", "/job/!"])
def test_a_long_answer_of_jenkins_takes_no_time(part: str) -> None:
    """A pattern took 3 s at 48 kB, and four times as long for twice as much."""
    with pytest.raises(errors.Refused, match="does not say which build"):
        jenkins_engine._started({"executable": {"url": part * 200_000}})
