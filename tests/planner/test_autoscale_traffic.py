"""What nginx nodes have counted: added, judged complete, and read from a key that anybody may have written."""

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.planner.autoscale import traffic
from lictor.planner.autoscale.traffic import Side, Slice, combine


@given(st.lists(st.floats(0.0005, 200.0), min_size=traffic.FEWEST, max_size=400), st.sampled_from([0.5, 0.95, 0.99]),
       st.integers(1, 5))
def test_percentiles_of_added_nodes_are_within_a_bucket_of_those_of_all(times: list[float], share: float,
                                                                       nodes: int) -> None:
    shares = [times[node::nodes] for node in range(nodes)]
    counted = traffic.add(Slice(0.0, 10.0, _count(each)) for each in shares)
    exact = sorted(times)[max(math.ceil(share * len(times)) - 1, 0)]
    found = traffic.percentile(counted.times, share)
    assert found is not None and counted.seconds == 10.0
    assert found == pytest.approx(min(max(exact, traffic.LEAST_S), 122.0), rel=0.05)


def _count(times: list[float]) -> dict[int, int]:
    found: dict[int, int] = {}
    for each in times:
        found[traffic.bucket(each)] = found.get(traffic.bucket(each), 0) + 1
    return found


@pytest.mark.parametrize(("sides", "expected"), [
    ([Side({1: 2}, 3), Side({1: 1, 5: 1}), Side()], Side({1: 3, 5: 1}, 3)), ([Side(), Side()], Side()),
    ([Side({1: 10**9}, 10**9), Side({1: 5}, 5)], Side({1: 10**9}, 10**9)),  # else nobody could read the state again
    ([Side({1: 2}), None], None), ([None, None], None), ([], None)])
def test_sides_are_counted_apart_only_if_each_node_does_so(sides: list[Side | None], expected: Side | None) -> None:
    found = traffic.add(Slice(0.0, 10.0, canary=each, live=Side({7: 1})) for each in sides)
    assert found.canary == expected and found.live == (Side({7: len(sides)}) if sides else None)
    assert traffic.add(Slice(0.0, 10.0, live=each) for each in sides).live == expected


def node(*at: float, begun: int = 40) -> list[Slice]:
    return [Slice(each, 10.0, {10: begun}, begun=begun) for each in at]


@pytest.mark.parametrize(("by_node", "expected", "begun", "silent"), [
    ({"a": node(70, 80, 90), "b": node(70, 80, 90)}, (), [80, 80, 80], []),
    ({"a": node(70, 80, 90), "b": node(70, 80)}, (), [80, 80], []),  # b has not written yet
    ({"a": node(70, 80, 90), "b": node(80, 90)}, (), [40, 80, 80], []),  # b began to count later
    ({"a": node(70, 80, 90), "b": node(50, 60)}, (), [40, 40, 40, 40, 40], ["b"]),
    ({"a": node(70, 80, 90), "b": node(50, 60, begun=0)}, (), [0, 0, 40, 40, 40], []),  # it had none anyway
    ({"a": node(70, 80, 90), "b": node(50, 60, begun=0)}, ("a", "b"), [0, 0, 40, 40, 40], ["b"]),
    ({"a": node(70, 80, 90)}, ("a", "b"), [40, 40, 40], ["b"]),
    ({"a": node(70, 80, 90), "b": node(71, 79, 88)}, (), [80, 80, 80], []),  # a clock that is not quite the same
    ({"a": node(70, 80, 90, 5000)}, (), [40, 40, 40], []),  # of a clock that is wrong
    ({"a": [], "b": []}, (), [], []),
    ({}, ("a",), [], ["a"]),
])
def test_a_part_of_the_nodes_is_never_taken_for_less_load(by_node: dict[str, list[Slice]], expected: tuple[str, ...],
                                                          begun: list[int], silent: list[str]) -> None:
    found = combine(by_node, 100.0, expected)
    assert ([each.begun for each in found.slices], found.silent) == (begun, silent)
    assert all(each.seconds == 10.0 for each in found.slices)


def test_a_node_that_is_gone_for_long_is_forgotten() -> None:
    by_node = {"a": node(180, 190), "b": node(60)}
    assert combine(by_node, 200.0).silent == []
    assert combine(by_node, 170.0).silent == ["b"]


def test_what_a_node_has_written_is_read() -> None:
    written = [Slice(80.0, 10.0, {0: 1, 240: 2}, 1, 2, 3, 9, 1.5, 0.1, {"10.0.0.1:80": (3, 0.5)}), Slice(70.0, 10.0)]
    assert traffic.decode(msgspec.json.encode({"slices": written})) == written[::-1]
    assert traffic.decode(b'{"slices": [{"at": 70, "seconds": 10, "later": 1}]}') == [Slice(70.0, 10.0)]


@pytest.mark.parametrize("changes", [
    {"at": -1}, {"at": 71}, {"at": 1e300}, {"at": "70"}, {"at": None}, {"seconds": 0}, {"seconds": -10},
    {"seconds": 9.0}, {"seconds": 1e9},
    {"times": {"-1": 1}}, {"times": {"241": 1}}, {"times": {"x": 1}}, {"times": {"1": -1}}, {"times": {"1": 10**30}},
    {"times": [1]}, {"errors": -1}, {"errors": 1.5}, {"begun": True}, {"busy_s": -0.1}, {"busy_s": 1e300},
    {"instances": {"a": [1]}}, {"instances": {"a": [-1, 0]}}])
def test_what_is_no_slice_counts_as_not_written(changes: dict[str, object]) -> None:
    assert traffic.decode(json.dumps({"slices": [{"at": 70, "seconds": 10}]}).encode()) != []
    assert traffic.decode(json.dumps({"slices": [{"at": 70, "seconds": 10, **changes}]}).encode()) == []


@pytest.mark.parametrize("text", [None, b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"slices": 3}',
                                  b'{"slices": [{"at": NaN, "seconds": 10}]}', b'{"slices": [{"at": 1e999}]}',
                                  json.dumps({"slices": [{"at": 70, "seconds": 10}] * 61}).encode()])
def test_what_cannot_be_read_counts_as_not_written(text: bytes | None) -> None:
    assert traffic.decode(text) == []
