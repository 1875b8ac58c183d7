"""`lictor hold NAME --pause` on the real programs: requests wait in nginx while an instance is restarted by hand."""

import http.client
import json
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lictor.adapters import files
from lictor.routing import live_peers, route_store
from lictor.routing.peers import Peer

from lab.autoscale import image as images
from lab.autoscale.image import Image
from lab.daemon import stretched, wait_for
from lab.docker import Docker
from lab.node import Node
from support.command import begin

NAME = "books-service"
MANY = "books-service:many"  # its queue of connections has room for all; busybox's has nine places
_SLOW = ("printf '%s\\n' '#!/bin/busybox sh' 'while [ -e /closed ]; do busybox sleep 0.1; done' "
         "'printf \"Content-Type: text/plain\\r\\n\\r\\n\"' > /www/cgi-bin/slow; busybox touch /closed")
Answer = tuple[int, str]


@pytest.fixture
def image() -> str:
    return "books-service:1.0"


@pytest.fixture
def live(docker: Docker, image: str, tmp_path: Path) -> Iterator[Node]:
    """A node in mode live whose service waits for an instance, and has one."""
    if image == MANY:
        images.build(docker, MANY, Image(64, 0.02))
    node = Node(str(tmp_path / "node"), docker, mode="live", keep_data=True)
    try:
        node.start()
        node.apply(image=image, route={"path": "/", "wait": "60s"})
        node.wait_served(f"{NAME}-1")
        wait_for(lambda: status(node)["served_by"] == ["node-1"], "it is announced")
        yield node
    finally:
        node.stop()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(200) as made:
        yield made


def conf_dir(node: Node) -> str:
    assert node.settings.nginx
    return node.settings.nginx.conf_dir


def left_s(node: Node) -> int:
    return live_peers.paused_s(conf_dir(node), NAME)


def waiting(node: Node) -> int:
    return live_peers.count_waiting(conf_dir(node), NAME)


def peers(node: Node) -> tuple[Peer, ...]:
    """What nginx has confirmed; () while it has not."""
    published = route_store.published(node.settings.state_dir, NAME)
    return published.peers if published and published.confirmed else ()


def status(node: Node) -> dict[str, Any]:
    (row,) = [each for each in json.loads(node.run("status", "--json").stdout) if each["name"] == NAME]
    return dict(row)


def ask(node: Node, body: str | None = None) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", node.nginx.port, timeout=120)
    try:
        if body is None:
            connection.request("GET", "/api/v1/books")
        else:
            connection.request("POST", "/echo", body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def pause(node: Node, *words: str) -> subprocess.CompletedProcess[str]:
    return node.run("hold", NAME, "--pause", *words)


@pytest.mark.parametrize("image", [MANY])
def test_two_hundred_requests_wait_while_the_only_container_is_restarted(live: Node, pool: ThreadPoolExecutor) -> None:
    done = pause(live, "kernel", "--for", "5m")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == f"{NAME}: paused on node-1; 0 requests are in flight at instances"
    assert re.fullmatch(rf"{NAME}: all requests wait, each for 60 s at most; the pause ends by itself 300 s after it "
                        rf"began\. `lictor resume {NAME}` ends it", done.stdout.splitlines()[-1])
    asked = [pool.submit(ask, live, None if number % 2 else str(number)) for number in range(200)]
    wait_for(lambda: waiting(live) == 200, "all of them wait")
    says = ("paused: the hold key is set (kernel). All requests wait, for 300 s at most: on node-1 200 wait, and 0 are "
            "in flight")
    wait_for(lambda: status(live)["says"] == says, "status says so")
    assert status(live)["paused"] == {"node-1": {"waiting": 200, "in_flight": 0}}
    for verb in ("plan", "why"):
        assert "All requests wait, for 300 s at most" in live.run(verb, NAME).stdout
    assert "requests wait; paused for" in live.run("status", NAME).stdout
    before = live.docker.docker("inspect", "-f", "{{.State.StartedAt}}", f"{NAME}-1")
    earlier = peers(live)
    live.docker.docker("restart", "-t", "1", f"{NAME}-1")
    assert live.docker.docker("inspect", "-f", "{{.State.StartedAt}}", f"{NAME}-1") != before
    wait_for(lambda: peers(live) not in (earlier, ()), "it passes again, at another port")
    assert waiting(live) == 200
    assert live.run("resume", NAME).stdout == f"{NAME}: no longer held, no longer paused\n"
    answers = [each.result() for each in asked]
    assert {code for code, _ in answers} == {200}, files.read(f"{live.nginx.folder}/error.log")
    assert [body for number, (_, body) in enumerate(answers) if not number % 2] == [
        str(number) for number in range(0, 200, 2)]
    wait_for(lambda: status(live)["says"] == "as desired", "it is as before")
    wait_for(lambda: live.consul.request("GET", "/v1/kv/lictor/paused/?keys") is None, "nothing is told any more")


def test_the_command_waits_for_what_is_in_flight_and_says_when_it_is_not_over(live: Node,
                                                                              pool: ThreadPoolExecutor) -> None:
    live.docker.docker("exec", f"{NAME}-1", "busybox", "sh", "-c", _SLOW)
    slow = pool.submit(live.nginx.get, "/cgi-bin/slow")
    at, = peers(live)
    wait_for(lambda: live_peers.requests_at_peer(conf_dir(live), NAME, at) == 1, "it is in flight")
    done = pause(live, "kernel", "--timeout", f"{round(stretched(3))}s", "--for", "5m")
    assert done.returncode == 75 and done.stdout == f"{NAME}: paused on node-1; 1 requests are in flight at instances\n"
    assert done.stderr == (f"lictor: {NAME}: 1 requests are still in flight at instances. The pause stands for 300 s "
                           f"in all; `lictor resume {NAME}` ends it\n")
    running = begin(("hold", NAME, "--pause", "--timeout", "100s", "--for", "5m"), {**os.environ, **live.environ})
    assert running.stdout and running.stdout.readline().endswith("; 1 requests are in flight at instances\n")
    live.docker.docker("exec", f"{NAME}-1", "busybox", "rm", "/closed")
    assert running.wait(60) == 0 and slow.result()[0] == 200
    assert "(kernel)" in status(live)["says"]  # the reason of the hold before stays


def test_a_pause_ends_by_itself_and_is_told_and_the_hold_stays(live: Node, pool: ThreadPoolExecutor) -> None:
    lasts_s = round(stretched(3))  # a busy node takes longer to follow
    assert pause(live, "kernel", "--for", f"{lasts_s}s").returncode == 0
    asked = [pool.submit(ask, live) for _ in range(20)]
    assert {code for code, _ in [each.result() for each in asked]} == {200}
    says = f"on hold: the hold key is set (kernel). Its pause of {lasts_s} s is over, and requests flow"
    wait_for(lambda: status(live)["says"] == says, "status says that it is over")
    assert left_s(live) == 0 and live.consul.request("GET", "/v1/kv/lictor/paused/?keys") is None
    wait_for(lambda: "pause" not in (route_store.route(live.settings.state_dir, NAME) or {}), "the node has followed")
    said = f"its {lasts_s} s are over, and requests flow. The hold stays."
    wait_for(lambda: said in live.log(), "the log says so")


def test_without_consul_a_pause_ends_all_the_same(live: Node, pool: ThreadPoolExecutor) -> None:
    assert pause(live, "--for", f"{round(stretched(5))}s").returncode == 0
    live.consul.stop()
    asked = [pool.submit(ask, live) for _ in range(20)]
    assert {code for code, _ in [each.result() for each in asked]} == {200}
    assert left_s(live) == 0


def test_wait_that_is_taken_out_meanwhile_is_told_and_requests_flow(live: Node) -> None:
    assert pause(live, "--for", "5m").returncode == 0
    live.apply(route={"path": "/"})
    wait_for(live.answers, "requests reach the instance")
    said = "its pause is not carried out: wait is missing in the route /; it must be given, such as 5s. Requests reach"
    wait_for(lambda: said in status(live)["says"], "status says so")
    assert status(live)["severity"] == "failed"
    live.apply(route={"path": "/", "wait": "60s"})
    wait_for(lambda: left_s(live) > 0, "it holds again")
    wait_for(lambda: "wait, and 0 are in flight" in status(live)["says"], "status says so, too")
    assert live.run("hold", NAME, "longer").stdout == (
        f"{NAME}: on hold, and no longer paused; `lictor resume {NAME}` ends that\n")
    wait_for(lambda: left_s(live) == 0 and live.answers(), "requests flow")


def test_a_node_that_does_not_confirm_is_named(live: Node) -> None:
    live.nginx.stop()
    done = pause(live, "--timeout", "1s")
    assert done.returncode == 75 and done.stderr.startswith(
        f"lictor: {NAME}: node-1 has not confirmed the pause, so that requests there may reach instances. The pause ")
    assert status(live)["severity"] == "failed"
