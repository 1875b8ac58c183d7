"""Which peers a service has while a canary gets a share of its requests, and when it has ended."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor import model
from lictor.routing import peers, sides
from lictor.routing.peers import Decision, Peer, PublishedRoute

CANARY = {"service": "books-green", "share": 0.1}
ROUTE = {"name": "books", "service": "books-blue", "traffic": "healthy", "node": "node-1", "empty_ok": False,
         "removed": False, "needs_consent": False, "canary": CANARY}


def seen(*some: str, status: str = "passing", **fields: Any) -> list[model.Instance]:
    """Instances by their colour's letter and number, such as b1."""
    return [model.Instance("node-1", each, "books-green" if each[0] == "g" else "books-blue", address(each), 80, status,
                           True, None, "", is_registrars=True)._replace(**fields) for each in some]


def address(instance: str) -> str:
    return f"10.0.{'bg'.index(instance[0])}.{instance[1:]}"


def serving(live: str, canary: str = "", **fields: Any) -> PublishedRoute:
    """What is published of instances such as "b1 b2"."""
    live_peers, canary_peers = ([Peer(address(each), 80) for each in some.split()] for some in (live, canary))
    live_ids, canary_ids = (tuple(("node-1", each) for each in some.split()) for some in (live, canary))
    return PublishedRoute(sides.share_out(live_peers, canary_peers, 0.1), tuple(sorted(live_ids + canary_ids)),
                          canary=canary_ids)._replace(**fields)


def decide(published: PublishedRoute | None, instances: Sequence[model.Instance], *, certain: bool = True,
           **route: Any) -> Decision:
    return sides.decide({**ROUTE, **route}, published, instances, now_s=1000.0, certain=certain)


def weights(decision: Decision) -> dict[str, int]:
    """The weight of each peer; with a * behind those of the canary."""
    return {f"{'bg'[int(each.address.split('.')[2])]}{each.address.split('.')[3]}{'*' * each.is_canary}": each.weight
            for each in decision.peers}


BOTH, ALL = serving("b1 b2", "g1 g2"), ["b1", "b2", "g1", "g2"]


@pytest.mark.parametrize(("published", "instances", "kind", "found"), [
    # it begins, goes on, and loses an instance
    (None, seen(*ALL), "publish", {"b1": 9, "b2": 9, "g1*": 1, "g2*": 1}),
    (serving("b1 b2"), seen(*ALL), "publish", {"b1": 9, "b2": 9, "g1*": 1, "g2*": 1}),
    (BOTH, seen(*ALL), "unchanged", {"b1": 9, "b2": 9, "g1*": 1, "g2*": 1}),
    (BOTH, seen("b1", "b2", "g2"), "publish", {"b1": 9, "b2": 9, "g2*": 2}),
    # an unhealthy canary weighs nothing, however many of its instances are: no panic, no hold
    (BOTH, [*seen("b1", "b2", "g1"), *seen("g2", status="critical")], "publish", {"b1": 9, "b2": 9, "g1*": 2}),
    (BOTH, [*seen("b1", "b2"), *seen("g1", "g2", status="critical")], "publish", {"b1": 1, "b2": 1}),
    (BOTH, seen("b1", "b2"), "publish", {"b1": 1, "b2": 1}),
    (BOTH, [*seen("b1", "b2"), *seen("g1", "g2", maintenance="x")], "publish", {"b1": 1, "b2": 1}),
    # the live side is held, and has its panic threshold, whatever the canary is like
    (BOTH, seen("g1", "g2"), "hold", {"b1": 9, "b2": 9, "g1*": 1, "g2*": 1}),
    (BOTH, seen("g1"), "publish", {"b1": 9, "b2": 9, "g1*": 2}),
    (BOTH, [], "publish", {"b1": 9, "b2": 9}),
    (BOTH, [*seen("b1", "b2", status="critical"), *seen("g1", "g2")], "unchanged",
     {"b1": 9, "b2": 9, "g1*": 1, "g2*": 1}),
    (BOTH, [*seen("b2", "g1", "g2"), *seen("b1", status="critical")], "publish",
     {"b2": 18, "g1*": 1, "g2*": 1}),
])
def test_who_has_which_weight(published: PublishedRoute | None, instances: list[model.Instance], kind: str,
                              found: dict[str, int]) -> None:
    decision = decide(published, instances)
    assert (decision.kind, weights(decision)) == (kind, found)
    receiving = {each.address for each in decision.peers}
    assert {address(service_id) for _, service_id in decision.instances} == receiving  # drains wait for all of them
    assert {address(service_id) for _, service_id in decision.canary} == {
        each.address for each in decision.peers if each.is_canary}


@pytest.mark.parametrize(("instances", "certain", "kind"), [
    (seen("g1", "g2"), False, "confirm"), (seen("b1", "b2"), False, "confirm"), ([], False, "confirm"),
    (seen(*ALL), False, "confirm"), (seen(*ALL), True, "publish"), (seen("b1"), True, "publish")])
def test_an_event_alone_decides_nothing_where_what_was_published_is_lost(instances: list[model.Instance], certain: bool,
                                                                         kind: str) -> None:
    """It shows one colour: that of the canary would have all requests."""
    assert decide(None, instances, certain=certain).kind == kind
    assert decide(None, instances, certain=certain, canary=None).kind == "publish"


@pytest.mark.parametrize(("instances", "route", "kind", "found"), [
    # back: as without a canary, and what is held are live ones
    (seen(*ALL), {}, "publish", {"b1": 1, "b2": 1}),
    (seen("g1", "g2"), {}, "publish", {"b1": 9, "b2": 9}),
    # on: the other colour is live, and if it is not seen well just then, both are held
    (seen(*ALL), {"service": "books-green"}, "publish", {"g1": 1, "g2": 1}),
    (seen("b1", "b2"), {"service": "books-green"}, "publish", {"b1": 9, "b2": 9}),
    ([*seen("b1", "b2"), *seen("g1", "g2", status="critical")], {"service": "books-green"}, "publish",
     {"g1": 1, "g2": 1}),
    (seen(*ALL), {"removed": True}, "publish", {}),
])
def test_how_a_canary_ends(instances: list[model.Instance], route: dict[str, Any], kind: str,
                           found: dict[str, int]) -> None:
    decision = decide(BOTH, instances, canary=None, **route)
    assert (decision.kind, weights(decision), decision.canary) == (kind, found, ())


@pytest.mark.parametrize(("instances", "kind"), [
    (seen("b1", "b2", "g1"), "publish"), (seen("b1", "b2"), "confirm"), (seen("g1", "g2"), "confirm"),
    (seen(*ALL), "unchanged")])
def test_fewer_of_either_side_are_confirmed_by_a_consistent_read(instances: list[model.Instance], kind: str) -> None:
    assert decide(BOTH, instances, certain=False).kind == kind


def test_without_a_canary_it_is_decided_as_ever() -> None:
    for instances in (seen(*ALL), seen("b1"), []):
        for certain in (True, False):
            assert decide(serving("b1 b2"), instances, certain=certain, canary=None) == peers.decide(
                {**ROUTE, "canary": None}, serving("b1 b2"), instances, now_s=1000.0, certain=certain)


def test_an_address_of_both_sides_is_the_live_ones() -> None:
    assert sides.share_out([Peer("10.0.0.1", 80)], [Peer("10.0.0.1", 80)], 0.5) == (Peer("10.0.0.1", 80),)


PEERS = st.lists(st.integers(1, 65535), min_size=1, max_size=20)


@given(PEERS, PEERS, st.integers(1, 50))
def test_a_side_has_its_share_and_its_peers_keep_their_proportions(live: list[int], canary: list[int],
                                                                   percent: int) -> None:
    found = sides.share_out(weighed(0, live), weighed(1, canary), percent / 100)
    assert all(1 <= each.weight <= 65535 for each in found)
    of_canary = [each.weight for each in found if each.is_canary]
    if min(each.weight for each in found) > 1000:  # as precise as whole numbers can be
        assert sum(of_canary) / sum(each.weight for each in found) == pytest.approx(percent / 100, rel=0.01)
        assert [each / sum(of_canary) for each in of_canary] == pytest.approx(
            [each / sum(canary) for each in canary], rel=0.01)


@pytest.mark.parametrize(("live", "canary", "share", "found"), [
    ([1], [1], 0.1, [9, 1]), ([1, 1, 1], [1, 1, 1], 0.1, [9, 9, 9, 1, 1, 1]), ([1, 1, 1], [1, 1], 0.1, [6, 6, 6, 1, 1]),
    ([1, 3], [2], 0.5, [1, 3, 4]), ([1, 1], [1], 0.01, [99, 99, 2]), ([5], [7], 0.125, [7, 1]),
    ([1, 2], [], 0.1, [1, 2]), ([], [1, 2], 0.1, [1, 2]), ([1] * 3, [1] * 3, 0.005, [199] * 3 + [1] * 3)])
def test_weights_are_as_small_as_they_can_be(live: list[int], canary: list[int], share: float,
                                             found: list[int]) -> None:
    assert [each.weight for each in sides.share_out(weighed(0, live), weighed(1, canary), share)] == found


def weighed(side: int, weights: Sequence[int]) -> list[Peer]:
    return [Peer(f"10.{side}.0.{number}", 80, weight) for number, weight in enumerate(weights)]
