"""kill -9 of the acting handler at each step of a canary, on the real programs: the next sweep goes on where it was."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lictor.adapters import files

from lab.autoscale.open_load import OpenLoad
from lab.docker import Docker
from lab.node import Node
from support import canary
from support.canary import BLUE, GREEN, NAME, PATH, RATE, RELEASE, SPEC, canary_key, seen_by_clients
from support.paths import text_of

pytestmark = pytest.mark.daemons

# Python imports this at its start. The handler that comes to the first moment of the list takes it off, and dies.
_SITE = """
import sys
if any(each.endswith("/lictor-reconcile") for each in sys.orig_argv):
    import os, signal
    from lictor.adapters import files
    from lictor.reconcile import act, state_store

    def come_to(moment):
        left = (files.read({path!r}) or "").splitlines()
        if left[:1] == [moment]:
            files.write_atomic({path!r}, "\\n".join(left[1:]))
            os.kill(os.getpid(), signal.SIGKILL)

    def act_and_die(executor, action, original=act.Executor._do):
        come_to(f"before {{action.kind}}")
        output = original(executor, action)
        come_to(f"after {{action.kind}}")
        return output

    def write_and_die(store, name, state, *arguments, original=state_store.StateStore.write, **options):
        original(store, name, state, *arguments, **options)
        trial = state.release.rollout and state.release.rollout.trial
        if trial and trial.canary.times:
            come_to("counted")
        if state.release.failed:
            come_to("failed")

    act.Executor._do, state_store.StateStore.write = act_and_die, write_and_die
"""
LOST = ["before try", "after try", "failed", "before recall", "after recall", "after drain", "after remove"]
WON = ["after try", "counted", "before switch", "after switch", "after drain", "after stop"]


@pytest.fixture(scope="module")
def built(docker_engine: Docker) -> None:
    canary.build(docker_engine)


@pytest.fixture
def moments(tmp_path: Path) -> Path:
    """The file with the moments in which the handler is still to be killed."""
    return tmp_path / "moments"


@pytest.fixture
def node(docker: Docker, built: None, tmp_path: Path, moments: Path) -> Iterator[Node]:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_SITE.format(path=str(moments)))
    whole = Node(str(tmp_path / "node"), docker, timer="2s", keep_data=True,
                 environ={"PYTHONPATH": str(tmp_path / "site")})
    try:
        yield whole.start()
    finally:
        whole.stop()


def release(node: Node, version: str, moments: Path, kills: list[str], left: list[str]) -> OpenLoad:
    """Release it under load; returns the load when all of these kills have come, and only those run that are left."""
    node.write_and_apply({**SPEC, "release": RELEASE})
    node.wait_for(lambda: node.served(path=PATH) == set(BLUE), "blue serves", 90)
    files.write_atomic(str(moments), "\n".join(kills))
    with OpenLoad(node.nginx.port, PATH, lambda _: RATE) as load:
        canary.begin(node, version)
        node.wait_for(lambda: not text_of(str(moments)), "each kill has come", 120)
        node.wait_for(lambda: node.docker.containers("status=running") == left, "the others have ended", 90)
        node.wait_for(lambda: canary.serves(node, *left), "they serve")
    assert canary_key(node) == ""
    return load


def test_a_worse_canary_ends_whenever_its_handler_is_killed(node: Node, moments: Path) -> None:
    load = release(node, "fails", moments, LOST, BLUE)
    node.wait_for(lambda: node.docker.containers() == BLUE, "the canary's are removed")
    failed = canary.remembered(node).release.failed
    assert failed and failed.why.startswith("worse as canary, by more errors: "), failed
    assert sum(map(int, re.findall(r"got (\d+) requests", failed.why))) <= len(load.requests)  # each is counted once
    assert set(seen_by_clients(load)) == {"status 500"}


def test_a_canary_that_is_no_worse_takes_over_whenever_its_handler_is_killed(node: Node, moments: Path) -> None:
    load = release(node, "fine", moments, WON, GREEN)
    assert node.consul.get(f"services/{NAME}/color") == "green"
    assert not seen_by_clients(load)
