"""Canaries on the real programs, under load: each of the four kinds of release is decided right, no request fails but
by the canary's own errors, and a user of a route with `sticky` stays on one side."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor.planner.service_state import State

from lab.autoscale.open_load import OpenLoad
from lab.daemon import stretched
from lab.docker import Docker
from lab.node import Node
from support import canary
from support.canary import (
    BLUE,
    NAME,
    PATH,
    RATE,
    RELEASE,
    SPEC,
    canary_key,
    is_on_trial,
    remembered,
    seen_by_clients,
)
from support.modes import in_both_modes

pytestmark = pytest.mark.daemons

ASKING: dict[str, Any] = {"for": "30s"}  # so long users are asked
LONG: dict[str, Any] = {"for": "10m"}


@pytest.fixture(scope="module")
def built(docker_engine: Docker) -> None:
    canary.build(docker_engine)


@pytest.fixture
def node(docker: Docker, built: None, tmp_path: Path, mode: str) -> Iterator[Node]:
    whole = Node(str(tmp_path / "node"), docker, timer="3s", mode=mode, keep_data=True)
    try:
        yield whole.start()
    finally:
        whole.stop()


def apply(node: Node, *, sticky: str = "", **release: Any) -> None:
    node.write_and_apply({**SPEC, "route": {"path": PATH, "sticky": sticky}, "release": {**RELEASE, **release}})


def release(node: Node, version: str) -> State:
    """Release it, to the end; returns the state then."""
    canary.begin(node, version)
    node.wait_for(lambda: is_on_trial(node), "nginx serves both colours", 90)
    node.wait_for(lambda: canary.has_ended(node), f"the release of {version} ends", 200)
    return remembered(node)


def wait_back(node: Node) -> None:
    """Wait until the live colour is alone again, with nothing left of the canary."""
    node.wait_for(lambda: node.docker.containers() == BLUE, "only the old ones are left", 90)
    node.wait_for(lambda: node.served(path=PATH) == set(BLUE), "they serve")


def why(node: Node) -> str:
    return node.run("why", NAME).stdout


@in_both_modes
@pytest.mark.timeout(900)
def test_each_kind_of_release_is_decided_right(node: Node) -> None:
    apply(node)
    node.wait_for(lambda: node.served(path=PATH) == set(BLUE), "blue serves", 90)

    with OpenLoad(node.nginx.port, PATH, lambda _: RATE) as load:
        failed = release(node, "fails").release.failed
        wait_back(node)
    assert failed and failed.why.startswith("worse as canary, by more errors: green got "), failed
    found = seen_by_clients(load)
    assert set(found) == {"status 500"} and found["status 500"] < 0.05 * len(load.requests), found
    assert failed.why in " ".join(why(node).split())
    print(f"\nfails: {failed.why}\n  {len(load.requests)} requests, failed: {dict(found)}")

    with OpenLoad(node.nginx.port, PATH, lambda _: RATE) as load:
        failed = release(node, "slow").release.failed
        wait_back(node)
    assert failed and failed.why.startswith("worse as canary, by slower answers: green got "), failed
    assert not seen_by_clients(load), seen_by_clients(load)
    print(f"slow: {failed.why}\n  {len(load.requests)} requests, failed: none")

    apply(node, deadline="20s")
    failed = release(node, "fine").release.failed
    wait_back(node)
    assert failed and failed.why == ("too few requests: green got no request; blue got no request within 30s "
                                     "(release.for and release.deadline)"), failed
    print(f"without traffic: {failed.why}")

    apply(node)
    with OpenLoad(node.nginx.port, PATH, lambda _: RATE) as load:
        done = node.run("deploy", NAME, f"{NAME}:fine", "--wait", timeout_s=300)
        node.wait_for(lambda: node.docker.containers("status=running") == [
            f"{NAME}-green-1", f"{NAME}-green-2"], "blue is stopped", 90)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "canary of 25%: green got " in done.stdout
    assert not seen_by_clients(load), seen_by_clients(load)
    assert (node.consul.get(f"services/{NAME}/color"), canary_key(node)) == ("green", "")
    [switched] = [each["reason"] for each in json.loads(node.run("why", NAME, "--json").stdout)["history"]
                  if each["kind"] == "switch" and "no worse" in each["reason"]]
    print(f"fine: {switched}\n  {len(load.requests)} requests, failed: none")


@in_both_modes
@pytest.mark.timeout(600)
def test_a_canary_that_nobody_wants_any_more_ends_and_no_request_fails(node: Node) -> None:
    apply(node, **LONG)
    node.wait_for(lambda: node.served(path=PATH) == set(BLUE), "blue serves", 90)
    with OpenLoad(node.nginx.port, PATH, lambda _: RATE) as load:
        canary.begin(node, "fine")
        node.wait_for(lambda: is_on_trial(node), "nginx serves both colours", 90)
        assert node.run("hold", NAME).returncode == 0
        node.consul.put(f"services/{NAME}/canary", "green 50%")
        node.wait_for(lambda: "Would try shop-green" in node.run("plan", NAME).stdout, "a hold keeps hands off")
        assert canary_key(node) == "green 50%"
        assert node.run("resume", NAME).returncode == 0
        node.wait_for(lambda: is_on_trial(node), "the share is put back")
        node.wait_for(lambda: "canary of 25%: green got " in node.run("status", NAME).stdout, "status tells it")
        done = node.run("rollback", NAME, "--wait", timeout_s=120)
        assert done.returncode == 0, done.stdout + done.stderr
        wait_back(node)
    assert canary_key(node) == "" and not remembered(node).release.failed
    assert not seen_by_clients(load) and len(load.requests) > 100


class Users:
    """Users who each keep nginx's cookie, and note which colour answers them; use as `with Users(...)`."""

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.sides: list[list[str]] = [[] for _ in range(count)]
        self.failures: list[str] = []
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(part, count), daemon=True) for part in range(4)]

    def __enter__(self) -> "Users":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for each in self._threads:
            each.join(stretched(15))

    def _ask(self, part: int, count: int) -> None:
        cookies: dict[int, str] = {}
        while not self._ending.is_set():
            for number in range(part, count, len(self._threads)):
                self._ask_for(number, cookies)
                if self._ending.wait(0.02):
                    return

    def _ask_for(self, number: int, cookies: dict[int, str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=stretched(10))
        try:
            connection.request("GET", PATH, headers={"Cookie": cookies[number]} if number in cookies else {})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise http.client.HTTPException(f"status {answer.status}")
            given = answer.getheader("Set-Cookie")
            cookies[number] = given.partition(";")[0] if given else cookies[number]
            self.sides[number].append(str(json.loads(body)["instance"]).split("-")[1])
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            self.failures.append(repr(error))
        finally:
            connection.close()


@in_both_modes
@pytest.mark.timeout(600)
def test_a_user_of_a_sticky_route_stays_on_one_side(node: Node) -> None:
    apply(node, sticky="SIDE", **ASKING)
    node.wait_for(lambda: node.served(path=PATH) == set(BLUE), "blue serves", 90)
    with OpenLoad(node.nginx.port, PATH, lambda _: RATE) as load:
        canary.begin(node, "fine")
        node.wait_for(lambda: is_on_trial(node), "nginx serves both colours", 90)
        with Users(node.nginx.port, 80) as users:
            node.wait_for(lambda: min(map(len, users.sides)) >= 8, "each user has asked often", 60)
            assert is_on_trial(node)
        node.wait_for(lambda: node.consul.get(f"services/{NAME}/color") == "green", "green is live", 200)
        node.wait_for(lambda: {each.split("-")[1] for each in node.served(path=PATH)} == {"green"}, "green serves")
    assert users.failures == [] and not seen_by_clients(load)
    assert [sides for sides in users.sides if len(set(sides)) > 1] == []
    green = sum(sides[0] == "green" for sides in users.sides)
    assert 5 <= green <= 38  # 20 of 80 are to be expected: five standard deviations to each side
    print(f"\n{green} of {len(users.sides)} users at green, {sum(map(len, users.sides))} requests of theirs")
