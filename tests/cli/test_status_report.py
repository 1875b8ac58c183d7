"""The summary of a service whose instances wait for a set with state."""

import time
from typing import Any

import pytest

from lictor import model
from lictor.cli import status_report
from lictor.planner.service_state import Failure, Rollout

from support.scene import RELEASE, state_of, wanted

WHY = "db has no member yet"
RUNS = model.Instance("node-1", "s1", "books", "127.0.0.1", 1, "passing", True, None, "c1", image="books:1")


def summary(replicas: int, running: int, image: str = "books:1", **state: Any) -> str:
    desired = wanted(replicas, {"image": image.encode()})
    instances = [RUNS._replace(service_id=f"s{number}") for number in range(running)]
    facts = status_report._Facts(desired, state_of(live_release=RELEASE, **state), instances, instances, {
        "books:1"} if running else set(), [], "", "", "", WHY, "", [], [], [])
    return status_report._summary(facts)


@pytest.mark.parametrize(("replicas", "running", "said"), [
    (2, 0, f"waiting: {WHY}"), (2, 1, f"waiting: {WHY}"), (2, 2, "as desired"),
    (1, 2, "converging: replicas key is 1")])
def test_only_what_is_not_there_waits(replicas: int, running: int, said: str) -> None:
    """Of a service that runs the list is not needed any more."""
    assert summary(replicas, running) == said


def test_a_release_waits_as_long_as_it_is_under_way() -> None:
    release = wanted(2, {"image": b"books:2"}).release
    rollout = Rollout(release, time.time())
    assert summary(2, 2, "books:2", rollout=rollout) == f"releasing books:2 for 0 s. It waits: {WHY}"
    complete = Rollout(release, time.time(), most=2)
    assert summary(2, 2, "books:2", rollout=complete) == "releasing books:2 for 0 s"
    failed = Failure(release, "books:2", "it died", 1.0)
    assert summary(2, 2, "books:2", failed=failed) == (
        "release of books:2 failed: it died. the earlier release runs on")
