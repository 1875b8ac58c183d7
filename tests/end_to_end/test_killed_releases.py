"""kill -9 of the releasing process at each of its steps: the next one ends what it began, and nothing is left half."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lictor.planner import service_state

from lab.docker import Docker
from lab.node import Node

NAME = "books-service"
QUICK_RELEASE: dict[str, Any] = {"healthy_for": "500ms", "deadline": "10m", "smoke": "/api/v1/books", "keep": "10m"}
# Asks for an image and reconciles, and kills itself when it carries out an act of this kind for the n-th time: before
# it, after it, or inside, when Docker has been asked for the first thing of it. It asks when the service is its own:
# the registrar has a service reconciled of which an instance ends, and that one must not take this work away.
_KILLED = """
import contextlib, os, signal, sys
from lictor.adapters import docker, files
from lictor.adapters.consul.client import Client
from lictor.reconcile import act, loop, process_lock
from lictor.spec.settings import load_settings

image, kind, number, moment = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
count, inside = 0, False

@contextlib.contextmanager
def waited_for(state_dir, name):
    with files.locked(os.path.join(state_dir, "locks", f"{name}.lock"), wait=True) as held:
        Client.connect(token_file=None).put(f"services/{name}/image", image)
        yield held

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dying(original):
    def carried_out(executor, action):
        global count, inside
        if action.kind != kind:
            return original(executor, action)
        count += 1
        if count == number and moment == "before":
            die()
        inside = count == number and moment == "inside"
        output = original(executor, action)
        if count == number:
            die()
        return output
    return carried_out

def dying_inside(original):
    def asked(*arguments, **options):
        said = original(*arguments, **options)
        if inside:
            die()
        return said
    return asked

process_lock.lock = waited_for
act.Executor._do = dying(act.Executor._do)
for name in ("create", "stop"):
    setattr(docker.Client, name, dying_inside(getattr(docker.Client, name)))
loop.run(load_settings(), None, ["books-service"])
"""

KILLS = {
    "blue-green": [
        ("start", 1, "before"), ("start", 1, "inside"), ("start", 1, "after"), ("start", 2, "after"),
        ("switch", 1, "before"), ("switch", 1, "after"), ("drain", 1, "before"), ("drain", 2, "after"),
        ("stop", 1, "before"), ("stop", 1, "inside"), ("stop", 2, "after")],
    "rolling": [
        ("start", 1, "before"), ("start", 1, "inside"), ("start", 1, "after"), ("start", 2, "after"),
        ("admit", 1, "before"), ("admit", 1, "after"), ("drain", 1, "before"), ("drain", 1, "after"),
        ("remove", 1, "before"), ("remove", 1, "inside"), ("remove", 1, "after"), ("remove", 2, "after")],
}


def reconcile_killed(node: Node, image: str, kind: str, number: int, moment: str) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, image, kind, str(number), moment], timeout=400,
                          env={**os.environ, **node.environ}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, f"{kind} {number} {moment}: it never came to that: {done.stderr}"


def settle(node: Node, where: str) -> None:
    """The timer, at our bidding, until there is nothing to do."""
    def settled() -> bool:
        node.handler("lictor-reconcile", "--sweep")
        return node.run("plan", NAME).stdout == "nothing to do\n"
    node.wait_for(settled, f"after {where} there is nothing left to do", 90)


def live_image(node: Node) -> str:
    text = node.consul.get(f"{service_state.KEY_PREFIX}{NAME}") or "{}"
    return str((service_state.decode(text.encode()).release.live or {}).get("image"))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("strategy", KILLS)
def test_a_release_that_is_killed_is_ended_by_the_next(docker: Docker, tmp_path: Path, strategy: str) -> None:
    for version in ("2.0", "3.0"):
        docker.build_books(f"{NAME}:{version}", version)
    node = Node(str(tmp_path / "node"), docker, timer="", watches=False)
    try:
        node.start()
        node.apply(route=None, replicas={"initial": 2, "min": 1, "max": 4}, heal={"grace": "2m"},
                   release={**QUICK_RELEASE, "strategy": strategy})
        settle(node, "the first start")
        for step, case in enumerate(KILLS[strategy]):
            image = f"{NAME}:{'23'[step % 2]}.0"
            reconcile_killed(node, image, *case)
            settle(node, str(case))
            assert live_image(node) == image, case
            running = node.docker.docker("ps", "--format", "{{.Image}}").split()
            assert running == [image, image], case
            kept = 2 if strategy == "blue-green" else 0
            assert len(node.docker.containers()) == 2 + kept, case
    finally:
        node.stop()
