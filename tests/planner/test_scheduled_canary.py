"""Canaries of services with a scheduler: its orders wait for the key and for nginx."""

from typing import Any

import pytest

from lictor.planner.autoscale.traffic import Side
from lictor.planner.observation import Counted
from lictor.planner.service_state import Failure, Rollout, Trial

from support.scene import NOW
from support.scheduled_scene import BLUE, GREEN, NEW, SPEC, TWO, decided, release_of, world

CANARY: dict[str, Any] = {**SPEC, "route": {"path": "/books"},
                          "release": {**SPEC["release"], "canary": "10%", "for": "5m"}}
KEY = {"canary": b"green 10%"}
BEGUN = Rollout(release_of("books:2"), NOW - 400, NOW - 399, 2)
ON_TRIAL = Rollout(release_of("books:2"), NOW - 400, NOW - 399, 2, trial=Trial(0.1, NOW - 330, NOW - 20))
FINE = {"counted": Counted(NOW - 5, Side({60: 900}), Side({60: 8100}))}
FAILS = {"counted": Counted(NOW - 5, Side({60: 855}, 45), Side({60: 8100}))}


def failed_at(at: float) -> dict[str, Any]:
    return {"failed": Failure(release_of("books:2"), "books:2", "worse as canary", at), "tried_until": at}


@pytest.mark.parametrize(("state", "keys", "fields", "expected"), [
    ({"rollout": BEGUN}, {}, {}, ["try books-green"]),
    ({"rollout": ON_TRIAL}, KEY, {}, ["wait books-green"]),
    ({"rollout": ON_TRIAL}, KEY, FINE, ["switch books-green"]),
    ({"rollout": ON_TRIAL}, KEY, FAILS, ["recall books-green"]),
    (failed_at(NOW - 1), KEY, {}, ["recall books-green"]),  # the key goes first,
    (failed_at(NOW - 1), {}, {"behind": (("node-1", True),)}, ["wait books-green"]),  # then nginx has to let go,
    (failed_at(NOW - 1), {}, {}, ["wait books-green"]),  # then it may be about to list it,
    (failed_at(NOW - 31), {}, {}, ["retire books-green"]),  # and after as long as a drain it ends
])
def test_what_is_ordered_about_a_canary(state: dict[str, Any], keys: dict[str, bytes], fields: dict[str, Any],
                                        expected: list[str]) -> None:
    seen = world("books:2", 2, (BLUE, GREEN), *TWO, *NEW, spec=CANARY, state=state, keys=keys, **fields)
    assert [each for each in decided(seen) if not each.startswith("hold")] == expected


@pytest.mark.parametrize(("state", "keys", "fields", "expected"), [
    ({"rollout": ON_TRIAL}, KEY, {}, ["wait books-green"]),  # nginx asks them: fewer are ordered once it is live
    ({"rollout": ON_TRIAL}, KEY, FINE, ["switch books-green"]),
    ({"rollout": BEGUN, "tried_until": NOW - 1}, {}, {}, ["try books-green"]),
    ({"rollout": BEGUN}, {}, {"behind": (("node-1", True),)}, ["try books-green"]),
    ({"rollout": BEGUN}, {}, {}, ["scale books-green 1"]),  # it serves nobody yet
])
def test_fewer_of_a_canary_are_ordered_once_nginx_does_not_ask_them(
        state: dict[str, Any], keys: dict[str, bytes], fields: dict[str, Any], expected: list[str]) -> None:
    seen = world("books:2", 1, (BLUE, GREEN), *TWO, *NEW, spec=CANARY, state=state, keys=keys, **fields)
    assert [each for each in decided(seen) if not each.startswith("hold") and "green" in each] == expected
