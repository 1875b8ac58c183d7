"""`lictor deploy` and `lictor rollback` against a real Consul. The planner's part is played by the test: it writes
lictor/state/NAME, the colour, registrations and records as the planner would."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters.consul.client import Client
from lictor.cli import release_request
from lictor.cli.release_progress import Request
from lictor.planner import desired, service_state
from lictor.spec import service_spec

from lab.consul import Consul
from lab.daemon import wait_for
from support.command import Command
from support.scene import fields_of, state_of

SPEC: dict[str, Any] = {
    "engine": "docker", "node": "node-1", "image": "books:1", "port": 8080, "route": {"path": "/books"},
    "environment": {"LANG": "C"}, "replicas": {"max": 5},
    "release": {"strategy": "blue-green", "healthy_for": "3s", "deadline": "20s"}}


class Service:
    """A blue-green service of which books:1 is live in blue, on a Consul that it shares with others."""

    def __init__(self, consul: Consul, name: str) -> None:
        self.consul, self.name, self.table = consul, name, {**SPEC, "name": name}
        self.consul.put(f"services/{name}/spec", json.dumps(self.table))
        self.consul.put(f"services/{name}/image", "books:1")
        self.remember(live=self.table, live_release=self.release("books:1"), live_is_proven=True, color="blue")

    def release(self, image: str, **changes: Any) -> str:
        return desired.fingerprint(service_spec.parse_spec({**self.table, "image": image, **changes}, ""))

    @property
    def state(self) -> service_state.State:
        return service_state.decode((self.consul.get(f"lictor/state/{self.name}") or "{}").encode())

    def remember(self, **fields: Any) -> None:
        state = state_of(**{**fields_of(self.state), **fields})
        self.consul.put(f"lictor/state/{self.name}", service_state.encode(state))

    def fail(self, image: str, why: str = "it died") -> None:
        self.remember(rollout=None, failed=service_state.Failure(self.release(image), image, why, time.time()))

    def switch(self, image: str, color: str) -> None:
        self.consul.put(f"services/{self.name}/color", color)
        self.remember(live={**self.table, "image": image}, live_release=self.release(image), color=color, rollout=None,
                      previous=self.state.release.live, previous_release=self.state.release.live_release)

    def register(self, color: str, image: str, status: str) -> str:
        """Returns its service ID. The agent passes a check's output on at once only when the status changes too."""
        service_id = f"node-1:{self.name}-{color}-1:8080"
        check = {"CheckID": service_id, "Name": "http", "TTL": "1h", "Status": "warning"}
        self.consul.register({"Name": f"{self.name}-{color}", "ID": service_id, "Address": "10.0.0.1", "Port": 8080,
                              "Meta": {"lictor-image": image}, "Check": check})
        said = {"Status": status, "Output": "GET /health: 500\nand more"}
        self.consul.request("PUT", f"/v1/agent/check/update/{service_id}", said)
        return service_id

    def record(self, number: int, **fields: Any) -> None:
        at = time.time()
        self.consul.put(f"lictor/history/{self.name}/{int(at * 1_000_000) + number:016d}",
                        json.dumps({"at": round(at, 3), "service": self.name, "outcome": "done", **fields}))

    def asks_for(self, image: str) -> bool:
        return self.consul.get(f"services/{self.name}/image") == image


@pytest.fixture
def books(agent: Consul, request: pytest.FixtureRequest) -> Service:
    return Service(agent, f"books-{abs(hash(request.node.name)) % 10 ** 9}")


@pytest.fixture
def lictor(agent: Consul, tmp_path: Path) -> Command:
    return Command(agent, tmp_path)


def ended(following: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = following.communicate(timeout=150)
    return following.returncode, stdout, stderr


def next_line(following: subprocess.Popen[str], having: str) -> str:
    """The next line that has this in it; the test's own time limit ends the wait."""
    assert following.stdout
    return next(line for line in following.stdout if having in line)


def test_a_release_is_followed_until_every_nginx_lists_it(lictor: Command, books: Service) -> None:
    for node in ("node-1", "node-2"):  # node-2 is unknown to Consul's catalogue: it cannot be waited for
        books.consul.put(f"lictor/nodes/{books.name}/{node}", '{"instances": []}')
    following = lictor.begin("deploy", books.name, "books:2", "--wait")
    assert following.stdout
    assert following.stdout.readline() == (
        f"{books.name}: books:2 is requested. `lictor why {books.name}` shows how it goes\n")
    assert books.asks_for("books:2") and "waiting: node-1 has to begin" in following.stdout.readline()
    books.remember(rollout=service_state.Rollout(books.release("books:2"), time.time()))
    next_line(following, "s: 0 of 1 new instances pass\n")
    service_id = books.register("green", "books:2", "critical")
    next_line(following, f"s: 0 of 1 new instances pass; {service_id} is critical: GET /health: 500\n")
    books.register("green", "books:2", "passing")
    next_line(following, "s: 1 of 1 new instances pass\n")
    books.remember(rollout=service_state.Rollout(books.release("books:2"), time.time(), time.time()))
    next_line(following, "s: all new instances pass, and have to for 3 s\n")
    books.switch("books:2", "green")
    next_line(following, "s: books:2 is live; waiting for nginx on node-1\n")
    books.consul.put(f"lictor/nodes/{books.name}/node-1", json.dumps({"instances": [["node-1", service_id]]}))
    assert ended(following) == (0, f"{books.name}: books:2 is live\n", (
        "warning: nginx does not list all new instances yet on node-2 (it does not answer)\n"))


def test_a_failed_release_says_why_and_shows_the_last_words_of_its_instances(lictor: Command, books: Service) -> None:
    books.record(-9, kind="remove", container=f"{books.name}-green-1", detail="of an earlier release")
    following = lictor.begin("deploy", books.name, "books:2", "--wait")
    wait_for(lambda: books.asks_for("books:2"), "it is asked for")
    books.record(0, kind="start", container=f"{books.name}-green-1")
    books.fail("books:2", "books-green-1 is exited\nwith exit code 1")
    next_line(following, f"{books.name}-green-1 is being removed")
    books.record(1, kind="remove", container=f"{books.name}-green-1", detail="no database\n\x1b[31mgiving up")
    assert ended(following) == (1, "", (
        f"lictor: {books.name}: release of books:2 failed: books-green-1 is exited with exit code 1. books:1 runs on\n"
        f"    {books.name}-green-1 | no database\n    {books.name}-green-1 | ?[31mgiving up\n"))


@pytest.mark.parametrize(("key", "value", "said"), [
    ("image", "books:3", "books:2 is superseded: books:3 is desired now"),
    ("removed", "", "books:2 is superseded: the service is being removed"),
    ("spec", json.dumps({"environment": {"LANG": "de"}}), "the spec makes another release of books:2 now"),
])
def test_something_newer_ends_it(lictor: Command, books: Service, key: str, value: str, said: str) -> None:
    following = lictor.begin("deploy", books.name, "books:2", "--wait")
    next_line(following, "waiting: node-1")
    changed = json.dumps({**books.table, **json.loads(value)}) if key == "spec" else value
    books.consul.put(f"services/{books.name}/{key}", changed)
    code, _, stderr = ended(following)
    assert (code, said in stderr) == (1, True)


def test_the_time_passes_and_the_release_goes_on(lictor: Command, books: Service) -> None:
    books.remember(rollout=service_state.Rollout("another", time.time()))
    done = lictor("deploy", books.name, "books:2", "--wait", "--timeout", "500ms")
    assert done.returncode == 75 and done.stderr == (
        f"lictor: {books.name}: the time is up: waiting: another release has to end first. The release goes on; "
        f"`lictor why {books.name}` shows how it ends\n")


def test_ctrl_c_leaves_the_release_going_on(lictor: Command, books: Service) -> None:
    following = lictor.begin("deploy", books.name, "books:2", "--wait", "--json")
    next_line(following, "waiting: node-1")
    following.send_signal(signal.SIGINT)
    code, stdout, stderr = ended(following)
    assert (code, json.loads(stdout.splitlines()[-1])["outcome"], stderr) == (130, "interrupted", "")
    assert books.asks_for("books:2")


def test_json_has_an_object_a_line_and_the_last_is_the_outcome(lictor: Command, books: Service) -> None:
    alone = lictor("deploy", books.name, "books:1", "--json")
    about = {"service": books.name, "image": "books:1", "release": books.release("books:1")}
    assert json.loads(alone.stdout) == {"event": "asked", **about, "held": "", "outcome": "asked"}
    followed = lictor("deploy", books.name, "books:1", "--json", "--wait").stdout.splitlines()
    assert [json.loads(each)["event"] for each in followed] == ["asked", "outcome"]
    assert json.loads(followed[-1]) == {"event": "outcome", **about, "outcome": "done", "why": "", "behind": [],
                                        "last_words": {}, "foreign": [], "unserved": []}


def test_a_terminal_has_a_view_that_lives(lictor: Command, books: Service) -> None:
    ours, theirs = pty.openpty()
    try:
        books.register("green", "books:2", "critical")
        books.remember(rollout=service_state.Rollout(books.release("books:2"), time.time()))
        following = lictor.begin("deploy", books.name, "books:2", "--wait", stdout=theirs)
        shown = b""
        while b"500" not in shown or b"of at most 100 s" not in shown:
            shown += os.read(ours, 4096)
        books.switch("books:2", "green")
        while b"books:2 is live" not in shown:
            shown += os.read(ours, 4096)
        assert following.wait(150) == 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_release_that_failed_is_tried_again_when_it_is_asked_for_again(lictor: Command, books: Service) -> None:
    books.fail("books:2")
    assert lictor("deploy", books.name, "books:3").returncode == 0
    assert books.state.release.failed  # that is another release's
    assert lictor("deploy", books.name, "books:2").returncode == 0
    assert books.state.release.failed is None and books.state.release.live_release == books.release("books:1")


def test_a_held_service_is_written_and_said_to_be_held(lictor: Command, books: Service) -> None:
    books.consul.put(f"services/{books.name}/hold", "until Monday")
    done = lictor("deploy", books.name, "books:2")
    assert done.returncode == 0 and "but on hold: the hold key is set (until Monday)" in done.stdout
    assert books.asks_for("books:2")


def test_what_cannot_be_released_is_refused(lictor: Command, books: Service) -> None:
    routed = {"name": f"{books.name}-r", "engine": "none", "route": {"path": "/r"}}
    books.consul.put(f"services/{books.name}-r/spec", json.dumps(routed))
    for words, code, said in (
        (("deploy", "nobody", "books:2"), 1, "there is no service 'nobody'"),
        (("deploy", books.name, "a b"), 1, f"services/{books.name}/image: image is 'a b'"),
        (("deploy", f"{books.name}-r", "books:2"), 1, "its engine is none"),
        (("rollback", f"{books.name}-r"), 1, "its engine is none"),
        (("rollback", books.name), 1, "there is no earlier release on record"),
        (("deploy", books.name, "books:2", "--wait", "--timeout", "soon"), 2, "'soon' is no duration"),
        (("deploy", books.name, "books:2", "--timeout", "1s"), 2, "--timeout goes with --wait"),
    ):
        done = lictor(*words)
        assert done.returncode == code and said in done.stderr, words
    assert books.asks_for("books:1")


def test_rollback_of_a_failed_release_or_one_under_way_goes_back_to_what_is_live(
        lictor: Command, books: Service) -> None:
    changed = {**books.table, "image": "books:1.5", "environment": {"LANG": "de"}, "command": "serve", "drain": "5s"}
    for fields in ({"failed": service_state.Failure("other", "books:2", "it died", 1.0)},
                   {"failed": None, "rollout": service_state.Rollout("other", 1.0)}):
        books.consul.put(f"services/{books.name}/spec", json.dumps(changed))
        books.consul.put(f"services/{books.name}/image", "books:2")
        books.remember(previous={**books.table, "image": "books:0"}, **fields)
        done = lictor("rollback", books.name)
        assert (done.returncode, f"{books.name}: books:1 is requested" in done.stdout) == (0, True)
        assert books.asks_for("books:1")
        assert json.loads(books.consul.get(f"services/{books.name}/spec") or "") == {
            **books.table, "image": "books:1.5", "drain": "5s"}  # what makes no release stays, the file's image too


def test_rollback_of_what_is_live_goes_to_what_was_before_and_back_again(lictor: Command, books: Service) -> None:
    books.consul.put(f"services/{books.name}/image", "books:2")
    books.consul.put(f"services/{books.name}/replicas", "4")
    books.switch("books:2", "green")
    books.fail("books:1")  # on the way to it once
    following = lictor.begin("rollback", books.name, "--wait")
    next_line(following, "waiting: node-1")
    assert books.asks_for("books:1") and books.state.release.failed is None
    books.switch("books:1", "blue")
    assert ended(following) == (0, f"{books.name}: books:1 is live\n", "")
    assert lictor("rollback", books.name).returncode == 0 and books.asks_for("books:2")
    assert books.consul.get(f"services/{books.name}/replicas") == "4"


@pytest.mark.parametrize(("before", "failed"), [
    ({"engine": "swarm"}, {"placement": {"constraints": ["node.labels.disk==ssd"]}}),
    ({"engine": "command", "image": "", "environment": {}}, {"port": 9090}),  # its playbook knows the image
    ({"engine": "command", "image": "", "environment": {}}, {"image": "books:2"}),
])
def test_a_rollback_asks_for_exactly_what_is_live(lictor: Command, books: Service, before: dict[str, Any],
                                                  failed: dict[str, Any]) -> None:
    live = {key: value for key, value in {**books.table, **before}.items() if key != "node" and value}
    books.consul.put(f"services/{books.name}/spec", json.dumps({**live, **failed}))
    books.consul.request("DELETE", f"/v1/kv/services/{books.name}/image")
    fingerprint = desired.fingerprint(service_spec.parse_spec(live, ""))
    books.remember(live=live, live_release=fingerprint)
    done = lictor("rollback", books.name)
    keys = {each: (books.consul.get(f"services/{books.name}/{each}") or "").encode() for each in ("spec", "image")}
    asked = desired.desired(books.name, {key: value for key, value in keys.items() if value}, service_state.State())
    assert (done.returncode, asked.release) == (0, fingerprint), done.stderr


def test_a_service_that_has_moved_stays_where_it_is_in_a_rollback(lictor: Command, books: Service) -> None:
    books.remember(previous={**books.table, "node": "node-2", "image": "books:0"})
    assert lictor("rollback", books.name).returncode == 0
    assert books.consul.get(f"services/{books.name}/image") == "books:0"
    assert json.loads(books.consul.get(f"services/{books.name}/spec") or "")["node"] == "node-1"


def test_there_is_no_rollback_over_a_change_of_engine(lictor: Command, books: Service) -> None:
    books.remember(previous={**books.table, "engine": "swarm", "node": "", "image": "books:0"})
    done = lictor("rollback", books.name)
    assert done.returncode == 1 and "engine was 'swarm' in the earlier release and is 'docker'" in done.stderr


def test_status_tells_of_a_release_and_of_the_live_color(lictor: Command, books: Service) -> None:
    books.consul.put(f"services/{books.name}/image", "books:2")
    books.remember(rollout=service_state.Rollout(books.release("books:2"), time.time() - 12))
    row = next(each for each in lictor.status() if each["name"] == books.name)
    assert re.match(r"releasing books:2 for [0-9]+", row["says"]) and row["color"] == "blue"
    books.fail("books:2", "it died")
    text = lictor("status").stdout
    assert "release of books:2 failed: it died. books:1 runs on" in text and " COLOR " in text.splitlines()[0]


def test_a_consul_that_stays_away_ends_the_following(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_request, "_UNREACHABLE_S", -1.0)
    client = Client.connect(environ={"CONSUL_HTTP_ADDR": "127.0.0.1:9"})
    request = Request("books", "books:2", "release", "", 0, 60.0)
    last, = release_request.follow(client, "services/", request, timeout_s=60)
    assert last.outcome and last.outcome.kind == "unreachable" and "127.0.0.1:9" in last.outcome.why
